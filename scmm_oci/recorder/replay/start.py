"""A starter of raw bundles: one container in one way, and how it ended.

A runtime's error is told apart from the program's exit status by the runtime's own log, which is asked for as JSON:
it has an error in the first case only.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Sequence
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
from scmm_oci.tables.floor import Verb

# Seconds for a verb that does not wait for the program.
_PATIENCE = 30.0
# What a busy machine's runtime is given beyond the program's time, and in which slices it is looked at.
_GRACE, _SLICE = 10.0, 0.05
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
        with self.ground.layer(self.source.root) as (bundle, name):
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
            one = _Container(self.ground, cell, bundle, name, seconds)
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
    def __init__(self, ground: Ground, cell: Cell, bundle: str, name: str, seconds: float) -> None:
        self._ground, self._bundle, self._name, self._seconds = ground, bundle, name, seconds
        self._runtime = cell.runtime.path
        self._verb = cell.verb
        self._log = f"{bundle}/log"
        self._pid = f"{bundle}/pid"
        self._child = 0
        self._known = reaping.children()
        self._busy: subprocess.Popen[bytes] | None = None

    def perform(self, config: dict[str, Any]) -> Ran:
        where = f"--bundle={self._bundle}", f"--pid-file={self._pid}"
        if self._verb is Verb.RUN:
            return self._foreground("run", [*where, self._name], self._pid)
        self._brief("create", [*where, self._name])
        self._child = self._read(self._pid)
        if self._verb is Verb.CREATE:
            self._brief("start", [self._name])
            return self._ended()
        process, pid = f"{self._bundle}/process.json", f"{self._bundle}/pid-exec"
        Path(process).write_text(json.dumps(config["process"]))
        return self._foreground("exec", [f"--process={process}", f"--pid-file={pid}", self._name], pid)

    def delete(self) -> None:
        """Remove the container, whatever its state. Its poststop hooks run here, if not before."""
        busy = frozenset({self._busy.pid}) if self._busy is not None else frozenset()
        if self._child:
            # Whoever is a zombie of ours would keep the runtime waiting.
            reaping.end(self._child, known=self._known | busy)
            self._child = 0
        if os.path.isdir(os.path.join(self._ground.state, self._name)):
            with suppress(subprocess.TimeoutExpired):
                self._call(self._words("delete", ["--force", self._name]), timeout=_PATIENCE)
        reaping.collect(known=self._known | busy)

    def _words(self, verb: str, rest: Sequence[str]) -> list[str]:
        head = [self._runtime, f"--root={self._ground.state}", f"--log={self._log}", "--log-format=json"]
        return [*head, verb, *rest]

    def _call(self, words: Sequence[str], *, timeout: float) -> int:
        with open(f"{self._bundle}/output", "ab") as output:
            done = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._bundle,
                timeout=timeout,
                check=False,
                start_new_session=True,
            )
        return done.returncode

    def _brief(self, verb: str, rest: Sequence[str]) -> None:
        try:
            status = self._call(self._words(verb, rest), timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            raise _GaveUp(verb, f"did not end within {_PATIENCE:.0f} s") from None
        if status:
            raise _GaveUp(verb, self._error() or f"ended with status {status}")

    def _foreground(self, verb: str, rest: Sequence[str], pid: str) -> Ran:
        """A verb that ends with the program."""
        with open(f"{self._bundle}/output", "ab") as output:
            process = subprocess.Popen(
                self._words(verb, rest),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._bundle,
                start_new_session=True,
            )
            self._busy = process
            try:
                status = self._status(verb, process, pid)
            finally:
                if process.returncode is None:
                    self.delete()
                    process.kill()
                    process.wait()
                self._busy = None
        if isinstance(status, str):
            return Ran(status)
        message = self._error()
        if message and status:
            raise _GaveUp(verb, message)
        return Ran(status if status >= 0 else 128 - status)

    def _status(self, verb: str, process: subprocess.Popen[bytes], pid: str) -> int | str:
        """The exit status, or that the program runs."""
        clock = _Clock(self._seconds)
        while True:
            try:
                return process.wait(clock.left)
            except subprocess.TimeoutExpired:
                program = self._program(self._read(pid))
                if program:
                    return f"{RUNS} {program}"
            self._more(verb, clock)

    def _ended(self) -> Ran:
        """The end of a created container's first process, which has become our child."""
        clock = _Clock(self._seconds)
        try:
            handle = os.pidfd_open(self._child)
        except ProcessLookupError:
            raise _GaveUp("start", "the container's process is gone") from None
        try:
            while not (found := os.waitpid(self._child, os.WNOHANG))[0]:
                if clock.left and not _over(handle, clock.left):
                    continue
                program = self._program(self._child)
                if program and not _over(handle, 0):
                    return Ran(f"{RUNS} {program}")
                self._more("start", clock)
        except ChildProcessError:
            raise _GaveUp("start", "the container's process is no child of ours") from None
        finally:
            os.close(handle)
        self._child = 0
        code = os.waitstatus_to_exitcode(found[1])
        return Ran(code if code >= 0 else 128 - code)

    def _more(self, step: str, clock: _Clock) -> None:
        """Some more time for a runtime that has not executed the program when its time is over."""
        if not clock.extend():
            raise _GaveUp(step, "the runtime has not executed the program in time")

    def _program(self, pid: int) -> str:
        """What a process executes, as its container sees it; "" if that is the runtime still."""
        try:
            path = os.readlink(f"/proc/{pid}/exe") if pid else ""
        except OSError:
            return ""
        # runc and crun execute a copy of themselves in memory, or bind-mounted and detached: that reads "/".
        if path == "/" or path.startswith("/memfd:") or path.removesuffix(" (deleted)") == self._runtime:
            return ""
        return path.removeprefix(f"{self._bundle}/rootfs")

    def _read(self, path: str) -> int:
        with suppress(OSError, ValueError):
            return int(Path(path).read_text())
        return 0

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


class _Clock:
    """The seconds that a program is given, and then slices of the time that a slow runtime may take beyond."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._last = self._end + _GRACE

    @property
    def left(self) -> float:
        return max(0.0, self._end - time.monotonic())

    def extend(self) -> bool:
        """Another slice; False if all are used."""
        now = time.monotonic()
        self._end = now + _SLICE
        return now < self._last


def _over(handle: int, seconds: float) -> bool:
    """Whether a process ends in so many seconds."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
