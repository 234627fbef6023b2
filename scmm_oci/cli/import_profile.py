"""``scmm import-profile``: a seccomp profile of Docker, podman or a runtime → a policy."""

from __future__ import annotations

import os
from pathlib import Path

import click

from scmm_oci.cli import kinds
from scmm_oci.cli.confine import confine
from scmm_oci.cli.kinds import Kind
from scmm_oci.cli.options import ARCHES, arch_of, check_outputs
from scmm_oci.cli.output import data, plain, say, tell
from scmm_oci.errors import BadInput
from scmm_oci.files import read_bounded
from scmm_oci.oci import rich
from scmm_oci.oci.seccomp import MAX_BYTES
from scmm_oci.policy import document
from scmm_oci.policy.profile_import import from_profile
from scmm_oci.tables.arch import from_machine

_EXAMPLE = """\b
Examples:
  scmm import-profile /usr/share/containers/seccomp.json -o podman.scmm.yaml
  scmm compile -i podman.scmm.yaml --podman seccomp.json"""


@click.command("import-profile", epilog=_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("source", metavar="PROFILE")
@click.option("-o", "--output", required=True, metavar="POLICY", help="Write the policy here (.scmm.yaml).")
@click.option("--name", help="The policy's name; by default that of the file.")
@click.option(
    "--arch", metavar="ARCH", help=f"The machine that the policy is for; by default this one. One of {ARCHES}."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
def import_profile(*, source: str, output: str, name: str | None, arch: str | None, as_json: bool) -> None:
    """Make a policy of a seccomp profile: Docker's and podman's form, or that of the OCI runtime-spec.

    Rules that depend on the container keep their conditions; `scmm compile` writes them back, or chooses.
    """
    check_outputs([source], [output])
    machine = arch_of(arch) or from_machine(os.uname().machine)
    confine([source], [output])
    text = read_bounded(source, MAX_BYTES)
    try:
        profile = rich.parse(text)
    except BadInput as error:
        raise BadInput(kinds.problems(error, source, text, wanted=Kind.PROFILE)) from error
    imported = from_profile(profile, arch=machine, name=Path(source).stem if name is None else name)
    document.write(output, imported.policy)
    tell(imported.findings)
    rules = imported.policy.syscalls
    names = len({rule.name for rule in rules})
    if as_json:
        findings = [{"code": one.code, "message": one.message, "hint": one.hint} for one in imported.findings]
        data({"policy": output, "name": imported.policy.metadata.name, "system_calls": names, "findings": findings})
    dependent = sum(rule.includes is not None or rule.excludes is not None for rule in rules)
    say(f"{plain(output)}: {names} system calls, {len(rules)} rules, {dependent} of them for some containers only")
