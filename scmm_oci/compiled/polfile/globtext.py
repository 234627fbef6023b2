"""Wildcards of a compiled policy as a policy's text: policy.paths.globs read backwards. Called by `paths` only."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from scmm_oci.compiled.polfile.model import Glob
from scmm_oci.policy.paths.globs import escape

# What a byte of a name can be.
ANY_BYTE = frozenset(range(1, 256)) - {ord("/")}

_HIGH = frozenset(range(128, 256))
_BACKSLASH = ord("\\")
# A range can hold a backslash within. It cannot end in ']', which would end the set.
_AROUND_BACKSLASH = frozenset(b"[\\]^")


def glob_text(glob: Glob) -> str:
    """The text of a glob: one that is read as the same bytes, but for sets of nothing.

    A set that has no shorter form is written byte by byte: ``[\\x80\\xff]``.
    """
    marked = _marked(glob)
    words = []
    for literal, run in groupby(enumerate(glob), key=lambda pair: pair[0] != marked and _is_literal(pair[1])):
        tokens = [token for _, token in run]
        if literal:
            data = bytes(byte for token in tokens for byte in token or ())
            words.append(escape(data.decode("utf-8", "surrogateescape")))
        else:
            words += ["*" if token is None else _set(token) for token in tokens]
    return "".join(words)


def _is_literal(token: frozenset[int] | None) -> bool:
    return token is not None and len(token) == 1


def _marked(glob: Glob) -> int | None:
    """Of a glob that is a name in fact, the byte that is written as a set, so that it is read as a glob."""
    if not all(map(_is_literal, glob)):
        return None
    return next((index for index, token in enumerate(glob) if token and _body(token) is not None), 0)


def _set(token: frozenset[int]) -> str:
    """The set in brackets, as glob(7) has it where a pattern can say it."""
    if token == ANY_BYTE:
        return "?"
    negated = _body(ANY_BYTE - token, negated=True)
    if negated is not None:
        return f"[!{negated}]"
    body = _body(token)
    if body is not None:
        return f"[{body}]"
    others = ANY_BYTE - token
    return f"[!{_single(others)}]" if len(others) < len(token) else f"[{_single(token)}]"


def _single(token: frozenset[int]) -> str:
    return "".join(f"\\x{one:02x}" for one in sorted(token))


def _body(token: frozenset[int], *, negated: bool = False) -> str | None:
    """What stands between the brackets for exactly these bytes; None where that takes single bytes."""
    if not token or token & _HIGH or (_BACKSLASH in token and not token >= _AROUND_BACKSLASH):
        return None
    items = [item for low, high in _runs(token) for item in _items(low, high)]
    # A ']' is one of the set at its beginning only, and a '-' between two others would make them a range.
    items.sort(key=lambda item: (item[0] != "]", item == "-"))
    if negated or items[0][0] not in "!^":
        return "".join(items)
    for index, item in enumerate(items):
        if item[0] not in "!^":
            return "".join([item, *items[:index], *items[index + 1 :]])
        if len(item) == 3:
            # All of the range but its first, and then that.
            return "".join([chr(ord(item[0]) + 1) + item[1:], item[0], *items[:index], *items[index + 1 :]])
    return None


def _runs(token: frozenset[int]) -> Iterator[tuple[int, int]]:
    """The first and last of each run of bytes without a gap."""
    for _, run in groupby(enumerate(sorted(token)), key=lambda pair: pair[1] - pair[0]):
        values = [value for _, value in run]
        yield values[0], values[-1]


def _items(low: int, high: int) -> list[str]:
    if high - low < 2:
        return [chr(one) for one in range(low, high + 1)]
    return [f"{chr(low)}-{chr(high)}"]
