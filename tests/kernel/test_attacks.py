"""What a program may do to confuse the recorder: signals, races, other cgroups, other recordings."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from scripts import PRELUDE, PYTHON, losses, record
from support import Hooks, need
from trial import Trial, calls

from rig.cgroup import child_cgroup
from rig.process import wait_until
from scmm_oci.recorder import pins, slots, target
from scmm_oci.recorder.engines import Container, Engine
from scmm_oci.tables.syscalls import numbers

NUMBERS = numbers("x86_64")


def edges(capture: dict[str, Any]) -> set[tuple[str, str]]:
    """(state before, state) of the x86_64 calls of the program, before it listens: names of calls, and words."""
    names = {number: name for name, number in NUMBERS.items()}
    [found] = [each for each in capture["order"] if each["arch"] == "x86_64"]
    assert found["stage"] == "starting"
    return {(names.get(before, before), names.get(after, after)) for before, after in found["edges"]}


def after(capture: dict[str, Any], name: str) -> set[str]:
    return {to for before, to in edges(capture) if before == name}


def before(capture: dict[str, Any], name: str) -> set[str]:
    return {come for come, to in edges(capture) if to == name}


def signals(hooks: Hooks, payload: Path, *how: str) -> dict[str, Any]:
    with Trial(hooks, payload, "signals", *how, name="signals") as trial:
        trial.release()
        return trial.finish()


@pytest.mark.parametrize("depth", [1, 3, 4])
def test_handlers_in_handlers_go_on_where_they_were(hooks: Hooks, payload: Path, depth: int) -> None:
    capture = signals(hooks, payload, "nested", str(depth))
    assert losses(capture) == {}
    # getuid, tgkill [getgid, kill [getgid … getegid], getegid] geteuid; kill needs the process's id.
    assert before(capture, "geteuid") == {"tgkill"}
    assert before(capture, "getgid") == {"signal"}
    assert before(capture, "getegid") == ({"getgid"} if depth == 1 else {"kill", "getgid"})
    assert before(capture, "rt_sigreturn") == {"getegid"} and after(capture, "rt_sigreturn") == set()


def test_more_handlers_than_places_invent_nothing(hooks: Hooks, payload: Path) -> None:
    capture = signals(hooks, payload, "nested", "7")
    # Three of seven were forgotten: what follows them has no place.
    assert losses(capture) == {"lost-order": 3}
    assert before(capture, "geteuid") == set()
    assert before(capture, "getegid") == {"kill", "getgid"} and after(capture, "rt_sigreturn") == set()


def test_handlers_that_are_left_by_jumps(hooks: Hooks, payload: Path) -> None:
    capture = signals(hooks, payload, "leave")
    assert losses(capture) == {}
    # No return: the program did make these calls one after the other.
    assert before(capture, "geteuid") == {"getgid"} and before(capture, "rt_sigreturn") == set()
    # A handler in a handler is left, and the outer one returns.
    capture = signals(hooks, payload, "inner")
    assert losses(capture) == {}
    assert before(capture, "getpgrp") == {"getgid"} and before(capture, "rt_sigreturn") == {"getpgrp"}
    assert before(capture, "geteuid") == {"tgkill"}


def test_forged_sigreturn_is_a_loss_of_order(hooks: Hooks, payload: Path) -> None:
    capture = signals(hooks, payload, "forge")
    assert losses(capture) == {"lost-order": 1}
    assert before(capture, "geteuid") == set() and before(capture, "getgid") == {"tgkill"}
    assert before(capture, "rt_sigreturn") == {"signal", "getgid"} and after(capture, "rt_sigreturn") == set()


def test_child_that_is_forked_in_a_handler_returns_from_it(hooks: Hooks, payload: Path) -> None:
    capture = signals(hooks, payload, "fork")
    assert losses(capture) == {}
    assert before(capture, "geteuid") == {"tgkill"} and calls(capture)["geteuid"]["entered"] == 2
    assert after(capture, "rt_sigreturn") == set()


def test_calls_that_are_made_again_are_told_from_those_that_end(hooks: Hooks, payload: Path) -> None:
    capture = signals(hooks, payload, "restart")
    call = calls(capture)["read"]
    # Twice at the program's beginning by nobody: the read of the gate is the other program's.
    assert (call["entered"], call["succeeded"], call["errnos"]) == (2, 1, [])
    assert before(capture, "read") == {"setitimer"} and before(capture, "geteuid") == {"read"}
    assert before(capture, "getgid") == {"signal"} and after(capture, "rt_sigreturn") == set()
    capture = signals(hooks, payload, "again")
    call = calls(capture)["read"]
    assert (call["entered"], call["succeeded"], call["errnos"]) == (2, 1, ["EINTR"])
    assert before(capture, "read") == {"setitimer", "read"} and before(capture, "geteuid") == {"read"}
    capture = signals(hooks, payload, "stop")
    assert calls(capture)["restart_syscall"]["entered"] == 1
    assert before(capture, "geteuid") == {"nanosleep"}
    assert before(capture, "restart_syscall") == after(capture, "restart_syscall") == set()


def test_execution_in_a_thread_ends_the_others(hooks: Hooks, payload: Path) -> None:
    with Trial(hooks, payload, "execthread", str(payload), "forks", "3", name="execthread") as trial:
        with pins.Maps(hooks.settings.pin_dir) as maps:
            trial.release()
            assert slots.value_of(maps, 0).threads == 0
        capture = trial.finish()
    assert losses(capture) == {}
    call = calls(capture)["getpgid"]
    assert call["entered"] == 3 and len(call["programs"]) == 1
    assert ("start:exec", "getpgid") not in edges(capture) and before(capture, "getpgid") == {"set_robust_list"}


def test_child_put_into_another_cgroup_is_told(hooks: Hooks, payload: Path) -> None:
    with ExitStack() as stack:
        outside = stack.enter_context(child_cgroup("outside", empty_s=1.0))
        trial = stack.enter_context(Trial(hooks, payload, "into", str(outside), name="into"))
        trial.release()
        capture = trial.finish()
    assert losses(capture) == {"left-cgroup": 1}
    assert "getpriority" not in calls(capture) and calls(capture)["getpgrp"]["entered"] == 1
    # The control: into a cgroup below our own, and nothing is lost.
    with ExitStack() as stack:
        cgroup = stack.enter_context(child_cgroup("inside", empty_s=1.0))
        trial = stack.enter_context(Trial(hooks, payload, "into", str(cgroup / "below"), name="into", cgroup=cgroup))
        (cgroup / "below").mkdir()
        trial.release()
        capture = trial.finish()
    assert losses(capture) == {} and calls(capture)["getpriority"]["entered"] == 1


def test_names_that_change_while_they_are_read(hooks: Hooks, payload: Path) -> None:
    with Trial(hooks, payload, "race", "20000", name="race") as trial:
        trial.release()
        capture = trial.finish()
    found = calls(capture)
    assert found["access"]["entered"] == found["connect"]["entered"] == 40_000
    names = {row["path"] for row in capture["files"] if row["operation"] == "access"}
    # Which of the texts are caught, and whether whole, is chance; that some are is not.
    assert any(name.startswith("/race-") for name in names), names
    # A name is of what lay in the memory at some time: never more than 63 bytes, and of these.
    assert all(len(name) <= 64 and set(name) <= set("/race-abcwithlongrnmex-AFUNIX\x01\0") for name in names)
    # What could not be read is counted; nothing else is missing.
    assert losses(capture).keys() <= {"lost-files", "lost-sockets"}
    seen = sum(row["succeeded"] + row["failed"] for row in capture["files"] if row["operation"] == "access")
    assert seen + losses(capture).get("lost-files", 0) <= 80_000


def test_io_uring_is_a_loss(hooks: Hooks, payload: Path) -> None:
    script = """
