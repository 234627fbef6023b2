"""Rules for files, joined: what any of several lists grants, what all of them do, and what one does beyond another.

A rule that reaches up to the directory if its path is missing (``parentdir``) is kept apart from others for the same
path: with their rights joined, the directory would get rights that nobody gave. Called by policy.merge and policy.diff.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from scmm_oci.policy.merge.notes import join_origins
from scmm_oci.policy.model import OnMissing, Origin, PathRule
from scmm_oci.policy.paths.exceptions import common, grants_all, lowered
from scmm_oci.policy.paths.patterns import Kind, Pattern, PatternSet, covers
from scmm_oci.tables.vocabulary import ACCESS_RIGHTS

Rules = tuple[PathRule, ...]

_BOTH = ("remove_dir", "remove_file")


def rights_of(rule: PathRule) -> frozenset[str]:
    """The rights that a rule gives, ``remove`` taken apart."""
    return frozenset(right for word in rule.access for right in (_BOTH if word == "remove" else (word,)))


def in_order(rights: Iterable[str]) -> tuple[str, ...]:
    """Rights in the vocabulary's order."""
    given = frozenset(rights)
    return tuple(right for right in ACCESS_RIGHTS if right in given)


def union(*lists: Iterable[PathRule]) -> Rules:
    """What any of the lists grants: one rule for each pattern with its exceptions (and one more with ``parentdir``).

    Sorted; exceptions too.
    ``precreate`` goes before ``skip``: what one policy makes is made.
    """
    found: dict[tuple[str, tuple[str, ...], bool], list[PathRule]] = {}
    for rule in (rule for rules in lists for rule in rules):
        key = (rule.path, tuple(sorted(rule.excluded)), rule.on_missing is OnMissing.PARENTDIR)
        found.setdefault(key, []).append(rule)
    return tuple(
        PathRule(
            path,
            in_order(right for rule in same for right in rights_of(rule)),
            OnMissing.PARENTDIR if above else _made(any(one.on_missing is OnMissing.PRECREATE for one in same)),
            join_origins(rule.origin for rule in same),
            excluded,
        )
        for (path, excluded, above), same in sorted(found.items())
    )


def intersection(first: Sequence[PathRule], second: Sequence[PathRule]) -> tuple[Rules, Rules]:
    """What both lists grant, and the rules of either that may have been cut beyond that.

    Of two patterns of which one covers the other, the narrower has the rights of both. Two with wildcards can overlap
    without that: what they have in common is left out, as is a directory above that only one of them reaches. Of rules
    with exceptions neither's exceptions are granted.
    """
    mine, theirs = _Index(first), _Index(second)
    found: list[PathRule] = []
    cut: dict[PathRule, None] = {}
    for rule, others in [(rule, theirs) for rule in first] + [(rule, mine) for rule in second]:
        pattern = Pattern.parse(rule.path)
        for other in others.near(pattern):
            both = in_order(rights_of(rule) & rights_of(other))
            if not both:
                continue
            against = Pattern.parse(other.path)
            if rule.excluded or other.excluded:
                made, is_cut = _with_exceptions(rule, other, both)
                found += made
            elif covers(against, pattern):
                found.append(_narrower(rule, other, both))
                is_cut = _loses_above(rule, other, found[-1])
            else:
                is_cut = not covers(pattern, against) and _meet(pattern, against)
            if is_cut:
                cut[rule] = None
    return union(found), tuple(sorted(cut, key=lambda rule: (rule.path, rule.on_missing)))


def difference(first: Iterable[PathRule], second: Sequence[PathRule]) -> Rules:
    """The rules of the first list less the rights that single rules of the second give there."""
    theirs = _Index(second)
    found = []
    for rule in first:
        pattern = Pattern.parse(rule.path)
        given: set[str] = set()
        for other in theirs.near(pattern):
            if grants_all(other, rule) and _reaches_above(rule, other):
                given |= rights_of(other)
        rest = rights_of(rule) - given
        if rest:
            found.append(replace(rule, access=in_order(rest)))
    return union(found)


def parent(path: str) -> str:
    """The pattern for the directory that holds what a pattern stands for."""
    return path.rpartition("/")[0] or "/"


