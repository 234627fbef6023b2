"""docs/formats.md, of what scmm-runc keeps and of reports: its examples are what is written and read."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from small_policies import compiled

from scmm_oci.capture.model import Phase
from scmm_oci.cli import replayed_shown, tried
from scmm_oci.cli.try_runs import Run
from scmm_oci.enforcer import reports, shim_settings, shim_start
from scmm_oci.enforcer.place import owner_of
from scmm_oci.enforcer.store import Store
from scmm_oci.oci import runtime_argv
from scmm_oci.recorder.replay.cells import Cell, Missing, Ran, Replay, Runtime, Tried
from scmm_oci.settings_file import BadSettings
from scmm_oci.tables.floor import Verb

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "formats.md").read_text()
_, KEPT = TEXT.split("## What scmm-runc keeps", 1)
SETTINGS, OWNER, PLAN, TRIED, WAY = map(json.loads, re.findall(r"^```json\n(.*?)^```", KEPT, re.DOTALL | re.MULTILINE))


def test_the_settings_are_read_as_they_stand_there() -> None:
    assert shim_settings.check(SETTINGS).as_dict() == SETTINGS
    lean = {"runtimes": SETTINGS["runtimes"]}
    assert shim_settings.check(lean).as_dict() == {**SETTINGS, "images": []}
    with pytest.raises(BadSettings, match="no such setting"):
        shim_settings.check({**SETTINGS, "unknown": 1})


def test_a_containers_files_have_these_members(tmp_path: Path) -> None:
    made = Store(str(tmp_path / "store")).add("web", compiled())
    starter, bundle = tmp_path / "scmm-enforce", tmp_path / "bundle"
    starter.write_text("#!/bin/sh\n")
    starter.chmod(0o755)
    (bundle / "rootfs").mkdir(parents=True)
    config = {
        "process": {"args": ["true"]},
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}],
        "annotations": {"scmm.policy": "web"},
    }
    (bundle / "config.json").write_text(json.dumps(config))
    settings = shim_settings.check(
        {
            "runtimes": {"default": "/bin/true"},
            "launcher": str(starter),
            "policy_dir": str(tmp_path / "store"),
            "run_dir": str(tmp_path / "run"),
            "log_file": str(tmp_path / "log"),
        }
    )
    line = runtime_argv.parse(["--root", str(tmp_path / "runc"), "create", "--bundle", str(bundle), "web"])
    words = shim_start.words(settings, "/usr/local/libexec/scmm/scmm-runc", line)
    (kept,) = (tmp_path / "run").iterdir()
    assert str(kept) in words and len(kept.name) == 24
    assert {each.name for each in kept.iterdir()} == {"owner.json", "config.json", "launcher", "policy", "plan.json"}
    plan, owner = (json.loads((kept / name).read_text()) for name in ("plan.json", "owner.json"))
    ours = {"bundle": str(bundle), "root": str(tmp_path / "runc"), "sha256": made}
    assert plan == PLAN | ours
    assert owner.keys() == OWNER.keys() and owner["id"] == OWNER["id"]
    for name in ("generation", "mounts"):
        assert re.sub("[0-9]+", "N", owner[name]) == re.sub("[0-9]+", "N", OWNER[name])


@pytest.mark.parametrize("lacks", OWNER)
def test_an_owner_that_lacks_a_member_is_none(lacks: str, tmp_path: Path) -> None:
    def asked(document: dict[str, Any]) -> dict[str, Any]:
        (tmp_path / "owner.json").write_text(json.dumps(document))
        descriptor = os.open(tmp_path, os.O_RDONLY)
        try:
            return owner_of(descriptor, str(tmp_path))
        finally:
            os.close(descriptor)

    assert asked(OWNER) == OWNER
    with pytest.raises(ValueError, match="lacks id, root, generation or mounts"):
        asked({name: value for name, value in OWNER.items() if name != lacks})


def test_what_try_prints(capsys: pytest.CaptureFixture[str]) -> None:
    (told,) = TRIED["runs"][0]["violations"]
    text = (
        f"scmm-enforce: would refuse {told['example']} of process 7 ({told['program']}): {told['answer']}\n"
        f"scmm-enforce: would have refused {told['count']} calls:\n"
        f"scmm-enforce:   {told['count']} times {told['call']}: {told['answer']}\n"
    )
    run = Run("permissive", 0, reports.parse(text))
    tried.show(tried.Tried(TRIED["policy"], compiled(), [run], 1, "x86_64"), as_json=True)
    assert json.loads(capsys.readouterr().out) == TRIED


def test_what_a_replay_prints() -> None:
    runtime = Runtime("/usr/sbin/runc", "runc", "1.1.5", WAY["runtime"]["sha256"])
    one = Tried(
        Cell(runtime, True, Verb.RUN),
        20,
        Ran(0),
        0,
        failure=Ran(1),
        phase=Phase.APP,
        missing=(Missing(Phase.APP, "mkdir", needed=True),),
        enough=True,
    )
    document = replayed_shown.as_json(Replay((one,)), [], [])
    assert document["ways"] == [WAY]
    for name in document:
        assert f"`{name}`" in KEPT, "a member that formats.md does not have"
