"""Programs that do their worst while their calls wait: scmm-monitor goes on, and answers everyone else."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import monitored
import pytest
from monitored import (
    ALLOWED,
    DENIED,
    EFAULT,
    ENOSYS,
    EPERM,
    NUMBERS,
    UNDECIDED,
    Monitor,
    asker,
    monitoring,
    serves,
    waits_in_call,
)

from benchmarks.monitor_ways import family
from rig.process import RigError, wait_until
from scmm_oci.kernel import notify

SOAK = bool(os.environ.get("SCMM_SOAK"))
MS = 10_000 if SOAK else 400
RDONLY = os.O_RDONLY


@pytest.fixture(scope="module")
def monitor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitor]:
    """One for all of these tests: what one of them does to it, the next ones meet."""
    with monitoring(tmp_path_factory.mktemp("monitor")) as one:
        serves(one)  # also: from now on it has the helpers that it keeps
        yield one


@pytest.mark.parametrize("name", ["getuid", "openat", "getsid"])
def test_programs_that_die_while_they_are_asked_about(monitor: Monitor, name: str) -> None:
    before = monitor.descriptors(), len(family(monitor.pid))
    count = 2000 if SOAK else 100
    with monitor.asks() as dying:
        killed, answered, made = map(int, dying.ask(f"die {count} {NUMBERS[name]}").split())
        # What nobody decides is refused at most: there are only so many questions at a time.
        assert (killed, made) == (count, 0) and answered <= count
        # The one that has lost its children is still served itself.
        assert dying.ask(f"call {ALLOWED}") == str(dying.pid)
    serves(monitor)
    monitor.wait_idle(*before)


def test_a_program_that_dies_with_a_question_open_takes_it_along(monitor: Monitor) -> None:
    before = monitor.descriptors(), len(family(monitor.pid))
    with monitor.asks() as waiting, ThreadPoolExecutor() as pool:
        asking = pool.submit(waiting.ask, f"call {UNDECIDED}")
        waits_in_call(asker(waiting))
        serves(monitor)
        assert not asking.done()
        os.kill(asker(waiting), signal.SIGKILL)
        with pytest.raises(RigError, match="ended instead of an answer"):
            asking.result(60)
    monitor.wait_idle(*before)


def test_a_name_that_changes_never_leads_where_it_may_not(monitor: Monitor) -> None:
    """The control is `test_a_naive_supervisor_is_beaten`."""
    with monitor.asks() as racing:
        names = f"{monitor.place}/open/file {monitor.place}/shut/file"
        calls, good, bad = map(int, racing.ask(f"flip {MS if SOAK else 2000} {RDONLY} {names}").split())
    assert (good > 0, bad) == (True, 0), f"of {calls} calls, {good} opened what they may, {bad} what they may not"
    serves(monitor)


def test_a_naive_supervisor_is_beaten(tmp_path: Path) -> None:
    """The control: the program does change the name, and gets where it may not if what was looked at goes on."""
    good, bad = tmp_path / "good", tmp_path / "evil"
    for file in (good, bad):
        file.write_text(file.name)
    with monitored.kept(tmp_path) as (racing, _, listener), ThreadPoolExecutor(1) as pool:
        racer = pool.submit(racing.ask, f"flip {MS} {RDONLY} {good} {bad}")
        while not racer.done():
            if select.select([listener], [], [], 0.01)[0] and (call := notify.receive(listener)) is not None:
                with open(f"/proc/{call.tid}/mem", "rb", buffering=0) as memory:
                    memory.seek(call.args[1])
                    name = memory.read(len(str(good)))
                if name == str(good).encode():
                    notify.let_go_on(listener, call.id)
                else:
                    notify.refuse(listener, call.id, 1)
        calls, _, beaten = map(int, racer.result().split())
    assert beaten > 0, f"never in {calls} calls"


def test_a_name_whose_page_comes_and_goes(monitor: Monitor) -> None:
    with monitor.asks() as racing:
        calls, *_ = map(int, racing.ask(f"unmap {MS} {RDONLY} {monitor.place}/open/file").split())
        assert calls > 0
        # Where nobody takes the page away, it is opened.
        monitored.opened(monitor, racing)
    serves(monitor)


def test_names_on_pages_that_never_come(monitor: Monitor) -> None:
    """More of them than there are threads to read memory; meanwhile others are served."""
    before = monitor.descriptors(), len(family(monitor.pid))
    with ExitStack() as stack, ThreadPoolExecutor(12) as pool:
        stuck = [stack.enter_context(monitor.asks()) for _ in range(12)]
        asking = [pool.submit(each.ask, f"absent {RDONLY}") for each in stuck]
        with monitor.asks() as honest:
            assert honest.ask(f"call {ALLOWED}") == str(honest.pid)
        assert {each.result(60) for each in asking} <= {str(EPERM), str(EFAULT)}
    serves(monitor)
    monitor.wait_idle(*before)


def test_a_flood_of_calls_is_answered_and_others_are_too(monitor: Monitor) -> None:
    with monitor.asks() as flooding, monitor.asks() as honest, ThreadPoolExecutor(1) as pool:
        flood = pool.submit(flooding.ask, f"flood 64 {MS} {DENIED}")
        served = 0
        while not flood.done() or not served:
            assert honest.ask(f"call {ALLOWED}") == str(honest.pid)
            served += 1
        calls, enosys, eperm = map(int, flood.result().split())
    assert (calls > 1000, enosys, eperm) == (True, 0, calls)
    serves(monitor)


def test_more_calls_than_are_considered_at_a_time(monitor: Monitor) -> None:
    """400 threads whose calls somebody would have to decide: beyond a limit, they are refused at once."""
    before = monitor.descriptors(), len(family(monitor.pid))
    with monitor.asks() as many, ThreadPoolExecutor(1) as pool:
        flood = pool.submit(many.ask, f"flood 400 {MS} {UNDECIDED}")
        refused = Path(f"/proc/{asker(many)}/task")
        wait_until(lambda: len(list(refused.iterdir())) > 400, deadline_s=60, what="400 threads")
        serves(monitor)
        assert not flood.done()
        os.kill(asker(many), signal.SIGKILL)
        with pytest.raises(RigError, match="ended instead of an answer"):
            flood.result(60)
    # Who is honest has files opened by many threads at once, and none is refused.
    with monitor.asks() as many:
        threads = 200 if SOAK else 32
        assert many.ask(f"open {threads} 1 {RDONLY} {monitor.place}/open/file").split()[3:] == ["0", "0"]
    monitor.wait_idle(*before)


def test_many_programs_at_once(monitor: Monitor) -> None:
    before = monitor.descriptors(), len(family(monitor.pid))
    with ExitStack() as stack, ThreadPoolExecutor(16) as pool:
        many = [stack.enter_context(each) for each in (monitor.asks() for _ in range(200 if SOAK else 50))]
        assert list(pool.map(lambda each: each.ask(f"call {ALLOWED}"), many)) == [str(each.pid) for each in many]
        assert {each.ask(f"call {DENIED}") for each in many} == {str(EPERM)}
    monitor.wait_idle(*before)


def test_without_a_monitor_there_is_no_answer_but_a_refusal(tmp_path: Path) -> None:
    """The control of all of these: that calls are answered is the monitor's doing."""
    with monitoring(tmp_path) as one, one.asks() as asked:
        assert asked.ask(f"call {ALLOWED}") == str(asked.pid)
        one.daemon.stop()
        assert asked.ask(f"call {ALLOWED}") == str(ENOSYS)
