"""Who is watched and by which machine: phases, threads, cgroups, what came before, what is left; bounds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from recording import state_of
from support import ROOT, need
from watching import MACHINE, Kernel, Watched, await_output, both, build, call, chain, let_go, loaded, narrow, policy

from rig import namespace
from rig.cgroup import child_cgroup
from rig.process import wait_until
from scmm_oci.kernel import bpf
from scmm_oci.tables.arch import Arch
from scmm_oci.watch import machine, pins, slots, wire

END = "exit_group"
SOAK = bool(os.environ.get("SCMM_SOAK"))
pytestmark = pytest.mark.timeout(3600 if SOAK else 300)


@pytest.fixture(scope="module")
def kernel(inside: namespace.Entered, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    need("KERNEL", None if os.uname().machine == "x86_64" else "the program's numbers are those of x86_64")
    with loaded(tmp_path_factory.mktemp("life")) as found:
        yield found


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("watched"))


def states_in(kernel: Kernel) -> int:
    """How many threads have a place for their state, of whatever watch."""
    with bpf.Map.pinned(f"{kernel.directory}/places", key_size=4, value_size=88) as places:
        return sum(value[:8] != bytes(8) for _, value in places.items())


LISTEN = call("listen", -1, 1)
STARTUP = both(
    chain("start:exec", "getppid", "listen"), chain("start:exec", "clone", "getppid", END), chain("start:exec", "fork"),
    chain("fork", "wait4", "getppid"), chain("start:fork", "getppid", "listen"), chain("start:thread", "listen"),
    chain("getppid", "fork"),
)  # fmt: skip
SERVING = both(
    chain("listen", "getuid", END), chain("start:fork", "getuid", END), chain("start:exec", "getuid"),
    chain("start:thread", "getuid", "exit"), chain("getuid", "fork", "wait4", END), chain("clone", "getuid"),
    chain("listen", "exit"), chain("getuid", "clone", END), chain("listen", "execve"), chain("getuid", "execve"),
    chain("start:thread", "execve"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("words", "violations"),
    [
        # The edge to the call itself is of start-up; then serving holds, and start-up does not.
        ((call("getppid"), LISTEN, call("getuid")), []),
        ((call("getuid"),), [("start:exec", "getuid", False), ("getuid", END, False)]),
        ((call("getppid"), LISTEN, call("getppid")), [("listen", "getppid", True), ("getppid", END, True)]),
        # A thread has the whole process serve; a process that it makes serves, too; one that it is made by does not.
        (("t{", LISTEN, "}", call("getuid")), []),
        ((call("getppid"), LISTEN, call("getuid"), "t{", call("getuid"), "}"), []),
        ((call("getppid"), LISTEN, call("getuid"), "f{", call("getuid"), "}"), []),
        (("f{", call("getppid"), LISTEN, call("getuid"), "}", call("getppid")), []),
        (("f{", call("getppid"), LISTEN, call("getuid"), "}", call("getuid")),
         [("wait4", "getuid", False), ("getuid", END, False)]),
        # A program that it executes goes on serving, whichever thread executes it.
        ((call("getppid"), LISTEN, "E", call("getuid")), []),
        ((call("getppid"), LISTEN, call("getuid"), "t{", "E", call("getuid")), []),
        (("t{", LISTEN, "E", call("getuid")), []),
        ((call("getppid"), LISTEN, "E", call("getppid")), [("start:exec", "getppid", True), ("getppid", END, True)]),
    ],
)  # fmt: skip
def test_a_process_begins_to_serve(
    kernel: Kernel, program: Path, words: tuple[str, ...], violations: list[object]
) -> None:
    with kernel.watch(policy(STARTUP, serving=SERVING, switches=["listen"])) as watched:
        assert watched.run(program, *words) == 0
        found = [(*edge, alert.serving) for edge, alert in zip(watched.edges, watched.alerts, strict=True)]
        assert found == violations
        assert watched.count("serving") == (LISTEN in words)


def test_start_up_that_is_not_judged(kernel: Kernel, program: Path) -> None:
    file = policy(None, serving=SERVING, switches=["listen"])
    with kernel.watch(file) as watched:
        assert watched.run(program, call("getgid"), narrow("getgid"), LISTEN, call("getuid")) == 0
        assert watched.edges == []
        assert watched.run(program, call("getgid"), LISTEN, call("getgid")) == 0
        assert watched.edges == [("listen", "getgid"), ("getgid", END)]


def test_socketcall_is_what_its_argument_says(kernel: Kernel, program: Path) -> None:
    startup = both(chain("start:exec", "socketcall"), chain("foreign", "socketcall"), chain("foreign", END))
    serving = both(chain("foreign", "getuid"), chain("foreign", END))
    file = policy(startup, serving=serving, switches=["listen"], arches=(Arch.X86_64, Arch.X86))
    with kernel.watch(file) as watched:
        assert watched.run(program, narrow("socketcall", 4, "$"), call("getuid")) == 0  # SYS_LISTEN
        assert [edge for edge in watched.edges if edge != ("getuid", END)] == []
        assert watched.count("serving") == 1
    with kernel.watch(file) as watched:
        assert watched.run(program, narrow("socketcall", 2, "$"), call("getuid")) == 0  # SYS_BIND
        assert ("foreign", "getuid") in watched.edges
        assert watched.count("serving") == 0


AT_THE_GATE = both(chain("start:exec", "write", "read", "getppid", "getuid", END))


def at_the_gate(watched: Watched, program: Path, *words: str, inside: bool = True) -> subprocess.Popen[bytes]:
    """The program, waiting in `read`."""
    process = watched.start(program, "o,+", "w", *words, inside=inside)
    await_output(process, b"+")
    where = Path(f"/proc/{process.pid}/syscall")
    wait_until(lambda: where.read_text().split()[0] == "0", deadline_s=60, what="it waits in read")
    return process


def move(process: subprocess.Popen[bytes], cgroup: Path) -> None:
    (cgroup / "cgroup.procs").write_text(str(process.pid))


def test_cgroups_below_belong_to_the_watch(kernel: Kernel, program: Path) -> None:
    with ExitStack() as stack:
        cgroup = stack.enter_context(child_cgroup("watch-above", empty_s=5.0))
        (cgroup / "before").mkdir()
        watched = stack.enter_context(kernel.watch(policy(AT_THE_GATE), cgroup=cgroup))
        (cgroup / "after").mkdir()
        for name in ("before", "after"):
            process = at_the_gate(watched, program, call("getgid"))
            move(process, cgroup / name)
            let_go(process)
            assert process.wait(60) == 0
        assert watched.edges == [("read", "getgid"), ("getgid", END)] * 2
        assert watched.count("left") == watched.count("lost_cgroups") == 0
        for name in ("before", "after"):
            (cgroup / name).rmdir()
        assert watched.maps.targets.get(wire.CGROUP_KEY.pack(cgroup.stat().st_ino, 0, 0)) is not None
        assert len(list(watched.maps.targets)) == 1


def test_who_leaves_is_told_once_and_not_judged(kernel: Kernel, program: Path) -> None:
    with child_cgroup("watch-else") as elsewhere, kernel.watch(policy(AT_THE_GATE)) as watched:
        process = at_the_gate(watched, program, call("getgid"), call("getgid"), "o,-", "w", call("getsid", 0))
        move(process, elsewhere)
        let_go(process)
        await_output(process, b"-")
        assert [(alert.kind, alert.state, alert.to) for alert in watched.alerts] == [("left", 0, None)]
        assert (watched.count("left"), watched.count("violations"), watched.value.threads) == (1, 0, 0)
        # Back again, its past is not known: it may do what the machine has at all, and is no one who is set up.
        move(process, watched.cgroup)
        let_go(process)
        assert process.wait(60) == 0
        assert watched.edges[1:] == [("any", "getsid"), ("getsid", END)]


def test_from_one_watch_to_another(kernel: Kernel, program: Path) -> None:
    other = policy(chain("getgid", "getegid", END))
    with kernel.watch(policy(AT_THE_GATE)) as first, kernel.watch(other, number=1) as second:
        process = at_the_gate(first, program, call("getegid"), call("getppid"))
        move(process, second.cgroup)
        let_go(process)
        assert process.wait(60) == 0
        assert [alert.kind for alert in first.alerts] == ["left"]
        assert second.edges == [("getegid", "getppid"), ("getppid", END)]
        assert (first.value.threads, second.value.threads) == (0, 0)


def test_what_runs_already(kernel: Kernel, program: Path) -> None:
    with child_cgroup("watch-running", empty_s=5.0) as cgroup:
        for attached in (True, False):
            idle = Watched(kernel.maps, 0, 0, cgroup)
            process = at_the_gate(idle, program, call("getuid"), call("getppid"), call("getgid"))
            with kernel.watch(policy(AT_THE_GATE), cgroup=cgroup, attached=attached) as watched:
                let_go(process)
                assert process.wait(60) == 0
                # Its first call may be any that the machine has; the next ones come after one that is known.
                expected = [("getuid", "getppid"), ("getppid", "getgid"), ("getgid", END)]
                assert watched.edges == (expected if attached else [])
                assert watched.count("entered") == (0 if attached else 1)
                process.stdin.close(), process.stdout.close()  # type: ignore[union-attr]


def test_who_comes_from_outside_is_set_up_until_it_executes(kernel: Kernel, program: Path) -> None:
    with kernel.watch(policy(chain("start:exec", "getppid", END))) as watched:
        # What Python does between joining and executing is not judged, nor what a process does that never executes.
        assert watched.run(program, call("getppid")) == 0
        process = at_the_gate(watched, program, call("getgid"), "f{", call("getgid"), "}", inside=False)
        move(process, watched.cgroup)
        let_go(process)
        assert process.wait(60) == 0
        assert (watched.edges, watched.count("violations")) == ([], 0)
        assert watched.run(program, call("getgid")) == 0
        assert watched.edges == [("start:exec", "getgid"), ("getgid", END)]
    # Not in another mount namespace, and not by the launcher.
    status = program.stat()
    for options in ({"mntns": 1}, {"launcher": (status.st_dev, status.st_ino)}):
        with kernel.watch(policy(chain("start:exec", "getppid", END)), **options) as watched:  # type: ignore[arg-type]
            assert watched.run(program, call("getgid"), "E", call("getgid")) == 0
            assert watched.count("violations") == 0
    with kernel.watch(policy({}), launcher=(status.st_dev, status.st_ino + 1)) as watched:
        assert watched.run(program) == 0
        assert watched.edges == [("start:exec", END)]


def test_a_frozen_watch_stops_whoever_calls(kernel: Kernel, program: Path) -> None:
    with kernel.watch(policy(AT_THE_GATE), action="freeze") as watched:
        good = at_the_gate(watched, program, call("getppid"), call("getuid"))
        bad = at_the_gate(watched, program, call("getgid"))
        let_go(bad)
        wait_until(lambda: state_of(bad.pid) == "T", deadline_s=60, what="it is stopped")
        assert watched.value.frozen
        assert [alert.action for alert in watched.alerts] == ["freeze"]
        let_go(good)
        wait_until(lambda: state_of(good.pid) == "T", deadline_s=60, what="the other is stopped, too")
        slots.thaw(kernel.maps, watched.number, epoch=watched.epoch)
        assert not watched.value.frozen
        good.send_signal(signal.SIGCONT)
        assert good.wait(60) == 0
        assert watched.count("violations") == 1
        # Its next call is wrong, too.
        bad.send_signal(signal.SIGCONT)
        wait_until(lambda: watched.value.frozen, deadline_s=60, what="frozen again")
        assert watched.count("freezes") == 2


def test_alerts_are_bounded_and_counted(kernel: Kernel, program: Path) -> None:
    with kernel.watch(policy(chain("start:exec", "getppid"))) as watched:
        assert watched.run(program, "b,500{", call("getuid"), call("getgid"), "}") == 0
        value = watched.value
        alerts, missed = slots.alerts_since(kernel.maps, 0, epoch=watched.epoch, after=0)
        assert value.counters["violations"] == 1001
        assert value.counters["alerts"] + value.counters["unreported"] == 1001
        assert value.counters["alerts"] == value.seq == missed + len(alerts)
        assert 1 <= len(alerts) <= wire.ALERTS
        assert [alert.seq for alert in alerts] == list(range(value.seq - len(alerts) + 1, value.seq + 1))
        assert slots.alerts_since(kernel.maps, 0, epoch=watched.epoch, after=value.seq) == ([], 0)
        assert slots.alerts_since(kernel.maps, 0, epoch=watched.epoch + 1, after=0) == ([], 0)
    # What it saw stays when it is over.
    assert (watched.value.epoch, watched.value.ended) == (0, watched.epoch)
    assert len(watched.alerts) == len(alerts)
    assert watched.value.counters == value.counters


def test_a_slot_that_is_used_again_has_nothing_of_before(kernel: Kernel, program: Path) -> None:
    with child_cgroup("watch-again", empty_s=5.0) as cgroup:
        with kernel.watch(policy(AT_THE_GATE), cgroup=cgroup) as first:
            process = at_the_gate(first, program, call("getgid"), "o,-", "w", call("getgid"))
            first.started.clear()
        with kernel.watch(policy(chain("start:exec", END))) as second:
            let_go(process)
            await_output(process, b"-")
            assert second.run(program) == 0
            assert (second.edges, second.count("violations"), second.value.threads) == ([], 0, 0)
        with kernel.watch(policy(chain("write", "read", END)), cgroup=cgroup, attached=True) as third:
            let_go(process)
            assert process.wait(60) == 0
            # Nothing of its state by the first watch is left, but what came before is not known.
            assert third.edges == [("any", "getgid"), ("getgid", END)]
        process.stdin.close(), process.stdout.close()  # type: ignore[union-attr]
    assert states_in(kernel) == 0


def test_what_is_watched_is_watched_once(kernel: Kernel) -> None:
    file = policy(chain("start:exec", END))
    with child_cgroup("watch-twice", empty_s=5.0) as cgroup:
        below = cgroup / "below"
        below.mkdir()
        with kernel.watch(file, cgroup=cgroup):
            for again in (cgroup, below):
                with pytest.raises(slots.Taken, match="is watched already, in slot 0") as raised:
                    kernel.watch(file, cgroup=again, number=1).__enter__()
                assert raised.value.slot == 0
            assert slots.value_of(kernel.maps, 1).epoch == 0
        with kernel.watch(file, cgroup=below, number=1), pytest.raises(slots.Taken, match="a cgroup below"):
            kernel.watch(file, cgroup=cgroup).__enter__()
        with kernel.watch(file, cgroup=cgroup) as watched:
            assert watched.value.epoch == watched.epoch
        below.rmdir()


def test_machines_are_shared_and_bounded(kernel: Kernel) -> None:
    room = kernel.maps.machines.max_entries()
    assert room == 16
    with ExitStack() as stack:
        names = ("getppid", "getuid", "getgid", "geteuid", "getegid", "gettid", "getpgrp", "sync")
        files = [policy(chain("start:exec", one, two, END)) for one in names for two in names if one != two][:room]
        made = [stack.enter_context(kernel.watch(file, number=index)) for index, file in enumerate(files)]
        same = stack.enter_context(kernel.watch(files[3], number=room))
        assert same.value.machines == made[3].value.machines
        with pytest.raises(slots.NoRoom, match="no room for more"):
            kernel.watch(policy(chain("start:exec", "getsid", END)), number=room + 1).__enter__()
        assert slots.value_of(kernel.maps, room + 1).epoch == 0
    with kernel.watch(policy(chain("start:exec", "getsid", END))) as watched:
        assert watched.value.machines[0] == 1


def test_full_and_empty_machines(kernel: Kernel, program: Path) -> None:
    names = [word for word in machine.states.called("x86_64") if word != "signal"]
    full = dict.fromkeys([*names, *("start:exec", "start:fork")], names)
    with kernel.watch(policy(full)) as watched:
        assert watched.run(program, call("getppid"), "f{", call("sync"), "}", call("getuid")) == 0
        assert watched.count("violations") == 0
    with kernel.watch(policy({}), action="kill") as watched:
        assert watched.run(program) == -signal.SIGKILL


def test_threads_by_the_thousand(kernel: Kernel, program: Path) -> None:
    """None goes unwatched, and nothing is left of them."""
    count = 100_000 if SOAK else 10_000
    limit = min(int(Path(f"/proc/sys/kernel/{name}").read_text()) for name in ("threads-max", "pid_max"))
    count = min(count, limit // 2)
    rows = both(
        chain("start:exec", "mmap", "clone", "clone", "write", "read", "futex", END),
        chain("start:thread", "getppid", "futex", "futex", "exit"),
        chain("getppid", "exit"),  # one that is late finds the others gone
    )
    with kernel.watch(policy(rows)) as watched:
        process = watched.start(program, f"n,{count}")
        await_output(process, b"+")
        wait_until(lambda: watched.value.threads == count + 1, deadline_s=60, what="all of them are seen")
        # Some hash to the same place; the others of these have their state in their storage.
        assert states_in(kernel) < count
        let_go(process)
        assert process.wait(120) == 0
        assert watched.count("violations") == watched.count("lost_threads") == 0
        assert watched.edges == []
        wait_until(lambda: watched.value.threads == 0, deadline_s=60, what="none is left")
    assert states_in(kernel) == 0
    # Control: the same threads, each of which is wrong once.
    rows["start:thread"] = ["futex"]
    few = 500
    with kernel.watch(policy(rows), action="count") as watched:
        process = watched.start(program, f"n,{few}")
        await_output(process, b"+")
        let_go(process)
        assert process.wait(60) == 0
        assert watched.count("violations") == few


def test_programs_by_the_thousand(kernel: Kernel, program: Path) -> None:
    count = 50_000 if SOAK else 2_000
    rows = both(
        chain("start:exec", "vfork", "wait4", "vfork"), chain("wait4", END), chain("start:exec", "getppid", END)
    )
    rows = both(rows, chain("start:fork", "execve"))
    with kernel.watch(policy(rows)) as watched:
        assert watched.run(program, f"b,{count}{{", "v{", "E", call("getppid"), "}", "}") == 0
        assert watched.count("violations") == 0
        assert watched.value.threads == 0
    assert states_in(kernel) == 0
    rows["start:fork"] = []
    with kernel.watch(policy(rows), action="count") as watched:
        assert watched.run(program, "b,50{", "v{", "E", call("getppid"), "}", "}") == 0
        assert watched.count("violations") == 50


_LOADER = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[5:]
from watching import Kernel, chain, place_of, policy
from scmm_oci.watch import machine, pins, slots
where, run_dir, cgroup, kind = sys.argv[1:5]
pins.load(where, run_dir=run_dir, machines=4)
with pins.Maps(where) as maps:
    found = machine.machines_of(policy(chain("start:exec", "getppid", "exit_group")), machine=kind)
    slots.begin(maps, 0, epoch=7, place=place_of(Path(cgroup)), mntns=0, machines=found, action="kill", name="x",
                attached=False)
"""


