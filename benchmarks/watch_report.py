"""The result of benchmarks.watch: figures from samples, the goals beside them, and how they are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from random import Random
from statistics import median
from typing import Any

from rich.console import Console

from benchmarks import figures, watch_ways
from benchmarks.figures import Estimate, Verdict
from benchmarks.percall_report import Sheet, printed
from benchmarks.slices import Samples

WIDTH = 150
EMPTY, BYSTANDER = "empty", "bystander"
TITLES = {
    EMPTY: "empty program on sys_enter",
    **watch_ways.TITLES,
    BYSTANDER: "… not watched, meanwhile",
}
#: What a watch may add to a call, in units of what an empty program adds.
MOST = 1.6
#: What it may take of a server's throughput; SFIP's transitions took 1.8 % (arXiv:2202.13716).
MOST_LOSS = 0.009
SERVERS = {"nginx": "nginx, requests/s (wrk)", "redis SET": "redis SET/s", "redis GET": "redis GET/s"}
STARTS = {
    "plain": "true",
    "watched": "scmm-watch -p true.scmm-pol -- true",
    "text": "scmm-watch -p true.scmm.yaml -- true",
}


@dataclass
class Result:
    """What was measured: ns a call (`samples`), by way and round; `plain`, `watched`: requests/s by server and round;
    `starts`: seconds of a start, by way and round; `missing`: key → why there are no figures.
    """

    machine: dict[str, str]
    seed: int
    samples: Samples = field(default_factory=Samples)
    plain: dict[str, dict[int, float]] = field(default_factory=dict)
    watched: dict[str, dict[int, float]] = field(default_factory=dict)
    starts: dict[str, dict[int, float]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Findings:
    """Figures: ns added to a call, in units of the empty program's; the share of throughput lost; seconds added."""

    added: Mapping[str, Estimate]
    ratios: Mapping[str, Estimate]
    losses: Mapping[str, Estimate]
    started: Estimate | None
    verdicts: Mapping[str, Verdict]


def findings(result: Result) -> Findings:
    random = Random(result.seed)
    bare, traced = result.samples.bare, result.samples.traced
    more = {key: figures.differences(bare[key], traced[key]) for key in TITLES if key in traced}
    added = {key: figures.bootstrap([values], random=random) for key, values in more.items()}
    ratios = {
        key: figures.bootstrap([values, more[EMPTY]], figures.ratio_of_medians, random=random)
        for key, values in more.items()
        if key != EMPTY and EMPTY in more
    }
    losses = {
        key: figures.bootstrap([lost(result.plain[key], each)], random=random) for key, each in result.watched.items()
    }
    verdicts = {key: figures.at_most(each, MOST, f"≤ {MOST:g}×") for key, each in ratios.items()}
    verdicts |= {key: figures.at_most(each, MOST_LOSS, f"≤ {MOST_LOSS:.1%}") for key, each in losses.items()}
    pairs = figures.differences(result.starts.get("plain", {}), result.starts.get("watched", {}))
    started = figures.bootstrap([pairs], random=random) if pairs else None
    return Findings(added, ratios, losses, started, verdicts)


def lost(plain: Mapping[int, float], watched: Mapping[int, float]) -> list[float]:
    """The share of throughput that is lost in each round that has both; negative where the watched one did more."""
    return [1 - watched[number] / plain[number] for number in sorted(plain.keys() & watched.keys())]


def sheets(result: Result, found: Findings) -> list[Sheet]:
    calls = Sheet(
        "one getppid",
        ("", "rounds", "bare ns", "so ns", "added ns [95 %]", "in units of empty [95 %]", "goal", "verdict"),
        tuple(_call(result, found, key) for key in TITLES),
        frozenset({0, 6, 7}),
    )
    servers = Sheet(
        "servers under load, the same one with a watch that kills and without, in turns",
        ("", "rounds", "without /s", "watched /s", "lost [95 %]", "goal", "verdict"),
        tuple(_server(result, found, key) for key in SERVERS),
        frozenset({0, 5, 6}),
    )
    starts = Sheet("starts", ("", "runs", "median ms"), tuple(_start(result, key) for key in STARTS))
    return [calls, servers, starts]


def _call(result: Result, found: Findings, key: str) -> tuple[str, ...]:
    if key not in found.added:
        return (TITLES[key], "0", *[""] * 5, "not measured")
    bare, traced = (list(each[key].values()) for each in (result.samples.bare, result.samples.traced))
    ratio = _estimate(found.ratios[key], "{:.2f}×") if key in found.ratios else ""
    times = (f"{median(bare):.1f}", f"{median(traced):.1f}", _estimate(found.added[key], "{:+.1f}"))
    return (TITLES[key], str(len(traced)), *times, ratio, *_judged(found, key))


def _server(result: Result, found: Findings, key: str) -> tuple[str, ...]:
    if key not in found.losses:
        return (SERVERS[key], "0", *[""] * 4, "not measured")
    middle = (f"{median(each.values()):,.0f}" for each in (result.plain[key], result.watched[key]))
    loss = found.losses[key]
    percent = Estimate(100 * loss.value, 100 * loss.low, 100 * loss.high)
    return (SERVERS[key], str(len(result.watched[key])), *middle, _estimate(percent, "{:.2f} %"), *_judged(found, key))


def _start(result: Result, key: str) -> tuple[str, ...]:
    times = list(result.starts.get(key, {}).values())
    return (STARTS[key], str(len(times)), f"{1000 * median(times):.1f}" if times else "not measured")


def _judged(found: Findings, key: str) -> tuple[str, str]:
    verdict = found.verdicts.get(key)
    return (verdict.goal, str(verdict)) if verdict else ("", "")


def _estimate(estimate: Estimate, form: str) -> str:
    return f"{form.format(estimate.value)} [{form.format(estimate.low)}, {form.format(estimate.high)}]"


def notes(result: Result, found: Findings) -> list[str]:
    lines = [
        "added: what it adds to the same loop in the same round, bare before and after; lost: of what the same server "
        "did without a watch, right before or after"
    ]
    if found.started is not None:
        milliseconds = Estimate(*(1000 * each for each in (found.started.value, found.started.low, found.started.high)))
        lines.append(f"scmm-watch adds {_estimate(milliseconds, '{:.1f}')} ms to a command")
    titles = {**TITLES, **SERVERS, **STARTS}
    lines += [f"not measured: {titles.get(key, key)}: {why}" for key, why in result.missing.items()]
    if result.samples.disturbed:
        count, last = len(result.samples.disturbed), result.samples.disturbed[-1]
        lines.append(f"warning: {count} samples were disturbed and taken again; the last: {last}")
    return [*lines, *(f"warning: {each}" for each in result.warnings)]


def show(result: Result, console: Console) -> None:
    found = findings(result)
    printed(console, result.machine, sheets(result, found), notes(result, found))


def to_json(result: Result) -> dict[str, Any]:
    found = findings(result)
    groups: Sequence[str] = ("added", "ratios", "losses")
    return {
        **asdict(result),
        **{name: {key: _json(each) for key, each in getattr(found, name).items()} for name in groups},
        "started": _json(found.started) if found.started else None,
        "verdicts": {key: asdict(each) for key, each in found.verdicts.items()},
    }


def _json(estimate: Estimate) -> dict[str, float | None]:
    # JSON has no infinity, which is a ratio's upper end where what it is a ratio to may have cost nothing.
    return {key: each if isfinite(each) else None for key, each in asdict(estimate).items()}
