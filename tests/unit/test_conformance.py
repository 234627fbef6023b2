"""tools/conformance: what bats says is read, what differs is told, and starters ask for what a way is named after."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from support import ROOT

from rig.process import RigError
from tools.conformance import agent, comparing, kept, table, ways
from tools.conformance.cases import Case, Outcome, parse
from tools.conformance.explained import EXPLAINED
from tools.conformance.suite import Suite
from tools.conformance.ways import Evidence, Installed, Way

TAP = """1..4
ok 1 state (kill + delete) in 1305ms
not ok 2 runc run [ro /dev mount] in 40sec
# (in test file ./mounts.bats, line 12)
#   `[ "$status" -eq 0 ]' failed
# runc run test (status=1):
# time="2026-01-01T00:00:00Z" level=error msg="runc run failed: open /run/x/y/tty: no such device"
ok 3 restore in 9ms # skip test requires criu
ok 4 issue # 12 in 2ms
"""


def case(name: str, outcome: Outcome = Outcome.PASSED, detail: str = "") -> Case:
    return Case("exec", name, outcome, detail)


def test_what_bats_says_is_read() -> None:
    read = parse("mounts", TAP)
    assert [(each.name, each.outcome) for each in read] == [
        ("state (kill + delete)", Outcome.PASSED),
        ("runc run [ro /dev mount]", Outcome.FAILED),
        ("restore", Outcome.SKIPPED),
        ("issue # 12", Outcome.PASSED),
    ]
    assert "level=error" in read[1].detail
    assert read[2].detail == "test requires criu"
    assert read[0].key == "mounts: state (kill + delete)"


@pytest.mark.parametrize("text", [TAP.replace("1..4", "1..5"), TAP.rpartition("ok 4")[0], "bats: no such file\n", ""])
def test_a_file_that_broke_off_is_an_error(text: str) -> None:
    with pytest.raises(RigError, match=r"mounts\.bats: (None|4|5) cases announced, [0-4] told of"):
        parse("mounts", text)


def test_only_what_passes_under_runc_can_differ() -> None:
    failed, skipped = Outcome.FAILED, Outcome.SKIPPED
    results = {
        Way.RUNC: [case("both"), case("shim fails"), case("skipped"), case("gone"), case("neither", failed)],
        Way.ENFORCED: [case("both"), case("shim fails", failed, "why"), case("skipped", skipped), case("neither")],
    }
    reason = {Way.ENFORCED: {"exec: skipped": "a reason", "exec: both": "no longer"}}
    found = table.differences(results, reason)
    assert [(each.way, each.case.name, each.why) for each in found] == [
        (Way.ENFORCED, "shim fails", None),
        (Way.ENFORCED, "skipped", "a reason"),
        (Way.ENFORCED, "gone", None),
    ]
    assert table.stale(results, reason) == ["enforced: exec: both"]
    assert table.differences({Way.RUNC: results[Way.RUNC], Way.ENFORCED: results[Way.RUNC]}, reason) == []


def test_the_table_has_counts_reasons_and_what_is_not_explained() -> None:
    error = 'time="x" level=error msg="runc run failed: open /run/a/b/pids.max: no such file"'
    results = {
        Way.RUNC: [case("a"), case("b"), case("c", Outcome.FAILED, error), case("d", Outcome.SKIPPED, "needs criu")],
        Way.PLAIN: [case("a"), case("b", Outcome.FAILED, "scmm-runc: a | <pipe>"), case("c"), case("d")],
    }
    text = table.render(results, {Way.PLAIN: Evidence(changed=3, same=4, captures=0)}, about="About.")
    assert "| cases | all | `runc` | `plain` |\n| --- | ---: | ---: | ---: |\n| exec | 4 | 2 | 3 |\n" in text
    assert "| **together** | 4 | 2 | 3 |" in text
    assert "3 containers and processes as the shim had changed them, 4 as they were." in text
    assert r"| `plain` | exec: b | **not explained**: scmm-runc: a \| &lt;pipe> |" in text
    assert "| fails: open …/pids.max: no such file | 1 | exec: c |" in text
    assert "| skipped: needs criu | 1 | exec: d |" in text
    same = table.render({**results, Way.PLAIN: results[Way.RUNC]}, {}, about="About.")
    assert "## What passes under runc and not under the shim\n\nNothing." in same


def test_only_the_generated_part_of_the_page_changes() -> None:
    begin, end = table.BEGIN, table.END
    page = f"before\n{begin}\nold\n{end}\nafter\n"
    assert table.replaced(page, "new\n") == f"before\n{begin}\nnew\n{end}\nafter\n"
    for broken in (page.replace(begin, ""), page.replace(end, "")):
        with pytest.raises(ValueError, match="the page lacks"):
            table.replaced(broken, "new\n")


def test_the_page_has_every_explanation_and_nothing_that_lacks_one() -> None:
    page = (ROOT / "docs/conformance.md").read_text()
    made = page.partition(table.BEGIN)[2].partition(table.END)[0]
    assert "| **together** |" in made
    assert "**not explained**" not in made
    for way, reasons in EXPLAINED.items():
        for key, why in reasons.items():
            assert f"| `{way}` | {key} | {why} |" in page, "stale: python -m tools.conformance --again"


def test_a_run_that_is_kept_is_the_same() -> None:
    results = {Way.RUNC: [case("a"), case("b", Outcome.FAILED, "why\n…")], Way.PLAIN: [case("a")]}
    run = kept.Run("About.", results, {Way.PLAIN: Evidence(1, 2, 3)})
    assert kept.loads(kept.dumps(run)) == run
    with pytest.raises(ValueError, match="'lost'"):
        kept.loads(kept.dumps(run).replace('"failed"', '"lost"'))


def test_what_differs_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def run_file(suite: object, path: Path, *, way: Way, only: Sequence[str] = (), **more: object) -> list[Case]:
        if not only:
            outcomes = {"steady": Outcome.PASSED, "shaky": Outcome.FAILED, "broken": Outcome.FAILED}
            return [case(name, Outcome.PASSED if way is Way.RUNC else each) for name, each in outcomes.items()]
        (one,) = only
        tried.append(one)
        return [case(one, Outcome.PASSED if one == "shaky" else Outcome.FAILED)]

    monkeypatch.setattr(comparing, "run_file", run_file)
    for each in ("enter_own", "remove_cgroup"):
        monkeypatch.setattr(comparing, each, lambda place: None)  # these take root
    (tmp_path / "counts").mkdir()
    installed = Installed(tmp_path, dict.fromkeys(Way, tmp_path))
    suite = Suite(tmp_path, "1", (tmp_path / "exec.bats",), {})
    done = comparing.Comparison(suite, suite.files, installed, tmp_path)
    told: list[Way] = []
    done.run([Way.RUNC, Way.PLAIN], lambda way, cases, seconds: told.append(way))
    assert told == [Way.RUNC, Way.PLAIN]
    assert tried == ["shaky", *["broken"] * (comparing.TRIES - 1)]
    assert done.unsteady == ["plain: exec: shaky"]
    assert [each.case.name for each in table.differences(done.results)] == ["broken"]
    assert done.evidence == {Way.PLAIN: Evidence(0, 0, 0)}


# A runtime that tells what it was given; `spec` writes what specs have here.
FAKE = """#!/bin/sh
printf '%s\\n' "$*" >>{log}
case " $* " in *" spec -h "*) exit 0 ;; *" spec "*) echo '{{"annotations":{{"a":"b"}}}}' >{config} ;; esac
case $1 in fails) exit 7 ;; esac
"""


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_a_starter_asks_by_what_spec_writes(tmp_path: Path) -> None:
    bundle = tmp_path / "a b"
    bundle.mkdir()
    config, log = bundle / "config.json", tmp_path / "log"
    fake = script(tmp_path / "fake", FAKE.format(log=log, config=f"'{config}'"))
    values = {"SHIM": fake, "PYTHON": sys.executable, "KEY": "scmm.policy", "VALUE": "all"}
    starter = script(tmp_path / "starter", ways.filled(ways.ASKING, values).decode())
    calls = (["--root", "r", "spec", "--bundle", bundle], ["fails", "x y"], ["spec", "-h"], ["state", "c"])
    codes = [subprocess.run([starter, *words], cwd=tmp_path, check=False).returncode for words in calls]
    assert codes == [0, 7, 0, 0]
    assert json.loads(config.read_text()) == {"annotations": {"a": "b", "scmm.policy": "all"}}
    assert log.read_text().splitlines() == [f"--root r spec --bundle {bundle}", "fails x y", "spec -h", "state c"]
    assert sorted(each.name for each in bundle.iterdir()) == ["config.json"]


def test_what_the_runtime_starts_is_counted_by_whether_it_was_changed(tmp_path: Path) -> None:
    log, counts = tmp_path / "log", tmp_path / "counts of"
    counts.mkdir()
    values = {
        "RUNC": script(tmp_path / "fake", FAKE.format(log=log, config="/dev/null")),
        "BUNDLES": "/run/x/containers",
        "LAUNCHER": "scmm-enforce",
        "COUNTS": counts,
    }
    starter = script(tmp_path / "runc", ways.filled(ways.COUNTING, values).decode())
    calls = (
        ("changed", ["--root", "r", "run", "--bundle=/run/x/containers/1", "run"]),
        ("changed", ["exec", "c", "/dev/.scmm-enforce", "--", "create"]),
        ("same", ["create", "--bundle", "/tmp/b", "c"]),
        ("", ["state", "c"]),
    )
    for _, words in calls:
        subprocess.run([starter, *words], check=True, env={**os.environ, "CASES_WAY": "plain"})
    assert log.read_text().splitlines() == [" ".join(words) for _, words in calls]
    assert {each.name: each.stat().st_size for each in counts.iterdir()} == {"plain.changed": 2, "plain.same": 1}


def test_only_what_passes_with_upstreams_agent_can_differ_with_ours() -> None:
    failed, skipped = Outcome.FAILED, Outcome.SKIPPED
    theirs = [case("both"), case("ours fails"), case("skipped"), case("gone"), case("neither", failed)]
    ours = [case("neither"), case("ours fails", failed, "why"), case("skipped", skipped), case("both")]
    found = agent.differing(theirs, ours)
    assert [(each.name, each.detail) for each in found] == [
        ("ours fails", "why"),
        ("skipped", ""),
        ("gone", "the case was not run"),
    ]
    assert agent.differing(theirs[:1], ours) == []


def test_our_agent_stands_in_upstreams_place_in_a_copy(tmp_path: Path) -> None:
    tree = tmp_path / "runc"
    cases, upstream = tree / "tests/integration", tree / "contrib/cmd/seccompagent"
    for each in (cases, upstream, tmp_path / "ours"):
        each.mkdir(parents=True)
    (cases / "seccomp-notify.bats").write_text("cases")
    (cases / "helpers.bash").write_text("helpers\n")
    (upstream / "seccompagent").write_text("upstream's")
    suite = Suite(cases, "1.1.5", (cases / "seccomp-notify.bats",), {})
    ours = agent.Agent(suite, tmp_path / "ours")
    assert (upstream / "seccompagent").read_text() == "upstream's"
    (copy,) = ours.suite.files
    assert copy.read_text() == "cases"
    assert (cases / "helpers.bash").read_text() == "helpers\n"
    assert copy.is_relative_to(tmp_path / "ours")
    starter = copy.parents[2] / "contrib/cmd/seccompagent/seccompagent"
    assert ours.starts == 0
    # An option that upstream's does not have is none of ours.
    done = subprocess.run([starter, "-debug"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (2, "seccompagent: -debug?\n")
    assert ours.starts == 0
