"""The bundles of examples/oci-bundles: recorded anew, and run bare, under their profiles and under scmm-runc."""

from __future__ import annotations

import io
import json
import os
import platform
import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from recordings import await_capture
from shims import Shims, make_shims
from support import Hooks, need

from rig import images, namespace
from rig.mounts import private_dir
from rig.process import Completed, Daemon, find_program, run
from rig.runc import BUNDLES, Bundle, available
from scmm_oci.capture import file as capture_file
from scmm_oci.capture.model import Phase
from scmm_oci.cli.main import main
from scmm_oci.kernel import landlock
from scmm_oci.policy import diff, document
from scmm_oci.policy.admit import refusals
from scmm_oci.tables.errnos import ERRNOS

NAMES = sorted(each.parent.name for each in BUNDLES.glob("*/verdicts.json"))
WAYS = ("plain", "profile", "enforced")
SUPERVISED = "notify"
#: What is told of every policy: what it needs besides, of the kernel, and what a profile has no place for.
NOTES = {"needed-added", "scopes-need-abi-6", "not-in-profile", "floor-unconstrained"}


@dataclass(frozen=True)
class Ground:
    """What all examples share: the root file system, scmm-runc with their policies in its store, their profiles."""

    base: Path
    shims: Shims
    hooks: Hooks
    findings: dict[str, set[str]]

    @property
    def socket(self) -> Path:
        return self.base / "agent.sock"

    def profile(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.base / f"{name}.json").read_text())
        return found


def policy(name: str) -> Path:
    """The policy that scmm-runc enforces."""
    return BUNDLES / name / f"{name}.scmm.yaml"


def asks(name: str) -> Path:
    """The policy that the profile is made of: where a supervisor decides, it says so."""
    return BUNDLES / name / "asks.scmm.yaml" if name == SUPERVISED else policy(name)


def verdicts(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((BUNDLES / name / "verdicts.json").read_text())
    return found


def script(name: str, *parts: str) -> str:
    return "".join((BUNDLES / name / part).read_text() for part in parts)


@pytest.fixture(scope="module")
def ground(inside: namespace.Entered, shared_hooks: Hooks) -> Iterator[Ground]:
    machine = platform.machine()
    need("KERNEL", None if machine == "x86_64" else f"the policies are for x86_64, and this is {machine}")
    need("KERNEL", None if landlock.abi() >= 4 else "Landlock holds no ports here (it does from Linux 6.7 on)")
    need("KERNEL", available("runc") or images.busybox_unavailable())
    with private_dir("examples") as base:
        run([BUNDLES / "make-rootfs", base / "rootfs"])
        shims = make_shims(base / "shim", hooks=shared_hooks)
        findings = {}
        for name in NAMES:
            compiled, profile = base / f"{name}.scmm-pol", base / f"{name}.json"
            with redirect_stdout(io.StringIO()) as told:
                forms = ["-o", str(compiled), "--oci", str(profile)]
                assert main(["compile", "-i", str(policy(name)), *forms, "--json"]) == 0
            document = json.loads(told.getvalue())
            findings[name] = {each["code"] for each in document["findings"]} | {each["id"] for each in document["lint"]}
            if asks(name) != policy(name):
                assert main(["compile", "-i", str(asks(name)), "--oci", str(profile)]) == 0
            shims.store.add(name, compiled.read_bytes())
        yield Ground(base, shims, shared_hooks, findings)


@contextmanager
def supervisor(ground: Ground) -> Iterator[Daemon]:
    """The agent of the example `notify`, where bundles look for it here."""
    words = [sys.executable, BUNDLES / SUPERVISED / "agent.py", ground.socket]
    log = ground.base / "agent.log"
    log.unlink(missing_ok=True)
    agent = Daemon(words, log=log, ready=lambda: "listening" in log.read_text())
    agent.start()
    try:
        yield agent
    finally:
        agent.stop()
    assert not ground.socket.exists()


def asked(ground: Ground, name: str) -> AbstractContextManager[object]:
    """The supervisor, where there is one."""
    return supervisor(ground) if name == SUPERVISED else nullcontext()


@contextmanager
def bundle(
    ground: Ground, name: str, runtime: Path | str, way: str = "plain", /, **annotations: str
) -> Iterator[Bundle]:
    """The example, with the shared root file system. way: one of WAYS; annotations: instead of the example's own."""

    def edit(config: dict[str, Any]) -> None:
        config["root"]["path"] = str(ground.base / "rootfs")
        if annotations:
            config["annotations"] = {f"scmm.{key}": value for key, value in annotations.items()}
        if way == "profile":
            config["linux"]["seccomp"] = ground.profile(name)
        if "listenerPath" in config["linux"].get("seccomp", {}):
            config["linux"]["seccomp"]["listenerPath"] = str(ground.socket)

    with Bundle(images.busybox(), example=name, runtime=str(runtime), edit=edit) as one:
        yield one


def fed(one: Bundle, text: str, *words: str, check: bool = False) -> Completed:
    """A verb of the runtime with standard input."""
    program = find_program(one.runtime) or one.runtime
    return run([program, f"--root={one.base / 'state'}", *words], input=text, check=check, cwd=one.directory)


def ran(one: Bundle, name: str, text: str) -> Completed:
    """What the shell in the container says to a text: the container's own, or one that `exec` brings in."""
    if name != "exec":
        one.save()
        return fed(one, text, "run", f"--bundle={one.directory}", one.id)
    one.create()
    one.start()
    done = fed(one, text, "exec", "--user=1000:1000", one.id, "sh")  # crun takes root where none is named
    one.kill()
    one.wait_stopped()
    one.delete()
    return done


def reason(verdict: dict[str, Any]) -> str:
    """The words that end a program's complaint."""
    if "signal" in verdict:
        return str(signal.strsignal(signal.Signals[verdict["signal"]]))
    return os.strerror(ERRNOS[verdict["errno"]])


def said(done: Completed) -> list[str]:
    """How lines on stderr end; the launcher tells there what this kernel cannot hold."""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("scmm-enforce:")]
    return [line.rpartition(": ")[2] for line in lines]


