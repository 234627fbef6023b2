"""Scratch directories: locked by who lives, and found when nobody does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scmm_oci import scratch


def test_one_holds_the_lock(tmp_path: Path) -> None:
    handle = scratch.lock(tmp_path)
    with pytest.raises(BlockingIOError):
        scratch.lock(tmp_path)
    os.close(handle)
    os.close(scratch.lock(tmp_path))


def test_the_dead_hold_none(tmp_path: Path) -> None:
    words = "import os, signal, sys; from scmm_oci import scratch; scratch.lock(sys.argv[1]); os.kill(os.getpid(), 9)"
    died = subprocess.run([sys.executable, "-c", words, tmp_path], check=False)
    assert died.returncode == -9
    os.close(scratch.lock(tmp_path))


def test_what_is_no_directory_has_no_lock(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link", "nothing"):
        with pytest.raises(OSError):
            scratch.lock(tmp_path / name)


def test_what_nobody_holds_is_found_and_held_meanwhile(tmp_path: Path) -> None:
    for name in ("dead", "lives", "young", "later"):
        (tmp_path / name).mkdir()
        if name != "young":
            os.utime(tmp_path / name, (0, 0))
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "dead")
    os.utime(tmp_path / "file", (0, 0))
    os.utime(tmp_path / "link", (0, 0), follow_symlinks=False)
    handle = scratch.lock(tmp_path / "lives")
    found = []
    for path in scratch.abandoned(sorted(tmp_path.iterdir())):
        found.append(path.name)
        with pytest.raises(BlockingIOError):
            scratch.lock(path)
    assert found == ["dead", "later"]
    os.close(handle)
    assert [path.name for path in scratch.abandoned(sorted(tmp_path.iterdir()), age=0)] == [
        "dead",
        "later",
        "lives",
        "young",
    ]
    for name in found:
        os.close(scratch.lock(tmp_path / name))


def test_it_is_let_go_where_removing_fails(tmp_path: Path) -> None:
    os.utime(tmp_path, (0, 0))
    with pytest.raises(ZeroDivisionError):
        for _ in scratch.abandoned([tmp_path]):
            raise ZeroDivisionError
    os.close(scratch.lock(tmp_path))
