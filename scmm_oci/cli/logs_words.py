"""Denials in words and as data, for ``scmm logs``."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from scmm_oci.cli.output import plain
from scmm_oci.compiled import bpf
from scmm_oci.enforcer.logs.decode import Access, Call, Denial, Process
from scmm_oci.enforcer.logs.summary import Row
from scmm_oci.tables.arch import Arch

_PIDS = 6


def what(denial: Denial) -> str:
    """What was refused: a call, rights on a path, a port."""
    if isinstance(denial, Call):
        name = denial.name or f"number {denial.nr if denial.nr < 1 << 30 else hex(denial.nr)}"
        if denial.arch is None:
            return f"{name} of ABI {denial.audit:#x}"
        return name if denial.arch in (Arch.X86_64, Arch.AARCH64) else f"{denial.arch} {name}"
    words = ", ".join(blocker.partition(".")[2] or blocker for blocker in denial.blockers)
    if denial.path is not None:
        return f"{words} on {denial.path}"
    if denial.port is not None:
        return f"{words} port {denial.port}" + (f" of {denial.address}" if denial.address else "")
    if denial.other is not None:
        return f"{words} to {denial.other.comm}" + (f"[{denial.other.pid}]" if denial.other.pid else "")
    return words


def outcome(denial: Denial) -> str:
    """What became of it."""
    if isinstance(denial, Access):
        return "denied by Landlock"
    if denial.passed:
        return "made, and logged"
    action = denial.code & bpf.RET_ACTION_FULL
    # Those that end it send SIGSYS by their nature; any other signal would be news.
    ends = action in (bpf.RET_KILL_PROCESS, bpf.RET_KILL_THREAD, bpf.RET_TRAP)
    signal = denial.signal if denial.signal is not None and not (ends and denial.signal == "SIGSYS") else None
    return denial.action + (f", {signal}" if signal else "")


def program(process: Process) -> str:
    """The name of the thread, and its file."""
    if process.exe is None:
        return plain(process.comm)
    return f"{plain(process.comm)} ({plain(process.exe)})"


def pids(row: Row) -> str:
    """Some of the processes."""
    some = [str(pid) for pid in sorted(row.pids)[:_PIDS]]
    return ", ".join([*some, *(["…"] if len(row.pids) > _PIDS else [])])


def moment(at: int) -> str:
    """A time of the clock here, for people."""
    return datetime.fromtimestamp(at / 1000).astimezone().isoformat(sep=" ", timespec="seconds")[:19]


def stamp(at: int) -> str:
    """A time as captures have it."""
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def as_json(denial: Denial) -> dict[str, Any]:
    """A denial as data."""
    common = {"at": stamp(denial.at), "serial": denial.serial, "process": asdict(denial.process)}
    if isinstance(denial, Call):
        return {
            **common,
            "layer": "seccomp",
            "arch": denial.arch.value if denial.arch is not None else None,
            "audit_arch": denial.audit,
            "nr": denial.nr,
            "name": denial.name,
            "action": denial.action,
            "code": denial.code,
            "passed": denial.passed,
            "signal": denial.signal,
            "ip": denial.ip,
        }
    return {
        **common,
        "layer": "landlock",
        "domain": f"{denial.domain:x}",
        "blockers": list(denial.blockers),
        "path": denial.path,
        "port": denial.port,
        "address": denial.address,
        "other": asdict(denial.other) if denial.other is not None else None,
    }
