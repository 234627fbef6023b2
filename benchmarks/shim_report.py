"""The result of benchmarks.shim: figures from samples, the goal beside them, and how they are shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

from rich.console import Console

from benchmarks import figures
from benchmarks.figures import Estimate, Verdict
from benchmarks.percall_report import Sheet, printed

WIDTH = 140
PLAIN, UNASKED, ENFORCED, PRECREATE = "plain", "unasked", "enforced", "precreate"
HOOKED, RECORDED = "hooked", "recorded"
TITLES = {
    PLAIN: "the runtime itself",
    UNASKED: "scmm-runc, asked for nothing",
    ENFORCED: "scmm-runc, enforcing",
    PRECREATE: "the runtime, by our precreate hook",
    HOOKED: "the runtime, with our hook pair",
    RECORDED: "scmm-runc, recording",
}
#: What a way is compared with: recording has its own cost, which is not the shim's.
BASES = {UNASKED: PLAIN, ENFORCED: PLAIN, PRECREATE: PLAIN, RECORDED: HOOKED}
START, WHOLE, EXEC = "start", "whole run", "exec"
PARTS = {
    START: "until the program's first output",
    WHOLE: "until the container is removed",
    EXEC: "one more process, until its first output",
}
#: Seconds that the shim may add to the start of a container and to an exec, in the median.
MOST_ADDED = 0.040


@dataclass
class Result:
    """What was measured.

    `samples`: host (a runtime or an engine) → part → way → round → seconds; `missing`: host → why there are no figures;
    `checked`: starts whose product was looked at.
    """

    machine: dict[str, str]
    seed: int
    samples: dict[str, dict[str, dict[str, dict[int, float]]]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    checked: int = 0

    def add(self, host: str, part: str, way: str, number: int, seconds: float) -> None:
        self.samples.setdefault(host, {}).setdefault(part, {}).setdefault(way, {})[number] = seconds


@dataclass(frozen=True)
class Row:
    """What a way adds to one part, beside its base (a way); the goal's verdict, where there is a goal for that part."""

    host: str
    part: str
    way: str
    base: str
    added: Estimate
    verdict: Verdict | None


def rows(result: Result) -> list[Row]:
    """All that can be compared. A way that is measured without its base is compared with the runtime itself."""
    return list(_rows(result))


def _rows(result: Result) -> Iterator[Row]:
    random = Random(result.seed)
    for host, parts in result.samples.items():
        for part, ways in parts.items():
            for way, base in BASES.items():
                base, own = (base, True) if base in ways else (PLAIN, False)
                more = figures.differences(ways.get(base, {}), ways.get(way, {}))
                if not more:
                    continue
                added = figures.bootstrap([more], random=random)
                # Without its base, the recorder's cost is in there, too.
                judged = part != WHOLE and own
                goal = figures.at_most(added, MOST_ADDED, f"≤ {1000 * MOST_ADDED:.0f} ms") if judged else None
                yield Row(host, part, way, base, added, goal)


def sheets(result: Result) -> list[Sheet]:
    """A table for each part."""
    found = {(row.host, row.part, row.way): row for row in rows(result)}
    made = []
    for part, title in PARTS.items():
        lines = []
        for host, parts in result.samples.items():
            for way, words in TITLES.items():
                if way not in parts.get(part, {}):
                    continue
                spread = figures.spread(list(parts[part][way].values()))
                line = [host, words, str(spread.count), f"{1e3 * spread.min:.1f}", f"{1e3 * spread.median:.1f}"]
                row = found.get((host, part, way))
                if row is None:
                    line += ["", "", ""]
                else:
                    verdict = f"{row.verdict.goal}: {row.verdict}" if row.verdict else ""
                    line += ["hooks" if row.base == HOOKED else "plain", _ms(row.added), verdict]
                lines.append(tuple(line))
        columns = ("over", "started by", "rounds", "min ms", "median ms", "beside", "added ms [95 %]", "goal")
        if lines:
            made.append(Sheet(f"{part}: {title}", columns, tuple(lines), frozenset({0, 1, 5, 7})))
    return made


def show(result: Result, console: Console) -> None:
    lines = [
        "added: median of the differences within a round, beside the same without the shim; the launcher's is in it",
        f"products: {result.checked} runs looked at: what is enforced refuses, what is recorded has a capture",
        *(f"not measured: {host}: {why}" for host, why in result.missing.items()),
        *(f"warning: {each}" for each in result.warnings),
    ]
    printed(console, result.machine, sheets(result), lines)


def to_json(result: Result) -> Mapping[str, Any]:
    """Samples and figures; see Result and Row."""
    return {**asdict(result), "rows": [asdict(row) for row in rows(result)]}


def _ms(estimate: Estimate) -> str:
    return f"{1e3 * estimate.value:+.1f} [{1e3 * estimate.low:+.1f}, {1e3 * estimate.high:+.1f}]"
