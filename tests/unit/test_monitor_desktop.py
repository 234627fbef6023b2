"""Questions on a desktop: a bus of the test's own, with a service for notifications that does what a person would."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from asked import Clock, Limits, process, question, target
from dbus_fast.aio import MessageBus
from desktop_session import ACTIONS, NAME, Service, bus

from scmm_oci.enforcer.monitor.asking import Asking
from scmm_oci.enforcer.monitor.desktop import Desktop, open_desktop
from scmm_oci.enforcer.monitor.model import By
from scmm_oci.enforcer.monitor.questions import Answer, Reply


class Session:
    """A bus, and who asks on it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.told: list[str] = []
        self.clock = Clock()
        self.made: Desktop | None = None

    async def open(self) -> Asking:
        self.made = await self.desktop()
        assert self.made is not None
        return Asking(Limits(), 30.0, self.clock, [self.made])

    async def up(self, service: Service, count: int) -> None:
        """Wait until so many were made, and the last is known to be there."""
        await until(lambda: len(service.made) == count and self.made is not None and self.made.is_up)

    async def desktop(self) -> Desktop | None:
        return await open_desktop(
            tell=self.told.append, environ={"DBUS_SESSION_BUS_ADDRESS": self.address}, now=self.clock
        )


async def until(condition: Callable[[], object]) -> None:
    """Wait for what comes by the bus."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def session(directory: Path) -> AsyncIterator[tuple[Session, subprocess.Popen[str]]]:
    with bus(directory) as (address, daemon):
        yield Session(address), daemon


def run(directory: Path, scene: Callable[[Session, subprocess.Popen[str]], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with session(directory) as (made, daemon):
            await scene(made, daemon)

    asyncio.run(whole())


@pytest.mark.parametrize(("word", "answer"), [("once", Answer.ONCE), ("deny", Answer.DENY)])
def test_a_button_answers(tmp_path: Path, word: str, answer: Answer) -> None:
    async def scene(s: Session, _: object) -> None:
        service = await Service.begin(s.address, ACTIONS)
        asking = await s.open()
        task = asyncio.create_task(asking.ask(question()))
        await s.up(service, 1)
        (name, replaces, _, summary, body, buttons, hints, left_ms) = service.made[0]
        assert (name, replaces, summary, left_ms) == ("scmm-monitor", 0, "web-1: may it openat?", 30000)
        assert body.splitlines() == [
            "/usr/sbin/nginx (pid 4711, user 33)",
            'openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC)',
            "/etc/passwd",
            "Denied in 30 s.",
        ]
        assert buttons == ["deny", "Deny", "once", "Allow once"]
        assert hints["urgency"].value == 2
        s.clock.at += 1
        await service.press(word)
        assert await task == Reply(answer, By.PERSON)
        # And another one.
        task = asyncio.create_task(asking.ask(question("other")))
        await s.up(service, 2)
        asking.close()
        assert (await task).by is By.NOBODY
        await until(lambda: service.taken_away == [2])
        service.end()

    run(tmp_path, scene)


def test_others_on_the_bus_answer_nothing(tmp_path: Path) -> None:
    async def scene(s: Session, _: object) -> None:
        service = await Service.begin(s.address, ACTIONS)
        asking = await s.open()
        task = asyncio.create_task(asking.ask(question()))
        await s.up(service, 1)
        s.clock.at += 1
        other = Service(await MessageBus(bus_address=s.address).connect(), [])
        await other.press("once", 1)
        clients = await other.others()
        assert len(clients) == 2
        for client in clients:
            await other.signal("ActionInvoked", "us", 1, "once", to=client)
        # A word that is no button, a number that is another's.
        await service.press("always")
        await service.press("once", 7)
        await service.press("deny")
        # The bus keeps the order of each sender, and the other was first.
        assert (await task).answer is Answer.DENY
        asking.close()
        service.end()
        other.end()

    run(tmp_path, scene)


def test_a_click_that_comes_with_the_question_is_none(tmp_path: Path) -> None:
    async def scene(s: Session, _: object) -> None:
        service = await Service.begin(s.address, ACTIONS)
        asking = await s.open()
        task = asyncio.create_task(asking.ask(question()))
        await s.up(service, 1)
        s.clock.at += 0.29
        await service.press("once")
        await s.up(service, 2)
        assert not task.done()
        s.clock.at += 0.4
        await service.press("once")
        assert (await task).answer is Answer.ONCE
        asking.close()
        service.end()

    run(tmp_path, scene)


def test_what_is_asked_elsewhere_is_taken_away(tmp_path: Path) -> None:
    async def scene(s: Session, _: object) -> None:
        service = await Service.begin(s.address, ACTIONS)
        asking = await s.open()
        first = asyncio.create_task(asking.ask(question()))
        await s.up(service, 1)
        # What a person takes away is not answered by that, and not shown again.
        await service.signal("NotificationClosed", "uu", 1, 2)
        second = asyncio.create_task(asking.ask(question("other", deadline=1060.0)))
        s.clock.at += 30
        asking.tick()
        assert (await first).by is By.TIMEOUT
        await s.up(service, 2)
        s.clock.at += 30
        asking.tick()
        assert (await second).by is By.TIMEOUT
        await until(lambda: service.taken_away == [2])
        assert len(service.made) == 2
        asking.close()
        service.end()

    run(tmp_path, scene)


@pytest.mark.parametrize(("capabilities", "escaped"), [(ACTIONS, True), (["actions", "body"], False)])
def test_text_from_programs_steers_nothing(tmp_path: Path, capabilities: list[str], escaped: bool) -> None:
    async def scene(s: Session, _: object) -> None:
        service = await Service.begin(s.address, capabilities)
        asking = await s.open()
        evil = "<b>\x1b]0;\n\u202e\ud800&"
        asked = question(
            words=evil,
            paths=(f"/{'x' * 500}/{evil}",),
            claimed=(evil,),
            target=target(evil),
            process=process(executable=evil),
        )
        task = asyncio.create_task(asking.ask(asked))
        await s.up(service, 1)
        summary, body = service.made[0][3:5]
        lines = body.splitlines()
        assert len(lines) == 5 and all(line.isprintable() for line in [summary, *lines])
        shown = (r"&lt;b&gt;" if escaped else "<b>") + r"\x1b]0;\n\u202e\ud800" + ("&amp;" if escaped else "&")
        assert lines[1] == shown and lines[3] == f"it says: {shown}"
        assert lines[2].endswith(f"xxx/{shown}") and " […] " in lines[2] and len(lines[2]) < 150
        asking.close()
        await task
        service.end()

    run(tmp_path, scene)


def test_a_service_that_comes_and_goes(tmp_path: Path) -> None:
    async def scene(s: Session, _: object) -> None:
        asking = await s.open()
        assert (await asking.ask(question())).by is By.NOBODY
        service = await Service.begin(s.address, ACTIONS)
        await until(lambda: asking.is_anybody_there)
        task = asyncio.create_task(asking.ask(question()))
        await s.up(service, 1)
        service.end()
        assert (await task).by is By.NOBODY
        # One whose notifications have no buttons is nobody to ask.
        service = await Service.begin(s.address, ["body"])
        other = await Service.begin(s.address, [])
        assert (await asking.ask(question())).by is By.NOBODY and service.made == []
        asking.close()
        for each in (service, other):
            each.end()

    run(tmp_path, scene)


def test_the_bus_goes_away(tmp_path: Path) -> None:
    async def scene(s: Session, daemon: subprocess.Popen[str]) -> None:
        service = await Service.begin(s.address, ACTIONS)
        asking = await s.open()
        task = asyncio.create_task(asking.ask(question()))
        await s.up(service, 1)
        daemon.kill()
        assert (await task).by is By.NOBODY
        assert (await asking.ask(question())).by is By.NOBODY
        asking.close()
        service.end()
        # None there from the beginning: that is told, and nothing fails.
        assert await s.desktop() is None
        assert "no questions on the desktop: the session's bus" in s.told[-1]

    run(tmp_path, scene)


@pytest.mark.parametrize("address", ["unix:path=/nowhere", "nonsense", "tcp:host=127.0.0.1,port=1", "unix:abstract=x"])
def test_a_session_without_a_bus(address: str) -> None:
    told: list[str] = []
    made = asyncio.run(open_desktop(tell=told.append, environ={"DBUS_SESSION_BUS_ADDRESS": address}))
    assert made is None and len(told) == 1


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dbus_fast.aio", None)
    told: list[str] = []
    made = asyncio.run(open_desktop(tell=told.append, environ={"DBUS_SESSION_BUS_ADDRESS": "unix:path=/nowhere"}))
    assert made is None
    assert told == ["no questions on the desktop: dbus-fast is not installed (the extra `desktop`)"]


def test_no_session() -> None:
    told: list[str] = []
    assert asyncio.run(open_desktop(tell=told.append, environ={})) is None
    assert told == []


def test_a_service_that_says_nothing_holds_nobody_up(tmp_path: Path) -> None:
    async def scene(s: Session, _: object) -> None:
        # It has the name, and never answers.
        silent = await MessageBus(bus_address=s.address).connect()
        silent.add_message_handler(lambda message: message.interface == NAME)
        await silent.request_name(NAME)
        async with asyncio.timeout(4):
            asking = await s.open()
        assert (await asking.ask(question())).by is By.NOBODY
        asking.close()
        silent.disconnect()

    run(tmp_path, scene)
