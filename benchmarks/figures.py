"""Statistics of paired runs: differences within a round, spreads, bootstrap intervals, verdicts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from random import Random
from statistics import median

RESAMPLES = 4000


@dataclass(frozen=True)
class Spread:
    """How a sample lies: its size, median, smallest value and 90th percentile."""

    count: int
    median: float
    min: float
    p90: float


@dataclass(frozen=True)
class Estimate:
    """A figure with the interval that holds 95 % of its bootstrap resamples."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Verdict:
    """A goal, whether the figure meets it, and whether its whole interval lies on that side."""

    goal: str
    met: bool
    certain: bool

    def __str__(self) -> str:
        word = "met" if self.met else "not met"
        return word if self.certain else f"{word} (unsure)"


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: the smallest value that at least `share` of the sample does not exceed."""
    if not values or not 0 < share <= 1:
        raise ValueError(f"no percentile {share:g} of {len(values)} values")
    # Rounded first: 0.9 × 10 is a hair more than 9 in binary.
    return sorted(values)[ceil(round(share * len(values), 9)) - 1]


def spread(values: Sequence[float]) -> Spread:
    return Spread(len(values), median(values), min(values), percentile(values, 0.9))


def differences(base: Mapping[int, float], variant: Mapping[int, float]) -> list[float]:
    """`variant` less `base` of the same round, for every round that has both, by round.

    What slows the machine for a while slows both runs of a round, so it cancels here and not in the medians.
    """
    return [variant[number] - base[number] for number in sorted(base.keys() & variant.keys())]


def median_of(samples: Sequence[Sequence[float]]) -> float:
    """The median of the only sample."""
    (sample,) = samples
    return median(sample)


def ratio_of_medians(samples: Sequence[Sequence[float]]) -> float:
    """The first sample's median in units of the second's; infinite where the second's is not positive."""
    over, under = map(median, samples)
    return over / under if under > 0 else float("inf")


def bootstrap(
    samples: Sequence[Sequence[float]],
    figure: Callable[[Sequence[Sequence[float]]], float] = median_of,
    *,
    random: Random,
    resamples: int = RESAMPLES,
) -> Estimate:
    """`figure` of the samples, with its 95 % percentile interval; each sample is resampled by itself."""
    drawn = sorted(figure([random.choices(each, k=len(each)) for each in samples]) for _ in range(resamples))
    return Estimate(figure(samples), percentile(drawn, 0.025), percentile(drawn, 0.975))


def at_most(estimate: Estimate, limit: float, goal: str) -> Verdict:
    met = estimate.value <= limit
    return Verdict(goal, met, (estimate.high <= limit) if met else (estimate.low > limit))


def at_least(estimate: Estimate, limit: float, goal: str) -> Verdict:
    met = estimate.value >= limit
    return Verdict(goal, met, (estimate.low >= limit) if met else (estimate.high < limit))
