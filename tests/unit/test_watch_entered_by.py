"""The launcher in a container that is watched while it runs: found where it is mounted, and only if it is ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scmm_oci.enforcer import launcher
from scmm_oci.errors import Failure
from scmm_oci.watch.entered_by import launcher_of

OURS = b"the launcher"


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A process's directory in /proc, whose root is below it."""
    (tmp_path / "package").write_bytes(OURS)
    monkeypatch.setattr(launcher, "find", lambda machine: tmp_path / "package")
    (tmp_path / "7" / "root" / "run").mkdir(parents=True)
    return tmp_path


def mounted(proc: Path, *points: str) -> None:
    lines = [f"{number} 1 0:1 / {point} ro,nosuid - ext4 /dev/x ro" for number, point in enumerate(("/", *points))]
    (proc / "7" / "mountinfo").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("place", ["", "/run"])
def test_it_is_found_where_it_is_mounted(proc: Path, place: str) -> None:
    path = proc / "7" / "root" / f"{place[1:]}" / ".scmm-enforce"
    path.write_bytes(OURS)
    mounted(proc)
    assert launcher_of(7, proc=str(proc)) is None, "a file that is no mount is the container's"
    mounted(proc, f"{place}/.scmm-enforce")
    status = path.stat()
    assert launcher_of(7, proc=str(proc)) == (status.st_dev, status.st_ino)
    path.write_bytes(OURS[:-1] + b"R")
    assert launcher_of(7, proc=str(proc)) is None, "another program"


def test_what_is_no_file_is_none(proc: Path) -> None:
    mounted(proc, "/.scmm-enforce", "/run/.scmm-enforce")
    os.mkfifo(proc / "7" / "root" / ".scmm-enforce")
    (proc / "7" / "root" / "run" / ".scmm-enforce").symlink_to(proc / "package")
    assert launcher_of(7, proc=str(proc)) is None


def test_who_has_ended_or_a_package_without_launcher_has_none(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert launcher_of(8, proc=str(proc)) is None
    mounted(proc, "/.scmm-enforce")
    (proc / "7" / "root" / ".scmm-enforce").write_bytes(OURS)

    def none(machine: str) -> Path:
        raise Failure("there is no launcher")

    assert launcher_of(7, proc=str(proc)) is not None
    monkeypatch.setattr(launcher, "find", none)
    assert launcher_of(7, proc=str(proc)) is None
