"""YAML text → plain values, and for problems with them the line and column.

Strict: one document, no key twice, no aliases (a few lines of them can stand for billions of values), no tags and no
directives (with either, ``yes`` can become true), nothing that is not Unicode, nothing nested without an end.
Scalars mean what the core schema of YAML 1.2.2 (§10.3) says, whatever the parser's own version is.
Called by policy.document and policy.edit only.

A parser makes events of the text, and values are made of those here. The parser is libyaml (through PyYAML). Where it
is missing, or stops at a colon that YAML 1.2 allows and it does not (``[::1]``), it is ruamel.yaml: as right, but
forty times slower. Where values stand is looked up in a second pass, and only for those that have problems.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError as SlowMarkedError
from ruamel.yaml.error import YAMLError as SlowError
from yaml.events import (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from scmm_oci.errors import BadInput, Problem
from scmm_oci.schema import DEEPEST, DIGITS, MOST, Found, Kind, Steps, long_number, place

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

_TAGGED = Problem("", "has a tag, and tags are not read", "leave it out, and write text in quotes")
_ALIAS = Problem("", "is an alias, and aliases are not read", "write it out")
_SURROGATE = Problem("", "has half of a surrogate pair in it, which is no character")
_DEEP = Problem("", "is nested too deeply", f"{DEEPEST} levels are the most that is read")

# Deeper than this even what is passed over ends the reading: libyaml's time grows with the square of it.
_ABYSS = 1000

# What stands in no YAML text (YAML 1.2.2 §5.1), and the line ends that 1.1 knew and 1.2 does not: with them, what is a
# comment to one reader is a rule to another.
_NOT_TEXT = re.compile("[^\t\n\r -~\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_LINE_END = re.compile("\r\n?|\n")
# The first line with anything but directives and comments, and a directive before it.
_CONTENT = re.compile(r"(?<![^\r\n])(?:[ \t]+[^ \t\r\n#]|[^ \t\r\n#%])")
_DIRECTIVE = re.compile(r"(?<![^\r\n])%")

_WORDS: dict[str, bool | None] = {"": None, "~": None}
_WORDS |= dict.fromkeys(("null", "Null", "NULL"))
_WORDS |= {form: form.lower() == "true" for form in ("true", "True", "TRUE", "false", "False", "FALSE")}
_SURROGATE_DIGITS = re.compile("[dD][89a-fA-F][0-9a-fA-F]{2}")
_FIRST = frozenset("~nNtTfF.+-0123456789")
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


class _Enough(Exception):
    """There are more problems than are told, or it goes too deep."""


@dataclass(frozen=True)
class Source:
    """A document's values, the text that they stand in (without a BOM), and what makes events of that."""

    value: Any
    text: str
    parser: Parser

    def problems(self, found: Iterable[Found]) -> list[Problem]:
        """The problems in the order of the text, with line and column in front of their paths.

        A path that is not in the document stands where the nearest thing around it does.
        """
        wanted = list(found)
        values, keys = _places(self.parser(self.text), (one.path for one in wanted))
        placed = []
        for one in wanted:
            path = one.path
            while path not in values:
                path = path[:-1]
            marks = keys if one.kind is Kind.KEY and one.path in keys else values
            placed.append((marks[path], place(one.path), one.problem))
        return _ordered(placed)


def load(text: str, *, source: str) -> Source:
    """The values of a YAML 1.2 text: mappings, lists, text, whole numbers, floats, true, false and None.

    Raises:
        BadInput: it is no YAML, or not strictly so, with all problems up to where it cannot be read on; ``source``
            names the file.
    """
    text = text.removeprefix("\ufeff")
    found = list(islice(_no_text(text), MOST))
    if found:
        raise BadInput(_ordered(found), source=source)
    text, found = _without_directives(text)
    value, parser = _read(text, found)
    if found:
        raise BadInput(_ordered(found), source=source)
    return Source(value, text, parser)


def _no_text(text: str) -> Iterator[Told]:
    for mark, match in _located(text, _NOT_TEXT.finditer(text)):
        escape = match[0].encode("unicode_escape").decode("ascii")
        hint = "" if _has_surrogate(match[0]) else f'write it as "{escape}", in double quotes'
        yield mark, "", Problem("", f"is not YAML: has the character {escape}", hint)


