"""The result of benchmarks.start: figures from samples, and how they are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from random import Random
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import alone, figures
from benchmarks.figures import Estimate, Verdict
from benchmarks.incumbent import Names

GOAL_ADDED = 0.060
GOAL_RATIO = 40.0
WIDTH = 140


@dataclass
class Result:
    """What was measured, in seconds, by case and round: whole runs (`samples`), until the program `spoke`; `hooks`."""

    titles: dict[str, str]
    machine: dict[str, str]
    seed: int
    samples: dict[str, dict[int, float]] = field(default_factory=dict)
    spoke: dict[str, dict[int, float]] = field(default_factory=dict)
    hooks: dict[str, list[float]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)  # case → why there are no figures
    warnings: list[str] = field(default_factory=list)
    truth: int = 0
    checked: int = 0
    names: Names | None = None


@dataclass(frozen=True)
class Findings:
    """Figures made of a result: what each case adds to a start, the incumbent's share of ours, the verdicts."""

    added: Mapping[str, Estimate]
    ratio: Estimate | None
    verdicts: Mapping[str, Verdict]


def findings(result: Result, measured: Mapping[str, Mapping[int, float]]) -> Findings:
    """Figures of `result.samples` or `result.spoke`."""
    random = Random(result.seed)
    base = measured.get("nothing", {})
    samples = {key: figures.differences(base, measured.get(key, {})) for key in result.titles if key != "nothing"}
    added = {key: figures.bootstrap([values], random=random) for key, values in samples.items() if values}
    verdicts, ratio = {}, None
    if "recorded" in added:
        goal = f"≤ {GOAL_ADDED * 1000:.0f} ms median"
        verdicts["recorded"] = figures.at_most(added["recorded"], GOAL_ADDED, goal)
        if "incumbent" in added:
            both = [samples["incumbent"], samples["recorded"]]
            ratio = figures.bootstrap(both, figures.ratio_of_medians, random=random)
            goal = f"ours ≥ {GOAL_RATIO:.0f}× less"
            verdicts["incumbent"] = figures.at_least(ratio, GOAL_RATIO, goal)
    return Findings(added, ratio, verdicts)


def to_json(result: Result) -> dict[str, Any]:
    whole, spoke = findings(result, result.samples), findings(result, result.spoke)
    return {**asdict(result), "whole_runs": _json(whole), "until_first_output": _json(spoke)}


def _json(found: Findings) -> dict[str, Any]:
    return {
        "added": {key: asdict(each) for key, each in found.added.items()},
        # JSON has no infinity, which is the ratio's upper end where ours may have cost nothing.
        "ratio": {key: each if isfinite(each) else None for key, each in asdict(found.ratio).items()}
        if found.ratio
        else None,
        "verdicts": {key: asdict(each) for key, each in found.verdicts.items()},
    }


def show(result: Result, console: Console) -> None:
    whole, spoke = findings(result, result.samples), findings(result, result.spoke)
    console.print("podman run --rm busybox echo, runc, --network=none: wall time in ms")
    console.print("; ".join(f"{key} {value}" for key, value in result.machine.items()), soft_wrap=True)
    for title, measured, found in (
        ("start to end", result.samples, whole),
        ("start to the program's first output", result.spoke, spoke),
    ):
        console.print(_starts(title, result, measured, found))
    hooks = _table("our hooks by themselves", "runs", "median", "min", "p90")
    for key, title in alone.TITLES.items():
        if result.hooks.get(key):
            hooks.add_row(title, *_spread(result.hooks[key]))
    console.print(hooks)
    for line in _notes(result, whole, spoke):
        console.print(line, soft_wrap=True)


def _starts(title: str, result: Result, measured: Mapping[str, Mapping[int, float]], found: Findings) -> Table:
    table = _table(title, "runs", "median", "min", "p90", "added", "95 % interval", "goal", "verdict")
    for key, name in result.titles.items():
        if key in result.missing or key not in measured:
            table.add_row(name, "0", *[""] * 6, "not measured")
            continue
        verdict = found.verdicts.get(key)
        words = (verdict.goal, str(verdict)) if verdict else ("", "")
        table.add_row(name, *_spread(list(measured[key].values())), *_estimate(found.added.get(key)), *words)
    return table


def _notes(result: Result, whole: Findings, spoke: Findings) -> Sequence[str]:
    lines = [f"products: {result.checked} captures, each complete and with the {result.truth} names that strace sees"]
    for title, found in (("start to end", whole), ("start to first output", spoke)):
        if found.ratio:
            ratio = f"{found.ratio.value:.1f}× [{found.ratio.low:.1f}, {found.ratio.high:.1f}]"
            lines.append(f"incumbent / ours, {title}: {ratio}")
    if result.names:
        names = result.names
        lacking = ", ".join(f"{name} in {count}" for name, count in names.lacking) or "none"
        lines.append(
            f"incumbent's profiles: {names.fewest} to {names.most} names, {names.different} different sets in "
            f"{names.runs} runs, {names.in_all} names in all of them; called but missing: {lacking}"
        )
    lines += [f"not measured: {result.titles[key]}: {why}" for key, why in result.missing.items()]
    return [*lines, *(f"warning: {each}" for each in result.warnings)]


def _table(*columns: str) -> Table:
    table = Table()
    for number, column in enumerate(columns):
        words = number == 0 or column in ("goal", "verdict")
        table.add_column(column, justify="left" if words else "right", no_wrap=True)
    return table


def _spread(values: Sequence[float]) -> list[str]:
    spread = figures.spread(values)
    return [str(spread.count), *(f"{1000 * each:.1f}" for each in (spread.median, spread.min, spread.p90))]


def _estimate(estimate: Estimate | None) -> tuple[str, str]:
    if estimate is None:
        return "", ""
    return f"{1000 * estimate.value:+.1f}", f"[{1000 * estimate.low:+.1f}, {1000 * estimate.high:+.1f}]"
