"""Capture documents (plain values, as schemas/capture.schema.json has them) ⇄ captures as frozen values.

Both ways take what is right for granted: capture.file checks a document before it comes here. What has no order of
its own inside an item (errors, rights, values, numbers of programs) is sorted; items keep the order they have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from scmm_oci.capture.facts import (
    ArgumentSet,
    Edges,
    FileUse,
    Operation,
    PathState,
    Program,
    SocketOperation,
    SocketUse,
    Stage,
    State,
)
from scmm_oci.capture.model import (
    Call,
    Capture,
    Container,
    Host,
    Loss,
    LossKind,
    Note,
    NoteKind,
    Phase,
    Recorder,
    Runtime,
    Session,
    SessionKind,
    Source,
)
from scmm_oci.tables.arch import Arch

FORMAT = "scmm-capture"
VERSION = 2

# Looked up a hundred thousand times: a dictionary takes a fifth of the time that an enumeration's own call does.
_STATES = {state.value: state for state in PathState}
_OPERATIONS = {operation.value: operation for operation in Operation}
_ARCHES = {arch.value: arch for arch in Arch}


def build(document: dict[str, Any]) -> Capture:
    """The capture that a checked document describes."""
    container = document["container"]
    words = _sorter()
    return Capture(
        name=document["name"],
        source=Source(document["source"]),
        losses=tuple(Loss(LossKind(loss["kind"]), loss["count"], loss["detail"]) for loss in document["losses"]),
        notes=tuple(Note(NoteKind(note["kind"]), note["count"], note["detail"]) for note in document["notes"]),
        started_at=document["started_at"],
        ended_at=document["ended_at"],
        recorder=Recorder(**document["recorder"]),
        host=Host(**document["host"]),
        container=Container(**{**container, "args": tuple(container["args"])}),
        runtime=Runtime(**document["runtime"]),
        sessions=tuple(_session(session, words) for session in document["sessions"]),
        programs=tuple(Program(**{**one, "state": _STATES[one["state"]]}) for one in document["programs"]),
        arguments=tuple(_argument(one) for one in document["arguments"]),
        files=tuple(_file(one, words) for one in document["files"]),
        sockets=tuple(_socket(one, words) for one in document["sockets"]),
        order=tuple(_edges(one) for one in document["order"]),
    )


def plain(capture: Capture) -> dict[str, Any]:
    """The document of a capture: what ``json.dumps`` writes as the format has it."""
    container = capture.container
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": capture.name,
        "source": capture.source,
        "complete": capture.complete,
        "losses": [vars(loss) for loss in capture.losses],
        "notes": [vars(note) for note in capture.notes],
        "started_at": capture.started_at,
        "ended_at": capture.ended_at,
        "recorder": vars(capture.recorder),
        "host": vars(capture.host),
        "container": vars(container),
        "runtime": vars(capture.runtime),
        "sessions": [
            {
                "kind": session.kind,
                "number": session.number,
                "phases": {phase.value: [vars(call) for call in session.calls(phase)] for phase in Phase},
            }
            for session in capture.sessions
        ],
        "programs": [vars(program) for program in capture.programs],
        "arguments": [vars(argument) for argument in capture.arguments],
        "files": [vars(file) for file in capture.files],
        "sockets": [vars(socket) for socket in capture.sockets],
        "order": [_plain_edges(edges) for edges in capture.order],
    }


_Sorter = Callable[[Sequence[Any]], tuple[Any, ...]]


def _sorter() -> _Sorter:
    """Makes sorted tuples of short lists, each different one once: a capture has few, a hundred thousand times."""
    known: dict[tuple[Any, ...], tuple[Any, ...]] = {}

    def words(items: Sequence[Any]) -> tuple[Any, ...]:
        key = tuple(items)
        found = known.get(key)
        if found is None:
            found = known[key] = tuple(sorted(key))
        return found

    return words


def _session(document: dict[str, Any], words: _Sorter) -> Session:
    phases = {name: tuple(_call(call, words) for call in calls) for name, calls in document["phases"].items()}
    return Session(SessionKind(document["kind"]), document["number"], **phases)


def _call(one: dict[str, Any], words: _Sorter) -> Call:
    changed = {"arch": _ARCHES[one["arch"]], "errnos": words(one["errnos"]), "programs": words(one["programs"])}
    return Call(**{**one, **changed})


def _argument(one: dict[str, Any]) -> ArgumentSet:
    changed = {
        "arch": _ARCHES[one["arch"]],
        "indexes": tuple(one["indexes"]),
        "values": tuple(sorted(one["values"])),
    }
    return ArgumentSet(**{**one, **changed})


def _file(one: dict[str, Any], words: _Sorter) -> FileUse:
    return FileUse(
        one["path"],
        _STATES[one["state"]],
        _OPERATIONS[one["operation"]],
        one["flags"],
        one["other"],
        one["created"],
        words(one["access"]),
        words(one["parent_access"]),
        one["succeeded"],
        one["failed"],
        words(one["errnos"]),
        words(one["programs"]),
        words(one["sessions"]),
        one["first"],
    )


def _socket(one: dict[str, Any], words: _Sorter) -> SocketUse:
    changed = {key: words(one[key]) for key in ("errnos", "programs", "sessions")}
    return SocketUse(**{**one, **changed, "operation": SocketOperation(one["operation"])})


def _edges(one: dict[str, Any]) -> Edges:
    pairs = sorted(((start, end) for start, end in one["edges"]), key=states_key)
    triples = None
    if "triples" in one:
        triples = tuple(sorted(((before, start, end) for before, start, end in one["triples"]), key=states_key))
    stage = Stage(one["stage"]) if "stage" in one else None
    return Edges(_ARCHES[one["arch"]], tuple(pairs), stage, triples)


def _plain_edges(edges: Edges) -> dict[str, Any]:
    # What a recorder of an earlier version did not write is not written: the same bytes again.
    one: dict[str, Any] = {"arch": edges.arch}
    if edges.stage is not None:
        one["stage"] = edges.stage
    one["edges"] = edges.pairs
    if edges.triples is not None:
        one["triples"] = edges.triples
    return one


def states_key(states: Sequence[State]) -> tuple[tuple[bool, State], ...]:
    """What edges and triples are sorted by: words come before numbers, with which they do not compare."""
    return tuple((isinstance(state, int), state) for state in states)
