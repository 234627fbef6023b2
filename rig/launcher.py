"""The static launcher, compiled from this checkout for tests, benchmarks and examples, as it goes into the wheel."""

from __future__ import annotations

import os
from pathlib import Path

from hatch_build import compile_launcher
from rig.process import missing_programs

ROOT = Path(__file__).resolve().parent.parent


def unavailable() -> str | None:
    """Why the launcher cannot be compiled here, or None."""
    return missing_programs("clang")


def build(directory: Path) -> Path:
    """scmm-enforce for this machine, compiled into a directory. Raises CalledProcessError after clang has spoken."""
    target = directory / "scmm-enforce"
    compile_launcher(ROOT, os.uname().machine, target)
    return target
