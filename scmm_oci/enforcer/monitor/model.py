"""What is asked of the monitor, and what it answers, as frozen values; as named tuples those that each call makes.

A call is decided on what cannot change while it waits: its number and its arguments as numbers. What its pointers lead
to is memory of the program's; where a decision depends on it, the call is made by the monitor with what was looked at
(`monitor.behalf`), and never let go on.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from scmm_oci.tables.arch import Arch

OPEN_HOW = struct.Struct("=QQQ")  # struct open_how: openat2(2)


class Verdict(StrEnum):
    """What becomes of a call. ``kill`` ends the process with SIGKILL; ``return`` answers a value without making it."""

    ALLOW = "allow"
    DENY = "deny"
    KILL = "kill"
    RETURN = "return"


class By(StrEnum):
    """Who or what decided."""

    RULE = "rule"
    DEFAULT = "default"
    REMEMBERED = "remembered"
    PERSON = "person"
    PROGRAM = "program"
    LEARNING = "learning"
    TIMEOUT = "timeout"  # nobody answered in time
    NOBODY = "nobody"  # there is nobody to ask
    OVERLOAD = "overload"  # too many calls or questions wait
    NOWHERE = "nowhere"  # its names lead nowhere for the process itself, whoever decides what
    FAILURE = "failure"  # what is needed to decide, or to make the call, could not be had


@dataclass(frozen=True, slots=True)
class Decision:
    """An answer.

    Attributes:
        errno: goes with deny, 1 to 4095.
        value: goes with return, 64 bits, signed.
        detail: which rule (``rules[3]``), or why.
        path: instead of the call's own: what a program that decides wants made (only calls of monitor.behalf).
    """

    verdict: Verdict
    by: By
    errno: int = errno.EPERM
    value: int = 0
    detail: str = ""
    path: str | None = None


class Call(NamedTuple):
    """A system call.

    Attributes:
        arch: its ABI; None if it is none of ours (`audit` has its AUDIT_ARCH).
        nr: the ABI's number, without x32's bit.
        name: None where the ABI has no such call.
        args: six numbers of 64 bits, unsigned; of 32 where the ABI's registers have no more.
    """

    arch: Arch | None
    audit: int
    nr: int
    name: str | None
    args: tuple[int, int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Target:
    """Whose calls come by one listener, as the peer that handed it over says.

    Attributes:
        id: the container's id, or what the launcher calls itself.
        name: what rules, questions and remembered decisions call it: listenerMetadata if there is any, else the id.
        pid: of the process that the listener began with, in our PID namespace; 0 if unknown.
        bundle: an absolute path, or "".
        annotations: the container's.
    """

    id: str
    name: str
    pid: int
    bundle: str
    annotations: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Process:
    """Who calls, in our PID namespace.

    Attributes:
        pid: the thread group.
        executable: the file, as the process sees it (proc_pid_exe(5)); None if it cannot be told.
        comm: the thread's name, which it chooses itself.
        uid: the effective user, outside of user namespaces.
    """

    pid: int
    tid: int
    executable: str | None
    comm: str
    uid: int


@dataclass(frozen=True, slots=True)
class Address:
    """A socket address: `text` is an IP address, a UNIX path or ``@name``; what is not known of it is None.

    raw: struct sockaddr as it was read, for whoever makes the call.
    """

    family: str
    text: str | None
    port: int | None
    raw: bytes


@dataclass(frozen=True, slots=True)
class Memory:
    """What a call's pointers led to when it was looked at.

    Attributes:
        paths: in the order of tables.operations.FileCall.names; None where there was no text.
        how: struct open_how of openat2(2), as it was read; empty for other calls.
        address: of calls with a socket address.
        text: of symlink and symlinkat: what the link is to say.
    """

    paths: tuple[bytes | None, ...] = ()
    how: bytes = b""
    address: Address | None = None
    text: bytes | None = None


class Subject(NamedTuple):
    """All that a rule can ask about.

    Attributes:
        paths: what the call's names stand for in the process's root: absolute, without links and dots, as
            monitor.behalf has found and holds them; None where that was not looked at.
    """

    target: Target
    call: Call
    process: Process | None = None
    paths: tuple[str, ...] | None = None
    address: Address | None = None


def signed(value: int, bits: int = 32) -> int:
    """The lowest bits of a register as a number with a sign."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value
