"""What a replay that was killed has left: its containers, mounts, cgroups, pins and files. The next one removes them.

A replay that lives holds a lock on its scratch directory, and on the tmpfs that is mounted there: whoever looks from
another mount namespace sees the first only, and must not remove a mount point that is used elsewhere.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from scmm_oci import scratch
from scmm_oci.errors import Failure
from scmm_oci.kernel import cgroup
from scmm_oci.recorder import settings

PLACE = "/run"
# Then comes the process that replays.
PREFIX = "scmm-replay-"
# The file system of pins, beside those of the host's recorder.
PINS = os.path.dirname(settings.DEFAULTS["pin_dir"])

_MNT_DETACH = 2
_PATIENCE = 10.0  # seconds until a killed container has to be gone
_PAUSE = 0.01
_RELEASES = (("cgroup.kill", "1"), ("freezer.state", "THAWED"))
_libc = ctypes.CDLL(None, use_errno=True)


def sweep(*, age: float = scratch.NEW_S) -> None:
    """Remove what replays have left that are dead.

    Args:
        age: seconds; what is younger is left alone.

    Raises:
        Failure: processes of theirs cannot be ended.
    """
    for path in scratch.abandoned(sorted(Path(PLACE).glob(f"{PREFIX}*")), age=age):
        remove(str(path))


def remove(directory: str) -> None:
    """Remove everything of one replay. Raises Failure as `sweep` does."""
    tag = os.path.basename(directory)
    for name in {place.name for point in _roots() for place in Path(point).glob(f"{tag}*")}:
        empty(name)
    for point in reversed(_mounts_below(directory)):
        _libc.umount2(os.fsencode(point), _MNT_DETACH)
    shutil.rmtree(f"{PINS}/{tag}", ignore_errors=True)
    shutil.rmtree(directory, ignore_errors=True)


def empty(name: str) -> None:
    """End what is in a cgroup of the first level, in every hierarchy, and remove the cgroup.

    Raises:
        Failure: that takes too long.
    """
    end = time.monotonic() + _PATIENCE
    for directory in [os.path.join(point, name) for point in _roots()]:
        while os.path.isdir(directory):
            _release(directory)
            for process in _processes(directory):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
                # If it has become our child it is not gone before we have waited for it.
                with suppress(ChildProcessError):
                    os.waitpid(process, os.WNOHANG)
            try:
                for parent, _, _ in os.walk(directory, topdown=False):
                    os.rmdir(parent)
            except FileNotFoundError:
                break
            except OSError:
                if time.monotonic() > end:
                    raise Failure(f"{directory} cannot be removed: processes are left in it") from None
                time.sleep(_PAUSE)


def _release(directory: str) -> None:
    """Kill a tree of cgroups at once, before it can fork (v2), and let those die who are frozen (v1): cgroups(7)."""
    for parent, _, names in os.walk(directory):
        for name, word in _RELEASES:
            if name in names:
                with suppress(OSError):
                    Path(parent, name).write_text(word)


def _roots() -> Iterator[str]:
    """Where hierarchies of cgroups are mounted whole."""
    return (point for _, root, point, _ in cgroup.mounts() if root == "/" and os.path.isdir(point))


def _processes(directory: str) -> list[int]:
    found: list[int] = []
    for parent, _, _ in os.walk(directory):
        with suppress(OSError):
            found += map(int, Path(parent, "cgroup.procs").read_text().split())
    return [process for process in found if process > 0]


def _mounts_below(directory: str) -> list[str]:
    """The mounts at and below a directory whose name needs no escapes, in the order in which they were made."""
    points = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if point == directory or point.startswith(f"{directory}/")]
