"""Texts of arguments as strace prints them → names, numbers, descriptors and socket addresses.

Every function takes one argument's text and gives None where it is not of the wanted form. Pure.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from scmm_oci.capture.strace.lexer import members
from scmm_oci.tables.arch import Arch

_STRING = re.compile(r'(@?)"((?:[^"\\]++|\\.)*+)"(\.\.\.)?', re.DOTALL)
_EACH = re.compile(r'"((?:[^"\\]++|\\.)*+)("(?:\.\.\.)?)?', re.DOTALL)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "v": "\v", "f": "\f", "a": "\a", "b": "\b", "e": "\x1b"}
_FD = re.compile(r"-?\d{1,10}(?!\d)|AT_FDCWD|0xffffff9c", re.ASCII)
_NUMBER = re.compile(r"(-?)(0x[0-9a-fA-F]{1,16}|\d{1,20})\Z", re.ASCII)
# Strings are taken whole, to the end if they have none: what a program sends can look like an address.
_STRUCTURE = re.compile(r'"(?:[^"\\]++|\\.)*+"?|\{(?:[^"{}]++|"(?:[^"\\]++|\\.)*+")*+\}', re.DOTALL)

# What -y says of a descriptor is a path, each byte of it four characters at most; and flags are a few words.
_MAX_DESCRIPTOR = 1 << 15
_MAX_FLAGS = 4096

# fcntl(2): "the current directory" in the place of a descriptor.
AT_FDCWD = -100

_O = {
    "O_RDONLY": 0, "O_WRONLY": 1, "O_RDWR": 2, "O_ACCMODE": 3, "O_CREAT": 0o100, "O_EXCL": 0o200, "O_NOCTTY": 0o400,
    "O_TRUNC": 0o1000, "O_APPEND": 0o2000, "O_NONBLOCK": 0o4000, "O_DSYNC": 0o10000, "FASYNC": 0o20000,
    "O_ASYNC": 0o20000, "O_DIRECT": 0o40000, "O_LARGEFILE": 0o100000, "O_DIRECTORY": 0o200000, "O_NOFOLLOW": 0o400000,
    "O_NOATIME": 0o1000000, "O_CLOEXEC": 0o2000000, "O_SYNC": 0o4010000, "__O_SYNC": 0o4000000, "O_PATH": 0o10000000,
    "O_TMPFILE": 0o20200000, "__O_TMPFILE": 0o20000000,
}  # fmt: skip
# Where arm, aarch64 and ppc64le differ: their asm/fcntl.h.
_O_ARM = {"O_DIRECTORY": 0o40000, "O_NOFOLLOW": 0o100000, "O_DIRECT": 0o200000, "O_LARGEFILE": 0o400000}
_O_ARM["O_TMPFILE"] = 0o20000000 | _O_ARM["O_DIRECTORY"]
_OTHER = {
    "AT_SYMLINK_NOFOLLOW": 0x100, "AT_REMOVEDIR": 0x200, "AT_EACCESS": 0x200, "AT_SYMLINK_FOLLOW": 0x400,
    "AT_NO_AUTOMOUNT": 0x800, "AT_EMPTY_PATH": 0x1000, "AT_STATX_SYNC_AS_STAT": 0, "AT_STATX_FORCE_SYNC": 0x2000,
    "AT_STATX_DONT_SYNC": 0x4000, "F_OK": 0, "X_OK": 1, "W_OK": 2, "R_OK": 4, "RENAME_NOREPLACE": 1,
    "RENAME_EXCHANGE": 2, "RENAME_WHITEOUT": 4, "S_IFSOCK": 0o140000, "S_IFLNK": 0o120000, "S_IFREG": 0o100000,
    "S_IFBLK": 0o060000, "S_IFDIR": 0o040000, "S_IFCHR": 0o020000, "S_IFIFO": 0o010000, "S_ISUID": 0o4000,
    "S_ISGID": 0o2000, "S_ISVTX": 0o1000,
}  # fmt: skip
_ARM_LIKE = frozenset({Arch.ARM, Arch.AARCH64, Arch.PPC64LE})

_FAMILIES = {"1": "unix", "2": "inet", "10": "inet6", "16": "netlink", "17": "packet", "0": "unspec", "local": "unix"}
_TYPES = {"1": "stream", "2": "dgram", "3": "raw", "4": "rdm", "5": "seqpacket", "6": "dccp", "10": "packet"}
# socket(2), ipproto in linux/in.h; strace prints names for these. Netlink's are in linux/netlink.h.
_PROTOCOLS = {
    "IPPROTO_IP": 0, "IPPROTO_ICMP": 1, "IPPROTO_IGMP": 2, "IPPROTO_TCP": 6, "IPPROTO_UDP": 17, "IPPROTO_DCCP": 33,
    "IPPROTO_IPV6": 41, "IPPROTO_ICMPV6": 58, "IPPROTO_SCTP": 132, "IPPROTO_UDPLITE": 136, "IPPROTO_RAW": 255,
    "IPPROTO_MPTCP": 262, "NETLINK_ROUTE": 0, "NETLINK_SOCK_DIAG": 4, "NETLINK_XFRM": 6, "NETLINK_SELINUX": 7,
    "NETLINK_AUDIT": 9, "NETLINK_CONNECTOR": 11, "NETLINK_NETFILTER": 12, "NETLINK_KOBJECT_UEVENT": 15,
    "NETLINK_GENERIC": 16, "NETLINK_CRYPTO": 21,
}  # fmt: skip


class Name(NamedTuple):
    """A string: its text (bytes that are not UTF-8 as lone surrogates), and whether strace cut it."""

    text: str
    cut: bool


class Descriptor(NamedTuple):
    """A descriptor: its number, and what -y says of it (escapes still in it) or None."""

    fd: int
    path: str | None


class Address(NamedTuple):
    """A socket address as capture.facts.SocketUse has it; ``cut``: its path was not shown in full."""

    family: str
    address: str | None
    port: int | None
    cut: bool = False


def unescape(text: str) -> str:
    """What stands between the quotes, without escapes, decoded as the file system's names are."""
    if "\\" in text:
        text = _ESCAPE.sub(_escaped, text)
    elif text.isascii():
        return text
    return text.encode("latin-1", "replace").decode("utf-8", "surrogateescape")


