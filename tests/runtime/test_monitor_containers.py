"""One scmm-monitor for containers of podman, runc and crun and for programs of scmm-enforce, at the same time."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import asking_containers as asking
import pytest
from asking_containers import AS_RULED, AS_RULED_BUSYBOX, DEADLINE_S, GONE, PLACE, REFUSED, Program, Raw, started, told
from monitored import Monitor, monitoring
from recordings import Ground
from small_monitor import Asked
from support import need

from benchmarks.monitor_ways import family
from rig import images, namespace
from rig.mounts import private_dir
from rig.process import Daemon, wait_until
from rig.runc import available
from scmm_oci.enforcer.monitor import control

#: Processes for the next calls on behalf; there are none before the first.
STAND_READY = 3
MANY = 40 if os.environ.get("SCMM_SOAK") else 6


@pytest.fixture
def base(inside: namespace.Entered) -> Iterator[Path]:
    for runtime in ("runc", "crun"):
        need("CRUN" if runtime == "crun" else "KERNEL", available(runtime) or images.busybox_unavailable())
    with private_dir("asking") as made:
        yield made


@contextmanager
def ruled(base: Path, *places: str, also: Sequence[Mapping[str, Any]] = (), **more: Any) -> Iterator[Monitor]:
    """scmm-monitor with `asking.rules`, and a log."""
    given = {"version": "1.0", "default": "deny", "rules": asking.rules(*places, also=also), **more}

    def change(before: dict[str, Any]) -> None:
        before.clear()
        before.update(given)

    with monitoring(base, "--log", str(base / "log"), change=change) as monitor:
        yield monitor


def status(monitor: Monitor) -> list[dict[str, Any]]:
    """Whose calls it decides about."""
    found: list[dict[str, Any]] = control.ask(control.path_beside(str(monitor.socket)))["targets"]
    return found


def served(monitor: Monitor) -> dict[str, int]:
    """Whom the monitor serves, by name: how many listeners each."""
    found: dict[str, int] = {}
    for one in status(monitor):
        found[one["name"]] = found.get(one["name"], 0) + 1
    return found


def wait_served(monitor: Monitor, wanted: dict[str, int]) -> None:
    wait_until(lambda: served(monitor) == wanted, deadline_s=DEADLINE_S, what=f"{wanted} served, {served(monitor)}")


def decided(base: Path) -> str:
    """What the log has of calls that were not allowed."""
    return "\n".join(f"{line['words']}: {line['by']}: {line.get('detail')}" for line in asking.log(base / "log"))


def kill(daemon: Daemon) -> None:
    """SIGKILL, and wait until it is gone with all that it had."""
    os.kill(daemon.pid, signal.SIGKILL)
    wait_until(lambda: not daemon.running, deadline_s=DEADLINE_S, what="the monitor gone")


def test_one_monitor_serves_all_kinds_at_once(base: Path, podman: Ground, podman_crun: Ground) -> None:
    with ExitStack() as stack:
        program_place = base / "program"
        program_place.mkdir()
        monitor = stack.enter_context(ruled(base, PLACE, str(program_place / "place")))
        socket = monitor.socket
        program = stack.enter_context(Program(socket, program_place))
        raw = {each: stack.enter_context(asking.bundle(each, socket, each)) for each in ("runc", "crun")}
        engines = {"podman": podman, "podman-crun": podman_crun}
        kinds: dict[str, Raw | asking.Engined] = {name: started(one) for name, one in raw.items()}
        for name, ground in engines.items():
            kinds[name] = asking.podman(ground.engine, ground.busybox, socket, name, base)
            stack.callback(ground.engine.rm, kinds[name].name)

        for name, one in kinds.items():
            assert told(one) == AS_RULED_BUSYBOX, (name, one.said(), decided(base))
            assert f"can't create directory '{PLACE}/no': {REFUSED}" in one.said()
        assert told(program) == AS_RULED
        own = next(name for name in served(monitor) if name not in kinds)
        wait_served(monitor, dict.fromkeys((*kinds, own), 1))

        # Another process in a container has a listener of its own, and the same rules hold; and only as long as it is.
        for name, one in kinds.items():
            assert REFUSED in one.again("mkdir", f"{PLACE}/no"), name
            assert one.again("sh", "-c", f"rm -r {PLACE}/yes; mkdir {PLACE}/yes; ls -d {PLACE}/*") == f"{PLACE}/yes\n"
        wait_served(monitor, dict.fromkeys((*kinds, own), 1))

        for one in (*kinds.values(), program):
            one.signal()
            assert "late 1" in told(one, "over")
        wait_served(monitor, {})
    lines = asking.log(base / "log")
    assert {line["target"]["name"] for line in lines} == {*kinds, own}
    for name in (*kinds, own):
        first = next(line for line in lines if line["target"]["name"] == name and line["call"].startswith("mkdir"))
        assert (first["verdict"], first["errno"], first["detail"]) == ("deny", asking.ERRNO, "rules[5]"), name
        made = [line for line in lines if line["target"]["name"] == name and line.get("on_behalf") and line["paths"]]
        assert {path.rpartition("/")[2] for line in made for path in line["paths"]} >= {"yes", "file"}


class LetsTheFirstThrough(Asked):
    """What decides anew only once it has seen a call: the first has gone on by then, as in the seed's monitor."""

    def _answered(self, listener: int) -> bool:
        self.lets = self.calls == 0
        return super()._answered(listener)


