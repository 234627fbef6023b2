"""Turn the socket addresses that a slot holds into the list `sockets` of a capture document. Hook: see facts."""

from __future__ import annotations

import os

from scmm_oci.recorder import wire
from scmm_oci.recorder.facts import Fact, finished, outcome, summed
from scmm_oci.tables import operations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

# socket(2), address_families(7); bits/socket.h.
FAMILIES = {
    0: "unspec", 1: "unix", 2: "inet", 3: "ax25", 4: "ipx", 5: "appletalk", 9: "x25", 10: "inet6", 15: "key",
    16: "netlink", 17: "packet", 21: "rds", 24: "pppox", 26: "llc", 29: "can", 30: "tipc", 31: "bluetooth", 38: "alg",
    39: "nfc", 40: "vsock", 42: "qipcrtr", 44: "xdp",
}  # fmt: skip
TYPES = {1: "stream", 2: "dgram", 3: "raw", 4: "rdm", 5: "seqpacket", 6: "dccp", 10: "packet"}


def sockets_of(facts: Iterable[Fact], *, milliseconds: Callable[[int], int]) -> list[dict[str, Any]]:
    """`sockets` of the document."""
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    for fact in facts:
        if fact.kind != wire.SOCKET:
            continue
        family, address, port = parse(fact.name)
        kind, protocol = fact.info & 0xFFFF, fact.info >> 16
        row = {
            "operation": operations.SOCKET_OPERATIONS[fact.op],
            "family": family,
            "type": TYPES.get(kind, str(kind)),
            "protocol": protocol,
            "address": address,
            "port": port,
            **outcome(fact, milliseconds=milliseconds),
        }
        key = (row["operation"], family, row["type"], protocol, address or "", -1 if port is None else port)
        merged[key] = summed(merged[key], row) if key in merged else row
    return [finished(merged[key]) for key in sorted(merged)]


def parse(data: bytes) -> tuple[str, str | None, int | None]:
    """(family, address, port) of a struct sockaddr: ip(7), ipv6(7), unix(7); of other families the bytes in hex."""
    number = int.from_bytes(data[:2], "little")
    family = FAMILIES.get(number, str(number))
    if family == "inet" and len(data) >= 8:
        import _socket

        return family, _socket.inet_ntop(_socket.AF_INET, data[4:8]), int.from_bytes(data[2:4], "big")
    if family == "inet6" and len(data) >= 24:
        import _socket

        return family, _socket.inet_ntop(_socket.AF_INET6, data[8:24]), int.from_bytes(data[2:4], "big")
    if family == "unix":
        name = data[2:]
        if not name:
            return family, None, None
        if name[0]:
            return family, os.fsdecode(name.partition(b"\0")[0]), None
        return family, "@" + os.fsdecode(name[1:]), None
    return family, data[2:].hex() or None, None
