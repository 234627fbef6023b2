"""Captures → the calls of the phase app as a filter sees them, and the values that their arguments had. Pure.

Called by compiled.verify.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

from scmm_oci.capture.facts import ArgumentSet
from scmm_oci.capture.model import Capture, Phase
from scmm_oci.compiled.bpf import WORD, Call
from scmm_oci.compiled.question import bare_call, high_words
from scmm_oci.compiled.ways import Known
from scmm_oci.errors import BadInput, Problem
from scmm_oci.policy.constraints import argument_of
from scmm_oci.policy.infer.observe import name_of
from scmm_oci.tables import arguments, syscalls
from scmm_oci.tables.arch import Arch, from_machine
from scmm_oci.tables.syscalls import X32_SYSCALL_BIT

# Combinations of recorded values beyond this are not tried one by one: each value is, with the others unknown.
MOST_COMBINATIONS = 1024

_FULL = (1 << 64) - 1

# The values of one ArgumentSet: indexes, and one of the values.
Place = tuple[int, ...]


@dataclass
class Values:
    """What one argument (or two, as a pair) was seen with; open_ended: with more values than were kept."""

    values: set[int] = field(default_factory=set)
    open_ended: bool = False


@dataclass
class RecordedCall:
    """All recordings of one call on machines of one architecture.

    Attributes:
        machine: the kernel's own ABI.
        nr: as a filter sees it.
        count: how often it was made.
        arguments: by their places.
    """

    machine: Arch
    arch: Arch
    nr: int
    name: str | None
    count: int = 0
    arguments: dict[Place, Values] = field(default_factory=dict)

    @property
    def call(self) -> Call:
        """The call without its arguments."""
        return bare_call(self.arch, self.nr)

    @property
    def title(self) -> str:
        """Its name, or its number."""
        return self.name if self.name is not None else str(self.nr & ~X32_SYSCALL_BIT)

    def known(self, values: Sequence[tuple[Place, int]]) -> Known:
        """What is known of the arguments of a call with these values: the bits that the kernel takes of them."""
        found = dict(high_words(self.arch))
        for place, value in values:
            parts = [(place[0], value, self._mask(place[0]))]
            if len(place) == 2:
                parts = [(place[0], value >> 32, WORD), (place[1], value & WORD, WORD)]
            for index, part, mask in parts:
                before, known = found.get(index, (0, 0))
                found[index] = (before | part & mask, known | mask)
        return found

    def combinations(self, looks: frozenset[int]) -> Iterator[tuple[tuple[Place, int], ...]]:
        """The recorded values of the arguments that a filter looks at, combined in every way.

        A recording has each argument's values, not which came together, so some of these ways may never have been.
        Where an argument had more values than were kept, it is also left out; where there are more combinations than
        MOST_COMBINATIONS, each value stands alone.
        """
        places = [place for place in sorted(self.arguments) if looks & set(place) and self.arguments[place].values]
        total = 1
        for place in places:
            total *= len(self.arguments[place].values) + self.arguments[place].open_ended
        if total > MOST_COMBINATIONS:
            for place in places:
                yield from (((place, value),) for value in sorted(self.arguments[place].values))
            return
        choices: list[list[tuple[tuple[Place, int], ...]]] = []
        for place in places:
            values = self.arguments[place]
            some: list[tuple[tuple[Place, int], ...]] = [((place, value),) for value in sorted(values.values)]
            choices.append([*some, ()] if values.open_ended else some)
        for chosen in product(*choices):
            yield tuple(one for part in chosen for one in part)

    def described(self, place: Place, value: int) -> str:
        """A value in words: ``argument 0: AF_INET``."""
        where = "/".join(map(str, place))
        for argument in arguments.arguments(self.arch).get(self.title, ()):
            if argument.indexes == place and argument.field is None:
                return f"argument {where}: {arguments.describe(argument, value, arch=self.arch)}"
        return f"argument {where}: {value:#x}"

    def _mask(self, index: int) -> int:
        argument = argument_of(self.title, index, self.arch)
        return argument.mask if argument is not None else _FULL


def recorded_calls(captures: Sequence[Capture]) -> list[RecordedCall]:
    """Every call that was made in the phase app, sorted by name, ABI and number.

    Raises:
        BadInput: a capture is of a machine that is none of ours; with all such.
    """
    found: dict[tuple[Arch, Arch, int], RecordedCall] = {}
    machines = machines_of(captures)
    for machine, capture in zip(machines, captures, strict=True):
        for _, call in capture.calls(Phase.APP):
            if call.entered:
                one = found.setdefault(
                    (machine, call.arch, call.nr),
                    RecordedCall(machine, call.arch, _seen(call.arch, call.nr), name_of(call)),
                )
                one.count += call.entered
    for machine, capture in zip(machines, captures, strict=True):
        for values in capture.arguments:
            made = found.get((machine, values.arch, values.nr))
            if made is not None and values.field is None:
                _add(made, values)
    return sorted(found.values(), key=lambda one: (one.title, one.arch, one.nr, one.machine))


def machines_of(captures: Sequence[Capture]) -> list[Arch]:
    """The ABI of each capture's machine. Raises BadInput as `recorded_calls` does."""
    machines: list[Arch] = []
    problems: list[Problem] = []
    for capture in captures:
        try:
            machines.append(from_machine(capture.host.machine, place=f"capture {capture.name!r}"))
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(problems)
    return machines


def _seen(arch: Arch, nr: int) -> int:
    return nr | X32_SYSCALL_BIT if arch is Arch.X32 else nr


def _add(call: RecordedCall, values: ArgumentSet) -> None:
    one = call.arguments.setdefault(values.indexes, Values())
    one.values.update(values.values)
    one.open_ended |= values.open_ended


def names_on(arch: Arch) -> Iterator[RecordedCall]:
    """Every call that an ABI has, as if it had never been made."""
    for name, nr in sorted(syscalls.numbers(arch).items()):
        yield RecordedCall(arch, arch, _seen(arch, nr), name)
