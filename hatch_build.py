"""Build hook: compile the BPF objects and the launcher for every machine they know, so that a wheel needs no compiler.

BPF code does not depend on the machine it is compiled on, only on the kernel structures it reads; the launcher needs
no C library, so clang makes it for any machine. So one wheel carries both for each machine, and serves them all.
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
RECORDER = "bpf/recorder.bpf.c"
WATCH = "bpf/watch.bpf.c"
LAUNCHER = "launcher"
PACKAGES = "clang, lld, llvm and libbpf-dev"

# Static, without a C library, and small: it is copied into images and started before every program.
_LAUNCHER_OPTIONS = (
    *("-std=c11", "-ffreestanding", "-fno-builtin", "-nostdlib", "-static", "-Oz", "-Wall", "-Wextra", "-Werror"),
    *("-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fno-pic", "-ffunction-sections"),
    # -O2 of the linker: texts that others end with are there once.
    *(
        "-fno-ident",
        "-Wl,-O2",
        "-Wl,--build-id=none",
        "-Wl,-z,noexecstack",
        "-Wl,-z,relro",
        "-Wl,-z,now",
        "-Wl,--gc-sections",
        "-Wl,-s",
    ),
)


def tool(name: str) -> str:
    """The path of an LLVM tool, also under Debian's names with a version (llvm-strip-14)."""
    candidates = [name, *(f"{name}-{version}" for version in range(25, 11, -1))]
    for candidate in candidates:
        path = shutil.which(candidate)
        if path:
            return path
    raise RuntimeError(f"{name} is not installed; building needs {PACKAGES} (Debian package names)")


def compile_object(root: Path, machine: str, target: Path, *, source: str = RECORDER) -> None:
    """Compile a BPF object for `machine` into `target`, the same bytes wherever `root` is.

    Debug information is needed for BTF, from which libbpf relocates; DWARF is stripped again.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    command = [
        *(tool("clang"), "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror"),
        *("-Wno-unused-parameter", "-Wno-missing-declarations"),
        *("-fdebug-compilation-dir=.", f"-D__TARGET_ARCH_{MACHINES[machine]}", "-Ibpf"),
        *("-c", source, "-o", str(temporary)),
    ]
    try:
        subprocess.run(command, cwd=root, check=True)
        subprocess.run([tool("llvm-strip"), "-g", str(temporary)], check=True)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def compile_launcher(root: Path, machine: str, target: Path) -> None:
    """Compile the launcher for `machine` into `target`, an executable; the same bytes wherever `root` is."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    sources = sorted(path.name for kind in ("*.c", "*.S") for path in (root / LAUNCHER).glob(kind))
    command = [
        *(tool("clang"), "-target", f"{machine}-linux-gnu", f"--ld-path={tool('ld.lld')}", *_LAUNCHER_OPTIONS),
        *("-o", str(temporary), *(f"{LAUNCHER}/{name}" for name in sources)),
    ]
    try:
        subprocess.run(command, cwd=root, check=True)
        temporary.chmod(0o755)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


class BuildHook(BuildHookInterface[Any]):
    """Runs for wheels and editable installs alike."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        data = root / "scmm_oci" / "data"
        for machine in MACHINES:
            compile_object(root, machine, data / f"recorder.{machine}.bpf.o")
            compile_object(root, machine, data / f"watch.{machine}.bpf.o", source=WATCH)
            compile_launcher(root, machine, data / f"scmm-enforce.{machine}")
