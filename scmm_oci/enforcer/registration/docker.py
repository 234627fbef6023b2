"""daemon.json with runtimes added: every other byte stays as it is. Pure.

dockerd(8) has the members: `runtimes` is an object, name → {"path", "runtimeArgs"}. An empty file is an empty object
to dockerd.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from scmm_oci.errors import BadInput, Finding, Problem, short

_SPACE = re.compile(r"[ \t\r\n]*")
_INDENT = re.compile(r"\{\r?\n([ \t]+)\"")


class _Unclear(ValueError):
    """JSON to Python that is none to others, or means one thing to one reader and another to the next."""


class _Number(str):
    """A number as it is written: none is too large, and nothing is done with it but compared."""

    __slots__ = ()


def edited(text: str | None, runtimes: Mapping[str, str]) -> str:
    """The file with the runtimes in it; see `engines.Engine`."""
    document = _parse(text)
    problems = [
        Problem(
            f".runtimes.{name}",
            f"is there already, and is {short(present[name])}",
            f"remove it, or give it another name: this one is for {path}",
        )
        for present in [_runtimes(document)]
        for name, path in runtimes.items()
        if name in present and not _is(present[name], path)
    ]
    if problems:
        raise BadInput(problems)
    missing = {name: path for name, path in runtimes.items() if name not in _runtimes(document)}
    if not missing:
        assert text is not None
        return text
    result = _with(text, document, missing)
    # The text was edited as text: what it means now is looked at once more.
    added = {name: {"path": path} for name, path in missing.items()}
    if _parse(result) != {**document, "runtimes": {**_runtimes(document), **added}}:
        raise BadInput([Problem(".runtimes", "cannot be edited as it is written", f"add there: {json.dumps(added)}")])
    return result


def entries(text: str | None, runtimes: Mapping[str, str]) -> list[str]:
    """Those of the runtimes that the file has; see `engines.Engine`."""
    present = _runtimes(_parse(text))
    return [name for name in runtimes if name in present]


def notes(text: str, runtimes: Mapping[str, str]) -> list[Finding]:
    """What to look at beside; see `engines.Engine`."""
    return [
        Finding(
            "docker-flag",
            "dockerd does not start if its command line has --add-runtime too",
            "move what stands there to `runtimes` in daemon.json",
        )
    ]


def _parse(text: str | None) -> dict[str, Any]:
    if text is None or not text.strip(" \t\r\n"):
        return {}
    try:
        document = json.loads(
            text, object_pairs_hook=_members, parse_constant=_no_constant, parse_int=_Number, parse_float=_Number
        )
    except json.JSONDecodeError as error:
        raise BadInput([Problem(f"line {error.lineno}, column {error.colno}", f"is no JSON: {error.msg}")]) from None
    except (_Unclear, RecursionError) as error:
        why = str(error) if isinstance(error, _Unclear) else "is nested too deep"
        raise BadInput([Problem("", why, "correct the file first")]) from None
    if not isinstance(document, dict):
        raise BadInput([Problem("", f"is {short(document)}, and an object is expected")])
    _runtimes(document)
    return document


def _members(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        twice = next(name for index, (name, _) in enumerate(pairs) if name in dict(pairs[:index]))
        raise _Unclear(f"has {short(twice)} twice in one object, and which of them counts cannot be told")
    return result


def _no_constant(word: str) -> None:
    raise _Unclear(f"has {word}, which is no JSON")


def _runtimes(document: dict[str, Any]) -> dict[str, Any]:
    found = document.get("runtimes", {})
    if not isinstance(found, dict):
        raise BadInput([Problem(".runtimes", f"is {short(found)}, and an object of runtimes is expected")])
    return found


def _is(entry: object, path: str) -> bool:
    return isinstance(entry, dict) and entry.get("path") == path and not entry.get("runtimeArgs")


def _with(text: str | None, document: dict[str, Any], missing: Mapping[str, str]) -> str:
    added = {name: {"path": path} for name, path in missing.items()}
    if not document:
        return json.dumps({"runtimes": added}, indent=2) + "\n"
    assert text is not None
    found = _INDENT.search(text)
    indent = found.group(1) if found else ""
    if "runtimes" not in document:
        return _insert(text, text.index("{") + 1, {"runtimes": added}, indent, 1, last=False)
    at = _inside(text, "runtimes")
    return _insert(text, at, added, indent, 2, last=not document["runtimes"])


def _insert(text: str, at: int, members: Mapping[str, Any], indent: str, depth: int, *, last: bool) -> str:
    """Members put behind the brace that ends at `at`; indent: of one level, empty for a file in one line."""
    if not indent:
        body = json.dumps(members)[1:-1]
        return text[:at] + body + ("" if last else ", ") + text[at:].lstrip(" ")
    outer = indent * (depth - 1)
    lines = json.dumps(members, indent=indent).splitlines()[1:-1]
    body = "".join(f"\n{outer}{line}" for line in lines)
    rest = text[at:].lstrip(" \t")
    if last:
        return text[:at] + body + "\n" + outer + rest.lstrip()
    # A neighbour in the line of the brace goes to a line of its own.
    return text[:at] + body + "," + (rest if rest[:1] in "\r\n" else "\n" + indent * depth + rest)


def _inside(text: str, wanted: str) -> int:
    """Where the object that is the value of a member of the file's object begins, behind its brace."""
    decoder = json.JSONDecoder()
    at = text.index("{") + 1
    while True:
        name, at = decoder.raw_decode(text, _behind_space(text, at))
        at = _behind_space(text, _behind_space(text, at) + 1)  # the colon
        if name == wanted:
            return at + 1
        _, at = decoder.raw_decode(text, at)
        at = _behind_space(text, at) + 1  # the comma: the member is there, so there is one


def _behind_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()
