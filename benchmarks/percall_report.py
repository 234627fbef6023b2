"""The result of benchmarks.percall: figures from samples, the goals beside them, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from random import Random
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import applications, figures
from benchmarks.figures import Estimate, Verdict
from benchmarks.slices import Samples

WIDTH = 170
TITLES = {
    "empty": "empty program on sys_enter",
    "both": "empty on sys_enter and sys_exit",
    "ours": "recorded by us, everything on",
    "bystander": "… not recorded, meanwhile",
    "bpftrace": "bpftrace, count by call",
    "ring": "ring buffer event for each call",
    "perf": "perf trace -s",
    "strace": "strace -f -o FILE",
}
#: What ours may cost at most, in units of an empty program's cost.
MOST = {"empty": 1.6, "both": 1.6}
#: What others must cost at least, in units of ours.
LEAST = {"bpftrace": 2.5, "ring": 12.0, "perf": 50.0, "strace": 150.0}
CALLS = {
    "call:open": "openat and close",
    "call:stat": "newfstatat",
    "call:read": "read of 1 byte, /dev/zero",
    "call:mmap": "mmap and munmap of a page",
    "call:connect": "connect, refused, loopback",
}


@dataclass
class Result:
    """What was measured: ns a round of calls (`samples`), requests/s of servers that are recorded and are not.

    `counted`: by tracer, calls it saw and calls it lost; `missing`: key → why there are no figures; `failed`: some of
    these should have had figures; `skipped`: samples not taken, as something else watched system calls each time;
    `busy`: the share of the processors that others used, by round.
    """

    titles: Mapping[str, str]
    machine: dict[str, str]
    seed: int
    samples: Samples = field(default_factory=Samples)
    plain: dict[str, dict[int, float]] = field(default_factory=dict)
    recorded: dict[str, dict[int, float]] = field(default_factory=dict)
    counted: dict[str, tuple[int, int]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    failed: bool = False
    skipped: int = 0
    busy: list[float] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def fail(self, keys: Iterable[str], error: Exception) -> None:
        """Note that these were not measured as they should be; what was measured of them does not count."""
        self.failed = True
        for key in keys:
            self.missing[key] = " ".join(str(error).split())[:500]
            for each in (self.samples.bare, self.samples.traced, self.plain, self.recorded):
                each.pop(key, None)


@dataclass(frozen=True)
class Findings:
    """Figures made of a result.

    added: ns that watching adds to a round, by row; ratios: ours in units of an empty program's (MOST) or others' in
    units of ours (LEAST); slower: how many times as long a round takes; rates: recorded servers' rate in units of
    the others'.
    """

    added: Mapping[str, Estimate]
    ratios: Mapping[str, Estimate]
    verdicts: Mapping[str, Verdict]
    slower: Mapping[str, Estimate]
    rates: Mapping[str, Estimate]


def findings(result: Result) -> Findings:
    random = Random(result.seed)
    bare, traced = result.samples.bare, result.samples.traced
    more = {key: figures.differences(bare[key], traced[key]) for key in (*TITLES, *CALLS) if key in traced}
    added = {key: figures.bootstrap([values], random=random) for key, values in more.items()}
    ratios, verdicts = {}, {}
    for key in (*MOST, *LEAST):
        if key not in more or "ours" not in more:
            continue
        pair = [more["ours"], more[key]] if key in MOST else [more[key], more["ours"]]
        ratios[key] = found = figures.bootstrap(pair, figures.ratio_of_medians, random=random)
        verdicts[key] = (
            figures.at_most(found, MOST[key], f"≤ {MOST[key]:g}×")
            if key in MOST
            else figures.at_least(found, LEAST[key], f"≤ 1/{LEAST[key]:g}")
        )
    slower = {key: figures.bootstrap([_quotients(bare[key], traced[key])], random=random) for key in more}
    rates = {
        key: figures.bootstrap([_quotients(result.plain[key], each)], random=random)
        for key, each in result.recorded.items()
    }
    return Findings(added, ratios, verdicts, slower, rates)


def _quotients(base: Mapping[int, float], variant: Mapping[int, float]) -> list[float]:
    """`variant` in units of `base` of the same round, for every round that has both."""
    return [variant[number] / base[number] for number in sorted(base.keys() & variant.keys())]


@dataclass(frozen=True)
class Sheet:
    """A table to be shown. The columns of words (`words`) are on the left, the others are numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: frozenset[int] = frozenset({0})

    def table(self) -> Table:
        found = Table(title=self.title, title_justify="left")
        for number, column in enumerate(self.columns):
            found.add_column(column, justify="left" if number in self.words else "right", no_wrap=True)
        for row in self.rows:
            found.add_row(*row)
        return found


