"""Read and write capture files: one JSON document each, checked in full before anything is made of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

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
)
from scmm_oci.errors import BadInput, Problem, unknown_value
from scmm_oci.files import atomic_write, read_bounded
from scmm_oci.schema import MOST, Steps, load_json, place, problems, prune
from scmm_oci.tables import errnos, syscalls
from scmm_oci.tables.arch import Arch

# A recording has some 100 KiB; the 32 tables that a recorder has for one container make some 3 MiB when all calls are
# in all of them. A planted file at the bound takes seconds and some hundred MiB to read, not the machine.
MAX_BYTES = 8 << 20


def read(path: str | os.PathLike[str]) -> Capture:
    """The capture in a file.

    Raises:
        BadInput: the file cannot be read, is too large, or is no capture; with everything that is wrong with it.
    """
    return parse(read_bounded(path, MAX_BYTES), source=os.fspath(path))


def write(path: str | os.PathLike[str], capture: Capture) -> None:
    """Write a capture file whole or not at all, readable by its owner only: arguments can hold secrets.

    Raises:
        Failure: it could not be written.
    """
    atomic_write(path, dump(capture), 0o600)


def parse(data: bytes, *, source: str = "") -> Capture:
    """The capture in a JSON text.

    Args:
        source: the file's name, for the messages.

    Raises:
        BadInput: it is no capture.
    """
    document = load_json(data, source=source)
    bad = problems(document, "capture")
    found = [*(one.problem for one in bad), *islice(_check(prune(document, bad)), MOST)]
    if found:
        raise BadInput(found, source=source)
    return _build(document)


def dump(capture: Capture) -> bytes:
    """The capture as JSON: sorted keys, no spaces, ASCII (so that lone surrogates survive), one line end."""
    return (json.dumps(_document(capture), sort_keys=True, separators=(",", ":")) + "\n").encode("ascii")


def _check(document: dict[str, Any]) -> Iterator[Problem]:
    """What the schema cannot say. The document may lack anything that the schema has found bad."""
    complete, losses = document.get("complete"), document.get("losses")
    if complete is True and losses:
        yield Problem(".complete", "is true, but .losses is not empty")
    if complete is False and losses == []:
        yield Problem(".complete", "is false, but .losses names no loss")
    numbers: dict[int, int] = {}
    for index, session in enumerate(document.get("sessions", ())):
        if not session:
            continue
        number = session.get("number", -1 - index)
        first = numbers.setdefault(number, index)
        if first != index:
            where = place(("sessions", index, "number"))
            yield Problem(where, f"session {number} is .sessions[{first}] already")
        for phase in Phase:
            calls = session.get("phases", {}).get(phase.value, ())
            yield from _check_calls(calls, ("sessions", index, "phases", phase.value))


def _check_calls(calls: Sequence[dict[str, Any] | None], path: Steps) -> Iterator[Problem]:
    seen: dict[tuple[str, int], int] = {}
    for index, call in enumerate(calls):
        if not call:
            continue
        if "arch" in call and "nr" in call:
            arch, nr, name = call["arch"], call["nr"], call.get("name")
            first = seen.setdefault((arch, nr), index)
            if first != index:
                message = f"call {nr} of {arch} is {place((*path, first))} already"
                yield Problem(place((*path, index, "nr")), message)
            if name is not None and syscalls.numbers(arch).get(name) != nr:
                yield _misnamed(place((*path, index, "name")), arch, nr, name)
        entered, succeeded = call.get("entered"), call.get("succeeded")
        if entered is not None and succeeded is not None and succeeded > entered:
            yield Problem(place((*path, index, "succeeded")), f"is {succeeded}, but .entered is {entered} only")
        for number, word in enumerate(call.get("errnos", ())):
            if word is not None and errnos.number(word) is None:
                yield errnos.unknown(place((*path, index, "errnos", number)), word)
        denied_errno = call.get("denied_errno")
        if denied_errno is not None:
            where = place((*path, index, "denied_errno"))
            if errnos.number(denied_errno) is None:
                yield errnos.unknown(where, denied_errno)
            if call.get("denied") == 0:
                yield Problem(where, f"is {denied_errno}, but .denied is 0")


def _misnamed(where: str, arch: str, nr: int, name: str) -> Problem:
    known = syscalls.numbers(arch)
    if name not in known:
        return unknown_value(where, f"a system call of {arch}", name, list(known))
    right = syscalls.name_of(arch, nr)
    return Problem(where, f"{name} is number {known[name]} of {arch}, not {nr}", f"{nr} is {right}" if right else "")


def _build(document: dict[str, Any]) -> Capture:
    container = document["container"]
    return Capture(
        name=document["name"],
        losses=tuple(Loss(LossKind(loss["kind"]), loss["count"], loss["detail"]) for loss in document["losses"]),
        notes=tuple(Note(NoteKind(note["kind"]), note["count"], note["detail"]) for note in document["notes"]),
        started_at=document["started_at"],
        ended_at=document["ended_at"],
        recorder=Recorder(**document["recorder"]),
        host=Host(**document["host"]),
        container=Container(**{**container, "args": tuple(container["args"])}),
        runtime=Runtime(**document["runtime"]),
        sessions=tuple(_session(session) for session in document["sessions"]),
    )


def _session(document: dict[str, Any]) -> Session:
    phases = {name: tuple(_call(call) for call in calls) for name, calls in document["phases"].items()}
    return Session(SessionKind(document["kind"]), document["number"], **phases)


def _call(document: dict[str, Any]) -> Call:
    return Call(**{**document, "arch": Arch(document["arch"]), "errnos": tuple(sorted(document["errnos"]))})


def _document(capture: Capture) -> dict[str, Any]:
    container = capture.container
    return {
        "format": "scmm-capture",
        "version": 1,
        "name": capture.name,
        "complete": capture.complete,
        "losses": [vars(loss) for loss in capture.losses],
        "notes": [vars(note) for note in capture.notes],
        "started_at": capture.started_at,
        "ended_at": capture.ended_at,
        "recorder": vars(capture.recorder),
        "host": vars(capture.host),
        "container": {**vars(container), "args": list(container.args)},
        "runtime": vars(capture.runtime),
        "sessions": [
            {
                "kind": session.kind,
                "number": session.number,
                "phases": {phase.value: [vars(call) for call in session.calls(phase)] for phase in Phase},
            }
            for session in capture.sessions
        ],
    }
