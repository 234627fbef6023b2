"""The main job: record a real container, make its profile, and run it under that in podman and Docker."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recordings import REPEATS, Ground, await_capture, profile, recorded
from support import Hooks

from rig import servers
from rig.engine import Engine
from rig.process import Completed, RigError
from scmm_oci.tables.floor import floor
from scmm_oci.tables.syscalls import number_of

# What each program cannot do without, for the control runs.
VITAL = {"nginx": "listen", "redis": "epoll_wait", "true": "arch_prctl"}
NOT_OF_THE_PROGRAM = {"mount", "pivot_root", "umount2", "unshare", "sethostname"}
ENGINES = ("podman", "docker")
NNP = {"nnp-off": [], "nnp-on": ["--security-opt", "no-new-privileges"]}


def serve(ground: Ground, name: str, options: list[str]) -> None:
    """Start the program and have it do what it is for. Raises RigError if it does not."""
    if name == "nginx":
        with servers.nginx(ground.engine, ground.services, options=options, deadline_s=8) as web:
            result = servers.wrk(web.port, seconds=1)
            if result.errors or result.non_2xx or result.requests < 100:
                raise RigError(f"nginx serves badly: {result}")
    elif name == "redis":
        with servers.redis(ground.engine, ground.services, options=options, deadline_s=8) as store:
            if not servers.redis_benchmark(store.port, requests=1000):
                raise RigError("redis-benchmark reports nothing")
    else:
        ground.engine.run(ground.busybox, "true", options=options)


@pytest.fixture
def grounds(request: pytest.FixtureRequest) -> Callable[[str], Ground]:
    return lambda engine: request.getfixturevalue(engine)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("nnp", NNP.values(), ids=NNP.keys())
@pytest.mark.parametrize("name", VITAL)
@pytest.mark.parametrize("engine", ENGINES)
def test_profile_starts_and_serves(
    captures: dict[str, Path], grounds: Callable[[str], Ground], tmp_path: Path, engine: str, name: str, nnp: list[str]
) -> None:
    ground = grounds(engine)
    seccomp = profile(captures[name], tmp_path)
    for _ in range(REPEATS):
        serve(ground, name, [*nnp, "--security-opt", f"seccomp={seccomp}"])
    # Control: without one of the program's own calls it does not serve.
    document = json.loads(seccomp.read_text())
    for rule in document["syscalls"]:
        rule["names"] = [each for each in rule["names"] if each != VITAL[name]]
    seccomp.write_text(json.dumps(document))
    with pytest.raises(RigError):
        serve(ground, name, [*nnp, "--security-opt", f"seccomp={seccomp}"])


def app_calls(capture: Path, session: int = 0) -> dict[str, Any]:
    document = json.loads(capture.read_text())
    return {call["name"]: call for call in document["sessions"][session]["phases"]["app"]}


def test_true_is_its_thirteen_calls_and_the_floor(captures: dict[str, Path], tmp_path: Path) -> None:
    document = json.loads(captures["true"].read_text())
    phases = document["sessions"][0]["phases"]
    program = {call["name"] for call in phases["app"]} | {"execve"}  # strace counts the execve that starts it
    assert len(program) == 13, sorted(program)
    assert {call["name"] for call in phases["setup"]} >= {"mount", "pivot_root", "sethostname"}
    allowed = allowed_names(profile(captures["true"], tmp_path))
    base = floor(document["runtime"]["name"], document["runtime"]["version"], no_new_privileges=None).names
    here = {name for name in base if number_of("x86_64", name) is not None}
    assert allowed == program | here
    assert not allowed & NOT_OF_THE_PROGRAM


def allowed_names(seccomp: Path) -> set[str]:
    rules = json.loads(seccomp.read_text())["syscalls"]
    return {name for rule in rules if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}


@pytest.mark.timeout(900)
def test_recordings_of_true_give_the_same_bytes(podman: Ground, shared_hooks: Hooks, tmp_path: Path) -> None:
    seen = set()
    for number in range(REPEATS):
        name = f"same-{number}"
        podman.engine.run(podman.busybox, "true", options=recorded(name))
        seen.add(profile(await_capture(shared_hooks, name), tmp_path).read_bytes())
    assert len(seen) == 1


def test_call_outside_the_profile_gets_its_errno(
    podman: Ground, podman_crun: Ground, docker: Ground, shared_hooks: Hooks, payload: Path, tmp_path: Path
) -> None:
    def attempt(engine: Engine, image: str, number: int, options: list[str]) -> Completed:
        return engine.run(image, "/payload", "try", str(number), options=["-v", f"{payload}:/payload:ro", *options])

    getppid, setpgid, clone3 = 110, 109, 435
    attempt(podman.engine, podman.busybox, getppid, recorded("try"))
    capture = await_capture(shared_hooks, "try")
    # EPROTO: nothing else here answers with it, so it can only come from the profile.
    seccomp = profile(capture, tmp_path, "--default-errno", "EPROTO", "--runtime", "all")
    for ground in (podman, podman_crun, docker):
        under = ["--security-opt", f"seccomp={seccomp}"]
        assert attempt(ground.engine, ground.busybox, getppid, under).stdout == "0\n"
        assert attempt(ground.engine, ground.busybox, setpgid, under).stdout == "71\n"
        assert attempt(ground.engine, ground.busybox, setpgid, []).stdout != "71\n"
        # Calls that libcs try before older ones look as if the kernel had none.
        assert attempt(ground.engine, ground.busybox, clone3, under).stdout == "38\n"


def test_policy_is_for_people(captures: dict[str, Path], tmp_path: Path) -> None:
    profile(captures["nginx"], tmp_path)
    text = (tmp_path / "nginx.scmm-cap.scmm.yaml").read_text()
    assert "name: accept4" in text
    assert not any(f"name: {name}\n" in text for name in NOT_OF_THE_PROGRAM)
