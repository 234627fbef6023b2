"""The static launcher, compiled from launcher/ of this checkout for tests, benchmarks and examples."""

from __future__ import annotations

import os
from pathlib import Path

from rig.process import missing_programs, run

SOURCES = Path(__file__).resolve().parent.parent / "launcher"
#: Without a C library, so that the clang that BPF needs is enough.
_FLAGS = (
    *("-std=c11", "-ffreestanding", "-fno-builtin", "-nostdlib", "-static", "-fuse-ld=lld", "-Os", "-Wall", "-Wextra"),
    *("-Werror", "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fno-pic", "-ffunction-sections"),
    *("-Wl,--build-id=none", "-Wl,-z,noexecstack", "-Wl,-z,relro", "-Wl,-z,now", "-Wl,--gc-sections"),
)


def unavailable() -> str | None:
    """Why the launcher cannot be compiled here, or None."""
    return missing_programs("clang", "ld.lld")


def build(directory: Path, machine: str = "") -> Path:
    """scmm-enforce for `machine` (default: this one), compiled into a directory. Raises RigError."""
    machine = machine or os.uname().machine
    target = directory / "scmm-enforce"
    sources = sorted([*SOURCES.glob("*.c"), *SOURCES.glob("*.S")])
    run(["clang", "-target", f"{machine}-linux-gnu", *_FLAGS, "-o", target, *sources], timeout=120)
    target.chmod(0o755)
    return target
