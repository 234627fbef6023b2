"""Processes that containers leave to us: they become our children, as we are a subreaper, and have to be waited for.

The end of a PID namespace's first process waits until all others of the namespace are gone, zombies too
(pid_namespaces(7)); those that came by `exec` are zombies of ours once their runtime has ended. What has left its
container's cgroup, or was never in it, as hooks are not, is found here all the same.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

from scmm_oci.errors import Failure

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


def finish(*, known: frozenset[int]) -> None:
    """Kill our children, and what becomes our child by that, and wait for all of them.

    Args:
        known: children that are none of ours to end.

    Raises:
        Failure: some do not go away.
    """
    last = time.monotonic() + _PATIENCE
    while found := children() - known:
        for one in found:
            # Nobody else waits for it, so the number is not another's.
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(one, os.WNOHANG)
        if time.monotonic() > last:
            raise Failure(f"processes of a container were killed, and are still there: {sorted(found)}")
        time.sleep(_PAUSE)
