"""One program: recorded on training inputs until the estimate is content, then judged on others by a watch.

Training and judging never share a combination of options, operands and what the program stands on (`is_judged`), nor
how files are made (inputs.Training, inputs.Judging).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random

from benchmarks.learning import Learning, edges_of, in_cgroup, policy_of
from benchmarks.watched import Watch, Watcher, machines_of
from scmm_oci.capture.model import Capture
from scmm_oci.compiled.policy_file import policy_file
from scmm_oci.policy.infer.completeness import Completeness, at_most, completeness
from scmm_oci.policy.order import Table, table
from scmm_oci.watch.pins import Maps

from .inputs import Judging, Maker, Training
from .programs import Choice, Program
from .running import perform

SURE = 0.05


@dataclass(frozen=True)
class Sizes:
    """How much is done for each program.

    Attributes:
        batch: runs in a recording, and runs that are judged together.
        least, most: recordings; between them it ends when no recording has an edge of its own any more.
        batches: of judged runs.
    """

    batch: int = 40
    least: int = 24
    most: int = 64
    batches: int = 2


@dataclass(frozen=True)
class Place:
    """Where runs are: a directory for theirs, a cgroup that they join."""

    base: Path
    cgroup: Path

    def perform(self, program: Program, maker: type[Maker], random: Random) -> tuple[str, ...]:
        """One run, in a directory that is gone afterwards; its command line."""
        where = self.base / "work"
        where.mkdir()
        try:
            run = program.make(draw(program, random, judged=maker is Judging), maker(random, where))
            perform(run, where=where, cgroup=self.cgroup, group=f"{self.cgroup}/cgroup.procs")
        finally:
            shutil.rmtree(where)
        return run.words


@dataclass(frozen=True)
class Outcome:
    """What became of a program.

    Attributes:
        alarms: of each judged batch, in how many runs there was a violation; examples: of these runs, their words and
            the edges that were none of the machine's.
        blind: what the watch could not judge.
    """

    program: Program
    sizes: Sizes
    estimate: Completeness
    machine: Table
    alarms: tuple[int, ...]
    examples: tuple[str, ...]
    blind: dict[str, int]

    @property
    def trained(self) -> int:
        return self.estimate.recordings * self.sizes.batch

    @property
    def judged(self) -> int:
        return len(self.alarms) * self.sizes.batch

    @property
    def foretold(self) -> bool:
        """Whether so many batches with alarms are no surprise."""
        return foretold(self.estimate, sum(map(bool, self.alarms)), len(self.alarms))


def foretold(estimate: Completeness, alarmed: int, judged: int) -> bool:
    """Whether so many of the judged, or more, have alarms not less likely than SURE, if the chance of each is what the
    estimate says that it is at most."""
    assert estimate.most is not None
    return not alarmed or 1 - at_most(alarmed - 1, judged, estimate.most) >= SURE


def is_judged(choice: Choice) -> bool:
    """Whether a combination is for judging: one of four is, and training has none of them."""
    return sha256(repr(choice).encode()).digest()[0] % 4 == 0


def draw(program: Program, random: Random, *, judged: bool) -> Choice:
    while is_judged(choice := program.draw(random)) is not judged:
        pass
    return choice


def learn(program: Program, place: Place, learning: Learning, sizes: Sizes, *, seed: int) -> list[Capture]:
    """Recordings of training runs: enough of them that each edge is in two, or as many as there may be."""
    captures: list[Capture] = []
    while len(captures) < sizes.most:
        with learning.recording(in_cgroup(place.cgroup), captures):
            for number in range(sizes.batch):
                place.perform(program, Training, Random(f"{seed} {program.key} {len(captures)} {number}"))
        if len(captures) >= sizes.least and not estimate_of(captures).once:
            break
    return captures


def estimate_of(captures: Iterable[Capture], *, phases: bool = False) -> Completeness:
    """What the recordings say of the next one; `phases`: by machines for start-up and serving."""
    return completeness([edges_of(one, phases=phases) for one in captures])


def judge(
    program: Program, place: Place, watch: Watch, sizes: Sizes, *, seed: int, named: Callable[[Watch, int], str]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Of each batch of judging runs, in how many the watch found a violation; what it said of them."""
    alarms, examples = [], []
    for batch in range(sizes.batches):
        found = 0
        for number in range(sizes.batch):
            before = watch.violations()
            words = place.perform(program, Judging, Random(f"{seed} {program.key} judged {batch} {number}"))
            if watch.violations() != before:
                found += 1
                examples.append(f"{' '.join(words)[:200]}: {named(watch, before)}")
        alarms.append(found)
    return tuple(alarms), tuple(examples)


def outcome(
    program: Program,
    place: Place,
    learning: Learning,
    watcher: Watcher,
    maps: Maps,
    sizes: Sizes,
    *,
    seed: int,
    named: Callable[[Watch, int], str],
) -> Outcome:
    """Learn, then judge."""
    captures = learn(program, place, learning, sizes, seed=seed)
    policy = policy_of(captures)
    machine = table(policy.transitions or ())
    machines = machines_of(policy_file(policy)[0])
    with watcher.watching(maps, in_cgroup(place.cgroup), machines, action="alert") as watch:
        alarms, examples = judge(program, place, watch, sizes, seed=seed, named=named)
        blind = watch.blind()
    return Outcome(
        program,
        sizes,
        estimate_of(captures),
        machine,
        alarms,
        examples,
        blind,
    )
