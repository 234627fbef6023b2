"""A profile replayed: every cell started again and again, and where that fails, the reason by name. Needs root."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from scmm_oci.capture.model import Capture, Phase
from scmm_oci.errors import Failure, Finding
from scmm_oci.oci import seccomp
from scmm_oci.oci.seccomp import Profile
from scmm_oci.recorder.replay import lacks
from scmm_oci.recorder.replay.bundle import Config
from scmm_oci.recorder.replay.cells import Cell, Missing, Ran, Replay, Runtime, Tried
from scmm_oci.recorder.replay.ground import Ground
from scmm_oci.recorder.replay.recording import Hooks
from scmm_oci.recorder.replay.starter import Opener, Starter
from scmm_oci.tables.arch import from_machine
from scmm_oci.tables.floor import Verb
from scmm_oci.tables.measured import Measured, Row

# How often what should be enough is tried; and up to how many calls are left out one by one.
_PROOFS = 3
_MOST_LEFT_OUT = 24
# runc and crun end with it where the execve fails, and their logs say nothing then: of a program that ends so, too,
# only a recording tells whether it began.
_OF_RUNTIMES = 1


@dataclass(frozen=True)
class Wish:
    """What is to be tried.

    Attributes:
        opener: makes what starts containers.
        seconds: after which a program that still runs is well.
        told: called with a line about each cell before it is tried.
    """

    opener: Opener
    cells: tuple[Cell, ...]
    times: int
    seconds: float
    told: Callable[[str], object] = str


def check(profile: Profile) -> None:
    """Find out whether a profile can be replayed here.

    Raises:
        BadInput: no filter can be made of it, or it needs somebody who answers.
    """
    lacks.check(profile)
    lacks.filter_of(profile, from_machine(platform.machine()))


def replay(wish: Wish, profile: Profile) -> Replay:
    """Try a profile in every cell.

    Raises:
        BadInput: no filter can be made of it, or it needs somebody who answers.
        Failure: containers cannot be started here at all.
    """
    check(profile)
    with Ground() as ground, wish.opener(ground) as starter:
        trial = _Trial(ground, starter, wish)
        cells = tuple(trial.cell(cell, profile) for cell in wish.cells)
        return Replay(cells, tuple(dict.fromkeys(trial.findings)))


def measure(wish: Wish) -> tuple[tuple[Measured, ...], tuple[Finding, ...]]:
    """What each runtime calls between loading a filter and the program: a row for each cell, ``times`` starts of each.

    Raises:
        Failure: nothing can be recorded here, or a container does not start.
    """
    machine = platform.machine()
    rows: dict[Runtime, list[Row]] = {}
    with Ground() as ground, wish.opener(ground) as starter:
        trial = _Trial(ground, starter, wish)
        for cell in wish.cells:
            rows.setdefault(cell.runtime, []).append(trial.row(cell))
        findings = tuple(dict.fromkeys(trial.findings))
    measured = (Measured(one.digest, one.name, one.version, machine, tuple(some)) for one, some in rows.items())
    return tuple(measured), findings


class _Trial:
    def __init__(self, ground: Ground, starter: Starter, wish: Wish) -> None:
        self._ground, self._starter, self._wish = ground, starter, wish
        self._machine = from_machine(platform.machine())
        self._hooks: Hooks | None = None
        self.findings: list[Finding] = []

    def cell(self, cell: Cell, profile: Profile) -> Tried:
        """Start one cell ``times`` times, and find out what it lacks if that fails."""
        self._wish.told(f"{cell.title}: {self._wish.times} start{'s' * (self._wish.times != 1)}")
        expected = self._start(cell, None)
        if expected.end is None:
            message = f"{cell.title}: the container does not start without a profile either: {expected.message}"
            self.findings.append(Finding("no-control", message, "does it run with this runtime at all?"))
            return Tried(cell, self._wish.times, expected, 0, failure=expected, phase=Phase.SETUP)
        document = _document(profile)
        try:
            runs = [self._once(cell, expected, document) for _ in range(self._wish.times)]
        except Failure as error:
            if expected.end != _OF_RUNTIMES:
                raise
            what = f"the program ends with {_OF_RUNTIMES}, as a runtime may that could not execute it; which it was"
            message = f"{cell.title}: {what} is not known: {error}"
            self.findings.append(Finding("weak-control", message, "take a program that ends otherwise"))
            return Tried(cell, self._wish.times, expected, 0, failure=expected)
        tried = Tried(cell, self._wish.times, expected, sum(is_well for _, is_well in runs))
        if tried.good:
            return tried
        tried = replace(tried, failure=next(ran for ran, is_well in runs if not is_well))
        try:
            return self._named(tried, profile)
        except Failure as error:
            self.findings.append(Finding("not-named", f"what lacks is not known: {error}"))
            return tried

    def row(self, cell: Cell) -> Row:
        """Record one cell ``times`` times under a filter that refuses nothing."""
        self._wish.told(f"{cell.title}: {self._wish.times} recording{'s' * (self._wish.times != 1)}")
        document = _document(lacks.opened(Profile(seccomp.OciAction.ALLOW)))
        captures = []
        for _ in range(self._wish.times):
            ran, capture = self._record(cell, document)
            if ran.end is None:
                raise Failure(f"{cell.title}: the container does not start: {ran.message}")
            captures.append(capture)
        names = lacks.runtime_names(captures, session=_session(cell))
        if "execve" not in names:
            raise Failure(f"{cell.title}: the recordings do not have the runtime's end, its execve")
        return Row(cell.verb, cell.no_new_privileges, self._wish.times, names)

    def _named(self, tried: Tried, profile: Profile) -> Tried:
        """The same with what the profile refuses."""
        cell, program = tried.cell, lacks.filter_of(profile, self._machine)
        ran, capture = self._record(cell, _document(lacks.twin(profile)))
        missing = {*lacks.lacking(program, capture, machine=self._machine)}
        if not _is_well(cell, tried.expected, ran, capture):
            # Rules that refuse are in the way as well; and what comes after them was not seen.
            missing |= {*lacks.denied(capture)}
            _, capture = self._record(cell, _document(lacks.opened(profile)))
            missing |= {*lacks.lacking(program, capture, machine=self._machine)}
        names = {one.name for one in missing if not one.name.isdigit()}
        needed: dict[str, bool] = {}
        enough = bool(names) and all(self._passes(tried, lacks.with_calls(profile, names)) for _ in range(_PROOFS))
        if enough and not tried.passed and len(names) <= _MOST_LEFT_OUT:
            needed = {
                name: not self._passes(tried, lacks.with_calls(profile, names - {name})) for name in sorted(names)
            }
        found = _sorted(replace(one, needed=needed.get(one.name)) for one in missing)
        return replace(
            tried, missing=found, enough=enough if names else None, phase=_phase(found, capture, _session(cell))
        )

    def _passes(self, tried: Tried, profile: Profile) -> bool:
        return self._once(tried.cell, tried.expected, _document(profile))[1]

    def _once(self, cell: Cell, expected: Ran, document: Config) -> tuple[Ran, bool]:
        """A start, and whether it ended as without a profile."""
        if expected.end != _OF_RUNTIMES:
            ran = self._start(cell, document)
            return ran, ran.end == expected.end
        ran, capture = self._record(cell, document)
        return ran, _is_well(cell, expected, ran, capture)

    def _start(self, cell: Cell, document: Config | None) -> Ran:
        self._ground.stop.check()
        return self._starter.start(cell, seccomp=document, seconds=self._wish.seconds)

    def _record(self, cell: Cell, document: Config) -> tuple[Ran, Capture]:
        if self._hooks is None:
            self._hooks = Hooks(self._ground.directory)
        recorder = self._hooks.recorder()
        self._ground.stop.check()
        ran = self._starter.start(cell, seccomp=document, seconds=self._wish.seconds, recorder=recorder)
        try:
            return ran, self._hooks.capture(recorder)
        except Failure as error:
            raise Failure(f"{error}; the runtime: {ran.message}" if ran.message else str(error)) from None


def _is_well(cell: Cell, expected: Ran, ran: Ran, capture: Capture) -> bool:
    """Whether a start that was recorded ended as without a profile, and it was the program that did."""
    if ran.end != expected.end or ran.end != _OF_RUNTIMES:
        return ran.end == expected.end
    return bool(capture.sessions) and bool(capture.sessions[_session(cell)].app)


def _phase(missing: Sequence[Missing], capture: Capture, session: int) -> Phase | None:
    """Where it fails: in the first phase that lacks something; before the filter if none was loaded at all."""
    for phase in (Phase.RUNTIME, Phase.APP):
        if any(one.phase is phase and one.needed is not False for one in missing):
            return phase
    one = capture.sessions[session] if capture.sessions else None
    return None if one is not None and (one.runtime or one.app) else Phase.SETUP


def _sorted(missing: Iterable[Missing]) -> tuple[Missing, ...]:
    order = (Phase.RUNTIME, Phase.APP)
    return tuple(sorted(missing, key=lambda one: (order.index(one.phase), one.name, one.detail)))


def _session(cell: Cell) -> int:
    # What is executed in a container comes from outside, and begins a session of its own.
    return -1 if cell.verb is Verb.EXEC else 0


def _document(profile: Profile) -> Config:
    document: Config = json.loads(seccomp.to_json(profile))
    return document
