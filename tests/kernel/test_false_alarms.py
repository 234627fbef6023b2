"""Machines that are learnt on some runs of programs are silent at others, and not at other programs.

The short form; with SCMM_SOAK=1 all programs, and servers: python -m tools.falsealarms.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support import need

from benchmarks.learning import Learning, in_cgroup, policy_of, settings_in
from benchmarks.watched import Watcher, machines_of
from rig import namespace
from rig.cgroup import child_cgroup
from rig.mounts import private_dir
from scmm_oci.compiled.policy_file import policy_file
from tools.falsealarms import __main__ as falsealarms
from tools.falsealarms import suites
from tools.falsealarms.experiment import Place, Sizes, judge, learn

SOAK = bool(os.environ.get("SCMM_SOAK"))
BY_KEY = {program.key: program for program in falsealarms.EVERY}
pytestmark = pytest.mark.timeout(7200 if SOAK else 300)


@pytest.fixture(autouse=True)
def programs(inside: namespace.Entered) -> None:
    need("KERNEL", suites.unavailable())


@pytest.mark.parametrize("words", [[]] if SOAK else [["head", "sqlite3", "--short"]])
def test_other_runs_of_the_same_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    page = tmp_path / "report.md"
    assert falsealarms.main([*words, "--markdown", str(page)]) == 0, capsys.readouterr().out
    lines = page.read_text().splitlines()
    assert capsys.readouterr().out.splitlines() == lines
    for program in BY_KEY if SOAK else words[:2]:
        [row] = [line for line in lines if line.startswith(f"| {program} |")][-1:]
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert int(cells[1]) >= 6 and int(cells[4]) > 20 and int(cells[8]) >= 20, row


def test_another_program_is_no_false_alarm() -> None:
    with private_dir("falsealarms") as base, child_cgroup("falsealarms") as cgroup:
        used, place = settings_in(base), Place(base, cgroup)
        learning, watcher = Learning(used), Watcher(used)
        sizes = Sizes(batch=10, least=2, most=2, batches=1)
        with learning.kept():
            captures = learn(BY_KEY["busybox wc"], place, learning, sizes, seed=3)
        machines = machines_of(policy_file(policy_of(captures))[0])
        with watcher.loaded() as maps, watcher.watching(maps, in_cgroup(cgroup), machines, action="alert") as watch:
            alarms, examples = judge(BY_KEY["busybox gzip"], place, watch, sizes, seed=3, named=falsealarms.named)
    assert sum(alarms) >= 5 and len(examples) == sum(alarms)
    assert all(" > " in example for example in examples)
