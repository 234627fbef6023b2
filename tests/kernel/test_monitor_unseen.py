"""Who hands a listener over may have ended before the monitor looks: then who asks there first is looked at."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from listened import listened
from monitored import ALLOWED, ENOSYS, Monitor, monitoring

#: Connects, says all, and ends.
HANDS_OVER = """
import socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
socket.send_fds(connection, [sys.argv[3].encode()], [int(sys.argv[2])])
"""
#: What a sandbox has: a filter besides the one with the listener.
CONFINED = """
    allow = ctypes.create_string_buffer(struct.pack('=HBBI', 6, 0, 0, 0x7FFF0000), 8)
    assert libc.prctl(22, 2, ctypes.c_char_p(struct.pack('=HxxxxxxQ', 1, ctypes.addressof(allow))), 0, 0) == 0
"""
ASKS = f"""
    sys.stdin.readline()
    print(libc.syscall({ALLOWED}), ctypes.get_errno())
"""


def hand_over(monitor: Monitor, fd: int, pid: int) -> None:
    """By a process that ends before the monitor accepts its connection."""
    state = {"ociVersion": "1.0.2", "id": "unseen", "status": "creating", "pid": pid, "bundle": "/"}
    whole = {"ociVersion": "1.0.2", "fds": ["seccompFd"], "pid": pid, "state": state}
    words = [sys.executable, "-I", "-S", "-c", HANDS_OVER, str(monitor.socket), str(fd), json.dumps(whole)]
    os.kill(monitor.pid, signal.SIGSTOP)
    try:
        subprocess.run(words, pass_fds=[fd], timeout=60, check=True)
    finally:
        os.kill(monitor.pid, signal.SIGCONT)


@pytest.mark.parametrize(("more", "told", "answer"), [("", "served", ""), (CONFINED, "refused: ", f"-1 {-ENOSYS}\n")])
def test_who_asks_first_is_looked_at(place: Path, more: str, told: str, answer: str) -> None:
    with monitoring(place) as monitor, listened(["getppid"], more + ASKS) as one:
        monitor.wait_told("listening at")
        hand_over(monitor, one.fd, one.process.pid)
        monitor.wait_told("unseen: served")
        one.close()
        assert one.process.stdin is not None
        one.process.stdin.write("\n")
        assert one.output() == (answer or f"{os.getpid()} 0\n")
        monitor.wait_told(f"unseen: {told}")
