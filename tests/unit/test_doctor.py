"""What `scmm doctor` says of places that are shut to whoever runs it; what it says of open ones is the twin."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scmm_oci.recorder import doctor, settings
from scmm_oci.recorder.doctor import Check, Verdict
from scmm_oci.recorder.installation import Layout
from scmm_oci.recorder.settings import Settings

NOBODY = 65534


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user can reach: pytest's own are root's alone."""
    directory = Path(tempfile.mkdtemp(prefix="scmm-test-"))
    directory.chmod(0o755)
    yield directory
    for each in directory.rglob("*"):
        if each.is_dir():
            each.chmod(0o700)
    shutil.rmtree(directory)


@contextmanager
def as_user() -> Iterator[None]:
    """As a user who is not root, where the tests run as root."""
    mine = os.geteuid()
    if not mine:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(mine)


def recorded(place: Path, *, mode: int) -> Settings:
    """A run directory with one recording whose container is gone, and two captures that wait; pins are left too."""
    run_dir, unsaved, pins = place / "run", place / "run" / "unsaved", place / "pins"
    for directory in (run_dir, unsaved, pins):
        directory.mkdir()
    (run_dir / "3.json").write_text(json.dumps({"owner": {"pid": 0, "started": 1}}))
    for name in ("a.scmm-cap", "b.scmm-cap", "c.tmp"):
        (unsaved / name).touch()
    run_dir.chmod(mode)
    return settings.check({"run_dir": str(run_dir), "pin_dir": str(pins), "capture_dir": str(place)})


def told(found: Settings) -> dict[str, Check]:
    return {check.name: check for check in doctor.directory_checks(found)}


def test_a_run_directory_of_root_is_not_looked_into_by_a_user(place: Path) -> None:
    found = recorded(place, mode=0)
    with as_user():
        report = told(found)
    run_dir = place / "run"
    assert report["recordings"].verdict is Verdict.WARNING
    assert report["recordings"].detail.startswith(str(run_dir))
    assert report["recordings"].detail.endswith("cannot be looked into without root")
    # What is not known is not told.
    assert report.keys() == {"capture directory", "recordings"}


def test_what_is_in_ones_own_run_directory_is_told(place: Path) -> None:
    report = told(recorded(place, mode=0o700))
    assert report["recordings"].detail == "1 whose container is gone"
    assert report["unsaved captures"].detail == f"2 captures wait in {place / 'run' / 'unsaved'}"
    assert "pins" not in report


def test_pins_that_nobody_holds_are_told_where_the_recordings_are_known(place: Path) -> None:
    found = recorded(place, mode=0o700)
    (place / "run" / "3.json").unlink()
    report = told(found)
    assert (report["recordings"].verdict, report["recordings"].detail) == (Verdict.OK, "0 running")
    assert "left from a crash" in report["pins"].detail


def test_a_run_directory_that_is_none_is_a_failure_whoever_asks(place: Path) -> None:
    (place / "real").mkdir(mode=0o700)
    (place / "run").symlink_to("real")
    report = told(settings.check({"run_dir": str(place / "run"), "capture_dir": str(place)}))
    assert report["recordings"].verdict is Verdict.FAILED
    assert "a symbolic link is not followed" in report["recordings"].detail


def test_a_capture_directory_in_a_shut_one_cannot_be_written(place: Path) -> None:
    (place / "shut" / "captures").mkdir(parents=True)
    (place / "shut").chmod(0)
    found = settings.check({"capture_dir": str(place / "shut" / "captures"), "run_dir": str(place / "none")})
    with as_user():
        report = told(found)
    assert report["capture directory"].verdict is Verdict.FAILED
    assert report["capture directory"].detail.endswith("cannot be written")


def test_settings_and_hooks_in_a_shut_directory_are_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "kernel_checks", lambda settings: iter(()))
    shut = place / "shut"
    (shut / "libexec").mkdir(parents=True)
    layout = Layout(hooks_dir=place, libexec_dir=shut / "libexec", config=shut / "config.yaml")
    assert [one.detail for one in doctor.hook_checks(layout)] == [f"no hooks of scmm-oci in {place}"]
    shut.chmod(0)
    with as_user():
        hooks = next(doctor.hook_checks(layout))
        configuration = doctor.examine(layout)[0]
    for check, name in ((hooks, "hooks"), (configuration, "configuration")):
        assert (check.name, check.verdict) == (name, Verdict.WARNING)
        assert check.detail.endswith("cannot be looked into without root")
