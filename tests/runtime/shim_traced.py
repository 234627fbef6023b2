"""System calls of the real starter and of what it becomes, failed or killed one by one by strace.

strace(1), "Tampering": `inject=NAME:when=N` counts calls of that name by each process; one that gets a signal or an
error there is not made. What the script in the runtime's place does comes after, and is the same process.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shim_ground import Ground

#: As shim_ground.RUNTIME, without a process of its own, in which strace would count anew.
RUNTIME = r"""#!/bin/sh
printf '%s\n' "$@" > WORDS
for word; do
	case $word in
	--bundle=*) exec cat "${word#--bundle=}/config.json" > CONFIG ;;
	--process=*) exec cat "${word#--process=}" > CONFIG ;;
	esac
done
"""
#: What changes something outside of the process, and what makes it another program.
CHANGING = frozenset(
    (
        *("execve", "flock", "write", "pwrite64", "mkdir", "mkdirat", "rename", "renameat", "renameat2"),
        *("unlink", "unlinkat", "rmdir", "link", "linkat", "symlink", "symlinkat", "chmod", "fchmod", "fchmodat"),
        *("chown", "fchown", "fchownat", "truncate", "ftruncate", "fsync", "mknod", "mknodat", "mount", "umount2"),
    )
)
_CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)", re.DOTALL)


@dataclass(frozen=True)
class Step:
    """The call of a name with this number, from 1; `made` is how strace shows it."""

    name: str
    number: int
    made: str

    @property
    def changes(self) -> bool:
        return self.name in CHANGING or (self.name == "openat" and "O_CREAT" in self.made)


@dataclass(frozen=True)
class Outcome:
    """Exit code, whether the fault was there, the document that the runtime got (None: it was not called), stderr."""

    code: int
    hit: bool
    config: dict[str, Any] | None
    said: str


class Traced:
    """A ground whose starter is run by strace.

    words: what it is called with; prepare: makes things before each run as they were before the first.
    """

    def __init__(self, ground: Ground, *words: str, prepare: Callable[[], object] = lambda: None) -> None:
        self.ground, self.words, self.prepare = ground, words, prepare
        ground.use_script(RUNTIME)
        self.trace = ground.base / "trace"

    def steps(self) -> list[Step]:
        """All calls until the runtime is there, of a run without a fault, in the order in which they are made."""
        for _ in range(2):  # the first may have compiled a module
            done = self._strace("--seccomp-bpf", "--string-limit=256")
        assert done.returncode == 0, done.stderr
        counts = {"execve": -1}  # strace's own is the first, and it does not count that one
        found = []
        for line in self.trace.read_text(errors="replace").splitlines():
            if call := _CALL.match(line):
                name, made = call.groups()
                counts[name] = counts.get(name, 0) + 1
                found.append(Step(name, counts[name], made))
                if name == "execve" and made.startswith(f'"{self.ground.script}"'):
                    break
        else:
            # Where the runtime is not called, all of it was ours.
            assert self.words[0].startswith("--scmm-"), "the runtime was not called"
        return [step for step in found if step.number]

    def run(self, step: Step, fault: str) -> Outcome:
        """One run in which the step is not made. fault: signal=NAME or error=NAME."""
        # strace 6.1 sends no signals where --seccomp-bpf chooses what it sees.
        quick = ["--seccomp-bpf"] if fault.startswith("error=") else []
        inject = f"--inject={step.name}:{fault}:when={step.number}"
        done = self._strace(*quick, f"--trace={step.name}", inject)
        hit = "(INJECTED)" in self.trace.read_text(errors="replace") or done.returncode == -9
        return Outcome(done.returncode, hit, self.ground.given(), done.stderr.decode(errors="replace"))

    def _strace(self, *options: str) -> subprocess.CompletedProcess[bytes]:
        self.prepare()
        self.ground.forget()
        common = ["strace", "--follow-forks", "--quiet=all", f"--output={self.trace}"]
        return subprocess.run(
            [*common, *options, self.ground.starter, *self.words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
