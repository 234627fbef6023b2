"""--guard: a Landlock domain where the policy has no rules for one. It restricts nothing but mounts and tracing."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import enforce
import pytest
from enforce import bytes_of, checked, run
from test_enforce_calls import ALLOWING, of, without_landlock

from scmm_oci.policy.model import Action, ArgType, Constraint, Network, Policy, SyscallRule

MOUNTING = ("mount", "umount2", "pivot_root", "move_mount")
NO_MOUNTS = tuple(SyscallRule(name, Action.DENY) for name in MOUNTING)
#: Looks into a process that is in no domain: by a link that ptrace(2), "Ptrace access mode checking", guards.
LOOK = ("read", os.path.join(f"/proc/{os.getpid()}/root", "etc/passwd"))
GUARD = ("--guard",)


@pytest.fixture(autouse=True, scope="module")
def kernel() -> None:
    enforce.needed()


def test_who_is_guarded_looks_into_nobody_outside() -> None:
    policy = of(*NO_MOUNTS)
    for mode in ("standard", "strict"):
        guarded, plain = run(policy, *LOOK, mode=mode, options=GUARD), run(policy, *LOOK, mode=mode)
        assert (guarded.code, guarded.lines, guarded.errors) == (0, ["EACCES"], "")
        assert (plain.code, plain.lines) == (0, ["ok"])
        # What is asked of the policy is said, and nothing else.
        assert guarded.status == plain.status
        assert guarded.status is not None and guarded.status["enforced"] == "fully"


def test_nothing_else_is_restricted(place: Path) -> None:
    policy = of(*NO_MOUNTS)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        for base in (place, Path(elsewhere)):
            for name in ("one", "two"):
                (base / name).mkdir()
            (base / "one/file").touch()
            tried = ("rename", base / "one/file", base / "two/file", "link", base / "two/file", base / "one/again")
            tried += ("mkdir", base / "one/new", "write", base / "two/file", "bind", 0, "kill", os.getpid(), 0)
            done = run(policy, *tried, options=GUARD)
            assert (done.code, done.lines) == (0, ["ok"] * 6)
            assert sorted(path.name for path in base.rglob("*")) == ["again", "file", "new", "one", "two"]


@pytest.mark.parametrize("name", MOUNTING)
def test_who_may_mount_is_not_guarded(name: str) -> None:
    """Landlock would refuse it. With whatever arguments."""
    others = tuple(rule for rule in NO_MOUNTS if rule.name != name)
    one = Constraint(1, ArgType.INTEGER, allowed=("7",))
    for rule, answer in (
        (SyscallRule(name, Action.ALLOW), "ok"),
        (SyscallRule(name, Action.LOG), "ok"),
        (SyscallRule(name, Action.ALLOW, constraints=(one,)), "ok"),
        (SyscallRule(name, Action.KILL), "EACCES"),
        (SyscallRule(name, Action.TRAP), "EACCES"),
    ):
        denying = Policy(settings=ALLOWING, syscalls=(*others, rule))
        assert run(bytes_of(denying), *LOOK, options=GUARD).lines == [answer], (name, rule)
    assert run(of(*others), *LOOK, options=GUARD).lines == ["ok"]


def test_policies_and_modes_that_have_a_domain_or_no_use_for_one_stay_as_they_are(place: Path) -> None:
    del place
    ports = of(*NO_MOUNTS, network=Network())
    assert run(ports, *LOOK).lines == run(ports, *LOOK, options=GUARD).lines == ["EACCES"]
    assert run(of(*NO_MOUNTS), *LOOK, mode="seccomp", options=GUARD).lines == ["ok"]
    assert run(of(*NO_MOUNTS), *LOOK, mode="permissive", options=GUARD).lines == ["ok"]


def test_what_cannot_be_had_is_left(place: Path) -> None:
    policy = of(*NO_MOUNTS)
    before = without_landlock(38)
    done = run(policy, *LOOK, "mkdir", place / "new", mode="strict", options=GUARD, before=before)
    assert (done.code, done.lines, done.errors) == (0, ["ok", "ok"], "")
    assert checked(policy, before=before).code == 0
