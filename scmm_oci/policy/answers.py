"""What a policy answers to a call: its rules by name, groups taken apart, and which of them wins.

- A name's own rules replace those of the groups that it is in.
- On ABIs with multiplexers (tables.multiplexed) what is said of a call holds for it there too.
- Where an ABI beside the policy's own has an argument elsewhere, or in memory (mmap of x86), a filter cannot test it
  there: a call with constraints on it gets the most restrictive of its answers.
- Of rules with constraints that hold, one that is more restrictive than the rule without constraints (or, where there
  is none, the default) wins, the most restrictive first; else one that is less restrictive, the least restrictive
  first. Else it is the rule without constraints, or the default.

So the order of rules in a document does not matter. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from scmm_oci.policy import constraints
from scmm_oci.policy.argument_places import is_seen
from scmm_oci.policy.constraints import Alternative
from scmm_oci.policy.model import Action, ArgType, Constraint, Policy, Settings, SyscallRule
from scmm_oci.tables import errnos, groups, syscalls
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.multiplexed import SELECTOR, multiplexers


@dataclass(frozen=True, order=True)
class Answer:
    """An action and its number: the errno of deny, the message of trace, else 0. Ordered by restrictiveness."""

    rank: int
    number: int
    action: Action

    @staticmethod
    def of(rule: SyscallRule | None, settings: Settings) -> Answer:
        """The answer of a rule; of None, the policy's default."""
        action = settings.default_action if rule is None else rule.action
        number = 0
        if action is Action.DENY:
            name = (rule.errno if rule is not None else None) or settings.default_errno
            number = errnos.number(name) or 0
        elif action is Action.TRACE:
            message = settings.default_message if rule is None else rule.message
            number = message or 0
        return Answer(action.rank, number, action)


@dataclass(frozen=True)
class Entry:
    """All that a policy says about one name.

    Attributes:
        plain: the rule without constraints, or None: then the default holds.
        constrained: the others, in the policy's order.
    """

    plain: SyscallRule | None
    constrained: tuple[SyscallRule, ...]


def applying(rules: Iterable[SyscallRule]) -> tuple[SyscallRule, ...]:
    """The rules that hold for every container: those with includes or excludes are an engine's to choose."""
    return tuple(rule for rule in rules if rule.includes is None and rule.excludes is None)


def expanded(rules: Iterable[SyscallRule], arch: Arch) -> tuple[SyscallRule, ...]:
    """The rules with every group taken apart, sorted by name; a name that has rules of its own is in no group.

    A call of a group that the ABI does not have, or cannot tell by its arguments, is left out.
    """
    given = tuple(rules)
    own = {rule.name for rule in given if not rule.is_group}
    result = [rule for rule in given if not rule.is_group]
    for rule in given:
        if rule.is_group:
            for given_member in groups.expand(rule.name):
                member = groups.on_arch(given_member, arch)
                if member is not None and member.name not in own:
                    constraints_of = (*rule.constraints, *_conditions(member))
                    result.append(replace(rule, name=member.name, constraints=constraints_of))
    return tuple(sorted(dict.fromkeys(result), key=lambda rule: rule.name))


def expanded_on(rules: Iterable[SyscallRule], arches: Sequence[Arch]) -> tuple[SyscallRule, ...]:
    """The rules with every group taken apart on a kernel with several ABIs, its own first; sorted by name.

    Calls that only an ABI beside has (clock_settime64 of x86) are as the first of these has them.
    """
    given = tuple(rules)
    found: list[SyscallRule] = []
    before: set[str] = set()
    for arch in arches:
        found += (rule for rule in expanded(given, arch) if rule.name not in before)
        before |= {*syscalls.numbers(arch), *(rule.name for rule in given)}
    return tuple(sorted(found, key=lambda rule: rule.name))


def entries(policy: Policy, arch: Arch | None = None) -> dict[str, Entry]:
    """What the policy says about each name, of the rules that hold for every container.

    Args:
        arch: the ABI that a filter is for; then multiplexers of that ABI have entries too (`_through`). Without it,
            only what the policy itself says, on all of its ABIs: libseccomp sees to multiplexers itself.
    """
    rules = applying(policy.syscalls)
    found = _by_name(
        expanded_on(rules, (arch,) if arch is not None else policy.settings.architectures), policy.settings
    )
    if arch is None:
        left_out = opened(policy)
        return {name: entry for name, entry in found.items() if name not in left_out}
    found = {name: _seen(name, entry, policy.settings, arch) for name, entry in found.items()}
    if not multiplexers(arch):
        return found
    members = {**_by_name(_without_number(rules, arch), policy.settings), **found}
    for multiplexer, numbers in multiplexers(arch).items():
        entry = _through(multiplexer, numbers, members, policy.settings)
        if (multiplexer not in found or _is_overruled(multiplexer, numbers, rules)) and entry is not None:
            found[multiplexer] = entry
    return found


def opened(policy: Policy) -> frozenset[str]:
    """Multiplexers that only groups let pass, beside rules of its own for a call that goes through one.

    @network-io has socketcall beside socket: a rule for socket would mean nothing there. A profile leaves these out.
    """
    rules = applying(policy.syscalls)
    default = Answer.of(None, policy.settings)
    return frozenset(
        multiplexer
        for arch in policy.settings.architectures
        for multiplexer, numbers in multiplexers(arch).items()
        if _is_overruled(multiplexer, numbers, rules)
        and not any(
            Answer.of(rule, policy.settings) > default
            for rule in rules
            if rule.is_group and any(member.name == multiplexer for member in groups.expand(rule.name))
        )
    )


