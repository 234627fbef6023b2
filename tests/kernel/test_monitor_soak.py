"""Very many decisions, and programs that come and go: scmm-monitor's memory is as before.

Under SCMM_SOAK a million decisions, else as many as show that each one keeps nothing.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from monitored import ALLOWED, DENIED, EPERM, Monitor, asker, monitoring, serves

from benchmarks.monitor_ways import family, resident

SOAK = bool(os.environ.get("SCMM_SOAK"))
DECISIONS = 1_000_000 if SOAK else 18_000
PROGRAMS = 3_000 if SOAK else 40
#: What a decision may leave behind on average is less than a number takes in Python.
MOST_GROWTH = max(1 << 20, DECISIONS * 8)
_PORTION = 100_000


def decide(monitor: Monitor, count: int) -> None:
    """Have calls of several threads decided: two of three allowed, one denied, a few made on behalf."""
    with monitor.asks() as asked:
        for begun in range(0, count, _PORTION):
            each = min(count - begun, _PORTION) // 12
            assert asked.ask(f"time 8 {each} {ALLOWED}").split()[3:] == [str(asked.pid), "0"]
            assert asked.ask(f"time 4 {each} {DENIED}").split()[3:] == [str(EPERM), "0"]
            assert asked.ask(f"open 1 20 {os.O_RDONLY} {monitor.place}/open/file").split()[3:] == ["0", "0"]


@pytest.mark.timeout(1800 if SOAK else 300)
@pytest.mark.parametrize("sinks", ["", "--log --learn --metrics"] if SOAK else ["--log --learn --metrics"])
def test_memory_is_flat_over_many_decisions(tmp_path: Path, sinks: str) -> None:
    paths = {
        "--log": str(tmp_path / "log"),
        "--learn": str(tmp_path / "delta.scmm.yaml"),
        "--metrics": "127.0.0.1:0",
    }
    options = [word for name in sinks.split() for word in (name, paths[name])]
    with monitoring(tmp_path, *options) as monitor:
        decide(monitor, 9_000)
        before = resident(monitor.pid), monitor.descriptors(), len(family(monitor.pid))
        decide(monitor, DECISIONS)
        grown = resident(monitor.pid) - before[0]
        assert grown <= MOST_GROWTH, f"{grown} bytes in {DECISIONS} decisions, of {before[0]} before"
        monitor.wait_idle(*before[1:])
        with monitor.asks() as asked:
            assert asked.ask(f"call {ALLOWED}") == str(asked.pid)
    if sinks:
        # The control: each decision has been where it should, and none is lost.
        with (tmp_path / "log").open("rb") as log:
            verdicts = [json.loads(line) for line in log]
        assert not [line for line in verdicts if "lost" in line]
        assert len(verdicts) >= DECISIONS // 12 * 12


@pytest.mark.timeout(1800 if SOAK else 300)
def test_memory_is_flat_over_many_programs(tmp_path: Path) -> None:
    def some(count: int) -> None:
        for _ in range(count):
            with monitor.asks() as asked:
                assert asked.ask(f"call {ALLOWED}") == str(asked.pid)
                assert asker(asked) != asked.pid

    with monitoring(tmp_path) as monitor:
        serves(monitor)
        some(20)
        before = resident(monitor.pid), monitor.descriptors(), len(family(monitor.pid))
        some(PROGRAMS)
        grown = resident(monitor.pid) - before[0]
        # Files of threads that asked are kept, and so are rules by target: some of them, and not of all.
        assert grown <= (1 << 20) + 64 * PROGRAMS, f"{grown} bytes for {PROGRAMS} programs, of {before[0]} before"
        monitor.wait_idle(*before[1:])
        serves(monitor)
