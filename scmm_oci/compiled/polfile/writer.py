"""A compiled policy as the bytes of a .scmm-pol file. Pure: the same policy gives the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from hashlib import sha256

from scmm_oci.compiled import bpf
from scmm_oci.compiled.polfile import check, layout
from scmm_oci.compiled.polfile.layout import Section
from scmm_oci.compiled.polfile.model import Filter, Identity, Metadata, PathRule, PolicyFile, PortRule, Ruleset
from scmm_oci.compiled.polfile.paths import path_problems
from scmm_oci.compiled.polfile.pathtable import encode_path, encode_table
from scmm_oci.compiled.polfile.watchtable import canonical_watch, encode_watch, watch_problems
from scmm_oci.errors import BadInput, Problem
from scmm_oci.tables.arch import Arch


def write(file: PolicyFile) -> bytes:
    """The bytes of a compiled policy, which `reader.read` gives back as `canonical` has it.

    Raises:
        BadInput: it cannot be written: with everything in it that does not fit, and where.
    """
    found = _problems(file)
    if found:
        raise BadInput(found)
    file, paths = _canonical(file)
    data = _assemble(list(_sections(file, paths)))
    if len(data) > layout.MAX_BYTES:
        raise BadInput([Problem("", f"would have {len(data)} bytes; {layout.MAX_BYTES} are the most")])
    return data


def canonical(file: PolicyFile) -> PolicyFile:
    """The same policy as it stands in files: everything sorted, and rules for the same path or ports made one."""
    return _canonical(file)[0]


def _canonical(file: PolicyFile) -> tuple[PolicyFile, list[bytes]]:
    """The policy as it stands in files, and the bytes of the paths of its rules."""
    ruleset = file.ruleset
    paths: list[bytes] = []
    if ruleset is not None:
        joined, paths = _joined_paths(ruleset.paths)
        ruleset = replace(ruleset, paths=joined, ports=_joined_ports(ruleset.ports))
    transitions = [replace(one, edges=tuple(sorted(set(one.edges)))) for one in file.transitions]
    sorted_file = replace(
        file,
        filters=tuple(sorted(file.filters, key=lambda one: one.arch.audit)),
        ruleset=ruleset,
        transitions=tuple(sorted(transitions, key=lambda one: layout.transitions_id(one.arch))),
        watch=None if file.watch is None else canonical_watch(file.watch),
    )
    return sorted_file, paths


def metadata_bytes(metadata: Metadata) -> bytes:
    """The metadata as JSON: sorted keys, no spaces, UTF-8."""
    return json.dumps(asdict(metadata), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def _joined_paths(rules: Iterable[PathRule]) -> tuple[tuple[PathRule, ...], list[bytes]]:
    joined: dict[tuple[bytes, int, int], PathRule] = {}
    for one in rules:
        key = (encode_path(one.components, one.kind), int(one.on_missing), one.plain_from)
        before = joined.get(key)
        if before is not None:
            one = replace(one, access=one.access | before.access, abi=max(one.abi, before.abi))
        joined[key] = one
    ordered = sorted(joined)
    return tuple(map(joined.__getitem__, ordered)), [path for path, *_ in ordered]


def _joined_ports(rules: Iterable[PortRule]) -> tuple[PortRule, ...]:
    joined: dict[tuple[int, int], PortRule] = {}
    for one in rules:
        before = joined.get((one.first, one.last), one)
        joined[one.first, one.last] = replace(one, access=one.access | before.access, abi=max(one.abi, before.abi))
    return tuple(joined[key] for key in sorted(joined))


def _problems(file: PolicyFile) -> list[Problem]:
    found: list[Problem] = []
    for index, one in enumerate(file.filters):
        place = f".filters[{index}]"
        found += check.flags_problems(one.flags, place)
        found += check.program_problems(one.program, place)
        found += check.program_problems(one.permissive, f"{place}.permissive", permissive=True)
        if one.arch is Arch.X32:
            found.append(Problem(f"{place}.arch", "is x32, which is no kernel's own", "x86_64's filter answers it"))
    found += _once([one.arch for one in file.filters], ".filters")
    if file.ruleset is not None:
        found += _ruleset_problems(file.ruleset)
    found += check.identity_problems(file.identity, ".identity")
    for index, edges in enumerate(file.transitions):
        found += check.edges_problems(edges.edges, f".transitions[{index}]")
    found += _once([one.arch for one in file.transitions], ".transitions")
    if file.watch is not None:
        found += _once([one.arch for one in file.watch.machines], ".watch.machines")
        found += watch_problems(file.watch, file.transitions, ".watch")
    return found + check.metadata_problems(file.metadata, ".metadata")


def _once(arches: list[Arch], place: str) -> list[Problem]:
    return [
        Problem(f"{place}[{index}].arch", f"is {arch}, which another has already")
        for index, arch in enumerate(arches)
        if arch in arches[:index]
    ]


def _ruleset_problems(ruleset: Ruleset) -> list[Problem]:
    found = check.ruleset_problems(ruleset, ".ruleset")
    for index, path in enumerate(ruleset.paths):
        place = f".ruleset.paths[{index}]"
        found += path_problems(path.components, path.kind, place=place)
        if not check.is_path_access(path.access, path.abi, ruleset.handled_fs):
            found += check.path_access_problems(path.access, path.abi, ruleset.handled_fs, place)
    many = len(ruleset.paths) > layout.MAX_PATHS
    if many and len({(one.components, one.kind) for one in ruleset.paths}) > layout.MAX_PATHS:
        found.append(Problem(".ruleset.paths", f"has more than {layout.MAX_PATHS} paths"))
    for index, port in enumerate(ruleset.ports):
        found += check.port_problems(port, ruleset.handled_net, f".ruleset.ports[{index}]")
    if len({(one.first, one.last) for one in ruleset.ports}) > layout.MAX_PORT_RULES:
        found.append(Problem(".ruleset.ports", f"has more than {layout.MAX_PORT_RULES} rules"))
    return found


Part = tuple[Section, int, bytes]


def _sections(file: PolicyFile, paths: list[bytes]) -> Iterable[Part]:
    programs: tuple[tuple[Section, Callable[[Filter], bpf.Program]], ...] = (
        (Section.FILTER, lambda one: one.program),
        (Section.PERMISSIVE, lambda one: one.permissive),
    )
    for kind, program_of in programs:
        for one in file.filters:
            yield kind, one.arch.audit, _filter(one.flags, program_of(one))
    if file.ruleset is not None:
        yield from _ruleset(file.ruleset, paths)
    if file.identity != Identity():
        yield Section.IDENTITY, 0, _identity(file.identity)
    for edges in file.transitions:
        data = b"".join(layout.EDGE.pack(*edge) for edge in edges.edges)
        head = layout.TRANSITIONS_HEAD.pack(len(edges.edges), 0)
        yield Section.TRANSITIONS, layout.transitions_id(edges.arch), head + data
    yield Section.METADATA, 0, metadata_bytes(file.metadata)
    if file.watch is not None:
        yield Section.WATCH, 0, encode_watch(file.watch)


def _filter(flags: int | None, program: bpf.Program) -> bytes:
    head = layout.FILTER_HEAD.pack(flags or 0, flags is not None, len(program), 0)
    return head + bpf.encode(program)


def _ruleset(ruleset: Ruleset, paths: list[bytes]) -> Iterable[Part]:
    handled = (ruleset.handled_fs, ruleset.handled_net, ruleset.scoped)
    head = layout.RULESET.pack(*handled, ruleset.abi, ruleset.has_addresses)
    yield Section.RULESET, 0, head
    if ruleset.paths:
        table = list(dict.fromkeys(paths))
        numbers = {path: number for number, path in enumerate(table)}
        rules = [
            layout.PATH_RULE.pack(one.access, numbers[path], one.on_missing, one.abi, one.plain_from)
            for one, path in zip(ruleset.paths, paths, strict=True)
        ]
        yield Section.PATH_RULES, 0, b"".join(rules)
        yield Section.PATHS, 0, encode_table(table)
    if ruleset.ports:
        ports = [layout.PORT_RULE.pack(one.access, one.first, one.last, one.abi) for one in ruleset.ports]
        yield Section.PORT_RULES, 0, b"".join(ports)


def _identity(identity: Identity) -> bytes:
    present = (
        (identity.uid is not None) * layout.HAS_UID
        | (identity.gid is not None) * layout.HAS_GID
        | (identity.capabilities is not None) * layout.HAS_CAPABILITIES
    )
    return layout.IDENTITY.pack(present, identity.uid or 0, identity.gid or 0, 0, identity.capabilities or 0)


def _assemble(parts: list[Part]) -> bytes:
    at = layout.HEADER.size + layout.ENTRY.size * len(parts)
    entries, bodies = [], []
    for kind, identifier, body in parts:
        entries.append(layout.ENTRY.pack(kind, identifier, at, len(body)))
        padded = body + bytes(layout.padding(len(body)))
        bodies.append(padded)
        at += len(padded)
    rest = b"".join([*entries, *bodies])
    digest = sha256(rest).digest()
    size = layout.HEADER.size
    return layout.HEADER.pack(layout.MAGIC, layout.VERSION, size, len(parts), size + len(rest), 0, digest) + rest
