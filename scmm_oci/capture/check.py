"""What a capture document must be beyond its schema: names fit numbers, what is referred to exists, nothing twice.

Called by capture.file. Every check is linear: a hostile file has a million of everything. The document may lack
anything that the schema found bad, and then has None in lists in its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from scmm_oci.capture.facts import Stage
from scmm_oci.capture.model import LossKind, NoteKind, Phase
from scmm_oci.errors import Problem, short, unknown_value
from scmm_oci.schema import Steps, place
from scmm_oci.tables import errnos, states, syscalls

# The last number of a program: with more programs than numbers, the rest share it.
SHARED_PROGRAM = 63

_Items = Sequence[dict[str, Any] | None]


def check(document: dict[str, Any]) -> Iterator[Problem]:
    """Everything that is wrong with the meaning of a capture document."""
    complete, losses = document.get("complete"), document.get("losses")
    if complete is True and losses:
        yield Problem(".complete", "is true, but .losses is not empty")
    if complete is False and losses == []:
        yield Problem(".complete", "is false, but .losses names no loss")
    programs = _Known("program", document, LossKind.PROGRAMS)
    if any(one and one.get("kind") == NoteKind.PROGRAMS_SHARED for one in document.get("notes", ())):
        programs.numbers.add(SHARED_PROGRAM)
    sessions = _Known("session", document, LossKind.CALLS)
    yield from _sessions(document.get("sessions", ()), programs)
    yield from _programs(document.get("programs", ()))
    yield from _arguments(document.get("arguments", ()))
    yield from _files(document.get("files", ()), programs, sessions)
    yield from _sockets(document.get("sockets", ()), programs, sessions)
    yield from _order(document.get("order", ()))


class _Known:
    """The numbers that items of one kind have, and whether others may be referred to (as some were lost)."""

    def __init__(self, what: str, document: dict[str, Any], loss: LossKind) -> None:
        self.what = what
        items = document.get(f"{what}s")
        self.numbers = {one.get("number") for one in items or () if one}
        # Where one of them is bad already, its number may be the one that is looked for.
        whole = items is not None and all(one and "number" in one for one in items)
        lost = any(one is None or one.get("kind") == loss for one in document.get("losses", ()))
        self.checked = whole and not lost

    def missing(self, numbers: Sequence[int | None], path: Steps) -> Iterator[Problem]:
        if self.checked and not self.numbers.issuperset(numbers):
            for index, number in enumerate(numbers):
                if number is not None and number not in self.numbers:
                    yield Problem(place((*path, index)), f"there is no {self.what} {number} in .{self.what}s")


def _sessions(sessions: _Items, programs: _Known) -> Iterator[Problem]:
    numbers: dict[int, int] = {}
    for index, session in enumerate(sessions):
        if not session:
            continue
        number = session.get("number", -1 - index)
        first = numbers.setdefault(number, index)
        if first != index:
            where = place(("sessions", index, "number"))
            yield Problem(where, f"session {number} is .sessions[{first}] already")
        for phase in Phase:
            calls = session.get("phases", {}).get(phase.value, ())
            yield from _calls(calls, ("sessions", index, "phases", phase.value), programs)


def _calls(calls: _Items, path: Steps, programs: _Known) -> Iterator[Problem]:
    seen: dict[tuple[str, int], int] = {}
    for index, call in enumerate(calls):
        if not call:
            continue
        if "arch" in call and "nr" in call:
            arch, nr = call["arch"], call["nr"]
            first = seen.setdefault((arch, nr), index)
            if first != index:
                message = f"call {nr} of {arch} is {place((*path, first))} already"
                yield Problem(place((*path, index, "nr")), message)
            yield from _name(call, (*path, index))
        entered, succeeded = call.get("entered"), call.get("succeeded")
        if entered is not None and succeeded is not None and succeeded > entered:
            yield Problem(place((*path, index, "succeeded")), f"is {succeeded}, but .entered is {entered} only")
        yield from _errors(call.get("errnos", ()), (*path, index))
        denied_errno = call.get("denied_errno")
        if denied_errno is not None:
            where = place((*path, index, "denied_errno"))
            if errnos.number(denied_errno) is None:
                yield errnos.unknown(where, denied_errno)
            if call.get("denied") == 0:
                yield Problem(where, f"is {denied_errno}, but .denied is 0")
        if "programs" in call:
            yield from programs.missing(call["programs"], (*path, index, "programs"))


def _name(one: dict[str, Any], path: Steps) -> Iterator[Problem]:
    """The name of a call, or of the call of an argument, is its number's."""
    arch, nr, name = one["arch"], one["nr"], one.get("name")
    known = syscalls.numbers(arch)
    if name is None or known.get(name) == nr:
        return
    where = place((*path, "name"))
    if name not in known:
        yield unknown_value(where, f"a system call of {arch}", name, list(known))
        return
    right = syscalls.name_of(arch, nr)
    yield Problem(where, f"{name} is number {known[name]} of {arch}, not {nr}", f"{nr} is {right}" if right else "")


def _errors(words: Sequence[str | None], path: Steps) -> Iterator[Problem]:
    for index, word in enumerate(words):
        if word is not None and errnos.number(word) is None:
            yield errnos.unknown(place((*path, "errnos", index)), word)


def _programs(programs: _Items) -> Iterator[Problem]:
    seen: dict[int, int] = {}
    for index, one in enumerate(programs):
        if not one:
            continue
        number = one.get("number")
        if number is not None and number != SHARED_PROGRAM:
            first = seen.setdefault(number, index)
            if first != index:
                where = place(("programs", index, "number"))
                yield Problem(where, f"program {number} is .programs[{first}] already")
        yield from _path(one, ("programs", index))