@pytest.mark.parametrize("nnp", [True, False])
def test_the_first_denial_denies(base: Path, runtime: str, nnp: bool) -> None:
    once = f"mkdir {PLACE}/no; echo no $?; ls {PLACE}; echo done"
    with ruled(base) as monitor, asking.bundle(runtime, monitor.socket, "first", script=once, nnp=nnp) as one:
        done = one.run()
    assert (done.stdout, REFUSED in done.stderr) == ("no 1\ndone\n", True)
    assert [line["verdict"] for line in asking.log(base / "log")] == ["deny"]
    # The control: one that lets the first through, and from then on denies.
    naive = base / "naive.sock"
    with (
        LetsTheFirstThrough(naive, greets=False) as agent,
        asking.bundle(runtime, naive, "first", script=once, nnp=nnp) as one,
    ):
        done = one.run()
    assert (done.stdout, agent.calls) == ("no 0\nno\ndone\n", 1)


#: Takes questions, and answers none.
SILENT = [sys.executable, "-I", "-S", "-c", "import sys\nfor line in sys.stdin: pass"]
LINKS = f"ln -s x {PLACE}/link; echo link $?; ls {PLACE}; echo done; exec sleep 600"


def test_a_dead_monitor_refuses_and_the_next_one_serves_whom_comes_then(base: Path) -> None:
    socket = base / "run/notify.sock"
    asked = {"syscalls": ["symlink"], "decision": "program"}
    with ExitStack() as stack:
        with ruled(base, PLACE, also=[asked], program=SILENT, timeout=600) as monitor:
            old = started(stack.enter_context(asking.bundle("runc", socket, "old")))
            assert told(old) == AS_RULED_BUSYBOX
            waits = started(stack.enter_context(asking.bundle("crun", socket, "asks", calls=["symlink"], script=LINKS)))
            wait_until(lambda: waiting(monitor, "asks") == 1, deadline_s=DEADLINE_S, what="a call that waits")
            assert waits.said() == ""
            kill(monitor.daemon)
        assert told(waits) == ["link 1", "done"]
        assert f"link: {GONE}" in waits.said()
        old.signal()
        assert told(old, "over") == [*AS_RULED_BUSYBOX, "late 1", "over"]
        assert f"'{PLACE}/late': {GONE}" in old.said()

        with asking.bundle("runc", socket, "between") as between:
            refused = between.run(check=False)
        assert (refused.returncode != 0, refused.stdout) == (True, "")
        with ruled(base, PLACE), asking.bundle("runc", socket, "new") as new:
            assert told(started(new)) == AS_RULED_BUSYBOX


def waiting(monitor: Monitor, name: str) -> int:
    return sum(one["waiting"] for one in status(monitor) if one["name"] == name)


def test_many_containers_at_once(base: Path) -> None:
    with ruled(base, PLACE) as monitor, ExitStack() as stack, ThreadPoolExecutor(4) as pool:
        monitor.wait_told("listening at")  # it has all that it begins with
        descriptors, processes = monitor.descriptors(), len(family(monitor.pid))
        kinds = [("runc", "crun")[number % 2] for number in range(MANY)]
        made = [
            stack.enter_context(asking.bundle(kind, monitor.socket, f"{kind}-{number}"))
            for number, kind in enumerate(kinds)
        ]
        there = list(pool.map(started, made))
        for one in there:
            assert told(one) == AS_RULED_BUSYBOX, (one.said(), decided(base))
        wait_served(monitor, {f"{kind}-{number}": 1 for number, kind in enumerate(kinds)})
        for one in there:
            one.signal()
        for one in there:
            assert told(one, "over")[-2:] == ["late 1", "over"]
        wait_served(monitor, {})
        monitor.wait_idle(descriptors, processes + STAND_READY)
