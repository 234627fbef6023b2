"""A policy, or a profile as runtimes take it → what is said of each name on each ABI, for both other opinions.

Read anew from the source, and not from the plan that the filter was made of: a mistake there must not be made twice.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scmm_oci.compiled import bpf
from scmm_oci.compiled.bpf import WORD, Call
from scmm_oci.compiled.filter.values import returned, returned_by
from scmm_oci.compiled.opinion.calls import X32_BIT, Target
from scmm_oci.errors import BadInput
from scmm_oci.oci import seccomp
from scmm_oci.policy import constraints
from scmm_oci.policy.answers import Answer, Entry, applying, entries, expanded
from scmm_oci.policy.constraints import FULL, Alternative, Test
from scmm_oci.policy.model import Action, Operator, Policy, Settings, SyscallRule
from scmm_oci.tables import errnos, multiplexed, syscalls
from scmm_oci.tables.arch import Arch

# ABIs whose calls have no high words. x32 has them: its registers have 64 bits, and seccomp shows all (syscall_get_
# arguments of asm/syscall.h looks at TS_COMPAT, which is i386).
NARROW = frozenset({Arch.X86, Arch.ARM, Arch.S390})
BIG_ENDIAN = frozenset({Arch.S390, Arch.S390X})


@dataclass(frozen=True)
class Said:
    """What is said of one name on one ABI.

    Attributes:
        ways: the values and tests of rules with conditions; the first whose tests hold decides.
        fallback: the value where none does.
    """

    ways: tuple[tuple[int, Alternative], ...]
    fallback: int


@dataclass(frozen=True)
class Reading:
    """A policy or profile.

    Attributes:
        names: by ABI, of every name that a rule is for, also of those that the ABI has no number for.
        own: by ABI, the names that have rules of their own: multiplexers without are there for their members' sake.
        ordered: whether ``ways`` are all that decides. In a profile they are as good as any order: runtimes leave it
            to libseccomp, which looks at the arguments from the last to the first.
    """

    arches: tuple[Arch, ...]
    default: int
    bad_arch: int
    names: Mapping[Arch, Mapping[str, Said]]
    own: Mapping[Arch, frozenset[str]]
    ordered: bool

    def abi_of(self, call: Call) -> Arch | None:
        """The ABI that a call is of; None where it gets the answer to foreign ones."""
        here = [arch for arch in self.arches if arch.audit == call.arch]
        if not here or call.arch != Arch.X86_64.audit or call.nr == WORD:
            return here[0] if here else None
        wanted = Arch.X32 if call.nr >= X32_BIT else Arch.X86_64
        return wanted if wanted in here else None

    def expected(self, call: Call) -> int:
        """What a filter returns for a call if it does what is said."""
        arch = self.abi_of(call)
        if arch is None:
            return self.bad_arch
        name = syscalls.name_of(arch, call.nr)
        said = self.names[arch].get(name) if name is not None else None
        if said is None:
            return self.default
        args = (*call.args, 0, 0, 0, 0, 0, 0)
        for value, tests in said.ways:
            if all(test.holds(args[test.arg]) for test in tests):
                return value
        return said.fallback


def of_policy(policy: Policy) -> Reading:
    """Raises BadInput if a rule's constraints are none that a filter can hold."""
    settings = policy.settings
    names = {
        arch: {name: _said(name, entry, settings, arch) for name, entry in entries(policy, arch).items()}
        for arch in settings.architectures
    }
    rules = applying(policy.syscalls)
    own = {arch: frozenset(rule.name for rule in expanded(rules, arch)) for arch in settings.architectures}
    number = (errnos.number(settings.default_errno) or 0) if settings.bad_arch_action is Action.DENY else 0
    bad_arch = returned(Answer(settings.bad_arch_action.rank, number, settings.bad_arch_action))
    return Reading(settings.architectures, returned(Answer.of(None, settings)), bad_arch, names, own, True)


def _said(name: str, entry: Entry, settings: Settings, arch: Arch) -> Said:
    fallback = Answer.of(entry.plain, settings)
    by_answer: dict[Answer, list[Alternative]] = {}
    for rule in entry.constrained:
        answer = Answer.of(rule, settings)
        by_answer.setdefault(answer, []).extend(_alternatives(rule, name, arch))
    above = sorted((answer for answer in by_answer if answer > fallback), reverse=True)
    below = sorted(answer for answer in by_answer if answer < fallback)
    ways = [(returned(answer), way) for answer in (*above, *below) for way in dict.fromkeys(by_answer[answer])]
    return Said(tuple(ways), returned(fallback))


def _alternatives(rule: SyscallRule, name: str, arch: Arch) -> tuple[Alternative, ...]:
    try:
        return constraints.alternatives(rule.constraints, name, arch)
    except BadInput:
        # Too many for those who know no comparison under a mask that must not hold; a filter does.
        return constraints.alternatives(rule.constraints, name, arch, unequal=True)


