"""The arithmetic of benchmarks.shim: what the shim adds, beside what, the goal, and that what is missing is said."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from benchmarks.shim_report import (
    ENFORCED,
    EXEC,
    HOOKED,
    PARTS,
    PLAIN,
    PRECREATE,
    RECORDED,
    START,
    TITLES,
    UNASKED,
    WHOLE,
    WIDTH,
    Result,
    Row,
    rows,
    sheets,
    show,
    to_json,
)

#: Rounds of a machine that is slower in every second one.
SLOW = {number: 0.2 * (number % 2) for number in range(1, 9)}
#: Seconds that each way takes on a quiet machine.
TAKES = {PLAIN: 0.020, UNASKED: 0.035, ENFORCED: 0.038, PRECREATE: 0.036, HOOKED: 0.060, RECORDED: 0.080}


def result(**changed: float) -> Result:
    """runc in every way; an exec takes half as long."""
    found = Result({"kernel": "test"}, seed=1)
    for number, slow in SLOW.items():
        for way, seconds in {**TAKES, **changed}.items():
            for part, share in ((START, 1.0), (WHOLE, 1.5), (EXEC, 0.5)):
                found.add("runc", part, way, number, share * seconds + slow)
    return found


def by_way(found: Result, part: str) -> dict[str, Row]:
    return {row.way: row for row in rows(found) if row.part == part}


def test_rounds_are_compared_with_themselves_and_recording_with_recording() -> None:
    start = by_way(result(), START)
    assert {way: (row.base, pytest.approx(row.added.value)) for way, row in start.items()} == {
        UNASKED: (PLAIN, 0.015),
        ENFORCED: (PLAIN, 0.018),
        PRECREATE: (PLAIN, 0.016),
        RECORDED: (HOOKED, 0.020),
    }
    assert (start[UNASKED].added.low, start[UNASKED].added.high) == (pytest.approx(0.015), pytest.approx(0.015))
    assert by_way(result(), EXEC)[ENFORCED].added.value == pytest.approx(0.009)


def test_the_goal_is_for_starts_and_execs() -> None:
    found = result(enforced=0.0605)
    verdicts = {(row.part, row.way): row.verdict and str(row.verdict) for row in rows(found)}
    assert verdicts == {
        (START, UNASKED): "met",
        (START, ENFORCED): "not met",
        (START, PRECREATE): "met",
        (START, RECORDED): "met",
        (EXEC, UNASKED): "met",
        (EXEC, ENFORCED): "met",
        (EXEC, PRECREATE): "met",
        (EXEC, RECORDED): "met",
        (WHOLE, UNASKED): None,
        (WHOLE, ENFORCED): None,
        (WHOLE, PRECREATE): None,
        (WHOLE, RECORDED): None,
    }
    assert str(by_way(result(enforced=0.0599), START)[ENFORCED].verdict) == "met"


def test_recording_without_its_base_is_not_judged() -> None:
    found = result()
    for ways in found.samples["runc"].values():
        del ways[HOOKED]
    row = by_way(found, START)[RECORDED]
    assert (row.base, row.verdict) == (PLAIN, None) and row.added.value == pytest.approx(0.060)


def test_a_round_that_one_way_lacks_counts_for_neither() -> None:
    found = result()
    found.samples["runc"][START][UNASKED][3] = 100.0
    del found.samples["runc"][START][PLAIN][3]
    assert by_way(found, START)[UNASKED].added.high == pytest.approx(0.015)
    found.samples["runc"][START][PLAIN] = {}
    assert UNASKED not in by_way(found, START)


def test_tables_have_all_and_fit() -> None:
    found = result()
    found.samples["podman"] = found.samples["runc"]
    found.missing["docker"] = "docker is not installed"
    output = io.StringIO()
    show(found, Console(file=output, width=WIDTH))
    text = output.getvalue()
    assert all(words in text for words in (*TITLES.values(), *PARTS.values(), "podman"))
    assert "not measured: docker: docker is not installed" in text
    assert max(map(len, text.splitlines())) <= WIDTH and "…" not in text
    start, whole, process = sheets(found)
    lines = {(line[0], line[1]): line for line in start.rows}
    assert lines["runc", TITLES[RECORDED]][2:] == (
        *("8", "80.0", "180.0", "hooks", "+20.0 [+20.0, +20.0]", "≤ 40 ms: met"),
    )
    assert lines["runc", TITLES[PLAIN]][5:] == ("", "", "")
    assert {line[7] for line in whole.rows} == {""} and len(process.rows) == 12


def test_json_has_samples_and_figures() -> None:
    found = json.loads(json.dumps(to_json(result())))
    assert found["samples"]["runc"][START][PLAIN]["1"] == pytest.approx(0.220)
    assert [row["way"] for row in found["rows"] if row["part"] == EXEC] == [UNASKED, ENFORCED, PRECREATE, RECORDED]
    assert found["rows"][0]["verdict"]["met"] is True
