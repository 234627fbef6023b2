"""Two policies → what the second does differently: by meaning, not by how it is written.

The order of rules, groups or their calls, lists or several rules, a rule that another one covers: none of that is a
difference. Names, descriptions, origins and comments are not looked at. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import cast

from scmm_oci.errors import BadInput
from scmm_oci.policy import constraints
from scmm_oci.policy.answers import Answer
from scmm_oci.policy.diff.files import file_differences, network_differences
from scmm_oci.policy.diff.order import order_differences
from scmm_oci.policy.diff.words import Difference, Kind, described, kind_of, words
from scmm_oci.policy.merge import calls
from scmm_oci.policy.merge.entries import Conditions, Entry, Side, entry, joined
from scmm_oci.policy.merge.notes import Note
from scmm_oci.policy.model import Constraint, FilterFlag, Policy, RunAs, Settings, SyscallRule
from scmm_oci.tables.arch import Arch

__all__ = ["Difference", "Kind", "Section", "differences"]


class Section(StrEnum):
    """Where a difference is; in the order in which they are told."""

    SETTINGS = "settings"
    SYSCALLS = "syscalls"
    CAPABILITIES = "capabilities"
    FILESYSTEM = "filesystem"
    NETWORK = "network"
    SCOPES = "scopes"
    TRANSITIONS = "transitions"
    SERVING = "serving"
    WATCH = "watch"


def differences(first: Policy, second: Policy) -> tuple[Difference, ...]:
    """What is new, gone and changed in the second policy, by section and name; nothing if both do the same.

    Constraints are compared as the comparisons that a filter makes of them (policy.constraints), where it can.
    """
    found = [
        *_settings(first.settings, second.settings),
        *_syscalls(first, second),
        *_sets("capabilities", first.capabilities, second.capabilities, keeps_in=False),
        *file_differences(first.filesystem, second.filesystem),
        *network_differences(first.network, second.network),
        *_sets("scopes", first.scopes, second.scopes, keeps_in=True),
        *order_differences(first, second),
    ]
    order = list(Section)
    return tuple(sorted(found, key=lambda one: (order.index(Section(one.section)), one.what, one.kind)))


def _settings(first: Settings, second: Settings) -> Iterator[Difference]:
    was, now = Answer.of(None, first), Answer.of(None, second)
    if was != now:
        yield _changed("settings", "default_action", described(was), described(now), now < was)
    old, new = set(first.architectures), set(second.architectures)
    if first.arch is not second.arch:
        yield _changed("settings", "arch", first.arch, second.arch, True)
    elif old != new:
        yield _changed("settings", "architectures", words(old), words(new), bool(new - old))
    if first.bad_arch_action is not second.bad_arch_action:
        wider = second.bad_arch_action.rank < first.bad_arch_action.rank
        yield _changed("settings", "bad_arch_action", first.bad_arch_action, second.bad_arch_action, wider)
    if first.log_denials != second.log_denials:
        yield _changed("settings", "log_denials", str(first.log_denials), str(second.log_denials), False)
    flags, others = (None if one.flags is None else set(one.flags) for one in (first, second))
    if flags != others:
        # It leaves out what the kernel otherwise does against speculation: seccomp(2).
        wider = FilterFlag.SPEC_ALLOW in (others or ()) and FilterFlag.SPEC_ALLOW not in (flags or ())
        yield Difference("settings", "flags", kind_of(flags, others), words(flags), words(others), wider)
    if first.run_as != second.run_as:
        yield _run_as(first.run_as, second.run_as)
    if first.listener != second.listener:
        texts = [None if one.listener is None else f"{one.listener.path}" for one in (first, second)]
        more = [None if one.listener is None else one.listener.metadata for one in (first, second)]
        told = [f"{text} ({extra})" if extra else text or "–" for text, extra in zip(texts, more, strict=True)]
        # Another supervisor may say yes where this one said no.
        kind = kind_of(first.listener, second.listener)
        yield Difference("settings", "listener", kind, told[0], told[1], second.listener is not None)


def _run_as(first: RunAs | None, second: RunAs | None) -> Difference:
    def text(one: RunAs | None) -> str:
        return "–" if one is None else f"uid {_id(one.uid)}, gid {_id(one.gid)}"

    def fixed(one: RunAs | None) -> tuple[bool, bool]:
        return (bool(one and one.uid), bool(one and one.gid))

    wider = any(was and not now for was, now in zip(fixed(first), fixed(second), strict=True))
    return Difference("settings", "run_as", kind_of(first, second), text(first), text(second), wider)


def _id(number: int | None) -> str:
    return "any" if number is None else str(number)


def _syscalls(first: Policy, second: Policy) -> Iterator[Difference]:
    before, after = calls.view(first), calls.view(second)
    arches = [arch for arch in second.settings.architectures if arch in first.settings.architectures]
    for name in sorted(before.entries.keys() | after.entries.keys()):
        was, now = before.entry(name), after.entry(name)
        pairs = list(zip(_compared(name, was, now, arches), _compared(name, now, was, arches), strict=True))
        if all(one.same(other) for one, other in pairs):
            continue
        kind = Kind.CHANGED
        if name not in before.entries:
            kind = Kind.NEW
        elif name not in after.entries:
            kind = Kind.GONE
        wider = any(_is_wider(one, other) for one, other in pairs)
        yield Difference("syscalls", name, kind, _entry(was), _entry(now), wider)
    yield from _dependent(before.dependent, after.dependent)


def _compared(name: str, one: Entry, other: Entry, arches: Sequence[Arch]) -> list[Entry]:
    """The entry with comparisons for constraints, one for each architecture.

    As it is, if it or the other one has constraints that no filter can hold.
    """
    try:
        for arch in arches:
            _tests(name, other, arch)
        return [_tests(name, one, arch) for arch in arches] or [one]
    except BadInput:
        return [one]


def _tests(name: str, given: Entry, arch: Arch) -> Entry:
    clauses = []
    for conditions, answer in given.clauses:
        ordered = sorted(conditions, key=calls.constraint_key)
        for way in constraints.alternatives(ordered, name, arch):
            # Only their being equal and sets counts here.
            clauses.append(((cast(Conditions, frozenset(way)), answer), Note()))
    return entry(given.fallback, None, clauses)


def _is_wider(was: Entry, now: Entry) -> bool:
    try:
        return not joined(was, now, Side.LEAST).same(was)
    except BadInput:
        return True  # too many constraints to be sure


def _entry(given: Entry) -> str:
    near, far = given.on(Side.LEAST), given.on(Side.MOST)
    parts = [
        f"{described(answer)} if {text}"
        for answer, text in sorted(
            (answer, " and ".join(map(_constraint_words, sorted(conditions, key=calls.constraint_key))))
            for conditions, answer in (*far, *near)
        )
    ]
    return "; ".join([*parts, f"else {described(given.fallback)}" if parts else described(given.fallback)])


def _constraint_words(one: Constraint) -> str:
    name = f"arg{one.arg}"
    if one.op is not None:
        masked = f"{name} & {one.mask}" if one.mask is not None else name
        return f"{masked} {one.op} {one.value}"
    parts = []
    if one.allowed:
        parts.append(f"{name} in {'|'.join(one.allowed)}")
    if one.match:
        parts.append(f"{name} like {' or '.join(match.pattern for match in one.match)}")
    if one.denied:
        parts.append(f"{name} not in {'|'.join(one.denied)}")
    return " and ".join(parts)


def _dependent(first: Iterable[SyscallRule], second: Iterable[SyscallRule]) -> Iterator[Difference]:
    tables: list[dict[str, set[str]]] = []
    for rules in (first, second):
        table: dict[str, set[str]] = {}
        for rule in rules:
            table.setdefault(rule.name, set()).add(_dependent_words(rule))
        tables.append(table)
    for name in sorted(tables[0].keys() | tables[1].keys()):
        was, now = (table.get(name, set()) for table in tables)
        if was != now:
            # What such a rule replaces depends on the container.
            texts = ["; ".join(sorted(one)) or "–" for one in (was, now)]
            yield Difference("syscalls", name, kind_of(was or None, now or None), texts[0], texts[1], True)


def _dependent_words(rule: SyscallRule) -> str:
    words_ = [f"{rule.action} {rule.errno}" if rule.errno else f"{rule.action}"]
    words_ += [f"message {rule.message}"] if rule.message else []
    words_ += [f"if {_constraint_words(one)}" for one in rule.constraints]
    for key, applies in (("with", rule.includes), ("without", rule.excludes)):
        if applies is not None:
            kernel = [f"kernel {applies.min_kernel}"] if applies.min_kernel else []
            words_.append(f"{key} {', '.join([*applies.capabilities, *applies.architectures, *kernel])}")
    return " ".join(words_)


def _sets(
    section: str, first: Iterable[str] | None, second: Iterable[str] | None, *, keeps_in: bool
) -> Iterator[Difference]:
    """Differences of two sets of words. Scopes keep in: one that is gone allows more."""
    if first is None or second is None:
        if first is not second:
            kind = kind_of(first, second)
            yield Difference(section, section, kind, words(first), words(second), second is None)
        return
    old, new = frozenset(first), frozenset(second)
    for word in sorted(new - old):
        yield Difference(section, word, Kind.NEW, "–", word, not keeps_in)
    for word in sorted(old - new):
        yield Difference(section, word, Kind.GONE, word, "–", keeps_in)


def _changed(section: str, what: str, before: str, after: str, wider: bool) -> Difference:
    return Difference(section, what, Kind.CHANGED, str(before), str(after), wider)
