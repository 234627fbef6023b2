"""The bytes of a .scmm-pol file as a compiled policy. Nothing in them is trusted.

First the frame: version, sizes, the digest, and where the sections are. Only if all of it holds are they looked at, by
`sections`. What is taken is what `writer` writes: there is one file for each compiled policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from scmm_oci.compiled.polfile import layout
from scmm_oci.compiled.polfile.layout import Section
from scmm_oci.compiled.polfile.model import PolicyFile
from scmm_oci.compiled.polfile.sections import Part, policy_file
from scmm_oci.errors import BadInput, Problem, short

# More than these are told of no file: hostile ones can have a million.
_MOST = 1000

# There are not so many types and ids.
_MAX_SECTIONS = 64


def read(data: bytes, *, source: str = "") -> PolicyFile:
    """The compiled policy in a file's bytes. ``write(read(data)) == data`` for all that it takes.

    Args:
        source: the file's name, for the messages.

    Raises:
        BadInput: it is none, is damaged, or is not as docs/formats.md says; with everything that is wrong with it.
    """
    found = _begins(data)
    if not found:
        found, parts = _frame(data)
    if not found:
        file = policy_file(parts, found)
    if found:
        told = found[:_MOST]
        if len(found) > _MOST:
            told.append(Problem("", f"has {len(found) - _MOST} problems more"))
        raise BadInput(told, source=source)
    return file


def _begins(data: bytes) -> list[Problem]:
    """What is wrong with a file of which nothing more can be said."""
    if not layout.is_compiled(data):
        return [Problem("", "is no compiled policy: it does not begin with SCMMPOL and a zero byte")]
    version = int.from_bytes(data[8:10], "little")
    if version == 1 and len(data) >= 10:
        return [Problem("header.version", "is 1: the file was made by scmm 1", "compile the policy again")]
    if len(data) < layout.HEADER.size:
        return [Problem("", f"has {len(data)} bytes, and the header alone has {layout.HEADER.size}")]
    if version != layout.VERSION:
        return [Problem("header.version", f"is {version}, and only {layout.VERSION} is read")]
    if len(data) > layout.MAX_BYTES:
        return [Problem("", f"has {len(data)} bytes; {layout.MAX_BYTES} are the most")]
    return []


@dataclass(frozen=True)
class _Entry:
    """A row of the section table."""

    kind: int
    identifier: int
    offset: int
    length: int


def _frame(data: bytes) -> tuple[list[Problem], list[Part]]:
    """What is wrong with the header, the digest, the table and where sections lie; and the sections, if nothing is."""
    _, _, size, count, total, reserved, digest = layout.HEADER.unpack_from(data)
    found = []
    if size != layout.HEADER.size:
        found.append(Problem("header.header_size", f"is {size}, and must be {layout.HEADER.size}"))
    if total != len(data):
        found.append(Problem("header.total_size", f"is {total}, and the file has {len(data)} bytes"))
    if reserved:
        found.append(Problem("header.reserved", f"is {reserved:#x}, and must be 0"))
    if sha256(data[layout.HEADER.size :]).digest() != digest:
        found.append(Problem("header.digest", "is not the SHA-256 of what follows the header: the file is damaged"))
    end = layout.HEADER.size + count * layout.ENTRY.size
    if not 1 <= count <= _MAX_SECTIONS or end > len(data):
        message = f"is {count} in a file of {len(data)} bytes"
        found.append(Problem("header.sections", message, f"1 to {_MAX_SECTIONS}, as many as fit"))
        return found, []
    entries = [_Entry(*row) for row in layout.ENTRY.iter_unpack(data[layout.HEADER.size : end])]
    found += _table_problems(data, entries, end)
    if found:
        return found, []
    return [], [
        Part(Section(one.kind), one.identifier, data[one.offset : one.offset + one.length], f"sections[{index}]")
        for index, one in enumerate(entries)
    ]


def _table_problems(data: bytes, entries: list[_Entry], end: int) -> list[Problem]:
    found = []
    before: tuple[int, int] | None = None
    for index, one in enumerate(entries):
        place = f"sections[{index}]"
        if one.kind not in list(Section):
            found.append(Problem(f"{place}.type", f"is {one.kind}", f"version {layout.VERSION} has {_KNOWN}"))
        elif one.identifier not in _ids(Section(one.kind)):
            found.append(Problem(f"{place}.id", f"is {one.identifier:#x}, which sections of its type do not have"))
        here = (one.kind, one.identifier)
        if before is not None and here <= before:
            message = "is there twice" if here == before else "is not after the one before it, by type and id"
            found.append(Problem(place, message))
        before = here
        if one.offset != end:
            found.append(Problem(f"{place}.offset", f"is {one.offset}, and must be {end}, where the one before ends"))
        stop = one.offset + one.length
        if stop > len(data):
            found.append(Problem(f"{place}.length", f"is {one.length}, which goes beyond the end of the file"))
            return found
        end = stop + layout.padding(stop)
        if any(data[stop:end]):
            found.append(Problem(place, f"is followed by {short(data[stop:end])}, where zeros must be"))
    if end != len(data):
        found.append(Problem("", f"has {len(data)} bytes, and the last section ends at {end}"))
    return found


_KNOWN = ", ".join(f"{one.value} ({one.name.lower().replace('_', ' ')})" for one in Section)


def _ids(kind: Section) -> frozenset[int]:
    if kind in (Section.FILTER, Section.PERMISSIVE):
        return frozenset(layout.FILTER_IDS)
    return frozenset(layout.TRANSITION_IDS) if kind is Section.TRANSITIONS else frozenset({0})
