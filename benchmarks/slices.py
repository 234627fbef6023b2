"""Slices of system calls with and without something that watches them, in turns: nanoseconds a call, by round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.processes import Loop, Programs, watchers
from benchmarks.tracers import Tracer
from rig.process import DeadlineError, RigError, wait_until

SLICE_NS = 10_000_000
FEWEST = 200  # rounds in a slice
_CLEAN_S = 30.0
_ATTEMPTS = 4


@dataclass(frozen=True)
class Row:
    """What is timed while a tracer is attached: rounds of `kind` by `loop`."""

    key: str
    loop: Loop
    kind: str


@dataclass
class Samples:
    """Nanoseconds a round, by row and round of the benchmark; `lengths`: rounds in a slice, by row and by kind."""

    bare: dict[str, dict[int, float]] = field(default_factory=dict)
    traced: dict[str, dict[int, float]] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    disturbed: list[str] = field(default_factory=list)


class Disturbed(RigError):
    """Something else watched system calls meanwhile."""


class Measurement:
    """Takes `slices` slices bare, as many traced, and as many bare again; medians of each are one sample."""

    def __init__(self, programs: Programs, samples: Samples, *, slices: int) -> None:
        self._programs, self.samples, self._slices = programs, samples, slices
        self._stuck: set[str] = set()

    def block(self, tracer: Tracer, rows: Sequence[Row], number: int) -> bool:
        """One sample for each row, unless others watch system calls all the time. Round 0 is not kept.

        `rows` have the loop that the tracer watches first. Raises RigError.
        """
        for _ in range(_ATTEMPTS):
            try:
                bare, traced = self._once(tracer, rows)
            except Disturbed as error:
                self.samples.disturbed.append(f"{tracer.title}: {error}")
                continue
            except DeadlineError as error:
                # Tools have been seen to get stuck, rarely; one that always does is not measured.
                if tracer.key in self._stuck:
                    raise
                self._stuck.add(tracer.key)
                self.samples.disturbed.append(f"{tracer.title}: {error}")
                continue
            if number:
                for row in rows:
                    self.samples.bare.setdefault(row.key, {})[number] = median(bare[row.key])
                    self.samples.traced.setdefault(row.key, {})[number] = median(traced[row.key])
            return True
        return False

    def _once(self, tracer: Tracer, rows: Sequence[Row]) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
        self._clean()
        bare = {row.key: self._run(row, f"bare {row.kind}") for row in rows}
        with tracer.attached(rows[0].loop):
            traced = {row.key: self._run(row, row.key) for row in rows}
            # Before the next one can come: whatever else is there is not this tracer's.
            there, own = watchers(self._programs), tracer.programs()
        self._clean()
        if len(there) != own:
            raise Disturbed(f"{len(there)} programs were attached, {own} of them its own: {_names(there)}")
        for row in rows:
            bare[row.key] += self._run(row, f"bare {row.kind}")
        return bare, traced

    def _run(self, row: Row, length: str) -> list[float]:
        """Slices of one row; its length is what takes SLICE_NS, found out the first time."""
        if length not in self.samples.lengths:
            first = row.loop.run(row.kind, FEWEST)
            self.samples.lengths[length] = slice_length(row.loop.run(row.kind, slice_length(first, SLICE_NS // 10)))
        count = self.samples.lengths[length]
        row.loop.run(row.kind, max(1, count // 5))
        return [row.loop.run(row.kind, count) for _ in range(self._slices)]

    def _clean(self) -> None:
        """Wait until nothing that is attached could watch system calls. Raises Disturbed."""
        try:
            wait_until(lambda: not watchers(self._programs), deadline_s=_CLEAN_S, what="nothing attached")
        except DeadlineError:
            raise Disturbed(f"attached all the time: {_names(watchers(self._programs))}") from None


def slice_length(each_ns: float, slice_ns: int = SLICE_NS) -> int:
    """How many rounds of `each_ns` nanoseconds make a slice."""
    return max(FEWEST, round(slice_ns / max(each_ns, 1.0)))


def _names(programs: Sequence[tuple[int, str]]) -> str:
    return ", ".join(sorted({name for _, name in programs})) or "none"