def _is_overruled(multiplexer: str, numbers: Mapping[str, int], rules: Sequence[SyscallRule]) -> bool:
    """Whether there are rules of its own for a call that goes through a multiplexer, and none for that."""
    own = {rule.name for rule in rules if not rule.is_group}
    return multiplexer not in own and not own.isdisjoint(numbers)


def _by_name(rules: Iterable[SyscallRule], settings: Settings) -> dict[str, Entry]:
    by_name: dict[str, list[SyscallRule]] = {}
    for rule in rules:
        by_name.setdefault(rule.name, []).append(rule)
    found = {}
    for name, these in by_name.items():
        plain = [rule for rule in these if not rule.constraints]
        # Two only where two groups hold the name.
        worst = max(plain, key=lambda rule: Answer.of(rule, settings), default=None)
        found[name] = Entry(worst, tuple(rule for rule in these if rule.constraints))
    return found


def _seen(name: str, entry: Entry, settings: Settings, arch: Arch) -> Entry:
    """The entry, or the most restrictive of its answers where a filter for the ABI cannot see what it compares."""
    tested = {one.arg for rule in entry.constrained for one in rule.constraints}
    if all(is_seen(name, arg, settings.arch, arch) for arg in tested):
        return entry
    worst = max((entry.plain, *entry.constrained), key=lambda rule: Answer.of(rule, settings))
    return Entry(replace(worst, constraints=()) if worst is not None else None, ())


def _without_number(rules: Sequence[SyscallRule], arch: Arch) -> Iterator[SyscallRule]:
    """What groups say of calls that the ABI has through a multiplexer only (accept on x86), for `_through`."""
    named = {name for members in multiplexers(arch).values() for name in members} - set(syscalls.numbers(arch))
    for rule in rules:
        if rule.is_group:
            for member in groups.expand(rule.name):
                if member.name in named:
                    yield replace(rule, name=member.name, constraints=(*rule.constraints, *_conditions(member)))


def _through(
    multiplexer: str, numbers: Mapping[str, int], members: Mapping[str, Entry], settings: Settings
) -> Entry | None:
    """The entry of a multiplexer that the policy has no rule of its own for, or None.

    A member's arguments are not to be seen there. So it gets the most restrictive answer that the policy has for it,
    whatever its constraints.
    """
    default = Answer.of(None, settings)
    rules = []
    for name, number in sorted(numbers.items(), key=lambda item: item[1]):
        entry = members.get(name)
        if entry is None:
            continue
        worst = max((entry.plain, *entry.constrained), key=lambda rule: Answer.of(rule, settings))
        if worst is not None and Answer.of(worst, settings) != default:
            selected = Constraint(SELECTOR, ArgType.INTEGER, allowed=(str(number),))
            rules.append(replace(worst, name=multiplexer, constraints=(selected,)))
    return Entry(None, tuple(rules)) if rules else None


class Answers:
    """A policy's answers on one ABI."""

    def __init__(self, policy: Policy, arch: Arch) -> None:
        """Raises BadInput if a rule's constraints are none that a filter can hold."""
        self._settings = policy.settings
        self._entries = entries(policy, arch)
        self._ways: Mapping[str, list[tuple[Answer, tuple[Alternative, ...]]]] = {
            name: [
                (Answer.of(rule, policy.settings), constraints.alternatives(rule.constraints, name, arch, unequal=True))
                for rule in entry.constrained
            ]
            for name, entry in self._entries.items()
        }

    def fallback(self, name: str) -> Answer:
        """What holds where no rule with constraints does."""
        entry = self._entries.get(name)
        return Answer.of(entry.plain if entry is not None else None, self._settings)

    def of(self, name: str, values: Mapping[int, int]) -> Answer:
        """The answer to a call whose arguments (index → unsigned value) are all given; missing ones are 0."""
        return self._answer(name, lambda way: _holds(way, values), lambda way: _holds(way, values))

    def possible(self, name: str, values: Mapping[int, int]) -> Answer:
        """The least restrictive answer that a call with these arguments can get, whatever the others are.

        What refuses more than the fallback counts only where these arguments alone decide it. Several such rules that
        leave no way out between them are not looked through: then the answer is too good.
        """
        return self._answer(name, lambda way: _must_hold(way, values), lambda way: _can_hold(way, values))

    def _answer(self, name: str, worse: Callable[[Alternative], bool], better: Callable[[Alternative], bool]) -> Answer:
        fallback = self.fallback(name)
        refusing, passing = [], [fallback]
        for answer, ways in self._ways.get(name, ()):
            if answer > fallback:
                refusing += [answer] if any(map(worse, ways)) else []
            elif any(map(better, ways)):
                passing.append(answer)
        return max(refusing) if refusing else min(passing)


def _holds(way: Alternative, values: Mapping[int, int]) -> bool:
    return all(test.holds(values.get(test.arg, 0)) for test in way)


def _must_hold(way: Alternative, values: Mapping[int, int]) -> bool:
    return all(test.arg in values and test.holds(values[test.arg]) for test in way)


def _can_hold(way: Alternative, values: Mapping[int, int]) -> bool:
    return all(test.holds(values[test.arg]) for test in way if test.arg in values)


def _conditions(member: groups.Member) -> tuple[Constraint, ...]:
    return tuple(
        Constraint(one.arg, ArgType(one.type), allowed=one.allowed, denied=one.denied) for one in member.conditions
    )
