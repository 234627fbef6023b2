"""Captures → statistics as plain values: calls by category, files by top directory, network, arguments. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from scmm_oci.capture.facts import PathState, Stage
from scmm_oci.capture.merge import distinct
from scmm_oci.capture.model import Call, Capture, Phase
from scmm_oci.cli.machine_values import machine_values
from scmm_oci.cli.meanings import meaning
from scmm_oci.errors import BadInput, Finding, Problem
from scmm_oci.policy.decisions import Decisions, check
from scmm_oci.policy.infer import name_of, stages
from scmm_oci.policy.infer.network import direction_of, is_ip, protocol_of
from scmm_oci.policy.infer.observe import native
from scmm_oci.policy.infer.order import machine
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.categories import Category, category_of

TOP = 5
# Values of an argument that are told by name; a capture can hold thousands.
_VALUES = 64
# Findings about a machine that are not told in another way.
_NOTES = ("transitions-left-out", "class-not-known", "no-order")

Item = dict[str, Any]


def recording(capture: Capture) -> Item:
    """One recording: what it lost, its sessions phase by phase, and what :func:`together` says of it alone."""
    return {
        "name": capture.name,
        "complete": capture.complete,
        "losses": [vars(loss) for loss in capture.losses],
        "notes": [vars(note) for note in capture.notes],
        "runtime": vars(capture.runtime),
        "sessions": [
            {
                "kind": session.kind,
                "number": session.number,
                "phases": {phase.value: _phase(session.calls(phase)) for phase in Phase},
            }
            for session in capture.sessions
        ],
        **together([capture]),
    }


def together(captures: Sequence[Capture]) -> Item:
    """What the programs of all recordings did, each different recording counted once."""
    chosen = distinct(captures)
    return {
        "categories": _categories(chosen),
        "files": _files(chosen),
        "programs": _programs(chosen),
        "network": _network(chosen),
        "arguments": _arguments(chosen),
    }


def order(captures: Sequence[Capture], decisions: Decisions) -> list[Item]:
    """The machine of calls of each ABI that the captures' machines have, as the decisions about transitions make it.

    Args:
        captures: different ones, in their one order.

    Raises:
        BadInput: they lack what it is to be made of.
    """
    wanted = decisions.changed(transitions=True)
    check(wanted)
    found: list[Problem] = []
    machines = []
    for arch in sorted({one for capture in captures if (one := native(capture)) is not None}):
        those = [capture for capture in captures if native(capture) is arch and capture.order]
        problems = list(stages.check(those, arch, wanted))
        found += problems
        if those and not problems:
            findings: list[Finding] = []
            made = machine(those, arch, wanted, findings)
            machines.append({
                "arch": arch.value,
                **machine_values(made),
                "stages": _stages(those, arch),
                "notes": [one.message for one in findings if one.code in _NOTES],
            })  # fmt: skip
    if found:
        raise BadInput(found)
    return machines


def _stages(captures: Iterable[Capture], arch: Arch) -> dict[str, int]:
    """How many different steps processes made at each stage, as they were recorded."""
    steps: dict[Stage, set[object]] = defaultdict(set)
    for capture in captures:
        for edges in capture.order:
            if edges.arch is arch and edges.stage is not None:
                steps[edges.stage].update(edges.pairs)
    return {stage.value: len(steps[stage]) for stage in Stage if stage in steps}


def _phase(calls: Sequence[Call]) -> Item:
    counts: Counter[str] = Counter()
    denied = set()
    for call in calls:
        name = _name(call)
        if call.entered:
            counts[name] += call.entered
        if call.denied:
            denied.add((name, call.denied_errno or "answered"))
    return {"names": len(counts), "calls": counts.total(), "top": _top(counts), "denied": sorted(denied)}


def _name(call: Call) -> str:
    return name_of(call) or f"{call.arch}:{call.nr}"


def _top(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:TOP]


def _categories(captures: Iterable[Capture]) -> list[Item]:
    counts: dict[Category, Counter[str]] = defaultdict(Counter)
    for capture in captures:
        for _, call in capture.calls(Phase.APP):
            if call.entered:
                name = _name(call)
                counts[category_of(name)][name] += call.entered
    return [
        {"category": one.value, "names": len(counts[one]), "calls": counts[one].total(), "top": _top(counts[one])}
        for one in Category
        if one in counts
    ]


def _files(captures: Iterable[Capture]) -> list[Item]:
    """By top directory: how many paths, which rights on how many of them, how many made, or looked for in vain."""
    rights: dict[str, set[str]] = defaultdict(set)
    found: dict[str, bool] = {}
    made: set[str] = set()
    for capture in captures:
        for use in capture.files:
            if use.state in (PathState.INTERNAL, PathState.OUTSIDE):
                continue
            found[use.path] = found.get(use.path, False) or bool(use.succeeded)
            rights[use.path].update(use.access)
            if use.parent_access:
                rights[use.path.rpartition("/")[0] or "/"].update(use.parent_access)
            if use.created:
                made.add(use.path)
    groups: dict[str, list[str]] = defaultdict(list)
    for path in rights.keys() | found.keys():
        groups[_top_directory(path)].append(path)
    return [
        {
            "directory": directory,
            "paths": len(paths),
            "rights": dict(sorted(Counter(right for path in paths for right in rights[path]).items())),
            "created": sum(path in made for path in paths),
            "missing": sum(not found.get(path, True) for path in paths),
        }
        for directory, paths in sorted(groups.items())
    ]


def _top_directory(path: str) -> str:
    first, _, _ = path[1:].partition("/")
    return f"/{first}" if path.startswith("/") else path.partition("/")[0]


def _programs(captures: Iterable[Capture]) -> list[Item]:
    counts: Counter[str] = Counter()
    recordings: dict[str, set[int]] = defaultdict(set)
    for number, capture in enumerate(captures):
        for program in capture.programs:
            counts[program.path] += program.count
            recordings[program.path].add(number)
    return [{"path": path, "count": counts[path], "recordings": len(recordings[path])} for path in sorted(counts)]


def _network(captures: Iterable[Capture]) -> list[Item]:
    counts: Counter[tuple[str, str, int]] = Counter()
    addresses: dict[tuple[str, str, int], set[str]] = defaultdict(set)
    for capture in captures:
        for use in capture.sockets:
            protocol = protocol_of(use)
            if protocol is None or use.port is None or not is_ip(use):
                continue
            key = (direction_of(use), protocol.value, use.port)
            counts[key] += use.succeeded + use.failed
            addresses[key].update([use.address] if use.address else [])
    return [
        {"direction": way, "protocol": protocol, "port": port, "count": counts[way, protocol, port],
         "addresses": sorted(addresses[way, protocol, port])}
        for way, protocol, port in sorted(counts)
    ]  # fmt: skip


def _arguments(captures: Iterable[Capture]) -> list[Item]:
    values: dict[tuple[str, str, tuple[int, ...], str], set[int]] = defaultdict(set)
    opened: set[object] = set()
    arches: dict[object, Item] = {}
    for capture in captures:
        for one in capture.arguments:
            name = one.name or str(one.nr)
            key = (name, one.arch.value, one.indexes, one.field or "")
            values[key].update(one.values)
            arches[key] = {"name": one.name, "arch": one.arch, "indexes": one.indexes, "field": one.field}
            if one.open_ended:
                opened.add(key)
    return [
        {
            "call": key[0],
            "arch": key[1],
            "indexes": list(key[2]),
            "field": key[3] or None,
            "count": len(values[key]),
            "values": [meaning(arches[key], value) for value in sorted(values[key])[:_VALUES]],
            "open_ended": key in opened,
        }
        for key in sorted(values)
    ]
