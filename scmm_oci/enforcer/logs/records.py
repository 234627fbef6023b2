"""Lines of the kernel's log and of the audit log → audit records. Pure; nothing in a line is trusted.

The kernel writes strings that a program chooses either quoted, then without quotes, spaces and control characters, or
in hexadecimal (audit_log_untrustedstring of its kernel/audit.c). So fields can be told apart, and a line in which they
cannot be is no record: it is never read half.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

# linux/audit.h
SYSCALL = 1300
SECCOMP = 1326
LANDLOCK_ACCESS = 1423
LANDLOCK_DOMAIN = 1424

_NAMES = {
    "SYSCALL": SYSCALL,
    "SECCOMP": SECCOMP,
    "LANDLOCK_ACCESS": LANDLOCK_ACCESS,
    "LANDLOCK_DOMAIN": LANDLOCK_DOMAIN,
}
READ = frozenset(_NAMES.values())

# MAX_AUDIT_MESSAGE_LENGTH of linux/audit.h is 8970; enriched lines of audit.log have as much again, at most.
MOST_BYTES = 1 << 15

_STAMP = r"audit\((\d{1,12})\.(\d{3}):(\d{1,10})\): ?(.*)"
_KERNEL = re.compile(rf"audit: type=(\d{{1,5}}) {_STAMP}", re.ASCII | re.DOTALL)
# As dmesg (also with -r, -x and --time-format) and `journalctl -k` print it, with the caller where the kernel keeps it
# (CONFIG_PRINTK_CALLER). Before "kernel:" stand a time and a host: what ends in a colon would be another program.
_BRACKETS = r"\[[^\]]{1,40}\] *"
_LEVEL = r"<\d{1,4}>|[a-z0-9]{1,10} *:[a-z]{1,10} *: "
_TIME = rf"\d[-\dT:,.+Z]{{9,40}} (?:{_BRACKETS})?"
_SYSLOG = rf"(?:[^\[\]\s]{{0,63}}[^\[\]\s:] {{1,8}}){{2,8}}kernel: (?:{_BRACKETS}){{0,2}}"
_DMESG = re.compile(rf"(?:{_LEVEL})?(?:(?:{_BRACKETS}){{1,2}}|{_TIME}|{_SYSLOG})?(?=audit: )", re.ASCII)
_AUDIT = re.compile(
    rf"(?:node=\S{{1,255}} )?type=(?:UNKNOWN\[(\d{{1,5}})\]|([A-Z0-9_]{{1,40}})) msg={_STAMP}", re.ASCII | re.DOTALL
)
# The context of a security module may have spaces ("docker-default (enforce)"); the process id stands behind it.
_SUBJECT = re.compile(r"(?:^| )subj=.*?(?= [a-z]+=)", re.DOTALL)
_FIELD = re.compile(r'([a-zA-Z][a-zA-Z0-9_-]{0,31})=("[^"\x00-\x1f\x7f]*"|[^\s"]+)', re.ASCII)
_HEX = re.compile(r"(?:[0-9A-F]{2})+", re.ASCII)
_KMSG = re.compile(rb"(\d{1,10}),(\d{1,20}),(\d{1,20}),[^;\n]{0,64};([^\n]*)\n?")
_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")
_SUPPRESSED = re.compile(r"\w{1,64}: (\d{1,10}) callbacks suppressed", re.ASCII)
# audit_log_lost of the kernel's kernel/audit.c.
_LOST = re.compile(r"audit: audit_lost=(\d{1,10}) audit_rate_limit=\d", re.ASCII)
# The year 9999, less a day for what the clock here adds: later times have no date.
_LATEST_S = 253_402_214_400


@dataclass(frozen=True)
class Record:
    """One audit record.

    Attributes:
        type: its number; 0 where the line has a name that is not read here.
        at: when, in milliseconds since 1970.
        serial: of its event, counted by the kernel since it started.
        fields: name → value as it is written; only of the types in `READ`.
    """

    type: int
    at: int
    serial: int
    fields: Mapping[str, str] = field(default_factory=dict)

    def number(self, name: str, *, base: int = 10, bits: int = 64) -> int | None:
        """A field as an unsigned number; None where it is not there, none, or has more bits. -1 is all bits set."""
        text = self.fields.get(name, "")
        digits = text.removeprefix("0x") if base == 16 else text
        if base == 10 and digits.startswith("-"):
            negative = digits[1:]
            if not (negative.isascii() and negative.isdecimal() and len(negative) <= 20):
                return None
            return (1 << bits) - int(negative) if 0 < int(negative) <= 1 << (bits - 1) else None
        try:
            value = int(digits, base) if digits.isascii() and digits.isalnum() and len(digits) <= 20 else None
        except ValueError:
            return None
        return value if value is not None and value < 1 << bits else None

    def text(self, name: str) -> str | None:
        """A field as the text that it stands for, with bytes that are not UTF-8 as surrogates; None if it is none."""
        value = self.fields.get(name, "")
        if value.startswith('"'):
            return value[1:-1]
        if _HEX.fullmatch(value):
            return bytes.fromhex(value).decode("utf-8", "surrogateescape")
        return None


class Malformed(ValueError):
    """A line that begins like a record that is read here, and cannot be told apart into fields."""


@dataclass(frozen=True)
class KernelLine:
    """A message of /dev/kmsg (Documentation/ABI/testing/dev-kmsg): its number, microseconds since boot, and text."""

    sequence: int
    at: int
    facility: int
    message: str


def kernel_line(data: bytes) -> KernelLine | None:
    """What one read of /dev/kmsg gave; None if it is no message."""
    found = _KMSG.match(data[:MOST_BYTES])
    if found is None:
        return None
    prefix, sequence, at, message = found.groups()
    text = _ESCAPED.sub(lambda byte: bytes([int(byte[1], 16)]), message)
    return KernelLine(int(sequence), int(at), int(prefix) >> 3, text.decode("utf-8", "surrogateescape"))


def suppressed(line: KernelLine) -> int:
    """How many messages the kernel says that it kept to itself, in this line."""
    found = _SUPPRESSED.fullmatch(line.message) if line.facility == 0 else None
    return int(found[1]) if found else 0


def given_up(line: KernelLine) -> int:
    """How many records the audit system says that it has given up since the kernel started; 0 if it is not said here.

    They were never given a number, so that none is missing.
    """
    return _given_up(line.message, 0) if line.facility == 0 else 0


def given_up_of_text(line: str) -> int:
    """The same, of a line of what dmesg or `journalctl -k` print."""
    start = _DMESG.match(line[:MOST_BYTES]) if "audit: audit_lost=" in line else None
    return _given_up(line, start.end()) if start is not None else 0


def of_kernel_line(line: KernelLine) -> Record | None:
    """The record in a message of the kernel; None if it is none, or not the kernel's (facility 0): anyone can write.

    Raises:
        Malformed: it is cut or forged.
    """
    found = _KERNEL.match(line.message) if line.facility == 0 else None
    return None if found is None else _record(int(found[1]), *found.groups()[1:])


def of_netlink(kind: int, payload: bytes) -> Record | None:
    """The record in a message of the audit multicast group (AUDIT_NLGRP_READLOG).

    Args:
        kind: nlmsg_type.
        payload: what follows the header.

    Raises:
        Malformed: it is no record.
    """
    text = payload[:MOST_BYTES].rstrip(b"\0\n").decode("utf-8", "surrogateescape")
    found = re.match(_STAMP, text, re.ASCII | re.DOTALL)
    return None if found is None else _record(kind, *found.groups())


def of_text(line: str) -> Record | None:
    """The record in a line of audit.log, or of what dmesg or `journalctl -k` print; None if there is none.

    Raises:
        Malformed: it is cut or forged.
    """
    line = line[:MOST_BYTES].rstrip("\r\n")
    found = _AUDIT.match(line)
    if found is not None:
        number, name, *rest = found.groups()
        # What auditd adds to it in words stands behind the group separator.
        rest[-1] = rest[-1].partition("\x1d")[0]
        return _record(int(number) if number else _NAMES.get(name, 0), *rest)
    start = _DMESG.match(line)
    found = _KERNEL.match(line, start.end()) if start is not None else None
    return None if found is None else _record(int(found[1]), *found.groups()[1:])


def _given_up(text: str, place: int) -> int:
    found = _LOST.match(text, place)
    return int(found[1]) if found else 0


def _record(kind: int, seconds: str, milliseconds: str, serial: str, rest: str) -> Record:
    if int(seconds) >= _LATEST_S:
        raise Malformed("the time of a record has no date")
    at = int(seconds) * 1000 + int(milliseconds)
    return Record(kind, at, int(serial), _fields(rest) if kind in READ else {})


def _fields(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    text = _SUBJECT.sub("", text).strip(" ")
    place = 0
    while place < len(text):
        one = _FIELD.match(text, place)
        end = one.end() if one is not None else 0
        if one is None or one[1] in found or (end < len(text) and text[end] != " "):
            raise Malformed("fields of a record cannot be told apart")
        found[one[1]] = one[2]
        place = end + 1
    return found
