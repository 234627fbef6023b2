"""Multiplexers: system calls that stand for others, by a number in their first argument.

socketcall(2) is all calls for sockets, ipc(2) all of System V IPC. Kernels of some architectures have them beside the
calls themselves or instead of those, and C libraries use either. A filter sees the number, and not the arguments of
the call itself: those lie in memory (socketcall), or stand in other places (ipc).

Sources: linux/net.h (SYS_*), linux/ipc.h, ``__ARCH_WANT_SYS_IPC`` and ``__ARCH_WANT_SYS_SOCKETCALL`` of the
architectures' asm/unistd.h, ipc/syscall.c of the kernel. tests/unit/test_multiplexed.py compares with libseccomp.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from scmm_oci.tables.arch import Arch

# The argument that holds the number. Of ipc the kernel takes the low 16 bits of it, of socketcall the low 32;
# tables.arguments has these widths.
SELECTOR = 0

_SOCKETCALL = {
    "socket": 1,
    "bind": 2,
    "connect": 3,
    "listen": 4,
    "accept": 5,
    "getsockname": 6,
    "getpeername": 7,
    "socketpair": 8,
    "send": 9,
    "recv": 10,
    "sendto": 11,
    "recvfrom": 12,
    "shutdown": 13,
    "setsockopt": 14,
    "getsockopt": 15,
    "sendmsg": 16,
    "recvmsg": 17,
    "accept4": 18,
    "recvmmsg": 19,
    "sendmmsg": 20,
}
_IPC = {
    "semop": 1,
    "semget": 2,
    "semctl": 3,
    "semtimedop": 4,
    "msgsnd": 11,
    "msgrcv": 12,
    "msgget": 13,
    "msgctl": 14,
    "shmat": 21,
    "shmdt": 22,
    "shmget": 23,
    "shmctl": 24,
}
_BOTH: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {"ipc": MappingProxyType(_IPC), "socketcall": MappingProxyType(_SOCKETCALL)}
)
_NONE: Mapping[str, Mapping[str, int]] = MappingProxyType({})
_ARCHES = frozenset({Arch.X86, Arch.S390, Arch.S390X, Arch.PPC64LE})


def multiplexers(arch: Arch) -> Mapping[str, Mapping[str, int]]:
    """Multiplexer → name of a call that it stands for → number of that; empty where an ABI has none."""
    return _BOTH if arch in _ARCHES else _NONE
