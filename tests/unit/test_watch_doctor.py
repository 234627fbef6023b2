"""What `scmm doctor` says of watches: those that run, those that nobody ended, and what a crash left."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from scmm_oci.cli import doctor as cli_doctor
from scmm_oci.recorder import settings
from scmm_oci.recorder.doctor import Check, Verdict
from scmm_oci.recorder.installation import Layout
from scmm_oci.recorder.session import started
from scmm_oci.recorder.settings import Settings
from scmm_oci.watch import doctor


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(doctor, "load_check", lambda: Check("watch", Verdict.OK, ""))
    return tmp_path


def at(place: Path) -> Settings:
    return settings.check({"run_dir": str(place / "run"), "watch_pin_dir": str(place / "pins")})


def told(place: Path) -> tuple[Verdict, str, str]:
    _, found = doctor.checks(at(place))
    assert found.name == "watches"
    return found.verdict, found.detail, found.remedy


def enter(place: Path, pid: int, started: int) -> None:
    directory = place / "run/watch"
    directory.mkdir(parents=True, exist_ok=True)
    cgroup = {"path": "/none/of/that/name", "hierarchy": 0, "controller": "", "id": 1, "made": False}
    entry = {"cgroup": cgroup, "pid": pid, "pid_started": started}
    (directory / f"{len(list(directory.iterdir()))}.json").write_text(json.dumps(entry))


def test_watches_that_run_and_those_that_nobody_ended(place: Path) -> None:
    assert told(place) == (Verdict.OK, "0 running", "")
    enter(place, os.getpid(), started(os.getpid()))
    assert told(place) == (Verdict.OK, "1 running", "")
    enter(place, os.getpid(), 1)
    assert told(place) == (Verdict.WARNING, "1 whose container is gone", "scmm-watch --list ends them")


def test_what_a_crash_left(place: Path) -> None:
    (place / "pins").mkdir()
    verdict, detail, _ = told(place)
    assert (verdict, detail) == (Verdict.WARNING, f"{place / 'pins'} is left from a crash")
    enter(place, os.getpid(), started(os.getpid()))
    assert told(place)[0] is Verdict.OK, "somebody has them"


def test_a_ledger_that_is_none(place: Path) -> None:
    (place / "run").mkdir()
    (place / "run/watch").write_text("")
    verdict, detail, _ = told(place)
    assert verdict is Verdict.FAILED and str(place / "run/watch") in detail


def test_settings_that_cannot_be_read_are_told_elsewhere(place: Path) -> None:
    layout = Layout(hooks_dir=place, libexec_dir=place, config=place / "config.yaml")
    layout.config.write_text(json.dumps({"run_dir": str(place / "run"), "watch_pin_dir": str(place / "pins")}))
    assert [each.name for each in cli_doctor.watching(layout)] == ["watch", "watches"]
    layout.config.write_text("speed: 3\n")
    assert list(cli_doctor.watching(layout)) == []


def test_a_package_without_its_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.pins, "OBJECT", "/none/watch.bpf.o")
    found = doctor.load_check()
    assert (found.verdict, found.detail) == (Verdict.FAILED, "/none/watch.bpf.o is not there")
