"""How a container that `docker run` or `podman run` starts comes to be recorded.

podman's hooks are those that are installed; where there are none, a pair of our own beside the captures, which only
commands that name it see. Docker has no hooks directory, so it needs scmm-runc. Called by cli.record_run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scmm_oci.errors import BadInput, Failure, Problem, short, unknown_value
from scmm_oci.files import reason
from scmm_oci.oci import annotations as names
from scmm_oci.recorder import engine_answers, installation
from scmm_oci.recorder import settings as settings_module
from scmm_oci.recorder.engine_command import PLACE, EngineCommand
from scmm_oci.recorder.engines import Engine
from scmm_oci.recorder.hook import default_name
from scmm_oci.recorder.installation import Layout
from scmm_oci.recorder.ledger import private_directory
from scmm_oci.recorder.settings import Settings

HOOKS = ".hooks"  # beside the captures: where no hooks are installed
_MOST_NAME = 100  # leaves room for what tells two recordings apart
_MOST_DESCRIPTOR = 64 << 10
_REMOTE = ("remote", "url", "host", "connection", "context", "ssh")
_IN_REACH = "only this one's containers are in reach"


@dataclass(frozen=True)
class Wanted:
    """What the command itself says of the recording.

    Attributes:
        name: the capture's; None where it says nothing.
        asks: it asks for a recording by itself, and `required` is not to be weakened.
        depth: of the order of calls; None where it says nothing.
    """

    name: str | None
    asks: bool
    depth: str | None = None


@dataclass(frozen=True)
class Planned:
    """The words that start the container and have it recorded; settings: of the hooks that will do it."""

    words: list[str]
    settings: Settings


def elsewhere(command: EngineCommand, environ: Mapping[str, str]) -> list[Problem]:
    """What says that the container would run on another machine than this one; of a context, nobody can tell."""
    if command.engine is Engine.DOCKER:
        given = command.last("host")
        place, what, value = PLACE, "--host", given
        if given is None and command.last("context") is None:
            place, what, value = "DOCKER_HOST", "is set", environ.get("DOCKER_HOST")
        if value is None or _is_here(value):
            return []
        return [Problem(place, f"{what}: {short(value)} is an engine on another machine", _IN_REACH)]
    problems = [
        Problem(PLACE, f"--{option} is for an engine on another machine", _IN_REACH)
        for option in _REMOTE
        if command.last(option) not in (None, "false", "default")
    ]
    return problems + [
        Problem(variable, "is set: podman would start the container elsewhere", "unset it")
        for variable in ("CONTAINER_HOST", "CONTAINER_CONNECTION")
        if environ.get(variable)
    ]


def _is_here(host: str) -> bool:
    """Whether Docker's client finds a daemon of this machine there: docker(1), --host. What has no scheme is TCP."""
    scheme, colons, rest = host.partition("://")
    if not colons:
        scheme, rest = "tcp", host
    if scheme != "tcp":
        return scheme in ("unix", "fd")
    name = rest.partition("/")[0].rpartition("@")[2]
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    return name in ("", "localhost", "::1") or name.startswith("127.")


def wanted(command: EngineCommand, environ: Mapping[str, str]) -> Wanted:
    """What the command says of recording.

    Raises:
        BadInput: it says that there is to be none, or cannot be recorded here; with all of that.
    """
    given = command.pairs("annotation")
    variables = command.pairs("env", environ) if command.engine is Engine.DOCKER else {}
    problems = elsewhere(command, environ)
    record = given.get(names.RECORD, variables.get("SCMM_RECORD"))
    if record not in (None, "true", "1", "required"):
        what = names.RECORD if names.RECORD in given else "SCMM_RECORD"
        problems.append(Problem(PLACE, f"{what}={short(record)} says that it is not recorded", "leave it out"))
    name = given.get(names.NAME, variables.get("SCMM_NAME"))
    if name is not None and not names.is_capture_name(name):
        problems.append(Problem(PLACE, f"{short(name)} is not a capture's name", names.NAME_RULE))
    depth = given.get(names.DEPTH, variables.get("SCMM_DEPTH"))
    if depth is not None and depth not in names.DEPTHS:
        what = names.DEPTH if names.DEPTH in given else "SCMM_DEPTH"
        problems.append(unknown_value(PLACE, f"a depth ({what})", depth, names.DEPTHS))
    if problems:
        raise BadInput(problems)
    return Wanted(name, record is not None, depth)


