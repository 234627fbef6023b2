"""A machine that people can follow as boxes and lines. Pure."""

from __future__ import annotations

from scmm_oci.compiled.graph.layout import CHARACTER, HEIGHT, ROW, Box, Layout, Line, Spot, layout
from scmm_oci.compiled.graph.model import Kind, Phase, kind_of, told
from scmm_oci.compiled.graph.text import clean, element

# Around the drawing; at its right also for loops and lines beneath rows.
_MARGIN = 26
# How far ways down and ways up stand off the middle of a state.
_OFF = 9
_DOWN, _UP, _FLAT = "down", "up", "flat"


def links(phase: Phase) -> tuple[str, float, float]:
    """The drawing's elements, its width and its height in pixels."""
    found = layout(phase.table)
    numbers = {state: index for index, state in enumerate(phase.states)}
    pieces = [_line(line, found, numbers) for line in found.lines]
    edges = phase.table.edges
    for state in phase.states:
        box = found.boxes[state]
        pieces.append(_state(state, box, numbers[state], told(phase, state), loops=(state, state) in edges))
    width = found.width + 2 * _MARGIN
    return "".join(pieces), width, max(found.rows * ROW, HEIGHT + 2 * _MARGIN)


def marker() -> str:
    """The heads of arrows, for the ``<defs>`` of the document."""
    heads = []
    for name in (_DOWN, _UP, "in", "out"):
        shape = element("path", d="M0 0L8 4L0 8z", class_=f"head {name}")
        heads.append(
            element(
                "marker", shape, id=f"head-{name}", viewBox="0 0 8 8", refX=7, refY=4, markerWidth=7, markerHeight=7,
                orient="auto", markerUnits="userSpaceOnUse",
            )
        )  # fmt: skip
    return "".join(heads)


def _middle(row: int) -> float:
    return row * ROW + ROW / 2


def _state(state: str, box: Box, number: int, hint: str, *, loops: bool) -> str:
    x, y = _MARGIN + box.x - box.width / 2, _middle(box.row) - HEIGHT / 2
    kind = kind_of(state)
    refined = ":" in state and kind is not Kind.BEGINS
    pieces = [element("title", clean(hint))]
    if loops:
        right, middle = x + box.width, _middle(box.row)
        path = f"M{right - 4:.1f} {middle - 12:.1f}c6 -13 22 -8 20 4c-1 9 -11 11 -18 7"
        pieces.append(element("path", d=path, class_="loop", marker_end="url(#head-down)"))
    radius = HEIGHT / 2 if kind in (Kind.BEGINS, Kind.HANDLER) else 5
    pieces.append(element("rect", x=x, y=y, width=box.width, height=float(HEIGHT), rx=radius))
    call, colon, rest = state.partition(":")
    label = clean(call) + (element("tspan", clean(colon + rest), class_="part") if colon else "")
    # Some renderers do not count all parts of a text for its middle.
    left = _MARGIN + box.x - len(state) * CHARACTER / 2
    pieces.append(element("text", label, x=left, y=_middle(box.row) + 4))
    words = f"state {kind}{' refined' if refined else ''}"
    return element("g", "".join(pieces), class_=words, data_state=number, tabindex=0)


def _line(line: Line, found: Layout, numbers: dict[str, int]) -> str:
    start, end = found.boxes[line.start], found.boxes[line.end]
    if start.row == end.row:
        kind, path = _FLAT, _flat(start, end)
    elif start.row < end.row:
        kind = _DOWN
        path = _way(start, end, line.start, line.end, off=-_OFF, half=HEIGHT / 2)
    else:
        kind = _UP
        path = _way(start, end, line.start, line.end, off=_OFF, half=-HEIGHT / 2)
    ends = {"marker_end": f"url(#head-{_UP if kind == _UP else _DOWN})"} if isinstance(line.end, str) else {}
    sources = " ".join(str(one) for one in sorted(numbers[source] for source in line.sources))
    return element("path", d=path, class_=f"way {kind}", data_from=sources, data_to=numbers[line.to], **ends)


def _way(start: Box, end: Box, first: Spot, last: Spot, *, off: float, half: float) -> str:
    """From one row to the next, down (half is positive) or up; through the row where it ends in a spot."""
    x1 = _MARGIN + start.x + (off if isinstance(first, str) else 0)
    x2 = _MARGIN + end.x + (off if isinstance(last, str) else 0)
    y1, y2 = _middle(start.row) + half, _middle(end.row) - half
    if isinstance(last, str):
        y2 -= 1 if half > 0 else -1
    bend = (y1 + y2) / 2
    path = f"M{x1:.1f} {y1:.1f}C{x1:.1f} {bend:.1f} {x2:.1f} {bend:.1f} {x2:.1f} {y2:.1f}"
    return path + (f"v{2 * half:.1f}" if not isinstance(last, str) else "")


def _flat(start: Box, end: Box) -> str:
    """Beneath a row, to a state in the same."""
    y = _middle(start.row) + HEIGHT / 2
    x1, x2 = _MARGIN + start.x, _MARGIN + end.x
    deep = min(12 + abs(x2 - x1) / 24, (ROW - HEIGHT) / 2 + 6)
    step = min(30.0, abs(x2 - x1) / 3) * (1 if x2 > x1 else -1)
    low = y + deep * 1.3
    return f"M{x1:.1f} {y:.1f}C{x1 + step:.1f} {low:.1f} {x2 - step:.1f} {low:.1f} {x2:.1f} {y + 1:.1f}"


def legend_words() -> tuple[tuple[str, str], ...]:
    """What lines stand for: class, meaning."""
    return ((_DOWN, "may follow, away from the beginning"), (_UP, "may follow, back towards it"))
