"""For the monitor: calls made on behalf, each by a process of its own. Nothing here waits on a target.

`Deputies.resolve` says what a call's names stand for; whoever decides on that lets the same process make the call.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

import scmm_oci
from scmm_oci.enforcer.monitor.behalf import table
from scmm_oci.enforcer.monitor.behalf.handle import Handle, settle
from scmm_oci.enforcer.monitor.behalf.identity import Impossible
from scmm_oci.enforcer.monitor.model import Call, Memory
from scmm_oci.kernel import notify
from scmm_oci.kernel.notify import Notification

__all__ = ["Deputies", "Impossible", "Performed", "Resolution"]

# An interpreter of its own: forked from ours, each deputy would begin with all that the monitor has loaded.
_ZYGOTE = """
import sys
sys.path.insert(0, sys.argv[1])
import socket
from scmm_oci.enforcer.monitor.behalf import zygote
zygote.run(socket.socket(fileno=int(sys.argv[2])), int(sys.argv[3]))
"""
_GLANCE_S = 0.25  # between looks at whether a call that is being made is still waited for


@dataclass(frozen=True, slots=True)
class Performed:
    """What became of the call.

    Attributes:
        error: its errno, or 0.
        value: what it returned, unless that is a descriptor.
        fd: a descriptor of ours for what was opened, which the caller closes.
        close_on_exec: whether the thread asked for O_CLOEXEC.
    """

    error: int
    value: int
    fd: int | None
    close_on_exec: bool


class Deputies:
    """Processes that make calls on behalf.

    `start` comes before asyncio and before any thread.
    """

    def __init__(self, *, most: int = 128, each: int = 16, deadline_s: float = 10.0, longest_s: float = 600.0) -> None:
        """
        Args:
            most: how many there are at a time, and of them `each` for one listener, which has one in any case. Others
                wait for a place. One that a file system holds up past its end (FUSE's, NFS's) keeps its place until
                then.
            deadline_s: of finding what names stand for, the place included: a target's file system can take for ever.
            longest_s: of the call itself.
        """
        self._most, self._each, self._deadline_s, self._longest_s = most, each, deadline_s, longest_s
        self._busy: Counter[int] = Counter()
        self._waiting: set[asyncio.Future[None]] = set()
        self._requests: socket.socket | None = None
        self._zygote = 0

    @property
    def busy(self) -> int:
        """How many calls are being made."""
        return self._busy.total()

    def start(self) -> None:
        """Fork the process that deputies come from. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parent = os.getpid()
        try:
            self._zygote = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if not self._zygote:
            _become_zygote(theirs, parent)
        theirs.close()
        ours.setblocking(False)
        self._requests = ours

    def close(self) -> None:
        """End them all: calls that are being made are not answered by anybody here."""
        if self._requests is not None:
            self._requests.close()
            self._requests = None
            os.kill(self._zygote, signal.SIGKILL)  # those that it forked end with it
            os.waitpid(self._zygote, 0)

    async def resolve(self, fd: int, notification: Notification, call: Call, memory: Memory) -> Resolution:
        """What the call's names stand for, held by a process that can make the call with just that.

        Args:
            fd: the listener.
            memory: as `memory.Reader` read it.

        Raises:
            Impossible: the call cannot be made just as the thread would have made it, or this takes too long.
        """
        try:
            act = table.act_of(call, memory)
        except table.Wrong as error:
            return Resolution((), error.number)
        except ValueError as error:
            raise Impossible(str(error)) from None
        asked = {
            "tid": notification.tid,
            "id": notification.id,
            "act": asdict(act),
            "names": [None if one is None else os.fsdecode(one) for one in memory.paths],
            "raw": memory.address.raw.hex() if memory.address is not None else "",
            "text": os.fsdecode(memory.text) if memory.text is not None else None,
        }
        deputy: Handle | None = None
        try:
            async with asyncio.timeout(self._deadline_s):
                await self._place(fd)
                deputy = self._deputy(fd)
                found = await deputy.begin(self._requests, fd, asked)
        except TimeoutError:
            if deputy is not None:
                deputy.end()
            raise Impossible(f"its names could not be looked up in {self._deadline_s:g} s") from None
        except BaseException:
            if deputy is not None:
                deputy.end()
            raise
        cloexec = act.operation == "open" and bool(act.flags & os.O_CLOEXEC)
        resolution = Resolution(
            tuple(found["paths"]), found["error"], deputy, (fd, notification.id), cloexec, self._longest_s
        )
        if resolution.error:
            resolution.abandon()
        return resolution

    def _deputy(self, fd: int) -> Handle:
        try:
            return Handle(lambda: self._leave(fd))
        except OSError as error:
            self._leave(fd)
            raise Impossible(f"there are no deputies: {error.strerror}") from None

    async def _place(self, fd: int) -> None:
        # Whatever others hold, a listener has one.
        while self._busy[fd] and (self._busy.total() >= self._most or self._busy[fd] >= self._each):
            await self._a_place_is_left()
        self._busy[fd] += 1

    async def idle(self) -> None:
        """Wait until no call is being made, and all whose calls were have ended."""
        while self._busy:
            await self._a_place_is_left()

    async def _a_place_is_left(self) -> None:
        left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(left)
        try:
            await left
        finally:
            self._waiting.remove(left)

    def _leave(self, fd: int) -> None:
        self._busy[fd] -= 1
        if not self._busy[fd]:
            del self._busy[fd]
        for one in self._waiting:
            settle(one)


