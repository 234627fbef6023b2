"""The shim killed, or refused by the kernel, at each system call that changes something: at each call under SCMM_SOAK.

What was to be enforced is enforced or not started, a recording stops nothing, and nothing is left behind.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from shim_ground import Ground, contents, is_enforced, swept
from shim_traced import Outcome, Step, Traced
from support import ROOT, need

from rig import namespace
from rig.mounts import private_dir
from rig.process import missing_programs

SOAK = bool(os.environ.get("SCMM_SOAK"))
pytestmark = pytest.mark.timeout(3600 if SOAK else 300)
KILL, FULL, BROKEN, NO_MEMORY = "signal=KILL", "error=ENOSPC", "error=EIO", "error=ENOMEM"


@pytest.fixture
def ground(inside: namespace.Entered) -> Iterator[Ground]:
    need("KERNEL", missing_programs("strace"))
    with private_dir("calls") as base:
        yield Ground(base)


def chosen(traced: Traced) -> list[Step]:
    steps = traced.steps()
    found = [step for step in steps if SOAK or step.changes]
    assert len([step for step in found if step.changes]) >= 3
    return found


def create(ground: Ground) -> Traced:
    """The container is made as after a boot."""
    return Traced(
        ground,
        *(f"--root={ground.root}", "create", f"--bundle={ground.bundle}", "one"),
        prepare=lambda: shutil.rmtree(ground.shims.bundles.parent, ignore_errors=True),
    )


class Around:
    """What must be the same afterwards: all but our own directory, and what is mounted."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.before = self._look()

    def check(self, step: Step, outcome: Outcome) -> None:
        now = self._look()
        changed = sorted(name for name in self.before.keys() | now.keys() if self.before.get(name) != now.get(name))
        assert changed == [], ("changed", step, outcome)

    def _look(self) -> dict[str, object]:
        base = self.ground.base
        ours = [base / each for each in ("words", "config", "trace", "package", "shims/run", "shims/shim.log")]
        return {**contents(base, but=ours), "mounts": Path("/proc/self/mounts").read_text()}


def created(ground: Ground, fault: str) -> tuple[int, int]:
    """Make an enforced container with each step failing in turn; how many were refused, and how many made."""
    traced, around = create(ground), Around(ground)
    steps = chosen(traced)
    refused = made = hits = 0
    for step in steps:
        outcome = traced.run(step, fault)
        hits += outcome.hit
        if outcome.config is None:
            refused += 1
            # sh takes a script that it cannot read for an empty one.
            assert outcome.code or "#!/bin/sh" in step.made, (step, outcome)
            if fault != KILL and step.changes and step.name != "execve":
                assert outcome.said.startswith("scmm-runc: "), (step, outcome)
        else:
            # What is not needed for it may fail, as the search for what others left.
            made += 1
            assert is_enforced(outcome.config), ("unenforced", step, outcome)
        assert swept(ground) == [], ("left", step, outcome)
        around.check(step, outcome)
    assert hits >= len(steps) - made
    return refused, made


@pytest.mark.parametrize("fault", [KILL, FULL, *([BROKEN, NO_MEMORY] if SOAK else [])])
def test_a_create_starts_nothing_unenforced_and_leaves_nothing(ground: Ground, fault: str) -> None:
    ground.ask(policy="files")
    refused, made = created(ground, fault)
    assert refused > 15
    if fault == KILL:
        assert made == 0


#: What each does, in which module, and what finds it.
BROKEN_SHIMS = {
    "falls back to the caller's bundle": (
        "shim_start.py",
        ("    if wish.is_closed:\n        return _changed", "    if False:\n        return _changed"),
        "unenforced",
    ),
    "does not say whose a directory is": (
        "places.py",
        ("            private.write_at(descriptor, OWNER, quickjson.dumps(owner))\n", ""),
        "left",
    ),
    "writes into the caller's bundle": (
        "shim_start.py",
        (
            "        bundle.absolute(config, original)\n",
            "        bundle.absolute(config, original)\n        open(original + '/x', 'w').close()\n",
        ),
        "changed",
    ),
}


