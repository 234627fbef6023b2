"""A seccomp profile, as Docker, podman and runtimes have it → a policy that means the same.

A rule becomes one for each of its names, with its conditions on the container. Runtimes and policies choose
differently between rules for one call, so rules are made to exclude one another where that matters:

- a runtime takes a rule without conditions on arguments over all that have some, and of two without, the first;
- it skips rules that do what the default does anyway (runc and crun both).

A rule that never has its way is left out. What cannot be carried is a finding.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from scmm_oci.errors import Finding
from scmm_oci.oci.rich import Filter, RichProfile, RichRule
from scmm_oci.oci.seccomp import Condition, Flag, OciAction
from scmm_oci.oci.seccomp import Operator as OciOperator
from scmm_oci.policy import constraints
from scmm_oci.policy.answers import Answer
from scmm_oci.policy.model import (
    Action,
    Applies,
    ArchMap,
    ArgType,
    Constraint,
    FilterFlag,
    Listener,
    Metadata,
    Operator,
    Policy,
    Settings,
    SyscallRule,
)
from scmm_oci.policy.scopes import Scope
from scmm_oci.schema import place
from scmm_oci.tables import errnos, syscalls
from scmm_oci.tables.arch import Arch

ACTIONS = {
    OciAction.ALLOW: Action.ALLOW,
    OciAction.ERRNO: Action.DENY,
    OciAction.LOG: Action.LOG,
    OciAction.TRACE: Action.TRACE,
    OciAction.NOTIFY: Action.NOTIFY,
    OciAction.TRAP: Action.TRAP,
    OciAction.KILL: Action.KILL_THREAD,
    OciAction.KILL_THREAD: Action.KILL_THREAD,
    OciAction.KILL_PROCESS: Action.KILL,
}
_FLAGS = {
    Flag.SPEC_ALLOW: FilterFlag.SPEC_ALLOW,
    Flag.TSYNC: FilterFlag.TSYNC,
    Flag.WAIT_KILLABLE_RECV: FilterFlag.WAIT_KILLABLE_RECV,
}
_OPERATORS = {
    OciOperator.EQ: Operator.EQ,
    OciOperator.NE: Operator.NE,
    OciOperator.LT: Operator.LT,
    OciOperator.LE: Operator.LE,
    OciOperator.GE: Operator.GE,
    OciOperator.GT: Operator.GT,
}


@dataclass(frozen=True)
class Imported:
    """A policy, and what of the profile is not in it or is said in another way."""

    policy: Policy
    findings: tuple[Finding, ...]


def from_profile(profile: RichProfile, *, arch: Arch, name: str) -> Imported:
    """The policy that a profile stands for, on one machine.

    Args:
        arch: the machine's; a profile with an archMap is carried whole all the same, and can be written back.
        name: what the policy is called.
    """
    findings: list[Finding] = []
    settings = _settings(profile, arch, findings)
    known = syscalls.all_names() if settings.arch_map else frozenset().union(*map(_names, settings.architectures))
    rules: list[tuple[int, SyscallRule]] = []
    for index, rule in enumerate(profile.syscalls):
        rules += [(index, one) for one in _rules(index, rule, known, settings, findings)]
    return Imported(Policy(Metadata(name=name), settings, tuple(_disjoint(rules, settings, findings))), tuple(findings))


def _names(arch: Arch) -> frozenset[str]:
    return frozenset(syscalls.numbers(arch))


# Settings


def _settings(profile: RichProfile, arch: Arch, findings: list[Finding]) -> Settings:
    action = ACTIONS[profile.default_action]
    number = profile.default_errno_number
    flags = profile.flags
    return Settings(
        default_action=action,
        default_errno=_errno(number, ".defaultErrnoRet", findings) if action is Action.DENY else "EPERM",
        default_message=_message(number) if action is Action.TRACE else None,
        log_denials=Flag.LOG in (flags or ()),
        arch=arch,
        architectures=_architectures(profile, arch, findings),
        flags=None if flags is None else tuple(_FLAGS[flag] for flag in flags if flag is not Flag.LOG),
        listener=Listener(profile.listener_path, profile.listener_metadata) if profile.listener_path else None,
        arch_map=tuple(ArchMap(line.architecture, line.sub_architectures) for line in profile.arch_map),
    )


def _architectures(profile: RichProfile, arch: Arch, findings: list[Finding]) -> tuple[Arch, ...]:
    line = next((one for one in profile.arch_map if one.architecture == arch.scmp), None)
    if line is not None:
        stated, where = (line.architecture, *line.sub_architectures), ".archMap"
    elif profile.arch_map:
        stated, where = (), ".archMap"
    else:
        stated, where = profile.architectures, ".architectures"
    ours = (arch, *(one for one in arch.beside if one.scmp in stated))
    if where == ".archMap" and line is None:
        message = f"{where} has no line for {arch.scmp}: the policy is for {arch} alone, as the engine's filter is"
        findings.append(Finding("architecture-added", message))
    elif stated and arch.scmp not in stated:
        message = f"{where} lacks {arch.scmp}: the policy is for it all the same, as runtimes add the machine's own"
        findings.append(Finding("architecture-added", message, "choose another with --arch"))
    left = [word for word in stated if word not in [one.scmp for one in ours]]
    if left:
        message = f"{where}: a kernel of {arch} does not run {', '.join(left)}"
        kept = "; kept in arch_map only" if line is not None else "; left out"
        findings.append(Finding("architecture-left-out", message + kept, "choose another machine with --arch"))
    return ours


def _errno(number: int | None, where: str, findings: list[Finding]) -> str:
    if number == 0:
        message = f"{where} is 0, which has calls succeed without being made; the policy answers EPERM"
        findings.append(Finding("errno-zero", message))
        return "EPERM"
    if number is None:
        return "EPERM"
    return errnos.name(number)


def _message(number: int | None) -> int:
    # What runc and crun take for none (oci.seccomp.Rule.errno).
    return errnos.ERRNOS["EPERM"] if number is None else number


# Rules


def _rules(
    index: int, rule: RichRule, known: frozenset[str], settings: Settings, findings: list[Finding]
) -> Iterator[SyscallRule]:
    where = place(("syscalls", index))
    names = list(dict.fromkeys(rule.names))
    unknown = [name for name in names if name not in known]
    if unknown:
        what = "any machine" if settings.arch_map else " or ".join(settings.architectures)
        message = f"{where}: left out {', '.join(unknown)} ({rule.action}): no system call of {what}"
        findings.append(Finding("unknown-call", message, "runtimes pass over such names too"))
        names = [name for name in names if name in known]
    if not names:
        return
    action = ACTIONS[rule.action]
    number = rule.rule.errno_ret
    errno = _errno(number, f"{where}.errnoRet", findings) if action is Action.DENY else None
    ways = rule.rule.alternatives()
    if len(ways) > 1:
        message = f"{where}: one argument has two conditions, so runtimes take every condition for a rule: so do we"
        findings.append(Finding("conditions-are-alternatives", message))
    carried = [_constraints(way, where, findings) for way in ways]
    for name in names:
        for way in carried:
            structure = [one.arg for one in way if _is_structure(name, one.arg, settings)]
            if structure:
                message = f"{where}: left out for {name}: its argument {structure[0]} is the address of a structure"
                hint = f"what the rule said of {name} ({rule.action}) is now the default's or other rules' to say"
                findings.append(Finding("address-compared", message, hint))
                continue
            yield SyscallRule(
                name,
                action,
                errno,
                way,
                message=_message(number) if action is Action.TRACE else None,
                includes=_applies(rule.includes),
                excludes=_applies(rule.excludes),
                comment=rule.comment,
            )


def _is_structure(name: str, arg: int, settings: Settings) -> bool:
    return any(constraints.is_structure(name, arg, arch) for arch in settings.architectures)


def _constraints(way: Iterable[Condition], where: str, findings: list[Finding]) -> tuple[Constraint, ...]:
    found = []
    for one in way:
        if one.op is OciOperator.MASKED_EQ:
            value = one.value_two & one.value
            if value != one.value_two:
                message = f"{where}: valueTwo {one.value_two:#x} has bits outside of the mask {one.value:#x}"
                findings.append(Finding("outside-mask", message + ", which libseccomp drops: so do we"))
            found.append(Constraint(one.index, ArgType.INTEGER, op=Operator.MASKED_EQ, value=value, mask=one.value))
            continue
        if one.value_two:
            message = f"{where}: valueTwo {one.value_two} is left out, as {one.op} does not look at it"
            findings.append(Finding("no-effect", message))
        found.append(Constraint(one.index, ArgType.INTEGER, op=_OPERATORS[one.op], value=one.value))
    return tuple(found)


def _applies(asked: Filter) -> Applies | None:
    if not asked:
        return None
    kernel = f"{asked.min_kernel[0]}.{asked.min_kernel[1]}" if asked.min_kernel is not None else None
    return Applies(asked.caps, asked.arches, kernel)


# Rules that get in each other's way


def _disjoint(
    rules: list[tuple[int, SyscallRule]], settings: Settings, findings: list[Finding]
) -> Iterator[SyscallRule]:
    """The rules, less the containers in which a runtime takes another one for the same call."""
    plain: defaultdict[str, list[tuple[int, SyscallRule]]] = defaultdict(list)
    for number, (_, rule) in enumerate(rules):
        if not rule.constraints and Answer.of(rule, settings) != Answer.of(None, settings):
            plain[rule.name].append((number, rule))
    said: defaultdict[tuple[int, str], list[str]] = defaultdict(list)
    there: set[tuple[str, Applies | None, Applies | None]] = set()
    for number, (index, rule) in enumerate(rules):
        pieces = list(_pieces(number, rule, plain[rule.name], settings))
        kept = []
        for piece in pieces:
            identity = (piece.name, piece.includes, piece.excludes)
            if piece.constraints or identity not in there:
                kept.append(piece)
            if not piece.constraints:
                there.add(identity)
        yield from kept
        if kept != [rule]:
            said[index, "narrowed" if kept else "no-effect" if not pieces else "repeated"].append(rule.name)
    messages = {
        "narrowed": "is carried for the containers in which no other rule, which runtimes prefer, holds",
        "no-effect": "is left out: where it holds, runtimes prefer another rule",
        "repeated": "is left out: an earlier rule says the same",
    }
    for (index, code), names in said.items():
        calls = ", ".join(dict.fromkeys(names))
        findings.append(Finding(code, f"{place(('syscalls', index))}: {calls}: {messages[code]}"))


def _pieces(
    number: int, rule: SyscallRule, plain: list[tuple[int, SyscallRule]], settings: Settings
) -> Iterator[SyscallRule]:
    answer = Answer.of(rule, settings)
    first = not rule.constraints and answer != Answer.of(None, settings)
    preferred = [
        Scope.of(other)
        for position, other in plain
        if rule.constraints or (Answer.of(other, settings) != answer and (position < number or not first))
    ]
    scope = Scope.of(rule)
    left = scope.without(preferred)
    if left == (scope,):
        yield rule
    else:
        yield from (replace(rule, includes=one.includes, excludes=one.excludes) for one in left)
