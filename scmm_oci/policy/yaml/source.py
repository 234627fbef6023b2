"""YAML text → plain values, and for problems with them the line and column.

Strict: one document, no key twice, no aliases (a few lines of them can stand for billions of values) and no anchors
for them, no tags and no directives (with either, ``yes`` can become true), nothing that is not Unicode, nothing nested
without an end.
Scalars mean what the core schema of YAML 1.2.2 (§10.3) says, whatever the parser's own version is.
Called by policy.document and policy.yaml.edit only.

policy.yaml.events makes events of the text, and values are made of those here. Where values stand is looked up in a
second pass, and only for those that have problems: most documents have none, and a large one has a million values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import yaml
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
from scmm_oci.policy.yaml.events import (
    LINE_END,
    Events,
    Mark,
    Parser,
    Told,
    TooDeep,
    after,
    has_surrogate,
    no_text,
    pass_over,
    quick,
    slow,
    without_directives,
)
from scmm_oci.schema import DEEPEST, DIGITS, MOST, Found, Kind, Steps, long_number, place

_TAGGED = Problem("", "has a tag, and tags are not read", "leave it out, and write text in quotes")
_ALIAS = Problem("", "is an alias, and aliases are not read", "write it out")
_ANCHOR = Problem("", "has an anchor, and aliases to it are not read", "leave it out")
_SURROGATE = Problem("", "has half of a surrogate pair in it, which is no character")
_DEEP = Problem("", "is nested too deeply", f"{DEEPEST} levels are the most that is read")

_WORDS: dict[str, bool | None] = {"": None, "~": None}
_WORDS |= dict.fromkeys(("null", "Null", "NULL"))
_WORDS |= {form: form.lower() == "true" for form in ("true", "True", "TRUE", "false", "False", "FALSE")}
_SURROGATE_DIGITS = re.compile("[dD][89a-fA-F][0-9a-fA-F]{2}")
# Plain scalars whose values are kept: there are few different ones in most documents.
_REMEMBERED = 10_000
_FIRST = frozenset("~nNtTfF.+-0123456789")
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


class _Enough(Exception):
    """There are more problems than are told."""


@dataclass(frozen=True)
class Source:
    """A document's values, the text that they stand in (without a BOM), and what makes events of that.

    Attributes:
        fractions: some of the values are floats.
    """

    value: Any
    fractions: bool
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
    found = list(islice(no_text(text), MOST))
    if found:
        raise BadInput(_ordered(found), source=source)
    text, found = without_directives(text)
    value, reader, parser = _read(text, found)
    if found:
        raise BadInput(_ordered(found), source=source)
    return Source(value, reader.fractions, text, parser)


def _read(text: str, found: list[Told]) -> tuple[Any, _Reader, Parser]:
    known = len(found)
    for parser in (quick, slow):
        reader = _Reader(parser(text), found)
        try:
            return reader.document(), reader, parser
        except (_Enough, TooDeep, yaml.YAMLError) as error:
            at_colon = isinstance(error, yaml.MarkedYAMLError) and after(text, error).startswith(":")
            if parser is slow or not at_colon:
                _tell_end(text, error, reader)
                break
            del found[known:]
    return None, reader, slow


def _tell_end(text: str, error: Exception, reader: _Reader) -> None:
    """Add the problem after which nothing more can be read."""
    if isinstance(error, _Enough):
        problem = Problem("", f"has more than {MOST} problems; the others are not told")
        reader.found.append(((1, 1), ".", problem))
    elif not isinstance(error, yaml.MarkedYAMLError):
        deep = isinstance(error, TooDeep)
        reader.found.append(((1, 1), "", _DEEP if deep else Problem("", f"is not YAML: {str(error)[:200]}")))
    elif error.context_mark and _SURROGATE_DIGITS.match(after(text, error)):
        reader.found.append(reader.told(error.context_mark, _SURROGATE))
    else:
        mark = error.problem_mark or error.context_mark
        if mark and after(text, error):
            where = (mark.line + 1, mark.column + 1)
        else:
            # libyaml has the end one line further than it is.
            lines = LINE_END.split(text)
            where = (len(lines), len(lines[-1]) + 1)
        what = str(error.problem or error.context).replace("did not find expected", "expected the")
        deep = what.startswith("exceeded maximum nesting")
        reader.found.append((where, "", _DEEP if deep else Problem("", f"is not YAML: {what[:200]}")))


class _Reader:
    """Makes values of events."""

    def __init__(self, get: Events, found: list[Told]) -> None:
        self._get = get
        self.found = found
        self.fractions = False
        self._path: list[str | int | None] = []
        self._words: dict[str, Any] = dict(_WORDS)
        # Those that were plain and good, up to so many.
        self._keys: set[str] = set()

    def told(self, mark: Any, problem: Problem) -> Told:
        """A problem with what is being read."""
        path = tuple(step for step in self._path if step is not None)
        return (mark.line + 1, mark.column + 1), place(path), problem

    def document(self) -> Any:
        """The value of the only document; None if there is none. Problems are in ``found`` afterwards."""
        self._get()
        if type(self._get()) is StreamEndEvent:
            return None
        value = self._node(self._get())
        self._get()
        event = self._get()
        if type(event) is not StreamEndEvent:
            self._path = []
            self._tell(event.start_mark, Problem("", "is not YAML: expected one document, but found another document"))
        return value

    def _tell(self, mark: Any, problem: Problem) -> None:
        if len(self.found) == MOST:
            raise _Enough
        self.found.append(self.told(mark, problem))

    def _node(self, event: Any) -> Any:
        kind = type(event)
        if kind is ScalarEvent:
            return self._scalar(event)
        problem = None
        if kind is AliasEvent:
            problem = _ALIAS
        elif event.tag is not None:
            problem = _TAGGED
        elif event.anchor is not None:
            problem = _ANCHOR
        elif len(self._path) == DEEPEST:
            problem = _DEEP
        if problem is not None:
            self._tell(event.start_mark, problem)
            pass_over(event, self._get)
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
        get, path, keys = self._get, self._path, self._keys
        path.append(None)
        while type(event := get()) is not MappingEndEvent:
            # Most keys are the same few words, plain and without an anchor or a tag.
            known = False
            name = "?"
            if type(event) is ScalarEvent:
                name = event.value
                known = name in keys and name not in result and not event.style and event.tag is event.anchor is None
            path[-1] = name
            problem = None if known else self._bad_key(event, result)
            if problem is not None:
                self._tell(event.start_mark, problem)
                pass_over(event, get)
                pass_over(get(), get)
            else:
                if not known and not event.style and len(keys) < _REMEMBERED:
                    keys.add(name)
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
        if event.anchor is not None:
            return _ANCHOR
        name = event.value if type(event) is ScalarEvent else None
        if name is None or (not event.style and not isinstance(self._plain(name), str)):
            return Problem("", "is a key that is not text")
        if name in before:
            return Problem("", "stands twice in one mapping")
        if name == "<<" and not event.style:
            return Problem("", "is a merge key, and those are not read", "write it out")
        return _SURROGATE if has_surrogate(name) else None

    def _scalar(self, event: Any) -> Any:
        if event.tag is not None:
            return self._tell(event.start_mark, _TAGGED)
        if event.anchor is not None:
            return self._tell(event.start_mark, _ANCHOR)
        text: str = event.value
        if event.style:
            if has_surrogate(text):
                return self._tell(event.start_mark, _SURROGATE)
            return text
        value = self._plain(text)
        return self._tell(event.start_mark, value) if isinstance(value, Problem) else value

    def _plain(self, text: str) -> Any:
        """The value of a plain scalar, or what is wrong with it."""
        words = self._words
        if text in words:
            return words[text]
        value: Any = text
        if text[0] in _FIRST:
            value = _number(text)
            self.fractions = self.fractions or isinstance(value, float)
        if len(words) < _REMEMBERED:
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
            pass_over(event, get)
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
