"""The bus of a desktop's session: calls that end in a reply or in nothing, in time, whatever becomes of the bus.

The library is dbus-fast, the optional extra `desktop`; only who opens a bus loads it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scmm_oci.errors import Failure

if TYPE_CHECKING:
    from dbus_fast import Message
    from dbus_fast.aio import MessageBus

_DEADLINE_S = 5.0


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom to call: its name on the bus, which is its interface's too, and its object."""

    name: str
    path: str


BUS = Peer("org.freedesktop.DBus", "/org/freedesktop/DBus")


async def open_bus(address: str) -> Bus:
    """The bus at an address (D-Bus Specification, "Server Addresses").

    Raises:
        Failure: there is none, or no library for it.
    """
    try:
        from dbus_fast.aio import MessageBus
    except ImportError:
        raise Failure("dbus-fast is not installed", "the extra `desktop`") from None
    try:
        async with asyncio.timeout(_DEADLINE_S):
            return Bus(await MessageBus(bus_address=address).connect())
    except Exception as error:
        # Addresses, authentication and sockets have exceptions of no common kind: whatever it is, there is no bus.
        raise Failure(f"the session's bus: {_why(error)}") from error


class Bus:
    """A connection to a bus. Use `open_bus`."""

    def __init__(self, bus: MessageBus) -> None:
        self._bus = bus

    def hear(self, handler: Callable[[Message], None]) -> None:
        """Have a function get what comes and is no reply."""
        self._bus.add_message_handler(handler)

    async def call(self, peer: Peer, member: str, signature: str, *body: object) -> Message | None:
        """The reply, or None: an error, a peer that says nothing, or a bus that is gone."""
        from dbus_fast import MessageType

        try:
            async with asyncio.timeout(_DEADLINE_S):
                reply = await self._bus.call(_message(peer, member, signature, body))
        except Exception:
            # Whatever has ended the connection is raised here; `until_gone` tells of it.
            return None
        return reply if reply is not None and reply.message_type is MessageType.METHOD_RETURN else None

    def say(self, peer: Peer, member: str, signature: str, *body: object) -> None:
        """Call without a reply, here and now where the bus has room for it."""
        from dbus_fast import MessageFlag

        if self._bus.connected:
            message = _message(peer, member, signature, body)
            message.flags = MessageFlag.NO_REPLY_EXPECTED
            # What becomes of it is nobody's business.
            self._bus.send(message).add_done_callback(lambda done: done.cancelled() or done.exception())

    async def until_gone(self) -> str:
        """Wait until the connection has ended; why, or "" if it was by `end`."""
        bus: Any = self._bus
        try:
            await bus.wait_for_disconnect()
        except Exception as error:
            # The library says that it raises whatever has ended the connection.
            return _why(error)
        return ""

    def end(self) -> None:
        """Leave the bus."""
        self._bus.disconnect()


def _message(peer: Peer, member: str, signature: str, body: tuple[object, ...]) -> Message:
    from dbus_fast import Message

    return Message(
        destination=peer.name,
        path=peer.path,
        interface=peer.name,
        member=member,
        signature=signature,
        body=list(body),
    )


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__
