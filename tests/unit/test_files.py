import os

import pytest

from scmm_oci.errors import BadInput, Failure
from scmm_oci.files import atomic_write, atomic_write_all, read_bounded


def test_writes_and_replaces(tmp_path):
    target = tmp_path / "file"
    atomic_write(target, b"one")
    atomic_write(target, b"two", 0o600)
    assert target.read_bytes() == b"two"
    assert target.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_name_of_the_greatest_length_can_be_written(tmp_path):
    target = tmp_path / ("n" * 255)
    atomic_write(target, b"x")
    assert target.read_bytes() == b"x"


@pytest.mark.parametrize("old", [b"old", None])
def test_of_two_files_none_changes_if_one_cannot_be_written(tmp_path, old):
    first = tmp_path / "first"
    if old is not None:
        first.write_bytes(old)
    with pytest.raises(Failure, match="missing/second cannot be written: No such file"):
        atomic_write_all([(first, b"new"), (tmp_path / "missing" / "second", b"new")])
    assert (first.read_bytes() if first.exists() else None) == old
    assert len(list(tmp_path.iterdir())) == (old is not None)
    # Control: with both writable, both change.
    atomic_write_all([(first, b"new"), (tmp_path / "second", b"new2")])
    assert first.read_bytes() == b"new"
    assert (tmp_path / "second").read_bytes() == b"new2"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("old", [b"old", None])
def test_a_rename_that_fails_takes_back_the_one_before(tmp_path, monkeypatch, old, links):
    first, second = tmp_path / "first", tmp_path / "second"
    if old is not None:
        first.write_bytes(old)
    real = os.rename

    def rename(source, target):
        if target == str(second):
            raise OSError(16, "Device or resource busy")
        real(source, target)

    def link(source, target, **_):
        os.stat(source)
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "rename", rename)
    if not links:
        monkeypatch.setattr(os, "link", link)
    with pytest.raises(Failure, match="second cannot be written: Device or resource busy"):
        atomic_write_all([(first, b"new"), (second, b"new")])
    assert (first.read_bytes() if first.exists() else None) == old
    assert len(list(tmp_path.iterdir())) == (old is not None)


def test_links_devices_and_directories_are_not_replaced(tmp_path):
    real = tmp_path / "real"
    real.write_bytes(b"kept")
    link = tmp_path / "link"
    link.symlink_to(real)
    for target, reason in ((link, "symbolic link"), (tmp_path, "not a regular"), ("/dev/null", "not a regular")):
        with pytest.raises(Failure, match=reason):
            atomic_write(target, b"x")
    assert real.read_bytes() == b"kept"
    assert link.is_symlink()


def test_two_outputs_of_one_path_are_refused(tmp_path):
    with pytest.raises(Failure, match="same path"):
        atomic_write_all([(tmp_path / "a", b"1"), (f"{tmp_path}/./a", b"2")])
    assert not (tmp_path / "a").exists()


def test_a_working_directory_that_is_gone(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(Failure, match="working directory cannot be told: No such file"):
        atomic_write_all([("a", b"1")])
    atomic_write_all([(tmp_path / "a", b"1")])
    assert (tmp_path / "a").read_bytes() == b"1"


def test_reading_is_bounded(tmp_path):
    target = tmp_path / "file"
    target.write_bytes(b"12345")
    assert read_bounded(target, 5) == b"12345"
    with pytest.raises(BadInput, match="file: is larger than 4 bytes"):
        read_bounded(target, 4)
    with pytest.raises(BadInput, match="larger than 1000 bytes"):
        read_bounded("/dev/zero", 1000)


def test_what_cannot_be_read_is_bad_input(tmp_path):
    for path, reason in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory"), ("a\0b", "null")):
        with pytest.raises(BadInput, match=reason):
            read_bounded(path, 10)


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def fsync(_):
        raise OSError(28, "No space left on device")

    target = tmp_path / "file"
    target.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(Failure, match="file cannot be written: No space left on device"):
        atomic_write(target, b"new")
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
