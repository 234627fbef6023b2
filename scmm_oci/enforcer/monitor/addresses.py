"""struct sockaddr as it lay in memory → a value. Pure."""

from __future__ import annotations

import os
import socket
import struct

from scmm_oci.enforcer.monitor.model import Address

# linux/socket.h; others are told as their number.
_NAMES = {
    0: "unspec",
    1: "unix",
    2: "inet",
    10: "inet6",
    16: "netlink",
    17: "packet",
    29: "can",
    31: "bluetooth",
    38: "alg",
    40: "vsock",
    44: "xdp",
}
_INET, _INET6, _UNIX = 2, 10, 1
_PATH_AT = 2  # struct sockaddr_un: sun_path
UNIX_SIZE = 110  # sizeof(struct sockaddr_un)


def address_of(raw: bytes) -> Address | None:
    """The address; None where there is not even a family.

    `text` is None where too little was given for one, and for a UNIX socket without a name.
    """
    if len(raw) < 2:
        return None
    family = int.from_bytes(raw[:2], "little")
    text: str | None = None
    port: int | None = None
    if family == _INET and len(raw) >= 16:  # sizeof(struct sockaddr_in)
        port, text = struct.unpack_from("!H", raw, 2)[0], socket.inet_ntop(socket.AF_INET, raw[4:8])
    elif family == _INET6 and len(raw) >= 24:  # SIN6_LEN_RFC2133
        port, text = struct.unpack_from("!H", raw, 2)[0], socket.inet_ntop(socket.AF_INET6, raw[8:24])
    elif family == _UNIX and len(raw) > _PATH_AT:
        name = unix_path(raw)
        text = os.fsdecode(name) if name is not None else "@" + os.fsdecode(raw[_PATH_AT + 1 :])
    return Address(_NAMES.get(family, str(family)), text, port, raw)


def unix_path(raw: bytes) -> bytes | None:
    """The path of a UNIX socket's address as the kernel takes it; None of any other address."""
    if len(raw) <= _PATH_AT or int.from_bytes(raw[:2], "little") != _UNIX or not raw[_PATH_AT]:
        return None
    return raw[_PATH_AT:].partition(b"\0")[0]
