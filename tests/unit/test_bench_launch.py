"""The arithmetic of benchmarks.launch: what starts add, the goals, and that what is missing is said."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from benchmarks.launch_report import (
    BARE,
    BWRAP,
    FIREJAIL,
    OURS,
    TITLES,
    WIDTH,
    Result,
    added,
    differences,
    goals,
    sheets,
    show,
    to_json,
)

#: Rounds of a machine that is slower in every second one.
SLOW = {number: 0.004 * (number % 2) for number in range(1, 9)}


def result(ours: float = 0.0003, bwrap: float | None = 0.0015, size: int = 50_000) -> Result:
    """A bare start takes 1 ms."""
    found = Result({"kernel": "test"}, seed=1, size=size)
    extra = {BARE: 0.0, OURS: ours, **({} if bwrap is None else {BWRAP: bwrap})}
    found.samples = {way: {number: 0.001 + more + slow for number, slow in SLOW.items()} for way, more in extra.items()}
    return found


def verdicts(found: Result) -> dict[str, str]:
    return {goal.what: str(goal.verdict) for goal in goals(found)}


def test_rounds_are_compared_with_themselves() -> None:
    """What slows a whole round changes nothing."""
    assert differences(result())[OURS] == pytest.approx([0.0003] * 8)
    more = added(result())
    assert more[OURS].value == pytest.approx(0.0003)
    assert (more[OURS].low, more[OURS].high) == (pytest.approx(0.0003), pytest.approx(0.0003))
    assert more[BWRAP].value == pytest.approx(0.0015)
    assert BARE not in more


def test_a_round_that_one_way_lacks_counts_for_neither() -> None:
    found = result()
    del found.samples[BARE][3]
    assert len(differences(found)[OURS]) == 7
    found.samples[FIREJAIL] = {3: 1.0}
    assert FIREJAIL not in differences(found)


def test_goals() -> None:
    names = ("added", "added, in units of bwrap's", "bytes of the program")
    assert verdicts(result()) == dict.fromkeys(names, "met")
    assert verdicts(result(ours=0.0006, bwrap=0.003, size=65_536)) == {
        names[0]: "not met",
        names[1]: "met",
        names[2]: "met",
    }
    assert verdicts(result(ours=0.0004, bwrap=0.001)) == {names[0]: "met", names[1]: "not met", names[2]: "met"}
    assert verdicts(result(size=65_537))[names[2]] == "not met"
    assert {goal.what: goal.figure for goal in goals(result())}[names[1]] == "0.20 [0.20, 0.20]"


def test_what_varies_around_a_goal_is_unsure() -> None:
    found = result()
    found.samples[OURS] = {number: found.samples[BARE][number] + 0.0001 * number for number in SLOW}
    assert verdicts(found)["added"] == "met (unsure)"


def test_without_bwrap_there_is_no_ratio_and_that_is_said() -> None:
    found = result(bwrap=None)
    found.missing[BWRAP] = "bwrap is not installed"
    assert list(verdicts(found)) == ["added", "bytes of the program"]
    output = io.StringIO()
    show(found, Console(file=output, width=WIDTH))
    assert f"not measured: {TITLES[BWRAP]}: bwrap is not installed" in output.getvalue()
    assert not any(TITLES[BWRAP] in row for row in sheets(found)[0].rows)


def test_tables_have_every_way_and_fit() -> None:
    found = result()
    for way in TITLES:
        found.samples.setdefault(way, {number: 0.025 + slow for number, slow in SLOW.items()})
        found.instructions[way] = 182
    output = io.StringIO()
    show(found, Console(file=output, width=WIDTH))
    text = output.getvalue()
    assert all(title in text for title in TITLES.values())
    assert max(map(len, text.splitlines())) <= WIDTH and "…" not in text
    rows = {row[0]: row for row in sheets(found)[0].rows}
    assert rows[TITLES[OURS]][-2:] == ("+0.30 [+0.30, +0.30]", "1.0")
    assert rows[TITLES[BWRAP]][-2:] == ("+1.50 [+1.50, +1.50]", "5.0")
    assert rows[TITLES[BARE]][-2:] == ("", "")


def test_json_has_samples_figures_and_goals() -> None:
    found = json.loads(json.dumps(to_json(result())))
    assert found["samples"][OURS]["1"] == pytest.approx(0.0053)
    assert found["added"][OURS]["value"] == pytest.approx(0.0003)
    assert [goal["verdict"]["met"] for goal in found["goals"]] == [True, True, True]
