"""Sections of a .scmm-pol file, each read and checked in full, and put together. Called by `reader` only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from struct import Struct

from scmm_oci.compiled import bpf
from scmm_oci.compiled.polfile import check, layout
from scmm_oci.compiled.polfile.layout import Section
from scmm_oci.compiled.polfile.model import (
    Filter,
    Identity,
    Metadata,
    Missing,
    PathRule,
    PolicyFile,
    PortRule,
    Ruleset,
    Transitions,
    Watch,
)
from scmm_oci.compiled.polfile.pathtable import decode_table
from scmm_oci.compiled.polfile.watchtable import decode_watch, watch_problems
from scmm_oci.compiled.polfile.writer import metadata_bytes
from scmm_oci.errors import Problem

_MISSING = {one.value: one for one in Missing}


@dataclass(frozen=True)
class Part:
    """One section: its bytes, and its place for the messages."""

    kind: Section
    identifier: int
    data: bytes
    place: str


def policy_file(parts: Sequence[Part], found: list[Problem]) -> PolicyFile:
    """The compiled policy that sections make.

    Args:
        parts: in the order of types and ids, none twice, ids fitting the types.
        found: gets everything that is wrong with them. If it gets something, the result means nothing.
    """
    return _Reader(parts, found).all()


class _Reader:
    def __init__(self, parts: Sequence[Part], found: list[Problem]) -> None:
        self._parts, self._found = parts, found

    def all(self) -> PolicyFile:
        metadata = self._one(Section.METADATA)
        if metadata is None:
            self._bad("", "has no metadata")
        identity, watch = self._one(Section.IDENTITY), self._one(Section.WATCH)
        transitions = tuple(self._transitions(part) for part in self._all(Section.TRANSITIONS))
        return PolicyFile(
            filters=self._filters(),
            ruleset=self._ruleset(),
            identity=Identity() if identity is None else self._identity(identity),
            transitions=transitions,
            metadata=Metadata() if metadata is None else self._metadata(metadata),
            watch=None if watch is None else self._watch(watch, transitions),
        )

    def _all(self, kind: Section) -> list[Part]:
        return [part for part in self._parts if part.kind is kind]

    def _one(self, kind: Section) -> Part | None:
        return next(iter(self._all(kind)), None)

    def _bad(self, place: str, message: str) -> None:
        self._found.append(Problem(place, message))

    def _zero(self, value: int, place: str) -> None:
        if value:
            self._bad(place, f"is {value:#x}, and must be 0")

    def _head(self, part: Part, head: Struct, *, each: int = 0, most: int = 0) -> tuple[int, ...] | None:
        """The fields at a section's beginning, if it has as many bytes as it must.

        Args:
            each: the size of each of the records that follow.
            most: how many these may be.
        """
        length = len(part.data)
        if length < head.size or (length - head.size) % (each or length + 1):
            self._bad(part.place, f"has {length} bytes; {head.size}{f' and {each} for each' * bool(each)} are right")
            return None
        if each and (length - head.size) // each > most:
            self._bad(part.place, f"has {(length - head.size) // each} records; {most} are the most")
            return None
        return head.unpack_from(part.data)

    def _filters(self) -> tuple[Filter, ...]:
        plain = {part.identifier: (part, self._filter(part)) for part in self._all(Section.FILTER)}
        twins = {part.identifier: (part, self._filter(part)) for part in self._all(Section.PERMISSIVE)}
        for number in sorted(plain.keys() ^ twins.keys()):
            part, _ = plain.get(number) or twins[number]
            missing = "filter" if number in twins else "permissive filter"
            self._bad(part.place, f"is for {layout.FILTER_IDS[number]}, for which there is no {missing}")
        result = []
        for number in sorted(plain.keys() & twins.keys()):
            (_, (flags, program)), (part, (other, permissive)) = plain[number], twins[number]
            if flags != other:
                self._bad(f"{part.place}.flags", "differ from those of the filter that it is the twin of")
            result.append(Filter(layout.FILTER_IDS[number], flags, program, permissive))
        return tuple(result)

    def _filter(self, part: Part) -> tuple[int | None, bpf.Program]:
        head = self._head(part, layout.FILTER_HEAD, each=bpf.INSTRUCTION_SIZE, most=bpf.MAX_INSTRUCTIONS)
        if head is None:
            return None, ()
        flags, given, count, reserved = head
        self._zero(reserved, f"{part.place}.reserved")
        program = bpf.decode(part.data[layout.FILTER_HEAD.size :])
        if count != len(program):
            self._bad(f"{part.place}.count", f"is {count}, and the section has {len(program)} instructions")
        if given not in (0, 1):
            self._bad(f"{part.place}.given", f"is {given}, and must be 0 or 1")
        if flags and not given:
            self._bad(f"{part.place}.flags", f"is {flags:#x}, though none are given")
        self._found += check.flags_problems(flags, part.place)
        permissive = part.kind is Section.PERMISSIVE
        self._found += check.program_problems(program, part.place, permissive=permissive)
        return flags if given else None, program

    def _ruleset(self) -> Ruleset | None:
        part = self._one(Section.RULESET)
        if part is None:
            for kind in (Section.PATH_RULES, Section.PATHS, Section.PORT_RULES):
                for other in self._all(kind):
                    self._bad(other.place, "has rules, and there is no ruleset")
            return None
        head = self._head(part, layout.RULESET)
        if head is None:
            return None
        handled_fs, handled_net, scoped, abi, has_addresses = head
        if has_addresses > 1:
            self._bad(f"{part.place}.has_addresses", f"is {has_addresses}, and neither 0 nor 1")
        bare = Ruleset(handled_fs, handled_net, scoped, abi, has_addresses=bool(has_addresses))
        self._found += check.ruleset_problems(bare, part.place)
        paths, ports = self._path_rules(handled_fs), self._port_rules(handled_net)
        return replace(bare, paths=paths, ports=ports)

    def _path_rules(self, handled: int) -> tuple[PathRule, ...]:
        rules, table = self._one(Section.PATH_RULES), self._one(Section.PATHS)
        if rules is None or table is None:
            for part in filter(None, (rules, table)):
                missing = "rules for them" if part is table else "paths"
                self._bad(part.place, f"is there without {missing}")
            return ()
        paths = decode_table(table.data, table.place, self._found)
        result, keys = [], []
        for place, (access, number, on_missing, abi, plain_from) in self._records(
            rules, layout.PATH_RULE, layout.MAX_PATHS * len(Missing)
        ):
            if not check.is_path_access(access, abi, handled):
                self._found += check.path_access_problems(access, abi, handled, place)
            keys.append((number, on_missing, plain_from))
            path = paths[number] if number < len(paths) else None
            # Of a table that is bad as a whole that has been said.
            if paths and number >= len(paths):
                self._bad(f"{place}.path", f"is {number}, and there are {len(paths)} paths")
            made = _MISSING.get(on_missing)
            if made is None:
                self._bad(f"{place}.on_missing", f"is {on_missing}, and none of 0, 1 and 2")
            elif path is not None:
                result.append(PathRule(path[0], path[1], access, made, abi, plain_from))
                self._found += check.plain_problems(plain_from, len(path[0]), place)
        self._ascending(keys, rules.place, "path, on_missing and plain_from")
        for number in sorted(set(range(len(paths))) - {number for number, *_ in keys}):
            self._bad(f"{table.place}.paths[{number}]", "is in no rule")
        return tuple(result)

    def _port_rules(self, handled: int) -> tuple[PortRule, ...]:
        part = self._one(Section.PORT_RULES)
        if part is None:
            return ()
        rules = []
        for place, (access, first, last, abi) in self._records(part, layout.PORT_RULE, layout.MAX_PORT_RULES):
            rules.append(PortRule(first, last, access, abi))
            self._found += check.port_problems(rules[-1], handled, place)
        self._ascending([(one.first, one.last) for one in rules], part.place, "first and last port")
        return tuple(rules)

    def _records(self, part: Part, record: Struct, most: int) -> list[tuple[str, tuple[int, ...]]]:
        """The records of a section that has nothing else, with their places."""
        if not part.data or len(part.data) % record.size or len(part.data) > record.size * most:
            self._bad(part.place, f"has {len(part.data)} bytes, which are not 1 to {most} records of {record.size}")
            return []
        rows = enumerate(record.iter_unpack(part.data))
        return [(f"{part.place}.records[{index}]", row) for index, row in rows]

    def _ascending(self, keys: Sequence[tuple[int, ...]], place: str, by: str, name: str = "records") -> None:
        for index, (before, after) in enumerate(pairwise(keys)):
            if before >= after:
                self._bad(f"{place}.{name}[{index + 1}]", f"is not after the one before it, by {by}")
                break

    def _identity(self, part: Part) -> Identity:
        head = self._head(part, layout.IDENTITY)
        if head is None:
            return Identity()
        present, uid, gid, reserved, capabilities = head
        self._zero(reserved, f"{part.place}.reserved")
        if not 0 < present <= layout.HAS_UID | layout.HAS_GID | layout.HAS_CAPABILITIES:
            self._bad(f"{part.place}.present", f"is {present:#x}, and must be 1 to 7")
        values: dict[str, int | None] = {}
        for name, bit, value in (
            ("uid", layout.HAS_UID, uid),
            ("gid", layout.HAS_GID, gid),
            ("capabilities", layout.HAS_CAPABILITIES, capabilities),
        ):
            values[name] = value if present & bit else None
            if not present & bit:
                self._zero(value, f"{part.place}.{name}")
        identity = Identity(**values)
        self._found += check.identity_problems(identity, part.place)
        return identity

    def _transitions(self, part: Part) -> Transitions:
        arch = layout.TRANSITION_IDS[part.identifier]
        head = self._head(part, layout.TRANSITIONS_HEAD, each=layout.EDGE.size, most=layout.MAX_EDGES)
        if head is None:
            return Transitions(arch, ())
        count, reserved = head
        self._zero(reserved, f"{part.place}.reserved")
        edges = tuple(layout.EDGE.iter_unpack(part.data[layout.TRANSITIONS_HEAD.size :]))
        if count != len(edges):
            self._bad(f"{part.place}.count", f"is {count}, and the section has {len(edges)} pairs")
        self._found += check.edges_problems(edges, part.place)
        self._ascending(edges, part.place, "the calls", "edges")
        return Transitions(arch, edges)

    def _watch(self, part: Part, transitions: Sequence[Transitions]) -> Watch | None:
        watch = decode_watch(part.data, part.place, self._found)
        if watch is not None:
            self._found += watch_problems(watch, transitions, part.place)
        return watch

    def _metadata(self, part: Part) -> Metadata:
        try:
            document = json.loads(part.data.decode("utf-8"))
        except (ValueError, RecursionError):
            self._bad(part.place, "is no JSON in UTF-8")
            return Metadata()
        names = [one.name for one in fields(Metadata)]
        if not isinstance(document, dict) or sorted(document) != sorted(names):
            self._bad(part.place, f"is no object with exactly {', '.join(sorted(names))}")
            return Metadata()
        for name in names:
            if not isinstance(document[name], str):
                self._bad(f"{part.place}.{name}", "is no text")
                return Metadata()
        metadata = Metadata(**document)
        problems = check.metadata_problems(metadata, part.place)
        self._found += problems
        if not problems and metadata_bytes(metadata) != part.data:
            self._bad(
                part.place, "is not written with sorted keys, without spaces, and with no more escapes than needed"
            )
        return metadata
