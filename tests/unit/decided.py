"""Decisions of the monitor, as its serving makes them, for tests of what keeps them."""

from __future__ import annotations

from typing import Any

from scmm_oci.enforcer.monitor import calls
from scmm_oci.enforcer.monitor.model import By, Call, Decision, Process, Target, Verdict
from scmm_oci.enforcer.monitor.record import Decided
from scmm_oci.kernel.notify import Notification
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch

WEB = Target("0123abcd", "web", 100, "/bundle")
NGINX = Process(100, 101, "/usr/sbin/nginx", "nginx", 33)
LEARNT = Decision(Verdict.ALLOW, By.LEARNING)
ALLOWED = Decision(Verdict.ALLOW, By.RULE, detail="rules[1]")
DENIED = Decision(Verdict.DENY, By.RULE, detail="rules[3]")
AT = 1_700_000_000.25


def call(name: str | int, *args: int, arch: Arch = Arch.X86_64) -> Call:
    """A call by its name, or by a number that has none."""
    number = syscalls.number_of(arch, name) if isinstance(name, str) else name
    assert number is not None
    full = (*args, *(0,) * (6 - len(args)))
    return calls.decode(Notification(1, 1, number, arch.audit, full))  # type: ignore[arg-type]


def decided(
    name: str | int,
    *args: int,
    arch: Arch = Arch.X86_64,
    decision: Decision = LEARNT,
    process: Process | None = NGINX,
    **more: Any,
) -> Decided:
    """What became of a call."""
    values: dict[str, Any] = {"at": AT, "target": WEB, "call": call(name, *args, arch=arch)} | more
    return Decided(decision=decision, process=process, **values)
