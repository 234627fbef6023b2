"""What the pointers of a waiting call lead to, read without ever waiting on the loop for memory that does not come.

A page can lie in a file system, or behind a userfaultfd, of the program's own, which answers when it likes: reading it
then takes as long. So threads read, few for each listener, and who waits for them waits for a short time only.
"""

from __future__ import annotations

import asyncio
import errno
import os

from scmm_oci.enforcer.monitor.addresses import address_of
from scmm_oci.enforcer.monitor.model import Call, Memory, signed
from scmm_oci.enforcer.monitor.threads import Threads
from scmm_oci.kernel import notify
from scmm_oci.kernel.notify import Notification
from scmm_oci.tables.arch import NARROW, Arch
from scmm_oci.tables.operations import NAMED, file_call

PATH_MAX = 4096  # linux/limits.h, with the zero at the end
_SOCKADDR_MAX = 128  # sizeof(struct sockaddr_storage)
_PAGE = 4096
_SIZE_AT = {"connect": 2, "bind": 2, "sendto": 5}
_TEXT_AT = {"symlink": 0, "symlinkat": 0}


class Unreadable(Exception):
    """The memory of a call could not be looked at; the text says why."""


class Reader:
    """Reads memory on threads, for a short time each."""

    def __init__(self, *, threads: int = 32, each: int = 2, deadline_s: float = 2.0) -> None:
        """threads, each: see Threads. deadline_s: of a read."""
        self.threads = Threads(most=threads, each=each)
        self._deadline_s = deadline_s

    async def read(self, fd: int, notification: Notification, call: Call) -> Memory:
        """What the call's pointers lead to: paths, a socket address, struct open_how. Where they lead nowhere, None.

        A path that does not end within PATH_MAX is given with PATH_MAX bytes: the kernel refuses it, ENAMETOOLONG.

        Raises:
            Unreadable: it cannot be read, the call is gone, or it takes too long.
        """
        try:
            # Not wait_for, which is not cancelled where there is a result: the listener is closed then.
            async with asyncio.timeout(self._deadline_s):
                return await self.threads.run(fd, lambda: look(fd, notification, call))
        except TimeoutError:
            raise Unreadable(f"its memory could not be read in {self._deadline_s:g} s") from None
        except Unreadable:
            raise
        except Exception as error:
            raise Unreadable(f"its memory cannot be read: {error}") from error


def look(fd: int, notification: Notification, call: Call) -> Memory:
    """What `Reader.read` says, read here and now, however long it takes.

    Raises:
        Unreadable: it cannot be read, or the call is gone.
    """
    if notification.tid <= 0:
        raise Unreadable("its thread is in no PID namespace that is seen from here")
    try:
        memory = os.open(f"/proc/{notification.tid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Unreadable(f"its memory cannot be opened: {error.strerror}") from None
    try:
        found = _look(memory, call)
    finally:
        os.close(memory)
    if not notify.is_waiting(fd, notification.id):
        raise Unreadable("it is gone")
    return found


def _look(memory: int, call: Call) -> Memory:
    if call.name is None or call.arch is None:
        return Memory()
    known = file_call(call.arch, call.name)
    args = [_address(each, call.arch) for each in call.args]
    if known.kind == "address":
        at, size = known.names[0][1], signed(call.args[_SIZE_AT[call.name]])
        if not args[at] or not 0 <= size <= _SOCKADDR_MAX:
            return Memory()
        return Memory(address=address_of(_bytes(memory, args[at], size)))
    if known.kind not in NAMED:
        return Memory()
    paths = tuple(_text(memory, args[at]) for _, at, _ in known.names)
    how = b""
    if call.name == "openat2" and 0 < call.args[3] <= _PAGE:
        how = _bytes(memory, args[2], call.args[3])
    return Memory(paths, how, text=_text(memory, args[_TEXT_AT[call.name]]) if call.name in _TEXT_AT else None)


def _address(value: int, arch: Arch) -> int:
    """A pointer as the kernel takes it: of 32 bits; on aarch64 without the byte that is the program's own."""
    if arch in NARROW:
        return value & 0xFFFFFFFF
    return value & ~(0xFF << 56) if arch is Arch.AARCH64 else value


def _text(memory: int, at: int) -> bytes | None:
    """Bytes up to a zero, page by page: what lies behind the end need not be there. None if that breaks off."""
    found = b""
    while len(found) < PATH_MAX:
        here = at + len(found)
        piece = _bytes(memory, here, min(_PAGE - here % _PAGE, PATH_MAX - len(found)))
        end = piece.find(b"\0")
        if end >= 0:
            return found + piece[:end]
        if not piece:
            return None
        found += piece
    return found


def _bytes(memory: int, at: int, size: int) -> bytes:
    """So many bytes, or as many as there are."""
    found = b""
    while len(found) < size:
        try:
            piece = os.pread(memory, size - len(found), at + len(found))
        except OverflowError:
            return found
        except OSError as error:
            if error.errno in (errno.EIO, errno.EFAULT, errno.EINVAL):
                return found  # nothing is mapped there
            raise
        if not piece:
            raise Unreadable("its memory is gone")  # mm of a process that has ended
        found += piece
    return found
