"""What engines give the runtime of a profile in their form is what scmm_oci.oci.resolve says."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from profiles_found import PODMAN_DEFAULT, docker_default, docker_default_unavailable, podman_default_unavailable
from recordings import Ground
from support import need

from rig.engine import Engine
from scmm_oci.oci import rich, seccomp
from scmm_oci.oci.resolve import Engine as Reader
from scmm_oci.oci.resolve import resolve, unheeded
from scmm_oci.oci.rich import RichProfile
from scmm_oci.oci.richcheck import kernel_version
from scmm_oci.oci.seccomp import Condition, OciAction, Operator, Profile, Rule
from scmm_oci.tables.arch import from_machine
from scmm_oci.tables.syscalls import number_of

ARCH = from_machine(os.uname().machine)
KERNEL = kernel_version(".".join(os.uname().release.split(".")[:2]))
CAPABILITIES = {
    "default": [],
    "admin": ["--cap-add", "SYS_ADMIN"],
    "others": ["--cap-add", "SYS_PTRACE", "--cap-drop", "SYS_CHROOT", "--cap-drop", "AUDIT_WRITE"],
    "none": ["--cap-drop", "ALL"],
}

# Each condition that engines know, met and not met, and values that a signed or floating number would not keep.
CONDITIONS = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "archMap": [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
    ],
    "flags": [],
    "syscalls": [
        {"name": "acct", "action": "SCMP_ACT_ERRNO", "errnoRet": 22, "errno": "EINVAL", "comment": "old"},
        {
            "names": ["personality", "personality", "kcmp"],
            "action": "SCMP_ACT_ERRNO",
            "args": [
                {"index": 1, "value": 2**63 + 1, "valueTwo": 2**64 - 1, "op": "SCMP_CMP_MASKED_EQ"},
                {"index": 0, "value": 2**53 + 1, "op": "SCMP_CMP_GT"},
            ],
        },
        *(
            {"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": number + offset, side: {key: value}}
            for number, (name, key, value) in enumerate(
                [
                    ("swapon", "caps", ["CAP_CHOWN"]),
                    ("swapoff", "caps", ["CAP_CHOWN", "CAP_SYS_BOOT"]),
                    ("reboot", "arches", ["amd64", "arm64"]),
                    ("nfsservctl", "arches", ["s390x"]),
                    ("vhangup", "minKernel", "3.0"),
                    ("ustat", "minKernel", f"{KERNEL[0]}.{KERNEL[1]}"),
                    ("uselib", "minKernel", f"{KERNEL[0]}.{KERNEL[1] + 1}"),
                    ("sysfs", "minKernel", "200.0"),
                ],
                2,
            )
            for offset, side in ((0, "includes"), (20, "excludes"))
        ),
    ],
}


def given(engine: Engine, image: str, options: Sequence[str]) -> tuple[Profile, frozenset[str]]:
    """The profile and the bounding set in the config.json that an engine makes for a container."""
    name = engine.run_detached(image, "sleep", "3600", options=options)
    try:
        about = engine.inspect(name)
        if "OCIConfigPath" in about:
            path = Path(about["OCIConfigPath"])
        else:
            (path,) = (engine.base / "exec").rglob(f"{about['Id']}/config.json")
        config = json.loads(path.read_bytes())
    finally:
        engine.rm(name)
    capabilities = frozenset((config["process"].get("capabilities") or {}).get("bounding") or ())
    written = rich.parse(json.dumps(config["linux"]["seccomp"]).encode(), source=str(path))
    return rich.plain(written), capabilities


def by_docker(engine: Engine, profile: RichProfile, capabilities: frozenset[str]) -> Profile:
    """What Docker makes of a profile, by us: older ones forget what `unheeded` says."""
    expected = resolve(profile, arch=ARCH, capabilities=capabilities, kernel=KERNEL)
    if int(engine("version", "--format", "{{.Server.Version}}").stdout.split(".")[0]) >= 23:
        return expected
    said = " ".join(finding.message for finding in unheeded(profile, Reader.DOCKER))
    forgotten = {"default_errno_ret": ".defaultErrnoRet:", "flags": ".flags:"}
    return replace(expected, **{field: None for field, place in forgotten.items() if place in said})


def once(profile: Profile) -> Profile:
    """Without names that a rule has twice, which engines pass on."""
    rules = (replace(rule, names=tuple(dict.fromkeys(rule.names))) for rule in profile.syscalls)
    return replace(profile, syscalls=tuple(rules))


@pytest.mark.parametrize("options", CAPABILITIES.values(), ids=CAPABILITIES.keys())
def test_podmans_default(podman: Ground, options: list[str]) -> None:
    need("PODMAN", podman_default_unavailable())
    profile = rich.parse(PODMAN_DEFAULT.read_bytes(), source=str(PODMAN_DEFAULT))
    got, capabilities = given(podman.engine, podman.busybox, options)
    assert got == resolve(profile, arch=ARCH, capabilities=capabilities, kernel=None)
    # Control: for another container it is another profile.
    other = capabilities ^ {"CAP_SYS_ADMIN"}
    assert got != resolve(profile, arch=ARCH, capabilities=other, kernel=None)


@pytest.mark.parametrize("options", CAPABILITIES.values(), ids=CAPABILITIES.keys())
def test_podmans_default_in_docker(docker: Ground, options: list[str]) -> None:
    need("PODMAN", podman_default_unavailable())
    profile = rich.parse(PODMAN_DEFAULT.read_bytes(), source=str(PODMAN_DEFAULT))
    under = [*options, "--security-opt", f"seccomp={PODMAN_DEFAULT}"]
    got, capabilities = given(docker.engine, docker.busybox, under)
    assert got == by_docker(docker.engine, profile, capabilities)
    assert got != by_docker(docker.engine, profile, capabilities ^ {"CAP_SYS_ADMIN"})


@pytest.mark.parametrize("options", CAPABILITIES.values(), ids=CAPABILITIES.keys())
def test_dockers_default(docker: Ground, options: list[str]) -> None:
    need("DOCKER", docker_default_unavailable())
    profile = rich.parse(docker_default().read_bytes())
    got, capabilities = given(docker.engine, docker.busybox, options)
    assert got == by_docker(docker.engine, profile, capabilities)
    assert got != by_docker(docker.engine, profile, capabilities ^ {"CAP_SYS_ADMIN"})


@pytest.mark.parametrize("reader", Reader)
def test_every_condition(reader: Reader, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    ground: Ground = request.getfixturevalue(reader)
    path = tmp_path / "conditions.json"
    path.write_text(json.dumps(CONDITIONS))
    profile = rich.parse(path.read_bytes())
    got, capabilities = given(ground.engine, ground.busybox, ["--security-opt", f"seccomp={path}"])
    kernel = None if reader is Reader.PODMAN else KERNEL
    assert once(got) == resolve(profile, arch=ARCH, capabilities=capabilities, kernel=kernel)
    # Controls: podman does not look at the kernel, Docker does; both look at capabilities.
    other = KERNEL if kernel is None else (1, 0)
    assert once(got) != resolve(profile, arch=ARCH, capabilities=capabilities, kernel=other)
    assert once(got) != resolve(profile, arch=ARCH, capabilities=capabilities - {"CAP_CHOWN"}, kernel=kernel)
    assert ("minKernel" in str(unheeded(profile, reader))) == (reader is Reader.PODMAN)


@pytest.mark.parametrize("reader", Reader)
def test_what_is_resolved_is_taken_as_it_is(reader: Reader, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    ground: Ground = request.getfixturevalue(reader)
    profile = rich.parse(json.dumps(CONDITIONS).encode())
    resolved = resolve(profile, arch=ARCH, capabilities=frozenset({"CAP_CHOWN"}), kernel=KERNEL)
    path = tmp_path / "resolved.json"
    path.write_bytes(seccomp.to_json(resolved))
    assert rich.plain(rich.parse(path.read_bytes())) == resolved
    for options in CAPABILITIES.values():
        got, _ = given(ground.engine, ground.busybox, [*options, "--security-opt", f"seccomp={path}"])
        assert got == resolved


def test_flags_in_docker(docker: Ground, tmp_path: Path) -> None:
    rules = [{"names": ["acct"], "action": "SCMP_ACT_ERRNO", "errnoRet": 71}]
    document = {"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"], "syscalls": rules}
    path = tmp_path / "flags.json"
    path.write_text(json.dumps(document))
    profile = rich.parse(path.read_bytes())
    got, capabilities = given(docker.engine, docker.busybox, ["--security-opt", f"seccomp={path}"])
    assert got == by_docker(docker.engine, profile, capabilities)
    assert [rule.errno for rule in got.syscalls] == [71]


@pytest.mark.parametrize("engine", ["podman", "podman_crun"])
@pytest.mark.parametrize(
    ("conditions", "answer"),
    [
        # setpgid is called with -1 throughout: the first condition fails, the second holds, the third fails.
        ([(0, "EQ", 7)], False),
        ([(0, "EQ", 7), (1, "NE", 5)], False),
        ([(1, "NE", 5)], True),
        ([(1, "NE", 5), (1, "EQ", 6)], True),
        ([(0, "EQ", 7), (1, "NE", 5), (1, "EQ", 6)], True),
    ],
)
def test_alternatives_are_what_runtimes_make_of_conditions(
    engine: str, conditions: list[tuple[int, str, int]], answer: bool, request: pytest.FixtureRequest, payload: Path
) -> None:
    ground: Ground = request.getfixturevalue(engine)
    args = tuple(Condition(index, value, Operator(f"SCMP_CMP_{word}")) for index, word, value in conditions)
    rule = Rule(("setpgid",), OciAction.ERRNO, 71, args)
    held = {"EQ": False, "NE": True}
    by_us = any(
        all(held[condition.op.removeprefix("SCMP_CMP_")] for condition in alternative)
        for alternative in rule.alternatives()
    )
    path = ground.engine.base / "alternatives.json"
    path.write_bytes(seccomp.to_json(Profile(OciAction.ALLOW, syscalls=(rule,))))
    options = ["-v", f"{payload}:/payload:ro", "--security-opt", f"seccomp={path}"]
    number = str(number_of(ARCH, "setpgid"))
    done = ground.engine.run(ground.busybox, "/payload", "try", number, options=options)
    assert (done.stdout == "71\n") == by_us == answer
