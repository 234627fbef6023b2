"""A monitor on a host that gives it no more processes or threads, and one with a defect of its own."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from scmm_oci.cli import monitor_parts
from scmm_oci.cli.monitor_wanted import Wanted, rules_of
from scmm_oci.cli.monitoring import run
from scmm_oci.enforcer.monitor import calls, memory
from scmm_oci.enforcer.monitor.behalf.deputies import Deputies
from scmm_oci.enforcer.monitor.memory import Reader, Unreadable
from scmm_oci.enforcer.monitor.model import Memory
from scmm_oci.errors import Failure
from scmm_oci.kernel.notify import Notification


def wanted(place: Path) -> Wanted:
    return Wanted(
        socket=str(place / "run" / "notify.sock"),
        rules=None,
        learn=None,
        default="deny",
        timeout=None,
        decisions=str(place / "run" / "decisions.sqlite"),
        log=str(place / "log"),
        metrics=None,
        pid_file=None,
        no_prompt=True,
        filtered_peers=False,
        quiet=True,
    )


def no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("helper", ["process", "thread"])
def test_without_its_helpers_it_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, helper: str) -> None:
    def no_process() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    if helper == "process":
        monkeypatch.setattr(os, "fork", no_process)
    else:
        monkeypatch.setattr(threading.Thread, "start", no_thread)
    with pytest.raises(Failure, match=r"a helper of the monitor cannot be started: .*(temporarily|new thread)"):
        run(wanted(tmp_path))
    assert not list((tmp_path / "run").glob("*.sock*"))


@pytest.mark.parametrize("before", [0, 1])
def test_memory_is_read_again_when_there_are_threads_again(monkeypatch: pytest.MonkeyPatch, before: int) -> None:
    """before: threads that there are already. They read for all; without any, it is said at once."""
    read, waiting = Memory((b"read",)), threading.Event()

    def look(fd: int, *_: object) -> Memory:
        assert fd < 100 or waiting.wait(30)
        return read

    async def reading() -> None:
        reader = Reader(threads=4, deadline_s=60)
        call = Notification(1, 1, 0, 0, (0,) * 6)
        what = calls.decode(call)
        stuck = [asyncio.ensure_future(reader.read(100 + n, call, what)) for n in range(before)]
        while reader.threads.busy < before:
            await asyncio.sleep(0)
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", no_thread)
            tried = [asyncio.ensure_future(reader.read(n, call, what)) for n in range(8)]
            await asyncio.sleep(0)
            assert [one.done() for one in tried] == [not before] * 8
        waiting.set()
        found = await asyncio.gather(*stuck, *tried, return_exceptions=True)
        assert [isinstance(one, Unreadable) for one in found] == [False] * before + [not before] * 8
        assert await asyncio.gather(*(reader.read(n, call, what) for n in range(8))) == [read] * 8

    monkeypatch.setattr(memory, "look", look)
    asyncio.run(reading())


def test_a_defect_beside_the_calls_is_told_and_ends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Broken:
        def __init__(self) -> None:
            self.flushed = 0

        def flush(self) -> None:
            self.flushed += 1
            raise ValueError("of a kind that nobody thought of")

    async def tended(made: Any, broken: Broken) -> None:
        made._journal = broken
        tending = asyncio.ensure_future(made._tend())
        while broken.flushed < 3 and not tending.done():
            await asyncio.sleep(0)
        assert not tending.done()
        made._over.set()
        await tending

    rules = rules_of(wanted(tmp_path))
    broken = Broken()
    asyncio.run(tended(monitor_parts.Monitor(wanted(tmp_path), rules, None, Deputies()), broken))
    told = capsys.readouterr().err
    assert told.count("scmm-monitor: ValueError: of a kind that nobody thought of") == 1 and broken.flushed >= 3
