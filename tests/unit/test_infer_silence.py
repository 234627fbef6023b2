"""When `scmm extract` says that programs could fail in silence, and when it does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from samples import app, as_bytes, call, nginx

from scmm_oci.capture import file
from scmm_oci.cli.main import extract
from scmm_oci.policy import document
from scmm_oci.policy.decisions import Decisions
from scmm_oci.policy.infer import infer
from scmm_oci.policy.infer.silence import WRITING, silence
from scmm_oci.policy.model import Action
from scmm_oci.tables import syscalls


def told(*calls: object, decisions: Decisions | None = None) -> list[str]:
    decided = decisions if decisions is not None else Decisions()
    inference = infer([file.parse(as_bytes(app(*calls)))], decided)
    return [one.code for one in silence(inference, decided)]


def test_the_calls_are_calls():
    assert syscalls.all_names() >= WRITING


def test_of_a_program_that_wrote_nothing_it_is_said():
    assert told(call("read"), call("openat")) == ["no-writing"]


@pytest.mark.parametrize("name", sorted(WRITING & set(syscalls.numbers("x86_64"))))
def test_of_a_program_that_wrote_in_any_way_it_is_not_said(name: str):
    assert told(call("read"), call(name)) == []


def test_a_write_that_the_engine_refused_is_another_finding():
    assert told(call("read"), call("write", 0, denied=1, denied_errno="EPERM")) == []


@pytest.mark.parametrize("action", [Action.KILL, Action.TRAP, Action.DENY])
def test_a_default_that_refuses_silences(action: Action):
    assert told(call("read"), decisions=Decisions(default_action=action)) == ["no-writing"]


@pytest.mark.parametrize("action", [Action.ALLOW, Action.LOG])
def test_a_default_that_lets_pass_does_not(action: Action):
    assert told(call("read"), decisions=Decisions(default_action=action)) == []


@pytest.mark.parametrize("action", list(Action))
def test_who_decided_about_writing_knows(action: Action):
    assert told(call("read"), decisions=Decisions(calls={"write": action})) == []
    assert told(call("read"), decisions=Decisions(calls={"openat": action})) == ["no-writing"]


def test_the_remedy_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    Path("a.scmm-cap").write_bytes(as_bytes(app(call("read"))))
    Path("b.scmm-cap").write_bytes(as_bytes(nginx()))

    def codes(*words: str) -> list[str]:
        assert extract(["--json", *words]) == 0
        return [one["code"] for one in json.loads(capsys.readouterr().out)["findings"]]

    policy = ["-i", "a.scmm-cap", "-o", "a.scmm.yaml"]
    assert extract(policy) == 0
    note = next(line for line in capsys.readouterr().err.splitlines() if "no-writing" in line)
    remedy = note.partition("; ")[2].split()[:4]
    assert remedy == ["--allow", "write", "--allow", "writev"]
    assert "no-writing" in codes(*policy)
    assert not WRITING & {rule.name for rule in document.read("a.scmm.yaml").syscalls}
    assert "no-writing" not in codes(*policy, *remedy)
    assert {rule.name for rule in document.read("a.scmm.yaml").syscalls} >= {"write", "writev"}
    # One program that writes is enough; and with a profile alone, the runtime's needs let all write.
    assert "no-writing" not in codes(*policy, "-i", "b.scmm-cap")
    assert "no-writing" not in codes("-i", "a.scmm-cap", "--oci", "a.json")
    assert '"write"' in Path("a.json").read_text()
