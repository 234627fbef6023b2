"""Processes that containers leave to us: they become our children, as we are a subreaper, and have to be waited for.

The end of a PID namespace's first process waits until all others of the namespace are gone, zombies too
(pid_namespaces(7)); those that came by `exec` are zombies of ours once their runtime has ended.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

_PATIENCE = 20.0  # seconds
_PAUSE = 0.005


def children() -> frozenset[int]:
    """All processes whose parent we are."""
    ours = os.getpid()
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError, IndexError, ValueError):
                with open(f"/proc/{name}/stat", "rb") as file:
                    # The name, in brackets, may have anything in it: proc_pid_stat(5).
                    parent = int(file.read(4096).rpartition(b")")[2].split()[1])
                if parent == ours:
                    found.add(int(name))
    return frozenset(found)


def end(process: int, *, known: frozenset[int]) -> None:
    """Kill a child, and wait for it and for all that it waits for.

    Args:
        known: children that somebody else waits for.
    """
    last = time.monotonic() + _PATIENCE
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
    while time.monotonic() < last:
        try:
            if os.waitpid(process, os.WNOHANG)[0]:
                return
        except ChildProcessError:
            return
        collect(known=known | {process})
        time.sleep(_PAUSE)


def collect(*, known: frozenset[int]) -> None:
    """Wait for those of our children that have ended and that nobody knows."""
    for one in children() - known:
        with suppress(ChildProcessError):
            os.waitpid(one, os.WNOHANG)