@pytest.mark.parametrize("name", NAMES)
def test_the_verdicts_are_of_what_is_tried(name: str) -> None:
    tried = [line.removeprefix("try ") for line in script(name, "tries").splitlines() if line.startswith("try ")]
    assert list(verdicts(name)["tries"]) == tried
    for each in verdicts(name)["tries"].values():
        assert set(each) == set(WAYS)
    # Each example shows something that only the policy refuses.
    assert any(each["plain"] != each["enforced"] for each in verdicts(name)["tries"].values())


@pytest.mark.parametrize("name", NAMES)
def test_the_policy_compiles_without_other_findings(ground: Ground, name: str) -> None:
    assert ground.findings[name] - NOTES == set(verdicts(name)["findings"])


def test_where_a_supervisor_decides_the_policies_differ_in_that_alone() -> None:
    found = diff.differences(document.read(policy(SUPERVISED)), document.read(asks(SUPERVISED)))
    assert [(each.section, each.what) for each in found] == [("settings", "listener"), ("syscalls", "ioprio_set")]


@pytest.mark.parametrize("name", NAMES)
def test_the_policy_admits_a_new_recording(ground: Ground, name: str) -> None:
    recorded = f"example-{name}"
    with asked(ground, name), bundle(ground, name, ground.shims.runc, record="required", name=recorded) as one:
        done = ran(one, name, script(name, "works"))
    assert done.stdout.splitlines() == verdicts(name)["prints"], done.stderr
    capture = capture_file.read(await_capture(ground.hooks, recorded))
    assert capture.complete, capture.losses
    kept = document.read(policy(name))
    assert refusals(kept, capture) == ()
    # The control: without one of its rules it does not.
    less = replace(kept, syscalls=tuple(rule for rule in kept.syscalls if rule.name != "write"))
    assert [each.what for each in refusals(less, capture)] == ["write"]
    calls = {call.name for _, call in capture.calls(Phase.APP)}
    assert ("rename" in calls) == (name in ("files", "subcgroup"))  # there, from within a cgroup of its own


def check(name: str, way: str, done: Completed) -> None:
    """That the verdicts are what was said."""
    expected = verdicts(name)
    tried = {words: each[way] for words, each in expected["tries"].items()}
    lines = [f"{words}: {verdict['status']}" for words, verdict in tried.items()]
    assert done.stdout.splitlines() == expected["prints"] + lines, done.stderr
    assert said(done) == [reason(verdict) for verdict in tried.values() if verdict["status"]], done.stderr


@pytest.mark.parametrize("runtime", ["runc", "crun"])
@pytest.mark.parametrize("name", NAMES)
def test_verdicts(ground: Ground, name: str, runtime: str) -> None:
    if runtime == "crun":
        need("CRUN", available("crun"))
    text = script(name, "works", "tries")
    with asked(ground, name):
        for way in WAYS:
            program = getattr(ground.shims, runtime) if way == "enforced" else runtime
            with bundle(ground, name, program, way) as one:
                check(name, way, ran(one, name, text))
    assert ground.shims.kept() == []


def test_nobody_starts_where_the_supervisor_is_not(ground: Ground) -> None:
    for program in ("runc", ground.shims.runc):
        with bundle(ground, SUPERVISED, program) as one:
            done = ran(one, SUPERVISED, "echo started\n")
            assert done.returncode != 0 and done.stdout == ""
            with supervisor(ground):  # the control
                assert ran(one, SUPERVISED, "echo started\n").stdout == "started\n"
