"""Scratch directories of processes that may be killed: who lives locks its own, so that those of the dead are found.

The kernel frees the lock, however a process ends: flock(2). Called by `scmm try` and by replays.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

# Seconds that a process has between making its directory and locking it.
NEW_S = 60.0


def lock(directory: str | os.PathLike[str]) -> int:
    """A descriptor that holds the lock of a directory, until it is closed.

    Raises:
        BlockingIOError: somebody has it. Another OSError: it is no directory, or cannot be opened.
    """
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(handle)
        raise
    return handle


def abandoned(paths: Iterable[Path], *, age: float = NEW_S) -> Iterator[Path]:
    """Those of the paths that are directories of ours whose lock nobody holds; each is locked until the next is taken.

    Args:
        age: seconds; what was changed since is left alone, as it may not be locked yet.
    """
    for path in paths:
        try:
            status = path.lstat()
            if status.st_uid != os.geteuid() or time.time() - status.st_mtime < age:
                continue
            handle = lock(path)
        except OSError:
            continue
        try:
            yield path
        finally:
            os.close(handle)
