"""Policies of real programs are right for the next run: asked about it, and enforced on it by seccomp and Landlock."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import ClassVar

import pytest
from policy_landlock import landlocked
from recordings import Ground
from rich.console import Console
from support import Hooks, need

from benchmarks import policies
from benchmarks.policy_runs import Containers, containers, record
from benchmarks.policy_workloads import A2, WORKLOADS, A, B, Python, Variant, Workload
from rig.process import RigError, missing_programs
from scmm_oci.capture.model import Capture
from scmm_oci.compiled import bpf, enforced, needed, opinion, verify
from scmm_oci.compiled.filter import Plan, build, of_policy
from scmm_oci.compiled.profiles import oci_profile
from scmm_oci.errors import Failure
from scmm_oci.policy.admit import refusals
from scmm_oci.policy.decisions import Decisions
from scmm_oci.policy.infer import infer, runtime_names
from scmm_oci.policy.model import PathRule, Policy
from scmm_oci.policy.paths.patterns import Kind, Pattern, covers
from scmm_oci.policy.paths.protected import protected_root
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.floor import floor

RANDOM_CALLS = 1_000_000 if os.environ.get("SCMM_SOAK") else 10_000
O_TRUNC = 0o1000
# A rule's path and a right of it, or the network, without which the job fails, and what it then says.
DENIED = "ermission denied"
NOT_WITHOUT = {
    "nginx": [("/var/lib/nginx/**", "make_dir", DENIED), ("/etc/nginx/nginx.conf", "read_file", DENIED)],
    "redis": [("/var/lib/redis/**", "make_reg", DENIED), ("/usr/bin/redis-check-rdb", "execute", DENIED)],
    "sqlite3": [("/tmp/**", "make_dir", DENIED), ("/data/**", "remove_file", "disk I/O error")],
    "python3": [("/dev/shm/**", "make_reg", DENIED), ("/tmp/**", "make_dir", DENIED)],
}
OF_PORTS = ("nginx", "redis", "python3")


class Peeks(Python):
    """A program that looks at its child's directory in /proc, as ps(1) and psutil do."""

    key = "peeks"
    files: ClassVar[Mapping[str, str]] = {
        "/app/job.py": """\
import subprocess
with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as child:
    with open(f"/proc/{child.pid}/stat") as file:
        assert "cat" in file.read()
print("done")
"""
    }


BY_KEY: Mapping[str, Workload] = {one.key: one for one in (*WORKLOADS, Peeks())}
KEYS = tuple(one.key for one in WORKLOADS)


@dataclass(frozen=True)
class Runs:
    """The recordings of one workload."""

    a: Capture
    a2: Capture
    b: Capture


@pytest.fixture(scope="module")
def place(podman: Ground) -> Containers:
    need("PODMAN", missing_programs("nsenter", "curl", "wrk", "redis-cli", "redis-benchmark", "sqlite3", "python3"))
    with containers(podman.engine) as made:
        return made


@pytest.fixture(scope="module")
def runs(place: Containers, shared_hooks: Hooks) -> Callable[[str], Runs]:
    """The recordings by workload, made when they are first asked for."""
    known: dict[str, Runs] = {}

    def recordings(key: str) -> Runs:
        if key not in known:
            directory = Path(shared_hooks.settings.capture_dir)
            known[key] = Runs(*(record(place, BY_KEY[key], variant, directory) for variant in (A, A2, B)))
        return known[key]

    return recordings


def seen(captures: list[Capture]) -> dict[str, set[str]]:
    """Path → rights, out of the files of captures alone; what was cut off when it was opened counts as truncated."""
    found: dict[str, set[str]] = {}
    for use in (use for capture in captures for use in capture.files):
        if use.access:
            truncated = {"truncate"} if use.operation == "open" and use.flags & O_TRUNC else set()
            found.setdefault(use.path, set()).update(use.access, truncated)
        if use.parent_access:
            found.setdefault(str(Path(use.path).parent), set()).update(use.parent_access)
    return found


