"""Containers that only a cgroup v1 hierarchy tells apart, on a hierarchy that the test mounts itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support import Hooks, need
from trial import Trial, calls
from watching import Watched, build, call, chain, loaded, policy

from rig import namespace
from rig.process import wait_until
from scmm_oci.kernel import cgroup


@pytest.fixture
def hierarchy(inside: namespace.Entered, tmp_path: Path) -> Iterator[Path]:
    """A v1 hierarchy of a controller that nobody uses; it goes away with its last cgroup."""
    point = tmp_path / "v1"
    point.mkdir()
    for controller in ("perf_event", "net_cls"):
        words = ["mount", "-t", "cgroup", "-o", controller, "cgroup", str(point)]
        if subprocess.run(words, capture_output=True, check=False).returncode == 0:
            break
    else:
        need("KERNEL", "every v1 controller of the list is in use on cgroup v2")
    made: list[Path] = []
    try:
        (point / "scmm-test").mkdir()
        made.append(point / "scmm-test")
        yield point / "scmm-test"
    finally:
        for path in [*(point / "scmm-test").glob("*/"), *made]:
            wait_until(lambda path=path: _removed(path), deadline_s=10, what=f"{path} removed")
        subprocess.run(["umount", point], check=True)


def _removed(path: Path) -> bool:
    try:
        path.rmdir()
    except OSError:
        return not path.exists()
    return True


def test_v1_cgroup_and_its_children_are_recorded(hooks: Hooks, payload: Path, hierarchy: Path) -> None:
    with Trial(hooks, payload, "nested", str(hierarchy), name="old", cgroup=hierarchy) as trial:
        place = cgroup.place_of_container(trial.process.pid)
        assert place.hierarchy > 0 and place.controller in cgroup.V1_CONTROLLERS
        assert place.id == hierarchy.stat().st_ino
        bystander = subprocess.run([payload, "forks", "3"], check=True)
        assert bystander.returncode == 0
        trial.release()
        capture = trial.finish()
    assert capture["complete"], capture["losses"]
    assert calls(capture)["getpriority"]["entered"] == 1  # made in the child cgroup
    assert "getpgid" not in calls(capture)


def test_v1_and_v2_at_once(hooks: Hooks, payload: Path, hierarchy: Path) -> None:
    with ExitStack() as stack:
        new = stack.enter_context(Trial(hooks, payload, "forks", "2", name="new"))
        old = stack.enter_context(Trial(hooks, payload, "forks", "5", name="old", cgroup=hierarchy))
        for trial, count in ((old, 5), (new, 2)):
            trial.release()
            capture = trial.finish()
            assert capture["complete"], capture["losses"]
            assert calls(capture)["getpgid"]["entered"] == count


def test_v1_cgroup_and_its_children_are_watched(inside: namespace.Entered, hierarchy: Path, tmp_path: Path) -> None:
    need("KERNEL", None if os.uname().machine == "x86_64" else "the program's numbers are those of x86_64")
    program = build(tmp_path)
    file = policy(chain("start:exec", "getppid", "exit_group"))
    with loaded(tmp_path) as kernel, Watched(kernel.maps, 0, 0, hierarchy).start(program, "i") as process:
        try:
            place = cgroup.place_of_container(process.pid)
        finally:
            process.kill()
            process.wait()
        assert place.hierarchy > 0 and place.id == hierarchy.stat().st_ino
        with kernel.watch(file, cgroup=hierarchy, place=place) as watched:
            assert watched.run(program, call("getppid")) == 0
            assert watched.edges == []
            # Not who is in none, or in another.
            assert watched.run(program, call("getuid"), inside=False) == 0
            assert watched.edges == []
            below = hierarchy / "below"
            below.mkdir()
            for where in (hierarchy, below):
                inner = Watched(kernel.maps, 0, watched.epoch, where)
                assert inner.run(program, call("getuid")) == 0
            assert watched.edges == [("start:exec", "getuid"), ("getuid", "exit_group")] * 2
            assert watched.count("left") == 0
