"""Processes that a replay starts and waits for: with a deadline, with an end when a signal asks for it, and with what
they write thrown away.

A container that writes into a pipe is what engines have too; one whose output is kept would fill memory.
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

from scmm_oci.errors import Failure
from scmm_oci.recorder.replay.stopping import Stop

_PATIENCE = 20.0  # seconds until a killed process has to be gone
_CHUNK, _LAST = 1 << 16, 1 << 10


class Output:
    """A pipe that is read by whoever waits for those who write; a context manager.

    Attributes:
        end: the descriptor to write to.
        last: what was written last, a few lines of it.
    """

    def __init__(self) -> None:
        self.last = b""
        self.handle, self.end = os.pipe()
        os.set_blocking(self.handle, False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.handle)
        os.close(self.end)

    def drop(self) -> None:
        """Throw away some of what is there, but for its end."""
        with suppress(BlockingIOError):
            self.last = (self.last + os.read(self.handle, _CHUNK))[-_LAST:]


def ended(handle: int, seconds: float, *, output: Output | None = None, stop: Stop | None = None) -> bool:
    """Whether a process ends in so many seconds.

    Args:
        handle: its pidfd.
        output: what is read meanwhile.
        stop: what ends the wait, with KeyboardInterrupt; None where something is taken away.
    """
    last = time.monotonic() + seconds
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    if output is not None:
        poll.register(output.handle, select.POLLIN)
    if stop is not None and stop.handle >= 0:
        poll.register(stop.handle, select.POLLIN)
    while True:
        left = max(0.0, last - time.monotonic())
        ready = {one for one, _ in poll.poll(left * 1000)}
        if stop is not None:
            stop.check()
        if handle in ready:
            return True
        if output is not None and output.handle in ready:
            output.drop()
        if not left:
            return False


@contextmanager
def started(words: Sequence[str], *, cwd: str, output: Output) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process in a session of its own, and its pidfd; at the end it is gone, whatever has happened.

    Raises:
        OSError: it cannot be executed.
        Failure: it does not go away when it is killed.
    """
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=output.end, stderr=output.end, cwd=cwd, start_new_session=True
    )
    handle = os.pidfd_open(process.pid)
    try:
        yield process, handle
    finally:
        try:
            if process.poll() is None:
                process.kill()
                if not ended(handle, _PATIENCE, output=output):
                    raise Failure(f"{os.path.basename(words[0])} was killed, and is still there")
                process.wait()
        finally:
            os.close(handle)


def run(words: Sequence[str], *, cwd: str, output: Output, seconds: float, stop: Stop | None) -> int | None:
    """Run a process to its end: its status, as subprocess has it, or None if it was killed as it took too long.

    Raises:
        OSError: it cannot be executed.
        KeyboardInterrupt: ``stop`` was asked.
    """
    with started(words, cwd=cwd, output=output) as (process, handle):
        return process.wait() if ended(handle, seconds, output=output, stop=stop) else None
