"""A starter of raw bundles: one container in one way, and how it ended.

A runtime's error is told apart from the program's exit status by the runtime's own log, which is asked for as JSON:
it has an error in the first case only.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scmm_oci.errors import printable
from scmm_oci.recorder.replay import reaping
from scmm_oci.recorder.replay.bundle import Config, Source, configured
from scmm_oci.recorder.replay.cells import RUNS, Cell, Ran
from scmm_oci.recorder.replay.ground import Ground
from scmm_oci.recorder.replay.starter import Opener, Recorder
from scmm_oci.recorder.replay.waiting import Output, ended, run, started
from scmm_oci.tables.floor import Verb

# Seconds for a verb that does not wait for the program.
_PATIENCE = 30.0
# What a busy machine's runtime is given beyond the program's time, and in which slices it is looked at.
_GRACE, _SLICE = 10.0, 0.05
# How a container runs whose program has ended: runc waits for all that hold its output.
_WITHOUT = f"{RUNS} without its first process"
_MOST_LOG = 1 << 20
_MOST_MESSAGE = 300


class _GaveUp(Exception):
    """The runtime failed in a step."""

    def __init__(self, step: str, message: str) -> None:
        super().__init__(step)
        self.ran = Ran(None, step, message)


@dataclass(frozen=True)
class Bundles:
    """A starter.Starter: each start is of a fresh layer over the bundle's root, by the runtime itself.

    For `exec` a container is created, and not started: the program is executed in it beside its own. (runc 1.1.5 and
    crun 1.8.1 do this; what the container's own program needs is then asked of the two other verbs.)
    """

    ground: Ground
    source: Source

    def start(self, cell: Cell, *, seccomp: Config | None, seconds: float, recorder: Recorder | None = None) -> Ran:
        """See starter.Starter.start."""
        with self.ground.layer(self.source.root) as (bundle, name), Output() as output:
            config = configured(
                self.source,
                root=f"{bundle}/rootfs",
                cgroup=f"/{name}",
                no_new_privileges=cell.no_new_privileges,
                seccomp=seccomp,
                hook=recorder.hook if recorder is not None else None,
                name=recorder.name if recorder is not None else "",
            )
            Path(bundle, "config.json").write_text(json.dumps(config))
            one = _Container(self.ground, cell, bundle, name, seconds, output)
            try:
                return one.perform(config)
            except _GaveUp as error:
                return error.ran
            finally:
                one.delete()


def bundles(source: Source) -> Opener:
    """What opens a starter of this bundle."""
    return lambda ground: nullcontext(Bundles(ground, source))


class _Container:
    def __init__(self, ground: Ground, cell: Cell, bundle: str, name: str, seconds: float, output: Output) -> None:
        self._ground, self._bundle, self._name, self._seconds = ground, bundle, name, seconds
        self._output, self._stop = output, ground.stop
        self._runtime = cell.runtime.path
        self._binary = os.path.realpath(cell.runtime.path)
        self._verb = cell.verb
        self._log = f"{bundle}/log"
        self._pid = f"{bundle}/pid"
        self._known = reaping.children()

    def perform(self, config: dict[str, Any]) -> Ran:
        where = f"--bundle={self._bundle}", f"--pid-file={self._pid}"
        if self._verb is Verb.RUN:
            return self._foreground("run", [*where, self._name], self._pid)
        self._brief("create", [*where, self._name])
        if self._verb is Verb.CREATE:
            child = self._read(self._pid)
            self._brief("start", [self._name])
            return self._ended(child)
        process, pid = f"{self._bundle}/process.json", f"{self._bundle}/pid-exec"
        Path(process).write_text(json.dumps(config["process"]))
        return self._foreground("exec", [f"--process={process}", f"--pid-file={pid}", self._name], pid)

    def delete(self) -> None:
        """Remove the container, whatever its state. Its poststop hooks run here, if not before."""
        # Whoever is a zombie of ours would keep the runtime waiting.
        reaping.finish(known=self._known)
        if os.path.isdir(os.path.join(self._ground.state, self._name)):
            words = self._words("delete", ["--force", self._name])
            with suppress(OSError):
                run(words, cwd=self._bundle, output=self._output, seconds=_PATIENCE, stop=None)
        reaping.finish(known=self._known)

    def _words(self, verb: str, rest: Sequence[str]) -> list[str]:
        head = [self._runtime, f"--root={self._ground.state}", f"--log={self._log}", "--log-format=json"]
        return [*head, verb, *rest]

    def _brief(self, verb: str, rest: Sequence[str]) -> None:
        """A verb that does not wait for the program."""
        words = self._words(verb, rest)
        try:
            status = run(words, cwd=self._bundle, output=self._output, seconds=_PATIENCE, stop=self._stop)
        except OSError as error:
            raise _GaveUp(verb, f"cannot be executed: {error.strerror}") from None
        if status is None:
            raise _GaveUp(verb, f"did not end within {_PATIENCE:.0f} s")
        if status:
            raise _GaveUp(verb, self._error() or self._said(verb) or f"ended with status {status}")

    def _foreground(self, verb: str, rest: Sequence[str], pid: str) -> Ran:
        """A verb that ends with the program."""
        try:
            with started(self._words(verb, rest), cwd=self._bundle, output=self._output) as (process, handle):
                program = self._until(verb, handle, lambda: self._read(pid))
                if program:
                    return Ran(program)
                status = process.wait()
        except OSError as error:
            raise _GaveUp(verb, f"cannot be executed: {error.strerror}") from None
        message = self._error()
        if message and status:
            raise _GaveUp(verb, message)
        return Ran(status if status >= 0 else 128 - status)

    def _ended(self, child: int) -> Ran:
        """The end of a created container's first process, which has become our child."""
        try:
            handle = os.pidfd_open(child)
        except (OSError, ValueError):
            raise _GaveUp("start", "the container's process is gone") from None
        try:
            program = self._until("start", handle, lambda: child)
            if program:
                return Ran(program)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        except ChildProcessError:
            raise _GaveUp("start", "the container's process is no child of ours") from None
        finally:
            os.close(handle)
        return Ran(code if code >= 0 else 128 - code)

    def _until(self, step: str, handle: int, child: Callable[[], int]) -> str:
        """Wait for a process: "" if it has ended, or how it runs if it does not in the time it is given.

        Args:
            child: the container's first process; 0 as long as there is none.
        """
        seconds, last = self._seconds, time.monotonic() + self._seconds + _GRACE
        while not ended(handle, seconds, output=self._output, stop=self._stop):
            pid = child()
            program = self._program(pid)
            if program and not ended(handle, 0, output=self._output, stop=self._stop):
                return f"{RUNS} {program}"
            # A busy machine's runtime may not have executed the program yet, or not have noticed its end.
            if time.monotonic() > last:
                if pid and not os.path.exists(f"/proc/{pid}/exe"):
                    return _WITHOUT
                raise _GaveUp(step, "the runtime has not executed the program in time")
            seconds = _SLICE
        return ""

    def _program(self, pid: int) -> str:
        """What a process executes, as its container sees it; "" if that is the runtime still."""
        try:
            path = os.readlink(f"/proc/{pid}/exe") if pid else ""
        except OSError:
            return ""
        # runc and crun execute a copy of themselves in memory, or bind-mounted and detached: that reads "/".
        if path == "/" or path.startswith("/memfd:") or path.removesuffix(" (deleted)") == self._binary:
            return ""
        return path.removeprefix(f"{self._bundle}/rootfs")

    def _read(self, path: str) -> int:
        with suppress(OSError, ValueError):
            return int(Path(path).read_text())
        return 0

    def _said(self, verb: str) -> str:
        """The last line that a runtime wrote to nobody's log; "" where it may be the program's."""
        self._output.drop()
        lines = self._output.last.decode(errors="replace").split("\n") if verb == "create" else []
        return next((printable(line.strip())[:_MOST_MESSAGE] for line in reversed(lines) if line.strip()), "")

    def _error(self) -> str:
        """The last error in the runtime's log, on one line; "" if there is none."""
        found = ""
        with suppress(OSError), open(self._log, "rb") as log:
            for line in log.read(_MOST_LOG).splitlines():
                with suppress(ValueError):
                    entry = json.loads(line)
                    if isinstance(entry, dict) and entry.get("level") in ("error", "fatal"):
                        found = str(entry.get("msg", ""))
        return printable(found.strip())[:_MOST_MESSAGE]
