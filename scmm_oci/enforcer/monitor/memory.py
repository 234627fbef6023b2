"""What the pointers of a waiting call lead to, read without ever waiting on the loop for memory that does not come.

A page can lie in a file system, or behind a userfaultfd, of the program's own, which answers when it likes: reading it
then takes as long. So threads read, few for each listener, and who waits for them waits for a short time only.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections import Counter, deque
from collections.abc import Callable

from scmm_oci.enforcer.monitor.addresses import address_of
from scmm_oci.enforcer.monitor.model import Call, Memory, signed
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
    """Threads that read. Each is made when it is needed, and none keeps the process from ending."""

    def __init__(self, *, threads: int = 32, each: int = 2, deadline_s: float = 2.0) -> None:
        """
        Args:
            threads: how many there can be; beyond that, one more for a listener of which nobody reads.
            each: how many read for one listener at a time.
            deadline_s: of a read.
        """
        self._most, self._each, self._deadline_s = threads, each, deadline_s
        self._lock = threading.Condition()
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()
        self._reading: Counter[int] = Counter()
        self._threads = self._idle = 0

    @property
    def stuck(self) -> int:
        """How many threads read at this moment."""
        return self._reading.total()

    async def read(self, fd: int, notification: Notification, call: Call) -> Memory:
        """What the call's pointers lead to: paths, a socket address, struct open_how. Where they lead nowhere, None.

        A path that does not end within PATH_MAX is given with PATH_MAX bytes: the kernel refuses it, ENAMETOOLONG.

        Raises:
            Unreadable: it cannot be read, the call is gone, or it takes too long.
        """
        loop = asyncio.get_running_loop()
        result: asyncio.Future[Memory] = loop.create_future()

        def settle(found: Memory | Unreadable) -> None:
            if not result.done():
                if isinstance(found, Unreadable):
                    result.set_exception(found)
                else:
                    result.set_result(found)

        def work() -> None:
            found: Memory | Unreadable
            try:
                found = look(fd, notification, call)
            except Unreadable as error:
                found = error
            except Exception as error:
                found = Unreadable(f"its memory cannot be read: {error}")
            try:
                loop.call_soon_threadsafe(settle, found)
            except RuntimeError:
                pass  # the loop has ended meanwhile

        self._give(fd, work)
        try:
            # Not wait_for, which is not cancelled where there is a result: the listener is closed then.
            async with asyncio.timeout(self._deadline_s):
                return await result
        except TimeoutError:
            raise Unreadable(f"its memory could not be read in {self._deadline_s:g} s") from None
        finally:
            with self._lock:
                if (fd, work) in self._waiting:
                    self._waiting.remove((fd, work))

    def _give(self, fd: int, work: Callable[[], None]) -> None:
        with self._lock:
            self._waiting.append((fd, work))
            if len(self._waiting) > self._idle and (self._threads < self._most or self._waits_for_first() > self._idle):
                try:
                    threading.Thread(target=self._run, name="scmm-memory", daemon=True).start()
                except RuntimeError as error:  # targets may have taken all threads that there can be
                    if not self._threads:
                        self._waiting.remove((fd, work))
                        raise Unreadable(f"its memory cannot be read: {error}") from error
                else:
                    self._threads += 1
                    self._idle += 1  # as long as it has taken nothing
            self._lock.notify()

    def _run(self) -> None:
        while True:
            with self._lock:
                while (taken := self._take()) is None:
                    self._lock.wait()
                self._idle -= 1
            fd, work = taken
            try:
                work()
            finally:
                with self._lock:
                    self._idle += 1
                    self._reading[fd] -= 1
                    if not self._reading[fd]:
                        del self._reading[fd]
                    self._lock.notify()

    def _waits_for_first(self) -> int:
        """Listeners that wait, and for which nobody reads."""
        return len({fd for fd, _ in self._waiting if not self._reading[fd]})

    def _take(self) -> tuple[int, Callable[[], None]] | None:
        # First for whom nobody reads: what others' programs hold up does not keep it waiting.
        for most in (1, self._each):
            for one in self._waiting:
                if self._reading[one[0]] < most:
                    self._waiting.remove(one)
                    self._reading[one[0]] += 1
                    return one
        return None


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
