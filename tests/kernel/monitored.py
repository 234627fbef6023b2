"""scmm-monitor as its users run it, with rules of the test's own, and programs whose calls wait for it.

The programs are benchmarks/programs/asks.c: getppid is allowed, getuid denied, getgid returns 7, openat and mkdirat are
made on behalf below one directory, getsid is asked of a program that never answers.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import enforce

from benchmarks import monitor_ways
from benchmarks.monitor_ways import Ground, family, notifying
from benchmarks.processes import Asked
from rig.process import Daemon, wait_until
from scmm_oci.tables.syscalls import numbers

ENOSYS, EPERM, EFAULT = -38, -1, -14
DEADLINE_S = 60.0
NUMBERS = numbers(enforce.HERE)
ALLOWED, DENIED, RETURNED = NUMBERS["getppid"], NUMBERS["getuid"], NUMBERS["getgid"]
UNDECIDED = NUMBERS["getsid"]
CALLS = ("getppid", "getuid", "getgid", "getsid", "openat", "mkdirat")
_READY = 4
#: A program that takes every question and answers none.
_SILENT = [sys.executable, "-I", "-S", "-c", "import sys\nfor line in sys.stdin: pass"]


@cache
def ground() -> Ground:
    """The programs, compiled once, and the filter."""
    directory = enforce.base() / "monitored"
    directory.mkdir()
    directory.chmod(0o755)
    made = monitor_ways.prepare(directory)
    made.filter.write_bytes(notifying(CALLS))
    return made


def rules(directory: Path, **more: Any) -> dict[str, Any]:
    """monitor.yaml; openat and mkdirat are allowed below `directory`/open only."""
    return {
        "version": "1.0",
        "default": "deny",
        "timeout": 600,
        "program": _SILENT,
        "rules": [
            {"syscalls": ["getppid"], "decision": "allow"},
            {"syscalls": ["getuid"], "decision": "deny", "errno": "EPERM"},
            {"syscalls": ["getgid"], "decision": "return", "value": 7},
            {"syscalls": ["getsid"], "decision": "program"},
            {"syscalls": ["openat", "mkdirat"], "path": f"{directory}/open/**", "decision": "allow"},
        ],
        **more,
    }


@dataclass
class Monitor:
    """A running scmm-monitor. `place`: the directory of its files, and of `open`, in which calls are allowed."""

    place: Path
    daemon: Daemon
    names: list[str] = field(default_factory=list)

    @property
    def socket(self) -> Path:
        return self.place / "run" / "notify.sock"

    @property
    def pid(self) -> int:
        return self.daemon.pid

    @property
    def told(self) -> str:
        """All that it has told so far."""
        return self.daemon.log.read_text("utf-8", "backslashreplace")

    def wait_told(self, text: str, *, times: int = 1) -> None:
        wait_until(
            lambda: self.told.count(text) >= times, deadline_s=DEADLINE_S, what=repr(text), detail=lambda: self.told
        )

    def asks(self, name: str = "", *, before: Sequence[str] = ()) -> Asked:
        """A program whose calls wait for this monitor. `before`: words of what runs it."""
        self.names.append(name or f"asks-{len(self.names)}")
        return Asked(*before, ground().asks, ground().filter, self.socket, self.names[-1], hello="ready")

    def connect(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        made.connect(str(self.socket))
        made.settimeout(DEADLINE_S)
        return made

    def descriptors(self) -> int:
        """How many it has open, without the files of threads that have asked, of which it keeps some (monitor.who)."""
        found = 0
        for name in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                found += not os.readlink(f"/proc/{self.pid}/fd/{name}").startswith("/proc/")
            except FileNotFoundError:
                pass  # it has just been closed
        return found

    def wait_idle(self, descriptors: int, processes: int) -> None:
        """Until it has no more descriptors than before something, and no more processes but a few that stand ready."""
        wait_until(
            lambda: self.descriptors() <= descriptors and len(family(self.pid)) <= processes + _READY,
            deadline_s=DEADLINE_S,
            what=f"{descriptors} descriptors and {processes} processes left",
            detail=lambda: f"{self.descriptors()}, {len(family(self.pid))}\n{self.told[-4000:]}",
        )


def asker(asked: Asked) -> int:
    """The process whose calls wait."""
    return int(asked.greeting.split()[1])


def waits_in_call(pid: int) -> None:
    """Until a process waits in a call for an answer: seccomp_do_user_notification of kernel/seccomp.c."""
    stack = Path(f"/proc/{pid}/stack")
    wait_until(lambda: "seccomp" in stack.read_text(), deadline_s=60, what="a call that waits")


def serves(monitor: Monitor) -> None:
    """The twin of every hostile test: an honest program gets each kind of answer, within a deadline."""
    with monitor.asks("honest") as honest:
        assert honest.ask(f"call {ALLOWED}") == str(honest.pid)
        assert honest.ask(f"call {DENIED}") == str(EPERM)
        assert honest.ask(f"call {RETURNED}") == "7"
        opened(monitor, honest)


def opened(monitor: Monitor, asked: Asked) -> None:
    """A file that may be opened is, and one that may not is not."""
    assert asked.ask(f"open 1 1 0 {monitor.place}/open/file").split()[3:] == ["0", "0"]
    assert asked.ask(f"open 1 1 0 {monitor.place}/shut/file").split()[3:] == [str(EPERM), "0"]


def words(place: Path, *options: str) -> list[str]:
    """The command line of a monitor whose files are in a directory."""
    return [
        *(sys.executable, "-m", "scmm_oci.cli.main", "monitor", "--no-prompt"),
        *("--socket", str(place / "run" / "notify.sock"), "--rules", str(place / "monitor.yaml")),
        *("--decisions", str(place / "run" / "decisions.sqlite"), *options),
    ]


@contextmanager
def monitoring(
    place: Path,
    *options: str,
    how: str = "",
    change: Callable[[dict[str, Any]], object] | None = None,
) -> Iterator[Monitor]:
    """Run scmm-monitor in a directory.

    Args:
        how: what a shell does before it executes it.
        change: gets the rules before they are written.
    """
    enforce.needed()
    for name in ("open", "shut"):
        (place / name).mkdir(exist_ok=True)
        (place / name / "file").write_text(name)
    given = rules(place)
    if change is not None:
        change(given)
    (place / "monitor.yaml").write_text(json.dumps(given))  # JSON is YAML
    (place / "run").mkdir(mode=0o700, exist_ok=True)
    socket_path = place / "run" / "notify.sock"
    words = [
        *(sys.executable, "-m", "scmm_oci.cli.main", "monitor", "--no-prompt"),
        *("--socket", str(socket_path), "--rules", str(place / "monitor.yaml")),
        *("--decisions", str(place / "run" / "decisions.sqlite"), *options),
    ]
    # A monitor before this one may have been killed, and its socket left: it is up when somebody listens there.
    daemon = Daemon(
        ["sh", "-c", f"{how or ':'}; exec {shlex.join(words)}"], log=place / "told", ready=_there(socket_path)
    )
    with daemon:
        yield Monitor(place, daemon)


@contextmanager
def kept(place: Path) -> Iterator[tuple[Asked, bytes, int]]:
    """A program, the state that it hands over, and its listener, which comes to us."""
    path = place / "own.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.settimeout(DEADLINE_S)
        server.bind(str(path))
        server.listen(1)
        with Asked(ground().asks, ground().filter, path, "kept", hello="ready") as asked:
            connection, _ = server.accept()
            path.unlink()
            with connection:
                state, (listener,), _, _ = socket.recv_fds(connection, 4096, 4)
            try:
                yield asked, state, listener
            finally:
                os.close(listener)


def _there(path: Path) -> Callable[[], bool]:
    def is_there() -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except (FileNotFoundError, ConnectionRefusedError):
                return False
        return True

    return is_there