def _become_zygote(requests: socket.socket, parent: int) -> NoReturn:
    try:
        os.set_inheritable(requests.fileno(), True)
        root = Path(scmm_oci.__file__).resolve().parent.parent
        words = [sys.executable, "-I", "-S", "-c", _ZYGOTE, str(root), str(requests.fileno()), str(parent)]
        os.execv(sys.executable, words)
    finally:
        os._exit(1)


class Resolution:
    """What a call's names stand for, and the process that holds it until the call is made or abandoned.

    Attributes:
        paths: real, absolute, in the thread's root, without links and dots, in the order of the call's names; of what
            is not a path, such as an internet address, none. The last component need not exist.
        error: the errno that the thread gets, whoever decides what: its names lead nowhere; 0 otherwise.
    """

    def __init__(
        self,
        paths: tuple[str, ...],
        error: int,
        deputy: Handle | None = None,
        call: tuple[int, int] = (-1, 0),
        close_on_exec: bool = False,
        longest_s: float = 0.0,
    ) -> None:
        self.paths, self.error = paths, error
        self._deputy, self._call, self._close_on_exec, self._longest_s = deputy, call, close_on_exec, longest_s

    async def perform(self, *, path: str | None = None) -> Performed:
        """Make the call. It can be done once.

        Args:
            path: instead of the call's own, of which there must be one: looked up now, by the thread's equal.

        Raises:
            Impossible: it cannot be made just so any more, or nobody waits for it.
        """
        if self.error:
            return Performed(self.error, 0, None, False)
        if self._deputy is None:
            raise Impossible("the call has been made or abandoned")
        deputy, (fd, call) = self._deputy, self._call
        try:
            if not notify.is_waiting(fd, call):
                raise Impossible("it is gone")
            deputy.order(path)
            left_s = self._longest_s
            while not await deputy.hears(min(_GLANCE_S, left_s)):
                left_s -= _GLANCE_S
                if not notify.is_waiting(fd, call):
                    raise Impossible("it is gone")
                if left_s <= 0:
                    raise Impossible(f"the call took more than {self._longest_s:g} s")
            said, fds = deputy.take()
        finally:
            self.abandon()
        return Performed(said["error"], said["value"], fds[0] if fds else None, self._close_on_exec)

    def abandon(self) -> None:
        """Nothing is done any more. To do it twice, or after the call was made, does nothing."""
        if self._deputy is not None:
            self._deputy.end()
            self._deputy = None
