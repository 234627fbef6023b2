"""Connections that are for one question and its answer: so many at a time, each for so long, and none left behind."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

MOST = 16  # connections at a time
DEADLINE_S = 5.0  # for a question to come whole, and for its answer to be taken
_AGAIN_S = 0.5  # when there is no descriptor left for a connection
_PIECE = 4096


class Exchanges:
    """Answers at a socket that listens, on the running loop, until it is closed.

    Who asks badly, too slowly, or beside too many others is hung up on.
    """

    def __init__(
        self,
        listening: socket.socket,
        answer: Callable[[bytes], bytes],
        *,
        end: bytes,
        most: int,
        admits: Callable[[socket.socket], bool] = lambda _: True,
    ) -> None:
        """
        Args:
            listening: does not block; it stays the caller's, who closes it after this.
            answer: to a question, with its end.
            end: what a question ends with.
            most: bytes that a question has at most.
            admits: whether a connection is listened to.
        """
        self._listening = listening
        self._answer = answer
        self._end = end
        self._most = most
        self._admits = admits
        self._tasks: set[asyncio.Task[None]] = set()
        self._again: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(listening, self._accept)

    async def close(self) -> None:
        """Take no connection any more, and cut those that are there."""
        if self._again is not None:
            self._again.cancel()
        self._loop.remove_reader(self._listening)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                # It waits in the socket's queue; looking again at once would keep the loop from all else.
                self._loop.remove_reader(self._listening)
                self._again = self._loop.call_later(_AGAIN_S, self._loop.add_reader, self._listening, self._accept)
            return
        connection.setblocking(False)
        if len(self._tasks) >= MOST or not self._admits(connection):
            connection.close()
            return
        task = self._loop.create_task(self._exchange(connection))
        self._tasks.add(task)
        task.add_done_callback(lambda over: self._over(over, connection))

    def _over(self, task: asyncio.Task[None], connection: socket.socket) -> None:
        # Here and not in the task, which may be cancelled before it begins.
        connection.close()
        self._tasks.discard(task)

    async def _exchange(self, connection: socket.socket) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                question = b""
                while self._end not in question:
                    piece = await self._loop.sock_recv(connection, _PIECE)
                    question += piece
                    if not piece or len(question) > self._most:
                        return
                question = question[: question.index(self._end) + len(self._end)]
                await self._loop.sock_sendall(connection, self._answer(question))
        except (OSError, TimeoutError):
            pass  # nobody is there to be told
