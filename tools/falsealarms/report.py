"""What came of the experiment: a table for each group, what remains, and whether the goals are met. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from .experiment import Outcome

RUNS = 6_300
SHARE = 0.10
_COLUMNS = "program", "recordings", "runs", "states", "edges", "square", "chance", "at most", "judged", "alarms"


@dataclass(frozen=True)
class Goals:
    """Whether enough runs were judged, all in silence or as foretold, by machines that allow little."""

    runs: int
    alarms: int
    unforetold: tuple[str, ...]
    wide: tuple[str, ...]
    blind: tuple[str, ...]

    @property
    def met(self) -> bool:
        return not (self.unforetold or self.wide or self.blind)


def goals(outcomes: Sequence[Outcome]) -> Goals:
    return Goals(
        runs=sum(one.judged for one in outcomes),
        alarms=sum(sum(one.alarms) for one in outcomes),
        unforetold=tuple(one.program.key for one in outcomes if not one.foretold),
        wide=tuple(one.program.key for one in outcomes if one.share > SHARE),
        blind=tuple(f"{one.program.key} {one.blind}" for one in outcomes if one.blind),
    )


def lines(outcomes: Sequence[Outcome]) -> list[str]:
    """The report as Markdown: groups of many programs in one line each, the others by themselves, then what is left."""
    found = [_line(_COLUMNS), _line((":--", *["--:"] * (len(_COLUMNS) - 1)))]
    for group, members in groupby(outcomes, key=lambda one: one.program.group):
        found.append(_line(_row(group, list(members))))
    found += ["", *(f"- {each}" for each in _told(outcomes))]
    return found


def brief(one: Outcome) -> str:
    """One program in a few words."""
    return (
        f"{one.program.key}: {one.estimate.recordings} recordings, {one.states} states, {one.edges} edges, "
        f"{sum(one.alarms)} alarms in {one.judged} runs"
    )


def details(outcomes: Sequence[Outcome]) -> list[str]:
    """A line for each program."""
    found = [_line(_COLUMNS), _line((":--", *["--:"] * (len(_COLUMNS) - 1)))]
    return found + [_line(_row(one.program.key, [one])) for one in outcomes]


def _row(name: str, members: Sequence[Outcome]) -> tuple[str, ...]:
    """A line for programs; of several, from the least to the most."""
    title = f"{name}, {len(members)} programs" if len(members) > 1 else name
    chances = [one.estimate.chance or 0 for one in members]
    bounds = [1 if one.estimate.most is None else one.estimate.most for one in members]
    return (
        title,
        _range([one.estimate.recordings for one in members], "{:d}"),
        f"{sum(one.trained for one in members):,}",
        _range([one.states for one in members], "{:d}"),
        _range([one.edges for one in members], "{:d}"),
        _range([100 * one.share for one in members], "{:.1f} %"),
        _range([100 * each for each in chances], "{:.1f} %"),
        _range([100 * each for each in bounds], "{:.1f} %"),
        f"{sum(one.judged for one in members):,}",
        str(sum(sum(one.alarms) for one in members)),
    )


def _told(outcomes: Sequence[Outcome]) -> list[str]:
    result = goals(outcomes)
    found = [
        f"{result.runs:,} runs judged, {result.alarms} with a violation",
        "chance, at most: of one more recording to show an order that none had; the upper end of its interval (95 %)",
    ]
    for one in outcomes:
        if any(one.alarms):
            batches = sum(map(bool, one.alarms))
            word = "foretold" if one.foretold else "NOT foretold"
            found.append(f"{one.program.key}: {batches} of {len(one.alarms)} batches with a violation, {word}")
            found += [f"{one.program.key}: {each}" for each in one.examples]
    found += [f"NOT met: {each} allows more than {SHARE:.0%} of its square" for each in result.wide]
    found += [f"NOT judged: {each}" for each in result.blind]
    if result.runs < RUNS:
        found.append(f"fewer than {RUNS:,} runs")
    return found


def _range(values: Sequence[float], form: str) -> str:
    low, high = form.format(min(values)), form.format(max(values))
    return low if low == high else f"{low} – {high}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
