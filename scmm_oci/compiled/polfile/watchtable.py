"""The section of a .scmm-pol file that says what a watch is to do: written, read and checked. Pure.

Called by `writer` and `sections`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from struct import Struct

from scmm_oci.compiled.polfile import layout
from scmm_oci.compiled.polfile.check import STATES_HINT, edges_problems
from scmm_oci.compiled.polfile.codes import is_called, is_state
from scmm_oci.compiled.polfile.model import CLASSES, CLASSES_END, NOTHING, Machine, Transitions, Watch
from scmm_oci.errors import Problem, unknown_value
from scmm_oci.tables.arch import Arch

Triples = Sequence[tuple[int, int, int]]

# The lists of a machine in the order in which they stand, what one item has, and how many there may be.
_LISTS: tuple[tuple[str, Struct, int], ...] = (
    ("serving_calls", layout.SERVING_CALL, layout.MAX_CALLS),
    ("serving", layout.EDGE, layout.MAX_EDGES),
    ("deep", layout.TRIPLE, layout.MAX_TRIPLES),
    ("serving_deep", layout.TRIPLE, layout.MAX_TRIPLES),
)


def canonical_watch(watch: Watch) -> Watch:
    """The same watch as it stands in files: everything sorted and once, no machine that says nothing."""
    machines = [
        replace(
            one,
            serving_calls=None if one.serving_calls is None else tuple(sorted(set(one.serving_calls))),
            serving=tuple(sorted(set(one.serving))),
            deep=tuple(sorted(set(one.deep))),
            serving_deep=tuple(sorted(set(one.serving_deep))),
        )
        for one in watch.machines
        if one != Machine(one.arch)
    ]
    return Watch(watch.action, tuple(sorted(machines, key=lambda one: layout.transitions_id(one.arch))))


def encode_watch(watch: Watch) -> bytes:
    """The section's bytes; of a watch that `canonical_watch` made, and in which `watch_problems` found nothing."""
    pieces = [layout.WATCH_HEAD.pack(layout.ACTIONS.index(watch.action), len(watch.machines))]
    for one in watch.machines:
        calls = [(call,) for call in one.serving_calls or ()]
        lists: tuple[Iterable[tuple[int, ...]], ...] = (calls, one.serving, one.deep, one.serving_deep)
        counts = (len(calls), len(one.serving), len(one.deep), len(one.serving_deep))
        number = layout.transitions_id(one.arch)
        pieces.append(layout.MACHINE_HEAD.pack(number, one.serving_calls is not None, *counts))
        for (_, record, _), items in zip(_LISTS, lists, strict=True):
            pieces += [record.pack(*item) for item in items]
    return b"".join(pieces)


def decode_watch(data: bytes, place: str, found: list[Problem]) -> Watch | None:
    """The watch in a section's bytes; None if they are cut or have more than they say.

    Args:
        found: gets what is wrong with its form: sizes, flags, the order. What it means is `watch_problems`' to judge.
    """
    if len(data) < layout.WATCH_HEAD.size:
        found.append(Problem(place, f"has {len(data)} bytes; {layout.WATCH_HEAD.size} are the least"))
        return None
    number, count = layout.WATCH_HEAD.unpack_from(data)
    if number >= len(layout.ACTIONS):
        known = ", ".join(f"{index} ({word})" for index, word in enumerate(layout.ACTIONS))
        found.append(Problem(f"{place}.action", f"is {number}", f"known: {known}"))
    if count > len(layout.TRANSITION_IDS):
        found.append(Problem(f"{place}.count", f"is {count}; {len(layout.TRANSITION_IDS)} are the most"))
        return None
    at, ids, machines = layout.WATCH_HEAD.size, [], []
    for index in range(count):
        here = f"{place}.machines[{index}]"
        if len(data) - at < layout.MACHINE_HEAD.size:
            found.append(Problem(here, "is beyond the section's end"))
            return None
        identifier, has_serving, *counts = layout.MACHINE_HEAD.unpack_from(data, at)
        at += layout.MACHINE_HEAD.size
        arch = layout.TRANSITION_IDS.get(identifier)
        if arch is None:
            found.append(Problem(f"{here}.id", f"is {identifier:#x}, which no ABI has"))
        if has_serving > 1:
            found.append(Problem(f"{here}.has_serving", f"is {has_serving}, and must be 0 or 1"))
        lists: list[list[tuple[int, ...]]] = []
        for (name, record, most), size in zip(_LISTS, counts, strict=True):
            if size > most or size * record.size > len(data) - at:
                message = f"has {size} records, {most} are the most" if size > most else "goes beyond the section's end"
                found.append(Problem(f"{here}.{name}", message))
                return None
            lists.append(list(record.iter_unpack(data[at : at + size * record.size])))
            at += size * record.size
            _ascending(lists[-1], f"{here}.{name}", found)
        ids.append((identifier,))
        if arch is not None:
            machines.append(_machine(arch, bool(has_serving), lists))
            if not has_serving and lists[0]:
                found.append(Problem(f"{here}.serving_calls", "are there, though there is no serving phase"))
            if machines[-1] == Machine(arch):
                found.append(Problem(here, "says nothing"))
    _ascending(ids, f"{place}.machines", found)
    if at != len(data):
        found.append(Problem(place, f"has {len(data)} bytes, and its machines end at {at}"))
    return Watch(layout.ACTIONS[number % len(layout.ACTIONS)], tuple(machines))