def _without_directives(text: str) -> tuple[str, list[Told]]:
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
        for end in _LINE_END.finditer(text, last, match.start()):
            line, start = line + 1, end.end()
        last = match.start()
        yield (line, last - start + 1), match


def _read(text: str, found: list[Told]) -> tuple[Any, Parser]:
    known = len(found)
    reader = _Reader(_quick(text), found)
    try:
        return reader.document(), _quick
    except (_Enough, yaml.YAMLError) as error:
        if not isinstance(error, yaml.MarkedYAMLError) or _after(text, error)[:1] != ":":
            _tell_end(text, error, reader)
            return None, _quick
    del found[known:]
    reader = _Reader(_slow(text), found)
    try:
        return reader.document(), _slow
    except (_Enough, yaml.YAMLError, ValueError, RecursionError) as error:
        _tell_end(text, error, reader)
        return None, _slow


def _tell_end(text: str, error: Exception, reader: _Reader) -> None:
    """Add the problem after which nothing more can be read."""
    if isinstance(error, _Enough):
        reader.found.append(((1, 1), ".", Problem("", str(error))))
    elif not isinstance(error, yaml.MarkedYAMLError):
        problem = _DEEP if isinstance(error, RecursionError) else Problem("", f"is not YAML: {str(error)[:200]}")
        reader.found.append(((1, 1), "", problem))
    elif error.context_mark and _SURROGATE_DIGITS.match(_after(text, error)):
        reader.tell(error.context_mark, _SURROGATE)
    else:
        mark = error.problem_mark or error.context_mark
        if mark and _after(text, error):
            where = (mark.line + 1, mark.column + 1)
        else:
            # libyaml has the end one line further than it is.
            lines = _LINE_END.split(text)
            where = (len(lines), len(lines[-1]) + 1)
        what = str(error.problem or error.context).replace("did not find expected", "expected the")
        deep = what.startswith("exceeded maximum nesting")
        reader.found.append((where, "", _DEEP if deep else Problem("", f"is not YAML: {what[:200]}")))


def _after(text: str, error: yaml.MarkedYAMLError) -> str:
    """The characters where the parser stopped, at most four; none at the end."""
    mark = error.problem_mark or error.context_mark
    return text[mark.index : mark.index + 4] if mark else ""


def _quick(text: str) -> Events:
    if CParser is None:
        return _slow(text)
    get: Events = CParser(text).get_event
    return get


def _slow(text: str) -> Events:
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
        except SlowError as error:
            raise yaml.YAMLError(str(error)) from error

    return each().__next__


class _Reader:
    """Makes values of events."""

    def __init__(self, get: Events, found: list[Told]) -> None:
        self._get = get
        self.found = found
        self._path: list[str | int | None] = []
        self._words: dict[str, Any] = dict(_WORDS)
        """Short plain scalars and their values: there are few different ones."""

    def tell(self, mark: Any, problem: Problem) -> None:
        if len(self.found) == MOST:
            raise _Enough(f"has more than {MOST} problems; the others are not told")
        path = tuple(step for step in self._path if step is not None)
        self.found.append(((mark.line + 1, mark.column + 1), place(path), problem))

    def document(self) -> Any:
        self._get()
        if type(self._get()) is StreamEndEvent:
            return None
        value = self._node(self._get())
        self._get()
        event = self._get()
        if type(event) is not StreamEndEvent:
            self._path = []
            self.tell(event.start_mark, Problem("", "is not YAML: expected one document, but found another document"))
        return value

    def _node(self, event: Any) -> Any:
        kind = type(event)
        if kind is ScalarEvent:
            return self._scalar(event)
        problem = (
            _ALIAS
            if kind is AliasEvent
            else _TAGGED
            if event.tag is not None
            else _DEEP
            if len(self._path) == DEEPEST
            else None
        )
        if problem is not None:
            self.tell(event.start_mark, problem)
            _pass_over(event, self._get)
            return None
        return self._mapping() if kind is MappingStartEvent else self._list()

    def _list(self) -> list[Any]:
        result: list[Any] = []
        get, path = self._get, self._path
        path.append(0)
        while type(event := get()) is not SequenceEndEvent:
            result.append(self._scalar(event) if type(event) is ScalarEvent else self._node(event))
            path[-1] = len(result)
        path.pop()
        return result

    def _mapping(self) -> dict[str, Any]:
        result: dict[str, Any] = {}
        get, path = self._get, self._path
        path.append(None)
        while type(event := get()) is not MappingEndEvent:
            name = event.value if type(event) is ScalarEvent else "?"
            path[-1] = name
            problem = self._bad_key(event, result)
            if problem is not None:
                self.tell(event.start_mark, problem)
                _pass_over(event, get)
                _pass_over(get(), get)
            else:
                event = get()
                result[name] = self._scalar(event) if type(event) is ScalarEvent else self._node(event)
            path[-1] = None
        path.pop()
        return result

    def _bad_key(self, event: Any, before: dict[str, Any]) -> Problem | None:
        if type(event) is AliasEvent:
            return _ALIAS
        if event.tag is not None:
            return _TAGGED
        name = event.value if type(event) is ScalarEvent else None
        if name is None or (not event.style and not isinstance(self._plain(name), str)):
            return Problem("", "is a key that is not text")
        if name in before:
            return Problem("", "stands twice in one mapping")
        if name == "<<" and not event.style:
            return Problem("", "is a merge key, and those are not read", "write it out")
        return _SURROGATE if _has_surrogate(name) else None

    def _scalar(self, event: Any) -> Any:
        if event.tag is not None:
            return self.tell(event.start_mark, _TAGGED)
        text: str = event.value
        if event.style:
            if _has_surrogate(text):
                return self.tell(event.start_mark, _SURROGATE)
            return text
        value = self._plain(text)
        return self.tell(event.start_mark, value) if isinstance(value, Problem) else value

    def _plain(self, text: str) -> Any:
        """The value of a plain scalar, or what is wrong with it."""
        words = self._words
        if text in words:
            return words[text]
        value: Any = text
        if text[0] in _FIRST:
            value = _number(text)
        if len(text) <= 24:
            words[text] = value
        return value


