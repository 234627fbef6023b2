"""Text for a screen: styled, made safe to show, fitted to so many columns, and as what a terminal is sent.

What is too long is cut in its middle, where the mark of the cut cannot be mistaken for text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from rich.cells import cell_len

from scmm_oci.errors import printable

_LONGEST = 20_000  # characters of one text: PATH_MAX, every byte of it escaped


class Style(StrEnum):
    """Select Graphic Rendition: ECMA-48, 8.3.117."""

    PLAIN = ""
    INVERSE = "7"
    BOLD = "1"
    DIM = "2"
    ALLOW = "1;32"
    DENY = "1;31"
    CLAIM = "1;33"


@dataclass(frozen=True, slots=True)
class Span:
    text: str
    style: Style = Style.PLAIN


Line = tuple[Span, ...]


def safe(text: str, *, ascii: bool = False) -> str:
    """The text with all escaped that steers a terminal or has no width of its own there (combining characters)."""
    if len(text) > _LONGEST:
        # Both ends: no window is so large that this is seen in what it does not leave out.
        text = text[: _LONGEST // 2] + text[-_LONGEST // 2 :]
    text = printable(text)
    if text.isascii():
        return text
    return "".join(c if c.isascii() or (not ascii and cell_len(c) > 0) else _escaped(c) for c in text)


def _escaped(c: str) -> str:
    return c.encode("unicode_escape").decode("ascii")


def fit(text: str, width: int, lines: int, *, ascii: bool = False) -> list[Line]:
    """Safe text as so many lines at most of so many columns, cut in the middle if it is longer."""
    text = safe(text, ascii=ascii)
    whole = _broken(text, width)
    if len(whole) <= lines:
        return [(Span(one),) for one in whole]
    mark = "..." if ascii else "…"
    # Wide characters can leave a column free at the end of a line: so many that it takes another line.
    for room in range(width * lines - len(mark), 0, -1):
        head = room // 3
        before, after = _first(text, head), _last(text, room - head)
        if len(_broken(before + mark + after, width)) <= lines:
            return _marked(before, mark, after, width)
    return [(Span(mark[:width], Style.INVERSE),)]


def _marked(before: str, mark: str, after: str, width: int) -> list[Line]:
    """The three, one after the other, broken into lines; the mark in its own style."""
    found: list[Line] = []
    at, end = len(before), len(before) + len(mark)
    position = 0
    for line in _broken(before + mark + after, width):
        begin, position = position, position + len(line)
        cuts = [min(max(place - begin, 0), len(line)) for place in (at, end)]
        pieces = (line[: cuts[0]], line[cuts[0] : cuts[1]], line[cuts[1] :])
        styles = (Style.PLAIN, Style.INVERSE, Style.PLAIN)
        found.append(tuple(Span(piece, style) for piece, style in zip(pieces, styles, strict=True) if piece))
    return found


def _broken(text: str, width: int) -> list[str]:
    """The text in pieces of so many columns."""
    if text.isascii():
        return [text[at : at + width] for at in range(0, len(text), width)] or [""]
    found, line, used = [], "", 0
    for c in text:
        size = cell_len(c)
        if used + size > width:
            found.append(line)
            line, used = "", 0
        line, used = line + c, used + size
    return [*found, line]


def _first(text: str, width: int) -> str:
    # No character has less than one column.
    return _broken(text[:width], width)[0] if width > 0 else ""


def _last(text: str, width: int) -> str:
    return _first(text[-width:][::-1], width)[::-1] if width > 0 else ""


def drawn(lines: Sequence[Line], before: Sequence[Line] | None, *, colours: bool) -> str:
    """What makes a terminal show the lines where it shows `before`, None for anything: only rows that differ."""
    found = ["\x1b[2J"] if before is None else []
    for row, line in enumerate(lines):
        if before is None or row >= len(before) or before[row] != line:
            # Erased first: at the end of a full line the cursor is still on its last character.
            found.append(f"\x1b[{row + 1};1H\x1b[K" + "".join(_code(span, colours) for span in line))
    return "".join(found)


def _code(span: Span, colours: bool) -> str:
    style = span.style.value if colours else span.style.value.partition(";")[0]
    return f"\x1b[{style}m{span.text}\x1b[0m" if style else span.text
