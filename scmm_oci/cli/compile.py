"""``scmm compile``: a policy, read and edited by people, → the seccomp profile that runtimes load."""

from __future__ import annotations

import click

from scmm_oci.cli.options import check_outputs, floor_options
from scmm_oci.cli.output import data, plain, say, tell
from scmm_oci.compiled.profiles import oci_profile
from scmm_oci.files import atomic_write
from scmm_oci.policy import document
from scmm_oci.tables.floor import floor

_EXAMPLE = """\b
Example:
  scmm-compile -i nginx.scmm.yaml --oci seccomp.json
  podman run --security-opt seccomp=seccomp.json …"""


@click.command(epilog=_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-i", "--input", "source", required=True, metavar="POLICY", help="A policy (.scmm.yaml).")
@click.option(
    "--oci", required=True, metavar="FILE", help="Write the seccomp profile for podman, Docker and OCI runtimes here."
)
@floor_options
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
def compile(*, source: str, oci: str, runtime: str | None, no_new_privileges: bool, as_json: bool) -> None:
    """Make a seccomp profile from a policy.

    The profile does what the policy says, and allows what the container runtime itself needs besides.
    """
    check_outputs([source], [oci])
    policy = document.read(source)
    needs = floor(None if runtime in (None, "all") else runtime, None, no_new_privileges)
    compiled = oci_profile(policy, needs)
    atomic_write(oci, compiled.json)
    tell(compiled.findings)
    if as_json:
        data(
            {
                "name": policy.metadata.name,
                "profile": oci,
                "program": compiled.program,
                "floor": compiled.floor,
                "floor_entries": list(needs.entries_used),
                "findings": [{"code": one.code, "message": one.message, "hint": one.hint} for one in compiled.findings],
            }
        )
    say(f"{plain(oci)}: {compiled.program} calls for the program, {compiled.floor} more for the runtime")
