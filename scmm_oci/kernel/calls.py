"""System calls by name, made with exactly the numbers given: what no function of the library does as it was asked.

Names are bytes and flags are not looked at. Standard library and tables only.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Mapping
from typing import NamedTuple

from scmm_oci.tables.syscalls import numbers

AT_FDCWD = -100
# linux/openat2.h
NO_XDEV, NO_MAGICLINKS, NO_SYMLINKS, BENEATH, IN_ROOT, CACHED = 1, 2, 4, 8, 16, 32
_NATIVE = {"x86_64": "x86_64", "aarch64": "aarch64"}
_STATX_WANTED = 0x17FF  # STATX_BASIC_STATS | STATX_MNT_ID
_STATX_MNT_ID = 0x1000
_AT_EMPTY_PATH, _AT_NO_AUTOMOUNT, _AT_SYMLINK_NOFOLLOW = 0x1000, 0x800, 0x100

_numbers: dict[str, int] = {}
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class File(NamedTuple):
    """Which file it is, under which mount: device (major, minor), inode, the mount's number in this boot."""

    device: tuple[int, int]
    inode: int
    mount: int


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def get_ready() -> Mapping[str, int]:
    """Read what the calls here need of files: afterwards they can be made anywhere. Raises KeyError elsewhere."""
    _numbers.update(numbers(_NATIVE[os.uname().machine]))
    os.strerror(1)
    return _numbers


def call(name: str, *words: int | bytes | ctypes.Array[ctypes.c_char] | ctypes.Structure) -> int:
    """Make the call; what it returns. Numbers are taken as 64 bits, the rest by address.

    Raises:
        OSError: it failed, or this kernel's ABI has no such call (ENOSYS).
    """
    number = _numbers.get(name, -1) if _numbers else get_ready().get(name, -1)
    given: list[object] = []
    for word in words:
        if isinstance(word, int):
            given.append(ctypes.c_ulong(word & 0xFFFFFFFFFFFFFFFF))
        elif isinstance(word, bytes):
            given.append(ctypes.c_char_p(word))
        else:
            given.append(ctypes.byref(word))
    result: int = _libc.syscall(ctypes.c_long(number), *given)
    if result < 0:
        failed = ctypes.get_errno()
        raise OSError(failed, f"{name}: {os.strerror(failed)}")
    return result


def open_at(directory: int, path: bytes, flags: int, *, mode: int = 0, resolve: int = 0) -> int:
    """openat2(2): a new descriptor. Raises OSError."""
    how = _How(flags | os.O_CLOEXEC, mode, resolve)
    return call("openat2", directory, path, how, ctypes.sizeof(how))


def file_of(fd: int) -> File:
    """Raises OSError: ENOTSUP where the kernel cannot tell a file's mount (before Linux 5.8)."""
    buffer = ctypes.create_string_buffer(256)
    call("statx", fd, b"", _AT_EMPTY_PATH | _AT_NO_AUTOMOUNT, _STATX_WANTED, buffer)
    view = memoryview(buffer)

    def number(at: int, size: int) -> int:
        return int.from_bytes(view[at : at + size], "little")

    if not number(0, 4) & _STATX_MNT_ID:
        raise OSError(errno.ENOTSUP, "this kernel does not tell the mount of a file")
    # struct statx: stx_ino at 32, stx_dev_major and _minor at 136, stx_mnt_id at 144.
    return File((number(136, 4), number(140, 4)), number(32, 8), number(144, 8))


def kind_of_filesystem(fd: int) -> int:
    """f_type of fstatfs(2) (linux/magic.h). Raises OSError."""
    buffer = ctypes.create_string_buffer(256)
    call("fstatfs", fd, buffer)
    return int.from_bytes(buffer.raw[:8], "little")