def of_profile(profile: seccomp.Profile, *, arch: Arch, bad_arch: int | None = None) -> Reading:
    """A profile as runc has it (libcontainer/seccomp): what repeats the default is skipped, a rule without conditions
    replaces those with, and of two without the first counts.

    Args:
        arch: the machine, where the profile names no architectures.
        bad_arch: what other ABIs get: libseccomp's own default if None.
    """
    known = {one.scmp: one for one in Arch}
    arches = tuple(known[name] for name in profile.architectures if name in known) or (arch,)
    default = returned_by(profile.default_action, profile.default_errno)
    plain: dict[str, int] = {}
    limited: dict[str, list[tuple[int, Alternative]]] = {}
    for rule in profile.syscalls:
        value = returned_by(rule.action, rule.errno)
        for name in rule.names if value != default else ():
            for way in rule.alternatives():
                if way:
                    limited.setdefault(name, []).append((value, tuple(map(_test, way))))
                else:
                    plain.setdefault(name, value)
    said = {name: Said(tuple(dict.fromkeys(ways)), default) for name, ways in limited.items()}
    said |= {name: Said((), value) for name, value in plain.items()}
    return Reading(
        arches,
        default,
        bpf.RET_KILL_THREAD if bad_arch is None else bad_arch,
        {one: {**_through(said, one, default), **said} for one in arches},
        dict.fromkeys(arches, frozenset(said)),
        False,
    )


def _through(said: Mapping[str, Said], arch: Arch, default: int) -> dict[str, Said]:
    found = {}
    for multiplexer, members in multiplexed.multiplexers(arch).items():
        values = [(number, said[name].fallback) for name, number in members.items() if name in said]
        ways = [(one, (_selected(number),)) for number, one in values if one != default]
        if ways:
            found[multiplexer] = Said(tuple(ways), default)
    return found


def _selected(number: int) -> Test:
    return Test(multiplexed.SELECTOR, Operator.EQ, number)


_OPERATORS = {
    seccomp.Operator.NE: Operator.NE,
    seccomp.Operator.LT: Operator.LT,
    seccomp.Operator.LE: Operator.LE,
    seccomp.Operator.EQ: Operator.EQ,
    seccomp.Operator.GE: Operator.GE,
    seccomp.Operator.GT: Operator.GT,
}


def _test(condition: seccomp.Condition) -> Test:
    if condition.op is seccomp.Operator.MASKED_EQ:
        # libseccomp drops what of the value lies outside of the mask (_db_node_mask_fixup of db.c).
        return Test(condition.index, Operator.EQ, condition.value_two & condition.value, condition.value)
    return Test(condition.index, _OPERATORS[condition.op], condition.value, FULL)


def targets(reading: Reading) -> tuple[Target, ...]:
    """What calls are to be made to see whether a filter does what is said."""
    found = []
    by_audit: dict[int, list[Arch]] = {}
    for arch in reading.arches:
        by_audit.setdefault(arch.audit, []).append(arch)
    for audit, arches in by_audit.items():
        numbers: set[int] = set()
        tests: dict[int, tuple[Alternative, ...]] = {}
        for arch in arches:
            for name, said in reading.names[arch].items():
                number = syscalls.number_of(arch, name)
                if number is not None:
                    numbers.add(number)
                    if said.ways:
                        tests[number] = tuple(dict.fromkeys(way for _, way in said.ways))
        order: bpf.ByteOrder = "big" if arches[0] in BIG_ENDIAN else "little"
        bits = 32 if arches[0] in NARROW else 64
        found.append(Target(audit, bits, order, tuple(sorted(numbers)), tests))
    return tuple(found)


def narrowed(ways: Sequence[Alternative]) -> list[Alternative]:
    """The ways as they are for arguments without high words: libseccomp drops those of values (2.5.4)."""
    found = []
    for way in ways:
        tests: list[Test] = []
        for test in way:
            one = _narrow(test)
            if one is None:
                break
            tests += one
        else:
            found.append(tuple(tests))
    return found


def _narrow(test: Test) -> tuple[Test, ...] | None:
    """The test on 32 bits: none where it always holds, None where it never does."""
    value, beyond = test.value, test.value > WORD
    match test.op:
        case Operator.EQ | Operator.MASKED_EQ:
            if beyond:
                return None
            return (Test(test.arg, Operator.EQ, value, FULL if test.mask & WORD == WORD else test.mask & WORD),)
        case Operator.NE:
            return () if beyond else (test,)
        case Operator.LT | Operator.LE:
            return () if beyond or (test.op is Operator.LE and value == WORD) else (test,)
    return None if beyond or (test.op is Operator.GT and value == WORD) else (test,)
