"""``scmm merge``: several captures → one file that keeps them apart; several policies → one policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import click

from scmm_oci.capture import file as capture_file
from scmm_oci.capture.merge import merge as merge_captures
from scmm_oci.cli.confine import confine
from scmm_oci.cli.inputs import Given, captures_in, policies_in, read_files
from scmm_oci.cli.options import check_outputs
from scmm_oci.cli.output import data, plain, say, tell
from scmm_oci.errors import BadInput, Failure, Finding, Problem
from scmm_oci.files import atomic_write
from scmm_oci.policy import document
from scmm_oci.policy import merge as policies
from scmm_oci.policy.merge import Merged
from scmm_oci.policy.model import Policy
from scmm_oci.policy.render import to_document
from scmm_oci.policy.yaml import edit

_EXAMPLE = """\b
Examples:
  scmm-merge monday.scmm-cap tuesday.scmm-cap -o web.scmm-cap
  scmm-extract -i web.scmm-cap -o web.scmm.yaml

\b
  scmm-merge -i web.scmm.yaml -i worker.scmm.yaml -o both.scmm.yaml --name both
  scmm-merge --mode difference new.scmm.yaml old.scmm.yaml -o review.scmm.yaml"""


@click.command(epilog=_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("files", nargs=-1, metavar="[FILE...]")
@click.option("-i", "--input", "inputs", multiple=True, metavar="FILE", help="A file to merge, as the arguments are.")
@click.option("-o", "--output", required=True, metavar="FILE", help="Write what comes of it here.")
@click.option("--name", help="Policies: what the new one is called.")
@click.option(
    "--mode",
    type=click.Choice(["union", "intersection", "difference"]),
    default="union",
    show_default=True,
    help="Policies: allow what any allows, or what all allow, or write what the first allows beyond all others.",
)
@click.option(
    "--canonical",
    is_flag=True,
    help="Policies: write a new text, the same whatever the order of the inputs, without anybody's comments.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was merged as JSON on stdout.")
def merge(
    *,
    files: Sequence[str],
    inputs: Sequence[str],
    output: str,
    name: str | None,
    mode: str,
    canonical: bool,
    as_json: bool,
) -> None:
    """Put captures into one file, or make one policy of several.

    Captures, and sets of them: nothing is added up. The file holds each different recording once, so that what varied
    between them can still be seen. The order of the inputs does not matter.

    Policies: the union allows what any of them allows, the intersection only what all do. Where their constraints
    cannot be written as one policy's, that is said. The text is the first input's, with its comments and its order of
    rules, as far as they stay; of a difference, and with --canonical, it is a new one.
    """
    paths = [*inputs, *files]
    if not paths:
        raise click.UsageError("Missing argument 'CAPTURE...' or 'POLICY...'; -i gives one as well")
    check_outputs(paths, [output])
    confine(paths, [output])
    given = read_files(paths)
    captures = [one for one in given if one.is_capture]
    if not captures:
        _policies(given, output=output, name=name, mode=mode, canonical=canonical, as_json=as_json)
        return
    if len(captures) < len(given):
        others = [one.path for one in given if not one.is_capture]
        message = f"is a policy, and {captures[0].path} a capture"
        raise BadInput([Problem(path, message, "merge either captures or policies") for path in others])
    if name is not None or mode != "union" or canonical:
        raise click.UsageError("--name, --mode and --canonical are for policies; captures are kept as they are")
    _captures(given, output=output, as_json=as_json)


def _captures(files: Sequence[Given], *, output: str, as_json: bool) -> None:
    given = captures_in(files)
    merged = merge_captures(given)
    capture_file.write_all(output, merged)
    if as_json:
        recordings = [
            {
                "name": one.name,
                "started_at": one.started_at,
                "complete": one.complete,
                "losses": [vars(loss) for loss in one.losses],
            }
            for one in merged
        ]
        data({"output": output, "given": len(given), "recordings": recordings})
    again = len(given) - len(merged)
    twice = f"; {again} given twice" if again else ""
    say(f"{plain(output)}: {len(merged)} recording{'s' if len(merged) != 1 else ''}{twice}")
    lost = sum(not one.complete for one in merged)
    if lost:
        say(f"{lost} of them incomplete: `scmm show {plain(output)}` says why")


def _policies(
    files: Sequence[Given], *, output: str, name: str | None, mode: str, canonical: bool, as_json: bool
) -> None:
    given = policies_in(files)
    merged = _merged(given, mode)
    policy, findings = merged.policy, list(merged.findings)
    if name is not None:
        policy = replace(policy, metadata=replace(policy.metadata, name=name))
    text = document.dump(policy)
    # Architectures that only one of them has can lack a word that another one's constraints have.
    document.parse(text, source=output)
    if mode != "difference" and not canonical:
        try:
            text = edit.update(files[0].data, to_document(policy), source=files[0].path)
        except Failure as error:
            findings.append(Finding("comments-lost", f"comments are not kept: {error.message}", error.hint))
    atomic_write(output, text)
    tell(findings)
    if as_json:
        told = [{"code": one.code, "message": one.message, "hint": one.hint} for one in findings]
        data({"output": output, "given": len(given), "mode": mode, "name": policy.metadata.name, "findings": told})
    say(f"{plain(output)}: {mode} of {len(given)} policies, {len(policy.syscalls)} rules for system calls")


def _merged(given: Sequence[Policy], mode: str) -> Merged:
    if mode == "union":
        return policies.union(given)
    if mode == "intersection":
        return policies.intersection(given)
    if len(given) < 2:
        raise click.UsageError("a difference is of the first policy and at least one more")
    # What the first allows beyond all others together.
    others = policies.union(given[1:])
    result = policies.difference(given[0], others.policy)
    return replace(result, findings=(*others.findings, *result.findings))
