"""The kernel's side of a seccomp listener: calls that wait for an answer (seccomp_unotify(2)).

Whoever reads memory, or anything else of the caller by its number, asks `is_waiting` afterwards: only if the call
still waits was that the caller's. Nothing here blocks as long as one process reads a listener, and only when poll(2)
has said that there is something to read.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from typing import Any, NamedTuple

from scmm_oci.kernel import calls

# linux/seccomp.h: struct seccomp_notif with its seccomp_data, struct seccomp_notif_resp and seccomp_notif_addfd.
_CALL = struct.Struct("=QIIiIQ6Q")
_ANSWER = struct.Struct("=QqiI")
_ADD = struct.Struct("=QIIII")
_ID = struct.Struct("=Q")
_RECV, _SEND, _ID_VALID, _ADDFD = 0xC0502100, 0xC0182101, 0x40082102, 0x40182103
_CONTINUE = 1
_ADDFD_SEND = 2  # answers with the new descriptor, in one (Linux 5.14)
_GET_NOTIF_SIZES = 3
_SIZES = struct.Struct("=3H")  # struct seccomp_notif_sizes

# What /proc/PID/fd says of a listener: anon_inode_getfile in the kernel's kernel/seccomp.c.
_LINK = "anon_inode:seccomp notify"


class Notification(NamedTuple):
    """A call that waits.

    Attributes:
        id: the listener's number for it.
        tid: the thread in our PID namespace; 0 if it cannot be seen from here.
        nr: as the filter saw it: of x32 with its bit.
        audit: AUDIT_ARCH of its ABI.
        args: six numbers of 64 bits, unsigned.
    """

    id: int
    tid: int
    nr: int
    audit: int
    args: tuple[int, int, int, int, int, int]


def is_listener(fd: int) -> bool:
    """Whether a descriptor is a listener of seccomp's, and nothing else that answers to an ioctl."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}") == _LINK
    except OSError:
        return False


def check_sizes() -> None:
    """Raise OSError where the kernel's structures are larger than ours: it would write beyond them."""
    sizes = ctypes.create_string_buffer(_SIZES.size)
    calls.call("seccomp", _GET_NOTIF_SIZES, 0, sizes)
    size, answer_size, _ = _SIZES.unpack(sizes.raw)
    if size > _CALL.size or answer_size > _ANSWER.size:
        raise OSError(errno.EOPNOTSUPP, "this kernel's notifications of seccomp are larger than what is known")


def receive(fd: int) -> Notification | None:
    """The next call, or None if it is gone already. Raises OSError for what is no listener (any more)."""
    buffer = bytearray(_CALL.size)  # the kernel refuses one that is not zeroed
    try:
        fcntl.ioctl(fd, _RECV, buffer)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINTR):
            return None
        raise
    found = _CALL.unpack(buffer)
    return Notification(found[0], found[1], found[3] & 0xFFFFFFFF, found[4], found[6:])


def is_waiting(fd: int, call: int) -> bool:
    """Whether the call with this id still waits, and so what was read of its thread was of its thread."""
    try:
        _ioctl(fd, _ID_VALID, _ID.pack(call))
    except OSError:
        return False
    return True


def let_go_on(fd: int, call: int) -> bool:
    """The kernel makes the call, with what its registers and memory hold by then. False if nobody waits any more."""
    return _send(fd, _ANSWER.pack(call, 0, 0, _CONTINUE))


def refuse(fd: int, call: int, number: int) -> bool:
    """The call fails with errno `number` (1 to 4095). False if nobody waits any more."""
    return _send(fd, _ANSWER.pack(call, 0, -number, 0))


def give(fd: int, call: int, value: int) -> bool:
    """The call is not made, and returns `value` (64 bits, signed). False if nobody waits any more."""
    return _send(fd, _ANSWER.pack(call, value, 0, 0))


def hand_over(fd: int, call: int, source: int, *, close_on_exec: bool) -> bool:
    """The call returns a new descriptor of the caller's for the open file `source`. False if nobody waits any more.

    Raises:
        OSError: the caller cannot have one (EMFILE, ENFILE); it still waits then.
    """
    flags = os.O_CLOEXEC if close_on_exec else 0
    try:
        _ioctl(fd, _ADDFD, _ADD.pack(call, _ADDFD_SEND, source, 0, flags))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINPROGRESS):
            return False
        if error.errno != errno.EINVAL:
            raise
        # Before Linux 5.14: in two. Should the caller go in between, its descriptor has gone with it.
        return give(fd, call, _ioctl(fd, _ADDFD, bytearray(_ADD.pack(call, 0, source, 0, flags))))
    return True


def _send(fd: int, answer: bytes) -> bool:
    try:
        _ioctl(fd, _SEND, answer)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINPROGRESS):
            return False
        raise
    return True


def _ioctl(fd: int, request: int, argument: bytes | bytearray) -> Any:
    """Once more where a signal came in between: nothing has been done then (kernel/seccomp.c), and nobody is gone."""
    while True:
        try:
            return fcntl.ioctl(fd, request, argument)
        except InterruptedError:
            continue