def wider(rules: tuple[PathRule, ...], observed: Mapping[str, set[str]]) -> list[str]:
    """The rules under protected roots that are patterns, or for a path or right that was not seen there."""
    found = []
    for rule in rules:
        pattern = Pattern.parse(rule.path)
        if protected_root(pattern) is None:
            continue
        if pattern.kind is not Kind.EXACT or any(part.name is None for part in pattern.parts):
            found.append(f"{rule.path} is a pattern")
            continue
        path = "/" + "/".join(str(part.name) for part in pattern.parts)
        if rule.on_missing == "parentdir":
            found.append(f"{rule.path} grants its directory")
        beyond = set(rule.access) - observed.get(path, set())
        if beyond:
            found.append(f"{rule.path}: {sorted(beyond)}")
    return found


@pytest.mark.parametrize("key", KEYS)
def test_policy_of_one_run_admits_the_next_and_what_was_seen_alone_does_not(
    runs: Callable[[str], Runs], key: str
) -> None:
    these = runs(key)
    assert these.a.complete and these.a2.complete and these.b.complete
    for captures in ([these.a], [these.a, these.a2]):
        policy = infer(captures).policy
        for capture in (*captures, these.b):
            assert refusals(policy, capture) == (), len(captures)
    # The control: run B has paths or ports that run A has not.
    assert refusals(infer([these.a], policies.EXACT).policy, these.b)


@pytest.mark.parametrize("key", KEYS)
def test_nothing_under_protected_roots_is_wider_than_seen(runs: Callable[[str], Runs], key: str) -> None:
    these = runs(key)
    for captures in ([these.a], [these.a, these.a2]):
        rules = infer(captures).policy.filesystem
        assert rules is not None
        assert wider(rules, seen(captures)) == []
        assert sum(protected_root(Pattern.parse(rule.path)) is not None for rule in rules) > 2
        # The controls: a pattern there, another file, another right.
        assert wider((PathRule("/etc/*", ("read_file",)),), seen(captures))
        assert wider((PathRule("/etc/shadow", ("read_file",)),), seen(captures))
        assert wider((PathRule("/etc/ld.so.cache", ("read_file", "write_file")),), seen(captures))


@pytest.mark.parametrize("key", KEYS)
def test_second_recording_widens_nothing_that_did_not_vary(runs: Callable[[str], Runs], key: str) -> None:
    these = runs(key)
    one, two = infer([these.a]).policy.filesystem, infer([these.a, these.a2]).policy.filesystem
    assert one is not None and two is not None
    before = [Pattern.parse(rule.path) for rule in one]
    new = seen([these.a2]).keys() - seen([these.a]).keys()
    for rule in two:
        pattern = Pattern.parse(rule.path)
        if not any(covers(wide, pattern) for wide in before):
            assert any(pattern.grants(path) for path in new), rule


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("beside", [(), (Arch.X86, Arch.X32)], ids=["alone", "three ABIs"])
def test_filter_answers_as_libseccomp_and_the_policy_do(
    runs: Callable[[str], Runs], key: str, beside: tuple[Arch, ...]
) -> None:
    need("KERNEL", opinion.unavailable())
    recorded, _ = needed.completed(infer([runs(key).a]).policy)
    policy = replace(recorded, settings=replace(recorded.settings, architectures=(Arch.X86_64, *beside)))
    plan = of_policy(policy)
    program = build(plan)
    report = opinion.check(policy, program, random=Random(key), calls=RANDOM_CALLS)
    assert report.calls > RANDOM_CALLS
    # All that was recorded is allowed, with all of its arguments that are known; the control: not by another's filter.
    assert verify.verify(enforced.of_a_policy(policy), [runs(key).a]).refused == ()
    with pytest.raises(Failure, match="libseccomp"):
        other = build(Plan(plan.machines[:1], bpf.RET_ALLOW))
        opinion.check(policy, other, random=Random(key), calls=0)


