"""The engines' default profiles, made policies and profiles again, do in the engines what they did before."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
from profiles_found import PODMAN_DEFAULT, docker_default, docker_default_unavailable, podman_default_unavailable
from recordings import Ground
from support import need
from test_profiles_resolved import given

from scmm_oci.cli.main import main
from scmm_oci.oci.resolve import Engine
from scmm_oci.oci.seccomp import OciAction, Profile, Rule, to_json
from scmm_oci.policy.container import DOCKERS_CAPABILITIES, PODMANS_CAPABILITIES
from scmm_oci.tables import errnos, syscalls
from scmm_oci.tables.arch import from_machine
from scmm_oci.tables.probes import probes

ARCH = from_machine(os.uname().machine)
EPERM, ENOSYS = errnos.ERRNOS["EPERM"], errnos.ERRNOS["ENOSYS"]
CONFIGURATION = Path("/usr/share/containers/containers.conf")
ADMIN = ["--cap-add", "SYS_ADMIN"]

# Made with -1 throughout: the kernel refuses them, with other errors than the filters do.
CALLS = ("unshare", "mount", "umount2", "setns", "perf_event_open", "quotactl", "kcmp", "vhangup", "getpid")


def original(engine: Engine) -> Path:
    if engine is Engine.PODMAN:
        need("PODMAN", podman_default_unavailable())
        return PODMAN_DEFAULT
    need("DOCKER", docker_default_unavailable())
    return docker_default()


def carried(engine: Engine, directory: Path) -> Path:
    """The profile there and back through a policy, by the command line."""
    policy, output = directory / "default.scmm.yaml", directory / f"{engine}.json"
    assert main(["import-profile", str(original(engine)), "-o", str(policy)]) == 0
    assert main(["compile", "-i", str(policy), f"--{engine}", str(output)]) == 0
    return output


def answers(ground: Ground, payload: Path, profile: Path, options: Sequence[str]) -> dict[str, int]:
    """What each of CALLS ends with in a container."""
    numbers = " ".join(str(syscalls.number_of(ARCH, name)) for name in CALLS)
    words = ["-v", f"{payload}:/payload:ro", "--security-opt", f"seccomp={profile}", *options]
    script = f"for number in {numbers}; do /payload try $number; done"
    done = ground.engine.run(ground.busybox, "sh", "-c", script, options=words)
    return dict(zip(CALLS, map(int, done.stdout.split()), strict=True))


def rules(profile: Profile) -> dict[str, set[tuple[OciAction, int | None, object]]]:
    """Name → what its rules say, for the names that this machine has."""
    found: dict[str, set[tuple[OciAction, int | None, object]]] = {}
    here: set[str] = set().union(*(syscalls.numbers(arch) for arch in (ARCH, *ARCH.beside)))
    for rule in profile.syscalls:
        for name in here.intersection(rule.names):
            found.setdefault(name, set()).add((rule.action, rule.errno, frozenset(rule.args)))
    return found


@pytest.mark.parametrize("engine", Engine)
def test_calls_are_answered_as_before(
    engine: Engine, request: pytest.FixtureRequest, payload: Path, tmp_path: Path
) -> None:
    ground: Ground = request.getfixturevalue(engine)
    before, after = original(engine), carried(engine, tmp_path)
    plain = answers(ground, payload, before, [])
    admin = answers(ground, payload, before, ADMIN)
    assert answers(ground, payload, after, []) == plain
    assert answers(ground, payload, after, ADMIN) == admin
    # Controls: the filter refuses with EPERM what the kernel would answer otherwise, and the capability opens it.
    guarded = ("unshare", "mount", "setns") if engine is Engine.DOCKER else ("perf_event_open", "quotactl")
    assert all(plain[name] == EPERM != admin[name] for name in guarded)
    open_anyway = "getpid" if engine is Engine.DOCKER else "unshare"
    assert plain[open_anyway] == admin[open_anyway] != EPERM


@pytest.mark.parametrize("options", [[], ADMIN], ids=["default", "admin"])
@pytest.mark.parametrize("engine", Engine)
def test_the_runtime_is_given_the_same(
    engine: Engine, options: list[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    ground: Ground = request.getfixturevalue(engine)

    def config(path: Path) -> Profile:
        return given(ground.engine, ground.busybox, [*options, "--security-opt", f"seccomp={path}"])[0]

    before, after = config(original(engine)), config(carried(engine, tmp_path))
    assert (after.default_action, after.default_errno) == (before.default_action, before.default_errno)
    assert (after.architectures, after.flags) == (before.architectures, before.flags)
    old, new = rules(before), rules(after)
    differing = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    # Calls that programs only try, of which the profile says nothing, are answered ENOSYS.
    tried = {name for name in differing if name not in old}
    assert tried <= probes()
    assert all(new[name] == {(OciAction.ERRNO, ENOSYS, frozenset())} for name in tried)
    # podman's names one call in two rules, of which runtimes take the first.
    assert differing - tried <= {"setns"}
    assert new.get("setns", set()) <= old.get("setns", set())
    # Control: what is compared is not nothing, and the other container's is something else.
    assert len(old) > 300
    assert ("bpf" in old and {one[0] for one in old["bpf"]} == {OciAction.ALLOW}) == (options == ADMIN)


@pytest.mark.parametrize("engine", Engine)
def test_default_capabilities(engine: Engine, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The rig's podman has no containers.conf of a distribution: its own default is Docker's."""
    ground: Ground = request.getfixturevalue(engine)
    path = tmp_path / "open.json"
    rule = Rule(("vhangup",), OciAction.ERRNO, EPERM)
    path.write_bytes(to_json(Profile(OciAction.ALLOW, syscalls=(rule,))))
    _, capabilities = given(ground.engine, ground.busybox, ["--security-opt", f"seccomp={path}"])
    assert capabilities == DOCKERS_CAPABILITIES


def test_default_capabilities_of_the_distributions_podman() -> None:
    need(
        "PODMAN", None if CONFIGURATION.exists() else f"{CONFIGURATION} is not there (golang-github-containers-common)"
    )
    words = tomllib.loads(CONFIGURATION.read_text())["containers"]["default_capabilities"]
    assert {f"CAP_{word.removeprefix('CAP_')}" for word in words} == PODMANS_CAPABILITIES
