"""Becoming another thread's equal before the kernel: namespaces, ids, capabilities (credentials(7), capabilities(7)).

All of it changes this process for good, and is for one that was made for that. It must have one thread: the calls are
made as they are, without the library's care for others. Standard library and tables only.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
from collections.abc import Sequence

from scmm_oci.kernel.calls import call
from scmm_oci.kernel.capabilities import HEADER, SETS

# linux/prctl.h, linux/securebits.h
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_GET_DUMPABLE = 1, 4, 3
_PR_GET_SECUREBITS, _PR_SET_SECUREBITS, _PR_SET_NO_NEW_PRIVS = 27, 28, 38
_NO_SETUID_FIXUP = 1 << 2
_NO_ID = 0xFFFFFFFF


def capabilities() -> tuple[int, int]:
    """The effective and the permitted set of this process. Raises OSError."""
    buffer = ctypes.create_string_buffer(SETS.size)
    call("capget", HEADER, buffer)
    low, permitted_low, _, high, permitted_high, _ = SETS.unpack(buffer.raw)
    return low | high << 32, permitted_low | permitted_high << 32


def set_capabilities(wanted: int) -> None:
    """Have just these, effective and permitted; none inheritable. Raises OSError if one of them is not ours to have."""
    low, high = wanted & 0xFFFFFFFF, wanted >> 32
    call("capset", HEADER, SETS.pack(low, low, 0, high, high, 0))


def set_groups(groups: Sequence[int]) -> None:
    """The supplementary groups. Raises OSError."""
    call("setgroups", len(groups), struct.pack(f"={len(groups)}I", *groups))


def set_ids(uids: Sequence[int], gids: Sequence[int]) -> None:
    """The real, effective, saved and file system ids, in this order; capabilities stay as they are. Raises OSError."""
    call("prctl", _PR_SET_SECUREBITS, call("prctl", _PR_GET_SECUREBITS, 0, 0, 0, 0) | _NO_SETUID_FIXUP, 0, 0, 0)
    call("setresgid", *gids[:3])
    call("setfsgid", gids[3])
    call("setresuid", *uids[:3])
    call("setfsuid", uids[3])


def ids() -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]]:
    """(uids, gids) of this process, in the order of `set_ids`."""
    # An id that there is none of changes nothing; what was is returned (setfsuid(2)).
    return (*os.getresuid(), call("setfsuid", _NO_ID)), (*os.getresgid(), call("setfsgid", _NO_ID))


def close_to_others() -> None:
    """Nobody traces this process, reads its memory or takes its descriptors who has not CAP_SYS_PTRACE over it.

    A change of ids or namespaces takes it back (suid_dumpable in proc_sys_fs(5)): call it again. Raises OSError.
    """
    call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)
    if call("prctl", _PR_GET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(errno.EPERM, "this process stays open to others")


def die_with_parent(parent: int) -> None:
    """SIGKILL for this process when its parent ends. A change of ids takes it back. Raises OSError, or ends it now."""
    call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def gain_nothing_more() -> None:
    """Set no-new-privileges. Raises OSError."""
    call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def join(namespace: int, kind: int = 0) -> None:
    """setns(2) with a descriptor of a namespace, and the CLONE_NEW… that it must be. Raises OSError."""
    call("setns", namespace, kind)


def socket_of(tid: int, fd: int, inode: int) -> int:
    """A descriptor of ours for the thread's socket `fd`, known by its inode. Raises OSError; EBADF if it is another.

    Threads can have their own descriptors, and before Linux 6.9 only a process's first thread can be asked for one.
    """
    try:
        handle = call("pidfd_open", tid, os.O_EXCL)  # PIDFD_THREAD
    except OSError:
        with open(f"/proc/{tid}/status", "rb") as file:
            group = next(int(line.split()[1]) for line in file if line.startswith(b"Tgid:"))
        handle = call("pidfd_open", group, 0)
    try:
        found = call("pidfd_getfd", handle, fd, 0)
    finally:
        os.close(handle)
    if os.fstat(found).st_ino != inode:
        os.close(found)
        raise OSError(errno.EBADF, "the thread's descriptors are not its process's")
    return found
