"""Containers whose seccomp profile was made for the program alone, and the launcher in them, under runc and crun."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from rig import images
from rig.process import Completed
from rig.runc import Bundle
from scmm_oci.compiled import polfile
from scmm_oci.compiled.policy_file import policy_file
from scmm_oci.enforcer import admits, bundle, launcher
from scmm_oci.policy import document
from scmm_oci.tables.floor import floor

#: What busybox mkdir makes of calls by itself.
PROGRAM = (
    *(
        "access",
        "arch_prctl",
        "brk",
        "exit_group",
        "getuid",
        "geteuid",
        "getgid",
        "ioctl",
        "mkdir",
        "mprotect",
        "prctl",
    ),
    *(
        "prlimit64",
        "getrandom",
        "readlink",
        "readlinkat",
        "rseq",
        "set_robust_list",
        "set_tid_address",
        "umask",
        "write",
    ),
    *("fstat", "newfstatat", "open", "poll", "uname", "mmap", "munmap", "read", "close", "lseek", "pread64", "openat"),
    *("nanosleep", "clock_nanosleep", "rt_sigaction", "rt_sigprocmask", "rmdir"),
)
MKDIR = ("/bin/mkdir", "/made")
REFUSED = 1


def tight(runtime: str) -> dict[str, Any]:
    """A profile with what the program and the runtime need, whatever no-new-privileges is."""
    given = sorted({*PROGRAM, *floor(runtime, None, None).names})
    return {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": given, "action": "SCMP_ACT_ALLOW"}]}


def compiled(directory: Path, right: Sequence[str], denied: str, **more: Any) -> tuple[bytes, Path]:
    """A policy that denies a call, under which the root directory has these rights beside those that programs need."""
    rules = [
        {"path": "/**", "access": ["execute", "read_file", "read_dir"]},
        {"path": "/", "access": [*right, "read_dir"]},
    ]
    given = {
        "version": "1.0",
        "settings": {"default_action": "allow", **more},
        "syscalls": [{"names": [denied], "action": "deny"}],
        "filesystem": {"rules": rules},
    }
    policy = polfile.write(policy_file(document.parse(json.dumps(given).encode()))[0])
    path = directory / "policy"
    path.write_bytes(policy)
    path.chmod(0o444)
    return policy, path


def enforced(
    directory: Path,
    *,
    mode: str = "standard",
    right: Sequence[str] = (),
    denied: str = "uselib",
    admitted: bool = True,
    **more: Any,
) -> Callable[[dict[str, Any]], bundle.Plan]:
    """An edit of config.json by which the launcher stands before the program."""
    policy, path = compiled(directory, right, denied, **more)
    found = launcher.find(os.uname().machine)
    source = directory / "scmm-enforce"
    source.write_bytes(found.read_bytes())
    source.chmod(0o755)

    def edit(config: dict[str, Any]) -> bundle.Plan:
        before = copy.deepcopy(config["linux"].get("seccomp"))
        plan = bundle.Plan(launcher_source=str(source), policy_source=str(path), mode=mode, parts=admits.parts(policy))
        bundle.enforce(config, plan)
        if not admitted:
            config["linux"]["seccomp"] = before
        return plan

    return edit


def run(
    runtime: str,
    *,
    args: Sequence[str] = MKDIR,
    seccomp: dict[str, Any],
    edit: Callable[[dict[str, Any]], object] | None,
) -> Completed:
    def change(config: dict[str, Any]) -> None:
        config["linux"]["seccomp"] = copy.deepcopy(seccomp)
        if edit is not None:
            edit(config)

    with Bundle(images.busybox(), runtime=runtime, args=args, edit=change) as made:
        return made.run(check=False)


def test_a_tight_profile_admits_the_launcher(runtime: str, tmp_path: Path) -> None:
    profile = tight(runtime)
    bare = run(runtime, seccomp=profile, edit=None)
    assert bare.returncode == 0, bare.stderr
    # The control: the same, but for what was added to the profile.
    closed = run(runtime, seccomp=profile, edit=enforced(tmp_path, right=["make_dir"], admitted=False))
    assert closed.returncode != 0
    done = run(runtime, seccomp=profile, edit=enforced(tmp_path, right=["make_dir"]))
    assert done.returncode == 0, done.stderr
    held = run(runtime, seccomp=profile, edit=enforced(tmp_path))
    assert (held.returncode, "can't create directory '/made': Permission denied" in held.stderr) == (REFUSED, True)


@pytest.mark.parametrize(
    ("mode", "more"),
    [
        ("seccomp", {}),
        ("permissive", {}),
        ("standard", {"run_as": {"uid": 65534, "gid": 65534}}),
    ],
)
def test_other_modes_and_users(runtime: str, tmp_path: Path, mode: str, more: dict[str, Any]) -> None:
    profile = tight(runtime)
    denied = "mkdir" if mode == "permissive" else "uselib"
    done = run(runtime, seccomp=profile, edit=enforced(tmp_path, mode=mode, denied=denied, **more))
    if more:
        assert (done.returncode, "can't create directory '/made': Permission denied" in done.stderr) == (REFUSED, True)
    else:
        assert done.returncode == 0, done.stderr  # files are not held in these modes
        # Not in the kernel's log alone, for want of a listener.
        assert ("would refuse mkdir(" in done.stderr) is (mode == "permissive")


@pytest.mark.parametrize("admitted", [True, False])
def test_exec_finds_what_create_has_mounted(runtime: str, tmp_path: Path, admitted: bool) -> None:
    """Under the profile that create was given, and by the words that it was planned with."""
    plans: list[bundle.Plan] = []

    def edit(config: dict[str, Any]) -> None:
        config["linux"]["seccomp"] = tight(runtime)
        plans.append(enforced(tmp_path, right=["make_dir"], admitted=True)(config))
        if not admitted:
            config["linux"]["seccomp"] = tight(runtime)
            config["process"]["args"] = config["process"]["args"][len(bundle.words(plans[0])) :]

    with Bundle(images.busybox(), runtime=runtime, args=["/bin/sleep", "1000"], edit=edit) as made:
        made.create()
        made.start()
        words = bundle.words(plans[0])
        done = made.exec(*words, *MKDIR, check=False)
        assert (done.returncode == 0) is admitted, done.stderr
        held = made.exec(*words, "/bin/rmdir", "/made", check=False)
        # The control: without the words nothing is held.
        bare = made.exec(*(("/bin/rmdir", "/made") if admitted else MKDIR), check=False)
    assert held.returncode != 0
    assert ("rmdir: '/made': Permission denied" in held.stderr) is admitted
    assert bare.returncode == 0, bare.stderr


def test_rules_that_contradict_are_taken_as_we_say(runtime: str) -> None:
    """The first rule without conditions, then those with, then the default; one like the default is left out."""
    condition = {"args": [{"index": 1, "value": 0o777, "op": "SCMP_CMP_EQ"}]}
    deny = {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 17}
    like = {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    allow = {"names": ["mkdir"], "action": "SCMP_ACT_ALLOW"}
    one = admits.Need("mkdir", "of this test")
    use = admits.Need("mkdir", "of this test", argument=(1, 0o777))
    others = {**tight(runtime)["syscalls"][0]}
    others["names"] = [name for name in others["names"] if name != "mkdir"]
    for given, need_, expected in (
        ([deny, allow], one, False),
        ([allow, deny], one, True),
        ([deny, {**allow, **condition}], use, False),
        ([allow, {**deny, **condition}], use, True),
        ([{**allow, **condition}], use, True),
        ([], one, False),
        ([like, allow], one, True),
    ):
        section = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "syscalls": [others, *given]}
        assert (run(runtime, seccomp=section, edit=None).returncode == 0) is expected, given
        if not expected and given:
            with pytest.raises(ValueError, match="refuses mkdir"):
                admits.admit(copy.deepcopy(section), [need_])
        else:
            assert bool(admits.admit(section, [need_]).added) is not expected
            assert run(runtime, seccomp=section, edit=None).returncode == 0, section


MOVE = """
mv /dev/.scmm-enforce /dev/x 2>&1; rm -f /dev/.scmm-policy 2>&1
mkdir /dev/between && : > /dev/between/file && mv /dev/between /dev/moved && echo moved
"""


def test_nobody_in_the_container_puts_another_launcher_in_its_place(runtime: str, tmp_path: Path) -> None:
    edit = enforced(tmp_path, mode="seccomp")
    done = run(runtime, args=["sh", "-c", MOVE], seccomp={"defaultAction": "SCMP_ACT_ALLOW"}, edit=edit)
    lines = done.stdout.splitlines()
    # The control: a directory that is no mount point can be moved away.
    assert lines[-1] == "moved"
    assert len(lines) == 3 and all("busy" in line for line in lines[:2]), done
