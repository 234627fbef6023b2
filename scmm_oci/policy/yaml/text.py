"""Plain values → YAML text, in the one layout that our policies have. Called by policy.render and policy.yaml.edit.

Mappings and lists stand in block style, one rule below the other; what is marked with Flow or FlowList stands on one
line. Every reader, of YAML 1.1 or 1.2, takes the text for the same values: what either could take for something else
than text (``no``, ``1e3``, ``2026-01-01``) is in double quotes. Pure: the same document gives the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from scmm_oci.errors import printable
from scmm_oci.schema import Steps, place
from scmm_oci.tables import states


class Flow(dict[str, Any]):
    """A mapping that is written on one line, with all that is in it: ``{name: openat, action: allow}``."""


class FlowList(list[Any]):
    """A list that is written on one line, with all that is in it: ``[read_file, read_dir]``."""


# Begins with a letter, `/`, `_` or `$`, so it is no number, no date and no indicator; nothing in it could end it, in
# a flow collection neither (YAML 1.2.2 §7.3.3). Text that begins with a digit is no number either if it has a slash.
_PLAIN = re.compile(r"(?:[A-Za-z/_$]|[0-9][0-9.]*/)[A-Za-z0-9_./$+@%^()=~-]*(?: [A-Za-z0-9_./$+@%^()=~-]+)*")
# States of transitions: a colon with something behind it is part of a plain word, also in a flow collection. These
# fixed words only, as readers of 1.1 take other text with colons for numbers.
_STATE = "|".join(
    sorted({*states.BEGINNINGS, *(word for call in states.REFINED for word in states.classes_of(call))}, reverse=True)
)
_STATES = re.compile(rf"(?:{_STATE})|(?:{_STATE}|[a-z0-9_]+) > (?:{_STATE}|[a-z0-9_]+)")
# The words of YAML 1.1 (yaml.org/type/bool, null) and of 1.2, in small letters.
_WORDS = frozenset(["y", "n", "yes", "no", "on", "off", "true", "false", "null"])
# Control characters, spaces that do not look like one, line separators, marks that turn the direction of writing,
# noncharacters, and what else people do not see. A fixed list, as Python's own grows from version to version.
_ESCAPED = re.compile(
    '["\\\\\x00-\x1f\x7f-\xa0\xad\u061c\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff\ufff0-\ufffb\ufffe\uffff'
    "\U000e0000-\U000e0fff]"
)
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\0": "\\0"}
# Readers look no further for the colon that makes a key of a scalar (YAML 1.2.2 §7.4).
_KEY = 1000


def dump(document: Mapping[str, Any], *, header: str = "", comments: Mapping[Steps, str] | None = None) -> bytes:
    """The document as YAML, in UTF-8.

    Args:
        document: mappings, lists, tuples, text, whole numbers, true, false and None in one another.
        header: a comment on top; its lines get a ``#`` where they have none, and empty ones stay empty.
        comments: path of a key or of an item of a list → a comment, as ``header``, above it at its indentation.

    Raises:
        TypeError: the document has a value of another type.
        ValueError: a comment is for what is not there, or stands on a line with other things.
        UnicodeEncodeError: half of a surrogate pair, which YAML cannot hold.
    """
    writer = _Writer(comments or {})
    lines = [*remark(header, 0), *writer.mapping(document, 0, ())] if document else [*remark(header, 0), "{}"]
    if writer.comments:
        raise ValueError(f"comments without a line of their own: {', '.join(map(place, writer.comments))}")
    return "".join(f"{line}\n" for line in lines).encode("utf-8")


def block(value: Any, indent: int) -> list[str]:
    """The lines of a mapping or list in block style, each with ``indent`` spaces in front, without line ends.

    Raises:
        TypeError: as :func:`dump`.
    """
    writer = _Writer({})
    if isinstance(value, Mapping):
        return list(writer.mapping(value, indent, ()))
    return list(writer.list(value, indent, ()))


def is_inline(value: Any) -> bool:
    """Whether a value stands on the line of its key: it is a scalar, marked, or empty."""
    return isinstance(value, Flow | FlowList) or not isinstance(value, Mapping | list | tuple) or not value


def inline(value: Any) -> str:
    """A value on one line.

    Raises:
        TypeError: as :func:`dump`.
    """
    if isinstance(value, str):
        return scalar(value)
    if isinstance(value, dict):  # quicker to tell than a Mapping
        return "{" + ", ".join([f"{_key(key, ' :')} {inline(item)}" for key, item in value.items()]) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key, ' :')} {inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(inline, value)) + "]"
    raise TypeError(f"{type(value).__name__} is not written to YAML")


def scalar(text: str) -> str:
    """Text, plain where every reader takes that for text, else in double quotes."""
    if (_PLAIN.fullmatch(text) and text.lower() not in _WORDS) or _STATES.fullmatch(text):
        # An enum's member is text, and formats as its value.
        return str(text)
    return '"' + _ESCAPED.sub(_escape, text) + '"'


def remark(text: str, indent: int) -> Iterator[str]:
    """The lines of a comment; characters that could end it, or steer a terminal, are written as escapes."""
    if text:
        pad = " " * indent
        for line in text.removesuffix("\n").split("\n"):
            mark = "" if line.startswith("#") else "# "
            yield f"{pad}{mark}{printable(line)}".rstrip() if line else ""


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    short = _SHORT.get(character)
    if short is not None:
        return short
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


@lru_cache(maxsize=1024)
def _key(key: str, colon: str) -> str:
    """A key with its colon. A long one is marked as a key in front; ``colon`` is what then stands behind it."""
    if not isinstance(key, str):
        raise TypeError(f"a key of type {type(key).__name__} is not written to YAML")
    text = scalar(key)
    return f"{text}:" if len(text) < _KEY else f"? {text}{colon}"


class _Writer:
    def __init__(self, comments: Mapping[Steps, str]) -> None:
        self.comments = dict(comments)
        """Those that have not been written yet."""

    def mapping(self, value: Mapping[str, Any], indent: int, path: Steps) -> Iterator[str]:
        """Lines of a mapping that is not empty."""
        pad = " " * indent
        for key, item in value.items():
            inner = (*path, key)
            if inner in self.comments:
                yield from remark(self.comments.pop(inner), indent)
            head = pad + _key(key, f"\n{pad}:")
            if is_inline(item):
                yield f"{head} {inline(item)}"
            else:
                yield head
                yield from self._block(item, indent + 2, inner)

    def list(self, value: list[Any] | tuple[Any, ...], indent: int, path: Steps) -> Iterator[str]:
        """Lines of a list that is not empty."""
        pad = " " * indent
        for index, item in enumerate(value):
            inner = (*path, index)
            if inner in self.comments:
                yield from remark(self.comments.pop(inner), indent)
            if is_inline(item):
                yield f"{pad}- {inline(item)}"
                continue
            lines = self._block(item, indent + 2, inner)
            first = next(lines)
            if first.lstrip().startswith("#") or not first:
                # A comment of the first key: it must not look as if it were the rule's own.
                yield f"{pad}-"
                yield first
            else:
                yield f"{pad}- {first[indent + 2 :]}"
            yield from lines

    def _block(self, value: Any, indent: int, path: Steps) -> Iterator[str]:
        return self.mapping(value, indent, path) if isinstance(value, Mapping) else self.list(value, indent, path)
