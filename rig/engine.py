"""What podman and Docker have in common: the verbs of their clients, private state and a clean end.

The two clients take the same words for import, run, exec, kill, rm, inspect, logs and wait; where the engines
differ (how they are configured, started and taken down) the subclasses in `podman` and `docker` say so.
"""

from __future__ import annotations

import json
import secrets
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from rig.cgroup import child_cgroup
from rig.leftovers import end_processes, processes_naming
from rig.mounts import private_dir
from rig.process import Completed, DeadlineError, RigError, run, wait_until

Network = Literal["none", "host"]


def image_ref(name: str) -> str:
    """A full local reference, so that no engine thinks of a registry: localhost/NAME:latest."""
    name = name if "/" in name else f"localhost/{name}"
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


class Engine(ABC):
    """A container engine with private state, usable as a context manager."""

    kind: str

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._env: dict[str, str] = {}
        self.base = Path()
        self.cgroup = Path()

    @abstractmethod
    def command(self) -> tuple[str, ...]:
        """The client with its global options; what every verb is appended to."""

    @abstractmethod
    def _start(self) -> None:
        """Write the configuration into `base` and start what has to run."""

    @abstractmethod
    def _stop(self) -> None:
        """Remove the containers and stop what runs."""

    def open(self) -> Self:
        """Make the private directory and cgroup, and start the engine."""
        try:
            self.base = self._stack.enter_context(private_dir(self.kind))
            self.cgroup = self._stack.enter_context(child_cgroup(self.kind, empty_s=2.0))
            self._stack.callback(self._end_leftovers)
            self._stack.callback(self._stop)
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Remove every container, process, mount, cgroup and directory of this engine."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __call__(self, *words: str, check: bool = True, timeout: float = 60.0, input: str | None = None) -> Completed:
        """Any verb of the client: engine("ps", "-a")."""
        return run([*self.command(), *words], env=self._env, check=check, timeout=timeout, input=input)

    def environ(self) -> dict[str, str]:
        """The environment for `command()`."""
        return dict(self._env)

    def import_image(self, name: str, tar: Path, *, changes: Sequence[str] = ()) -> str:
        """Import a root tar (`changes` as in `import --change`); returns the reference to run."""
        ref = image_ref(name)
        options = [word for change in changes for word in ("--change", change)]
        self("import", *options, str(tar), ref, timeout=300)
        return ref

    def run(
        self,
        image: str,
        *args: str,
        options: Sequence[str] = (),
        network: Network = "none",
        name: str | None = None,
        input: str | None = None,
        check: bool = True,
        timeout: float = 60.0,
    ) -> Completed:
        """Run a container to its end and remove it."""
        words = [*self.run_words(network, name, options), "--rm", *(["-i"] if input is not None else [])]
        return self("run", *words, image, *args, check=check, timeout=timeout, input=input)

    def run_detached(
        self,
        image: str,
        *args: str,
        options: Sequence[str] = (),
        network: Network = "none",
        name: str | None = None,
        timeout: float = 60.0,
    ) -> str:
        """Start a container in the background; returns its name. It stays until rm() or close()."""
        name = name or f"rig-{secrets.token_hex(4)}"
        self("run", "--detach", *self.run_words(network, name, options), image, *args, timeout=timeout)
        return name

    def exec(
        self,
        name: str,
        *args: str,
        options: Sequence[str] = (),
        input: str | None = None,
        check: bool = True,
        timeout: float = 60.0,
    ) -> Completed:
        """Run a command in a running container."""
        flags = [*options, *(["-i"] if input is not None else [])]
        return self("exec", *flags, name, *args, check=check, timeout=timeout, input=input)

    def kill(self, name: str, *, signal: str = "KILL") -> None:
        """Send the container's first process a signal."""
        self("kill", "--signal", signal, name)

    def wait(self, name: str, *, timeout: float = 60.0) -> int:
        """Wait for the container's end; its exit status."""
        return int(self("wait", name, timeout=timeout).stdout.split()[-1])

    def rm(self, name: str) -> None:
        """Kill and remove a container."""
        self("rm", "--force", "--volumes", name)

    def logs(self, name: str) -> str:
        """Everything the container wrote: standard output, then standard error."""
        done = self("logs", name)
        return done.stdout + done.stderr

    def inspect(self, name: str) -> dict[str, Any]:
        """The engine's own description of a container."""
        found = json.loads(self("inspect", name).stdout)
        if not isinstance(found, list) or not found or not isinstance(found[0], dict):
            raise RigError(f"{self.kind} inspect {name}: not a list of objects")
        return found[0]

    def pid(self, name: str) -> int:
        """The host's process id of a running container's first process; 0 when it has ended."""
        return int(self.inspect(name)["State"]["Pid"])

    def run_words(self, network: Network, name: str | None, options: Sequence[str]) -> list[str]:
        """What stands behind `run` and `create` for a container of the rig's, before the image."""
        named = ["--name", name] if name else []
        return ["--pull=never", f"--network={network}", *named, *self.placement(), *options]

    def placement(self) -> Sequence[str]:
        """Options that put each container below the rig's cgroup, where the daemon does not do it."""
        return ()

    def _end_leftovers(self, *, helpers_s: float = 5.0) -> None:
        """Let conmon (it still runs `podman container cleanup`), shims and containerd end; else end them."""
        try:
            wait_until(lambda: not processes_naming(self.base), deadline_s=helpers_s, what="helpers ended")
        except DeadlineError:
            end_processes(processes_naming(self.base), naming=self.base)
