"""Commands, daemons and conditions: every process the rig starts is started, waited for and ended here.

Facts relied on: prctl(2) PR_SET_PDEATHSIG, pidfd_open(2), setsid(2), cgroups(7) (`cgroup.procs` takes "0").
"""

from __future__ import annotations

import ctypes
import os
import select
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self, TypeVar

T = TypeVar("T")

#: Where Debian keeps runc, dockerd and friends; a login shell of an ordinary user lacks the second pair.
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class RigError(Exception):
    """Something the rig needs did not work; the message says what and shows the evidence."""


class DeadlineError(RigError):
    """A condition did not come true in time."""


class CommandError(RigError):
    """A command failed; the message holds the command, its status and the end of its output."""

    def __init__(self, completed: Completed) -> None:
        self.completed = completed
        super().__init__(
            f"{shlex.join(completed.cmd)}\n  exited {completed.returncode} after {completed.seconds:.2f} s\n"
            f"  stderr: {_tail(completed.stderr)}\n  stdout: {_tail(completed.stdout)}"
        )


@dataclass(frozen=True)
class Completed:
    """A command that ended: its words, status, output as text and wall-clock duration."""

    cmd: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    seconds: float


def find_program(name: str) -> str | None:
    """Absolute path of a program on PATH or in the system directories."""
    return shutil.which(name, path=SEARCH_PATH)


def missing_programs(*names: str) -> str | None:
    """A reason naming the programs that are not installed, or None."""
    missing = [name for name in names if find_program(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


def clean_environ(*drop_prefixes: str, **add: str) -> dict[str, str]:
    """This process's environment without the variables that would point an engine elsewhere."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(drop_prefixes or ("\0",))}
    return env | {"PATH": SEARCH_PATH} | add


def wait_until(fn: Callable[[], T], *, deadline_s: float, what: str, detail: Callable[[], str] | None = None) -> T:
    """Call `fn` until it returns something true and return that; DeadlineError after `deadline_s` seconds."""
    end = time.monotonic() + deadline_s
    pause = 0.002
    while True:
        value = fn()
        if value:
            return value
        if time.monotonic() >= end:
            raise DeadlineError(f"not within {deadline_s:g} s: {what}" + (f"\n{detail()}" if detail else ""))
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def run(
    cmd: Sequence[str | os.PathLike[str]],
    *,
    timeout: float = 60.0,
    check: bool = True,
    input: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    cgroup: Path | None = None,
    output: Path | None = None,
) -> Completed:
    """Run a command to its end, in a session of its own.

    Output goes to files, not pipes, so a grandchild that keeps stdout open (conmon, a detached container)
    never blocks the caller. `output` names a file that receives both streams and outlives the call.
    `cgroup` is entered by the child before it executes the command.
    """
    words = tuple(os.fspath(word) for word in cmd)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as source:
        if input is not None:
            source.write(input.encode("utf-8", "surrogateescape"))
            source.seek(0)
        sink: IO[bytes] | None = open(output, "ab") if output else None  # noqa: SIM115
        try:
            began = time.monotonic()
            process = subprocess.Popen(
                words,
                stdin=source if input is not None else subprocess.DEVNULL,
                stdout=sink or out,
                stderr=sink or err,
                env=None if env is None else dict(env),
                cwd=cwd,
                start_new_session=True,
                preexec_fn=None if cgroup is None else (lambda: _join(cgroup)),
            )
            try:
                ended = _ended(process, timeout)
            finally:
                seconds = time.monotonic() - began
                _kill_group(process)
        finally:
            if sink is not None:
                sink.close()
        text = output.read_text("utf-8", "backslashreplace") if output else _text(out)
        completed = Completed(words, process.wait(), text, _text(err), seconds)
    if not ended:
        raise DeadlineError(f"killed after {timeout:g} s: {CommandError(completed)}")
    if check and completed.returncode != 0:
        raise CommandError(completed)
    return completed


class Daemon:
    """A long-running process: started with a log file, awaited until ready, ended by its pid.

    It gets SIGTERM when this process dies, so an interrupted test run leaves no daemon.
    """

    def __init__(
        self,
        cmd: Sequence[str | os.PathLike[str]],
        *,
        log: Path,
        ready: Callable[[], object] | None = None,
        ready_s: float = 30.0,
        stop_s: float = 20.0,
        env: Mapping[str, str] | None = None,
        cgroup: Path | None = None,
    ) -> None:
        self.cmd = tuple(os.fspath(word) for word in cmd)
        self.log = log
        self._ready, self._ready_s, self._stop_s = ready, ready_s, stop_s
        self._env, self._cgroup = env, cgroup
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The daemon's process id; an error before start()."""
        if self._process is None:
            raise RigError(f"not started: {shlex.join(self.cmd)}")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of its log."""
        text = self.log.read_text("utf-8", "backslashreplace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def start(self) -> Self:
        """Start it and wait for the ready condition; an early exit is an error that shows the log."""

        def prepare() -> None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            if self._cgroup is not None:
                _join(self._cgroup)

        def ready() -> object:
            if not self.running:
                raise RigError(f"{shlex.join(self.cmd)}\n  ended before it was ready:\n{self.log_tail()}")
            return self._ready is None or self._ready()

        with open(self.log, "ab") as sink:
            self._process = subprocess.Popen(
                self.cmd,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=None if self._env is None else dict(self._env),
                start_new_session=True,
                preexec_fn=prepare,
            )
        try:
            wait_until(ready, deadline_s=self._ready_s, what=f"{self.cmd[0]} ready", detail=self.log_tail)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """SIGTERM, after the deadline SIGKILL; what is left of its process group goes with it."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        _ended(self._process, self._stop_s)
        # Not reaped yet, so the number is still its group's and no one else's.
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _join(cgroup: Path) -> None:
    with open(cgroup / "cgroup.procs", "w") as procs:
        procs.write("0")


def _ended(process: subprocess.Popen[bytes], timeout: float) -> bool:
    """Wait on a pidfd. Popen.wait(timeout) polls every 50 ms: too coarse to time a container's start."""
    fd = os.pidfd_open(process.pid)
    try:
        return bool(select.select([fd], [], [], timeout)[0])
    finally:
        os.close(fd)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "backslashreplace")


def _tail(text: str, limit: int = 4000) -> str:
    return text.strip()[-limit:] or "(nothing)"
