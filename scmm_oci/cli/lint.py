"""``scmm lint``: policies → findings, as a table or JSON, and as a gate for CI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import click

from scmm_oci.cli.confine import confine
from scmm_oci.cli.inputs import policies_in, read_files
from scmm_oci.cli.output import console, data, plain, say
from scmm_oci.errors import BadInput, Problem, unknown_value
from scmm_oci.policy.lint import RULES, LintFinding, Severity
from scmm_oci.policy.lint import lint as lint_policy

_EXAMPLE = """\b
Examples:
  scmm-lint web.scmm.yaml
  scmm-lint --fail-on warning --ignore log-denials *.scmm.yaml"""

_COLOURS = {Severity.DANGER: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "blue"}


@click.command(epilog=_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("files", nargs=-1, metavar="POLICY...")
@click.option(
    "--fail-on",
    type=click.Choice([one.value for one in Severity]),
    default=Severity.DANGER.value,
    show_default=True,
    help="End with 1 for findings so bad, or worse.",
)
@click.option("--ignore", multiple=True, metavar="ID", help="Leave out findings with this id; may be given often.")
@click.option("--list", "as_list", is_flag=True, help="Print every id with what it means, and do nothing else.")
@click.option("--json", "as_json", is_flag=True, help="Print findings (or the list) as JSON on stdout.")
@click.pass_context
def lint(
    context: click.Context, *, files: Sequence[str], fail_on: str, ignore: Sequence[str], as_list: bool, as_json: bool
) -> None:
    """Find what is dangerous in policies, what has no effect, and what an engine or kernel cannot hold.

    The exit code is 0, or 1 for findings as bad as --fail-on says, and 2 for bad input.
    """
    unknown = [one for one in ignore if one not in RULES]
    if unknown:
        raise BadInput([unknown_value("--ignore", "an id of a finding", one, sorted(RULES)) for one in unknown])
    if as_list:
        _list(as_json=as_json)
        return
    if not files:
        raise click.UsageError("Missing argument 'POLICY...'.")
    confine(files)
    given = read_files(files)
    captures = [one.path for one in given if one.is_capture]
    if captures:
        hint = "make a policy of it first: `scmm extract`"
        raise BadInput([Problem(path, "is a capture, not a policy", hint) for path in captures])
    found = [
        (file.path, one)
        for file, policy in zip(given, policies_in(given), strict=True)
        for one in lint_policy(policy)
        if one.id not in ignore
    ]
    if as_json:
        data({"findings": [{"file": path, **asdict(one)} for path, one in found]})
    elif found:
        _print(found, several=len(given) > 1)
    counts = [f"{sum(one.severity is severity for _, one in found)} {severity}" for severity in Severity]
    say(", ".join(counts) if found else "nothing found")
    if any(one.severity.rank <= Severity(fail_on).rank for _, one in found):
        context.exit(1)


def _list(*, as_json: bool) -> None:
    if as_json:
        data({"rules": [asdict(rule) for rule in RULES.values()]})
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in ("id", "severity", "meaning", "remedy"):
        table.add_column(title, no_wrap=title == "id")
    for rule in RULES.values():
        table.add_row(Text(rule.id), Text(rule.severity, style=_COLOURS[rule.severity]), rule.meaning, rule.remedy)
    console().print(table)


def _print(found: Sequence[tuple[str, LintFinding]], *, several: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in (*(["file"] if several else []), "severity", "id", "place", "what", "remedy"):
        table.add_column(title, overflow="fold", no_wrap=title == "id")
    for path, one in found:
        words = [Text(plain(word)) for word in (one.id, one.place, one.message, one.remedy)]
        file = [Text(plain(path))] if several else []
        table.add_row(*file, Text(one.severity.value, style=_COLOURS[one.severity]), *words)
    console().print(table)
