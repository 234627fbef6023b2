"""``scmm record run -- docker run …``: what starts a container as the user types it, and the recording of that."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from scmm_oci.cli.attended import attend, paused
from scmm_oci.cli.docker_shim import docker_shim
from scmm_oci.cli.outcome import report
from scmm_oci.cli.output import data, fail, plain, say
from scmm_oci.cli.place_options import config_option
from scmm_oci.cli.recording import WAITED
from scmm_oci.errors import BadInput, Failure, Problem
from scmm_oci.files import check_writable
from scmm_oci.kernel.signals import Signals
from scmm_oci.oci.annotations import DEPTHS, MAX_NAME, NAME_RULE, is_capture_name
from scmm_oci.recorder import engine_captures, engine_recording, installation, target, users
from scmm_oci.recorder.command import CannotExecute
from scmm_oci.recorder.engine_captures import State
from scmm_oci.recorder.engine_command import EngineCommand, parse
from scmm_oci.recorder.engine_recording import Planned, Wanted
from scmm_oci.recorder.engines import Engine
from scmm_oci.recorder.settings import Settings

_EXAMPLE = """\b
Examples:
  scmm-record run -- podman run --rm -it alpine sh
  scmm-record run -o web.scmm-cap -- docker run --rm -p 8080:80 nginx
  scmm-record run --name web -- podman run -d nginx"""

# How long a capture may take once its container has ended, and a container to end once the engine has, in seconds.
_PATIENCE_S = 30.0
_GRACE_S = 3.0
_LOOK_S = 0.05
# What both engines end with where they, or the runtime, started no program; a program may end so, too.
_NOT_STARTED = (125, 126, 127)


@dataclass(frozen=True)
class _Run:
    """What is run: recorded is the name it is recorded under, and name what the capture is called."""

    command: EngineCommand
    planned: Planned
    recorded: str
    name: str
    output: str | None
    quiet: bool
    as_json: bool


@click.command(
    name="run",
    epilog=_EXAMPLE,
    context_settings={"help_option_names": ["-h", "--help"], "allow_interspersed_args": False},
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="-- docker|podman run …")
@click.option("-o", "--output", metavar="FILE", help="Write the capture here.  [default: the capture directory]")
@click.option("--name", help="The capture's name.  [default: the file's, the container's, or the image's]")
@click.option(
    "--depth",
    type=click.Choice(DEPTHS),
    help=f"How many calls that followed one another are kept.  [default: {DEPTHS[0]}]",
)
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the result as JSON on stdout, after what was printed there."
)
@config_option
def record_run(
    *,
    command: Sequence[str],
    output: str | None,
    name: str | None,
    depth: str | None,
    quiet: bool,
    as_json: bool,
    config: Path,
) -> int:
    """Run a container as you always do, recorded from its first call on.

    What has to be said to the engine besides is put behind `run`. podman needs nothing installed; Docker needs to know
    scmm-runc (`scmm install docker`). The terminal, streams and signals are the engine's, and its exit status is ours.
    With -d the recording ends with the container.
    """
    wish = _checked(command, output=output, name=name, depth=depth, as_json=as_json)
    if os.geteuid():
        raise Failure("recording needs root, and an engine that root's containers run in", "sudo scmm-record run …")
    parsed, wanted = wish
    final = wanted.name or name or (target.capture_name(output) if output else engine_recording.usual_name(parsed))
    detached = parsed.is_set("detach")
    # A name that nobody else has tells this recording from all others; who is not there at its end cannot change it.
    recorded = wanted.name or (final if detached else f"{final}.{secrets.token_hex(4)}"[-MAX_NAME:])
    if output is not None:
        check_writable(output)
    settings = installation.configured(config)
    if parsed.engine is Engine.DOCKER:
        shim = docker_shim(parsed)
        planned = engine_recording.by_docker(
            parsed, wanted, recorded, depth=depth, runtime=shim.options, hook=shim.settings.hook
        )
    else:
        planned = engine_recording.by_podman(parsed, wanted, recorded, depth=depth, settings=settings, config=config)
    run = _Run(parsed, planned, recorded, final, output, quiet, as_json)
    with Signals(WAITED) as signals:
        return _run(run, signals, detached=detached)


def _checked(
    command: Sequence[str], *, output: str | None, name: str | None, depth: str | None, as_json: bool
) -> tuple[EngineCommand, Wanted]:
    """The command, and what it says of recording. Raises BadInput with all that is wrong."""
    problems = []
    parsed, wanted = None, None
    if output == "":
        problems.append(Problem("--output", "the file's name is empty", "is a variable unset?"))
    if name is not None and not is_capture_name(name):
        problems.append(Problem("--name", "is not a capture's name", NAME_RULE))
    try:
        parsed = parse(command)
        wanted = engine_recording.wanted(parsed, os.environ)
    except BadInput as error:
        problems += error.problems
    if parsed is not None and parsed.is_set("detach"):
        hint = "the capture is put into the capture directory when the container ends; --name says under which name"
        problems += [
            Problem(option, "does not go with a container that goes on in the background (-d)", hint)
            for option, there in (("--output", output), ("--json", as_json))
            if there
        ]
    if wanted is not None and wanted.name is not None and name is not None and name != wanted.name:
        problems.append(Problem("--name", f"the command says {plain(wanted.name)}", "give one of them"))
    if wanted is not None and wanted.depth is not None and depth not in (None, wanted.depth):
        problems.append(Problem("--depth", f"the command says {wanted.depth}", "give one of them"))
    if problems or parsed is None or wanted is None:
        raise BadInput(problems)
    return parsed, wanted


def _run(run: _Run, signals: Signals, *, detached: bool) -> int:
    settings = run.planned.settings
    earlier = engine_captures.stamp(settings, run.recorded)
    try:
        status = attend(run.planned.words, signals)
    except CannotExecute as error:
        return fail(error)
    patience = _GRACE_S if status in _NOT_STARTED else _PATIENCE_S
    standing = _awaited(settings, run.recorded, earlier, signals, patience=patience, detached=detached)
    if standing is State.ENDING:
        try:
            engine_captures.end(settings, run.recorded, now=time.time())
        except OSError as error:
            raise Failure(f"the capture is not saved: {error.strerror}", "scmm record --recover tries again") from None
        standing = engine_captures.state(settings, run.recorded, earlier=earlier)
    if standing is State.RECORDING:
        _goes_on(run)
        return status
    if standing is State.SAVED:
        user = users.invoking_user(os.environ)
        owner = (user.uid, user.gid) if user else None
        found = engine_captures.taken(settings, run.recorded, run.name, run.output, owner)
        if found is not None:
            _saved(run, *found, status)
            return status
    if not status:
        why = engine_captures.logged(settings, lambda line: "not recorded" in line or "not saved" in line)
        raise Failure("the container was not recorded", f"the hooks' log ends with: {why}" if why else "scmm doctor")
    if run.as_json:
        data({"path": None, "name": run.name, "exit_status": status})
    if not run.quiet:
        say(f"not recorded: {run.command.engine} ended with {status} before the container's program began")
    return status


def _awaited(
    settings: Settings,
    name: str,
    earlier: engine_captures.Stamp | None,
    signals: Signals,
    *,
    patience: float,
    detached: bool,
) -> State:
    """How the recording stands at last, or when the time (seconds) is over."""
    begun = time.monotonic()
    while True:
        standing = engine_captures.state(settings, name, earlier=earlier)
        waited = time.monotonic() - begun
        if standing in (State.SAVED, State.NONE):
            return standing
        if standing is State.RECORDING and (detached or waited > _GRACE_S):
            return standing
        if waited > patience or paused(signals, _LOOK_S):
            return standing


def _saved(run: _Run, path: str, document: dict[str, Any], status: int) -> None:
    report(document, path, status=status, as_json=run.as_json, quiet=run.quiet)
    if run.quiet:
        return
    if document["complete"]:
        say(f"next: scmm extract -i {plain(path)} -o {plain(run.name)}.scmm.yaml")
    else:
        say(f"next: scmm show {plain(path)}  # tells what is lacking, and why")


def _goes_on(run: _Run) -> None:
    if run.quiet:
        return
    container = run.command.last("name") or "CONTAINER"
    path = engine_captures.path_of(run.planned.settings, run.recorded)
    say(f"recording {plain(run.recorded)}; it ends with the container: {run.command.engine} stop {plain(container)}")
    say(f"the capture will be {plain(path)}; until then: scmm record --snapshot {plain(run.recorded)} -o FILE")
