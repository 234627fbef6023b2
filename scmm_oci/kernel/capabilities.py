"""Capabilities: root gives up those that it will not need, for good.

Landlock is about files, ports and signals. Root loads modules from memory, changes the clock or reads other processes'
memory (CAP_PERFMON suffices for /proc/PID/mem since Linux 6.14) with capabilities alone. Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# linux/capability.h, those that somebody here keeps.
CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP = range(9)
NET_ADMIN, SYS_CHROOT, SYS_PTRACE, SYS_ADMIN, SYS_RESOURCE = 12, 18, 19, 21, 24
AUDIT_CONTROL, SYSLOG, AUDIT_READ, PERFMON, BPF = 30, 34, 37, 38, 39

_VERSION_3 = 0x20080522  # capget(2): two words for each set
# What capget(2) and capset(2) take: the header, and effective, permitted and inheritable, the low words first.
HEADER = struct.pack("=Ii", _VERSION_3, 0)
SETS = struct.Struct("=6I")

_libc = ctypes.CDLL(None, use_errno=True)


def keep(numbers: Iterable[int]) -> None:
    """Leave this process with these capabilities, as far as it has them, and without any other.

    What is effective stays so; nothing is inheritable. With no-new-privileges, no program gives them back. Raises
    OSError.
    """
    wanted = sum(1 << number for number in set(numbers))
    buffer = ctypes.create_string_buffer(SETS.size)
    _check(_libc.capget(HEADER, buffer))
    low, permitted_low, _, high, permitted_high, _ = SETS.unpack(buffer.raw)
    left, right = wanted & 0xFFFFFFFF, wanted >> 32
    _check(
        _libc.capset(HEADER, SETS.pack(low & left, permitted_low & left, 0, high & right, permitted_high & right, 0))
    )


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"capabilities: {os.strerror(number)}")
