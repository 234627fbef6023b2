"""The result of benchmarks.monitor: figures from samples, the goals beside them, and how they are shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from random import Random
from statistics import median
from typing import Any

from rich.console import Console

from benchmarks import figures
from benchmarks.figures import Estimate, Verdict
from benchmarks.percall_report import Sheet, printed

WIDTH = 150
LEAST, OURS, LOGGED, SANDLOCK = "least", "ours", "logged", "sandlock"
TITLES = {
    LEAST: "a supervisor in C that decides nothing",
    OURS: "scmm-monitor",
    LOGGED: "scmm-monitor with --log",
    SANDLOCK: "sandlock, a handler in Python",
}
ALLOW, DENY, RETURN, EXECUTABLE, BEHALF = "allow", "deny", "return", "executable", "behalf"
KINDS = {
    ALLOW: "allowed by number",
    DENY: "denied by number",
    RETURN: "a value returned by number",
    EXECUTABLE: "allowed by the executable",
    BEHALF: "openat by path, made on behalf",
}
#: How calls are made: by one thread that shares a processor with whoever answers, by one thread, by eight.
TOGETHER, APART, MANY = "together", "apart", "many"
HOWS = {
    TOGETHER: "one thread asks, and all are on one processor",
    APART: "one thread asks, and the scheduler has its way",
    MANY: "eight threads ask, and the scheduler has its way",
}
THREADS = {TOGETHER: 1, APART: 1, MANY: 8}
#: What ours may cost in the median, in units of sandlock's, which looks at less, in the same round.
MOST_RATIO = 1.0
#: ns of one decision by number, all on one processor; a call that is made on behalf.
MOST_NS = {ALLOW: 25_000.0, DENY: 25_000.0, RETURN: 25_000.0, EXECUTABLE: 50_000.0, BEHALF: 5_000_000.0}
#: By how many bytes a monitor's resident memory may grow in a million decisions.
MOST_GROWTH = 1 << 20


@dataclass(frozen=True)
class Slice:
    """Calls of one kind: ns in the median, the 99th percentile; calls a second, of all threads together."""

    median: float
    p99: float
    rate: float


@dataclass(frozen=True)
class Memory:
    """Resident bytes before and after so many decisions, which came after as many as it takes to be warm."""

    decisions: int
    before: int
    after: int

    @property
    def growth(self) -> int:
        return self.after - self.before


@dataclass
class Result:
    """What was measured.

    `slices`: how → kind → way → round → slice; `memory`: way → how it grew; `missing`: way → why there are no figures;
    `checked`: slices whose answers were all those that were to be expected.
    """

    machine: dict[str, str]
    seed: int
    slices: dict[str, dict[str, dict[str, dict[int, Slice]]]] = field(default_factory=dict)
    memory: dict[str, Memory] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    checked: int = 0

    def add(self, how: str, kind: str, way: str, number: int, slice_: Slice) -> None:
        self.slices.setdefault(how, {}).setdefault(kind, {}).setdefault(way, {})[number] = slice_


@dataclass(frozen=True)
class Row:
    """A way to answer calls of a kind: medians over rounds; `ratio`: its median call in units of the least's."""

    how: str
    kind: str
    way: str
    rounds: int
    median: float
    p99: float
    rate: float
    ratio: Estimate | None


@dataclass(frozen=True)
class Goal:
    """A figure of ours beside its goal."""

    how: str
    what: str
    figure: str
    verdict: Verdict


def rows(result: Result) -> list[Row]:
    return list(_rows(result))


def _rows(result: Result) -> Iterator[Row]:
    random = Random(result.seed)
    for how, kinds in result.slices.items():
        for kind, ways in kinds.items():
            for way in (way for way in TITLES if way in ways):
                found = ways[way]
                ratios = _ratios(ways.get(LEAST, {}), found) if way != LEAST else []
                yield Row(
                    how,
                    kind,
                    way,
                    len(found),
                    median=median(one.median for one in found.values()),
                    p99=median(one.p99 for one in found.values()),
                    rate=median(one.rate for one in found.values()),
                    ratio=figures.bootstrap([ratios], random=random) if ratios else None,
                )


def _ratios(base: Mapping[int, Slice], variant: Mapping[int, Slice]) -> list[float]:
    """Medians of `variant` in units of those of `base` in the same round."""
    return [variant[number].median / base[number].median for number in sorted(base.keys() & variant.keys())]


