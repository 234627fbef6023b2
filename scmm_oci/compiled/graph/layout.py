"""Where the states of a machine stand, and how lines go between them. Pure, and the same for the same machine.

States stand in rows by their distance from the beginnings. A line that passes rows goes through a place of its own in
each, and all lines to one state share these: they come together to a trunk that leads there. Rows are ordered so that
lines cross little (barycentres, sweep by sweep), then states are moved over those that they have lines to.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from scmm_oci.policy.order import Table
from scmm_oci.tables import states

# Pixels.
CHARACTER = 7.3
HEIGHT = 24
ROW = 74
_PADDING = 22
_GAP, _TRUNK = 22, 9
# States in one row; more of the same distance get rows of their own.
_MOST = 8
_SWEEPS = 16
_MOVES = 60
# How much more a straight trunk is worth than a state over the middle of its lines.
_STRAIGHT = 8.0

# A state, or where lines to a state pass a row.
Spot = str | tuple[int, str]


@dataclass(frozen=True)
class Box:
    """A state's place: the middle of it, and its width."""

    x: float
    row: int
    width: float


@dataclass
class Line:
    """A piece of a way, from one row to the next, or beneath a row; of all ways that lead over it.

    Attributes:
        start, end: states or spots; ``end`` is where it leads to.
        to: the state that the way leads to.
        sources: the states that it comes from.
    """

    start: Spot
    end: Spot
    to: str
    sources: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Layout:
    """A whole drawing: places of states and of spots, and the lines. Loops are left to whoever draws the states."""

    boxes: Mapping[Spot, Box]
    lines: Sequence[Line]
    rows: int
    width: float


def layout(table: Table) -> Layout:
    """The drawing of a table of few states."""
    rows = _rows(table)
    row_of: dict[Spot, int] = {state: index for index, row in enumerate(rows) for state in row}
    lines: dict[tuple[Spot, Spot], Line] = {}
    spots: list[list[Spot]] = [list(row) for row in rows]
    for before, to in sorted(table.edges):
        if before == to:
            continue
        first, last = row_of[before], row_of[to]
        step = 1 if last > first else -1
        way: list[Spot] = [before, *((row, to) for row in range(first + step, last, step)), to]
        for start, end in pairwise(way):
            if isinstance(end, tuple) and end not in row_of:
                row_of[end] = end[0]
                spots[end[0]].append(end)
            lines.setdefault((start, end), Line(start, end, to)).sources.add(before)
    near: defaultdict[Spot, list[Spot]] = defaultdict(list)
    for start, end in lines:
        if row_of[start] != row_of[end]:
            near[start].append(end)
            near[end].append(start)
    ordered = _ordered(spots, row_of, near)
    return _placed(ordered, row_of, near, list(lines.values()))


