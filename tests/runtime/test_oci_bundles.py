"""The bundles of examples/oci-bundles: recorded anew, and run bare, under their profiles and under scmm-runc."""

from __future__ import annotations

import io
import json
import os
import platform
import re
import shlex
import shutil
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
from support import ROOT, Hooks, need

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
    """What the examples share: the root file system, scmm-runc with their policies in its store, their profiles."""

    base: Path
    shims: Shims
    hooks: Hooks
    findings: dict[str, set[str]]

    @property
    def bundles(self) -> Path:
        """A copy of the examples, with the root file system in its place."""
        return self.base / "bundles"

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
        shutil.copytree(BUNDLES, base / "bundles", ignore=shutil.ignore_patterns("rootfs"))
        run([base / "bundles/make-rootfs"])
        shims = make_shims(base / "shim", hooks=shared_hooks)
        findings = {}
        for name in NAMES:
            compiled, profile = base / f"{name}.scmm-pol", base / f"{name}.json"
            with redirect_stdout(io.StringIO()) as told:
                forms = ["-o", str(compiled), "--oci", str(profile)]
                assert main(["compile", "-i", str(policy(name)), *forms, "--json"]) == 0
            result = json.loads(told.getvalue())
            findings[name] = {each["code"] for each in result["findings"]} | {each["id"] for each in result["lint"]}
            if asks(name) != policy(name):
                assert main(["compile", "-i", str(asks(name)), "--oci", str(profile)]) == 0
            shims.store.add(name, compiled.read_bytes())
        yield Ground(base, shims, shared_hooks, findings)


@contextmanager
def supervisor(ground: Ground) -> Iterator[Daemon]:
    """The agent of the example `notify`, where bundles look for it here."""
    words = [sys.executable, str(BUNDLES / SUPERVISED / "agent.py"), str(ground.socket)]
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
        config["root"]["path"] = str(ground.bundles / "rootfs")
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


@pytest.mark.parametrize("runtime", ["runc", "crun"] if os.environ.get("SCMM_SOAK") else ["runc"])
@pytest.mark.parametrize("name", NAMES)
def test_the_policy_admits_a_new_recording(ground: Ground, name: str, runtime: str) -> None:
    recorded, shim = f"example-{name}-{runtime}", getattr(ground.shims, runtime)
    with asked(ground, name), bundle(ground, name, shim, record="required", name=recorded) as one:
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
    """That what was printed is what the verdicts say: a complaint, where one is due, and the status."""
    expected = list(verdicts(name)["prints"])
    lines = done.stdout.splitlines()
    for words, each in verdicts(name)["tries"].items():
        verdict = each[way]
        if verdict["status"] and len(lines) > len(expected):
            told = lines[len(expected)]
            expected.append(told if told.endswith(reason(verdict)) else f"… {reason(verdict)}")
        expected.append(f"{words}: {verdict['status']}")
    assert lines == expected, done.stderr
    # The launcher tells here what this kernel cannot hold.
    assert all(line.startswith("scmm-enforce:") for line in done.stderr.splitlines()), done.stderr


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


MARK = "= end ="


def shown(name: str) -> list[tuple[str, str]]:
    """The commands of a README's console blocks, each with what it prints."""
    text = (BUNDLES / name / "README.md").read_text()
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    parts = [part for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [(command, printed) for command, _, printed in (part.partition("\n") for part in parts)]


@pytest.mark.parametrize("name", NAMES)
def test_what_a_page_shows(ground: Ground, name: str, tmp_path: Path) -> None:
    """All of it in one shell, in the copy, with ids, captures and the socket of the test's own."""
    own = {
        "example-1": f"example-{os.getpid()}",
        "/run/scmm-example.sock": str(ground.socket),
        "/var/lib/scmm/captures": ground.hooks.settings.capture_dir,
    }

    def here(text: str) -> str:
        return re.sub("|".join(map(re.escape, own)), lambda found: own[found[0]], text)

    for verb in ("extract", "diff"):
        words = shlex.join([sys.executable, "-m", "scmm_oci.cli.main", verb])
        (tmp_path / f"scmm-{verb}").write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        (tmp_path / f"scmm-{verb}").chmod(0o755)
    config = ground.bundles / name / "config.json"
    config.write_text(here(config.read_text()))
    path = os.pathsep.join([str(tmp_path), str(ground.shims.runc.parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    commands = shown(name)
    lines = "".join(f"{here(command)}\necho {shlex.quote(MARK)}\n" for command, _ in commands)
    try:
        done = run(["bash", "-c", lines], env=env, cwd=ground.bundles, check=False, timeout=180)
    finally:
        run(["runc", "delete", "--force", own["example-1"]])
    printed = done.stdout.split(f"{MARK}\n")
    assert len(printed) == len(commands) + 1 > 1 and printed.pop() == ""
    assert printed == [here(expected) for _, expected in commands]
    assert all(line.startswith("scmm-enforce:") for line in done.stderr.splitlines()), done.stderr
