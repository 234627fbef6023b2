"""What benchmarks/watch makes of its samples: what is added, lost and added to starts, beside the goals."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from benchmarks import watch_report, watch_ways
from benchmarks.slices import Samples
from benchmarks.watch_report import BYSTANDER, EMPTY, MOST, MOST_LOSS, SERVERS, TITLES, Result, findings, lost

ROUNDS = range(1, 11)


def result(*, empty: float = 30, more: float = 40, kept: float = 0.995, starts: float = 0.1) -> Result:
    """Every call took 150 ns and a little more in each round, and so much on top of that; servers kept this share."""
    measured = Samples()
    for key in TITLES:
        measured.bare[key] = {number: 150.0 + number for number in ROUNDS}
        measured.traced[key] = {number: 150.0 + number + (empty if key == EMPTY else more) for number in ROUNDS}
    plain = {key: {number: 1000.0 * number for number in ROUNDS} for key in SERVERS}
    watched = {key: {number: rate * kept for number, rate in rates.items()} for key, rates in plain.items()}
    times = {"plain": dict.fromkeys(ROUNDS, 0.001), "watched": dict.fromkeys(ROUNDS, 0.001 + starts)}
    return Result({"kernel": "6.18"}, 1, measured, plain, watched, times if starts else {})


def shown(of: Result) -> str:
    text = io.StringIO()
    watch_report.show(of, Console(file=text, width=watch_report.WIDTH, highlight=False))
    return text.getvalue()


def test_goals_are_judged_by_the_figures() -> None:
    found = findings(result())
    assert found.added[EMPTY].value == pytest.approx(30)
    assert {key: found.ratios[key].value for key in found.ratios} == pytest.approx(
        dict.fromkeys([*watch_ways.TITLES, BYSTANDER], 40 / 30)
    )
    assert {key: each.value for key, each in found.losses.items()} == pytest.approx(dict.fromkeys(SERVERS, 0.005))
    assert found.started is not None and found.started.value == pytest.approx(0.1)
    assert all(verdict.met and verdict.certain for verdict in found.verdicts.values()) and len(found.verdicts) == 8


def test_a_hair_above_the_goal_is_not_met() -> None:
    assert findings(result(more=30 * MOST)).verdicts["refined"].met
    assert not findings(result(more=30 * MOST + 0.01)).verdicts["refined"].met
    assert not findings(result(kept=1 - MOST_LOSS - 1e-6)).verdicts["nginx"].met
    assert "not met" in shown(result(more=50)) and "not met" not in shown(result())


def test_losses_are_within_a_round() -> None:
    # The second round was slow for both; the third has no counterpart.
    assert lost({1: 100.0, 2: 10.0, 3: 100.0}, {2: 9.0, 1: 100.0}) == pytest.approx([0.0, 0.1])
    assert lost({1: 100.0}, {1: 101.0}) == pytest.approx([-0.01])


def test_what_was_not_measured_is_told() -> None:
    some = result(starts=0)
    for each in (some.plain, some.watched):
        del each["nginx"]
    del some.samples.bare["deep"], some.samples.traced["deep"]
    some.missing["nginx"] = "not installed: wrk"
    some.samples.disturbed.append("watched: others were attached")
    text = shown(some)
    assert text.count("not measured") == 6 and "not installed: wrk" in text and "taken again" in text
    assert "scmm-watch adds" not in text and "scmm-watch adds 100.0 [100.0, 100.0] ms" in shown(result())


def test_figures_are_written_as_json() -> None:
    made = json.loads(json.dumps(watch_report.to_json(result(empty=0))))
    assert made["ratios"]["plain"]["value"] is None and made["added"]["plain"]["value"] == pytest.approx(40)
    assert made["losses"]["redis SET"]["value"] == pytest.approx(0.005) and made["seed"] == 1
