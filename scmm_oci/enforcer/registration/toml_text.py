"""Keys and tables added to TOML text: every other byte stays as it is, comments too. Pure.

The text is edited as text, and what it means then is read again with tomllib and compared: whatever the file looks
like, either exactly the wanted is added, or it is told that it cannot be. A library that keeps comments would add less
than a table at the end does, and puts tables before comments that belong to others (tomlkit 0.15.2, measured).
"""

from __future__ import annotations

import copy
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scmm_oci.errors import BadInput, Problem, short


class _Number(str):
    """A number with a point as it is written: nan is equal to itself then."""

    __slots__ = ()


Value = str | bool | int | list[str]
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def parse(text: str | None) -> dict[str, Any]:
    """What the text means; nothing where there is none. Raises BadInput."""
    try:
        return tomllib.loads(text or "")
    except tomllib.TOMLDecodeError as error:
        raise BadInput([Problem("", f"is no TOML: {error}")]) from None
    except RecursionError:
        raise BadInput([Problem("", "is nested too deep")]) from None


def table(document: Mapping[str, Any], path: Sequence[str]) -> dict[str, Any]:
    """The table at `path`, an empty one where there is none. Raises BadInput if something there is no table."""
    found: Any = document
    for index, name in enumerate(path):
        found = found.get(name, {})
        if not isinstance(found, dict):
            raise BadInput([Problem(place(path[: index + 1]), f"is {short(found)}, and a table is expected")])
    return dict(found)


def place(path: Sequence[str]) -> str:
    """How messages name a key: `.engine.runtimes`."""
    return "".join(f".{_key(name)}" for name in path)


def add(text: str, path: Sequence[str], values: Mapping[str, Value]) -> str:
    """The text with keys added to the table at `path`, which is made if it is not there.

    Args:
        values: at least one; none of them is there yet.

    Raises:
        BadInput: the table is written in a way that takes no lines (inline, dotted); with the lines to add by hand.
    """
    parse(text)
    wanted = tomllib.loads(text, parse_float=_Number)
    into = wanted
    for name in path:
        into = into.setdefault(name, {})
    into.update(copy.deepcopy(dict(values)))
    lines = [f"{_key(name)} = {literal(value)}" for name, value in values.items()]
    for candidate in _candidates(text, path, lines):
        try:
            if tomllib.loads(candidate, parse_float=_Number) == wanted:
                return candidate
        except tomllib.TOMLDecodeError:
            continue
    raise BadInput([Problem(place(path), "is not written as a table of its own", f"add there: {'; '.join(lines)}")])


def literal(value: Value) -> str:
    """A value as TOML. JSON's strings are TOML's, but for DEL, which TOML wants escaped, and pairs of surrogates."""
    if isinstance(value, list):
        return "[" + ", ".join(literal(each) for each in value) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else literal(name)


def _candidates(text: str, path: Sequence[str], lines: Sequence[str]) -> Iterator[str]:
    """Texts that may be it: with the lines behind the table's header where it has one, else with a table at the end."""
    whole = text.splitlines(keepends=True)
    for index, line in enumerate(whole):
        if line.lstrip(" \t").startswith("[") and _is_header(line, path):
            before = line if line.endswith("\n") else f"{line}\n"
            indent = line[: len(line) - len(line.lstrip(" \t"))]
            body = "".join(f"{indent}{each}\n" for each in lines)
            yield "".join([*whole[:index], before, body, *whole[index + 1 :]])
    head = text if text.endswith("\n") or not text else f"{text}\n"
    header = ".".join(map(_key, path))
    gap = "\n" if head else ""
    yield f"{head}{gap}[{header}]\n" + "".join(f"{line}\n" for line in lines)


def _is_header(line: str, path: Sequence[str]) -> bool:
    try:
        document = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return False
    for name in path:
        if not isinstance(document, dict) or list(document) != [name]:
            return False
        document = document[name]
    return document == {}