def _machine(arch: Arch, has_serving: bool, lists: Sequence[Sequence[tuple[int, ...]]]) -> Machine:
    calls, serving, deep, serving_deep = lists
    return Machine(
        arch,
        tuple(call for (call,) in calls) if has_serving else None,
        tuple((before, after) for before, after in serving),
        tuple((first, before, after) for first, before, after in deep),
        tuple((first, before, after) for first, before, after in serving_deep),
    )


def _ascending(items: Sequence[tuple[int, ...]], place: str, found: list[Problem]) -> None:
    for index, (before, after) in enumerate(pairwise(items)):
        if before >= after:
            found.append(Problem(f"{place}[{index + 1}]", "is not after the one before it"))
            return


def watch_problems(watch: Watch, transitions: Sequence[Transitions], place: str) -> list[Problem]:
    """Problems of a watch, but for the order of what it has.

    Args:
        transitions: those of the same file.
    """
    found = []
    if watch.action not in layout.ACTIONS:
        found.append(unknown_value(f"{place}.action", "an action", watch.action, layout.ACTIONS))
    if not transitions and all(one.serving_calls is None for one in watch.machines):
        found.append(Problem(place, "has no transitions to watch"))
    plain = {one.arch for one in transitions}
    for index, one in enumerate(watch.machines):
        found += _machine_problems(one, f"{place}.machines[{index}]", has_plain=one.arch in plain)
    return found


def _machine_problems(one: Machine, place: str, *, has_plain: bool) -> list[Problem]:
    found = []
    calls = one.serving_calls or ()
    if len(calls) > layout.MAX_CALLS:
        found.append(Problem(f"{place}.serving_calls", f"has {len(calls)} calls; {layout.MAX_CALLS} are the most"))
    for number, call in enumerate(calls[: layout.MAX_CALLS]):
        if not is_called(call) or CLASSES <= call < CLASSES_END:
            found.append(Problem(f"{place}.serving_calls[{number}]", f"is {call:#x}, which is no call"))
    for name, there in (("serving", one.serving), ("serving_deep", one.serving_deep)):
        if there and one.serving_calls is None:
            found.append(Problem(f"{place}.{name}", "is there, though there is no serving phase"))
    if one.deep and not has_plain:
        found.append(Problem(f"{place}.deep", "is there, though the ABI has no transitions"))
    found += edges_problems(one.serving, place, name="serving")
    found += _triples_problems(one.deep, f"{place}.deep")
    return found + _triples_problems(one.serving_deep, f"{place}.serving_deep")


def _triples_problems(triples: Triples, place: str) -> list[Problem]:
    if len(triples) > layout.MAX_TRIPLES:
        return [Problem(place, f"has {len(triples)} triples; {layout.MAX_TRIPLES} are the most")]
    found = []
    closed = {(first, before) for first, before, after in triples if after == NOTHING}
    for index, (first, before, after) in enumerate(triples):
        here = f"{place}[{index}]"
        if not is_state(first) or not is_called(before) or not (is_called(after) or after == NOTHING):
            found.append(Problem(here, f"is {first}, {before}, {after}", STATES_HINT))
        elif after != NOTHING and (first, before) in closed:
            found.append(Problem(here, "is of a pair that nothing may follow"))
    return found
