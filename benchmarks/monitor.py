"""What a decision about a waiting call costs: scmm-monitor, beside the least that can answer, and sandlock.

Slices of calls that each of them answers take turns within a round; figures are medians over rounds, ratios those of
slices of the same round, and all of it only comparable within one run. Run as root: `python -m benchmarks.monitor`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random

import click
from rich.console import Console

from benchmarks import monitor_report, monitor_ways
from benchmarks.monitor_report import ALLOW, BEHALF, LOGGED, OURS, SANDLOCK, THREADS, TOGETHER, Memory, Result
from benchmarks.monitor_ways import Ground, Way
from rig.mounts import private_dir
from rig.process import RigError

SEED = 20_240_304
SLICE_NS = 50_000_000
#: Calls in a slice, at least: fewer have no 99th percentile.
FEWEST = 100
MAX_LOAD = 0.3
DECISIONS = 1_000_000
_PORTION = 100_000  # decisions that are asked for at once
_WARM = 50_000  # decisions after which a monitor has what it needs


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", default=10, show_default=True, type=click.IntRange(3), help="Rounds of timed calls.")
@click.option(
    "--decisions",
    default=DECISIONS,
    show_default=True,
    type=click.IntRange(1),
    help="Decisions over which memory is looked at; a tenth of them with the log.",
)
@click.option("--quick", is_flag=True, help="3 rounds, 20 000 decisions: does it work?")
@click.option("--install-sandlock", is_flag=True, help="Install sandlock from PyPI, in an environment for this run.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write samples and figures here.")
@click.option("--seed", default=SEED, show_default=True, help="Of the order of slices and the bootstrap's randomness.")
def main(
    *, rounds: int, decisions: int, quick: bool, install_sandlock: bool, json_file: Path | None, seed: int
) -> None:
    """Measure what decisions cost."""
    if quick:
        rounds, decisions = 3, 20_000
    load = os.getloadavg()[0]
    result = Result(_machine(), seed)
    try:
        measure(result, rounds=rounds, decisions=decisions, install=install_sandlock)
    except RigError as error:
        raise click.ClickException(str(error)) from None
    if load > MAX_LOAD:
        result.warnings.insert(0, f"load average {load:.2f} before the start; compare only figures of this run")
    monitor_report.show(result, Console(width=monitor_report.WIDTH, highlight=False))
    if json_file:
        json_file.write_text(json.dumps(monitor_report.to_json(result), indent=1) + "\n")


def measure(result: Result, *, rounds: int, decisions: int, install: bool) -> None:
    """Fill in the result. Raises RigError."""
    if os.geteuid():
        raise RigError("a call is made on another's behalf by root: run this as root")
    with private_dir("monitor") as base, ExitStack() as stack:
        ground = monitor_ways.prepare(base)
        ways = [
            stack.enter_context(monitor_ways.least(ground)),
            stack.enter_context(monitor_ways.monitored(ground, OURS)),
            stack.enter_context(monitor_ways.monitored(ground, LOGGED, "--log", str(base / "decisions.jsonl"))),
        ]
        sandlock = _sandlock(result, ground, stack, install=install)
        _rounds(result, [*ways, *([sandlock] if sandlock else [])], rounds)
        for way in ways[1:]:
            result.memory[way.key] = _memory(way, decisions if way.key == OURS else max(1, decisions // 10))


def _sandlock(result: Result, ground: Ground, stack: ExitStack, *, install: bool) -> Way | None:
    """sandlock, or None where it cannot be had: then the result says why."""
    python = sys.executable
    try:
        if install:
            click.echo(f"installing sandlock {monitor_ways.SANDLOCK_VERSION}", err=True)
            python = monitor_ways.install_sandlock(ground.directory / "environment")
        why = monitor_ways.sandlock_unavailable(python)
        if why is None:
            return stack.enter_context(monitor_ways.sandlocked(ground, python))
    except RigError as error:
        why = " ".join(str(error).split())[-300:]
    result.missing[SANDLOCK] = why
    return None


def _rounds(result: Result, ways: Sequence[Way], rounds: int) -> None:
    """Slices of each kind, by each way, in turns. Round 0 warms up, and says how long slices are."""
    random = Random(result.seed)
    everywhere = os.sched_getaffinity(0)
    lengths: dict[tuple[str, str, str], int] = {}
    for number in range(rounds + 1):
        click.echo(f"\rround {number} of {rounds}", err=True, nl=number == rounds or not sys.stderr.isatty())
        for how, threads in THREADS.items():
            for way in ways:
                way.run_on({max(everywhere)} if how == TOGETHER else everywhere)
            turns = [(way, kind) for way in ways for kind in way.kinds]
            for way, kind in random.sample(turns, len(turns)):
                key = (how, way.key, kind)
                slice_ = way.slice(kind, threads, lengths.get(key, FEWEST))
                result.checked += 1
                if number:
                    result.add(how, kind, way.key, number, slice_)
                else:
                    lengths[key] = max(FEWEST, round(SLICE_NS * slice_.rate / 1e9)) // threads + 1


def _memory(way: Way, decisions: int) -> Memory:
    """How resident memory grows; one call in a hundred is made on behalf."""
    click.echo(f"{decisions} decisions by {way.key}", err=True)
    (pid,) = way.pids

    def decide(count: int) -> None:
        while count > 0:
            portion = min(count, _PORTION)
            behalf = portion // 100
            if behalf:
                way.slice(BEHALF, 1, behalf)
            way.slice(ALLOW, 8, (portion - behalf) // 8 + 1)
            count -= portion

    decide(min(_WARM, decisions))
    before = monitor_ways.resident(pid)
    decide(decisions)
    return Memory(decisions, before, monitor_ways.resident(pid))


def _machine() -> dict[str, str]:
    """What the figures depend on, for the head of the report."""
    system = os.uname()
    return {
        "kernel": f"{system.release} {system.machine}",
        "cpus": str(os.cpu_count()),
        "python": ".".join(map(str, sys.version_info[:3])),
        "load": f"{os.getloadavg()[0]:.2f}",
    }


if __name__ == "__main__":
    main()
