"""Captures → what they hold together, as plain values: what ``scmm show`` prints and gives as JSON.

The same thing in several recordings is one item: its counts are sums, its lists unions, ``first`` is the earliest,
and ``recordings`` says how many recordings it is in. Programs get new numbers, as each recording has its own. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scmm_oci.capture.document import states_key
from scmm_oci.capture.facts import Program, Stage, State
from scmm_oci.capture.merge import distinct
from scmm_oci.capture.model import Capture, Phase, SessionKind
from scmm_oci.tables import syscalls

SECTIONS = ("programs", "calls", "arguments", "files", "sockets", "order")

Item = dict[str, Any]

_PROGRAM_KEYS = ("path", "state", "loader", "script", "argv0")
_CALL_KEYS = ("kind", "session", "phase", "arch", "nr")
_ARGUMENT_KEYS = ("arch", "nr", "indexes", "field")
_FILE_KEYS = ("path", "operation", "flags", "other", "created", "state")
_SOCKET_KEYS = ("family", "address", "port", "type", "protocol", "operation")

_KINDS = list(SessionKind)
_PHASES = list(Phase)
_STAGES = [None, *Stage]


def overview(captures: Iterable[Capture]) -> dict[str, Any]:
    """What the captures hold: ``recordings``, and a list for each of ``SECTIONS``.

    A number in ``programs`` of an item is that of a program in the list of programs. Where a recording has a number
    for several programs, or for none, that is a program without a path.
    """
    chosen = distinct(captures)
    programs = _Programs(chosen)
    return {
        "recordings": [_recording(capture) for capture in chosen],
        "calls": _calls(chosen, programs),
        "arguments": _arguments(chosen),
        "files": _uses([capture.files for capture in chosen], programs, _FILE_KEYS, ("access", "parent_access")),
        "sockets": _uses([capture.sockets for capture in chosen], programs, _SOCKET_KEYS, ()),
        "order": _order(chosen),
        "programs": programs.items(),
    }


class _Programs:
    """The programs of all recordings, and whom a recording's own numbers mean."""

    def __init__(self, captures: Sequence[Capture]) -> None:
        self._found: dict[object, Item] = {}
        self._known: list[dict[int, int | None]] = []
        for capture in captures:
            mine: dict[int, int | None] = {}
            for program in capture.programs:
                item = self._item(program)
                item["count"] += program.count
                item["first"] = _earlier(item["first"], program.first)
                item["recordings"].add(len(self._known))
                # A number of several programs says nothing of any one of them.
                mine[program.number] = None if program.number in mine else item["number"]
            self._known.append(mine)

    def items(self) -> list[Item]:
        return [{**item, "recordings": len(item["recordings"])} for item in self._found.values()]

    def numbers(self, recording: int, own: Iterable[int]) -> set[int]:
        known = (self._known[recording].get(number) for number in own)
        return {self._item(None)["number"] if number is None else number for number in known}

    def _item(self, program: Program | None) -> Item:
        key = tuple(None if program is None else getattr(program, name) for name in _PROGRAM_KEYS)
        if key not in self._found:
            words = dict(zip(_PROGRAM_KEYS, key, strict=True))
            self._found[key] = {"number": len(self._found), **words, "count": 0, "first": None, "recordings": set()}
        return self._found[key]


def _recording(capture: Capture) -> Item:
    return {
        "name": capture.name,
        "source": capture.source.value,
        "complete": capture.complete,
        "losses": [vars(loss) for loss in capture.losses],
        "notes": [vars(note) for note in capture.notes],
        "started_at": capture.started_at,
        "ended_at": capture.ended_at,
        "host": vars(capture.host),
        "container": vars(capture.container),
        "runtime": vars(capture.runtime),
    }


def _calls(captures: Sequence[Capture], programs: _Programs) -> list[Item]:
    table = _Table(_CALL_KEYS)
    for number, capture in enumerate(captures):
        for phase in Phase:
            for session, call in capture.calls(phase):
                item = table.item((session.kind, session.number, phase, call.arch, call.nr), number)
                item["name"] = call.name or item.get("name") or syscalls.name_of(call.arch, call.nr)
                _add(item, vars(call), ("entered", "succeeded", "denied"))
                _join(item, "errnos", call.errnos)
                _join(item, "denied_errnos", () if call.denied_errno is None else (call.denied_errno,))
                _join(item, "programs", programs.numbers(number, call.programs))
                item["first"] = _earlier(item.get("first"), call.first)
    return table.items(lambda key: (_KINDS.index(key[0]), key[1], _PHASES.index(key[2]), key[3], key[4]))


