"""Questions as notifications of the desktop whose session this process is in, with buttons to allow once and to deny.

Source: the Desktop Notifications Specification 1.2 (org.freedesktop.Notifications).
"""

from __future__ import annotations

import asyncio
import html
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from scmm_oci.enforcer.monitor.desktop_bus import BUS, Bus, Peer, open_bus
from scmm_oci.enforcer.monitor.questions import Answer, Question, Shown
from scmm_oci.errors import Failure, printable

if TYPE_CHECKING:
    from dbus_fast import Message

_SERVICE = Peer("org.freedesktop.Notifications", "/org/freedesktop/Notifications")
_START_S = 1.0
_GUARD_S = 0.3  # a click that comes earlier was meant for what was there before
_WIDTH = 120  # characters of a line
_CRITICAL = 2  # stays until it is taken away

_BUTTONS = ((Answer.DENY, "Deny"), (Answer.ONCE, "Allow once"))


async def open_desktop(
    *,
    tell: Callable[[str], None],
    environ: Mapping[str, str] = os.environ,
    now: Callable[[], float] = time.monotonic,
) -> Desktop | None:
    """The desktop of this session, or None where there is none; its service may come and go.

    Args:
        tell: gets why a session has no notifications, where there is a session.
        now: the clock of the questions' deadlines, in seconds.
    """
    address = environ.get("DBUS_SESSION_BUS_ADDRESS")
    if not address:
        return None
    try:
        bus = await open_bus(address)
    except Failure as error:
        tell(f"no questions on the desktop: {error}")
        return None
    desktop = Desktop(bus, tell, now)
    await desktop.begin()
    return desktop


