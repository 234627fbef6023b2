"""A host that is against scmm-monitor: no descriptors, no streams, a full disk, signals. It never lets a call go by."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import monitored
import pytest
from monitored import (
    ALLOWED,
    DENIED,
    ENOSYS,
    EPERM,
    NUMBERS,
    UNDECIDED,
    asker,
    monitoring,
    serves,
    waits_in_call,
    words,
)
from support import ROOT

from benchmarks.monitor_ways import family
from rig import namespace
from rig.mounts import mount, unmount
from rig.process import wait_until

MKDIR = NUMBERS["mkdirat"]


def test_no_descriptors_left(tmp_path: Path) -> None:
    """Connections and listeners until there is none left; what it cannot do then is refused, and told."""
    with monitoring(tmp_path, how="ulimit -n 64") as monitor:
        serves(monitor)
        before = monitor.descriptors(), len(family(monitor.pid))
        with ExitStack() as stack:
            served = stack.enter_context(monitor.asks())
            assert served.ask(f"call {ALLOWED}") == str(served.pid)
            many = [stack.enter_context(monitor.connect()) for _ in range(100)]
            monitor.wait_told("Too many open files")
            # Whoever is served already, is: numbers take no descriptor. A file cannot be opened for it, or can.
            assert served.ask(f"call {ALLOWED}") == str(served.pid)
            assert served.ask(f"call {DENIED}") == str(EPERM)
            assert served.ask(f"open 1 1 0 {tmp_path}/shut/file").split()[3:] == [str(EPERM), "0"]
            for each in many:
                each.close()
            serves(monitor)
        monitor.wait_idle(*before)
        serves(monitor)


def test_more_listeners_than_descriptors(tmp_path: Path) -> None:
    with monitoring(tmp_path, how="ulimit -n 48") as monitor:
        serves(monitor)
        before = monitor.descriptors(), len(family(monitor.pid))
        with ExitStack() as stack:
            many = [stack.enter_context(monitor.asks()) for _ in range(24)]
            assert {each.ask(f"call {DENIED}") for each in many} == {str(EPERM)}
        monitor.wait_idle(*before)
        serves(monitor)


@pytest.mark.parametrize("how", ["exec <&- >&- 2>&-", "exec >/dev/full 2>&1"])
def test_without_standard_streams(tmp_path: Path, how: str) -> None:
    """And without anybody who could be told."""
    with monitoring(tmp_path, "--log", str(tmp_path / "log"), how=how) as monitor:
        serves(monitor)
        before = monitor.descriptors(), len(family(monitor.pid))
        with monitor.connect() as refused:
            refused.sendall(b"hello")
            while refused.recv(64):
                pass  # until it is closed
        serves(monitor)
        monitor.wait_idle(*before)
        # What it writes goes where it should, and nowhere else: numbers of closed streams are used again.
        wait_until(lambda: len(lines(tmp_path / "log")) >= 10, deadline_s=60, what="ten lines of the log")
    assert json.loads((tmp_path / "monitor.yaml").read_bytes())["version"] == "1.0"
    assert (tmp_path / "open" / "file").read_text() == "open"


def lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_bytes().splitlines()]


def whole(log: Path) -> list[dict[str, Any]]:
    """Lines of a log, without the one that a full disk has cut."""
    found = []
    for line in log.read_bytes().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            assert line.startswith(b"{"), line
    return found


@contextmanager
def small_disk(at: Path) -> Iterator[Path]:
    """256 KiB. Only for this process and what it starts."""
    at.mkdir()
    mount("tmpfs", at, "tmpfs", 0, "size=256k,mode=0700")
    try:
        yield at
    finally:
        unmount(at)


def fill(directory: Path) -> Path:
    """Leave no room."""
    filler = directory / "filler"
    with open(filler, "ab", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 512)
        except OSError:
            return filler


def test_a_full_disk(inside: namespace.Entered, tmp_path: Path) -> None:
    """For the log, for what is remembered, for what is learnt: calls are decided as before, and it is told."""

    def learning(rules: dict[str, Any]) -> None:
        rules["rules"] = [
            *(each for each in rules["rules"] if each["decision"] != "program"),
            {"syscalls": ["openat"], "path": f"{tmp_path}/shut/**", "decision": "deny"},
        ]

    with small_disk(tmp_path / "disk") as disk:
        options = ("--log", str(disk / "log"), "--learn", str(disk / "delta.scmm.yaml"))
        with monitoring(tmp_path, *options, change=learning) as monitor, monitor.asks() as asked:
            assert asked.ask(f"call {DENIED}") == str(EPERM)
            wait_until(lambda: lines(disk / "log"), deadline_s=60, what="a line of the log")
            filler = fill(disk)
            assert asked.ask(f"time 4 500 {DENIED}").split()[3:] == [str(EPERM), "0"]
            # Learnt while there is no room.
            assert asked.ask(f"call {UNDECIDED}") == str(os.getsid(asker(asked)))
            serves(monitor)
            monitor.wait_told("cannot be written")
            filler.unlink()
            assert asked.ask(f"call {DENIED}") == str(EPERM)
            monitor.wait_told("written again")
            serves(monitor)
        written = whole(disk / "log")
        # It says itself what it lacks.
        assert sum("lost" in line for line in written) >= 1
        assert "getsid" in (disk / "delta.scmm.yaml").read_text()


def test_full_when_it_starts(inside: namespace.Entered, tmp_path: Path) -> None:
    """It says why it cannot, or serves; it never serves half."""
    with small_disk(tmp_path / "disk") as disk:
        fill(disk)
        with monitoring(tmp_path, "--log", str(disk / "log")) as monitor:
            serves(monitor)
            monitor.wait_told("cannot be written")


def test_stopped_and_continued(tmp_path: Path) -> None:
    """A call waits for as long as it takes, and is not made before."""
    with monitoring(tmp_path) as monitor, monitor.asks() as asked, ThreadPoolExecutor(1) as pool:
        made = tmp_path / "open" / "made"
        os.kill(monitor.pid, signal.SIGSTOP)
        try:
            asking = pool.submit(asked.ask, f"named {MKDIR} {made} 0700")
            waits_in_call(asker(asked))
            assert not made.exists() and not asking.done()
        finally:
            os.kill(monitor.pid, signal.SIGCONT)
        assert (asking.result(60), made.is_dir()) == ("0", True)
        serves(monitor)


def test_killed_while_calls_wait(tmp_path: Path) -> None:
    """They fail with ENOSYS and are not made; what it has started is gone; another takes its place."""
    with monitoring(tmp_path) as monitor, monitor.asks() as asked, ThreadPoolExecutor(1) as pool:
        assert asked.ask(f"named {MKDIR} {tmp_path}/open/before 0700") == "0"
        assert (tmp_path / "open" / "before").is_dir()
        started = family(monitor.pid)
        os.kill(monitor.pid, signal.SIGSTOP)
        asking = pool.submit(asked.ask, f"named {MKDIR} {tmp_path}/open/made 0700")
        waits_in_call(asker(asked))
        os.kill(monitor.pid, signal.SIGKILL)
        assert asking.result(60) == str(ENOSYS)
        # And what comes after.
        assert asked.ask(f"named {MKDIR} {tmp_path}/open/made 0700") == str(ENOSYS)
        assert asked.ask(f"call {ALLOWED}") == str(ENOSYS)
        assert not (tmp_path / "open" / "made").exists()
        wait_until(lambda: not [one for one in started if is_alive(one)], deadline_s=60, what="no deputies left")
        assert monitor.socket.exists()
        with monitoring(tmp_path) as next_one:
            serves(next_one)
            # What another monitor served is not this one's.
            assert asked.ask(f"call {ALLOWED}") == str(ENOSYS)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ended_while_calls_wait(tmp_path: Path, number: int) -> None:
    with monitoring(tmp_path) as monitor, monitor.asks() as asked, ThreadPoolExecutor(1) as pool:
        started = family(monitor.pid)
        asking = pool.submit(asked.ask, f"call {UNDECIDED}")
        waits_in_call(asker(asked))
        serves(monitor)
        os.kill(monitor.pid, number)
        assert asking.result(60) in (str(ENOSYS), str(EPERM))
        wait_until(lambda: not monitor.daemon.running, deadline_s=60, what="an end", detail=lambda: monitor.told)
        wait_until(lambda: not [one for one in started if is_alive(one)], deadline_s=60, what="no deputies left")
        assert asked.ask(f"call {ALLOWED}") == str(ENOSYS)
        assert "Traceback" not in monitor.told


def test_its_helpers_killed(tmp_path: Path) -> None:
    """Without whoever opens files for others, what needs it is denied; the rest is served, or all is, by new ones."""
    with monitoring(tmp_path) as monitor, monitor.asks() as asked:
        monitored.opened(monitor, asked)
        for helper in family(monitor.pid)[1:]:
            with suppress(ProcessLookupError):  # one that has done its work ends by itself
                os.kill(helper, signal.SIGKILL)
        assert asked.ask(f"call {ALLOWED}") == str(asked.pid)
        first = asked.ask(f"open 1 1 0 {tmp_path}/open/file").split()[3]
        assert first in ("0", str(EPERM))
        assert asked.ask(f"open 1 1 0 {tmp_path}/shut/file").split()[3] == str(EPERM)
        assert asked.ask(f"call {DENIED}") == str(EPERM)


def test_a_second_monitor_at_the_same_socket(tmp_path: Path) -> None:
    with monitoring(tmp_path) as monitor:
        done = subprocess.run(words(tmp_path), capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
        assert (done.returncode != 0, "another monitor listens there" in done.stderr) == (True, True), done.stderr
        serves(monitor)


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
