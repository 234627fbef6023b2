"""What a program ties up in the monitor leaves others theirs."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from rig.process import wait_until
from scmm_oci.enforcer.monitor import answering, memory
from scmm_oci.enforcer.monitor.behalf.deputies import Performed
from scmm_oci.enforcer.monitor.memory import Reader, Unreadable
from scmm_oci.enforcer.monitor.model import By, Call, Decision, Memory, Verdict
from scmm_oci.enforcer.monitor.threads import Threads
from scmm_oci.kernel import notify
from scmm_oci.kernel.notify import Notification

HOSTILE, HONEST = 10, 100
NOTIFICATION = Notification(1, 1, 0, 0, (0,) * 6)
ALLOWED = Decision(Verdict.ALLOW, By.RULE)
CALL = Call(None, 0, 0, None, (0,) * 6)


def test_memory_that_never_comes_of_many_listeners_leaves_one_thread_to_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    comes = threading.Event()

    def look(fd: int, notification: Notification, call: Call) -> Memory:
        if fd != HONEST:
            comes.wait(60)
        return Memory((b"read",))

    async def stuck(reader: Reader, fd: int) -> None:
        with suppress(Unreadable):
            await reader.read(fd, NOTIFICATION, CALL)

    async def run() -> None:
        reader = Reader(threads=3, each=2, deadline_s=0.2)
        await asyncio.gather(*(stuck(reader, fd) for fd in range(HOSTILE) for _ in range(5)))
        # As many as there can be, or one of each.
        assert 3 <= reader.threads.busy <= 3 + HOSTILE
        reader._deadline_s = 60
        for _ in range(20):
            assert (await reader.read(HONEST, NOTIFICATION, CALL)).paths == (b"read",)
        assert len([one for one in threading.enumerate() if one.name == "scmm-memory"]) <= before + 3 + HOSTILE + 1
        comes.set()

    before = len([one for one in threading.enumerate() if one.name == "scmm-memory"])
    monkeypatch.setattr(memory, "look", look)
    try:
        asyncio.run(run())
    finally:
        comes.set()


def test_who_is_cancelled_when_memory_comes_goes_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its listener is closed by then, and the descriptor perhaps another's."""
    given: list[Callable[[], None]] = []

    async def run(*, cancels: bool) -> Memory:
        task = asyncio.create_task(Reader().read(HONEST, NOTIFICATION, CALL))
        await asyncio.sleep(0)
        given.pop()()  # the result comes with the next turn of the loop
        if cancels:
            asyncio.get_running_loop().call_soon(task.cancel)
        return await task

    monkeypatch.setattr(memory, "look", lambda *_: Memory((b"read",)))
    monkeypatch.setattr(Threads, "_give", lambda self, fd, work: given.append(work))
    assert asyncio.run(run(cancels=False)).paths == (b"read",)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run(cancels=True))


class _Opened:
    """What stands for a call that has been made on behalf: its descriptor is one end of a pipe."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    async def perform(self, *, path: str | None = None) -> Performed:
        return Performed(0, 0, self._fd, True)


@pytest.mark.parametrize("ends", ["taken", "full", "cancelled", "hangs"])
def test_a_caller_that_does_not_run_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch, ends: str) -> None:
    """SECCOMP_IOCTL_NOTIF_ADDFD has whoever hands a descriptor over wait until the caller's thread runs."""
    runs = threading.Event()
    refused: list[int] = []

    def hand_over(fd: int, call: int, source: int, *, close_on_exec: bool) -> bool:
        assert runs.wait(60) and os.fstat(fd) and os.fstat(source) and close_on_exec
        if ends == "full":
            raise OSError(errno.EMFILE, "full")
        return True

    async def run(listener: int, source: int) -> tuple[bool, Decision, int]:
        opened: Any = _Opened(source)
        making = asyncio.create_task(answering.make(listener, NOTIFICATION, ALLOWED, opened, threads))
        while not threads.busy:
            await asyncio.sleep(0)
        # The loop goes on meanwhile, and so could answer others.
        assert not making.done()
        if ends in ("cancelled", "hangs"):
            making.cancel()
        if ends != "hangs":
            runs.set()
        return await making

    threads = Threads(most=1, each=1)
    monkeypatch.setattr(notify, "hand_over", hand_over)
    monkeypatch.setattr(notify, "refuse", lambda fd, call, number: not refused.append(number))
    reads, writes = os.pipe()
    try:
        if ends == "hangs":
            monkeypatch.setattr(answering, "GRACE_S", 0.01)
            with pytest.raises(asyncio.CancelledError):
                asyncio.run(run(reads, writes))
            runs.set()
        else:
            # Who is cancelled and has been answered meanwhile says so.
            number = errno.EMFILE if ends == "full" else 0
            assert asyncio.run(run(reads, writes)) == (True, ALLOWED, number)
        assert refused == ([errno.EMFILE] if ends == "full" else [])
        # Ours is closed, whatever came of it: a pipe that nobody writes to is at its end.
        wait_until(lambda: threads.busy == 0, deadline_s=60, what="the thread has ended its work")
        assert os.read(reads, 1) == b""
    finally:
        os.close(reads)