@pytest.mark.parametrize("how", BROKEN_SHIMS)
def test_a_broken_shim_is_found(ground: Ground, how: str) -> None:
    """The control of all tests here."""
    module, (old, new), told = BROKEN_SHIMS[how]
    package = ground.base / "package"
    for directory in ("scmm_oci", "scmm_oci/enforcer"):
        (package / directory).mkdir(parents=True, exist_ok=True)
        for path in (ROOT / directory).iterdir():
            if path.name not in ("enforcer", "__pycache__", module):
                (package / directory / path.name).symlink_to(path)
    text = (ROOT / "scmm_oci/enforcer" / module).read_text()
    assert text.count(old) == 1
    (package / "scmm_oci/enforcer" / module).write_text(text.replace(old, new))
    starter = ground.starter.read_text()
    assert starter.count(f"package={ROOT}\n") == 1
    ground.starter.write_text(starter.replace(f"package={ROOT}\n", f"package={package}\n"))
    ground.ask(policy="files")
    with pytest.raises(AssertionError, match=f"^\\('{told}'"):
        created(ground, KILL if told == "left" else FULL)


@pytest.mark.parametrize("fault", [FULL, *([BROKEN, NO_MEMORY] if SOAK else [])])
def test_a_recording_stops_nothing(ground: Ground, fault: str) -> None:
    """From the configuration on, in which that is asked for: before it nobody knows what is."""
    ground.settings(hook=str(ground.script))
    ground.ask(record="true")
    traced = create(ground)
    steps = chosen(traced)
    every = traced.steps()
    # From the configuration, once it is read, to the last file of ours; then it becomes the runtime, as ever.
    opened = next(number for number, step in enumerate(every) if f"{ground.bundle}/config.json" in step.made)
    begin = next(number for number in range(opened, len(every)) if every[number].name == "close") + 1
    end = next(number for number, step in enumerate(every) if step.name == "renameat" and '"plan.json"' in step.made)
    ours = {(step.name, step.number) for step in every[begin : end + 1]}
    around = Around(ground)
    plain = 0
    for step in steps:
        outcome = traced.run(step, fault)
        if outcome.config is not None:
            plain += "hooks" not in outcome.config
            assert outcome.config["process"]["args"] == ["sh"]
        else:
            assert (step.name, step.number) not in ours, ("stopped", step, outcome)
        assert swept(ground) == [], ("left", step, outcome)
        around.check(step, outcome)
    assert plain > 5
    traced.steps()
    assert "hooks" in (ground.given() or {})  # the control: without a fault it is recorded


@pytest.mark.parametrize("fault", [KILL, FULL, *([BROKEN, NO_MEMORY] if SOAK else [])])
def test_an_exec_lets_nobody_in(ground: Ground, fault: str) -> None:
    path = ground.running()
    process = ground.base / "process.json"
    process.write_text(json.dumps({"args": ["sh"], "cwd": "/"}))
    traced = Traced(ground, f"--root={ground.root}", "exec", f"--process={process}", "one")
    steps = chosen(traced)
    around = Around(ground)
    kept = {name: found for name, found in contents(path).items() if "exec-" not in name}
    refused = 0
    for step in steps:
        outcome = traced.run(step, fault)
        if outcome.config is None:
            refused += 1
            assert outcome.code or "#!/bin/sh" in step.made, (step, outcome)
        else:
            assert is_enforced(outcome.config), ("unenforced", step, outcome)
        assert {name: found for name, found in contents(path).items() if "exec-" not in name} == kept, (step, outcome)
        around.check(step, outcome)
    assert refused >= 3
    traced.steps()
    assert len([each for each in path.iterdir() if "exec-" in each.name]) == 1  # what those left is gone
    assert is_enforced(ground.given())


@pytest.mark.parametrize("fault", [KILL, BROKEN])
def test_our_hook_leaves_nothing_for_long(ground: Ground, fault: str) -> None:
    ground.ask(policy="files")

    def create_again() -> None:
        ground.create("0", 0)
        (key,) = ground.shims.kept()
        owner = json.loads((ground.shims.bundles / key / "owner.json").read_text())
        ending.words = ("--scmm-ended", key, owner["generation"])

    ending = Traced(ground, "--scmm-ended", prepare=create_again)
    steps = chosen(ending)
    assert ground.shims.kept() == []
    for step in steps:
        outcome = ending.run(step, fault)
        assert outcome.config is None
        assert swept(ground) == [], ("left", step, outcome)
    assert len(steps) >= 6