def _rows(table: Table) -> list[list[str]]:
    """States by their distance from the beginnings, and from what nothing leads to."""
    following: dict[str, list[str]] = defaultdict(list)
    for before, to in sorted(table.edges):
        following[before].append(to)
    reached = {to for before, to in table.edges if before != to}
    left = dict.fromkeys(sorted(table.states))
    begins = [word for word in (states.START, *states.BEGINNINGS) if word in left]
    # What leads on and is not led to is another way in: a phase begins with the call that leads over to it.
    entered = [word for word in left if word not in reached and word not in begins and {*following[word]} - {word}]
    layer = [*begins, *entered] or list(left)[:1]
    layers: list[list[str]] = []
    while left:
        for state in layer:
            del left[state]
        layers.append(layer)
        layer = list(dict.fromkeys(to for state in layer for to in following[state] if to in left))
        if not layer and left:
            layer = [word for word in left if word not in reached] or list(left)[:1]
    rows = []
    for layer in layers:
        count = -(-len(layer) // _MOST)
        size = -(-len(layer) // count)
        rows += [layer[index : index + size] for index in range(0, len(layer), size)]
    return rows


def _ordered(
    rows: Sequence[list[Spot]], row_of: Mapping[Spot, int], near: Mapping[Spot, list[Spot]]
) -> list[list[Spot]]:
    """The rows in an order in which few lines cross: the best of what the sweeps come to."""
    found = best = [list(row) for row in rows]
    least = _crossings(found, row_of, near)
    for sweep in range(_SWEEPS):
        found = [list(row) for row in found]
        down = sweep % 2 == 0
        for index in range(len(found)) if down else reversed(range(len(found))):
            other = index - 1 if down else index + 1
            if not 0 <= other < len(found):
                continue
            places = {spot: place for place, spot in enumerate(found[other])}
            own = {spot: place for place, spot in enumerate(found[index])}
            ratio = len(places) / max(1, len(own))
            middles = {
                spot: _mean([places[one] for one in near.get(spot, ()) if one in places], own[spot] * ratio)
                for spot in own
            }
            found[index].sort(key=lambda spot, middles=middles, own=own: (middles[spot], own[spot]))  # type: ignore[misc]
        crossings = _crossings(found, row_of, near)
        if crossings < least:
            best, least = found, crossings
    return best


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _crossings(rows: Sequence[Sequence[Spot]], row_of: Mapping[Spot, int], near: Mapping[Spot, list[Spot]]) -> int:
    """How many pairs of lines cross between rows."""
    count = 0
    for index, row in enumerate(rows[:-1]):
        places = {spot: place for place, spot in enumerate(rows[index + 1])}
        ends: list[int] = []
        for spot in row:
            its = sorted(places[one] for one in near.get(spot, ()) if row_of[one] == index + 1)
            count += sum(len(ends) - bisect_right(ends, end) for end in its)
            for end in its:
                insort(ends, end)
    return count


def width_of(spot: Spot) -> float:
    """How wide a state's box is, or what passes a row."""
    return len(spot) * CHARACTER + _PADDING if isinstance(spot, str) else 0.0


def _placed(
    rows: Sequence[Sequence[Spot]], row_of: Mapping[Spot, int], near: Mapping[Spot, list[Spot]], lines: list[Line]
) -> Layout:
    x: dict[Spot, float] = {}
    for row in rows:
        offsets = _offsets(row)
        for spot, offset in zip(row, offsets, strict=True):
            x[spot] = offset - offsets[-1] / 2
    for move in range(_MOVES):
        for row in rows if move % 2 == 0 else reversed(rows):
            offsets = _offsets(row)
            wanted = [_drawn(spot, x, near) - offset for spot, offset in zip(row, offsets, strict=True)]
            weights = [1.0 if isinstance(spot, str) else _STRAIGHT for spot in row]
            for spot, offset, place in zip(row, offsets, _rising(wanted, weights), strict=True):
                x[spot] = place + offset
    left = min((x[spot] - width_of(spot) / 2 for spot in x), default=0.0)
    right = max((x[spot] + width_of(spot) / 2 for spot in x), default=0.0)
    boxes = {spot: Box(x[spot] - left, row_of[spot], width_of(spot)) for spot in x}
    return Layout(boxes, lines, len(rows), right - left)


def _drawn(spot: Spot, x: Mapping[Spot, float], near: Mapping[Spot, list[Spot]]) -> float:
    """Where a spot is drawn to: over the middle of what it has lines to, and trunks to where they are straight."""
    total = place = 0.0
    for one in near.get(spot, ()):
        weight = _STRAIGHT if isinstance(spot, tuple) and isinstance(one, tuple) else 1.0
        total += weight
        place += weight * x[one]
    return place / total if total else x[spot]


def _offsets(row: Sequence[Spot]) -> list[float]:
    """Where the spots of a row stand if they stand as near as they may, from the first one."""
    found: list[float] = []
    for spot in row:
        if not found:
            found.append(0.0)
            before = spot
            continue
        both = isinstance(before, str) + isinstance(spot, str)
        gap = (_TRUNK, (_TRUNK + _GAP) / 2, _GAP)[both]
        found.append(found[-1] + width_of(before) / 2 + gap + width_of(spot) / 2)
        before = spot
    return found


def _rising(wanted: Iterable[float], weights: Iterable[float]) -> list[float]:
    """The numbers nearest to these (least squares) of which none is smaller than the one before it."""
    groups: list[tuple[float, float, int]] = []
    for value, weight in zip(wanted, weights, strict=True):
        count = 1
        while groups and groups[-1][0] >= value:
            other, its, many = groups.pop()
            value = (other * its + value * weight) / (its + weight)
            weight += its
            count += many
        groups.append((value, weight, count))
    return [value for value, _, count in groups for _ in range(count)]