def test_who_began_it_need_not_live(inside: namespace.Entered, program: Path, tmp_path: Path) -> None:
    where = f"/sys/fs/bpf/scmm-gone-{os.getpid()}"
    with child_cgroup("watch-gone", empty_s=5.0) as cgroup:
        paths = [str(path) for path in (ROOT, ROOT / "tests", ROOT / "tests/kernel")]
        words = [where, str(tmp_path), str(cgroup), MACHINE, *paths]
        subprocess.run([sys.executable, "-c", _LOADER, *words], check=True, timeout=60)
        try:
            with pins.Maps(where) as maps:
                watched = Watched(maps, 0, 7, cgroup)
                assert watched.run(program, call("getppid")) == 0
                assert watched.run(program, call("getuid")) == -signal.SIGKILL
                assert watched.edges == [("start:exec", "getuid")]
                watched.end()
                assert watched.run(program, call("getuid")) == 0
        finally:
            pins.remove(where)
    assert not Path(where).exists()


_SAME_ID = """
import os, subprocess, sys
cgroup, *words = sys.argv[1:]
for _ in range(2):
    with open("/proc/sys/kernel/ns_last_pid", "w") as file:
        file.write("41")
    child = os.fork()
    if not child:
        with open(cgroup + "/cgroup.procs", "w") as file:
            file.write("0")
        os.execv(words[0], words)
    print(child, os.waitpid(child, 0)[1])
"""


def test_ids_that_are_used_again(kernel: Kernel, program: Path) -> None:
    """In a pid namespace of its own, where nobody else takes an id."""
    rows = both(chain("start:exec", "getppid", END), chain("getuid", END))
    with kernel.watch(policy(rows)) as watched:
        words = ["unshare", "--pid", "--fork", sys.executable, "-c", _SAME_ID, str(watched.cgroup), str(program)]
        done = subprocess.run([*words, call("getuid")], capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.splitlines() == ["42 0"] * 2
        assert watched.edges == [("start:exec", "getuid")] * 2
        first, second = watched.alerts
        assert first.ns_tgid == second.ns_tgid == 42
        assert first.tgid != second.tgid and first.leader_started < second.leader_started
