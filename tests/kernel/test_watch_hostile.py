"""Ways out of a watch that a program inside, or who comes after it, would like to have."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from recording import state_of
from support import need
from watching import Kernel, Watched, await_output, both, build, call, chain, let_go, loaded, policy

from rig import namespace
from rig.cgroup import child_cgroup
from rig.process import wait_until
from scmm_oci.watch import slots, wire

END = "exit_group"
AT_THE_GATE = both(chain("start:exec", "write", "read", "getppid", "getuid", END))
# Where struct scmm_watch has the cgroups below, and its counters.
CGROUPS = 5 * 4
COUNTERS = wire.WATCH.size - wire.NAME - 8 * len(wire.COUNTERS)


@pytest.fixture(scope="module")
def kernel(inside: namespace.Entered, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    need("KERNEL", None if os.uname().machine == "x86_64" else "the program's numbers are those of x86_64")
    with loaded(tmp_path_factory.mktemp("hostile")) as found:
        yield found


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("watched"))


def at_the_gate(watched: Watched, program: Path, *words: str, **options: object) -> subprocess.Popen[bytes]:
    """The program, waiting in `read`."""
    process = watched.start(program, "o,+", "w", *words, **options)  # type: ignore[arg-type]
    await_output(process, b"+")
    await_read(process.pid)
    return process


def await_read(pid: int) -> None:
    where = Path(f"/proc/{pid}/syscall")
    wait_until(lambda: where.read_text().split()[0] == "0", deadline_s=60, what="it waits in read")


def move(pid: int, cgroup: Path) -> None:
    (cgroup / "cgroup.procs").write_text(str(pid))


def set_in_record(watched: Watched, offset: int, form: str, value: int) -> None:
    """Have the kernel's record of a watch as it would be after much that takes long."""
    key = wire.KEY.pack(watched.number)
    record = bytearray(watched.maps.watches.get(key) or b"")
    struct.pack_into(form, record, offset, value)
    watched.maps.watches.put(key, bytes(record))


def test_who_continues_what_is_frozen_has_no_second_call(kernel: Kernel, program: Path) -> None:
    """SIGCONT comes from a timer of the program's, another process, or here from the test."""
    with kernel.watch(policy(AT_THE_GATE), action="freeze") as watched:
        bad = at_the_gate(watched, program, call("getgid"), "o,1", "o,2")
        let_go(bad)
        wait_until(lambda: state_of(bad.pid) == "T", deadline_s=60, what="it is stopped")
        bad.send_signal(signal.SIGCONT)
        out, _ = bad.communicate(timeout=60)
        # A pipe is written to before a signal is looked at.
        assert (bad.returncode, out) == (-signal.SIGKILL, b"1")
        assert watched.count("kills") == 1


def test_who_continues_itself_when_frozen_has_no_second_call(kernel: Kernel, program: Path) -> None:
    """kill(0, SIGCONT) takes the caller's own SIGSTOP away before it is delivered."""
    rows = both(
        chain("start:exec", "write", "read", "fork", "read", "kill", "kill", "write", END),
        chain("start:fork", "getppid", END),
    )
    words = ("F{", call("getgid"), "}", "w", "b,3{", call("kill", 0, signal.SIGCONT.value), "}", "o,free")
    for thawed in (False, True):
        with kernel.watch(policy(rows), action="freeze") as watched:
            parent = at_the_gate(watched, program, *words, start_new_session=True)
            let_go(parent)
            wait_until(lambda watched=watched: watched.value.frozen, deadline_s=60, what="its child is wrong")  # type: ignore[misc]
            await_read(parent.pid)
            if thawed:
                # Control: so it goes on where nobody is to be stopped any more.
                slots.thaw(kernel.maps, watched.number, epoch=watched.epoch)
                (watched.cgroup / "cgroup.freeze").write_text("0")
            let_go(parent)
            if thawed:
                # Its child goes on, too, is wrong again, and stops whoever calls.
                wait_until(lambda watched=watched: watched.count("freezes") >= 2, deadline_s=60, what="frozen again")  # type: ignore[misc]
                continue
            out, _ = parent.communicate(timeout=60)
            assert (parent.returncode, out) == (-signal.SIGKILL, b"")
            assert watched.count("kills") >= 1


def test_who_was_stopped_before_a_thaw_is_only_stopped_after_it(kernel: Kernel, program: Path) -> None:
    with kernel.watch(policy(AT_THE_GATE), action="freeze") as watched:
        first = at_the_gate(watched, program, call("getgid"), "w", call("getuid"))
        let_go(first)
        wait_until(lambda: state_of(first.pid) == "T", deadline_s=60, what="it is stopped")
        slots.thaw(kernel.maps, watched.number, epoch=watched.epoch)
        second = at_the_gate(watched, program, call("getgid"))
        let_go(second)
        wait_until(lambda: state_of(second.pid) == "T", deadline_s=60, what="another is stopped")
        first.send_signal(signal.SIGCONT)
        wait_until(lambda: watched.count("kills") or state_of(first.pid) == "T", deadline_s=60, what="it calls again")
        assert watched.count("kills") == 0


