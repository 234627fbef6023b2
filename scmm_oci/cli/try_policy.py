"""``scmm try``: a container as the user starts it, under a policy that refuses nothing yet, and under the policy."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from scmm_oci.cli.one_run import compiled
from scmm_oci.cli.output import fail, tell
from scmm_oci.cli.record import seconds
from scmm_oci.cli.tried import Tried, show
from scmm_oci.cli.try_runs import PERMISSIVE, run_all
from scmm_oci.enforcer.overrides import Overrides
from scmm_oci.enforcer.store import MAX_BYTES
from scmm_oci.errors import BadInput, Failure, Finding, Problem
from scmm_oci.files import read_bounded
from scmm_oci.oci import annotations as names
from scmm_oci.recorder import engine_recording
from scmm_oci.recorder.command import CannotExecute
from scmm_oci.recorder.engine_command import PLACE, EngineCommand, parse
from scmm_oci.tables.arch import from_machine

_EXAMPLE = """\b
Examples:
  scmm try nginx.scmm.yaml -- podman run --rm -p 8080:80 nginx
  scmm try nginx.scmm.yaml --duration 20 -- docker run -p 8080:80 nginx
  scmm try nginx.scmm-pol --only permissive --json -- podman run nginx nginx -t

\b
Exit status: 0 if both runs ended alike and nothing would be refused, 1 if not, 2 for bad input, 128 + N if signal N
ended it."""
_OUT = "leave it out"


@click.command("try", epilog=_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("policy", metavar="POLICY")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="-- docker|podman run …")
@click.option(
    "-m",
    "--mode",
    type=click.Choice(["standard", "strict", "seccomp"]),
    default="standard",
    show_default=True,
    help="How the second run is held, as with `scmm enforce`.",
)
@click.option("--only", type=click.Choice([PERMISSIVE, "enforced"]), help="One of the two runs alone.")
@click.option("--duration", callback=seconds, metavar="SECONDS", help="Stop the container after this time, each run.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the result as JSON on stdout, after what was printed there."
)
def try_(
    *, policy: str, command: Sequence[str], mode: str, only: str | None, duration: float | None, as_json: bool
) -> int:
    """Run a container twice under POLICY: first refusing nothing and telling what would be, then refusing it.

    It is the container that you always run, and is removed after each run. podman needs nothing installed, and nothing
    of the host is changed; Docker needs to know scmm-runc (`scmm install docker`).

    No kernel has a permissive mode for files, ports and users: what is refused of these, the second run shows by the
    way it ends.
    """
    data, findings, parsed = _checked(policy, command)
    if os.geteuid():
        raise Failure("scmm-runc needs root, and an engine that root's containers run in", "sudo scmm try …")
    tell(findings)
    modes = {None: [PERMISSIVE, mode], PERMISSIVE: [PERMISSIVE]}.get(only, [mode])
    try:
        runs, stopped = run_all(parsed, data, modes, duration=duration)
    except CannotExecute as error:
        return fail(error)
    tried = Tried(policy, data, runs, len(modes), os.uname().machine)
    show(tried, as_json=as_json)
    return 128 + stopped if stopped else int(not tried.serves)


def _checked(policy: str, command: Sequence[str]) -> tuple[bytes, list[Finding], EngineCommand]:
    """The compiled policy, what it does not hold, and the command. Raises BadInput with all that is wrong."""
    problems: list[Problem] = []
    data: bytes | None = None
    findings: list[Finding] = []
    parsed = None
    try:
        made = compiled(policy, Overrides(None, None, ()), from_machine(os.uname().machine))
        findings = made.findings
        data = read_bounded(policy, MAX_BYTES) if made.data is None else made.data
    except BadInput as error:
        problems += error.problems
    try:
        parsed = parse(command)
        problems += _unfit(parsed)
    except BadInput as error:
        problems += error.problems
    if problems or data is None or parsed is None:
        raise BadInput(problems)
    return data, findings, parsed


def _unfit(command: EngineCommand) -> list[Problem]:
    """What of a command does not go with being run twice, under a policy of ours."""
    found = engine_recording.elsewhere(command, os.environ)
    wrong = {
        "-d leaves the container in the background, and its end is waited for": command.is_set("detach"),
        "--restart starts the container again by itself": command.last("restart") not in (None, "", "no", "never"),
        "--rm=false keeps the container, and each run's is removed": command.last("rm") == "false",
        "--cidfile names a file that may not be there, and the second run would find it": bool(command.last("cidfile")),
    }
    found += [Problem(PLACE, what, _OUT) for what, is_so in wrong.items() if is_so]
    given = {*command.pairs("annotation"), *command.pairs("env", os.environ)}
    said = [each for each in (names.POLICY, names.MODE, "SCMM_POLICY", "SCMM_MODE") if each in given]
    return found + [Problem(PLACE, f"{each} names a policy, and another is tried", _OUT) for each in said]