def goals(result: Result) -> list[Goal]:
    return [*_speed(result), *_memory(result)]


def _speed(result: Result) -> Iterator[Goal]:
    random = Random(result.seed)
    together = result.slices.get(TOGETHER, {})
    for kind in KINDS:
        ways = together.get(kind, {})
        if OURS in ways:
            found = figures.bootstrap([[one.median for one in ways[OURS].values()]], random=random)
            most = MOST_NS[kind]
            verdict = figures.at_most(found, most, f"≤ {most / 1e3:.0f} µs")
            words = f"{found.value / 1e3:.1f} µs [{found.low / 1e3:.1f}, {found.high / 1e3:.1f}]"
            yield Goal(TOGETHER, f"{KINDS[kind]}, median", words, verdict)
    for how, kinds in result.slices.items():
        for kind in KINDS:
            ways = kinds.get(kind, {})
            # sandlock has nothing to compare with where the call is made on behalf: its handlers let it go on.
            if kind != BEHALF and OURS in ways and SANDLOCK in ways:
                ratio = figures.bootstrap([_ratios(ways[SANDLOCK], ways[OURS])], random=random)
                words = f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"
                verdict = figures.at_most(ratio, MOST_RATIO, f"≤ {MOST_RATIO:g}")
                yield Goal(how, f"{KINDS[kind]}, in units of sandlock's", words, verdict)


def _memory(result: Result) -> Iterator[Goal]:
    for way, memory in result.memory.items():
        growth = float(memory.growth)
        allowed = MOST_GROWTH * max(1.0, memory.decisions / 1e6)
        verdict = figures.at_most(Estimate(growth, growth, growth), allowed, f"≤ {allowed / 1024:.0f} KiB")
        words = f"{growth / 1024:+.0f} KiB ({memory.before / 1024:.0f} KiB before)"
        yield Goal("", f"{TITLES[way]}: memory after {memory.decisions} decisions", words, verdict)


def sheets(result: Result) -> list[Sheet]:
    """A table for each way to ask, and the goals."""
    found = rows(result)
    columns = ("decision", "by", "rounds", "median µs", "p99 µs", "decisions/s", "× least [95 %]")
    made = []
    for how, title in HOWS.items():
        lines = []
        for kind, words in KINDS.items():
            here = [row for row in found if (row.how, row.kind) == (how, kind)]
            lines += [
                (
                    words if row is here[0] else "",
                    TITLES[row.way],
                    str(row.rounds),
                    f"{row.median / 1e3:.1f}",
                    f"{row.p99 / 1e3:.1f}",
                    f"{row.rate:.0f}",
                    "" if row.ratio is None else f"{row.ratio.value:.1f} [{row.ratio.low:.1f}, {row.ratio.high:.1f}]",
                )
                for row in here
            ]
        if lines:
            made.append(Sheet(title, columns, tuple(lines), frozenset({0, 1})))
    judged = tuple((one.how, one.what, one.figure, one.verdict.goal, str(one.verdict)) for one in goals(result))
    if judged:
        made.append(Sheet("goals", ("asked", "what", "figure", "goal", "verdict"), judged, frozenset({0, 1, 3, 4})))
    return made


def notes(result: Result) -> list[str]:
    """What has to be said beside the tables."""
    lines = [
        "median and p99: of one call as the program sees it, in each slice; here medians over rounds",
        "× least: a call's median in units of the C supervisor's in the same round, which looks at nothing, and opens "
        "files as itself: without the program's root, user, groups and capabilities",
        f"{TITLES[SANDLOCK]}: a synchronous Handler, run by its own threads; its openat is looked at and let go on, so "
        "that the program can change the name after it was looked at; it is not asked for an executable, which it has "
        "no way to tell",
        f"products: {result.checked} slices, each with the answers that the rules say",
    ]
    lines += [f"not measured: {TITLES[way]}: {why}" for way, why in result.missing.items()]
    return [*lines, *(f"warning: {each}" for each in result.warnings)]


def show(result: Result, console: Console) -> None:
    printed(console, result.machine, sheets(result), notes(result))


def to_json(result: Result) -> Mapping[str, Any]:
    """Samples and figures; see Result, Row and Goal."""
    return {
        **asdict(result),
        "rows": [asdict(row) for row in rows(result)],
        "goals": [asdict(goal) for goal in goals(result)],
    }
