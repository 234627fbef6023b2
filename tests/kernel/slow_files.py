"""A file system whose answers do not come: FUSE's protocol with as little as it takes (linux/fuse.h).

Its files are directories when their name begins with "dir". Looking up a name that begins with "hang" takes until the
end, and so does reading: also for whoever reads memory that a file is mapped into.
"""

from __future__ import annotations

import ctypes
import os
import select
import stat
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

_LOOKUP, _GETATTR, _OPEN, _READ, _INIT, _OPENDIR = 1, 3, 14, 15, 26, 27
_ENOSYS = 38
_HEAD = struct.Struct("=IIQQIIII")
_libc = ctypes.CDLL(None, use_errno=True)


def unavailable() -> str | None:
    """Why there can be none here, or None."""
    return None if os.access("/dev/fuse", os.R_OK | os.W_OK) else "there is no /dev/fuse"


@contextmanager
def mounted(at: Path) -> Iterator[Callable[[], None]]:
    """Mount it; what is yielded ends it, after which whoever waits gets an error.

    Do that before a process is waited for of which somebody reads such memory: it does not end before.
    """
    fd = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    if _libc.mount(b"slow", os.fsencode(at), b"fuse", 0, options):
        raise OSError(ctypes.get_errno(), "mount")
    over, end = os.pipe()
    server = threading.Thread(target=_serve, args=(fd, over), daemon=True)
    server.start()

    @cache
    def stop() -> None:
        _libc.umount2(os.fsencode(at), 2)  # MNT_DETACH
        os.close(end)
        server.join(60)
        os.close(over)
        os.close(fd)  # the last one, which ends the connection

    try:
        yield stop
    finally:
        stop()


def _serve(fd: int, over: int) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.register(over, 0)
    while True:
        if any(ready == over for ready, _ in poll.poll()):
            return
        try:
            data = os.read(fd, 1 << 18)
        except OSError:
            return
        _, opcode, unique, node, *_ = _HEAD.unpack_from(data)
        body = _answer(opcode, node, data[_HEAD.size :])
        if body is None:
            continue
        error = -_ENOSYS if not body else 0
        try:
            os.write(fd, struct.pack("=IiQ", 16 + len(body), error, unique) + body)
        except OSError:
            return


def _answer(opcode: int, node: int, rest: bytes) -> bytes | None:
    """What is said; nothing for what is not known, None for what is never answered."""
    if opcode == _INIT:
        _, _, readahead, _ = struct.unpack_from("=IIII", rest)
        return struct.pack("=IIIIHHIIHHI28x", 7, 31, readahead, 0, 16, 12, 1 << 16, 1, 0, 0, 0)
    if opcode == _LOOKUP:
        name = rest.rstrip(b"\0")
        if name.startswith(b"hang"):
            return None
        found = 3 if name.startswith(b"dir") else 2
        return struct.pack("=QQQQII", found, 0, 60, 60, 0, 0) + _attributes(found)
    if opcode == _GETATTR:
        return struct.pack("=QII", 60, 0, 0) + _attributes(node)
    if opcode in (_OPEN, _OPENDIR):
        return struct.pack("=QII", 1, 0, 0)
    return None if opcode == _READ else b""


def _attributes(node: int) -> bytes:
    mode = stat.S_IFREG | 0o666 if node == 2 else stat.S_IFDIR | 0o777
    return struct.pack("=6Q10I", node, 8192, 16, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)
