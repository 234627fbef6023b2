"""A process's part of /proc, where the kernel looks at who looks; and devices that say nothing of the machine.

By descriptors only: there can be several procfs, of several PID namespaces, at any place.
"""

from __future__ import annotations

import os
import stat

from scmm_oci.enforcer.monitor.behalf.identity import Impossible
from scmm_oci.kernel import calls
from scmm_oci.kernel.calls import kind_of_filesystem, open_at

PROC_SUPER_MAGIC = 0x9FA0  # linux/magic.h
ROOT_INO = 1  # fs/proc/root.c
CLOSED = "a process's part of /proc is closed to the deputy, and may not be to the process itself"
_HARMLESS = frozenset(((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 2)))
_MOST_DEPTH = 16  # of a name below a process's directory in /proc
_HELD = os.O_PATH | os.O_CLOEXEC


def process_at(directory: int) -> int:
    """Whose directory of /proc this is or lies in, by the number in its innermost namespace; 0: no process's.

    Raises:
        Impossible: it cannot be told.
    """
    here = os.dup(directory)
    below = -1
    try:
        for _ in range(_MOST_DEPTH):
            if os.fstat(here).st_ino == ROOT_INO:
                return _process_of(below) if below >= 0 else 0
            try:
                above = open_at(here, b"..", _HELD | os.O_DIRECTORY, resolve=calls.NO_XDEV | calls.NO_SYMLINKS)
            except OSError:
                raise Impossible("a part of /proc is mounted by itself") from None
            if below >= 0:
                os.close(below)
            here, below = above, here
        raise Impossible("a name leads deep into /proc")
    finally:
        os.close(here)
        if below >= 0:
            os.close(below)


def is_of(directory: int, process: int) -> bool:
    """Whether a directory is a process's in a procfs, or below it; by the number in its innermost namespace."""
    return kind_of_filesystem(directory) == PROC_SUPER_MAGIC and process_at(directory) == process


def is_ours(directory: int) -> bool:
    """Whether a directory is in the deputy's own part of a procfs, where the kernel refuses it nothing."""
    return is_of(directory, os.getpid())


def is_harmless(status: os.stat_result) -> bool:
    """Whether it is a device that says nothing of the machine, and that every container has.

    null, zero, full, random, urandom and ptmx; terminals of devpts (admin-guide/devices.txt in the kernel's
    documentation).
    """
    device = (os.major(status.st_rdev), os.minor(status.st_rdev))
    return stat.S_ISCHR(status.st_mode) and (device in _HARMLESS or 136 <= device[0] <= 143)


def _process_of(directory: int) -> int:
    try:
        fd = open_at(directory, b"status", os.O_RDONLY)
    except FileNotFoundError:
        return 0
    except OSError as error:
        # A limit on descriptors among others, which whoever has the deputy's user can lower.
        raise Impossible(f"whose part of /proc it is cannot be told: {error.strerror}") from None
    with os.fdopen(fd, "rb") as file:
        for line in file:
            if line.startswith(b"NSpid:"):
                return int(line.split()[-1])
    return 0