def _arguments(captures: Sequence[Capture]) -> list[Item]:
    table = _Table(_ARGUMENT_KEYS)
    for number, capture in enumerate(captures):
        for argument in capture.arguments:
            item = table.item((argument.arch, argument.nr, argument.indexes, argument.field), number)
            item["name"] = argument.name or item.get("name") or syscalls.name_of(argument.arch, argument.nr)
            item["open_ended"] = argument.open_ended or item.get("open_ended", False)
            _join(item, "values", argument.values)
    return table.items(lambda key: (*key[:3], key[3] or ""))


def _uses(
    lists: Sequence[Sequence[Any]], programs: _Programs, keys: tuple[str, ...], rights: tuple[str, ...]
) -> list[Item]:
    """Files or sockets, whose items are alike but for the keys that tell them apart."""
    table = _Table(keys)
    for number, uses in enumerate(lists):
        for use in uses:
            words = vars(use)
            item = table.item(tuple(words[key] for key in keys), number)
            _add(item, words, ("succeeded", "failed"))
            for name in (*rights, "errnos", "sessions"):
                _join(item, name, words[name])
            _join(item, "programs", programs.numbers(number, use.programs))
            item["first"] = _earlier(item.get("first"), use.first)
    # None does not compare with text and numbers.
    return table.items(lambda key: tuple((part is not None, part) for part in key))


def _order(captures: Sequence[Capture]) -> list[Item]:
    """For each ABI and stage: how many edges and triples there are, and each with how many recordings it is in.

    ``triples`` is None where no recording has any asked for.
    """
    found: dict[tuple[str, Stage | None], tuple[dict[Any, int], dict[Any, int] | None]] = {}
    for capture in captures:
        for edges in capture.order:
            pairs, triples = found.get((edges.arch, edges.stage), ({}, None))
            for pair in edges.pairs:
                pairs[pair] = pairs.get(pair, 0) + 1
            if edges.triples is not None:
                triples = {} if triples is None else triples
                for triple in edges.triples:
                    triples[triple] = triples.get(triple, 0) + 1
            found[edges.arch, edges.stage] = pairs, triples
    return [
        {
            "arch": arch,
            "stage": stage,
            "calls": len({end for _, end in pairs}),
            "count": len(pairs),
            "edges": _counted(pairs),
            "triples": None if triples is None else _counted(triples),
        }
        for (arch, stage), (pairs, triples) in sorted(
            found.items(), key=lambda one: (one[0][0], _STAGES.index(one[0][1]))
        )
    ]


def _counted(found: Mapping[tuple[State, ...], int]) -> list[list[State]]:
    return [[*states, found[states]] for states in sorted(found, key=states_key)]


class _Table:
    """Items by what tells them apart."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self._keys = keys
        self._found: dict[tuple[Any, ...], Item] = {}

    def item(self, key: tuple[Any, ...], recording: int) -> Item:
        """The item with the key, seen in a recording."""
        item = self._found.get(key)
        if item is None:
            item = self._found[key] = dict(zip(self._keys, key, strict=True)) | {"recordings": set()}
        item["recordings"].add(recording)
        return item

    def items(self, order: Any) -> list[Item]:
        """The items as plain values, sorted by the order of their keys."""
        return [_plain(self._found[key]) for key in sorted(self._found, key=order)]


def _plain(item: Mapping[str, Any]) -> Item:
    result = {key: sorted(value) if isinstance(value, set) else value for key, value in item.items()}
    return {**result, "recordings": len(item["recordings"])}


def _add(item: Item, words: Mapping[str, Any], names: Iterable[str]) -> None:
    for name in names:
        item[name] = item.get(name, 0) + words[name]


def _join(item: Item, name: str, values: Iterable[Any]) -> None:
    item.setdefault(name, set()).update(values)


def _earlier(first: int | None, second: int | None) -> int | None:
    return second if first is None else first if second is None else min(first, second)
