"""A picture of machines as one SVG file: phases side by side, lists by what was before, a legend. Pure."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from scmm_oci.compiled.graph.layout import CHARACTER, HEIGHT
from scmm_oci.compiled.graph.links import legend_words, links, marker
from scmm_oci.compiled.graph.matrix import matrix
from scmm_oci.compiled.graph.model import MEANINGS, Kind, Phase, Picture, deep_rows, kind_of
from scmm_oci.compiled.graph.text import clean, element

NAMESPACE = "http://www.w3.org/2000/svg"
_MARGIN, _LINE, _BETWEEN = 24, 18, 48
# Lists of a phase that a picture has room for, and words of each.
_MOST_LISTS, _MOST_CHARACTERS = 60, 110


def svg(picture: Picture) -> str:
    """The text of the file, which ends in a line end."""
    pieces, y = _head(picture)
    x, lowest = float(_MARGIN), y
    if not picture.phases:
        pieces.append(element("text", "nothing is judged", x=x, y=y, class_="note"))
    for phase in picture.phases:
        drawn, width, height = _phase(phase)
        pieces.append(element("g", drawn, transform=f"translate({x:.1f} {y:.1f})"))
        x += width + _BETWEEN
        lowest = max(lowest, y + height)
    keys, width, height = legend(picture)
    pieces.append(element("g", keys, transform=f"translate({_MARGIN} {lowest + 12:.1f})"))
    titles = max(len(line) for line in (picture.title, *picture.lines)) * 8.0
    width = max(x - _BETWEEN, width + _MARGIN, titles, 460.0) + _MARGIN
    height = lowest + height + 12 + _MARGIN
    inner = element("style", clean_style(style())) + element("defs", marker())
    inner += element("rect", width="100%", height="100%", class_="paper") + "".join(pieces)
    box = f"0 0 {width:.0f} {height:.0f}"
    size = {"width": f"{width:.0f}", "height": f"{height:.0f}", "viewBox": box}
    return element("svg", inner, xmlns=NAMESPACE, **size) + "\n"


@cache
def style() -> str:
    """The style of drawings, for light and dark."""
    return Path(__file__).with_name("drawing.css").read_text(encoding="utf-8")


def clean_style(text: str) -> str:
    """A style as it stands in XML: ours has no markup."""
    assert not set("<&") & set(text)
    return text


def too_large(phase: Phase) -> str:
    """What is said where there are no lines between states."""
    if phase.is_followed:
        return ""
    return "too large for lines between states: a row for each state, a column for each call that may follow it"


def _head(picture: Picture) -> tuple[list[str], float]:
    pieces = [element("text", clean(picture.title), x=_MARGIN, y=_MARGIN + 14, class_="title")]
    y = _MARGIN + 14.0
    for line in picture.lines:
        y += _LINE
        pieces.append(element("text", clean(line), x=_MARGIN, y=y, class_="note"))
    return pieces, y + 2 * _LINE


def _phase(phase: Phase) -> tuple[str, float, float]:
    note = "; ".join(filter(None, (phase.size, too_large(phase))))
    pieces = [
        element("text", clean(phase.title), y=0, class_="phase"),
        element("text", clean(phase.note), y=_LINE, class_="note"),
        element("text", clean(note), y=2 * _LINE, class_="note"),
    ]
    drawn, width, height = links(phase) if phase.is_followed else matrix(phase)
    y = 3.0 * _LINE
    pieces.append(element("g", drawn, transform=f"translate(0 {y:.1f})"))
    y += height + _LINE
    width = max(width, 6.6 * len(phase.note), 6.6 * len(note))
    rows = [f"{before} > {state}: {following}" for before, state, following in deep_rows(phase)]
    if rows:
        pieces.append(element("text", "after what was before, only", y=y, class_="phase"))
        shown = [row if len(row) <= _MOST_CHARACTERS else f"{row[: _MOST_CHARACTERS - 2]} …" for row in rows]
        if len(rows) > _MOST_LISTS:
            shown = [*shown[:_MOST_LISTS], f"… and {len(rows) - _MOST_LISTS} more"]
        for row in shown:
            y += _LINE
            pieces.append(element("text", clean(row), y=y))
            width = max(width, CHARACTER * len(row))
        y += _LINE
    return "".join(pieces), width, y


def legend(picture: Picture) -> tuple[str, float, float]:
    """What colours stand for, of the kinds that are there; with width and height."""
    there = {kind_of(state) for phase in picture.phases for state in phase.states}
    refined = any(":" in state and kind_of(state) is not Kind.BEGINS for one in picture.phases for state in one.states)
    keys = [(f"key {kind}", meaning) for kind, meaning in MEANINGS.items() if kind in there]
    if refined:
        keys.append(("key refined", "a class of a call"))
    pieces, y = [], 0.0
    for words, meaning in keys:
        box = element("rect", y=y, width=30, height=14, rx=5)
        pieces.append(element("g", box + element("text", clean(meaning), x=40, y=y + 11, class_="note"), class_=words))
        y += _LINE
    if any(phase.is_followed for phase in picture.phases):
        for kind, meaning in legend_words():
            line = element("path", d=f"M0 {y + 7:.1f}h28", class_=f"way {kind}", marker_end=f"url(#head-{kind})")
            pieces.append(line + element("text", clean(meaning), x=40, y=y + 11, class_="note"))
            y += _LINE
    if any(not phase.is_followed and phase.table.deep for phase in picture.phases):
        dot = element("circle", cx=15, cy=y + 7, r=4, class_="deep")
        meaning = "what follows there has a list of its own, by what was before"
        pieces.append(dot + element("text", meaning, x=40, y=y + 11, class_="note"))
        y += _LINE
    return "".join(pieces), 420.0, y + HEIGHT / 2
