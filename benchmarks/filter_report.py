"""The result of benchmarks.filters: figures from samples, the goals beside them, and how they are shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from random import Random
from statistics import median
from typing import Any

from rich.console import Console

from benchmarks import figures
from benchmarks.figures import Estimate, Verdict
from benchmarks.filter_cases import DEFAULTS, TITLES
from benchmarks.filter_makers import TITLES as MAKERS
from benchmarks.filter_makers import Maker
from benchmarks.percall_report import Sheet, printed

WIDTH = 190
BARE = "bare"
#: Calls that are timed: allowed whatever the arguments are, allowed as the arguments are, refused.
KINDS = ("cached", "checked", "denied")

#: Of design: executed instructions of ours, and in units of ours those of the tree and the list; the list's
#: instructions in units of ours; seconds that the kernel takes to load ours.
MOST_EXECUTED, LEAST_TREE, LEAST_LIST = 10.0, 1.7, 50.0
LEAST_SIZE = 8.0
MOST_LOAD = 0.0002


@dataclass(frozen=True)
class Counted:
    """What does not vary: instructions; those executed for calls of each kind and for all, by their weights."""

    instructions: int
    checked: float
    denied: float
    weighted: float


#: ns a call, by round; by kind; by maker, or BARE.
Times = dict[str, dict[str, dict[int, float]]]


@dataclass
class Result:
    """What was measured, by case and maker.

    `times`: ns a call; `loads`: seconds that seccomp(2) takes to load a filter, each time in a new process; `made`:
    seconds that making one takes; `missing`: case → why there are no figures; `wrong`: where filters do not agree.
    """

    machine: dict[str, str]
    seed: int
    counted: dict[str, dict[str, Counted]] = field(default_factory=dict)
    times: dict[str, Times] = field(default_factory=dict)
    loads: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    made: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Goal:
    """A figure of ours beside its goal."""

    case: str
    what: str
    figure: str
    verdict: Verdict


def added(result: Result) -> dict[str, dict[str, dict[str, Estimate]]]:
    """ns that each filter adds to a call: by case, maker and kind; differences within a round."""
    random = Random(result.seed)
    found: dict[str, dict[str, dict[str, Estimate]]] = {}
    for case, times in result.times.items():
        for maker in Maker:
            for kind, samples in times.get(maker, {}).items():
                more = figures.differences(times[BARE][kind], samples)
                if more:
                    estimate = figures.bootstrap([more], random=random)
                    found.setdefault(case, {}).setdefault(maker, {})[kind] = estimate
    return found


def goals(result: Result) -> list[Goal]:
    """Ours beside the goals. Sizes and executed instructions have some for engines' defaults only."""
    random = Random(result.seed)
    found = []
    for case, counted in result.counted.items():
        if case in DEFAULTS:
            found += list(_counted(case, counted))
        if result.loads.get(case, {}).get(Maker.OURS):
            load = figures.bootstrap([result.loads[case][Maker.OURS]], random=random)
            verdict = figures.at_most(load, MOST_LOAD, f"≤ {1e6 * MOST_LOAD:.0f} µs")
            words = f"{1e6 * load.value:.0f} µs [{1e6 * load.low:.0f}, {1e6 * load.high:.0f}]"
            found.append(Goal(case, "loaded by the kernel in", words, verdict))
    return found


def _counted(case: str, counted: Mapping[str, Counted]) -> Iterator[Goal]:
    ours, listed, tree = (counted[maker] for maker in (Maker.OURS, Maker.LIST, Maker.TREE))
    mean = ours.weighted
    verdict = figures.at_most(_exact(mean), MOST_EXECUTED, f"≤ {MOST_EXECUTED:g}")
    yield Goal(case, "executed for a call, weighted", f"{mean:.2f}", verdict)
    for what, ratio, least in (
        ("… the tree's in units of ours", tree.weighted / mean, LEAST_TREE),
        ("… the list's in units of ours", listed.weighted / mean, LEAST_LIST),
        ("instructions, the list's in units of ours", listed.instructions / ours.instructions, LEAST_SIZE),
    ):
        yield Goal(case, what, f"{ratio:.2f}", figures.at_least(_exact(ratio), least, f"≥ {least:g}"))


def _exact(value: float) -> Estimate:
    return Estimate(value, value, value)


def sheets(result: Result) -> list[Sheet]:
    """The tables: each filter, the goals."""
    more = added(result)
    columns = (
        *("policy", "filter", "size", "executed:\nchecked", "\ndenied", "\nweighted"),
        *(f"{'ns added:' if kind == KINDS[0] else ''}\n{kind} [95 %]" for kind in KINDS),
        *("loaded in µs:\nmin, median", "made in ms:\nmin, median"),
    )
    rows = []
    for case, counted in result.counted.items():
        for maker in Maker:
            one = counted[maker]
            times = more.get(case, {}).get(maker, {})
            rows.append(
                (
                    TITLES[case] if maker is Maker.OURS else "",
                    MAKERS[maker],
                    str(one.instructions),
                    *(f"{each:.2f}" for each in (one.checked, one.denied, one.weighted)),
                    *(_ns(times[kind]) if kind in times else "" for kind in KINDS),
                    _least_and_median(result.loads.get(case, {}).get(maker, ()), 1e6, 0),
                    _least_and_median(result.made.get(case, {}).get(maker, ()), 1e3, 1),
                )
            )
    judged = tuple(
        (TITLES[one.case], one.what, one.figure, one.verdict.goal, str(one.verdict)) for one in goals(result)
    )
    return [
        Sheet("filters of the same policies", columns, tuple(rows), frozenset({0, 1})),
        Sheet("goals for ours", ("policy", "what", "figure", "goal", "verdict"), judged, frozenset({0, 1, 3, 4})),
    ]


def notes(result: Result) -> list[str]:
    """What has to be said beside the tables."""
    lines = [
        "size: instructions; executed: of these, for one call; checked: calls whose arguments are tested; denied: "
        "calls that are refused whatever their arguments are; weighted: both, of recorded programs as often as they "
        "were recorded, of engines' defaults (of three ABIs) each tested call as often as all refused ones together",
        "ns added: to getppid (cached), to personality or mprotect (checked), to a call that Linux no longer has "
        "(denied), beside the same loop without a filter in the same round",
        "made in: from the profile to instructions, ours in Python, libseccomp's through pyseccomp",
    ]
    lines += [f"not measured: {TITLES[case]}: {why}" for case, why in result.missing.items()]
    lines += [f"wrong: {each}" for each in result.wrong]
    return [*lines, *(f"warning: {each}" for each in result.warnings)]


def show(result: Result, console: Console) -> None:
    printed(console, result.machine, sheets(result), notes(result))


def to_json(result: Result) -> dict[str, Any]:
    """Samples and figures; see Result."""
    return {
        **asdict(result),
        "added": {
            case: {maker: {kind: asdict(each) for kind, each in kinds.items()} for maker, kinds in makers.items()}
            for case, makers in added(result).items()
        },
        "goals": [asdict(goal) for goal in goals(result)],
    }


def _ns(estimate: Estimate) -> str:
    return f"{estimate.value:+.0f} [{estimate.low:+.0f}, {estimate.high:+.0f}]"


def _least_and_median(seconds: Sequence[float], unit: float, digits: int) -> str:
    return ", ".join(f"{unit * each:.{digits}f}" for each in (min(seconds), median(seconds))) if seconds else ""
