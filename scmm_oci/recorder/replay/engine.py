"""An engine that a replay starts containers with: podman or Docker, by its own command. Nothing is started here.

The engine is whichever the user's own command reaches, with its configuration (DOCKER_HOST, CONTAINERS_CONF …).

Facts relied on: podman-info(1) (host.ociRuntime), docker info (Runtimes), image inspect (Config.Entrypoint and Cmd of
the OCI image-spec), container inspect (State), podman(1) and dockerd(8): `--runtime`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from scmm_oci.errors import BadInput, Failure, Problem, printable, short
from scmm_oci.recorder import engine_answers
from scmm_oci.recorder.engines import Engine
from scmm_oci.recorder.replay import leftovers, runtimes
from scmm_oci.recorder.replay.cells import Runtime
from scmm_oci.recorder.runtimes import KNOWN

# What containers of replays are known by, beside their names.
LABEL = "scmm.replay"
# Which options of `run` a replay gives itself, and why others may not.
_OWN = ("--name", "--rm", "--detach", "-d", "--entrypoint", "--runtime", "--security-opt", "--cidfile", "--restart")
_OPENS = {
    "--privileged": "the engine then drops the profile",
    "--pid": "programs are found by their PID namespace",
    # podman-run(1): `image` puts the profile in the image's label before that of --security-opt.
    "--seccomp-policy": "podman then takes the image's profile",
}
_MEANS_NOTHING = ("", "false", "private", "default")
# crun(1): run.oci.seccomp_bpf_data= and others say what filter there is instead.
_FILTERS = "--annotation=run.oci.seccomp"


@dataclass(frozen=True)
class State:
    """What an engine says of a container: whether its program was started and still runs, its host pid, its end."""

    started: bool
    running: bool
    pid: int
    status: int


@dataclass(frozen=True)
class Client:
    """An engine's command.

    Attributes:
        program: its path.
        named: how the engine is told each runtime.
    """

    engine: Engine
    program: str
    named: tuple[tuple[Runtime, str], ...] = ()

    @property
    def runtimes(self) -> tuple[Runtime, ...]:
        return tuple(runtime for runtime, _ in self.named)

    def words(self, verb: str, rest: Sequence[str], runtime: Runtime | None = None) -> list[str]:
        """A command line. podman is told the runtime before the verb, and for each verb; Docker keeps it."""
        name = dict(self.named).get(runtime) if runtime is not None else None
        ahead = ["--runtime", name] if name is not None and self.engine is Engine.PODMAN else []
        behind = [f"--runtime={name}"] if name is not None and self._takes_runtime(verb) else []
        return [self.program, *ahead, verb, *behind, *rest]

    def ask(self, verb: str, *rest: str, runtime: Runtime | None = None) -> str:
        """What a verb prints.

        Raises:
            Failure: it fails, with the engine's last words.
        """
        return engine_answers.asked(self.words(verb, rest, runtime), named=False)

    def state(self, name: str, runtime: Runtime) -> State:
        """What the engine says of a container. Raises Failure."""
        found = _object(self.ask("container", "inspect", name, runtime=runtime)).get("State")
        if not isinstance(found, dict):
            raise Failure(f"{self.engine} container inspect: an answer without a State")
        # Engines write the year 1 for a container that was never started.
        started = not str(found.get("StartedAt") or "0001").startswith("0001")
        running = found.get("Status") not in ("exited", "stopped", "dead") and started
        return State(started, running, int(found.get("Pid") or 0), int(found.get("ExitCode") or 0))

    def cgroup_driver(self) -> str:
        """Who makes cgroups: ``cgroupfs`` or ``systemd``. Raises Failure."""
        place = ".Host.CgroupManager" if self.engine is Engine.PODMAN else ".CgroupDriver"
        return printable(self.ask("info", f"--format={{{{{place}}}}}").strip())

    def remove(self, name: str) -> None:
        """Kill and remove a container, whatever its state, with its volumes; one that is gone is no Failure."""
        hurry = ["--time=0", "--ignore"] if self.engine is Engine.PODMAN else []
        try:
            self.ask("rm", "--force", "--volumes", *hurry, name)
        except Failure as error:
            if "No such container" not in error.message:
                raise

    def sweep(self) -> None:
        """Remove containers of replays that are over, as their scratch directories are gone. Raises Failure."""
        listed = self.ask("ps", "--all", f"--filter=label={LABEL}", "--format={{.Names}}")
        for name in listed.split():
            tag = name.rpartition("-e")[0]
            if tag.startswith(leftovers.PREFIX) and not os.path.isdir(os.path.join(leftovers.PLACE, tag)):
                self.remove(name)

    def _takes_runtime(self, verb: str) -> bool:
        return self.engine is Engine.DOCKER and verb in ("run", "create")


def find(engine: Engine, words: Sequence[str]) -> Client:
    """An engine's command, and its runtimes of these names; without any, those of KNOWN that it has.

    Raises:
        BadInput: there is no such command, or the engine lacks one of the runtimes; with all such.
        Failure: the engine does not answer.
    """
    program = shutil.which(engine)
    if program is None:
        raise BadInput([Problem("--engine", f"there is no program {engine}", "install it, or choose the other engine")])
    client = Client(engine, program)
    named: list[tuple[Runtime, str]] = []
    problems: list[Problem] = []
    paths = _of_docker(client) if engine is Engine.DOCKER else None
    for word in dict.fromkeys(words or KNOWN):
        try:
            path = _of_podman(client, word) if paths is None else paths[word]
            (runtime,) = runtimes.find([path])
        except (KeyError, Failure) as error:
            if words:
                problems.append(_unknown(engine, word, error, paths))
            continue
        named.append((replace(runtime, name=word.rpartition("/")[2]), word))
    if not named and not problems:
        problems.append(Problem("--runtime", f"{engine} has none of {', '.join(KNOWN)}", "give the name of one"))
    if problems:
        raise BadInput(problems)
    return replace(client, named=tuple(named))


def command_of(client: Client, image: str, args: Sequence[str]) -> tuple[str, ...]:
    """The words that a container of an image executes: its entrypoint, and the arguments or else its own.

    Raises:
        BadInput: there is no such image, or it has nothing to execute.
    """
    try:
        config = _object(client.ask("image", "inspect", image)).get("Config") or {}
    except Failure as error:
        hint = "replays pull nothing: pull or build it first"
        raise BadInput([Problem("--image", f"{short(image)}: {error.message}", hint)]) from None
    found = [*(config.get("Entrypoint") or ()), *(args or config.get("Cmd") or ())]
    if not found:
        hint = "give it behind --"
        raise BadInput([Problem("--image", f"{short(image)} does not say which program it executes", hint)])
    return tuple(map(str, found))


def check_options(options: Sequence[str]) -> None:
    """Look at what users add to `run` and `create`.

    Raises:
        BadInput: some are the replay's own, or would leave nothing to be tried; with all such.
    """
    problems = []
    for option in options:
        name, equals, value = option.partition("=")
        if not option.startswith("-"):
            problems.append(Problem("--engine-option", f"{short(option)}: an option with '-' expected", "write -v=…"))
        elif name in _OPENS and not (equals and value in _MEANS_NOTHING):
            problems.append(Problem("--engine-option", f"{name} cannot be replayed: {_OPENS[name]}"))
        elif option.startswith(_FILTERS):
            problems.append(Problem("--engine-option", f"{short(option)} says another filter than the profile's"))
        elif name in _OWN and not _harmless(name, value):
            problems.append(Problem("--engine-option", f"{name} is given by the replay itself"))
    if problems:
        raise BadInput(problems)


def _harmless(name: str, value: str) -> bool:
    return name == "--security-opt" and not value.startswith(("seccomp", "no-new-privileges"))


def _unknown(engine: Engine, word: str, error: Exception, paths: dict[str, str] | None) -> Problem:
    if isinstance(error, Failure):
        return Problem("--runtime", f"{short(word)}: {error.message}", "give a name that the engine knows, or a path")
    known = ", ".join(sorted(paths or ()))
    hint = "register it in daemon.json: scmm install docker has an example"
    return Problem("--runtime", f"{engine} has no runtime {short(word)}; it has {known}", hint)


def _of_podman(client: Client, word: str) -> str:
    words = [client.program, "--runtime", word, "info", "--format={{json .Host.OCIRuntime}}"]
    told = _object(f"[{engine_answers.asked(words, named=False)}]")
    path = told.get("path")
    if not isinstance(path, str):
        raise Failure("podman does not say where it is")
    return path


def _of_docker(client: Client) -> dict[str, str]:
    told = _object(f"[{client.ask('info', '--format={{json .Runtimes}}')}]")
    return {name: str(one["path"]) for name, one in told.items() if isinstance(one, dict) and one.get("path")}


def _object(text: str) -> dict[str, Any]:
    """The first object of a JSON array."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, list) or not found or not isinstance(found[0], dict):
        raise Failure("the engine gives an answer that is not understood")
    return found[0]
