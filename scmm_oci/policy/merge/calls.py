"""The rules for system calls of a policy by name, joined with others', and back as rules in one order.

Answers are compared, not rules: what a name is answered counts, whether by a rule of its own, a group or the default. A
group stays one where all policies have the same rule for it and the same default; else it becomes rules for its calls.
Called by policy.merge, policy.diff and policy.lint.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from scmm_oci.errors import BadInput, Problem
from scmm_oci.policy.answers import Answer, Entry, applying, entries
from scmm_oci.policy.merge import entries as algebra
from scmm_oci.policy.merge.entries import ALWAYS, Conditions, Side
from scmm_oci.policy.merge.notes import Note, join
from scmm_oci.policy.model import Action, Applies, Constraint, Policy, Settings, SyscallRule
from scmm_oci.tables import errnos, groups, syscalls
from scmm_oci.tables.arch import Arch


@dataclass(frozen=True)
class View:
    """What a policy says of calls.

    Attributes:
        named: names that the policy's words may be of: those that its architectures have.
        groups: the rules for groups.
        entries: by every name that a rule speaks of; ``own``: those that rules name themselves.
        dependent: rules that an engine takes for some containers only.
    """

    default: Answer
    named: frozenset[str]
    groups: Mapping[str, tuple[Answer, Note]]
    entries: Mapping[str, algebra.Entry]
    own: frozenset[str]
    dependent: tuple[SyscallRule, ...]

    def entry(self, name: str) -> algebra.Entry:
        """What is answered to a name; to one that no rule speaks of, the default."""
        return self.entries.get(name) or algebra.Entry(self.default)

    def holding(self, name: str) -> frozenset[str]:
        """The groups with rules that a name is in."""
        return frozenset(group for group in self.groups if name in members(group))


@cache
def members(group: str) -> frozenset[str]:
    """The names of all calls in a group."""
    return frozenset(member.name for member in groups.expand(group))


def view(policy: Policy) -> View:
    """What a policy says of calls."""
    settings = policy.settings
    arches = [Arch(one) for one in syscalls.ARCHES] if settings.arch_map else settings.architectures
    named = frozenset[str]().union(*(syscalls.numbers(arch) for arch in arches))
    rules = tuple(applying(policy.syscalls))
    own = {rule.name for rule in rules if not rule.is_group}
    found = {
        name: _entry(entry, settings, own=name in own)
        for name, entry in entries(policy).items()
        if name in own or name in named
    }
    given: dict[str, list[tuple[Answer, Note]]] = {}
    for rule in rules:
        if rule.is_group:
            given.setdefault(rule.name, []).append((Answer.of(rule, settings), _note(rule)))
    return View(
        Answer.of(None, settings),
        named,
        {name: (max(one for one, _ in rules_), join(note for _, note in rules_)) for name, rules_ in given.items()},
        found,
        frozenset(own),
        tuple(
            _dependent(rule, settings)
            for rule in policy.syscalls
            if rule.includes is not None or rule.excludes is not None
        ),
    )


def joined(first: View, second: View, side: Side) -> View:
    """The view that answers to every call as the one of both that the side picks, as far as it can be written.

    Raises:
        BadInput: the rules that depend on the container differ, or a name would have too many rules.
    """
    _check_dependent(first, second)
    named = first.named | second.named if side is Side.LEAST else first.named & second.named
    default = side.pick((first.default, second.default))
    shared = {}
    if first.default == second.default and first.named == second.named:
        shared = {
            name: (answer, join((note, second.groups[name][1])))
            for name, (answer, note) in first.groups.items()
            if name in second.groups and second.groups[name][0] == answer
        }
    result = View(default, named, shared, {}, frozenset(), first.dependent)
    found, own = {}, set()
    problems: list[Problem] = []
    spoken = first.entries.keys() | second.entries.keys()
    # Calls of an architecture that only one of them has are in no intersection.
    for name in sorted(spoken if first.named == second.named or side is Side.LEAST else spoken & named):
        try:
            found[name] = algebra.joined(first.entry(name), second.entry(name), side)
        except BadInput as error:
            problems += [Problem(name, one.message, one.hint) for one in error.problems]
        held = result.holding(name)
        if any(name in one.own or one.holding(name) != held for one in (first, second)):
            own.add(name)
    if problems:
        raise BadInput(problems)
    return replace(result, entries=found, own=frozenset(own))


def inexact(views: Iterable[View], result: View, side: Side) -> list[str]:
    """The names whose joined answers may be other than the ones that the side picks; sorted."""
    given = tuple(views)
    return [
        name
        for name, entry in sorted(result.entries.items())
        if not algebra.is_exact([one.entry(name) for one in given], entry, side)
    ]


def rules(given: View) -> tuple[SyscallRule, ...]:
    """The view as rules, in one order: groups, then calls by name, rules without constraints first.

    Errnos are left out where they are the default's, so the settings must have that of ``default_settings``.
    """
    found = [rule_of(name, ALWAYS, answer, note, given.default) for name, (answer, note) in given.groups.items()]
    for name in given.own:
        found += entry_rules(name, given.entries[name], given.default)
    found += [_without_default(rule, given.default) for rule in given.dependent]
    return tuple(sorted(found, key=_order))


def entry_rules(name: str, entry: algebra.Entry, default: Answer) -> list[SyscallRule]:
    """The rules that say what an entry does. One without constraints only where it says something.

    Whether a policy in between had one that said nothing, only for its name to be there, must not show.
    """
    found = [rule_of(name, conditions, answer, note, default) for (conditions, answer), note in entry.clauses.items()]
    if entry.plain not in (None, Note()) or entry.fallback != default or not found:
        found.append(rule_of(name, ALWAYS, entry.fallback, entry.plain or Note(), default))
    return found


def default_settings(settings: Settings, default: Answer) -> Settings:
    """The settings with a default answer. The errno of another default than ``deny`` is the usual one."""
    denies = default.action is Action.DENY
    return replace(
        settings,
        default_action=default.action,
        default_errno=errnos.name(default.number) if denies else Settings.default_errno,
        default_message=default.number if default.action is Action.TRACE and default.number else None,
    )


def rule_of(name: str, conditions: Conditions, answer: Answer, note: Note, default: Answer) -> SyscallRule:
    """One rule."""
    rule = SyscallRule(
        name,
        answer.action,
        errnos.name(answer.number) if answer.action is Action.DENY else None,
        tuple(sorted(conditions, key=constraint_key)),
        note.origin,
        answer.number if answer.action is Action.TRACE and answer.number else None,
        comment=note.comment,
    )
    return _without_default(rule, default)


def constraint_key(one: Constraint) -> tuple[Any, ...]:
    """An order of constraints."""
    matches = [(match.pattern, match.type.value) for match in one.match]
    return (one.arg, one.type.value, matches, one.allowed, one.denied, one.op or "", str(one.value), str(one.mask))


def ordered_constraint(one: Constraint) -> Constraint:
    """The constraint with its words sorted, each once."""
    return replace(
        one,
        match=tuple(sorted(set(one.match), key=lambda match: (match.pattern, match.type.value))),
        allowed=tuple(sorted(set(one.allowed))),
        denied=tuple(sorted(set(one.denied))),
    )


def _without_default(rule: SyscallRule, default: Answer) -> SyscallRule:
    usual = errnos.name(default.number) if default.action is Action.DENY else Settings.default_errno
    return replace(rule, errno=None) if rule.action is Action.DENY and rule.errno == usual else rule


def _entry(given: Entry, settings: Settings, *, own: bool) -> algebra.Entry:
    fallback = Answer.of(given.plain, settings)
    # A group's counts are not those of each call in it.
    plain = None if given.plain is None else _note(given.plain) if own else Note()
    clauses = []
    for rule in given.constrained:
        conditions = frozenset(map(ordered_constraint, rule.constraints))
        clauses.append(((conditions, Answer.of(rule, settings)), _note(rule) if own else Note()))
    return algebra.entry(fallback, plain, clauses)


def _note(rule: SyscallRule) -> Note:
    return join([Note(rule.origin, rule.comment)])


def _dependent(rule: SyscallRule, settings: Settings) -> SyscallRule:
    answer = Answer.of(rule, settings)

    def words(applies: Applies | None) -> Applies | None:
        if applies is None:
            return None
        return Applies(tuple(sorted(applies.capabilities)), tuple(sorted(applies.architectures)), applies.min_kernel)

    return replace(
        rule,
        errno=errnos.name(answer.number) if rule.action is Action.DENY else None,
        message=(answer.number or None) if rule.action is Action.TRACE else None,
        constraints=tuple(sorted(map(ordered_constraint, rule.constraints), key=constraint_key)),
        origin=join([Note(rule.origin)]).origin,
        includes=words(rule.includes),
        excludes=words(rule.excludes),
    )


def _check_dependent(first: View, second: View) -> None:
    found = []
    names = {rule.name for one in (first, second) for rule in one.dependent}
    for name in sorted(names):
        mine, theirs = (_ways(one, name) for one in (first, second))
        if mine != theirs:
            message = f"the rules for {name} depend on the container and differ"
            found.append(Problem(name, message, "write rules without includes and excludes in both first"))
    if found:
        raise BadInput(found)


def _ways(given: View, name: str) -> tuple[frozenset[SyscallRule], algebra.Entry | None]:
    dependent = frozenset(replace(rule, origin=None, comment="") for rule in given.dependent if rule.name == name)
    entry = given.entries.get(name)
    bare = algebra.Entry(entry.fallback, None, dict.fromkeys(entry.clauses, Note())) if entry is not None else None
    return dependent, bare


def _order(rule: SyscallRule) -> tuple[Any, ...]:
    def words(applies: Applies | None) -> tuple[Any, ...]:
        return () if applies is None else (applies.capabilities, applies.architectures, applies.min_kernel or "")

    keys = [constraint_key(one) for one in rule.constraints]
    number = rule.errno or "", rule.message or 0
    return (not rule.is_group, rule.name, keys, rule.action.rank, number, words(rule.includes), words(rule.excludes))
