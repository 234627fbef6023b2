"""A child process with a line in and a line out, on the event loop: what `monitor.program` talks to."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence

MAX_LINE = 64 << 10  # bytes of a line that it writes
_LATE_S = 1.0  # that what it has written before its end is waited for
_END_S = 2.0  # that it has to end by itself, and again after SIGTERM


class Running:
    """A process that was started. It leads a session of its own, and has no descriptors of ours but stderr.

    Both pipes are made here and not by asyncio, which would keep its end open as long as any descendant has the other.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        stdin: asyncio.WriteTransport,
        stdout: asyncio.StreamReader,
        reading: asyncio.ReadTransport,
    ) -> None:
        self._process = process
        self._stdin = stdin
        self._stdout = stdout
        self._reading = reading
        self._exit = asyncio.ensure_future(process.wait())

    @property
    def unread(self) -> int:
        """Bytes that it was given and has not taken."""
        return self._stdin.get_write_buffer_size()

    @property
    def is_deaf(self) -> bool:
        """Whether it has closed its stdin."""
        return self._stdin.is_closing()

    def write(self, line: bytes) -> None:
        """Give it a line; what it does not take is kept."""
        self._stdin.write(line)

    async def lines(self) -> AsyncIterator[bytes]:
        """What it writes, until it closes its stdout or ends.

        Raises:
            ValueError: a line is longer than MAX_LINE.
            OSError: it cannot be read.
        """
        while True:
            reading = asyncio.ensure_future(self._stdout.readline())
            try:
                done, _ = await asyncio.wait((reading, self._exit), return_when=asyncio.FIRST_COMPLETED)
                if reading not in done:
                    # It has ended; what it wrote is in the pipe, which a child of its own may keep open.
                    await asyncio.wait((reading,), timeout=_LATE_S)
                if not reading.done():
                    return
            finally:
                reading.cancel()
            line = reading.result()
            if not line:
                return
            yield line

    async def end(self, *, now: bool = False) -> int:
        """End it, and what it has started in its session; its exit code, negative for a signal.

        Args:
            now: it has said its last word. Its stdin is closed in any case; if that is not enough, it gets SIGTERM,
                but not now, then SIGKILL.
        """
        self._stdin.close()
        for number in (None, signal.SIGKILL) if now else (None, signal.SIGTERM, signal.SIGKILL):
            if number is not None:
                self._signal(number)
            await asyncio.wait((self._exit,), timeout=_LATE_S if now else _END_S)
            if self._exit.done():
                break
        code = await self._exit
        if self.unread:
            self._stdin.abort()  # nobody will take that; where there is none, it closes by itself
        self._reading.close()
        return code

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            pass  # it ends just now, or has become another user's


async def start(argv: Sequence[str]) -> Running:
    """Start a program; no shell sees its arguments.

    Raises:
        OSError, ValueError: it cannot be started.
    """
    loop = asyncio.get_running_loop()
    theirs_in, ours_in = os.pipe()
    ours_out, theirs_out = os.pipe()
    to_close = [ours_in, ours_out]
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=theirs_in, stdout=theirs_out, start_new_session=True
        )
        stdout = asyncio.StreamReader(limit=MAX_LINE)
        stdin, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(to_close.pop(0), "wb", buffering=0))
        reading, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stdout), os.fdopen(to_close.pop(0), "rb", buffering=0)
        )
    finally:
        for fd in (theirs_in, theirs_out, *to_close):
            os.close(fd)
    return Running(process, stdin, stdout, reading)


def ended(code: int) -> str:
    """How a process ended, in words."""
    return f"ended with {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
