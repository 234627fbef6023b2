"""Who connects is told from others by the kernel: by a number that may become another's, and by a count of filters."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import enforce
from listened import _PRELUDE
from monitored import ALLOWED, ENOSYS, Monitor, monitoring, serves, words

from rig.process import Daemon

# Connects and ends; its child keeps the connection, and when told hands over a listener of its own child's.
_LEAVES = """
import json, os, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
if os.fork():
    os._exit(0)
assert sys.stdin.readline()
ours, theirs = socket.socketpair()
child = os.fork()
if not child:
    os.dup2(theirs.fileno(), 3, inheritable=True)
    os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", sys.argv[2], "3", sys.argv[3]])
theirs.close()
_, fds, _, _ = socket.recv_fds(ours, 1, 1)
version = "1.1.0"
state = {"ociVersion": version, "id": "trusted", "status": "running", "pid": child, "bundle": "", "annotations": {}}
said = {"ociVersion": version, "fds": ["seccompFd"], "pid": child, "metadata": "trusted", "state": state}
try:
    socket.send_fds(connection, [json.dumps(said).encode()], fds)
except (BrokenPipeError, ConnectionResetError):
    pass
os.close(fds[0])
os.waitpid(child, 0)
"""
_CALLS = """
libc.syscall.restype = ctypes.c_long
result = libc.syscall(numbers[0])
print(result if result >= 0 else -ctypes.get_errno(), flush=True)
"""
# clone3(2) with set_tid: the number is free, and becomes a process's that is under no filter.
_TAKES = """
import ctypes, os, signal, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
tids = ctypes.c_int(int(sys.argv[1]))
words = (0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(tids), 1, 0)
given = ctypes.create_string_buffer(struct.pack("=11Q", *words))
pid = libc.syscall(435, given, 88)
if pid < 0:
    sys.exit(os.strerror(ctypes.get_errno()))
if not pid:
    signal.pause()
print(pid, flush=True)
sys.stdin.readline()
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
"""


@contextmanager
def takes(number: int) -> Iterator[None]:
    """A process with this number, which nobody has."""
    line = [sys.executable, "-I", "-S", "-c", _TAKES, str(number)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline().strip() == str(number)
        try:
            yield
        finally:
            process.stdin.write("\n")
            process.stdin.close()


def test_who_has_the_number_of_one_that_connected_does_not_speak_for_it(tmp_path: Path) -> None:
    with monitoring(tmp_path) as monitor:
        serves(monitor)
        # It could not be judged by what is in its place.
        assert handed_over(monitor) == ENOSYS
        monitor.wait_told("is under another seccomp filter")
        serves(monitor)


def test_a_monitor_that_cannot_tell_its_own_filters_from_others_says_so(tmp_path: Path) -> None:
    note = "note: under 1 seccomp filters itself"
    with monitoring(tmp_path) as monitor:
        serves(monitor)
        assert "seccomp filters itself" not in monitor.told
    with Daemon(
        [*enforce.refusing("acct", 1), *words(tmp_path)],
        log=tmp_path / "filtered",
        ready=lambda: "listening at" in (tmp_path / "filtered").read_text(),
    ) as daemon:
        assert note in daemon.log.read_text()
        with Monitor(tmp_path, daemon).asks(before=enforce.refusing("acct", 1)) as asked:
            assert asked.ask(f"call {ALLOWED}") == str(asked.pid)


_STATUS = """
import socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
try:
    connection.sendall(b"status\\n")
    print(connection.recv(64).decode())
except (BrokenPipeError, ConnectionResetError):
    print()
"""


def test_a_program_in_a_sandbox_is_not_told_what_the_monitor_does(tmp_path: Path) -> None:
    def told(*before: str | Path) -> str:
        line = [*before, sys.executable, "-I", "-S", "-c", _STATUS, str(monitor.socket.with_name("control.sock"))]
        return subprocess.run(line, stdout=subprocess.PIPE, text=True, timeout=60, check=True).stdout.strip()

    with monitoring(tmp_path) as monitor:
        assert told(*enforce.refusing("acct", 1)) == ""
        assert told().startswith("{")


def handed_over(monitor: Monitor) -> int:
    """What a call of such a program gives that the rules allow."""
    program = textwrap.dedent(_PRELUDE) + _CALLS
    line = [sys.executable, "-I", "-S", "-c", _LEAVES, str(monitor.socket), program, str(ALLOWED)]
    sandbox = enforce.refusing("acct", 1)
    os.kill(monitor.pid, signal.SIGSTOP)
    try:
        with subprocess.Popen([*sandbox, *line], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.wait(60) == 0
            with takes(process.pid):
                os.kill(monitor.pid, signal.SIGCONT)
                assert process.stdin is not None and process.stdout is not None
                process.stdin.write("\n")
                process.stdin.close()
                return int(process.stdout.readline())
    finally:
        os.kill(monitor.pid, signal.SIGCONT)
