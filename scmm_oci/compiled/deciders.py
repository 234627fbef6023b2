"""Which rule of a policy or profile decides about a call, by what they mean: no filter is looked at. Pure.

Called by compiled.explain, which compares with what the filter does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from scmm_oci.compiled.bpf import WORD
from scmm_oci.compiled.filter import of_policy, returned, returned_by
from scmm_oci.compiled.question import Question
from scmm_oci.errors import Failure
from scmm_oci.oci.seccomp import Condition, Operator, Profile
from scmm_oci.oci.seccomp import Rule as OciRule
from scmm_oci.policy import constraints
from scmm_oci.policy.answers import Answer, Answers, Entry, entries
from scmm_oci.policy.model import Policy, SyscallRule
from scmm_oci.tables import groups
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.multiplexed import SELECTOR, multiplexers


class Source(StrEnum):
    """What decides about a call."""

    RULE = "rule"
    NEEDED = "needed"  # a rule that the compiler adds, as every program needs the call
    DEFAULT = "default"
    BAD_ARCH = "bad_arch"  # the policy is not for that ABI
    COMPILED = "compiled"  # a compiled filter, which does not say


@dataclass(frozen=True)
class Decider:
    """What decides.

    Attributes:
        index: of the rule, in the rules of the policy or profile as it was given; None for what is no rule of it.
        rule: the rule, as it stands there; of one that was added, what was added.
        through: a multiplexer (socketcall), of which the rule for the call itself holds.
    """

    source: Source
    index: int | None = None
    rule: SyscallRule | OciRule | None = None
    through: str | None = None


# What decides about a call with these arguments, and the value that the filter must return then.
Decide = Callable[[tuple[int, ...]], tuple[Decider, int]]


# Policies


def policy_decides(policy: Policy, given: Policy, asked: Question) -> Decide:
    settings, name, arch = policy.settings, asked.name or "", asked.arch
    if _is_foreign(asked, settings.architectures):
        value = of_policy(policy).bad_arch
        return lambda _: (Decider(Source.BAD_ARCH), value)
    answers = Answers(policy, arch)
    default = (Decider(Source.DEFAULT), Answer.of(None, settings))
    entry = entries(policy, arch).get(name, Entry(None, ()))
    fallback = default if entry.plain is None else (decider_of(entry.plain, given, arch), answers.fallback(name))
    limited = [
        (rule, Answer.of(rule, settings), constraints.alternatives(rule.constraints, name, arch, unequal=True))
        for rule in entry.constrained
    ]

    def decide(args: tuple[int, ...]) -> tuple[Decider, int]:
        holding = [
            (rule, answer)
            for rule, answer, alternatives in limited
            if any(all(test.holds(args[test.arg]) for test in way) for way in alternatives)
        ]
        decider, answer = fallback
        wins = max if any(other > answer for _, other in holding) else min
        rule, other = wins(holding, key=lambda one: one[1], default=(None, answer))
        if rule is not None and other != answer:
            decider, answer = decider_of(rule, given, arch), other
        said = answers.of(name, dict(enumerate(args)))
        if said != answer:
            raise Failure(f"the rules for {name} say {said.action}, and {answer.action} was found")
        return decider, returned(answer)

    return decide


def decider_of(rule: SyscallRule, given: Policy, arch: Arch) -> Decider:
    """Which of a policy's rules one comes from that was made of it: itself, its group's, or its multiplexer's."""

    def made(source: SyscallRule, name: str) -> bool:
        """Whether ``source`` says something of ``name``, and it is what the rule says."""
        same = replace(source, name=rule.name, constraints=rule.constraints, includes=None, excludes=None) == rule
        names = {one.name for one in groups.expand(source.name)} if source.is_group else {source.name}
        return same and name in names

    for index, one in enumerate(given.syscalls):
        if replace(one, includes=None, excludes=None) == rule:
            return Decider(Source.RULE, index, one)
    for index, one in enumerate(given.syscalls):
        # A rule without constraints can be one with some, which the ABI cannot test (policy.answers).
        if (one.is_group or not rule.constraints) and made(one, rule.name):
            return Decider(Source.RULE, index, one)
    for member, number in multiplexers(arch).get(rule.name, {}).items():
        if rule.constraints and rule.constraints[0].allowed == (str(number),):
            for index, one in enumerate(given.syscalls):
                if made(one, member):
                    return Decider(Source.RULE, index, one, through=rule.name)
    return Decider(Source.NEEDED, None, rule)


def _is_foreign(asked: Question, architectures: Sequence[Arch]) -> bool:
    """Whether no rule is for the ABI. -1 is nobody's number, and gets what the machine's other numbers get."""
    if asked.nr == WORD:
        return all(arch.audit != asked.arch.audit for arch in architectures)
    return asked.arch not in architectures


# Profiles


def profile_decides(profile: Profile, asked: Question, machine: Arch, bad_arch: int) -> Decide:
    known = {arch.scmp: arch for arch in Arch}
    if _is_foreign(asked, [known[name] for name in profile.architectures if name in known] or [machine]):
        return lambda _: (Decider(Source.BAD_ARCH), bad_arch)
    default = returned_by(profile.default_action, profile.default_errno)
    plain: list[tuple[Decider, int]] = []
    limited: list[tuple[Decider, int, tuple[Condition, ...]]] = []
    for index, rule in enumerate(profile.syscalls):
        value = returned_by(rule.action, rule.errno)
        if asked.name in rule.names and value != default:
            decider = Decider(Source.RULE, index, rule)
            plain += [(decider, value) for way in rule.alternatives() if not way]
            limited += [(decider, value, way) for way in rule.alternatives() if way]
    if not plain and not limited:
        limited = _through(profile, asked, default)

    def decide(args: tuple[int, ...]) -> tuple[Decider, int]:
        # A rule without conditions holds whatever others say; of those with conditions, the first that holds.
        holding = (
            (decider, value) for decider, value, way in limited if all(_holds(one, args[one.index]) for one in way)
        )
        return plain[0] if plain else next(holding, (Decider(Source.DEFAULT), default))

    return decide


def _through(profile: Profile, asked: Question, default: int) -> list[tuple[Decider, int, tuple[Condition, ...]]]:
    """What holds for a multiplexer that no rule names: the rules without conditions of the calls behind it."""
    found: list[tuple[Decider, int, tuple[Condition, ...]]] = []
    for member, number in multiplexers(asked.arch).get(asked.name or "", {}).items():
        selected = (Condition(SELECTOR, number, Operator.EQ),)
        for index, rule in enumerate(profile.syscalls):
            value = returned_by(rule.action, rule.errno)
            if member in rule.names and () in rule.alternatives() and value != default:
                found.append((Decider(Source.RULE, index, rule, through=asked.name), value, selected))
                break
    return found


def _holds(condition: Condition, arg: int) -> bool:
    value = condition.value
    match condition.op:
        case Operator.EQ:
            return arg == value
        case Operator.NE:
            return arg != value
        case Operator.LT:
            return arg < value
        case Operator.LE:
            return arg <= value
        case Operator.GE:
            return arg >= value
        case Operator.GT:
            return arg > value
    return arg & value == condition.value_two & value
