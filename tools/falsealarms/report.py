"""What came of the experiment: a table for each group, what remains, and whether the goals are met. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from scmm_oci.policy.order import Pair

from .experiment import Outcome
from .serving import Served

RUNS = 6_300
#: How much of the square of its states the machine of a group may allow.
SHARE = 0.10
_SIZES = ("{}", "{}", "{:.1%}")
_COLUMNS = ("program", "recordings", "runs", "states", "edges", "square", "chance", "at most", "judged", "alarms")


@dataclass(frozen=True)
class Union:
    """One machine for all programs of a group: what its square and its edges are."""

    states: int
    edges: int

    @property
    def share(self) -> float:
        return self.edges / self.states**2


@dataclass(frozen=True)
class Goals:
    """Whether all was silent or foretold, and was judged; `wide`: groups whose machine allows more than SHARE."""

    runs: int
    alarms: int
    unforetold: tuple[str, ...]
    wide: tuple[str, ...]
    blind: tuple[str, ...]

    @property
    def met(self) -> bool:
        return not (self.unforetold or self.blind)


def goals(outcomes: Sequence[Outcome]) -> Goals:
    return Goals(
        runs=sum(one.judged for one in outcomes),
        alarms=sum(sum(one.alarms) for one in outcomes),
        unforetold=tuple(one.program.key for one in outcomes if not one.foretold),
        wide=tuple(group for group, members in _grouped(outcomes) if union(members).share > SHARE),
        blind=tuple(f"{one.program.key} {one.blind}" for one in outcomes if one.blind),
    )


def union(members: Sequence[Outcome]) -> Union:
    states: set[str] = set()
    edges: set[Pair] = set()
    for one in members:
        states |= one.machine.states
        edges |= one.machine.edges
    return Union(len(states), len(edges))


def whole(outcomes: Sequence[Outcome], served: Sequence[Served]) -> list[str]:
    """All of it, as Markdown: groups, servers, what is to be said of them, each program."""
    found = []
    if outcomes:
        found += [*_table(_row(group, members) for group, members in _grouped(outcomes)), ""]
    if served:
        found += [*_served(served), ""]
    found += [f"- {each}" for each in (*_told(outcomes), *_told_served(served))]
    if outcomes:
        found += ["", *_table(_row(one.program.key, [one]) for one in outcomes)]
    return found


def brief(one: Outcome) -> str:
    """One program in a few words."""
    return (
        f"{one.program.key}: {one.estimate.recordings} recordings, {len(one.machine.states)} states, "
        f"{len(one.machine.edges)} edges, {sum(one.alarms)} alarms in {one.judged} runs"
    )


def _grouped(outcomes: Sequence[Outcome]) -> list[tuple[str, list[Outcome]]]:
    return [(group, list(members)) for group, members in groupby(outcomes, key=lambda one: one.program.group)]


def _row(name: str, members: Sequence[Outcome]) -> tuple[str, ...]:
    """A line for programs; of several, from the least to the most."""
    return (
        f"{name}, {len(members)} programs" if len(members) > 1 else name,
        _range([one.estimate.recordings for one in members], "{:d}"),
        f"{sum(one.trained for one in members):,}",
        _range([len(one.machine.states) for one in members], "{:d}"),
        _range([len(one.machine.edges) for one in members], "{:d}"),
        _range([100 * one.machine.share for one in members], "{:.1f} %"),
        _range([100 * (one.estimate.chance or 0) for one in members], "{:.1f} %"),
        _range([100 * (one.estimate.most or 0) for one in members], "{:.1f} %"),
        f"{sum(one.judged for one in members):,}",
        str(sum(sum(one.alarms) for one in members)),
    )


def _told(outcomes: Sequence[Outcome]) -> list[str]:
    if not outcomes:
        return []
    result = goals(outcomes)
    few = f", fewer than {RUNS:,}" if result.runs < RUNS else ""
    found = [f"{result.runs:,} runs judged{few}, {result.alarms} with a violation"]
    for group, members in _grouped(outcomes):
        if len(members) > 1:
            one = union(members)
            above = sum(each.machine.share > SHARE for each in members)
            found.append(
                f"{group}: one machine for all of them: {one.states} states, {one.edges} edges, {one.share:.1%}; "
                f"of each by itself, {above} allow more than {SHARE:.0%}"
            )
    for each in outcomes:
        if any(each.alarms):
            batches = sum(map(bool, each.alarms))
            word = "foretold" if each.foretold else "NOT foretold"
            found.append(f"{each.program.key}: {batches} of {len(each.alarms)} batches with a violation, {word}")
            found += [f"{each.program.key}: `{example}`" for example in each.examples]
    found += [f"{group} allows more than {SHARE:.0%} of its square" for group in result.wide]
    return found + [f"NOT judged: {each}" for each in result.blind]


def _served(served: Sequence[Served]) -> list[str]:
    columns = ("server", "recordings", "states", "edges", "square", "chance", "at most", "judged", "alarms")
    rows = [
        (
            one.key,
            str(one.estimate.recordings),
            *(", ".join(form.format(size[index]) for size in one.sizes) for index, form in enumerate(_SIZES)),
            f"{100 * (one.estimate.chance or 0):.1f} %",
            f"{100 * (one.estimate.most or 0):.1f} %",
            str(len(one.alarms)),
            str(sum(map(bool, one.alarms))),
        )
        for one in served
    ]
    return [_line(columns), _line((":--", *["--:"] * (len(columns) - 1))), *map(_line, rows)]


def _told_served(served: Sequence[Served]) -> list[str]:
    found = []
    for one in served:
        word = "foretold" if one.foretold else "NOT foretold"
        found += [f"{one.key}: `{alarm}`, {word}" for alarm in one.alarms if alarm]
    return found


def _table(rows: Iterable[tuple[str, ...]]) -> list[str]:
    return [_line(_COLUMNS), _line((":--", *["--:"] * (len(_COLUMNS) - 1))), *map(_line, rows)]


def _range(values: Sequence[float], form: str) -> str:
    low, high = form.format(min(values)), form.format(max(values))
    return low if low == high else f"{low} – {high}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