class Desktop:
    """A surface (monitor.asking). Use `open_desktop`."""

    def __init__(self, bus: Bus, tell: Callable[[str], None], now: Callable[[], float]) -> None:
        self._bus, self._tell, self._now = bus, tell, now
        self._changed: Callable[[], None] = lambda: None
        self._owner: str | None = None  # who the service is, on the bus; None where it cannot ask
        self._markup = False
        self._wanted: Shown | None = None
        self._made: Shown | None = None
        self._again = False  # the one that was made is no longer there
        self._number = 0  # the service's, of what was made; 0: none
        self._made_at = 0.0
        self._closing = False
        self._work: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Find the service, and hear of it from now on; one that takes long to start is not waited for."""
        self._bus.hear(self._heard)
        self._watch = asyncio.create_task(self._until_gone())
        self._looking = asyncio.create_task(self._find())
        await asyncio.wait([self._looking], timeout=_START_S)

    async def _find(self) -> None:
        for rule in (
            f"type='signal',sender='{_SERVICE.name}',interface='{_SERVICE.name}',path='{_SERVICE.path}'",
            f"type='signal',sender='{BUS.name}',member='NameOwnerChanged',arg0='{_SERVICE.name}'",
        ):
            await self._bus.call(BUS, "AddMatch", "s", rule)
        # A service that the bus starts when it is wanted is one, too.
        await self._bus.call(BUS, "StartServiceByName", "su", _SERVICE.name, 0)
        await self._look()

    @property
    def is_open(self) -> bool:
        """Whether there is a service whose notifications have buttons."""
        return self._owner is not None

    @property
    def is_up(self) -> bool:
        """Whether a notification is there that can be answered."""
        return self._number != 0

    def attach(self, changed: Callable[[], None]) -> None:
        """As Surface."""
        self._changed = changed

    def show(self, shown: Shown | None) -> None:
        """As Surface; numbers that change are not shown anew, as that would make a sound or a move."""
        self._wanted = shown
        self._go_on()

    def close(self) -> None:
        """Take the notification away, as far as the bus takes that at once."""
        self._closing = True
        for task in (self._work, self._looking, self._watch):
            if task is not None:
                task.cancel()
        if self._number:
            self._bus.say(_SERVICE, "CloseNotification", "u", self._number)
        self._owner, self._number = None, 0
        self._bus.end()

    # What is to be seen there.

    def _go_on(self) -> None:
        if not self._closing and (self._work is None or self._work.done()):
            self._work = asyncio.create_task(self._settle())

    async def _settle(self) -> None:
        """Make and take away until what is there is what is wanted; of several at once, the last counts."""
        while self._owner is not None and (self._again or not _is_same(self._wanted, self._made)):
            wanted, self._again = self._wanted, False
            if wanted is None:
                number, self._number, self._made = self._number, 0, None
                if number:
                    await self._bus.call(_SERVICE, "CloseNotification", "u", number)
                continue
            reply = await self._bus.call(_SERVICE, "Notify", "susssasa{sv}i", *self._notification(wanted))
            self._made = wanted
            if reply is None or reply.signature != "u":
                self._owner = None  # until there is another one
                self._changed()
                return
            self._number, self._made_at = reply.body[0], self._now()

    def _notification(self, shown: Shown) -> list[Any]:
        from dbus_fast import Variant

        asked = shown.question
        left_ms = max(1, int((asked.deadline - self._now()) * 1000))
        body = "\n".join(_lines(asked, left_ms // 1000))
        buttons = [word for answer, label in _BUTTONS if answer in asked.choices for word in (answer.value, label)]
        hints = {"urgency": Variant("y", _CRITICAL), "transient": Variant("b", True)}
        summary = _cut(f"{asked.target.name}: may it {asked.call.name or 'make this call'}?")
        return [
            "scmm-monitor",
            self._number,
            "dialog-question",
            summary,
            html.escape(body, quote=False) if self._markup else body,
            buttons,
            hints,
            left_ms,
        ]

    # What comes from there.

    def _heard(self, message: Message) -> None:
        """A message that nobody waits for. Every client of the bus can send signals: who sends is what counts."""
        if message.interface == BUS.name and message.sender == BUS.name and message.member == "NameOwnerChanged":
            if message.signature == "sss" and message.body[0] == _SERVICE.name:
                self._owner, self._number, self._made = None, 0, None
                self._changed()
                self._look_again()
            return
        if self._owner is None or message.sender != self._owner or message.interface != _SERVICE.name:
            return
        if message.member == "ActionInvoked" and message.signature == "us":
            self._pressed(*message.body)
        elif message.member == "NotificationClosed" and message.signature == "uu" and message.body[0] == self._number:
            # Whoever takes it away has not answered: other surfaces have the question still, and it ends in time.
            self._number = 0

    def _pressed(self, number: int, word: str) -> None:
        shown = self._made
        if shown is None or number != self._number or not _is_same(shown, self._wanted):
            return
        if self._now() - self._made_at < _GUARD_S:
            # The service has taken it away.
            self._number, self._again = 0, True
            self._go_on()
            return
        answer = next((one for one, _ in _BUTTONS if one.value == word), None)
        if answer is not None:
            self._number, self._made = 0, None
            shown.reply(answer)

    def _look_again(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        if not self._closing:
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        """Find out who the service is, and whether it can ask."""
        owner = await self._bus.call(BUS, "GetNameOwner", "s", _SERVICE.name)
        found = None
        if owner is not None:
            can = await self._bus.call(_SERVICE, "GetCapabilities", "")
            words = can.body[0] if can is not None and can.signature == "as" else []
            self._markup = "body-markup" in words
            found = owner.body[0] if "actions" in words else None
        if found != self._owner:
            self._owner = found
            self._changed()
            self._go_on()

    async def _until_gone(self) -> None:
        why = await self._bus.until_gone()
        if why:
            self._tell(f"no more questions on the desktop: the session's bus: {why}")
        self._owner, self._number, self._made = None, 0, None
        self._changed()


def _is_same(one: Shown | None, other: Shown | None) -> bool:
    return (one.number if one is not None else None) == (other.number if other is not None else None)


def _lines(asked: Question, left_s: int) -> list[str]:
    """Who and what, each line safe to show and not too long."""
    process = asked.process
    who = "unknown program"
    if process is not None:
        who = f"{_cut(process.executable or 'unknown program')} (pid {process.pid}, user {process.uid})"
    found = [who, asked.words, *asked.paths]
    if asked.address:
        found.append(asked.address)
    found += [f"it says: {one}" for one in asked.claimed]
    return [*map(_cut, found), f"Denied in {left_s} s."]


def _cut(text: str) -> str:
    """Safe text; of what is too long, the beginning and more of the end."""
    text = printable(text)
    if len(text) <= _WIDTH:
        return text
    head = _WIDTH // 3
    return f"{text[:head]} […] {text[head + 5 - _WIDTH :]}"
