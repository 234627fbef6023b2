"""A session's bus of the test's own, and on it a service for notifications that does what a person would."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dbus_fast import Message, MessageType
from dbus_fast.aio import MessageBus

NAME, PATH = "org.freedesktop.Notifications", "/org/freedesktop/Notifications"
CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={path}</listen>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
  </policy>
</busconfig>
"""
ACTIONS = ["actions", "body", "body-markup"]


class Service:
    """org.freedesktop.Notifications: what it was told, and signals as a person's clicks cause them."""

    def __init__(self, bus: MessageBus, capabilities: list[str]) -> None:
        self._bus, self._capabilities = bus, capabilities
        self.made: list[list[Any]] = []
        self.taken_away: list[int] = []

    @classmethod
    async def begin(cls, address: str, capabilities: list[str]) -> Service:
        service = cls(await MessageBus(bus_address=address).connect(), capabilities)
        service._bus.add_message_handler(service._heard)
        await service._bus.request_name(NAME)
        return service

    def _heard(self, message: Message) -> Message | None:
        if message.message_type is not MessageType.METHOD_CALL or message.interface != NAME:
            return None
        match message.member:
            case "GetCapabilities":
                return Message.new_method_return(message, "as", [self._capabilities])
            case "Notify":
                self.made.append(message.body)
                return Message.new_method_return(message, "u", [len(self.made)])
            case "CloseNotification":
                self.taken_away.append(message.body[0])
                return Message.new_method_return(message)
        return None

    async def signal(self, member: str, signature: str, *body: object, to: str | None = None) -> None:
        """Send one, to all who have asked for such, or to one client whatever it has asked for."""
        await self._bus.send(
            Message(
                destination=to,
                message_type=MessageType.SIGNAL,
                path=PATH,
                interface=NAME,
                member=member,
                signature=signature,
                body=list(body),
            )
        )

    async def press(self, word: str, number: int | None = None) -> None:
        await self.signal("ActionInvoked", "us", len(self.made) if number is None else number, word)

    async def others(self) -> list[str]:
        """Names of all clients of the bus."""
        where = {"destination": "org.freedesktop.DBus", "path": "/org/freedesktop/DBus"}
        reply = await self._bus.call(Message(interface="org.freedesktop.DBus", member="ListNames", **where))
        return [name for name in reply.body[0] if name.startswith(":") and name != self._bus.unique_name]

    def end(self) -> None:
        self._bus.disconnect()


@contextmanager
def bus(directory: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A bus, by its address, and the daemon."""
    config, path = directory / "bus.conf", directory / "bus"
    config.write_text(CONFIG.format(path=path))
    words = ["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile", "--print-address=1"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as daemon:
        try:
            assert daemon.stdout is not None
            assert daemon.stdout.readline().startswith("unix:path=")
            yield f"unix:path={path}", daemon
        finally:
            daemon.kill()
