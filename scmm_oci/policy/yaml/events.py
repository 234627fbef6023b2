"""YAML text → the events of a parser, for policy.yaml.source and edit, and what the parsers do not look for.

The parser is libyaml (through PyYAML). Where it is missing, or stops at a colon that YAML 1.2 allows and it does not
(``[::1]``), it is ruamel.yaml: as right, but many times slower. Both give the events of PyYAML.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError as SlowMarkedError
from yaml.events import MappingEndEvent, MappingStartEvent, SequenceEndEvent, SequenceStartEvent

from scmm_oci.errors import Problem
from scmm_oci.schema import MOST

try:
    from yaml._yaml import CParser
except ImportError:  # PyYAML can be built without libyaml
    CParser = None  # type: ignore[assignment, misc]

Mark = tuple[int, int]
"""Line and column, from 1."""

Told = tuple[Mark, str, Problem]
"""A problem, where it is in the text, and where in the document."""

Events = Callable[[], Any]
"""Gives the next event (of yaml.events) at each call, and raises yaml.YAMLError where the text is no YAML."""

Parser = Callable[[str], Events]

# Deeper than this even what is passed over ends the reading. libyaml has the same limit; ruamel.yaml has none.
_ABYSS = 1000

# What stands in no YAML text (YAML 1.2.2 §5.1), and the line ends that 1.1 knew and 1.2 does not: with them, what is a
# comment to one reader is a rule to another.
_NOT_TEXT = re.compile("[^\t\n\r -~\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
LINE_END = re.compile("\r\n?|\n")
# The first line with anything but directives and comments, and a directive before it.
_CONTENT = re.compile(r"(?<![^\r\n])(?:[ \t]+[^ \t\r\n#]|[^ \t\r\n#%])")
# Written so that the search is for the letter, and only where it stands for what is before it.
_DIRECTIVE = re.compile(r"%(?<![^\r\n]%)")


class TooDeep(Exception):
    """It is nested without an end."""


def no_text(text: str) -> Iterator[Told]:
    """The characters that no YAML text has, or that readers of YAML 1.1 and 1.2 take for different things."""
    for mark, match in _located(text, _NOT_TEXT.finditer(text)):
        escape = match[0].encode("unicode_escape").decode("ascii")
        hint = "" if has_surrogate(match[0]) else f'write it as "{escape}", in double quotes'
        yield mark, "", Problem("", f"is not YAML: has the character {escape}", hint)


def without_directives(text: str) -> tuple[str, list[Told]]:
    """The text with its directives made comments, so that nothing moves, and what there is to say about them."""
    if _DIRECTIVE.search(text) is None:
        return text, []
    content = _CONTENT.search(text)
    end = content.start() if content else len(text)
    problem = Problem("", "is a YAML directive, and those are not read", "leave it out")
    found = _located(text, islice(_DIRECTIVE.finditer(text, 0, end), MOST))
    # As a comment it does nothing, and the rest can be read.
    return _DIRECTIVE.sub("#", text[:end]) + text[end:], [(mark, "", problem) for mark, _ in found]


def _located(text: str, matches: Iterable[re.Match[str]]) -> Iterator[tuple[Mark, re.Match[str]]]:
    line, start, last = 1, 0, 0
    for match in matches:
        for end in LINE_END.finditer(text, last, match.start()):
            line, start = line + 1, end.end()
        last = match.start()
        yield (line, last - start + 1), match


def quick(text: str) -> Events:
    """libyaml's events, or those of :func:`slow` where there is no libyaml."""
    if CParser is None:
        return slow(text)
    get: Events = CParser(text).get_event
    return get


def slow(text: str) -> Events:
    """The events of ruamel.yaml's parser, as PyYAML's."""

    def each() -> Iterator[Any]:
        try:
            for event in YAML(typ="safe", pure=True).parse(text):
                kind = getattr(yaml.events, type(event).__name__)
                made = kind.__new__(kind)  # the kinds have different arguments, and the same fields
                for key in ("anchor", "tag", "implicit", "value", "style", "flow_style", "start_mark", "end_mark"):
                    setattr(made, key, getattr(event, key, None))
                yield made
        except SlowMarkedError as error:
            # Its marks have the same fields.
            raise yaml.MarkedYAMLError(error.context, error.context_mark, error.problem, error.problem_mark) from error
        except Exception as error:
            # With what is no YAML it fails in other ways too: by assertions, by ValueError, by its depth.
            raise yaml.YAMLError(str(error)) from error

    return each().__next__


def pass_over(event: Any, get: Events) -> None:
    """Take the rest of the node that begins with the event.

    Raises:
        TooDeep: it goes down without an end.
    """
    depth = 0
    while True:
        if isinstance(event, SequenceStartEvent | MappingStartEvent):
            depth += 1
            if depth == _ABYSS:
                raise TooDeep
        elif isinstance(event, SequenceEndEvent | MappingEndEvent):
            depth -= 1
        if depth == 0:
            return
        event = get()


def after(text: str, error: yaml.MarkedYAMLError) -> str:
    """The characters where the parser stopped, at most four; none at the end."""
    mark = error.problem_mark or error.context_mark
    return text[mark.index : mark.index + 4] if mark else ""


def has_surrogate(text: str) -> bool:
    """Whether half of a surrogate pair is in the text: ruamel.yaml lets it be written as an escape."""
    if text.isascii():
        return False
    return any("\ud800" <= character <= "\udfff" for character in text)