def _arguments(arguments: _Items) -> Iterator[Problem]:
    seen: dict[object, int] = {}
    for index, one in enumerate(arguments):
        if not one or not {"arch", "nr"} <= one.keys():
            continue
        yield from _name(one, ("arguments", index))
        indexes, field = one.get("indexes"), one.get("field")
        if indexes is None or "field" not in one:
            continue
        first = seen.setdefault((one["arch"], one["nr"], tuple(indexes), field), index)
        if first != index:
            what = f"argument {' and '.join(map(str, indexes))} of call {one['nr']} of {one['arch']}"
            yield Problem(place(("arguments", index)), f"{what} is .arguments[{first}] already")


_FILE_KEYS = frozenset({"operation", "path", "flags", "other", "state", "created"})


def _files(files: _Items, programs: _Known, sessions: _Known) -> Iterator[Problem]:
    seen: dict[object, int] = {}
    for index, one in enumerate(files):
        if not one:
            continue
        if one.keys() >= _FILE_KEYS:
            key = (one["path"], one["operation"], one["flags"], one["other"], one["state"], one["created"])
            first = seen.setdefault(key, index)
            if first != index:
                yield Problem(place(("files", index)), f"the same use of the same path is .files[{first}] already")
        yield from _path(one, ("files", index))
        yield from _use(one, ("files", index), programs, sessions)


_SOCKET_KEYS = ("operation", "family", "type", "protocol", "address", "port")


def _sockets(sockets: _Items, programs: _Known, sessions: _Known) -> Iterator[Problem]:
    seen: dict[object, int] = {}
    for index, one in enumerate(sockets):
        if not one:
            continue
        if all(key in one for key in _SOCKET_KEYS):
            first = seen.setdefault(tuple(one[key] for key in _SOCKET_KEYS), index)
            if first != index:
                yield Problem(
                    place(("sockets", index)), f"the same use of the same address is .sockets[{first}] already"
                )
        yield from _use(one, ("sockets", index), programs, sessions)


def _use(one: dict[str, Any], path: Steps, programs: _Known, sessions: _Known) -> Iterator[Problem]:
    """What files and sockets share: errors, and who did it."""
    if words := one.get("errnos"):
        yield from _errors(words, path)
    yield from programs.missing(one.get("programs", ()), (*path, "programs"))
    yield from sessions.missing(one.get("sessions", ()), (*path, "sessions"))


def _path(one: dict[str, Any], steps: Steps) -> Iterator[Problem]:
    path = one.get("path")
    if path is None:
        return
    if "\0" in path:
        yield Problem(place((*steps, "path")), "has a null character, which no path can have")
    elif not path.startswith("/") and one.get("state") in ("resolved", "named"):
        yield Problem(place((*steps, "path")), f"{short(path)} does not begin with /")


_STAGES = [stage.value for stage in Stage]


def _order(order: _Items) -> Iterator[Problem]:
    arches: dict[object, int] = {}
    for index, one in enumerate(order):
        if not one:
            continue
        arch, stage = one.get("arch"), one.get("stage")
        if stage is not None and stage not in _STAGES:
            yield unknown_value(place(("order", index, "stage")), "a stage", stage, _STAGES)
        if arch is not None and arches.setdefault((arch, stage), index) != index:
            what = arch if stage is None else f"{arch} at the stage {stage}"
            yield Problem(place(("order", index, "arch")), f"{what} is .order[{arches[arch, stage]}] already")
        yield from _states(one.get("edges", ()), ("order", index, "edges"), arch)
        yield from _states(one.get("triples", ()), ("order", index, "triples"), arch)


def _states(items: Sequence[Sequence[int | str | None] | None], path: Steps, arch: str | None) -> Iterator[Problem]:
    """Edges, or triples: their words are known, only the first may be a beginning, and nothing is there twice."""
    classes = {} if arch is None else {word: number for word, number in states.called(arch).items() if ":" in word}
    first = {*classes, *states.BEGINNINGS, states.START}
    seen: dict[object, int] = {}
    for number, item in enumerate(items):
        if item is None or None in item:
            continue
        found = False
        for index, state in enumerate(item):
            if isinstance(state, str) and arch is not None and state not in (classes if index else first):
                found = True
                what = "a class of calls" if index else "a class of calls or a beginning"
                yield _unknown_state(place((*path, number, index)), state, arch, what, classes if index else first)
        if not found and seen.setdefault(tuple(item), number) != number:
            yield Problem(place((*path, number)), f"is {place((*path, seen[tuple(item)]))} already")
        elif len(item) == 3 and (item[0] == item[1] or item[1] == item[2]):
            yield Problem(place((*path, number)), "has the same call twice in a row, which in triples counts once")


def _unknown_state(where: str, word: str, arch: str, what: str, known: Iterable[str]) -> Problem:
    if word in states.BEGINNINGS or word == states.START:
        return Problem(where, f"{short(word)} is not a call, and nothing leads to a beginning")
    nr = syscalls.numbers(arch).get(word)
    if nr is not None:
        classes = states.classes_of(word)
        hint = f"write its number, {nr}" + (f", or its class, {' or '.join(classes)}" if len(classes) > 1 else "")
        return Problem(where, f"{short(word)} is a call's name, and calls stand here by number", hint)
    return unknown_value(where, f"{what} on {arch}", word, sorted(known), listed=0)
