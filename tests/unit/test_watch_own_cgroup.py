"""The cgroup of a command that is watched: where it is made, what is said where it cannot be, and how it goes."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from scmm_oci.errors import Failure
from scmm_oci.kernel import cgroup
from scmm_oci.kernel.cgroup import Place
from scmm_oci.watch import freezing, own_cgroup


@pytest.fixture
def above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for the cgroup that this process is in."""
    monkeypatch.setattr(cgroup, "memberships", lambda pid: [(4, ("memory",), "/m"), (0, (), "/user.slice/ours")])
    monkeypatch.setattr(
        cgroup,
        "directory",
        lambda path, controller="": str(tmp_path / path.removeprefix("/user.slice/ours").strip("/")),
    )
    return tmp_path


def test_it_is_below_ours(above: Path) -> None:
    one, other = own_cgroup.make(), own_cgroup.make()
    assert one.path != other.path and one.path.startswith(f"/user.slice/ours/scmm-watch-{os.getpid()}-")
    assert Path(one.directory).parent == above and one.id == os.stat(one.directory).st_ino
    assert (one.hierarchy, one.controller) == (0, "")
    assert own_cgroup.remove(one, patience_s=0) and not Path(one.directory).exists()
    assert own_cgroup.remove(one, patience_s=0), "it is gone already"
    assert own_cgroup.remove(other, patience_s=0) and above.exists()


def test_without_cgroup_v2_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "memberships", lambda pid: [(4, ("memory",), "/m")])
    with pytest.raises(Failure, match=r"no cgroup v2 \(watch a container instead"):
        own_cgroup.make()
    monkeypatch.setattr(cgroup, "memberships", lambda pid: [(0, (), "/")])
    monkeypatch.setattr(cgroup, "directory", lambda path, controller="": None)
    with pytest.raises(Failure, match="mount -t cgroup2 cgroup2 /sys/fs/cgroup"):
        own_cgroup.make()


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (errno.EROFS, "mounted read-only, as in containers: run scmm-watch on the host"),
        (errno.EACCES, "run as root"),
        (errno.EAGAIN, "cgroup.max.descendants or cgroup.max.depth"),
        (errno.ENOSPC, "no cgroup can be made in"),
    ],
)
def test_where_none_can_be_made_it_is_said_why(
    above: Path, monkeypatch: pytest.MonkeyPatch, code: int, text: str
) -> None:
    def refuse(path: Path, mode: int = 0o777) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(Failure) as failed:
        own_cgroup.make()
    assert text in str(failed.value) and os.strerror(code) in str(failed.value)


def place_in(directory: Path) -> Place:
    return Place(hierarchy=0, controller="", path="/x", id=directory.stat().st_ino, directory=str(directory))


def test_who_is_in_it_and_below_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "directory", lambda path: str(tmp_path))
    (tmp_path / "below").mkdir()
    (tmp_path / "cgroup.procs").write_text("11\n12\n")
    (tmp_path / "below" / "cgroup.procs").write_text("13\n")
    assert sorted(own_cgroup.processes(tmp_path)) == [11, 12, 13]
    assert own_cgroup.processes(tmp_path / "gone") == []
    events = tmp_path / "cgroup.events"
    for text, is_so in (("populated 1\nfrozen 0\n", True), ("populated 0\nfrozen 1\n", False)):
        events.write_text(text)
        assert own_cgroup.is_populated(place_in(tmp_path)) is is_so
        assert own_cgroup.remove(place_in(tmp_path), patience_s=0) is False, "a directory with files stays"


def test_a_process_that_cannot_be_moved_is_said(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").mkdir()
    with pytest.raises(Failure, match="the command cannot be moved into"):
        own_cgroup.enter(place_in(tmp_path), os.getpid())


def test_a_cgroup_without_cgroup_kill_is_ended_one_by_one(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            (tmp_path / "cgroup.procs").write_text(f"{process.pid}\n")
            own_cgroup.kill(place_in(tmp_path))
            assert process.wait(30) == -9
        finally:
            process.kill()
    (tmp_path / "cgroup.kill").write_text("0")
    (tmp_path / "cgroup.procs").write_text("not looked at")
    own_cgroup.kill(place_in(tmp_path))
    assert (tmp_path / "cgroup.kill").read_text() == "1"


def test_v1_has_no_freezer_of_its_own() -> None:
    entry = {"cgroup": {"path": "/x", "hierarchy": 4, "controller": "memory"}}
    assert "stopped by SIGSTOP alone" in str(freezing._write(entry, "1")) and not freezing.is_frozen(entry)


def test_who_is_stopped_is_known() -> None:
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            assert not freezing._is_stopped(process.pid)
            os.kill(process.pid, 19)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
            assert freezing._is_stopped(process.pid)
        finally:
            process.kill()
    assert not freezing._is_stopped(process.pid)
