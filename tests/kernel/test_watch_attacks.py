"""Attacks out of calls that the program makes anyway: flagged, and killed where that is asked; none without a watch.

What a killed call may have done all the same is told in docs/watch.md: its table is compared with what comes of each.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import ROOT
from watch_scenes import ATTACKS, DEADLINE_S, HEAD, Attack, Machine, Scene, Server, build, effect, scene

from benchmarks.learning import Learning, in_cgroup, policy_of, settings_in
from benchmarks.watched import Watch, Watcher, edge_of, machines_of
from rig import namespace
from rig.cgroup import child_cgroup
from rig.mounts import private_dir
from rig.process import wait_until
from scmm_oci.capture.model import Capture
from scmm_oci.compiled.policy_file import policy_file
from scmm_oci.policy.order import table
from scmm_oci.watch.machines import Machines
from scmm_oci.watch.pins import Maps

SERVERS, JOBS = 3, 3
CHANGES: dict[Machine, dict[str, object]] = {
    Machine.PLAIN: {"refine": False},
    Machine.REFINED: {},
    Machine.DEEP: {"depth": 3},
    Machine.SERVING: {"serving_from": ("listen",)},
}


@dataclass
class Ground:
    """The server, what it was seen to do, and a watch in the kernel."""

    base: Path
    program: Path
    machines: dict[Machine, Machines]
    watcher: Watcher
    maps: Maps
    number: int = 0

    @contextmanager
    def server(
        self, name: str, machine: Machine | None = None, action: str = "alert"
    ) -> Iterator[tuple[Server, Watch]]:
        """A server that has started up, watched or (without a machine) not; the watch is of no use then."""
        self.number += 1
        with ExitStack() as stack:
            made = stack.enter_context(scene(self.base, f"{name}-{self.number}"))
            cgroup = stack.enter_context(child_cgroup("watch"))
            watch = Watch(self.maps, 0, 0)
            if machine is not None:
                machines = self.machines[machine]
                watch = stack.enter_context(
                    self.watcher.watching(self.maps, in_cgroup(cgroup), machines, action=action)
                )
            yield stack.enter_context(Server(self.program, made, cgroup)), watch


def learn(base: Path, program: Path) -> list[Capture]:
    """Recordings of servers at normal work."""
    captures: list[Capture] = []
    learning = Learning(settings_in(base))
    with learning.kept():
        for number in range(SERVERS):
            with (
                scene(base, f"learn-{number}") as made,
                child_cgroup("learn") as cgroup,
                learning.recording(in_cgroup(cgroup), captures, deep=True),
                Server(program, made, cgroup) as server,
            ):
                for _ in range(JOBS):
                    assert made.ask("job") == b"config\ndone"
                assert made.ask("quit") == b"" and server.ended() == 0
    return captures


@pytest.fixture(scope="module")
def captures(inside: namespace.Entered, place: Path) -> list[Capture]:
    return learn(place, build(place))


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with private_dir("watch") as base:
        base.chmod(0o711)
        yield base


@pytest.fixture(scope="module")
def ground(captures: list[Capture], place: Path) -> Iterator[Ground]:
    machines = {kind: machines_of(policy_file(policy_of(captures, **changes))[0]) for kind, changes in CHANGES.items()}
    watcher = Watcher(settings_in(place))
    with watcher.loaded() as maps:
        yield Ground(place, place / "watch_attacks", machines, watcher, maps)


def comes(scene: Scene, attack: str) -> None:
    """The effect is there, or comes at once."""
    wait_until(lambda: effect(scene, attack), deadline_s=DEADLINE_S, what=f"the effect of {attack}")


def first(watch: Watch) -> str:
    """The first edge that was flagged, or what kind of alert came first."""
    alert = watch.alerts()[0]
    return edge_of(alert) if alert.kind == "edge" else alert.kind


def least(attack: Attack) -> Machine:
    """A machine that sees an attack and tells classes."""
    assert attack.needs is not None
    return Machine.REFINED if attack.needs is Machine.PLAIN else attack.needs


SEEN = sorted(name for name, attack in ATTACKS.items() if attack.needs)


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_without_a_watch_it_succeeds(ground: Ground, name: str) -> None:
    with ground.server(name) as (server, _):
        assert not effect(server.scene, name)
        server.scene.ask(name)
        comes(server.scene, name)


@pytest.mark.parametrize("name", SEEN)
def test_with_alerts_it_succeeds_and_is_told(ground: Ground, name: str) -> None:
    attack = ATTACKS[name]
    with ground.server(name, least(attack)) as (server, watch):
        server.scene.ask("job")
        assert watch.violations() == 0, [edge_of(alert) for alert in watch.alerts()]
        server.scene.ask(name)
        comes(server.scene, name)
        assert watch.violations() >= 1 and watch.value().counters["kills"] == 0
        # What a shell does afterwards may have pushed the first alert out.
        assert watch.alerts()[0].seq > 1 or attack.edge in first(watch)


@pytest.mark.parametrize("name", SEEN)
def test_with_kills_it_ends_where_the_documentation_says(ground: Ground, name: str) -> None:
    attack = ATTACKS[name]
    with ground.server(name, least(attack), "kill") as (server, watch):
        server.scene.ask(name)
        if not attack.spares:
            assert server.ended() == -signal.SIGKILL
        assert watch.value().counters["kills"] >= 1 and attack.edge in first(watch)
        if attack.stopped:
            assert not effect(server.scene, name)
        else:
            comes(server.scene, name)


def test_the_table_in_the_documentation() -> None:
    lines = (ROOT / "docs/watch.md").read_text().splitlines()
    begin = lines.index(HEAD)
    found = lines[begin + 2 : begin + 2 + len(ATTACKS)]
    assert found == [attack.row for attack in ATTACKS.values()]
    assert not lines[begin + 2 + len(ATTACKS)].startswith("|")


@pytest.mark.parametrize("kind", list(Machine))
def test_normal_work_is_in_the_machine(ground: Ground, kind: Machine) -> None:
    with ground.server("normal", kind, "kill") as (server, watch):
        for _ in range(5):
            assert server.scene.ask("job") == b"config\ndone"
        server.scene.ask("quit")
        assert server.ended() == 0 and watch.violations() == 0 and watch.blind() == {}
        assert watch.value().counters["serving"] == (1 if kind is Machine.SERVING else 0)


@pytest.mark.parametrize(
    ("name", "blind"),
    [
        ("class", Machine.PLAIN),
        ("mimic", Machine.REFINED),
        ("late", Machine.REFINED),
        *(("argument", kind) for kind in Machine),
    ],
)
def test_what_less_of_a_machine_does_not_see(ground: Ground, name: str, blind: Machine) -> None:
    with ground.server(name, blind, "kill") as (server, watch):
        server.scene.ask(name)
        comes(server.scene, name)
        assert watch.violations() == 0 and server.process.poll() is None


def test_every_call_of_an_attack_is_allowed_somewhere(captures: list[Capture]) -> None:
    machine = table(policy_of(captures).transitions or ())
    for name, attack in ATTACKS.items():
        to = attack.edge.rpartition(" > ")[2]
        assert not to or to == "no-machine" or to in machine.called, name
    assert len(SEEN) >= 20 and machine.share <= 0.10