def sheets(result: Result, found: Findings) -> list[Sheet]:
    """The tables: one getppid under each tracer, other calls, servers."""
    times = ("rounds", "bare ns", "watched ns", "added ns [95 %]")
    calls = Sheet(
        "one getppid",
        ("watched by", *times, "ours is [95 %]", "goal", "verdict", "lost"),
        tuple(_tracer(result, found, key) for key in result.titles),
        frozenset({0, 6, 7}),
    )
    others = Sheet(
        "other calls, recorded by us",
        ("one round of", *times, "× bare [95 %]"),
        tuple(_call(result, found, key) for key in CALLS),
    )
    servers = Sheet(
        "servers under load, in podman over runc",
        ("server", "rounds", "not recorded /s", "recorded /s", "change [95 %]"),
        tuple(_application(result, found, key) for key in applications.TITLES),
    )
    return [calls, others, servers]


def _tracer(result: Result, found: Findings, key: str) -> tuple[str, ...]:
    if key not in found.added:
        return (result.titles[key], "0", *[""] * 5, "not measured", "")
    ratio, verdict = found.ratios.get(key), found.verdicts.get(key)
    unit = "{}×" if key in MOST else "1/{}"
    compared = _estimate(ratio, lambda each: unit.format(f"{each:.2f}")) if ratio else ""
    words = (verdict.goal, str(verdict)) if verdict else ("", "")
    seen, lost = result.counted.get(key, (0, 0))
    share = f"{lost / (seen + lost):.2%}" if seen + lost else ""
    return (result.titles[key], *_times(result, found, key), compared, *words, share)


def _call(result: Result, found: Findings, key: str) -> tuple[str, ...]:
    if key not in found.added:
        return (CALLS[key], "0", "", "", "not measured", "")
    slower = _estimate(found.slower[key], lambda each: f"{each:.2f}")
    return (CALLS[key], *_times(result, found, key), slower)


def _times(result: Result, found: Findings, key: str) -> tuple[str, str, str, str]:
    bare, traced = (list(each[key].values()) for each in (result.samples.bare, result.samples.traced))
    return (
        str(len(traced)),
        _ns(median(bare)),
        _ns(median(traced)),
        _estimate(found.added[key], lambda ns: _ns(ns, "+")),
    )


def _application(result: Result, found: Findings, key: str) -> tuple[str, ...]:
    title = applications.TITLES[key]
    if key not in found.rates:
        return (title, "0", "", "", "not measured")
    plain, recorded, rate = result.plain[key], result.recorded[key], found.rates[key]
    middle = (f"{median(each.values()):,.0f}" for each in (plain, recorded))
    return (title, str(len(recorded)), *middle, _estimate(rate, lambda each: f"{100 * (each - 1):+.1f} %"))


def notes(result: Result) -> list[str]:
    """What has to be said beside the tables."""
    titles = {**result.titles, **applications.TITLES}
    lines = [
        "added: what watching adds to the same loop in the same round, bare before and after; ours is: what ours adds, "
        "in units of what it adds; lost: calls it did not see"
    ]
    lines += [f"not measured: {titles[key]}: {why}" for key, why in result.missing.items()]
    if result.samples.disturbed:
        lines.append(
            f"warning: {len(result.samples.disturbed)} samples were disturbed and taken again, {result.skipped} left "
            f"out; the last: {result.samples.disturbed[-1]}"
        )
    return [*lines, *(f"warning: {each}" for each in result.warnings)]


def printed(console: Console, machine: Mapping[str, object], sheets: Iterable[Sheet], notes: Iterable[str]) -> None:
    """Print a report: on which machine it was measured, its tables, and what is to be said of them."""
    console.print("; ".join(f"{key} {value}" for key, value in machine.items()), soft_wrap=True)
    for sheet in sheets:
        console.print(sheet.table())
    for line in notes:
        console.print(line, soft_wrap=True, markup=False)


def show(result: Result, console: Console) -> None:
    printed(console, result.machine, sheets(result, findings(result)), notes(result))


def to_markdown(result: Result) -> str:
    """The same as `show`, as Markdown."""
    lines = ["; ".join(f"{key} {value}" for key, value in result.machine.items()), ""]
    for sheet in sheets(result, findings(result)):
        marks = [":--" if number in sheet.words else "--:" for number in range(len(sheet.columns))]
        lines += [f"## {sheet.title}", "", _line(sheet.columns), _line(marks), *map(_line, sheet.rows), ""]
    return "\n".join([*lines, *(f"- {_plain(line)}" for line in notes(result))]) + "\n"


def to_json(result: Result) -> dict[str, Any]:
    found = findings(result)
    estimates = ("added", "ratios", "slower", "rates")
    return {
        **asdict(result),
        **{name: {key: _json(each) for key, each in getattr(found, name).items()} for name in estimates},
        "verdicts": {key: asdict(each) for key, each in found.verdicts.items()},
    }


def _json(estimate: Estimate) -> dict[str, float | None]:
    # JSON has no infinity, which is a ratio's upper end where what it is a ratio to may have cost nothing.
    return {key: each if isfinite(each) else None for key, each in asdict(estimate).items()}


def _estimate(estimate: Estimate, form: Callable[[float], str]) -> str:
    return f"{form(estimate.value)} [{form(estimate.low)}, {form(estimate.high)}]"


def _ns(nanoseconds: float, sign: str = "") -> str:
    return f"{nanoseconds:{sign},.{1 if abs(nanoseconds) < 1000 else 0}f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_plain, cells))} |"


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("@", "&#64;")
