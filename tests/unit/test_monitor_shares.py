"""What a program ties up in the monitor leaves others theirs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from scmm_oci.enforcer.monitor import memory
from scmm_oci.enforcer.monitor.memory import Reader, Unreadable
from scmm_oci.enforcer.monitor.model import Call, Memory
from scmm_oci.kernel.notify import Notification

HOSTILE, HONEST = 10, 100
NOTIFICATION = Notification(1, 1, 0, 0, (0,) * 6)
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
        assert 3 <= reader.stuck <= 3 + HOSTILE
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
    monkeypatch.setattr(Reader, "_give", lambda self, fd, work: given.append(work))
    assert asyncio.run(run(cancels=False)).paths == (b"read",)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run(cancels=True))