def _escaped(match: re.Match[str]) -> str:
    word = match[1]
    if word[0] == "x" and len(word) > 1:
        return chr(int(word[1:], 16))
    if word[0] in "01234567":
        return chr(int(word, 8) & 0xFF)
    return _LETTERS.get(word, word)


def name(text: str) -> Name | None:
    """The string that an argument is or begins with."""
    match = _STRING.match(text)
    return None if match is None else Name(unescape(match[2]), match[3] is not None)


def strings(text: str) -> Iterator[Name]:
    """Every string in an argument, such as those of execve's vector."""
    return (Name(unescape(match[1]), match[2] != '"') for match in _EACH.finditer(text))


def plain(text: str) -> str:
    """The argument as one expression, without the comment that -X verbose adds."""
    text = text.split(" /*", 1)[0].rstrip() if "/*" in text else text
    # strace 6.1 with -X raw leaves out the name of a flag that is zero, not the bar behind it.
    return text.removeprefix("|")


def descriptor(text: str) -> Descriptor | None:
    """A descriptor with or without what -y says of it; AT_FDCWD has the number -100."""
    return None if len(text) > _MAX_DESCRIPTOR else _descriptor(text)


@lru_cache(4096)
def _descriptor(text: str) -> Descriptor | None:
    match = _FD.match(text)
    if match is None:
        return None
    word, rest = match[0], text[match.end() :]
    fd = AT_FDCWD if word in ("AT_FDCWD", "0xffffff9c", "4294967196") else int(word)
    if rest.endswith("*/"):
        # A comment, which has none in it. By hand: a pattern would try each "/*" with each ">".
        comment = rest.rfind(" /*", 0, -2)
        rest = rest[:comment] if comment >= 0 else rest
    if not rest:
        return Descriptor(fd, None)
    path = rest.removesuffix("(deleted)")
    if len(path) < 2 or not path.startswith("<") or not path.endswith(">"):
        return None
    return Descriptor(fd, path[1:-1] if path == rest else f"{path[1:-1]} (deleted)")


def number(text: str) -> int | None:
    """A plain number, decimal, octal with a leading 0, or hexadecimal."""
    match = _NUMBER.match(plain(text))
    if match is None:
        return None
    digits = match[2]
    try:
        base = 16 if digits.startswith("0x") else 8 if digits.startswith("0") else 10
        value = int(digits, base)
    except ValueError:
        return None
    return -value if match[1] else value


def flags(text: str, arch: Arch) -> tuple[int, bool]:
    """The bits of words such as O_RDONLY|O_CLOEXEC, AT_EMPTY_PATH, R_OK, S_IFCHR|0666, or of a number.

    Also whether that is all: False when there are words that are not known.
    """
    return (0, False) if len(text) > _MAX_FLAGS else _flags(text, arch)


