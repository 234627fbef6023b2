"""A machine of any size as a square: a row for each state, a column for each call that may follow. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from scmm_oci.compiled.graph.layout import CHARACTER
from scmm_oci.compiled.graph.model import Kind, Phase, kind_of, told
from scmm_oci.compiled.graph.text import clean, element

# Pixels of a cell's side and of its words, by how many states there are.
_SIDES = ((60, 15, 11), (150, 11, 9), (1 << 30, 8, 7))
_MARGIN = 8
# Tooltips of larger squares would be most of the drawing.
_MOST_TOLD = 150


def matrix(phase: Phase) -> tuple[str, float, float]:
    """The drawing's elements, its width and its height in pixels."""
    rows, columns = phase.states, tuple(state for state in phase.states if state in phase.table.called)
    side, size = next((side, size) for most, side, size in _SIDES if len(rows) <= most)
    longest = max(map(len, rows), default=0) * CHARACTER * size / 12 + 10
    width, height = len(columns) * side, len(rows) * side
    pieces = [element("rect", x=longest, y=longest, width=width, height=height, class_="square")]
    pieces += _grid(longest, side, len(rows), len(columns))
    kinds = {column: kind_of(column) for column in columns}
    for index, state in enumerate(rows):
        following = phase.table.rows.get(state, frozenset())
        deep = {after for after in columns if (state, after) in phase.table.deep}
        pieces.append(_row(index, state, following, deep, columns, kinds, longest, side, phase))
    for index, column in enumerate(columns):
        x = longest + (index + 0.5) * side
        turned = f"translate({x:.1f} {longest - 5:.1f}) rotate(-90)"
        label = element("text", clean(column), transform=turned, dy=f"{size / 3:.1f}")
        pieces.append(element("g", label, class_=f"column {kinds[column]}"))
    bits: dict[str, str | float | int] = {
        "data_columns": " ".join(columns),
        "data_side": side,
        "data_at": f"{longest:.1f}",
    }
    return (
        element("g", "".join(pieces), class_=f"matrix size-{size}", **bits),
        longest + width + _MARGIN,
        longest + height + _MARGIN,
    )


def _row(
    index: int,
    state: str,
    following: Iterable[str],
    deep: Iterable[str],
    columns: tuple[str, ...],
    kinds: dict[str, Kind],
    left: float,
    side: int,
    phase: Phase,
) -> str:
    y = left + index * side
    size = next(size for _, one, size in _SIDES if one == side)
    pieces = [element("title", clean(told(phase, state)))] if len(phase.states) <= _MOST_TOLD else []
    pieces.append(element("text", clean(state), x=left - 5, y=y + side / 2 + size / 3, text_anchor="end"))
    there = set(following)
    for kind in Kind:
        cells = [place for place, column in enumerate(columns) if column in there and kinds[column] is kind]
        path = "".join(f"M{left + first * side:.1f} {y + side / 2:.1f}h{count * side}" for first, count in _runs(cells))
        if path:
            pieces.append(element("path", d=path, class_=f"cells {kind}", stroke_width=side - 1))
    its = set(deep)
    for place, column in enumerate(columns):
        if column in its:
            middle = {"cx": left + (place + 0.5) * side, "cy": y + side / 2, "r": side / 4}
            pieces.append(element("circle", class_="deep", **middle))
    bits = "".join("1" if column in there else "0" for column in columns)
    return element("g", "".join(pieces), class_=f"row {kind_of(state)}", data_row=state, data_bits=bits)


def _runs(places: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Places in a row as (first, how many) of those side by side."""
    for _, group in groupby(enumerate(places), key=lambda pair: pair[1] - pair[0]):
        found = [place for _, place in group]
        yield found[0], len(found)


def _grid(left: float, side: int, rows: int, columns: int) -> Iterator[str]:
    """A line at every fifth row and column."""
    path = "".join(f"M{left:.1f} {left + index * side:.1f}h{columns * side}" for index in range(0, rows + 1, 5))
    path += "".join(f"M{left + index * side:.1f} {left:.1f}v{rows * side}" for index in range(0, columns + 1, 5))
    yield element("path", d=path, class_="grid")
