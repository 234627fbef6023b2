"""The arithmetic of benchmarks.monitor: ratios within a round, the goals, and that what is missing is said."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from benchmarks.monitor_report import (
    ALLOW,
    APART,
    BEHALF,
    EXECUTABLE,
    HOWS,
    KINDS,
    LEAST,
    LOGGED,
    MANY,
    MOST_GROWTH,
    OURS,
    SANDLOCK,
    TITLES,
    TOGETHER,
    WIDTH,
    Memory,
    Result,
    Row,
    Slice,
    goals,
    rows,
    sheets,
    show,
    to_json,
)
from benchmarks.monitor_sandlock import NUMBERS
from benchmarks.monitor_ways import CALLS, SANDLOCK_VERSION, notifying, sandlock_unavailable
from scmm_oci.compiled import bpf
from scmm_oci.compiled.simulate import simulate
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.syscalls import numbers

#: How many times slower the machine is in each round.
SLOW = {1: 1.0, 2: 3.0, 3: 1.0, 4: 2.0}
#: ns that a call takes on a quiet machine.
TAKES = {LEAST: 8_000.0, OURS: 20_000.0, LOGGED: 40_000.0, SANDLOCK: 50_000.0}


def result(**changed: float) -> Result:
    """Calls allowed by number and made on behalf, in every way; a call takes twice as long as the median at worst."""
    found = Result({"kernel": "test"}, seed=1)
    for number, slow in SLOW.items():
        for way, took in {**TAKES, **changed}.items():
            for how in HOWS:
                for kind in (ALLOW, BEHALF):
                    found.add(how, kind, way, number, Slice(took * slow, 2 * took * slow, 1e9 / took / slow))
    return found


def by_way(found: Result, how: str, kind: str) -> dict[str, Row]:
    return {row.way: row for row in rows(found) if (row.how, row.kind) == (how, kind)}


def test_ratios_are_those_within_a_round() -> None:
    found = by_way(result(), APART, ALLOW)
    assert list(found) == list(TITLES)
    assert found[LEAST].ratio is None
    ratio = found[OURS].ratio
    assert ratio is not None and (ratio.low, ratio.value, ratio.high) == pytest.approx((2.5, 2.5, 2.5))
    assert found[OURS].median == pytest.approx(1.5 * 20_000) and found[OURS].p99 == pytest.approx(3 * 20_000)
    assert found[OURS].rounds == len(SLOW)


def verdicts(found: Result) -> dict[tuple[str, str], tuple[bool, bool]]:
    return {(goal.how, goal.what): (goal.verdict.met, goal.verdict.certain) for goal in goals(found)}


def test_ours_is_judged_by_itself_and_beside_sandlock() -> None:
    ours = (TOGETHER, f"{KINDS[ALLOW]}, median")
    beside = (MANY, f"{KINDS[ALLOW]}, in units of sandlock's")
    assert verdicts(result())[beside] == (True, True)
    assert verdicts(result(ours=60_000.0))[beside] == (False, True)
    quiet = Result({}, seed=1)
    for number in SLOW:
        quiet.add(TOGETHER, ALLOW, OURS, number, Slice(20_000.0, 30_000.0, 50_000.0))
    assert verdicts(quiet) == {ours: (True, True)}
    assert verdicts(result(ours=90_000.0))[ours] == (False, True)


def test_where_sandlock_lets_go_on_nothing_is_compared() -> None:
    found = verdicts(result())
    assert (APART, f"{KINDS[ALLOW]}, in units of sandlock's") in found
    assert not [what for _, what in found if what.startswith(KINDS[BEHALF]) and "sandlock" in what]


@pytest.mark.parametrize(
    ("decisions", "growth", "met"),
    [
        (1_000_000, 0, True),
        (1_000_000, MOST_GROWTH, True),
        (1_000_000, MOST_GROWTH + 1, False),
        (20_000, MOST_GROWTH + 1, False),
        (3_000_000, 3 * MOST_GROWTH, True),
    ],
)
def test_memory_that_grows_is_told(decisions: int, growth: int, met: bool) -> None:
    found = Result({}, seed=1)
    found.memory[OURS] = Memory(decisions, 40 << 20, (40 << 20) + growth)
    (goal,) = goals(found)
    assert goal.verdict.met is met
    assert f"{growth / 1024:+.0f} KiB" in goal.figure


def test_all_of_it_is_shown_and_written() -> None:
    found = result()
    found.missing[SANDLOCK] = "it cannot be had"
    found.memory[LOGGED] = Memory(100_000, 1 << 20, 1 << 20)
    for kinds in found.slices.values():
        for ways in kinds.values():
            del ways[SANDLOCK]
    console = Console(width=WIDTH, file=io.StringIO(), highlight=False)
    show(found, console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert f"not measured: {TITLES[SANDLOCK]}: it cannot be had" in text
    for words in (*HOWS.values(), TITLES[OURS], KINDS[BEHALF], "memory after 100000 decisions"):
        assert words in text
    assert KINDS[EXECUTABLE] not in text, "nothing was measured of that"
    assert [sheet.title for sheet in sheets(found)] == [*HOWS.values(), "goals"]
    assert json.loads(json.dumps(to_json(found)))["memory"][LOGGED]["decisions"] == 100_000


def test_the_filter_has_just_those_calls_wait() -> None:
    program = bpf.decode(notifying(tuple(CALLS.values())))
    waiting = {
        name
        for name, nr in numbers(Arch.X86_64).items()
        if simulate(program, bpf.Call(nr, Arch.X86_64.audit, ())).value == bpf.RET_USER_NOTIF
    }
    assert waiting == set(CALLS.values())


def test_numbers_for_an_interpreter_without_our_tables() -> None:
    for machine, found in NUMBERS.items():
        arch = Arch(machine)
        assert found == {name: numbers(arch)[name] for name in found}


def test_an_interpreter_without_sandlock_says_so() -> None:
    why = sandlock_unavailable("/bin/false")
    assert why is not None and SANDLOCK_VERSION in why and "--install-sandlock" in why
    assert sandlock_unavailable("/bin/true") is None
