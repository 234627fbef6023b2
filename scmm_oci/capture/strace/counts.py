"""Calls, argument values and programs: adds them up as lines come, and gives them as values at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from scmm_oci.capture.facts import ArgumentSet, PathState, Program
from scmm_oci.capture.model import Call
from scmm_oci.capture.strace import values
from scmm_oci.capture.strace.paths import Bases
from scmm_oci.capture.strace.threads import Place
from scmm_oci.tables import errnos
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.arguments import Argument, value_of

# capture.model: what has no number of its own has this one.
SHARED_PROGRAM = 63
_MAX_PROGRAMS = 4096
_MAX_VALUES = 256

# Errors that strace has names for and errno(3) has not: linux/errno.h.
_KERNEL_ERRORS = {
    "ERESTARTSYS": "512", "ERESTARTNOINTR": "513", "ERESTARTNOHAND": "514", "ENOIOCTLCMD": "515",
    "ERESTART_RESTARTBLOCK": "516", "EPROBE_DEFER": "517", "EOPENSTALE": "518", "ENOPARAM": "519", "EBADHANDLE": "521",
    "ENOTSYNC": "522", "EBADCOOKIE": "523", "ENOTSUPP": "524", "ETOOSMALL": "525", "ESERVERFAULT": "526",
    "EBADTYPE": "527", "EJUKEBOX": "528", "EIOCBQUEUED": "529",
}  # fmt: skip


@lru_cache(1024)
def error_name(word: str) -> str | None:
    """An error as captures have it, or None if there is no such error."""
    word = _KERNEL_ERRORS.get(word, word)
    return word if errnos.number(word) is not None else None


@dataclass(slots=True, eq=False)
class Count:
    """One system call of one phase."""

    entered: int = 0
    succeeded: int = 0
    errnos: set[str] = field(default_factory=set)
    programs: set[int] = field(default_factory=set)
    first: int | None = None

    def call(self, arch: Arch, nr: int, name: str | None, *, app: bool) -> Call:
        """It as a value."""
        programs = tuple(sorted(self.programs)) if app else ()
        words = tuple(sorted(self.errnos))
        return Call(arch, nr, name, self.entered, self.succeeded, words, 0, None, programs, self.first)


class Arguments:
    """The values of arguments."""

    def __init__(self) -> None:
        self._sets: dict[tuple[Arch, int, tuple[int, ...], str | None], tuple[str | None, set[int], list[bool]]] = {}
        self._known: dict[tuple[int, Arch, str], int | None] = {}
        self.lost = 0

    def add(self, arch: Arch, nr: int, name: str, wanted: Sequence[Argument], arguments: list[str]) -> None:
        """The values of one call, as strace printed them."""
        for argument in wanted:
            text = _text(argument, arguments)
            if text is None:
                self.lost += 1
                continue
            value = self._value(argument, text, arch)
            if value is None:
                self.lost += 1
                continue
            key = (arch, nr, argument.indexes, argument.field)
            entry = self._sets.get(key)
            if entry is None:
                entry = self._sets[key] = (name, set(), [False])
            if len(entry[1]) < _MAX_VALUES or value in entry[1]:
                entry[1].add(value)
            else:
                entry[2][0] = True

    def _value(self, argument: Argument, text: str, arch: Arch) -> int | None:
        key = (id(argument), arch, text)
        try:
            return self._known[key]
        except KeyError:
            value = value_of(argument, text, arch=arch)
            if len(self._known) < 65536 and len(text) < 1024:
                self._known[key] = value
            return value

    def finish(self) -> tuple[ArgumentSet, ...]:
        """All of them, sorted."""
        return tuple(
            ArgumentSet(arch, nr, name, indexes, part, tuple(sorted(seen)), more[0])
            for (arch, nr, indexes, part), (name, seen, more) in sorted(
                self._sets.items(), key=lambda item: (*item[0][:3], item[0][3] or "")
            )
        )


def _text(argument: Argument, arguments: list[str]) -> str | None:
    """What value_of reads: one argument's text, or a pair's with a comma between; without strace's comments."""
    if max(argument.indexes) >= len(arguments):
        return None
    pieces = [values.plain(arguments[index]) for index in argument.indexes]
    if argument.field is not None:
        inner = values.field(arguments[argument.indexes[0]], argument.field)
        return None if inner is None else values.plain(inner)
    return ", ".join(pieces)


@dataclass(slots=True, eq=False)
class _Executed:
    number: int
    count: int
    first: int


class Programs:
    """The programs that were executed."""

    def __init__(self) -> None:
        self._seen: dict[tuple[Place, str], _Executed] = {}
        self.lost = 0

    def execute(self, place: Place, argv0: str, now: int) -> int:
        """One more execution; the program's number."""
        key = (place, argv0)
        seen = self._seen.get(key)
        if seen is None:
            if len(self._seen) >= _MAX_PROGRAMS:
                self.lost += 1
                return SHARED_PROGRAM
            seen = self._seen[key] = _Executed(min(len(self._seen), SHARED_PROGRAM), 0, now)
        seen.count += 1
        return seen.number

    @property
    def shared(self) -> int:
        """How many programs share the last number."""
        return max(0, len(self._seen) - SHARED_PROGRAM)

    def finish(self, bases: Bases) -> tuple[Program, ...]:
        """All of them, in the order in which they were first executed."""
        found = []
        for (place, argv0), seen in self._seen.items():
            path, state = bases.resolve(place.path), place.state
            if path is None:
                # Its directory never became known: what can be said is how it was called there.
                path, state = place.path.partition("/")[2], PathState.OUTSIDE
                self.lost += 1
            found.append(Program(seen.number, path, state, None, None, argv0, seen.count, seen.first))
        return tuple(found)