@pytest.mark.parametrize("key", KEYS)
def test_profile_of_run_a_runs_the_job_of_run_b(
    runs: Callable[[str], Runs], place: Containers, tmp_path: Path, key: str
) -> None:
    these = runs(key)
    under_profile(place, BY_KEY[key], these.a, tmp_path)


def test_profile_of_run_a_runs_the_job_of_run_b_in_docker(
    runs: Callable[[str], Runs], docker: Ground, tmp_path: Path
) -> None:
    with containers(docker.engine) as there:
        under_profile(there, BY_KEY["nginx"], runs("nginx").a, tmp_path)


def under_profile(there: Containers, workload: Workload, capture: Capture, directory: Path) -> None:
    """The job of run B under the profile of run A's policy, arguments included; and a control."""
    needs = floor(capture.runtime.name, capture.runtime.version, None).with_recorded(runtime_names([capture]))
    policy = infer([capture], needed=needs.names).policy
    assert sum(bool(rule.constraints) for rule in policy.syscalls) >= 3
    path = directory / "seccomp.json"
    path.write_bytes(oci_profile(policy, needs).json)
    under = ["--security-opt", f"seccomp={path}"]
    there.perform(workload, B, under)
    document = json.loads(path.read_text())
    for rule in document["syscalls"]:
        rule["names"] = [name for name in rule["names"] if name != workload.vital]
    document["syscalls"] = [rule for rule in document["syscalls"] if rule["names"]]
    path.write_text(json.dumps(document))
    with pytest.raises(RigError):
        there.perform(workload, Variant("less", 1, 1), under)


def test_another_process_in_proc_takes_a_yes(runs: Callable[[str], Runs]) -> None:
    these = runs("peeks")
    inferred = infer([these.a])
    refused = refusals(inferred.policy, these.b)
    assert len(refused) == 1 and re.fullmatch(r"/proc/[0-9]+/stat", refused[0].what), refused
    assert not refusals(infer([these.a], Decisions(accept=("/proc/**",))).policy, these.b)


@pytest.mark.parametrize("key", KEYS)
def test_policy_of_run_a_under_landlock_runs_the_job_of_run_b(runs: Callable[[str], Runs], key: str) -> None:
    need("KERNEL", missing_programs("unshare", "ip", "chroot"))
    workload = BY_KEY[key]
    landlocked(workload, B, None)
    policy = infer([runs(key).a]).policy
    landlocked(workload, B, policy)
    # The controls: one right less, and no ports.
    for path, right, says in NOT_WITHOUT[key]:
        with pytest.raises(RigError, match=says):
            landlocked(workload, B, without(policy, path, right))
    if key in OF_PORTS:
        assert policy.network is not None
        silent = replace(policy, network=replace(policy.network, inbound=(), outbound=()))
        with pytest.raises(RigError, match=DENIED):
            landlocked(workload, B, silent)


def without(policy: Policy, path: str, right: str) -> Policy:
    """The policy less one right of a path."""
    assert policy.filesystem is not None
    assert any(rule.path == path and right in rule.access for rule in policy.filesystem), (path, right)
    less = [
        replace(rule, access=tuple(one for one in rule.access if one != right)) if rule.path == path else rule
        for rule in policy.filesystem
    ]
    return replace(policy, filesystem=tuple(less))


def test_table_of_sizes_and_differences(runs: Callable[[str], Runs]) -> None:
    rows = [policies.row(key, (these := runs(key)).a, these.a2, these.b) for key in KEYS]
    Console(width=policies.WIDTH, highlight=False).print(policies.table(rows))
    for one in rows:
        assert one.one.policy.filesystem is not None
        # Generalised, and no longer than what was seen.
        assert sum(policies.patterns(one.one.policy)) >= 1
        assert len(one.one.policy.filesystem) <= one.paths
        assert len(one.exact) > len(one.refused)