def test_cgroups_without_room_are_no_way_out(kernel: Kernel, program: Path) -> None:
    with ExitStack() as stack:
        cgroup = stack.enter_context(child_cgroup("watch-crowded", empty_s=5.0))
        watched = stack.enter_context(kernel.watch(policy(AT_THE_GATE), cgroup=cgroup, action="kill"))
        set_in_record(watched, CGROUPS, "=I", wire.CGROUPS_PER_SLOT)
        below = [cgroup / "a", cgroup / "a/b", cgroup / "a/b/c"]
        for each in below:
            each.mkdir()
        # None of them has a place of its own.
        assert watched.count("lost_cgroups") == len(below)
        assert len(list(watched.maps.targets)) == 1
        for each in below:
            good = at_the_gate(watched, program, call("getppid"), call("getuid"))
            bad = at_the_gate(watched, program, call("getgid"), "o,1", "o,2")
            for one in (good, bad):
                move(one.pid, each)
                let_go(one)
            assert good.wait(60) == 0
            assert (bad.wait(60), bad.stdout.read()) == (-signal.SIGKILL, b"")  # type: ignore[union-attr]
        assert watched.edges == [("read", "getgid")] * len(below)
        assert watched.count("left") == 0
        # Control: beside it nobody is watched, though the same is looked up.
        with child_cgroup("watch-beside", empty_s=5.0) as beside:
            process = at_the_gate(watched, program, call("getgid"))
            move(process.pid, beside)
            let_go(process)
            assert process.wait(60) == 0
        assert watched.count("left") == 1
        for each in reversed(below):
            each.rmdir()


def test_more_cgroups_than_are_watched_are_refused(
    kernel: Kernel, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "CGROUPS_PER_SLOT", 2)
    with child_cgroup("watch-many", empty_s=5.0) as cgroup:
        below = [cgroup / name for name in "abc"]
        for each in below:
            each.mkdir()
        with pytest.raises(slots.SlotsFull, match="more than 2 cgroups are below"):
            kernel.watch(policy(AT_THE_GATE), cgroup=cgroup).__enter__()
        assert slots.value_of(kernel.maps, 0).epoch == 0 and not list(kernel.maps.targets)
        below.pop().rmdir()
        with kernel.watch(policy(AT_THE_GATE), cgroup=cgroup):
            assert len(list(kernel.maps.targets)) == 3
        for each in below:
            each.rmdir()


def test_what_a_leaver_makes_outside_is_judged_when_it_comes_in(kernel: Kernel, program: Path) -> None:
    with child_cgroup("watch-out") as elsewhere, kernel.watch(policy(AT_THE_GATE)) as watched:
        process = at_the_gate(watched, program, call("getgid"), "f{", "o,-", "w", call("getsid", 0), "}")
        move(process.pid, elsewhere)
        let_go(process)
        await_output(process, b"-")
        (child,) = set(map(int, (elsewhere / "cgroup.procs").read_text().split())) - {process.pid}
        move(child, watched.cgroup)
        let_go(process)
        assert process.wait(60) == 0
        assert watched.edges[1:] == [("any", "getsid"), ("getsid", END)]
        assert watched.count("entered") == 1  # the one at the start


def test_who_enters_what_runs_already_and_forks_is_judged(kernel: Kernel, program: Path) -> None:
    """As `runc exec` does: what it moves in makes the process that executes the program."""
    rows = policy(chain("start:exec", "getppid", END))
    with (
        child_cgroup("watch-entered", empty_s=5.0) as cgroup,
        kernel.watch(rows, cgroup=cgroup, attached=True) as watched,
    ):
        process = at_the_gate(watched, program, "f{", "E", call("getgid"), inside=False)
        move(process.pid, cgroup)
        let_go(process)
        assert process.wait(60) == 0
        assert watched.edges == [("start:exec", "getgid"), ("getgid", END)]


def test_after_a_loss_whoever_comes_is_judged(kernel: Kernel, program: Path) -> None:
    """A thread that had no memory could pass for one from outside."""
    lost = wire.COUNTERS.index("lost_threads")
    for count, edges in ((0, []), (1, [("any", "getgid"), ("getgid", END)])):
        with kernel.watch(policy(AT_THE_GATE)) as watched:
            set_in_record(watched, COUNTERS + 8 * lost, "=Q", count)
            assert watched.count("lost_threads") == count
            process = at_the_gate(watched, program, call("getgid"), inside=False)
            move(process.pid, watched.cgroup)
            let_go(process)
            assert process.wait(60) == 0
            assert watched.edges == edges


def test_who_ran_already_ends_only_so_many_handlers(kernel: Kernel, program: Path) -> None:
    """A thread may have been in some when the watch began; made-up frames beyond that are told."""
    rows = both(
        chain("start:exec", "write", "read", "getppid", "rt_sigreturn"),
        chain("rt_sigreturn", "getppid", END),
    )
    times = wire.HANDLERS + 3
    with child_cgroup("watch-frames", empty_s=5.0) as cgroup:
        idle = Watched(kernel.maps, 0, 0, cgroup)
        process = at_the_gate(idle, program, f"b,{times}{{", call("getppid"), "r", "}")
        with kernel.watch(policy(rows), cgroup=cgroup, attached=True) as watched:
            let_go(process)
            assert process.wait(60) == 0
            assert watched.count("no_handler") == watched.count("violations") == 3
            assert [alert.kind for alert in watched.alerts] == ["no-handler"] * 3
            process.stdin.close(), process.stdout.close()  # type: ignore[union-attr]
