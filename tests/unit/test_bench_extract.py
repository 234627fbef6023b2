"""benchmarks/extract.py: captures of so many paths, both commands measured, and the verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import extract
from benchmarks.extract import GOAL_S, Run, Step
from scmm_oci.capture import file


def run_of(extracted: float, compiled: float) -> Run:
    return Run(Step(2 * extracted, extracted, 2048, 4096), Step(2 * compiled, compiled, 1024, 2048), 7)


def test_both_commands_are_measured(tmp_path: Path) -> None:
    for words, expected in (("data set", 1), ("nothing in common", 200)):
        made = extract.capture(200, extract.SHAPES[words])
        assert len(made.files) == 200
        path = tmp_path / "large.scmm-cap"
        file.write(path, made)
        run = extract.measure(path, tmp_path)
        assert run.rules == expected
        assert run.extract.size == (tmp_path / "out.scmm.yaml").stat().st_size
        assert run.compile.size == (tmp_path / "out.scmm-pol").stat().st_size
        assert (tmp_path / "out.scmm-pol").read_bytes().startswith(b"SCMMPOL")
        assert 0 < run.extract.processor < run.processor


def test_what_fails_is_not_measured(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"none\.scmm\.yaml"):
        extract.step("compile", ["-i", tmp_path / "none.scmm.yaml", "-o", tmp_path / "x"], written=tmp_path / "x")


def test_rows_and_the_middle() -> None:
    runs = [run_of(1, 1), run_of(3, 1), run_of(0.5, 1)]
    assert extract.middle(runs) == runs[0]
    cells = extract.row(1000, runs[0])
    assert cells == ["1000", "7", "1.00", "1.00", "2.00", "4.00", "2000", "2", "4", "2"]
    assert len(cells) == len(extract.COLUMNS)


def test_the_goal_is_for_both_together() -> None:
    assert "reached" in extract.verdict("x", 5, run_of(GOAL_S - 1, 1))
    assert "not reached" not in extract.verdict("x", 5, run_of(GOAL_S - 1, 1))
    assert extract.verdict("x", 5, run_of(GOAL_S - 1, 1.01)) == "goal 5 s for both, x, 5 paths: 5.01 s, not reached"
