"""The result of benchmarks.launch: figures from samples, the goals beside them, and how they are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

from rich.console import Console

from benchmarks import figures
from benchmarks.figures import Estimate, Verdict
from benchmarks.percall_report import Sheet, printed

WIDTH = 140
BARE, OURS, THREE, BWRAP, ALONE, FIREJAIL = "bare", "ours", "three", "bwrap", "alone", "firejail"
TITLES = {
    BARE: "/bin/true, bare",
    OURS: "scmm-enforce: its own calls, 10 file rules",
    THREE: "scmm-enforce: Docker's default of three ABIs, 10 file rules",
    BWRAP: "bwrap: a mount namespace",
    ALONE: "bwrap: all namespaces, /proc, /dev",
    FIREJAIL: "firejail without a profile",
}

#: Of design: seconds that ours adds, and in units of what bwrap adds; bytes of the program.
MOST_ADDED, MOST_OF_BWRAP, MOST_BYTES = 0.0005, 1 / 3, 64 << 10


@dataclass
class Result:
    """What was measured.

    `samples`: way → round → seconds for one start; `size`: bytes of the launcher; `instructions`: way → length of its
    filter; `missing`: way → why there are no figures.
    """

    machine: dict[str, str]
    seed: int
    size: int = 0
    samples: dict[str, dict[int, float]] = field(default_factory=dict)
    instructions: dict[str, int] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Goal:
    """A figure of ours beside its goal."""

    what: str
    figure: str
    verdict: Verdict


def differences(result: Result) -> dict[str, list[float]]:
    """Seconds that each way adds to a bare start of the same round."""
    bare = result.samples.get(BARE, {})
    found = {way: figures.differences(bare, samples) for way, samples in result.samples.items() if way != BARE}
    return {way: more for way, more in found.items() if more}


def added(result: Result) -> dict[str, Estimate]:
    """The median of these, with its interval."""
    random = Random(result.seed)
    return {way: figures.bootstrap([more], random=random) for way, more in differences(result).items()}


def goals(result: Result) -> list[Goal]:
    """Ours beside the goals; one whose figure is missing is not there."""
    more, each = added(result), differences(result)
    found = []
    if OURS in more:
        one = more[OURS]
        found.append(Goal("added", _ms(one), figures.at_most(one, MOST_ADDED, f"≤ {1e3 * MOST_ADDED:g} ms")))
        if BWRAP in more:
            samples = [each[OURS], each[BWRAP]]
            share = figures.bootstrap(samples, figures.ratio_of_medians, random=Random(result.seed))
            words = f"{share.value:.2f} [{share.low:.2f}, {share.high:.2f}]"
            found.append(Goal("added, in units of bwrap's", words, figures.at_most(share, MOST_OF_BWRAP, "≤ 1/3")))
    size = Estimate(result.size, result.size, result.size)
    found.append(Goal("bytes of the program", str(result.size), figures.at_most(size, MOST_BYTES, f"≤ {MOST_BYTES}")))
    return found


def sheets(result: Result) -> list[Sheet]:
    """The tables: each way, the goals."""
    more = added(result)
    rows = []
    for way, title in TITLES.items():
        if way not in result.samples:
            continue
        whole = figures.spread(list(result.samples[way].values()))
        extra = (
            (_ms(more[way]), f"{more[way].value / more[OURS].value:.1f}") if way in more and OURS in more else ("", "")
        )
        size = str(result.instructions.get(way, ""))
        rows.append((title, size, str(whole.count), f"{1e3 * whole.min:.2f}", f"{1e3 * whole.median:.2f}", *extra))
    columns = ("started by", "filter", "rounds", "min ms", "median ms", "added ms [95 %]", "× ours")
    judged = tuple((one.what, one.figure, one.verdict.goal, str(one.verdict)) for one in goals(result))
    return [
        Sheet("start and end of one program", columns, tuple(rows)),
        Sheet(
            "goals for ours, with 10 file rules", ("what", "figure", "goal", "verdict"), judged, frozenset({0, 2, 3})
        ),
    ]


def show(result: Result, console: Console) -> None:
    lines = ["added: beside a bare start in the same round; filter: instructions"]
    lines += [f"not measured: {TITLES[way]}: {why}" for way, why in result.missing.items()]
    lines += [f"warning: {each}" for each in result.warnings]
    printed(console, result.machine, sheets(result), lines)


def to_json(result: Result) -> Mapping[str, Any]:
    """Samples and figures; see Result."""
    more = {way: asdict(estimate) for way, estimate in added(result).items()}
    return {**asdict(result), "added": more, "goals": [asdict(goal) for goal in goals(result)]}


def _ms(estimate: Estimate) -> str:
    return f"{1e3 * estimate.value:+.2f} [{1e3 * estimate.low:+.2f}, {1e3 * estimate.high:+.2f}]"