class _Index:
    """Rules, and which of them can have to do with a pattern."""

    def __init__(self, rules: Sequence[PathRule]) -> None:
        self._rules: dict[str, list[PathRule]] = {}
        for rule in rules:
            self._rules.setdefault(rule.path, []).append(rule)
        patterns = [Pattern.parse(path) for path in self._rules]
        self._set = PatternSet(patterns)
        self._wild = [one for one in patterns if any(part.name is None for part in one.parts)]

    def near(self, pattern: Pattern) -> Iterator[PathRule]:
        """The rules whose pattern may cover this one, or meet it."""
        found = dict.fromkeys([pattern.text] if pattern in self._set else [])
        if all(part.name is not None for part in pattern.parts):
            path = "/" + "/".join(part.name or "" for part in pattern.parts)
            found |= dict.fromkeys(one.text for one in self._set.granting(path))
            found |= dict.fromkeys(one.text for one in self._wild)
        else:
            found |= dict.fromkeys(self._rules)
        for text in found:
            yield from self._rules[text]


def _with_exceptions(rule: PathRule, other: PathRule, access: tuple[str, ...]) -> tuple[list[PathRule], bool]:
    """What two rules grant, one of which has exceptions, as far as the first's path is not the wider; what is cut."""
    one = common(rule, other)
    if one is not None:
        path, excluded = one
        if excluded:
            same = Pattern.parse(rule.path).parts == Pattern.parse(other.path).parts
            origin = join_origins((rule.origin, other.origin) if same else (rule.origin,))
            return [PathRule(path, access, OnMissing.SKIP, origin, excluded)], _is_above(rule)
        made = _narrower(rule, other, access)
        return [made], _loses_above(rule, other, made)
    pattern, against = Pattern.parse(rule.path), Pattern.parse(other.path)
    if covers(pattern, against) and not covers(against, pattern):
        return [], False
    found, is_cut = [], False
    whole: set[PathRule] = set()
    meeting: list[tuple[PathRule, PathRule]] = []
    for mine in lowered(rule):
        for theirs in lowered(other):
            first, second = Pattern.parse(mine.path), Pattern.parse(theirs.path)
            if covers(second, first):
                found.append(_narrower(mine, theirs, access))
                whole.add(mine)
                is_cut |= _loses_above(mine, theirs, found[-1])
            elif covers(first, second):
                found.append(_narrower(theirs, mine, access))
                whole.add(theirs)
                is_cut |= _loses_above(theirs, mine, found[-1])
            elif _meet(first, second):
                meeting.append((mine, theirs))
    # What is granted as a whole has nothing more in common with anything.
    return found, is_cut or any(whole.isdisjoint(pair) for pair in meeting)


def _is_above(rule: PathRule) -> bool:
    return rule.on_missing is OnMissing.PARENTDIR


def _loses_above(rule: PathRule, other: PathRule, made: PathRule) -> bool:
    """Whether one of the rules reaches the directory above, and what was made of both does not."""
    return (_is_above(rule) or _is_above(other)) and not _is_above(made)


def _narrower(rule: PathRule, other: PathRule, access: tuple[str, ...]) -> PathRule:
    """A rule for the first one's path, which is not the wider."""
    same = rule.path == other.path
    on_missing = OnMissing.SKIP
    if rule.on_missing is OnMissing.PARENTDIR:
        if (same and other.on_missing is OnMissing.PARENTDIR) or _grants_parent(other, rule):
            on_missing = OnMissing.PARENTDIR
    elif same and rule.on_missing is other.on_missing:
        on_missing = rule.on_missing
    origins: tuple[Origin | None, ...] = (rule.origin, other.origin) if same else (rule.origin,)
    return PathRule(rule.path, access, on_missing, join_origins(origins))


def _reaches_above(rule: PathRule, other: PathRule) -> bool:
    """Whether the other rule gives what this one gives to the directory above."""
    if rule.on_missing is not OnMissing.PARENTDIR:
        return True
    if other.on_missing is OnMissing.PARENTDIR and rule.path == other.path:
        return True
    return _grants_parent(other, rule)


def _grants_parent(wide: PathRule, rule: PathRule) -> bool:
    return grants_all(wide, PathRule(parent(rule.path), rule.access))


def _meet(first: Pattern, second: Pattern) -> bool:
    """Whether something may be granted by both. A no is always right."""
    if first.kind is second.kind is Kind.FILES and len(first.parts) != len(second.parts):
        return False
    short = min(first, second, key=lambda one: len(one.parts))
    if short.kind is Kind.FILES and len(first.parts) != len(second.parts):
        return False
    for one, other in zip(first.parts, second.parts, strict=False):
        if one.name is not None and other.name is not None:
            if one.name != other.name:
                return False
        elif one.name is not None and other.variable is None:
            if not other.matches(one.name):
                return False
        elif other.name is not None and one.variable is None and not one.matches(other.name):
            return False
    return True


def _made(made: bool) -> OnMissing:
    return OnMissing.PRECREATE if made else OnMissing.SKIP
