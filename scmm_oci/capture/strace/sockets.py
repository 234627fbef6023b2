"""Socket addresses: which were used how, and what the sockets behind descriptors are."""

from __future__ import annotations

import re

from scmm_oci.capture.facts import SocketOperation, SocketUse
from scmm_oci.capture.strace import values
from scmm_oci.capture.strace.files import Tally
from scmm_oci.capture.strace.threads import Open, Socket, Thread
from scmm_oci.capture.strace.values import Address

MAX_USES = 1 << 17
_MAX_ADDRESS = 8192

# What -yy calls sockets: protocol, with v6 behind it for inet6.
_SHOWN = re.compile(r"(TCP|UDP|UDPLITE|RAW|PING|SCTP|DCCP|MPTCP|UNIX(?:-[A-Z]+)?|NETLINK)(v6)?:\[")
_KINDS = {
    "TCP": ("stream", 6),
    "MPTCP": ("stream", 262),
    "UDP": ("dgram", 17),
    "UDPLITE": ("dgram", 136),
    "PING": ("dgram", 1),
    "RAW": ("raw", 0),
    "SCTP": ("stream", 132),
    "DCCP": ("dccp", 33),
    "NETLINK": ("raw", 0),
}

# Of a type that the trace does not show.
UNKNOWN = "0"

_Key = tuple[str, str, str, int, str, int]


class Sockets:
    """All uses of a trace."""

    def __init__(self) -> None:
        self._uses: dict[_Key, Tally] = {}
        self.lost = 0
        self.untyped = 0

    def use(
        self,
        operation: str,
        socket: Socket | None,
        address: Address,
        *,
        error: str | None,
        ended: bool = True,
        program: int | None,
        now: int,
    ) -> None:
        """One use of an address; parameters as of Files.use."""
        if socket is None:
            self.untyped += 1
        text = address.address
        if address.cut or (text is not None and len(text) > _MAX_ADDRESS):
            self.lost += 1
            return
        key = (
            operation,
            address.family,
            socket.type if socket else UNKNOWN,
            socket.protocol if socket else 0,
            "" if text is None else text,
            -1 if address.port is None else address.port,
        )
        tally = self._uses.get(key)
        if tally is None:
            if len(self._uses) >= MAX_USES:
                self.lost += 1
                return
            tally = self._uses[key] = Tally(first=now)
        tally.count(error, program, ended=ended)

    def finish(self) -> tuple[SocketUse, ...]:
        """Every use, sorted."""
        return tuple(
            SocketUse(
                SocketOperation(operation),
                family,
                kind,
                protocol,
                address or None,
                None if port < 0 else port,
                tally.succeeded,
                tally.failed,
                tuple(sorted(tally.errnos)),
                tuple(sorted(tally.programs)),
                (0,),
                tally.first,
            )
            for (operation, family, kind, protocol, address, port), tally in sorted(
                self._uses.items(), key=lambda item: item[0]
            )
        )


def made(arguments: list[str]) -> Socket | None:
    """The socket of socket(2)'s or socketpair(2)'s arguments."""
    if len(arguments) < 3:
        return None
    family = values.family(arguments[0])
    kind = values.socket_type(arguments[1])
    number = values.protocol(arguments[2])
    if not number and family in ("inet", "inet6"):
        number = {"stream": 6, "dgram": 17}.get(kind, 0)  # what the kernel then takes: ip(7)
    return Socket(family, kind, number)


def of_descriptor(thread: Thread, text: str) -> Socket | None:
    """The socket behind a descriptor's argument: as it was made, or as -yy describes it."""
    found = values.descriptor(text)
    if found is None:
        return None
    opened = thread.descriptors.get(found.fd)
    if opened is not None and opened.socket is not None:
        return opened.socket
    socket = _shown(found.path) if found.path else None
    if socket is not None:
        thread.descriptors.set(found.fd, Open(socket=socket))
    return socket


def _shown(path: str) -> Socket | None:
    match = _SHOWN.match(path)
    if match is None:
        return None
    word, six = match.groups()
    if word.startswith("UNIX"):
        kind = word.removeprefix("UNIX").removeprefix("-").lower()[:64]
        return Socket("unix", kind, 0) if kind else None
    kind, protocol = _KINDS[word]
    family = "netlink" if word == "NETLINK" else "inet6" if six else "inet"
    return Socket(family, kind, protocol)
