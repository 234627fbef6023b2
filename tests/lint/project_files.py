"""Which files the linters look at, and what to do when a linter is not installed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Made, not written; other directories with a leading dot are left out as well.
_MADE = frozenset({"build", "dist", "out", "__pycache__"})
_WRITTEN = frozenset({".ci"})


def project_files(suffix: str = "") -> list[Path]:
    """Every file of the project whose name ends with `suffix`."""
    found = []
    for directory, names, files in os.walk(ROOT):
        names[:] = sorted(name for name in names if name in _WRITTEN or not (name.startswith(".") or name in _MADE))
        found += [Path(directory, name) for name in sorted(files) if name.endswith(suffix)]
    return found


def linter(name: str) -> str:
    """The path of a program. Where it is not installed the test is skipped, but in CI it fails: CI checks all."""
    path = shutil.which(name)
    if path is None:
        missing(name)
    return path


def missing(what: str) -> None:
    """Skip the test for want of `what`, or fail it in CI."""
    message = f"{what} is not installed: run make setup"
    if os.environ.get("CI") in ("1", "true"):
        pytest.fail(message)
    pytest.skip(message)
