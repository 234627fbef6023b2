"""What is let pass while the monitor learns: calls, the values of their arguments, whose they were.

Adding is on the way of every decision, and bounded in memory whatever targets do. `monitor.learnt` makes a policy of
what is here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from scmm_oci.enforcer.monitor.model import By, Call, Verdict
from scmm_oci.enforcer.monitor.record import Decided
from scmm_oci.tables import arguments
from scmm_oci.tables.arch import Arch

MOST_VALUES = 128  # of an argument; as many as a recording keeps (bpf/recorder.h)
MOST_PROGRAMS = 62  # of a call
MOST_PATHS = 1024  # of programs, together
MOST_NAMES = 16  # of targets
MOST_REFUSED = 64  # different ways in which one call was refused
MOST_UNNAMED = 64
_LONGEST_NAME = 256

_LOW = 0xFFFF_FFFF

# These decided about the call itself. The others refuse whatever comes, since they cannot decide.
_MEANT = frozenset({By.RULE, By.DEFAULT, By.REMEMBERED, By.PERSON, By.PROGRAM})


@dataclass(slots=True)
class Place:
    """The values of one argument, or of a pair as ``first << 32 | second``.

    open_ended: there were more than are kept.
    """

    indexes: tuple[int, ...]
    mask: int
    values: set[int] = field(default_factory=set)
    open_ended: bool = False


@dataclass(slots=True)
class Learnt:
    """A call that was let pass.

    programs: the files of those who made it; None among them where that is not known of some.
    """

    name: str
    places: tuple[Place, ...]
    count: int = 0
    programs: set[str | None] = field(default_factory=set)


@dataclass(slots=True)
class Refused:
    """A call that was decided against.

    Attributes:
        values: of the arguments that `places_of` names, in its order; empty with `too_many`.
        why: of the first time: which rule, or who.
    """

    name: str
    why: str
    count: int = 0
    values: set[tuple[int, ...]] = field(default_factory=set)
    too_many: bool = False


class Learning:
    """What was learnt since the monitor began. Its attributes are for `monitor.learnt` to read.

    Attributes:
        version: another number whenever something was new, more often than before does not count.
        calls, refused: by ABI and number.
        unnamed: (ABI, or AUDIT_ARCH in hexadecimal; number) of calls that no policy can name → how often they were let
            pass.
        unnamed_more: of how many further ones there was no room to keep that.
        last: when something was learnt, in seconds since 1970; None before.
    """

    def __init__(self, *, now: Callable[[], float]) -> None:
        self.began = now()
        self.version = 0
        self.last: float | None = None
        self.calls: dict[tuple[Arch, int], Learnt] = {}
        self.refused: dict[tuple[Arch, int], Refused] = {}
        self.unnamed: dict[tuple[str, int], int] = {}
        self.unnamed_more = 0
        self.names: dict[str, None] = {}
        self.names_more = False
        self._programs: dict[str, str] = {}
        self._target: object = None

    def add(self, decided: Decided) -> None:
        """Take one decision in: what learning let pass, and what somebody decided against."""
        decision = decided.decision
        if decision.by is not By.LEARNING:
            if decision.verdict is not Verdict.ALLOW and decision.by in _MEANT:
                self._refuse(decided)
            return
        if decision.verdict is not Verdict.ALLOW:
            return
        call = decided.call
        self.last = decided.at
        if decided.target is not self._target:
            self._meet(decided)
        known = self.calls.get((call.arch, call.nr))  # type: ignore[arg-type]
        if known is None:
            found = self._begin(call)
            if found is None:
                return
            known = found
        known.count += 1
        for place in known.places:
            value = _value(place, call)
            if value not in place.values and not place.open_ended:
                self._keep(place, value)
        process = decided.process
        program = process.executable if process is not None else None
        if program not in known.programs and None not in known.programs:
            known.programs.add(self._one(program) if len(known.programs) < MOST_PROGRAMS else None)
            self.version += 1

    def _one(self, program: str | None) -> str | None:
        """The path, once for all calls; None where there are too many."""
        if program is None:
            return None
        if program not in self._programs:
            if len(self._programs) >= MOST_PATHS:
                return None
            self._programs[program] = program
        return self._programs[program]

    def _meet(self, decided: Decided) -> None:
        self._target = decided.target
        name = decided.target.name[:_LONGEST_NAME]
        if name not in self.names:
            if len(self.names) < MOST_NAMES:
                self.names[name] = None
                self.version += 1
            else:
                self.names_more = True

    def _begin(self, call: Call) -> Learnt | None:
        if call.name is None or call.arch is None:
            key = (call.arch.value if call.arch is not None else f"{call.audit:#x}", call.nr)
            if key in self.unnamed or len(self.unnamed) < MOST_UNNAMED:
                self.version += key not in self.unnamed
                self.unnamed[key] = self.unnamed.get(key, 0) + 1
            else:
                self.unnamed_more += 1
            return None
        known = Learnt(call.name, places_of(call.arch, call.name))
        self.calls[call.arch, call.nr] = known
        self.version += 1
        return known

    def _keep(self, place: Place, value: int) -> None:
        if len(place.values) < MOST_VALUES:
            place.values.add(value)
        else:
            place.open_ended = True
        self.version += 1

    def _refuse(self, decided: Decided) -> None:
        call = decided.call
        if call.arch is None or call.name is None:
            return
        known = self.refused.get((call.arch, call.nr))
        if known is None:
            why = decided.decision.detail or decided.decision.by.value
            known = self.refused[call.arch, call.nr] = Refused(call.name, why)
        known.count += 1
        values = tuple(_value(place, call) for place in places_of(call.arch, call.name))
        if known.too_many or values in known.values:
            return
        self.version += 1
        if len(known.values) < MOST_REFUSED:
            known.values.add(values)
        else:
            known.too_many = True
            known.values.clear()


def places_of(arch: Arch, name: str) -> tuple[Place, ...]:
    """The arguments of a call whose values a filter can see, and that have names; without values yet."""
    return tuple(Place(indexes, mask) for indexes, mask in _places(arch).get(name, ()))


_kept: dict[Arch, dict[str, tuple[tuple[tuple[int, ...], int], ...]]] = {}


def _places(arch: Arch) -> dict[str, tuple[tuple[tuple[int, ...], int], ...]]:
    found = _kept.get(arch)
    if found is None:
        found = _kept[arch] = {
            name: tuple((one.indexes, one.mask) for one in known if one.field is None)
            for name, known in arguments.arguments(arch).items()
        }
    return found


def _value(place: Place, call: Call) -> int:
    indexes = place.indexes
    if len(indexes) == 1:
        return call.args[indexes[0]] & place.mask
    return (call.args[indexes[0]] & _LOW) << 32 | call.args[indexes[1]] & _LOW
