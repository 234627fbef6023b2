"""scmm-monitor on a terminal, with programs under scmm-enforce in the mode ask: what a person sees and says."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import enforce
import pytest
from asking_terminal import Window
from desktop_session import ACTIONS, Service, bus
from enforce import HERE, Done, acts, bytes_of, run
from support import ROOT

from rig.process import wait_until
from scmm_oci.policy.model import Action, Metadata, Policy, Settings, SyscallRule
from scmm_oci.tables.syscalls import numbers

SCMM = [sys.executable, "-m", "scmm_oci.cli.main", "monitor"]
DEADLINE_S = 60


def policy() -> bytes:
    """All is allowed but to make directories."""
    settings = Settings(default_action=Action.ALLOW, arch=HERE, architectures=(HERE,))
    refused = [name for name in ("mkdir", "mkdirat") if name in numbers(HERE)]
    rules = tuple(SyscallRule(name, Action.DENY, errno="EPROTO") for name in refused)
    return bytes_of(Policy(settings=settings, syscalls=rules, metadata=Metadata(name="tool")))


@dataclass
class Scene:
    """A monitor on a terminal; programs that it is asked about run beside the test."""

    window: Window
    place: Path
    pool: ThreadPoolExecutor

    @property
    def socket(self) -> Path:
        return self.place / "run" / "notify.sock"

    def begin(self, *words: object) -> Future[Done]:
        """A program whose directories are asked about."""
        return self.pool.submit(run, policy(), *words, mode="ask", options=("--listener", str(self.socket)))

    def scmm(self, *words: str) -> str:
        done = subprocess.run(
            [*SCMM, *words], env=environ(), cwd=self.place, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout


def environ() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "DBUS_SESSION_BUS_ADDRESS"}
    return {**kept, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}


@contextmanager
def monitor(place: Path, *options: str) -> Iterator[Scene]:
    enforce.needed()
    (place / "run").mkdir(mode=0o700, exist_ok=True)
    decisions = place / "run" / "decisions.sqlite"
    words = [*SCMM, "--socket", str(place / "run" / "notify.sock"), "--decisions", str(decisions), *options]
    with Window(words, env=environ(), cwd=place, columns=100) as window, ThreadPoolExecutor(2) as pool:
        window.await_screen(lambda text: "scmm-monitor: 0 containers" in text, "the quiet line")
        wait_until((place / "run" / "notify.sock").exists, deadline_s=30, what="the socket")
        job = os.pidfd_open(window.job)
        try:
            yield Scene(window, place, pool)
        finally:
            # A terminal that is closed does not end it.
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(job, signal.SIGTERM)
            ended, _, _ = select.select([job], [], [], DEADLINE_S)
            os.close(job)
            assert ended


@pytest.fixture
def place() -> Iterator[Path]:
    with enforce.place() as made:
        yield made


def test_once_and_denied(place: Path) -> None:
    with monitor(place) as s:
        made = place / "made"
        done = s.begin("mkdir", made, "rmdir", made, "mkdir", made)
        screen = s.window.await_keys(f"path     {made}")
        assert f"program  {acts()}" in screen and "who      tool" in screen and "never asked" in screen
        assert "user 0" in screen and 'mkdir("' in screen.replace("mkdirat(AT_FDCWD, ", "mkdir(")
        assert not made.exists() and not done.done()
        s.window.type(b"o")
        # The same again: it is another call, and asked anew.
        s.window.await_keys("asked 1 time")
        assert not made.exists()
        s.window.type(b"d")
        assert done.result(DEADLINE_S).lines == ["ok", "ok", "EPERM"]
        assert not made.exists()
        s.window.await_screen(lambda text: "2 decisions" in text, "the quiet line")
        os.kill(s.window.job, signal.SIGTERM)
        assert s.window.end() == 0


def test_for_this_run_and_always(place: Path) -> None:
    made, other = place / "made", place / "other"
    twice = ("mkdir", made, "rmdir", made, "mkdir", made, "rmdir", made)
    with monitor(place) as s:
        done = s.begin(*twice)
        s.window.await_keys(str(made))
        s.window.type(b"r")
        assert done.result(DEADLINE_S).lines == ["ok"] * 4
        assert json.loads(s.scmm("decisions", "list", "--json", "--decisions", "run/decisions.sqlite")) == []
        # Another run of the program is asked, and what is said now is kept; of another file it says nothing.
        done = s.begin(*twice, "mkdir", other)
        s.window.await_keys(str(made))
        s.window.type(b"a")
        s.window.await_keys(str(other))
        s.window.type(b"n")
        assert done.result(DEADLINE_S).lines == [*["ok"] * 4, "EPERM"]
        s.window.await_screen(lambda text: "always denied" in text, "what was said")
    with monitor(place) as s:
        # Nobody is asked.
        assert s.begin(*twice, "mkdir", other).result(DEADLINE_S).lines == [*["ok"] * 4, "EPERM"]
        assert b"a call waits" not in s.window.said
        assert not other.exists()


def test_kill(place: Path) -> None:
    with monitor(place) as s:
        done = s.begin("mkdir", place / "made", "mkdir", place / "other")
        s.window.await_keys("made")
        s.window.type(b"k")
        assert done.result(DEADLINE_S).code == -signal.SIGKILL
        assert sorted(path.name for path in place.iterdir()) == ["run"]


def test_nobody_answers_in_time(place: Path) -> None:
    with monitor(place, "--timeout", "1") as s:
        done = s.begin("mkdir", place / "made")
        s.window.await_screen(lambda text: "denied in 1 s" in text, "the countdown")
        assert done.result(DEADLINE_S).lines == ["EPERM"]
        assert not (place / "made").exists()
        s.window.await_screen(lambda text: "1 decision" in text, "the quiet line")


def test_a_program_that_dies_takes_its_question_along(place: Path) -> None:
    with monitor(place) as s:
        done = s.begin("mkdir", place / "made")
        screen = s.window.await_keys("made")
        pid = int(next(line for line in screen.splitlines() if "process" in line).split()[1].rstrip(","))
        os.kill(pid, signal.SIGKILL)
        assert done.result(DEADLINE_S).code == -signal.SIGKILL
        s.window.await_screen(lambda text: "scmm-monitor: 0 containers" in text, "the quiet line")


def test_the_terminal_is_closed(place: Path) -> None:
    with monitor(place) as s:
        done = s.begin("mkdir", place / "made")
        s.window.await_keys("made")
        s.window.hang_up()
        assert done.result(DEADLINE_S).lines == ["EPERM"]
        # It goes on, and denies what it would ask about.
        assert s.begin("mkdir", place / "made").result(DEADLINE_S).lines == ["EPERM"]
        assert json.loads(s.scmm("status", "--json", "--socket", str(s.socket)))["questions"] == 0
        assert not (place / "made").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_ends_it_while_it_asks(place: Path, number: signal.Signals) -> None:
    with monitor(place) as s:
        before = s.window.modes()
        done = s.begin("mkdir", place / "made")
        s.window.await_keys("made")
        assert s.window.modes() != before
        if number is signal.SIGINT:
            s.window.type(b"\x03")
        else:
            os.kill(s.window.job, number)
        assert done.result(DEADLINE_S).lines[0] in ("EPERM", "ENOSYS")
        assert s.window.end() == 0
        assert s.window.modes() == before and not s.window.cursor_is_hidden
        assert not (place / "made").exists()


def test_in_the_background_nobody_is_asked(place: Path) -> None:
    with monitor(place) as s:
        s.window.type(b"\x1a")
        s.window.await_stop()
        s.window.go_on(background=True)
        assert s.begin("mkdir", place / "made").result(DEADLINE_S).lines == ["EPERM"]
        assert b"a call waits" not in s.window.said
        os.kill(s.window.job, signal.SIGSTOP)
        s.window.await_stop()
        s.window.go_on()
        s.window.await_screen(lambda text: "1 decision" in text, "the quiet line")
        done = s.begin("mkdir", place / "made")
        s.window.await_keys("made")
        s.window.type(b"o")
        assert done.result(DEADLINE_S).lines == ["ok"]


@pytest.mark.parametrize(("button", "answer"), [("once", "ok"), ("deny", "EPERM")])
def test_on_a_desktop(place: Path, button: str, answer: str) -> None:
    """Where no terminal is, a notification asks."""
    enforce.needed()
    (place / "run").mkdir(mode=0o700)
    made, path = place / "made", place / "run" / "notify.sock"

    async def scene(address: str) -> None:
        service = await Service.begin(address, ACTIONS)
        words = [*SCMM, "--socket", str(path), "--decisions", str(place / "run" / "decisions.sqlite")]
        environment = {**environ(), "DBUS_SESSION_BUS_ADDRESS": address}
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        monitor = await asyncio.create_subprocess_exec(*words, env=environment, cwd=place, **streams)
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not path.exists():
                    await asyncio.sleep(0.01)
                options = ("--listener", str(path))
                done = asyncio.ensure_future(
                    asyncio.to_thread(run, policy(), "mkdir", made, mode="ask", options=options)
                )
                while not done.done():
                    # A click that comes as soon as the question is none, and it is asked anew.
                    await asyncio.wait({done}, timeout=0.5)
                    if service.made:
                        await service.press(button)
            assert done.result().lines == [answer]
            assert f"{made}" in service.made[0][4] and service.made[0][3].startswith("tool: may it mkdir")
        finally:
            monitor.terminate()
            await monitor.wait()
            service.end()

    with bus(place / "run") as (address, _):
        asyncio.run(scene(address))
    assert made.exists() is (answer == "ok")
