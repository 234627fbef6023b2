"""The monitor's end of one deputy: what the two say, and how it ends. On the event loop; called by deputies."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

from scmm_oci.enforcer.monitor.behalf.deputy import MOST
from scmm_oci.enforcer.monitor.behalf.identity import Impossible


class Handle:
    """The monitor's end of one. It has its place until its process has ended, whatever that waits for."""

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave = leave
        self._channel, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.setblocking(False)
        self._handle = -1
        self._ended = False

    async def begin(self, requests: socket.socket | None, listener: int, asked: dict[str, Any]) -> dict[str, Any]:
        """What it found. Raises Impossible."""
        try:
            if requests is None:
                raise Impossible("there are no deputies")
            # In this order: whoever takes the request finds the question.
            self._channel.send(json.dumps(asked).encode())
            socket.send_fds(requests, [b"1"], [self._theirs.fileno(), listener])
        except OSError as error:
            raise Impossible(f"there are no deputies: {error.strerror}") from None
        finally:
            self._theirs.close()
        _, fds = await self.hear()
        if len(fds) != 1:
            raise Impossible("the deputy has ended")
        self._handle = fds[0]
        return (await self.hear())[0]

    async def hear(self) -> tuple[dict[str, Any], list[int]]:
        """The next message, and descriptors with it. Raises Impossible: it says so, or has ended."""
        await _readable(self._channel)
        return self.take()

    async def hears(self, timeout_s: float) -> bool:
        """Whether there is a message within this time."""
        try:
            async with asyncio.timeout(timeout_s):
                await _readable(self._channel)
        except TimeoutError:
            return False
        return True

    def take(self) -> tuple[dict[str, Any], list[int]]:
        """The message that is there. Raises as `hear`."""
        try:
            data, fds, _, _ = socket.recv_fds(self._channel, MOST, 1, socket.MSG_CMSG_CLOEXEC)
        except OSError:
            data, fds = b"", []
        if not data:
            raise Impossible("the deputy has ended")
        said: dict[str, Any] = json.loads(data)
        if "impossible" in said:
            raise Impossible(said["impossible"])
        return said, fds

    def order(self, path: str | None) -> None:
        """Have the call made. Raises Impossible."""
        try:
            self._channel.send(json.dumps({"path": path}).encode())
        except OSError:
            raise Impossible("the deputy has ended") from None

    def end(self) -> None:
        """Kill it, if it has not ended."""
        if self._ended:
            return
        self._ended = True
        self._channel.close()
        if self._handle < 0:
            self._leave()  # nobody has taken the request, and whoever does finds nobody there
            return
        try:
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)
        except ProcessLookupError:
            pass
        loop, handle = asyncio.get_running_loop(), self._handle

        def gone() -> None:
            loop.remove_reader(handle)
            os.close(handle)
            self._leave()

        loop.add_reader(handle, gone)


def settle(ready: asyncio.Future[None]) -> None:
    """Let go on who waits for this, once."""
    if not ready.done():
        ready.set_result(None)


async def _readable(channel: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    # By number: the loop asks for the socket's name first, which takes two calls.
    loop.add_reader(channel.fileno(), settle, ready)
    try:
        await ready
    finally:
        loop.remove_reader(channel.fileno())
