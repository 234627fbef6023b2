"""Build hook: compile the BPF recorder for every machine it knows, so that a wheel needs no compiler.

BPF code does not depend on the machine it is compiled on, only on the kernel structures it reads; so one wheel
carries an object for each machine, and serves them all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# uname(2) machine → what <bpf/bpf_tracing.h> calls it.
MACHINES = {"x86_64": "x86", "aarch64": "arm64"}
SOURCE = "bpf/recorder.bpf.c"


def tool(name: str) -> str:
    """The path of an LLVM tool, also under Debian's names with a version (llvm-strip-14)."""
    candidates = [name, *(f"{name}-{version}" for version in range(25, 11, -1))]
    for candidate in candidates:
        path = shutil.which(candidate)
        if path:
            return path
    raise RuntimeError(f"{name} is not installed; building needs clang, llvm and libbpf-dev (Debian package names)")


def compile_object(root: Path, machine: str, target: Path) -> None:
    """Compile the recorder for `machine` into `target`, the same bytes wherever `root` is.

    Debug information is needed for BTF, from which libbpf relocates; DWARF is stripped again.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    command = [
        *(tool("clang"), "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror"),
        *("-Wno-unused-parameter", "-Wno-missing-declarations"),
        *("-fdebug-compilation-dir=.", f"-D__TARGET_ARCH_{MACHINES[machine]}", "-Ibpf"),
        *("-c", SOURCE, "-o", str(temporary)),
    ]
    try:
        subprocess.run(command, cwd=root, check=True)
        subprocess.run([tool("llvm-strip"), "-g", str(temporary)], check=True)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


class BpfBuildHook(BuildHookInterface[Any]):
    """Runs for wheels and editable installs alike."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        for machine in MACHINES:
            compile_object(root, machine, root / "scmm_oci" / "data" / f"recorder.{machine}.bpf.o")
