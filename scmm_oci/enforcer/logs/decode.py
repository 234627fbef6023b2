"""Audit records → refused and logged calls with names, and what Landlock denied, with who did it. Pure.

A seccomp record says all by itself (audit_seccomp of the kernel's kernel/auditsc.c). Landlock's says only which domain
was denied what; whose domain it is stands in a record of the domain, which is written once, with the first denial
(Documentation/admin-guide/LSM/landlock.rst).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace

from scmm_oci.compiled import bpf
from scmm_oci.compiled.disassemble import arch_of, returned
from scmm_oci.enforcer.logs.records import LANDLOCK_ACCESS, LANDLOCK_DOMAIN, SECCOMP, SYSCALL, Record
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch

_MOST_DOMAINS = 1 << 16
_MOST_WAITING = 256
_MOST_BLOCKERS = 64


@dataclass(frozen=True)
class Process:
    """Who did it: its id (outside of containers), the name of its thread, its file, and its user; None if not known."""

    pid: int | None = None
    comm: str | None = None
    exe: str | None = None
    uid: int | None = None


@dataclass(frozen=True)
class Call:
    """A system call that a filter refused, or let pass and logged.

    Attributes:
        at: milliseconds since 1970.
        arch: its ABI; None if it is none of ours, then `audit` has its number.
        nr: as the filter saw it: of x32 with its bit.
        name: None where the ABI has no such call.
        code: what the filter returned, without its lower half (seccomp_log of the kernel's kernel/seccomp.c): a record
            does not have the errno.
        sig: the number of the signal that came of it; 0 for none.
        ip: the address of the instruction.
    """

    at: int
    serial: int
    process: Process
    arch: Arch | None
    audit: int
    nr: int
    name: str | None
    code: int
    sig: int
    ip: int

    @property
    def passed(self) -> bool:
        """Whether it was made, and logged only."""
        return self.code & bpf.RET_ACTION_FULL == bpf.RET_LOG

    @property
    def action(self) -> str:
        """What the filter returned, in words: ``ERRNO``, ``KILL_PROCESS``."""
        return returned(self.code).removesuffix("(0)")

    @property
    def signal(self) -> str | None:
        """The name of the signal, or its number."""
        if not self.sig:
            return None
        try:
            return signal.Signals(self.sig).name
        except ValueError:
            return str(self.sig)


@dataclass(frozen=True)
class Access:
    """Something that Landlock denied.

    Attributes:
        domain: the number of the Landlock domain.
        blockers: what lacked, in the kernel's words: ``fs.read_file``, ``net.connect_tcp``, ``scope.signal``.
        path: of files; as the process saw it.
        port, address: of sockets.
        other: the process that was to be reached.
    """

    at: int
    serial: int
    process: Process
    domain: int
    blockers: tuple[str, ...]
    path: str | None = None
    port: int | None = None
    address: str | None = None
    other: Process | None = None


Denial = Call | Access


class Decoder:
    """Takes records in their order, and gives denials, each once what is said of it has come.

    Attributes:
        unknown: how many records were of a type that is read, and lacked what they must have.
    """

    def __init__(self) -> None:
        self.unknown = 0
        self._domains: dict[int, Process] = {}
        self._waiting: list[Access] = []
        self._older = 0  # of those that wait: how many did when there was nothing more the last time

    def feed(self, record: Record) -> Iterator[Denial]:
        """What is known now."""
        if record.type == SECCOMP:
            call = _call(record)
            if call is None:
                self.unknown += 1
            else:
                yield call
        elif record.type == LANDLOCK_ACCESS:
            access = _access(record)
            if access is None:
                self.unknown += 1
            else:
                self._waiting.append(replace(access, process=self._domains.get(access.domain, access.process)))
                if len(self._waiting) > _MOST_WAITING:
                    self._older = max(0, self._older - 1)
                    yield self._waiting.pop(0)
        elif record.type == LANDLOCK_DOMAIN:
            self._domain(record)
        elif record.type == SYSCALL:
            # It stands behind the denial, in the same event, and knows the very process; not only whose domain it is.
            event, process = (record.at, record.serial), _process(record)
            if process.pid is None or not any(one.serial == record.serial for one in self._waiting):
                return
            self._waiting = [
                replace(one, process=process) if (one.at, one.serial) == event else one for one in self._waiting
            ]

    def flush(self, *, more: bool = False) -> Iterator[Denial]:
        """What has waited for more to be said of it; when nothing more is there to be read.

        Args:
            more: the rest of an event may be on its way: only what has waited since the last time.
        """
        ready, self._waiting = self._waiting, []
        if more:
            ready, self._waiting = ready[: self._older], ready[self._older :]
        self._older = len(self._waiting)
        yield from ready

    def _domain(self, record: Record) -> None:
        domain = record.number("domain", base=16)
        process = _process(record)
        if domain is None or process.pid is None:
            return  # a domain that has ended is told with its number of denials only
        while len(self._domains) >= _MOST_DOMAINS:
            del self._domains[next(iter(self._domains))]
        self._domains[domain] = process
        self._waiting = [
            replace(one, process=process) if one.domain == domain and one.process.pid is None else one
            for one in self._waiting
        ]


def _call(record: Record) -> Call | None:
    audit, nr = record.number("arch", base=16, bits=32), record.number("syscall", bits=32)
    code, process = record.number("code", base=16, bits=32), _process(record)
    if audit is None or nr is None or code is None or process.pid is None:
        return None
    if code & ~bpf.RET_ACTION_FULL:
        return None  # the kernel writes the action alone: the end of the number is cut off
    arch = arch_of(audit, nr)
    return Call(
        record.at,
        record.serial,
        process,
        arch,
        audit,
        nr,
        syscalls.name_of(arch, nr) if arch is not None else None,
        code,
        record.number("sig", bits=31) or 0,
        record.number("ip", base=16) or 0,
    )


def _access(record: Record) -> Access | None:
    domain = record.number("domain", base=16)
    blockers = tuple(record.fields.get("blockers", "").split(","))
    if domain is None or not all(blockers) or len(blockers) > _MOST_BLOCKERS:
        return None
    # print_ipv4_addr of the kernel's security/lsm_audit.c: what is bound stands under src, what is reached under dest.
    # A port that is 0 is not printed, nor an address that is.
    side, address = ("src", "saddr") if {"src", "saddr"} & set(record.fields) else ("dest", "daddr")
    port = record.number(side, bits=16)
    if side not in record.fields and any(blocker.startswith("net.") for blocker in blockers):
        port = 0
    other = record.number("opid", bits=31)
    return Access(
        record.at,
        record.serial,
        Process(),
        domain,
        blockers,
        path=record.text("path"),
        port=port,
        address=record.fields.get(address),
        other=None if other is None else Process(other, record.text("ocomm")),
    )


def _process(record: Record) -> Process:
    return Process(
        record.number("pid", bits=31), record.text("comm"), record.text("exe"), record.number("uid", bits=32)
    )
