"""The launcher in containers: what is mounted into them, policies compiled for it, and a program that acts."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import ROOT, need

from rig import launcher
from rig.process import find_program
from scmm_oci.cli.main import main
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.syscalls import numbers

NUMBERS = numbers(Arch.X86_64)
#: What tests/payload/actions.c makes of calls by itself.
CALLS = (
    *("arch_prctl", "bind", "brk", "clone", "close", "connect", "execve", "exit_group", "fstat", "getrandom", "mkdir"),
    *("mprotect", "newfstatat", "open", "openat", "prlimit64", "read", "readlinkat", "rseq", "set_robust_list"),
    *("set_tid_address", "socket", "stat", "wait4", "write", "readlink", "personality", "munmap", "mmap", "pread64"),
)


@dataclass(frozen=True)
class Tools:
    """The launcher and tests/payload/actions.c, both static; policies are compiled beside them."""

    base: Path

    @property
    def launcher(self) -> Path:
        return self.base / "scmm-enforce"

    @property
    def program(self) -> Path:
        return self.base / "actions"

    def compiled(self, name: str, policy: Mapping[str, Any] | Path) -> Path:
        """The compiled form of a policy, by `scmm compile`."""
        source, target = self.base / f"{name}.scmm.yaml", self.base / f"{name}.scmm-pol"
        source.write_text(policy.read_text() if isinstance(policy, Path) else json.dumps(policy))
        assert main(["compile", "-i", str(source), "-o", str(target)]) == 0
        target.chmod(0o644)
        return target

    def mounted(self, policy: Path) -> list[str]:
        """Options of `run`: the launcher is the entrypoint, and it, the policy and the program are there, read-only."""
        there = {self.launcher: "/scmm-enforce", policy: "/policy.scmm-pol", self.program: "/actions"}
        return [*(f"--volume={source}:{target}:ro" for source, target in there.items()), "--entrypoint=/scmm-enforce"]


def make_tools(base: Path) -> Tools:
    """Compile both programs. Skips where there is no compiler, or another machine than policies are for."""
    machine = os.uname().machine
    need("KERNEL", None if machine == "x86_64" else f"the policies are for x86_64, and this is {machine}")
    need("KERNEL", launcher.unavailable() or (None if find_program("gcc") else "gcc is not installed"))
    launcher.build(base)
    words = ["gcc", "-O2", "-static", "-Wall", "-Wextra", "-Werror", "-o", base / "actions"]
    subprocess.run([*words, ROOT / "tests/payload/actions.c"], check=True)
    return Tools(base)


def enforced(*command: str, options: Sequence[str] = ()) -> list[str]:
    """The words after the entrypoint."""
    return ["-p", "/policy.scmm-pol", *options, "--", *command]


def policy(files: Mapping[str, Sequence[str]], calls: Sequence[str] = CALLS, **more: Any) -> dict[str, Any]:
    """A policy with these calls and files, no network, and ENOTUNIQ for other calls: nobody else answers that."""
    return {
        "version": "1.0",
        "settings": {"default_errno": "ENOTUNIQ"},
        "syscalls": [{"names": list(calls), "action": "allow"}],
        "filesystem": {"rules": [{"path": path, "access": list(rights)} for path, rights in files.items()]},
        "network": {"inbound": [{"protocol": "udp"}], "outbound": [{"protocol": "udp"}]},
        **more,
    }