def _number(text: str) -> int | float | str | Problem:
    digits = len(text.lstrip("+-"))
    if _INTEGER.fullmatch(text):
        if digits > DIGITS:
            return Problem("", long_number(digits))
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    if _FLOAT.fullmatch(text):
        # Python has no dot in front of inf and nan.
        number = text.replace(".", "") if text[-1] in "fFnN" else text
        return float(number) if digits <= DIGITS else Problem("", long_number(digits))
    return text


def _has_surrogate(text: str) -> bool:
    if text.isascii():
        return False
    return any("\ud800" <= character <= "\udfff" for character in text)


def _pass_over(event: Any, get: Events) -> None:
    """Take the rest of the node that begins with the event."""
    depth = 0
    while True:
        if isinstance(event, SequenceStartEvent | MappingStartEvent):
            depth += 1
            if depth == _ABYSS:
                raise _Enough("is nested too deeply for the rest to be read")
        elif isinstance(event, SequenceEndEvent | MappingEndEvent):
            depth -= 1
        if depth == 0:
            return
        event = get()


def _places(get: Events, paths: Iterable[Steps]) -> tuple[dict[Steps, Mark], dict[Steps, Mark]]:
    """Where the values and keys of some paths stand; paths that are not there are left out."""
    tree: dict[str | int, Any] = {}
    for path in paths:
        inner = tree
        for step in path:
            inner = inner.setdefault(step, {})
    values: dict[Steps, Mark] = {(): (1, 1)}
    keys: dict[Steps, Mark] = {}

    def visit(event: Any, tree: dict[str | int, Any], path: Steps) -> None:
        values[path] = _mark(event)
        if type(event) is SequenceStartEvent:
            index = 0
            while type(event := get()) is not SequenceEndEvent:
                enter(event, tree.get(index), (*path, index))
                index += 1
        elif type(event) is MappingStartEvent:
            while type(event := get()) is not MappingEndEvent:
                inner = tree.get(event.value)
                if inner is not None:
                    keys[(*path, event.value)] = _mark(event)
                enter(get(), inner, (*path, event.value))

    def enter(event: Any, inner: dict[str | int, Any] | None, path: Steps) -> None:
        if inner is None:
            _pass_over(event, get)
        else:
            visit(event, inner, path)

    get()
    if type(get()) is not StreamEndEvent:
        visit(get(), tree, ())
    return values, keys


def _mark(event: Any) -> Mark:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _ordered(told: Iterable[Told]) -> list[Problem]:
    """In the order of the text, with line and column in front of their paths."""
    return [
        Problem(f"line {line}, column {column}{where and ', '}{where}", problem.message, problem.hint)
        for (line, column), where, problem in sorted(told)
    ]