@lru_cache(4096)
def _flags(text: str, arch: Arch) -> tuple[int, bool]:
    total, whole = 0, True
    for word in filter(None, plain(text).split("|")):
        bits = number(word)
        if bits is None:
            bits = (_O_ARM.get(word) if arch in _ARM_LIKE else None) or _O.get(word, _OTHER.get(word))
        if bits is None:
            whole = False
        else:
            total |= bits
    return total, whole


def field(text: str, key: str) -> str | None:
    """The value of a field at the first level of a structure: of {flags=O_RDONLY, mode=0} and "flags", O_RDONLY."""
    for piece in members(text):
        if piece.startswith(f"{key}="):
            return piece[len(key) + 1 :]
    return None


def pair(text: str) -> tuple[int, int] | None:
    """The two descriptors of pipe2 or socketpair."""
    if not text.startswith("["):
        return None
    found = [descriptor(piece) for piece in islice(members(text), 3)]
    if len(found) != 2 or found[0] is None or found[1] is None:
        return None
    return found[0].fd, found[1].fd


def family(word: str) -> str:
    """AF_INET → inet; numbers of the families that matter too; other numbers stay."""
    word = plain(word)
    value = number(word)
    word = str(value) if value is not None else word.removeprefix("AF_").removeprefix("PF_").lower()
    return _FAMILIES.get(word, word)[:64] or "0"


def socket_type(word: str) -> str:
    """SOCK_STREAM|SOCK_CLOEXEC → stream."""
    value = 0
    for part in plain(word).split("|"):
        if part.startswith("SOCK_") and part not in ("SOCK_CLOEXEC", "SOCK_NONBLOCK"):
            return part.removeprefix("SOCK_").lower()[:64] or "0"
        value |= number(part) or 0
    kind = str(value & 0xF)  # SOCK_TYPE_MASK of linux/net.h
    return _TYPES.get(kind, kind)


def protocol(word: str) -> int:
    """The number of a protocol; 0 for a name that is not known."""
    word = plain(word)
    value = number(word)
    return _PROTOCOLS.get(word, 0) if value is None else value & 0xFFFFFFFF


def addresses(text: str) -> Iterator[Address]:
    """Every socket address in an argument: one of connect's, each message's of sendmmsg."""
    for match in _STRUCTURE.finditer(text):
        if match[0].startswith("{sa_family="):
            found = _address(match[0])
            if found is not None:
                yield found


_FAMILY = re.compile(r"\{sa_family=([A-Za-z0-9_]{1,40})")
_PORT = re.compile(r'\bsin6?_port=(?:htons\((\d{1,5})\)|("(?:[^"\\]++|\\.)*+"))')
_INET = re.compile(r'(?:inet_addr\(|inet_pton\(AF_INET6, |sin6?_addr=)("(?:[^"\\]++|\\.)*+")')
_SUN = re.compile(r'\bsun_path=(@?"(?:[^"\\]++|\\.)*+"(?:\.\.\.)?)', re.DOTALL)


def _address(text: str) -> Address | None:
    match = _FAMILY.match(text)
    if match is None:
        return None
    kind = family(match[1])
    if kind == "unix":
        sun = _SUN.search(text)
        if sun is None:
            return Address(kind, None, None)
        shown = name(sun[1])
        assert shown is not None
        path = ("@" if sun[1].startswith("@") else "") + shown.text
        return Address(kind, path or None, None, shown.cut)
    if kind in ("inet", "inet6"):
        return Address(kind, _ip(text), _port(text))
    return Address(kind, None, None)


def _bytes(text: str) -> bytes:
    shown = name(text)
    return shown.text.encode("utf-8", "surrogateescape") if shown else b""


def _port(text: str) -> int | None:
    match = _PORT.search(text)
    if match is None:
        return None
    port = int(match[1]) if match[1] else int.from_bytes(_bytes(match[2]), "big")
    return port if port <= 0xFFFF else None


def _ip(text: str) -> str | None:
    match = _INET.search(text)
    if match is None:
        return None
    raw = _bytes(match[1])
    try:
        if "_addr=" in match[0]:  # -X raw prints the address's own bytes
            return str(ipaddress.ip_address(raw)) if len(raw) in (4, 16) else None
        return str(ipaddress.ip_address(raw.decode("ascii")))
    except ValueError:
        return None
