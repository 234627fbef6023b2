"""Which items of a changed list are those of the list as it was, and where new ones go. Pure; for policy.yaml.edit.

The lists of rules have no order that means anything, but for rules of one name among themselves: there people's order
is kept. All other lists become exactly what is wanted.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from scmm_oci.schema import Steps

_RULES: frozenset[Steps] = frozenset(
    {
        ("syscalls",),
        ("capabilities",),
        ("filesystem", "rules"),
        *(("network", *way) for side in ("outbound", "inbound") for way in ((side,), ("tcp", side))),
    }
)
# What a rule is about, and what else tells it from others about the same.
_HEAD = ("name", "names", "path", "protocol", "ports", "addresses")
_IDENTITY = (*_HEAD, "constraints", "except")
_ENCODE = json.JSONEncoder(sort_keys=True).encode


@dataclass(frozen=True)
class Step:
    """One item of the list that is to be: what it should be, and the index of what it was (None: it is new)."""

    value: Any
    before: int | None


def plan(old: Sequence[Any], wanted: Sequence[Any], path: Steps) -> list[Step]:
    """The items in their new order. The indices ascend; those that are missing are of items that are gone."""
    return _rules(old, wanted) if path in _RULES else _exactly(old, wanted)


def canonical(value: Any) -> str:
    """The same text for equal values only: true is not 1, and the order of keys says nothing."""
    return _ENCODE(value)


def normal(document: Any, path: Steps = ()) -> Any:
    """The document with its lists of rules in one order, for comparing."""
    if isinstance(document, Mapping):
        return {key: normal(item, (*path, key)) for key, item in document.items()}
    if path in _RULES and isinstance(document, list | tuple):
        return sorted(document, key=_head)
    return document


def _part(value: Any, keys: Iterable[str]) -> str:
    return canonical({key: value[key] for key in keys if key in value} if isinstance(value, Mapping) else value)


def _head(value: Any) -> str:
    return _part(value, _HEAD)


def _pairs(old: Sequence[Any], wanted: Sequence[Any], ways: Iterable[Callable[[Any], str]]) -> dict[int, int]:
    """Index in ``wanted`` → index in ``old`` for what is the same in one of the ways, the first way first."""
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for way in ways:
        if len(pairs) == len(wanted) or len(taken) == len(old):
            break
        there: defaultdict[str, deque[int]] = defaultdict(deque)
        for index, value in enumerate(old):
            if index not in taken:
                there[way(value)].append(index)
        for index, value in enumerate(wanted):
            if index not in pairs and (same := there.get(way(value))):
                pairs[index] = same.popleft()
                taken.add(pairs[index])
    return pairs


def _ascending(pairs: Mapping[int, int]) -> dict[int, int]:
    """The most pairs that are in the same order on both sides."""
    ends: list[int] = []
    tails: list[int] = []
    before: dict[int, int | None] = {}
    for index in sorted(pairs):
        place = bisect_left(ends, pairs[index])
        before[index] = tails[place - 1] if place else None
        ends[place : place + 1] = [pairs[index]]
        tails[place : place + 1] = [index]
    result: dict[int, int] = {}
    index_or_none = tails[-1] if tails else None
    while index_or_none is not None:
        result[index_or_none] = pairs[index_or_none]
        index_or_none = before[index_or_none]
    return result


def _exactly(old: Sequence[Any], wanted: Sequence[Any]) -> list[Step]:
    pairs = _ascending(_pairs(old, wanted, [canonical]))
    steps: list[Step] = []
    free = 0
    gap: list[Any] = []
    for index in range(len(wanted) + 1):
        end = index == len(wanted)
        if not end and index not in pairs:
            gap.append(wanted[index])
            continue
        kept = len(old) if end else pairs[index]
        # A mapping or list that stands where another did is that one, changed; a word is another word.
        for at, value in enumerate(gap, free):
            changed = at < kept and not isinstance(value, str) and isinstance(old[at], dict | list)
            steps.append(Step(value, at if changed else None))
        if not end:
            steps.append(Step(wanted[index], kept))
        free, gap = kept + 1, []
    return steps


def _rules(old: Sequence[Any], wanted: Sequence[Any]) -> list[Step]:
    pairs = _pairs(old, wanted, [canonical, lambda value: _part(value, _IDENTITY), _head])
    heads = [_head(value) for value in wanted]
    same: defaultdict[str, dict[int, int]] = defaultdict(dict)
    for index, before in pairs.items():
        same[heads[index]][index] = before
    pairs = {index: before for group in same.values() for index, before in _ascending(group).items()}
    kept = sorted(pairs, key=lambda index: pairs[index])
    places = _places(old, wanted, kept, heads)
    steps: list[Step] = []
    for place in range(len(kept) + 1):
        steps += [Step(wanted[index], None) for index in places.get(place, ())]
        if place < len(kept):
            steps.append(Step(wanted[kept[place]], pairs[kept[place]]))
    return steps


def _places(
    old: Sequence[Any], wanted: Sequence[Any], kept: Sequence[int], heads: Sequence[str]
) -> dict[int, list[int]]:
    """For the new rules: before which of the kept ones they go → their indices in ``wanted``, in order."""
    order = [_sorted_by(value) for value in old]
    is_sorted = all(one <= other for one, other in pairwise(order))
    is_followed = all(one < other for one, other in pairwise(kept))
    keys = [_sorted_by(wanted[index]) for index in kept]
    of_head: defaultdict[str, list[int]] = defaultdict(list)
    for place, index in enumerate(kept):
        of_head[heads[index]].append(place)
    known = set(kept)
    new = [index for index in range(len(wanted)) if index not in known]
    places: defaultdict[int, list[int]] = defaultdict(list)
    for index in sorted(new, key=lambda index: _sorted_by(wanted[index])) if is_sorted else new:
        if is_sorted:
            place = bisect_right(keys, _sorted_by(wanted[index]))
        else:
            place = bisect_right(kept, index) if is_followed else len(kept)
        # Rules of one name stay in the order that is wanted.
        later = [one for one in of_head[heads[index]] if kept[one] > index]
        places[min([place, *later])].append(index)
    return places


def _sorted_by(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        names = value.get("names")
        first = names[0] if isinstance(names, list | tuple) and names else None
        for word in (value.get("name"), value.get("path"), first):
            if isinstance(word, str):
                return word
    return _head(value)