def usual_name(command: EngineCommand) -> str:
    """What a capture is called where nobody says: after the container, else after the image without its tag."""
    image = command.image.partition("@")[0].rstrip("/").rpartition("/")[2].partition(":")[0]
    return default_name(command.last("name") or image or "container")[:_MOST_NAME]


def by_podman(
    command: EngineCommand, wish: Wanted, name: str, *, depth: str | None, settings: Settings, config: Path
) -> Planned:
    """How to start the container by podman.

    Args:
        name: the capture's, depth: of the order of calls, or None for the usual; used where the command has none.
        settings, config: those of hooks of our own, and where they are written.

    Raises:
        Failure: there are no hooks, and none can be made.
    """
    asks = [] if wish.asks else [f"--annotation={names.RECORD}=true"]
    asks += [] if wish.name is not None else [f"--annotation={names.NAME}={name}"]
    asks += [] if wish.depth is not None or depth is None else [f"--annotation={names.DEPTH}={depth}"]
    given = command.parts("hooks-dir")
    places = given or engine_answers.podman_hooks_dirs(command.client)
    for place in places:
        used = _descriptor(Path(place))
        if used is not None:
            return Planned(command.with_options(asks), used)
    ours = _own_hooks(settings, config)
    # One that is given stands in the place of all that are configured.
    more = [f"--hooks-dir={each}" for each in ([] if given else places)]
    return Planned(command.with_options(asks, globals=[*more, f"--hooks-dir={ours}"]), settings)


def by_docker(
    command: EngineCommand, wish: Wanted, name: str, *, depth: str | None, runtime: Sequence[str], hook: str
) -> Planned:
    """How to start the container by Docker.

    Args:
        name, depth: as above.
        runtime: the options that say scmm-runc, if the command does not.
        hook: the starter of the hooks that it is set to.

    Raises:
        Failure: the hooks are not there.
    """
    asks = [] if wish.asks else ["--env=SCMM_RECORD=1"]
    asks += [] if wish.name is not None else [f"--env=SCMM_NAME={name}"]
    asks += [] if wish.depth is not None or depth is None else [f"--env=SCMM_DEPTH={depth}"]
    again = "run scmm install docker again"
    if not os.access(hook, os.X_OK):
        raise Failure(f"{hook}, which records, is not there or not executable", again)
    try:
        used = settings_module.read(os.path.join(os.path.dirname(hook), installation.SETTINGS))
    except (OSError, ValueError) as error:
        raise Failure(f"what {hook} is set to cannot be read: {reason(error)}", again) from None
    return Planned(command.with_options([*runtime, *asks]), used)


def _descriptor(directory: Path) -> Settings | None:
    """The settings of our hooks, if a directory has them and they can be run. podman leaves out what it cannot run."""
    try:
        with (directory / installation.DESCRIPTORS[0]).open("rb") as file:
            found: Any = json.loads(file.read(_MOST_DESCRIPTOR))
        starter = Path(str(found["hook"]["path"]))
        if not os.access(starter, os.X_OK) or not (directory / installation.DESCRIPTORS[1]).exists():
            return None
        return settings_module.read(str(starter.parent / installation.SETTINGS))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _own_hooks(settings: Settings, config: Path) -> Path:
    """A hook pair beside the captures; the directory for podman. It stays, as containers may outlive who made it."""
    base = Path(settings.capture_dir) / HOOKS
    before = os.umask(0o077)  # the directories above get no mode of their own
    try:
        private_directory(str(base))
        refuses = bool(os.statvfs(base).f_flag & os.ST_NOEXEC)
    except OSError as error:
        raise Failure(f"no hooks are installed, and none can be put beside the captures: {error.strerror}") from None
    finally:
        os.umask(before)
    if refuses:
        raise Failure(f"no hooks are installed, and {base} is mounted noexec", "scmm hooks install")
    layout = Layout(hooks_dir=base / "hooks.d", libexec_dir=base / "libexec", config=config)
    wished = installation.files(layout)
    if any(not path.exists() or path.read_bytes() != content for path, (content, _) in wished.items()):
        installation.install(layout)
    return layout.hooks_dir
