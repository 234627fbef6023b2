"""The recorder in the kernel: every call, in its phase, session and ABI, of the right container and no other."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from support import Hooks
from trial import Trial, calls

from rig.cgroup import child_cgroup
from rig.process import wait_until

THREADS, EACH = 4, 1_000_000


def test_counts_equal_calls_made(hooks: Hooks, payload: Path) -> None:
    each = 25_000_000 if os.environ.get("SCMM_SOAK") else EACH
    with Trial(hooks, payload, "calls", str(THREADS), str(each), name="counts") as trial:
        trial.release()
        capture = trial.finish()
    assert capture["complete"] and capture["losses"] == []
    call = calls(capture)["getppid"]
    assert (call["entered"], call["succeeded"], call["errnos"]) == (THREADS * each, THREADS * each, [])


def test_short_lived_children_are_the_programs_own(hooks: Hooks, payload: Path) -> None:
    with Trial(hooks, payload, "forks", "500", name="forks") as trial:
        trial.release()
        capture = trial.finish()
    assert [session["kind"] for session in capture["sessions"]] == ["main"]
    assert calls(capture)["getpgid"]["entered"] == 500
    assert calls(capture)["exit_group"]["entered"] == 501


@pytest.mark.parametrize("how", ["prctl", "seccomp", "none"])
def test_phases_change_at_the_filter_and_at_execve(hooks: Hooks, payload: Path, how: str) -> None:
    words = ("runtime", how, "71", str(payload), "denied" if how != "none" else "true")
    with Trial(hooks, payload, *words, name="phases", gate=False) as trial:
        trial.release()
        capture = trial.finish()
    setup, between, app = (calls(capture, phase) for phase in ("setup", "runtime", "app"))
    # Both probes with bad arguments fail and change nothing.
    assert setup["sched_yield"]["entered"] == 1
    assert setup["seccomp"]["errnos"] == ["EINVAL"]
    assert "EFAULT" in setup["prctl"]["errnos"]
    if how == "none":
        assert between == {}
        assert setup.keys() >= {"getsid", "execve"}
    else:
        assert between.keys() == {"getsid", "execve"}
        assert "getsid" not in setup
        assert app["sched_getaffinity"]["denied"] == 5
        assert app["sched_getaffinity"]["denied_errno"] == "EPROTO"
        assert app["sched_getaffinity"]["entered"] == 0
        assert app["close"]["errnos"] == ["EBADF"]
        assert app["getsockname"]["errnos"] == ["ENOTSOCK"]
    assert not app.keys() & {"getsid", "execve", "sched_yield"}
    assert app["exit_group"]["entered"] == 1


def test_foreign_abis_are_told_apart(hooks: Hooks, payload: Path) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("i386 and x32 calls exist on x86_64 only")
    with Trial(hooks, payload, "foreign", name="foreign") as trial:
        trial.release()
        capture = trial.finish()
    assert calls(capture, arch="x86")["getpid"]["entered"] == 3
    # Kernels without CONFIG_X86_X32_ABI answer ENOSYS; they are x32 calls all the same.
    assert calls(capture, arch="x32")["getpid"]["entered"] == 2
    assert "writev" not in calls(capture), "i386 number 20 was taken for a native one"
    assert capture["notes"] == [{"kind": "bad-numbers", "count": 1, "detail": capture["notes"][0]["detail"]}]


def test_child_cgroup_is_followed(hooks: Hooks, payload: Path) -> None:
    with ExitStack() as stack:
        cgroup = stack.enter_context(child_cgroup("nested", empty_s=1.0))
        trial = stack.enter_context(Trial(hooks, payload, "nested", str(cgroup), name="nested", cgroup=cgroup))
        trial.release()
        capture = trial.finish()
    assert calls(capture)["getpriority"]["entered"] == 1
    assert capture["complete"]


def test_leaving_the_cgroup_is_a_loss_that_is_told(hooks: Hooks, payload: Path) -> None:
    with (
        child_cgroup("elsewhere") as elsewhere,
        Trial(hooks, payload, "leave", str(elsewhere / "cgroup.procs"), name="leaves") as trial,
    ):
        trial.release()
        capture = trial.finish()
    assert not capture["complete"]
    assert [loss["kind"] for loss in capture["losses"]] == ["left-cgroup"]
    assert "getpriority" not in calls(capture)


# Ten calls that nothing else in the payload makes, by number on x86_64.
DISTINCT = {
    "getpgrp": 111, "getsid": 124, "sched_yield": 24, "getitimer": 36, "times": 100,
    "getegid": 108, "sysinfo": 99, "umask": 95, "sync": 162, "getrusage": 98,
}  # fmt: skip


def test_ten_at_once_hold_only_their_own_calls(hooks: Hooks, payload: Path) -> None:
    with ExitStack() as stack:
        trials = {
            name: stack.enter_context(Trial(hooks, payload, "try", str(number), name=name))
            for name, number in DISTINCT.items()
        }
        for trial in trials.values():
            assert trial.process.stdin is not None
            trial.process.stdin.write(b"x")
            trial.process.stdin.flush()
        for trial in trials.values():
            assert trial.process.wait(60) == 0
        captures = {name: trial.finish() for name, trial in trials.items()}
    common = set.intersection(*(set(calls(capture)) for capture in captures.values()))
    for name, capture in captures.items():
        assert capture["complete"]
        assert set(calls(capture)) - common == {name}
        assert calls(capture)[name]["entered"] == 1
        assert calls(capture)["exit_group"]["entered"] == 1


def test_calls_that_a_filter_answers_are_denied_calls(hooks: Hooks, payload: Path) -> None:
    with Trial(hooks, payload, "answered", name="answered") as trial:
        trial.release()
        capture = trial.finish()
    found = calls(capture)
    assert (found["sched_getaffinity"]["denied"], found["sched_getaffinity"]["denied_errno"]) == (10, None)
    assert (found["getpriority"]["denied"], found["getpriority"]["denied_errno"]) == (1, "EBADMSG")
    # Children begin with the end of their parent's call, which is nobody's refusal.
    with Trial(hooks, payload, "forks", "20", name="control") as trial:
        trial.release()
        capture = trial.finish()
    assert not [name for name, call in calls(capture).items() if call["denied"]]


def test_moving_to_another_recording_is_a_loss_of_the_first(hooks: Hooks, payload: Path) -> None:
    with ExitStack() as stack:
        there = stack.enter_context(Trial(hooks, payload, "gate", str(payload), "true", name="there"))
        there.pass_gate()
        here = stack.enter_context(Trial(hooks, payload, "leave", str(there.cgroup / "cgroup.procs"), name="here"))
        here.release()
        there.release()
        first, second = here.finish(), there.finish()
    assert [loss["kind"] for loss in first["losses"]] == ["left-cgroup"]
    assert "getpriority" not in calls(first) and "getpriority" not in calls(second)


def test_cgroup_that_was_there_before_is_recorded(hooks: Hooks, payload: Path) -> None:
    with child_cgroup("before", empty_s=1.0) as cgroup:
        (cgroup / "deep" / "er").mkdir(parents=True)
        with Trial(hooks, payload, "gate", str(payload), "true", name="before", cgroup=cgroup) as trial:
            trial.pass_gate()
            trial.cgroup = cgroup / "deep" / "er"
            late = trial.spawn("forks", "2")
            late.communicate(timeout=10)
            trial.release()
            capture = trial.finish()
    assert capture["complete"]
    assert calls(capture, "setup", session=1)["execve"]["succeeded"] == 1
    assert calls(capture, session=1)["getpgid"]["entered"] == 2


def test_cgroups_come_and_go_without_loss_and_too_many_are_told(hooks: Hooks, payload: Path) -> None:
    # More come and go than the table of all recordings holds; more stay than one recording may have.
    for name, count, keep, lost in (("come-and-go", 17000, 5, 0), ("too-many", 1500, 1030, 6)):
        with ExitStack() as stack:
            cgroup = stack.enter_context(child_cgroup(name, empty_s=1.0))
            words = ("cgroups", str(cgroup), str(count), str(keep))
            trial = stack.enter_context(Trial(hooks, payload, *words, name=name, cgroup=cgroup))
            trial.release()
            capture = trial.finish()
        assert {loss["kind"]: loss["count"] for loss in capture["losses"]} == ({"lost-cgroups": lost} if lost else {})
        assert capture["complete"] == (not lost)


def test_children_that_execute_stay_in_their_session(hooks: Hooks, payload: Path) -> None:
    with Trial(hooks, payload, "gate", str(payload), "true", name="grandchildren") as trial:
        trial.pass_gate()
        late = trial.spawn("gate", str(payload), "child", str(payload), "try", "124")
        late.communicate(b"x", timeout=10)
        trial.release()
        capture = trial.finish()
    assert [session["kind"] for session in capture["sessions"]] == ["main", "exec"]
    assert "getsid" not in calls(capture)
    assert calls(capture, session=1)["getsid"]["entered"] == 1


def test_program_outside_the_containers_mounts_is_told(hooks: Hooks, payload: Path) -> None:
    """Without a filter the mount namespace tells the program from the set-up; the control shares it."""
    for prefix, kinds in ((["unshare", "--mount"], ["unknown-phase"]), ([], [])):
        with Trial(hooks, payload, "true", name="mounts", prefix=["unshare", "--mount"], gates=2) as trial:
            trial.pass_gate()
            inside = ["nsenter", f"--mount=/proc/{trial.process.pid}/ns/mnt"]
            late = trial.spawn("gate", str(payload), "forks", "2", prefix=prefix or inside)
            late.communicate(b"x", timeout=10)
            trial.release()
            capture = trial.finish()
        assert [loss["kind"] for loss in capture["losses"]] == kinds
        assert ("getpgid" in calls(capture, session=1)) == (not kinds)
        assert ("getpgid" in calls(capture, "setup", session=1)) == bool(kinds)


def test_late_entrant_is_a_session_of_its_own(hooks: Hooks, payload: Path) -> None:
    with Trial(hooks, payload, "gate", str(payload), "true", name="late") as trial:
        trial.pass_gate()
        late = trial.spawn("gate", str(payload), "forks", "3")
        late.communicate(b"x", timeout=10)
        trial.release()
        capture = trial.finish()
    assert [session["kind"] for session in capture["sessions"]] == ["main", "exec"]
    assert "getpgid" not in calls(capture)
    assert calls(capture, session=1)["getpgid"]["entered"] == 3


def test_sessions_beyond_the_last_share_it(hooks: Hooks, payload: Path) -> None:
    with Trial(hooks, payload, "true", name="crowd") as trial:
        trial.release()
        for _ in range(12):
            late = trial.spawn("forks", "2")
            late.communicate(timeout=10)
        capture = trial.finish()
    assert capture["complete"], capture["losses"]
    assert [session["number"] for session in capture["sessions"]] == list(range(8))
    # Sessions 1 to 7 are the first seven late entrants; the remaining five share the last.
    assert [calls(capture, session=number)["getpgid"]["entered"] for number in range(1, 8)] == [2] * 6 + [12]
    assert [note["kind"] for note in capture["notes"]] == ["sessions-shared"]


def test_full_call_tables_are_a_loss_that_is_told(make_hooks: Callable[..., Hooks], payload: Path) -> None:
    hooks = make_hooks(call_tables=16)
    with ExitStack() as stack:
        trials = [stack.enter_context(Trial(hooks, payload, "forks", "3", name=f"full-{n}")) for n in range(9)]
        for trial in trials:
            trial.release()
        captures = [trial.finish() for trial in trials]
    whole = [capture for capture in captures if capture["complete"]]
    lost = [capture for capture in captures if not capture["complete"]]
    assert whole and lost
    assert all(any(loss["kind"] == "lost-calls" for loss in capture["losses"]) for capture in lost)
    assert all(calls(capture)["getpgid"]["entered"] == 3 for capture in whole)


def test_call_tables_are_given_back(make_hooks: Callable[..., Hooks], payload: Path) -> None:
    hooks = make_hooks(call_tables=16)
    with Trial(hooks, payload, "true", name="holder"):
        for number in range(20):
            with Trial(hooks, payload, "forks", str(number + 1), name="again") as trial:
                trial.release()
                capture = trial.finish()
            assert capture["complete"], (number, capture["losses"])
            assert calls(capture)["getpgid"]["entered"] == number + 1
    from scmm_oci.recorder import recover

    recover.recover(hooks.settings, now=0.0, everything=True)


OURS = {
    *("targets", "slots", "sets", "free_sets", "edges", "free_edges", "processes", "threads", "scratches"),
    *("seats", "free_threads", "lasts"),
    *("facts", "facts_medium", "facts_long", "arguments", "data_config", "data_state", "data_plans"),
}


def test_nothing_is_left_in_the_kernel(hooks: Hooks, payload: Path) -> None:
    def ours() -> set[tuple[str, int]]:
        """Programs, maps and links of ours, as bpftool lists them: (kind, id)."""
        found = set()
        programs = set()
        for kind in ("prog", "map", "link"):
            listed = subprocess.run(["bpftool", "--json", kind], capture_output=True, text=True, check=True).stdout
            for each in json.loads(listed):
                name = each.get("name", "")
                if (
                    (kind == "prog" and name.startswith("scmm_"))
                    or (kind == "map" and name in OURS)
                    or (kind == "link" and each["prog_id"] in programs)
                ):
                    found.add((kind, each["id"]))
                    if kind == "prog":
                        programs.add(each["id"])
        return found

    before = ours()
    with Trial(hooks, payload, "true", name="left") as trial:
        # The control: while something is recorded, they are there. What libbpf relocated goes away by itself.
        expected = ["link"] * 9 + ["map"] * len(OURS) + ["prog"] * 9
        wait_until(
            lambda: sorted(kind for kind, _ in ours() - before) == expected,
            deadline_s=10,
            what="our programs are there",
            detail=lambda: str(ours() - before),
        )
        made = ours() - before
        trial.release()
        trial.finish()
        wait_until(lambda: not ours() & made, deadline_s=10, what="nothing of ours after", detail=lambda: str(ours()))
    assert not Path(hooks.settings.pin_dir).exists()
