"""The statistics of benchmarks/: paired differences, intervals that repeat, verdicts, what the report makes of them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from random import Random
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from benchmarks import figures, incumbent, report
from benchmarks.figures import Estimate, Verdict, at_least, at_most, bootstrap, differences, percentile, spread
from benchmarks.report import Result

values = st.lists(st.floats(0, 10), min_size=1, max_size=30)


def test_differences_are_within_a_round() -> None:
    # Round 2 was slow for both, and the third has no counterpart.
    base = {1: 1.0, 2: 9.0, 3: 1.0, 4: 1.25}
    variant = {4: 1.5, 2: 9.5, 1: 1.5, 5: 7.0}
    assert differences(base, variant) == [0.5, 0.5, 0.25]
    assert median(differences(base, variant)) == 0.5
    # The difference of the medians would say something else.
    assert median(variant.values()) - median(base.values()) > 3
    assert differences(base, {}) == []


def test_percentile_is_a_value_of_the_sample() -> None:
    assert percentile(range(1, 11), 0.9) == 9
    assert percentile([3.0, 1.0, 2.0], 0.9) == 3.0
    assert percentile([5.0], 0.025) == 5.0
    assert spread([4.0, 1.0, 2.0, 3.0]) == figures.Spread(4, 2.5, 1.0, 4.0)
    for bad in ([], [1.0]):
        with pytest.raises(ValueError, match="no percentile"):
            percentile(bad, 0)


@given(values)
def test_bootstrap_repeats_and_stays_within_the_sample(sample: list[float]) -> None:
    first, again = (bootstrap([sample], random=Random(7), resamples=50) for _ in range(2))
    assert first == again
    assert min(sample) <= first.low <= first.high <= max(sample)
    assert first.value == median(sample)


def test_bootstrap_uses_the_randomness_it_is_given() -> None:
    sample = [float(each) for each in range(30)]
    intervals = {bootstrap([sample], random=Random(seed), resamples=20) for seed in range(10)}
    assert len(intervals) > 1
    assert len({each.value for each in intervals}) == 1


def test_interval_covers_the_median_about_as_often_as_it_says() -> None:
    random = Random(1)
    covered = 0
    for _ in range(100):
        sample = [random.gauss(0, 1) for _ in range(20)]
        found = bootstrap([sample], random=random, resamples=200)
        covered += found.low <= 0 <= found.high
    assert 85 <= covered <= 100


def test_ratio_of_medians() -> None:
    assert bootstrap([[8.0], [2.0]], figures.ratio_of_medians, random=Random(0), resamples=5) == Estimate(4.0, 4.0, 4.0)
    assert figures.ratio_of_medians([[1.0], [0.0]]) == float("inf")
    assert figures.ratio_of_medians([[1.0], [-1.0]]) == float("inf")


@pytest.mark.parametrize(
    ("judge", "estimate", "met", "certain", "words"),
    [
        (at_most, Estimate(50, 40, 60), True, True, "met"),
        (at_most, Estimate(50, 40, 61), True, False, "met (unsure)"),
        (at_most, Estimate(70, 61, 80), False, True, "not met"),
        (at_most, Estimate(70, 60, 80), False, False, "not met (unsure)"),
        (at_least, Estimate(60, 60, 70), True, True, "met"),
        (at_least, Estimate(60, 50, 70), True, False, "met (unsure)"),
        (at_least, Estimate(50, 40, 59), False, True, "not met"),
        (at_least, Estimate(50, 40, 60), False, False, "not met (unsure)"),
    ],
)
def test_verdicts(
    judge: Callable[[Estimate, float, str], Verdict], estimate: Estimate, met: bool, certain: bool, words: str
) -> None:
    verdict = judge(estimate, 60, "goal")
    assert (verdict.met, verdict.certain, str(verdict)) == (met, certain, words)


def test_incumbents_names_are_compared_as_sets() -> None:
    recorded = [frozenset("abc"), frozenset("abd"), frozenset("abc")]
    found = incumbent.compare(recorded, frozenset("acz"))
    assert found == incumbent.Names(3, 3, 3, different=2, in_all=2, lacking=(("c", 1), ("z", 3)))


def result() -> Result:
    rounds = range(1, 6)
    samples = {
        "nothing": {number: 0.150 + number / 1000 for number in rounds},
        "recorded": {number: 0.190 + number / 1000 for number in rounds},
        "incumbent": {1: 2.151, 2: 2.152},
    }
    titles = {"nothing": "no hooks", "recorded": "recorded", "incumbent": "incumbent"}
    return Result(
        titles,
        {"kernel": "6.18"},
        seed=1,
        samples=samples,
        spoke=samples,
        hooks={"prestart": [0.02]},
        truth=12,
        checked=5,
    )


def shown(of: Result) -> str:
    text = io.StringIO()
    report.show(of, Console(file=text, width=report.WIDTH, highlight=False))
    return text.getvalue()


def test_report_says_what_was_found_and_repeats() -> None:
    found = report.findings(result(), result().samples)
    assert found.added["recorded"].value == pytest.approx(0.040)
    assert found.added["incumbent"].value == pytest.approx(2.0)
    assert found.ratio is not None and found.ratio.value == pytest.approx(50)
    assert {key: verdict.met for key, verdict in found.verdicts.items()} == {"recorded": True, "incumbent": True}
    assert shown(result()) == shown(result())
    assert "+40.0" in shown(result()) and "50.0×" in shown(result())
    assert json.loads(json.dumps(report.to_json(result())))["whole_runs"]["verdicts"]["incumbent"]["met"] is True


def test_report_says_what_could_not_be_measured() -> None:
    partial = result()
    del partial.samples["incumbent"]
    partial.missing["incumbent"] = "not installed"
    found = report.findings(partial, partial.samples)
    assert found.ratio is None and found.verdicts.keys() == {"recorded"}
    assert "not measured: incumbent: not installed" in shown(partial)
