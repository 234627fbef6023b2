"""The table of paths in a compiled policy: bytes that a launcher goes through once, without a parser and a memory.

Called by `writer` and `reader`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, pairwise

from scmm_oci.compiled.polfile.layout import (
    ANY_NUMBER,
    COMPONENT_HEAD,
    MAX_PATHS,
    ONE,
    ONE_OF,
    PATH_HEAD,
    PATHS_HEAD,
    SET_BYTES,
    padding,
)
from scmm_oci.compiled.polfile.model import Component, ComponentKind, Glob, PathKind
from scmm_oci.compiled.polfile.paths import named, path_problems
from scmm_oci.errors import Problem

Path = tuple[tuple[Component, ...], PathKind]

_OFFSET = 4
# How many bytes follow the code of a token.
_SIZES = {ANY_NUMBER: 0, ONE: 1, ONE_OF: SET_BYTES}
_BYTES = tuple(frozenset({byte}) for byte in range(256))
# What pads a component to a multiple of 4.
_ZEROS = tuple(map(bytes, range(4)))
_KINDS = {one.value: one for one in PathKind}


def encode_path(components: Sequence[Component], kind: PathKind) -> bytes:
    """One path. Paths that are the same have the same bytes, and their order is that of their bytes."""
    return b"".join([PATH_HEAD.pack(kind, len(components)), *map(_encode_component, components)])


def encode_table(paths: Sequence[bytes]) -> bytes:
    """The section with paths that `encode_path` made, in their order."""
    first = PATHS_HEAD.size + _OFFSET * len(paths)
    offsets = list(accumulate(map(len, paths), initial=first))[:-1]
    return b"".join([PATHS_HEAD.pack(len(paths), 0), struct.pack(f"<{len(paths)}I", *offsets), *paths])


def decode_table(data: bytes, place: str, found: list[Problem]) -> list[Path | None]:
    """The paths of a section.

    Args:
        place: where the section stands, for the messages.
        found: gets what is wrong with them.

    Returns:
        The paths by their numbers; None for one that is bad.
    """
    if len(data) < PATHS_HEAD.size:
        found.append(Problem(place, f"has {len(data)} bytes, too few for a table of paths"))
        return []
    count, reserved = PATHS_HEAD.unpack_from(data)
    if reserved:
        found.append(Problem(f"{place}.reserved", f"is {reserved:#x}, and must be 0"))
    at = PATHS_HEAD.size + _OFFSET * count
    if not 1 <= count <= MAX_PATHS or at > len(data):
        message = f"is {count} in a section of {len(data)} bytes"
        found.append(Problem(f"{place}.count", message, f"1 to {MAX_PATHS}, as many as fit"))
        return []
    offsets = [*struct.unpack_from(f"<{count}I", data, PATHS_HEAD.size), len(data)]
    for index, (offset, end) in enumerate(pairwise(offsets)):
        if offset != at or end <= offset or end > len(data) or end % 4:
            message = (
                f"is from {offset} to {end}; it begins at {at}, where the one before ends, and ends in the section"
            )
            found.append(Problem(f"{place}.paths[{index}]", message))
            return []
        at = end
    encoded = [data[start:end] for start, end in pairwise(offsets)]
    for index in range(1, count):
        if encoded[index - 1] >= encoded[index]:
            found.append(Problem(f"{place}.paths[{index}]", "is not after the one before it in the order of bytes"))
            break
    return [_decode_path(one, f"{place}.paths[{index}]", found) for index, one in enumerate(encoded)]


def _encode_component(one: Component) -> bytes:
    data = one.name if one.kind is not ComponentKind.GLOB else _encode_glob(one.glob)
    head, zeros = _around(one.kind, len(data))
    return head + data + zeros


@lru_cache(maxsize=1 << 12)
def _around(kind: int, length: int) -> tuple[bytes, bytes]:
    """What goes before and after so many bytes of a component."""
    return COMPONENT_HEAD.pack(kind, 0, length), bytes(padding(length, 4))


@lru_cache(maxsize=1 << 12)
def _encode_glob(glob: Glob) -> bytes:
    parts = []
    for token in glob:
        if token is None:
            parts.append(bytes([ANY_NUMBER]))
        elif len(token) == 1:
            parts.append(bytes([ONE, *token]))
        else:
            bits = sum(1 << byte for byte in token)
            parts.append(bytes([ONE_OF]) + bits.to_bytes(SET_BYTES, "little"))
    return b"".join(parts)


def _decode_path(data: bytes, place: str, found: list[Problem]) -> Path | None:
    kind, count = PATH_HEAD.unpack_from(data)
    bad: list[Problem] = []
    if kind not in _KINDS:
        bad.append(Problem(f"{place}.kind", f"is {kind}, and none of 0, 1 and 2"))
    components: list[Component] = []
    at, size = PATH_HEAD.size, len(data)
    for index in range(count):
        start = at + COMPONENT_HEAD.size
        if start > size:
            bad.append(Problem(f"{place}.components[{index}]", "is beyond the path's end"))
            break
        number, reserved, length = COMPONENT_HEAD.unpack_from(data, at)
        end = start + length
        at = end + (-length & 3)
        if at > size:
            message = f"is {length}, which goes beyond the path's end"
            bad.append(Problem(f"{place}.components[{index}].length", message))
            break
        if reserved or data[end:at] != _ZEROS[at - end]:
            message = "has other bytes than zeros where zeros must be"
            bad.append(Problem(f"{place}.components[{index}]", message))
        if number == 0:
            components.append(named(data[start:end]))
            continue
        one, wrong = _decode_component(number, data[start:end])
        bad += [Problem(f"{place}.components[{index}]{below}", message) for below, message in wrong]
        components += [] if one is None else [one]
    else:
        if at != len(data):
            bad.append(Problem(place, f"has {len(data) - at} bytes after its components"))
    if not bad:
        bad = path_problems(components, _KINDS[kind], place=place)
    found += bad
    return None if bad else (tuple(components), _KINDS[kind])


Wrong = tuple[tuple[str, str], ...]


@lru_cache(maxsize=1 << 16)
def _decode_component(kind: int, data: bytes) -> tuple[Component | None, Wrong]:
    """The component, no name, or what is wrong with it: places below it, and messages."""
    if kind == ComponentKind.GLOB:
        glob = _decode_glob(data)
        return (None, (("", glob),)) if isinstance(glob, str) else (Component(ComponentKind.GLOB, glob=glob), ())
    if kind not in list(ComponentKind):
        return None, ((".kind", f"is {kind}, and none of 0, 1, 2 and 3"),)
    if data:
        return None, ((".length", f"is {len(data)}, and a variable has no bytes"),)
    return Component(ComponentKind(kind)), ()


def _decode_glob(data: bytes) -> Glob | str:
    """The glob, or what is wrong with it."""
    tokens: list[frozenset[int] | None] = []
    at = 0
    while at < len(data):
        code, start = data[at], at + 1
        size = _SIZES.get(code)
        if size is None or start + size > len(data):
            return f"has at {at} no token of a glob: {data[at : at + 2].hex()}"
        at = start + size
        if code == ANY_NUMBER:
            tokens.append(None)
        elif code == ONE:
            tokens.append(_BYTES[data[start]])
        else:
            token = frozenset(byte for byte in range(256) if data[start + byte // 8] >> byte % 8 & 1)
            if len(token) < 2:
                return f"has at {start - 1} a set of {len(token)} bytes; it has 2 at least"
            tokens.append(token)
    return tuple(tokens)
