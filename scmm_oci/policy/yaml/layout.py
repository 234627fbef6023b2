"""Where each value of a YAML text begins and ends, for policy.yaml.edit. Positions count characters."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from yaml.events import (
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)

from scmm_oci.policy.yaml.events import Events
from scmm_oci.policy.yaml.source import Source

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_EXPLICIT = re.compile(r"\?[ \t]+\Z")
_BLANK = re.compile(r"[ \t]*")
_COMMENT = re.compile(r"([ \t]*)#[^\r\n]*")


@dataclass(frozen=True, slots=True)
class Node:
    """A value, and where it stands: a mapping or list ends where the last thing in it does, or with its bracket."""

    value: Any
    start: int
    end: int
    flow: bool = False
    entries: tuple[Entry, ...] = ()
    """What is in a mapping or list."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A key with its value, or an item of a list.

    ``start`` is where the key or the dash stands (in a flow list: the item), ``after`` where the colon or the dash
    ends; None if there is neither.
    """

    key: str | None
    start: int
    after: int | None
    node: Node


def read(source: Source) -> Node | None:
    """The text of a source as a tree; None if there is no value in it."""
    get = source.parser(source.text)
    get()
    if type(get()) is StreamEndEvent:
        return None
    return _node(get(), get, source.value, source.text)


def _node(event: Any, get: Events, value: Any, text: str) -> Node:
    start = event.start_mark.index
    kind = type(event)
    if kind is ScalarEvent:
        end = event.end_mark.index
        if event.style in ("|", ">"):
            # Parsers have its end where the next thing begins.
            end = start + len(text[start:end].rstrip())
        return Node(value, start, end)
    flow = text[start] in "{["
    entries: list[Entry] = []
    last = start
    if kind is MappingStartEvent:
        while type(event := get()) is not MappingEndEvent:
            entries.append(_pair(event, get, value, text))
    else:
        while type(event := get()) is not SequenceEndEvent:
            after = None
            begin = event.start_mark.index
            if not flow:
                begin = _skip(text, last)
                after = begin + 1
            inner = _node(event, get, value[len(entries)], text)
            entries.append(Entry(None, begin, after, inner))
            last = max(inner.end, after or 0)
    end = event.end_mark.index if flow else max((one.node.end for one in entries), default=start)
    return Node(value, start, end, flow, tuple(entries))


def _pair(event: Any, get: Events, values: dict[str, Any], text: str) -> Entry:
    start, end, key = event.start_mark.index, event.end_mark.index, event.value
    mark = _EXPLICIT.search(text, line_start(text, start), start)
    if mark:
        start = mark.start()
    node = _node(get(), get, values[key], text)
    colon = _skip(text, end)
    after = colon + 1 if text[colon : colon + 1] == ":" else None
    if node.value is None and node.start == node.end:
        # Nothing is written for it, and parsers differ on where that is.
        node = Node(None, after or end, after or end)
    return Entry(key, start, after, node)


def _skip(text: str, index: int) -> int:
    """Over blanks, line ends and comments."""
    match = _SPACE.match(text, index)
    return match.end() if match else index


def line_start(text: str, index: int) -> int:
    """Where the line begins in which a position is."""
    return text.rfind("\n", 0, index) + 1


def line_end(text: str, index: int) -> int:
    """Where the line ends in which a position is: at its line end, which does not count."""
    end = text.find("\n", index)
    end = len(text) if end < 0 else end
    return end - 1 if end > index and text[end - 1] == "\r" else end


def next_line(text: str, index: int) -> int:
    """Where the next line begins; the text's end if there is none."""
    end = text.find("\n", index)
    return len(text) if end < 0 else end + 1


def is_first(text: str, index: int) -> bool:
    """Whether only blanks stand before a position in its line."""
    begin = line_start(text, index)
    match = _BLANK.match(text, begin, index)
    return match is not None and match.end() == index


def comments_before(text: str, start: int, floor: int) -> int:
    """Where the comment begins that stands directly above a position's line; that line's beginning if there is none.

    A comment that is indented further belongs to what is before it. Nothing above ``floor`` counts.
    """
    begin = line_start(text, start)
    column = start - begin
    while begin > 0:
        above = line_start(text, begin - 1)
        match = _COMMENT.match(text, above)
        if above < floor or match is None or len(match[1]) > column:
            break
        begin = above
    return begin


def comments_after(text: str, start: int, end: int) -> int:
    """The beginning of the line after an entry that ends at ``end``, and after the comments that belong to it.

    Those are directly below and indented further than the entry, which begins at ``start``.
    """
    column = start - line_start(text, start)
    begin = next_line(text, end)
    while match := _COMMENT.match(text, begin):
        if len(match[1]) <= column or begin == len(text):
            break
        begin = next_line(text, begin)
    return begin
