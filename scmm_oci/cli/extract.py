"""``scmm extract``: captures → policy and seccomp profile, or a table of what the captures hold."""

from __future__ import annotations

from collections.abc import Sequence

import click

from scmm_oci.capture.model import Capture
from scmm_oci.cli.options import check_outputs, floor_options
from scmm_oci.cli.output import data, plain, say, tell
from scmm_oci.cli.recordings import read_captures
from scmm_oci.compiled.profiles import Compiled, oci_profile
from scmm_oci.errors import BadInput, Finding, unknown_value
from scmm_oci.files import atomic_write_all
from scmm_oci.policy import document
from scmm_oci.policy.infer import Inference, infer, runtime_names
from scmm_oci.tables import errnos
from scmm_oci.tables.floor import Floor, floor

_EXAMPLE = """\b
Example:
  scmm-extract -i nginx.scmm-cap -o nginx.scmm.yaml --oci seccomp.json
  podman run --security-opt seccomp=seccomp.json …

\b
  scmm-extract -i nginx.scmm-cap --stats-only"""


@click.command(epilog=_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-i",
    "--input",
    "inputs",
    multiple=True,
    required=True,
    metavar="CAPTURE",
    help="A capture, or a set of them; may be repeated.",
)
@click.option("-o", "--output", metavar="FILE", help="Write the policy here (.scmm.yaml).")
@click.option("--oci", metavar="FILE", help="Write the seccomp profile for podman, Docker and OCI runtimes here.")
@click.option("--name", help="The policy's name; by default the capture's.")
@floor_options
@click.option(
    "--default-errno",
    default="EPERM",
    show_default=True,
    metavar="ERROR",
    help="What calls outside the policy are answered.",
)
@click.option("--accept-incomplete", is_flag=True, help="Use captures that lost something.")
@click.option("--stats-only", is_flag=True, help="Print what the captures hold, and write nothing.")
@click.option("--non-interactive", is_flag=True, help="Ask nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
def extract(
    *,
    inputs: Sequence[str],
    output: str | None,
    oci: str | None,
    name: str | None,
    runtime: str | None,
    no_new_privileges: bool,
    default_errno: str,
    accept_incomplete: bool,
    stats_only: bool,
    non_interactive: bool,
    as_json: bool,
) -> None:
    """Make a policy, and a seccomp profile that starts and runs the container, from captures.

    The policy allows what the program and everything it started were seen to call; several captures add up. The
    profile also allows what the container runtime itself needs.
    """
    del non_interactive  # nothing is asked yet
    if not stats_only and output is None and oci is None:
        raise click.UsageError("Nothing to do: give --output, --oci or --stats-only.")
    if errnos.number(default_errno) is None:
        raise BadInput([unknown_value("--default-errno", "an error name", default_errno, errnos.known())])
    check_outputs(inputs, [output, oci])
    captures = read_captures(inputs)
    if stats_only:
        from scmm_oci.cli.stats import print_stats

        print_stats(captures, as_json=as_json)
        return
    needs, findings = _floor(captures, runtime=runtime, no_new_privileges=no_new_privileges)
    inferred = infer(
        captures,
        name=name,
        default_errno=default_errno,
        accept_incomplete=accept_incomplete,
        needed=needs.names,
    )
    compiled = oci_profile(inferred.policy, needs)
    files = [(output, document.dump(inferred.policy)), (oci, compiled.json)]
    atomic_write_all([(path, content) for path, content in files if path])
    findings += [*inferred.findings, *compiled.findings]
    _report(inferred, compiled, needs, findings, output=output, oci=oci, as_json=as_json)


def _floor(captures: Sequence[Capture], *, runtime: str | None, no_new_privileges: bool) -> tuple[Floor, list[Finding]]:
    """What the runtime needs, from the table and from these recordings of it."""
    recorded = {(capture.runtime.name, capture.runtime.version) for capture in captures}
    names = {one for one, _ in recorded}
    findings = []
    wanted = None if runtime == "all" else runtime
    version = None
    if runtime is None and len(names) == 1:
        wanted = next(iter(names))
        version = next(iter(recorded))[1] if len(recorded) == 1 else None
    if runtime is None and wanted is None:
        message = "it is not known which one runtime was recorded: the profile covers all that we know"
        findings.append(Finding("runtimes", message, "--runtime names the one to use"))
    base = floor(wanted, version, no_new_privileges)
    # A recording without no-new-privileges saw the runtime call more than it needs with it.
    fits = not no_new_privileges or all(capture.container.no_new_privileges for capture in captures)
    alike = wanted is None or names == {wanted}
    if not (alike and fits):
        return base, findings
    more = runtime_names(captures)
    if more - base.names:
        message = (
            f"the runtime was seen to call {', '.join(sorted(more - base.names))}, which our table of its needs lacks"
        )
        findings.append(Finding("recorded-floor", f"{message}: allowed too", "is that what a runtime does?"))
    return base.with_recorded(more), findings


def _report(
    inferred: Inference,
    compiled: Compiled,
    needs: Floor,
    findings: Sequence[Finding],
    *,
    output: str | None,
    oci: str | None,
    as_json: bool,
) -> None:
    tell(findings)
    if as_json:
        data(
            {
                "name": inferred.policy.metadata.name,
                "policy": output,
                "profile": oci,
                "program": compiled.program,
                "floor": compiled.floor,
                "floor_entries": list(needs.entries_used),
                "architectures": list(inferred.policy.settings.architectures),
                "findings": [{"code": one.code, "message": one.message, "hint": one.hint} for one in findings],
            }
        )
    written = " and ".join(plain(path) for path in (output, oci) if path)
    more = f", {compiled.floor} more for the runtime" if oci else ""
    say(f"{written}: {compiled.program} calls for the program{more}")
