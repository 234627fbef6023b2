"""Servers: whole lives under load are learnt, and others judged, with one machine and with one for each phase.

Both machines are of the same recordings. What is judged is killed at the first violation: none can be overlooked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from benchmarks.learning import Learning, in_container, policy_of
from benchmarks.watched import Watch, Watcher, edge_of, machines_of
from benchmarks.watched_servers import Server
from rig.process import RigError
from scmm_oci.capture.model import Capture
from scmm_oci.compiled.policy_file import policy_file
from scmm_oci.policy.infer.completeness import Completeness
from scmm_oci.policy.model import Transition
from scmm_oci.policy.order import table
from scmm_oci.watch.machines import Machines
from scmm_oci.watch.pins import Maps

from .experiment import estimate_of, foretold

#: From where a server serves.
SERVING_FROM = ("listen",)


@dataclass(frozen=True)
class Lives:
    """How many lives are recorded at least and at most, and how many are judged by each machine."""

    least: int = 40
    most: int = 96
    judged: int = 20


@dataclass(frozen=True)
class Served:
    """What became of a server with one of its machines.

    Attributes:
        key: which server, and which machine of its.
        sizes: of the machine, or of the one for start-up and the one for serving: states, edges, share of the square.
        alarms: of each judged life, what was flagged, in words; "" for nothing.
    """

    key: str
    estimate: Completeness
    sizes: tuple[tuple[int, int, float], ...]
    alarms: tuple[str, ...]

    @property
    def foretold(self) -> bool:
        """Whether so many alarms are no surprise: see experiment.foretold."""
        return foretold(self.estimate, sum(map(bool, self.alarms)), len(self.alarms))


def learn(server: Server, learning: Learning, lives: Lives, *, seed: int) -> list[Capture]:
    """Recordings of lives: enough of them that each edge is in two, or as many as there may be."""
    captures: list[Capture] = []
    while len(captures) < lives.most:
        with server.serving(lambda pid: learning.recording(in_container(pid), captures)) as port:
            server.load(port, Random(f"{seed} {server.key} {len(captures)}"))
        if len(captures) >= lives.least and not estimate_of(captures, phases=True).once:
            break
    return captures


def life(server: Server, watcher: Watcher, maps: Maps, machines: Machines, random: Random, *, serves: bool) -> str:
    """One life under a watch that kills: what it flagged, in words. Raises RigError where it did not watch.

    serves: the machine has a phase for serving, so that the server must have come to it.
    """
    seen: list[Watch] = []

    @contextmanager
    def begun(pid: int) -> Iterator[None]:
        with watcher.watching(maps, in_container(pid), machines, action="kill") as watch:
            seen.append(watch)
            yield

    failure = None
    try:
        with server.serving(begun) as port:
            server.load(port, random)
    except (RigError, OSError) as error:
        failure = error
    (watch,) = seen
    value = watch.value()
    if value.counters["violations"]:
        return "; ".join(map(edge_of, watch.alerts()))
    if failure is not None:
        raise failure
    if watch.blind() or not value.counters["entered"] or bool(value.counters["serving"]) is not serves:
        raise RigError(f"{server.key} was not watched: {value.counters}")
    return ""


def outcomes(
    server: Server, learning: Learning, watcher: Watcher, maps: Maps, lives: Lives, *, seed: int
) -> tuple[Served, Served]:
    """Learn; judge by the machine for the whole life, and by those for its phases, in turns."""
    captures = learn(server, learning, lives, seed=seed)
    whole, phased = policy_of(captures), policy_of(captures, serving_from=SERVING_FROM)
    assert phased.serving is not None
    machines = [machines_of(policy_file(each)[0]) for each in (whole, phased)]
    alarms: tuple[list[str], list[str]] = [], []
    for number in range(lives.judged):
        for index, each in enumerate(machines):
            random = Random(f"{seed} {server.key} judged {number} {index}")
            alarms[index].append(life(server, watcher, maps, each, random, serves=bool(index)))
    phases = (phased.transitions or (), phased.serving.transitions)
    return (
        Served(server.key, estimate_of(captures), (_size(whole.transitions or ()),), tuple(alarms[0])),
        Served(
            f"{server.key}, start-up and serving",
            estimate_of(captures, phases=True),
            tuple(map(_size, phases)),
            tuple(alarms[1]),
        ),
    )


def _size(transitions: Sequence[Transition]) -> tuple[int, int, float]:
    machine = table(transitions)
    return len(machine.states), len(machine.edges), machine.share