print(call(425, int(sys.argv[1]), ctypes.create_string_buffer(120)))
"""
    capture = record(hooks, payload, script, "4")
    if "ENOSYS" in calls(capture)["io_uring_setup"]["errnos"]:
        need("KERNEL", "this kernel has no io_uring")
    assert losses(capture) == {"io-uring": 1} and not capture["complete"]
    capture = record(hooks, payload, script, "0")  # no entries: EINVAL, and nothing was done
    assert losses(capture) == {} and capture["complete"]


def test_a_second_recording_keeps_what_the_first_one_did(hooks: Hooks, payload: Path) -> None:
    """States of threads are used again by later recordings, and nothing may be taken for known there."""
    with Trial(hooks, payload, "true", name="holder") as holder:
        captures = []
        for number in range(4):
            with Trial(hooks, payload, "values", "9", name=f"again-{number}") as trial:
                trial.release()
                captures.append(trial.finish())
        holder.release()
        holder.finish()
    assert 1003 in [value for row in captures[0]["arguments"] for value in row["values"]]
    for key in ("arguments", "order"):
        assert [capture[key] == captures[0][key] for capture in captures] == [True] * 4


@contextmanager
def churning(payload: Path, name: str, *marks: str) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A process in a cgroup of its own that makes the calls `marks` without end."""
    with child_cgroup(name, empty_s=0.0) as cgroup:
        words = [str(payload), "churn", *(str(NUMBERS[mark]) for mark in marks)]
        command = ["/bin/sh", "-c", 'echo 0 > "$0/cgroup.procs" && exec "$@"', str(cgroup), *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None and process.stdout.read(1) == b"!"
            try:
                yield cgroup, process
            finally:
                process.kill()


def started(hooks: Hooks, process: subprocess.Popen[bytes], *marks: str, name: str) -> target.Recording:
    """A recording of its cgroup, of which the calls `marks` are there already."""
    container = Container(Engine.DOCKER, name, name, process.pid, (), None)
    recording = target.record_container(hooks.settings, container, name=name)
    wanted = {("call", mark) for mark in marks}
    wait_until(lambda: wanted <= set(recording.glance().items), deadline_s=10, what="the workload's calls")
    return recording


def ended(recording: target.Recording) -> dict[str, Any]:
    return recording.finish(shape=lambda document: document, save=lambda document: "")[1]


def test_recordings_side_by_side_hold_their_own_calls_again_and_again(hooks: Hooks, payload: Path) -> None:
    workloads = {"first": ("getsid", "times"), "second": ("getitimer", "getrusage")}
    with ExitStack() as stack:
        processes = {name: stack.enter_context(churning(payload, name, *marks))[1] for name, marks in workloads.items()}
        stays = started(hooks, processes["first"], *workloads["first"], name="stays")
        for number in range(100):
            name = "second"
            if number % 5 == 0:  # the other one begins anew, too
                name = "first"
                ended(stays)
            capture = ended(started(hooks, processes[name], *workloads[name], name=f"brief-{number}"))
            assert set(calls(capture)) == set(workloads[name]), number
            assert losses(capture) == {"attached": 1}
            if name == "first":
                stays = started(hooks, processes[name], *workloads[name], name="stays")
        assert set(calls(ended(stays))) == set(workloads["first"])


def test_facts_of_recordings_side_by_side_are_their_own(hooks: Hooks, payload: Path) -> None:
    script = """
for number in range(2000):
    call(ACCESS, b"/common", 0)
    call(ACCESS, b"/mark-%d" % (number % 50) + sys.argv[1].encode(), 0)
    call(FCNTL, 0, 5000 + int(sys.argv[1]), 0)
    call(FCNTL, 0, 4999, 0)
socket.socket(socket.AF_UNIX).connect_ex("/socket" + sys.argv[1])
"""
    with ExitStack() as stack:
        trials = []
        for name in ("1", "2", "3"):
            words = ("gate", PYTHON, "-I", "-S", "-c", PRELUDE + script, name)
            trials.append(stack.enter_context(Trial(hooks, payload, *words, name=f"side-{name}", gate=False)))
        for trial in trials:
            assert trial.process.stdin is not None
            trial.process.stdin.write(b"x")
            trial.process.stdin.flush()
        for trial in trials:
            assert trial.process.wait(60) == 0
        for name, trial in zip("123", trials, strict=True):
            capture = trial.finish()
            assert losses(capture) == {}
            found = {row["path"]: row["failed"] for row in capture["files"] if row["operation"] == "access"}
            marks = {f"/mark-{number}{name}": 40 for number in range(50)}
            assert {path: n for path, n in found.items() if "mark" in path or "common" in path} == {
                **marks,
                "/common": 2000,
            }
            [values] = [row["values"] for row in capture["arguments"] if row["name"] == "fcntl"]
            assert [value for value in values if value > 4000] == [4999, 5000 + int(name)]
            assert [row["address"] for row in capture["sockets"]] == [f"/socket{name}"]


def test_process_id_that_is_used_again_is_another_session(hooks: Hooks, payload: Path) -> None:
    with Trial(hooks, payload, "gate", str(payload), "true", name="reused") as trial:
        trial.pass_gate()
        first = trial.spawn("try", str(NUMBERS["getsid"]))
        first.communicate()

        def again() -> bool:
            Path("/proc/sys/kernel/ns_last_pid").write_text(str(first.pid - 1))
            with subprocess.Popen(["true"]) as probe:
                if probe.pid != first.pid:
                    return False
            Path("/proc/sys/kernel/ns_last_pid").write_text(str(first.pid - 1))
            second = trial.spawn("try", str(NUMBERS["times"]))
            second.communicate()
            return second.pid == first.pid

        wait_until(again, deadline_s=20, what="the process id is used again")
        trial.release()
        capture = trial.finish()
    assert losses(capture) == {}
    assert len(capture["sessions"]) >= 3
    sessions = [set(calls(capture, session=session["number"])) & {"getsid", "times"} for session in capture["sessions"]]
    assert {"getsid"} in sessions and {"times"} in sessions and {"getsid", "times"} not in sessions


def test_followed_process_in_a_recorded_cgroup_is_missed_there_and_nowhere_twice(hooks: Hooks, payload: Path) -> None:
    with churning(payload, "both", "getsid") as (cgroup, followed):
        process = target.record_process(hooks.settings, followed.pid, name="followed", follow=True)
        with Trial(hooks, payload, "forks", "5", name="whole", cgroup=cgroup) as trial:
            trial.release()
            whole = trial.finish()
        capture = ended(process)
    assert "getsid" in calls(capture) and "getpgid" not in calls(capture)
    assert "getsid" not in calls(whole) and calls(whole)["getpgid"]["entered"] == 5
    assert losses(whole) == {"left-cgroup": 1}
    # The control: not followed, it is in the cgroup's recording, as one that entered.
    with (
        churning(payload, "alone", "getsid") as (cgroup, _),
        Trial(hooks, payload, "forks", "5", name="whole", cgroup=cgroup) as trial,
    ):
        trial.release()
        whole = trial.finish()
    assert "left-cgroup" not in losses(whole)
    assert any("getsid" in calls(whole, "setup", session=each["number"]) for each in whole["sessions"])
