"""Rules, what they come from, and what a filter returns, in words for people. Pure. Called by command lines."""

from __future__ import annotations

from collections.abc import Sequence

from scmm_oci.compiled import bpf
from scmm_oci.compiled.deciders import Decider, Source
from scmm_oci.oci.seccomp import Condition, Operator
from scmm_oci.oci.seccomp import Rule as OciRule
from scmm_oci.policy.model import ArgType, Constraint, Origin, SyscallRule
from scmm_oci.tables import errnos

_SIGNS = {"eq": "=", "ne": "≠", "lt": "<", "le": "≤", "ge": "≥", "gt": ">"}
# Names of a profile's rule that are told; such rules have hundreds.
_NAMES = 4


def verdict(value: int) -> str:
    """What becomes of a call when a filter returns this: "is allowed", "answers ENOSYS" (seccomp(2))."""
    action, number = value & bpf.RET_ACTION_FULL, value & bpf.RET_DATA
    match action:
        case bpf.RET_ALLOW:
            return "is allowed"
        case bpf.RET_LOG:
            return "is allowed, and logged"
        case bpf.RET_TRACE:
            return f"asks a tracer (message {number}); without one it answers ENOSYS"
        case bpf.RET_USER_NOTIF:
            return "asks a supervisor; without one it answers ENOSYS"
        case bpf.RET_ERRNO:
            return f"is not made, and answers {errnos.NAMES.get(number, f'error {number}') if number else 'success'}"
        case bpf.RET_TRAP:
            return "is not made, and the thread gets SIGSYS"
        case bpf.RET_KILL_THREAD:
            return "ends the thread"
    return "ends the process"


def decided(decider: Decider) -> str:
    """What decides, in short."""
    match decider.source:
        case Source.DEFAULT:
            return "no rule: the default"
        case Source.BAD_ARCH:
            return "no rule: the policy is not for this ABI"
        case Source.COMPILED:
            return "a compiled filter does not say"
    text = described(decider.rule) if decider.rule is not None else ""
    if decider.through is not None:
        return f"{text} (through {decider.through}, whatever its arguments)"
    return f"added: {text}" if decider.source is Source.NEEDED else text


def described(rule: SyscallRule | OciRule) -> str:
    """A rule in one line: ``socket: allow if argument 0 is AF_INET or AF_INET6``."""
    if isinstance(rule, OciRule):
        names = ", ".join(rule.names[:_NAMES]) + (" …" if len(rule.names) > _NAMES else "")
        number = f" {errnos.NAMES.get(rule.errno, rule.errno)}" if rule.errno is not None else ""
        ways = [" and ".join(map(_condition, way)) for way in rule.alternatives() if way]
        return f"{names}: {rule.action}{number}" + (f" if {' or '.join(ways)}" if ways else "")
    number = f" {rule.errno}" if rule.errno else f" {rule.message}" if rule.message is not None else ""
    conditions = " and ".join(map(constraint, rule.constraints))
    return f"{rule.name}: {rule.action}{number}" + (f" if {conditions}" if conditions else "")


def constraint(one: Constraint) -> str:
    """What a constraint asks for."""
    what = f"argument {one.arg}"
    if one.op is not None:
        if one.mask is not None:
            return f"{what} & {one.mask} = {one.value}"
        return f"{what} {_SIGNS[one.op]} {one.value}"
    parts = []
    allowed = [*one.allowed, *(match.pattern for match in one.match)]
    if allowed:
        parts.append(f"has only {', '.join(allowed)}" if one.type is ArgType.FLAGS else f"is {' or '.join(allowed)}")
    if one.denied:
        lacks = f"has none of {', '.join(one.denied)}"
        parts.append(lacks if one.type is ArgType.FLAGS else f"is not {' nor '.join(one.denied)}")
    return f"{what} {' and '.join(parts)}"


def _condition(one: Condition) -> str:
    if one.op is Operator.MASKED_EQ:
        return f"argument {one.index} & {one.value:#x} = {one.value_two:#x}"
    return f"argument {one.index} {_SIGNS[one.op.removeprefix('SCMP_CMP_').lower()]} {one.value:#x}"


def came_from(decider: Decider) -> str:
    """Where a rule comes from, as far as the policy says; empty where it does not."""
    rule = decider.rule
    if not isinstance(rule, SyscallRule):
        return ""
    parts = [f"the group {rule.name}"] if rule.is_group else []
    if rule.origin is not None:
        parts += _origin(rule.origin, seen=decider.source is Source.RULE)
    if rule.comment:
        parts.append(f"“{rule.comment}”")
    return "; ".join(parts)


def _origin(origin: Origin, *, seen: bool) -> list[str]:
    parts = []
    if seen and origin.count:
        times = f"seen {origin.count}× in {_and(origin.phases)} of {_and(origin.sessions)}"
        parts.append(times + (f" by {', '.join(origin.programs)}" if origin.programs else ""))
    if origin.denied:
        parts.append(f"refused {origin.denied}× by a filter that was there")
    return [*parts, *([origin.reason] if origin.reason else [])]


def _and(words: Sequence[str]) -> str:
    return " and ".join(words)
