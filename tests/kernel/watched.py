"""Run `scmm watch` as a user would, on a program of which every call is known, by policies that are written by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recording import Recorder, state_of
from support import ROOT, Hooks

from rig.cgroup import cgroup2_mount
from rig.process import wait_until
from scmm_oci.cli import main as programs
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import from_machine
from scmm_oci.watch import session

ARCH = from_machine(os.uname().machine)
# What the program may do in `policy`: get its ids, and read between two of them.
RIGHT = ("getpid", "getuid", "read", "clone", "exit_group")


def numbers(*calls: str) -> list[str]:
    """Calls as the program takes them; what is no call's name is one of its words."""
    known = syscalls.numbers(ARCH)
    return [str(known[each]) if each in known else each for each in calls]


def build(directory: Path) -> Path:
    """tests/payload/watch_steps.c, compiled."""
    path = directory / "steps"
    words = ("gcc", "-O2", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-Wall", "-Wextra")
    subprocess.run([*words, "-Werror", "-o", path, ROOT / "tests/payload/watch_steps.c"], check=True)
    return path


def policy(path: Path, transitions: Mapping[str, Sequence[str]] | None = None, *, action: str | None = None) -> Path:
    """A compiled policy with these transitions; else any of RIGHT may follow any of them, and `write` none."""
    if transitions is None:
        transitions = {**dict.fromkeys((*RIGHT, "write", "start"), RIGHT)}
    document: dict[str, Any] = {
        "version": "1.0",
        "metadata": {"name": path.name.partition(".")[0]},
        "settings": {"default_action": "allow"},
        "syscalls": [{"name": "ptrace", "action": "deny"}],
        "transitions": {state: list(following) for state, following in transitions.items()},
    }
    if action is not None:
        document["watch"] = action
    path.write_text(json.dumps(document))  # JSON is YAML
    compiled = path.with_name(f"{path.name}.scmm-pol")
    assert programs.compile(["-i", str(path), "-o", str(compiled), "--no-validate"]) == 0
    return compiled


@dataclass(frozen=True)
class Watcher(Recorder):
    """`scmm watch`, by a policy, on the program."""

    program: Path
    policy: Path

    def words(self, *words: str) -> list[str]:
        """The command line; PYTHONPATH of `environ` has to hold."""
        return [sys.executable, "-m", "scmm_oci.cli.main", "watch", *self.config, *words]

    @property
    def config(self) -> list[str]:
        return ["--config", str(self.hooks.layout.config)]

    def here(self, *words: str) -> int:
        """The same in this process; its exit code."""
        return programs.watch([*self.config, *words])

    def of(self, *calls: str, options: Sequence[str] = ()) -> list[str]:
        """The words after `scmm watch` for the program that makes these calls."""
        return ["-p", str(self.policy), *options, "--", str(self.program), *numbers(*calls)]

    def entries(self) -> list[dict[str, Any]]:
        return [each for each in session.entries(self.hooks.settings) if each.get("live")]

    def entry(self) -> dict[str, Any]:
        """The ledger's notes on the watch, as soon as there is one."""
        found: list[dict[str, Any]] = wait_until(self.entries, deadline_s=30, what="a watch")
        assert len(found) == 1
        return found[0]

    def await_reading(self, entry: Mapping[str, Any]) -> None:
        """Wait until the program is executed and waits for a byte."""
        comm = Path(f"/proc/{entry['pid']}/comm")

        def reads() -> bool:
            return comm.read_text() == f"{self.program.name}\n" and state_of(entry["pid"]) == "S"

        wait_until(reads, deadline_s=60, what="the program reads")

    def directory_of(self, entry: Mapping[str, Any]) -> Path:
        """Where a watch's cgroup is."""
        return cgroup2_mount() / entry["cgroup"]["path"][1:]


def left(hooks: Hooks) -> list[str]:
    """What of watches is still there: entries, pins, cgroups of this process."""
    found = [str(each) for each in session.entries(hooks.settings)]
    if Path(hooks.settings.watch_pin_dir).exists():
        found.append(hooks.settings.watch_pin_dir)
    return found
