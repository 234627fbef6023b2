"""Recordings of containers as they live and die: exec sessions, nested cgroups, many at once, every kind of end."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from recordings import Ground, await_capture, recorded
from support import Hooks

from rig.process import wait_until


def document(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def names(session: dict[str, Any], phase: str = "app") -> dict[str, int]:
    return {call["name"]: call["entered"] for call in session["phases"][phase]}


@pytest.fixture(params=["podman", "podman_crun"])
def ground(request: pytest.FixtureRequest) -> Ground:
    found: Ground = request.getfixturevalue(request.param)
    return found


def await_line(ground: Ground, name: str, line: str) -> None:
    wait_until(lambda: line in ground.engine.logs(name), deadline_s=20, what=f"{name} says {line}")


def test_exec_is_a_session_of_its_own(ground: Ground, shared_hooks: Hooks) -> None:
    name = f"execs-{ground.engine.kind}-{ground.engine.runtime}"  # type: ignore[attr-defined]
    container = ground.engine.run_detached(
        ground.busybox, "sh", "-c", "echo up; exec sleep 1000", options=recorded(name)
    )
    await_line(ground, container, "up")
    ground.engine.exec(container, "mkdir", "/one")
    ground.engine.exec(container, "ln", "/etc/passwd", "/two")
    ground.engine.rm(container)
    capture = document(await_capture(shared_hooks, name))
    assert capture["complete"], capture["losses"]
    assert [session["kind"] for session in capture["sessions"]] == ["main", "exec", "exec"]
    main, first, second = capture["sessions"]
    assert "mkdir" in names(first) and "link" in names(second)
    assert not names(main).keys() & {"mkdir", "link"}
    assert "nanosleep" in names(main) or "clock_nanosleep" in names(main)
    for session in capture["sessions"]:
        # Every session went through all phases: set-up is the runtime's and not the program's.
        assert {phase: bool(session["phases"][phase]) for phase in session["phases"]} == dict.fromkeys(
            ("setup", "runtime", "app"), True
        )
        assert not names(session).keys() & {"mount", "pivot_root", "umount2", "unshare", "sethostname", "setns"}


#: Ways to run a container that change what its runtime does, and not what `true` does.
WAYS = {
    "pid=host": ["--pid=host"],
    "cgroupns=host": ["--cgroupns=host"],
    "uts-ipc=host": ["--uts=host", "--ipc=host"],
    "cap-drop": ["--cap-drop=all"],
    "read-only": ["--read-only"],
    "unconfined": ["--security-opt", "seccomp=unconfined"],
    "privileged": ["--privileged"],
    "tty": ["--tty"],
    "no-new-privileges": ["--security-opt", "no-new-privileges"],
    "workdir": ["--workdir", "/tmp"],
    "userns": ["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"],
}


@pytest.mark.parametrize("way", WAYS)
def test_program_is_told_from_its_runtime_however_it_is_run(ground: Ground, shared_hooks: Hooks, way: str) -> None:
    found = {}
    for kind, options in (("plain", []), (way, WAYS[way])):
        name = f"way-{ground.engine.runtime}-{kind}".replace("=", "-")  # type: ignore[attr-defined]
        ground.engine.run(ground.busybox, "true", options=[*recorded(name), *options])
        capture = document(await_capture(shared_hooks, name))
        assert capture["complete"], capture["losses"]
        assert len(capture["sessions"]) == 1
        assert "mount" in names(capture["sessions"][0], "setup")
        found[kind] = names(capture["sessions"][0])
    assert len(found["plain"]) == 12
    assert found[way].keys() == found["plain"].keys()


@pytest.mark.parametrize("end", ["kill", "rm", "signal-to-init", "exit"])
def test_every_end_leaves_a_complete_capture(podman: Ground, shared_hooks: Hooks, end: str) -> None:
    name = f"end-{end}"
    script = "mkdir /a; echo up; " + ("exit 3" if end == "exit" else "sleep 1000; mkdir /never")
    options = [*recorded(name), *(["--rm"] if end in ("kill", "exit") else [])]
    container = podman.engine.run_detached(podman.busybox, "sh", "-c", script, options=options)
    if end != "exit":
        await_line(podman, container, "up")
    if end == "kill":
        podman.engine.kill(container, signal="KILL")
    elif end == "rm":
        podman.engine.rm(container)
    elif end == "signal-to-init":
        podman.engine.kill(container, signal="TERM")  # sh as pid 1 ignores it
        podman.engine.kill(container, signal="KILL")
    capture = document(await_capture(shared_hooks, name))
    assert capture["complete"], capture["losses"]
    assert names(capture["sessions"][0])["mkdir"] == 1
    assert len(capture["sessions"]) == 1


def test_removing_by_force_while_it_works(podman: Ground, shared_hooks: Hooks) -> None:
    container = podman.engine.run_detached(
        podman.busybox, "sh", "-c", "echo up; while true; do mkdir /x; rmdir /x; done", options=recorded("busy")
    )
    await_line(podman, container, "up")
    podman.engine.rm(container)
    capture = document(await_capture(shared_hooks, "busy"))
    assert capture["complete"]
    assert names(capture["sessions"][0])["rmdir"] > 0


def test_cgroup_made_inside_the_container(podman: Ground, shared_hooks: Hooks) -> None:
    script = "mkdir /sys/fs/cgroup/in && sh -c 'echo 0 > /sys/fs/cgroup/in/cgroup.procs && ln /etc/passwd /linked'"
    podman.engine.run(
        podman.busybox, "sh", "-c", script, options=["--privileged", "--cgroupns=private", *recorded("nested")]
    )
    capture = document(await_capture(shared_hooks, "nested"))
    assert capture["complete"], capture["losses"]
    assert len(capture["sessions"]) == 1
    assert names(capture["sessions"][0])["link"] == 1
    # --privileged means no seccomp filter: the payload is told from the runtime by its mount namespace.
    assert capture["sessions"][0]["phases"]["runtime"] == []
    assert "pivot_root" in names(capture["sessions"][0], "setup")
    assert not names(capture["sessions"][0]).keys() & {"pivot_root", "sethostname"}


def test_ten_at_once_hold_only_their_own(podman: Ground, shared_hooks: Hooks) -> None:
    def one(number: int) -> None:
        script = f"i=0; while [ $i -lt {number + 1} ]; do mkdir /d$i; i=$((i+1)); done"
        podman.engine.run(podman.busybox, "sh", "-c", script, options=recorded(f"ten-{number}"), timeout=120)

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(one, range(10)))
    for number in range(10):
        capture = document(await_capture(shared_hooks, f"ten-{number}"))
        assert capture["complete"], capture["losses"]
        assert len(capture["sessions"]) == 1
        assert names(capture["sessions"][0])["mkdir"] == number + 1


def test_container_that_is_not_annotated_is_not_recorded(podman: Ground, shared_hooks: Hooks) -> None:
    before = set(Path(shared_hooks.settings.capture_dir).iterdir()) if shared_hooks.path("x").parent.exists() else set()
    podman.engine.run(podman.busybox, "true")
    podman.engine.run(podman.busybox, "true", options=["--annotation", "scmm.name=quiet"])
    podman.engine.run(podman.busybox, "true", options=["--annotation", "xscmm.record=true"])
    after = set(Path(shared_hooks.settings.capture_dir).iterdir()) if shared_hooks.path("x").parent.exists() else set()
    assert after == before


def test_recording_problem_does_not_stop_a_container(podman: Ground, shared_hooks: Hooks) -> None:
    """With the recorder's object out of reach; `required` is the control."""
    captures = Path(shared_hooks.settings.capture_dir)
    odd = ["--annotation", "scmm.record=perhaps", "--annotation", "scmm.name=odd"]
    assert podman.engine.run(podman.busybox, "echo", "ran", options=odd).stdout == "ran\n"
    assert not (captures / "odd.scmm-cap").exists()
    assert "known values: true, required, false" in shared_hooks.log()
    refused = ["--annotation", "scmm.record=required", "--annotation", "scmm.name=../odd"]
    done = podman.engine.run(podman.busybox, "echo", "ran", options=refused, check=False)
    assert done.returncode != 0 and done.stdout == ""
    assert "scmm.name=" in done.stderr, "the runtime does not show what the hook said"
