"""Our filters beside libseccomp's, of the same policies in one run: size, executed instructions, times.

Slices of calls without a filter and with each take turns; figures are medians of the differences within a round, and
only comparable within one run. Run as root: `python -m benchmarks.filters`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random

import click
from rich.console import Console

from benchmarks import filter_cases, filter_makers, filter_report
from benchmarks.filter_cases import DENIED, NUMBERS, Case, disagreements, executed
from benchmarks.filter_makers import Maker
from benchmarks.filter_report import BARE, KINDS, Counted, Result
from benchmarks.processes import SOURCES, Asked
from benchmarks.slices import slice_length
from rig.mounts import private_dir
from rig.process import RigError, find_program, run
from scmm_oci.compiled import bpf
from scmm_oci.compiled.bpf import Program

SEED = 20_240_301
MAX_LOAD = 0.3


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", default=40, show_default=True, type=click.IntRange(3), help="Rounds of timed calls.")
@click.option("--loads", default=60, show_default=True, type=click.IntRange(1), help="How often filters are loaded.")
@click.option("--makes", default=15, show_default=True, type=click.IntRange(1), help="How often filters are made.")
@click.option("--quick", is_flag=True, help="Few rounds: does it work?")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write samples and figures here.")
@click.option("--seed", default=SEED, show_default=True, help="Of the order of slices and the bootstrap's randomness.")
def main(*, rounds: int, loads: int, makes: int, quick: bool, json_file: Path | None, seed: int) -> None:
    """Measure our filters beside libseccomp's, in list form and as a tree."""
    if quick:
        rounds, loads, makes = 3, 5, 2
    reason = filter_makers.unavailable()
    if reason:
        raise click.ClickException(reason)
    load = os.getloadavg()[0]
    result = Result(_machine(), seed)
    try:
        measure(result, list(filter_cases.cases(result.missing)), rounds=rounds, loads=loads, makes=makes)
    except RigError as error:
        raise click.ClickException(str(error)) from None
    if load > MAX_LOAD:
        result.warnings.insert(0, f"load average {load:.2f} before the start; compare only figures of this run")
    filter_report.show(result, Console(width=filter_report.WIDTH, highlight=False))
    if json_file:
        json_file.write_text(json.dumps(filter_report.to_json(result), indent=1) + "\n")
    if result.wrong:
        sys.exit(1)


def measure(result: Result, cases: Sequence[Case], *, rounds: int, loads: int, makes: int) -> None:
    """Fill in the result. Raises RigError."""
    random = Random(result.seed)
    with ExitStack() as stack:
        base = stack.enter_context(private_dir("filters"))
        binary = build(base)
        bare = stack.enter_context(Filtered(binary))
        if bare.greeting != "ready 1":
            result.warnings.append("no real-time priority during slices")
        for case in cases:
            programs = {maker: filter_makers.make(maker, case.given) for maker in Maker}
            result.wrong += disagreements(programs, case)
            result.counted[case.key] = {maker: counted(program, case) for maker, program in programs.items()}
            result.made[case.key] = {
                maker: [filter_makers.timed(maker, case.given, time.perf_counter) for _ in range(makes)]
                for maker in Maker
            }
            paths = _written(programs, base / case.key)
            with ExitStack() as filtered:
                loops: dict[str, Filtered] = {BARE: bare}
                for maker, path in paths.items():
                    loops[maker] = filtered.enter_context(Filtered(binary))
                    loops[maker].ask(f"filter {path}")
                click.echo(f"timing {case.key}", err=True)
                _calls(result, case, loops, random, rounds)
            _loads(result, case, bare, paths, random, loads)


def counted(program: Program, case: Case) -> Counted:
    """What does not vary of a filter."""
    return Counted(
        len(program),
        checked=executed(program, case.checked),
        denied=executed(program, case.denied),
        weighted=executed(program, (*case.checked, *case.denied)),
    )


class Filtered(Asked):
    """benchmarks/programs/filter.c, on the last processor."""

    def __init__(self, binary: Path) -> None:
        super().__init__(binary, str(max(os.sched_getaffinity(0))), hello="ready")

    def time(self, call: tuple[int, tuple[int, ...]], count: int) -> float:
        """ns for each of `count` calls."""
        number, args = call
        return int(self.ask(" ".join(map(str, ("time", count, number, *args))))) / count

    def load(self, path: Path) -> float:
        """Seconds that seccomp(2) takes in a new child to load the filter."""
        return int(self.ask(f"load {path}")) / 1e9


def build(directory: Path) -> Path:
    """The program, compiled. Raises RigError with the compiler's words."""
    target = directory / "filter"
    run(["gcc", "-O2", "-static", "-Wall", "-Wextra", "-Werror", "-o", target, SOURCES / "filter.c"])
    return target


def _written(programs: Mapping[Maker, Program], directory: Path) -> dict[Maker, Path]:
    directory.mkdir()
    for maker, program in programs.items():
        (directory / maker).write_bytes(bpf.encode(program))
    return {maker: directory / maker for maker in programs}


def _calls(result: Result, case: Case, loops: Mapping[str, Filtered], random: Random, rounds: int) -> None:
    """Slices of each kind of call, with and without filters in turns. Round 0 warms up and is not kept."""
    calls = dict(zip(KINDS, ((NUMBERS["getppid"], ()), case.harmless, DENIED), strict=True))
    lengths = {
        kind: slice_length(loops[BARE].time(call, slice_length(1000, 1_000_000))) for kind, call in calls.items()
    }
    turns = [(name, kind) for kind in KINDS for name in loops]
    times = result.times.setdefault(case.key, {name: {kind: {} for kind in KINDS} for name in loops})
    for number in range(rounds + 1):
        for name, kind in random.sample(turns, len(turns)):
            took = loops[name].time(calls[kind], lengths[kind])
            if number:
                times[name][kind][number] = took


def _loads(result: Result, case: Case, bare: Filtered, paths: Mapping[Maker, Path], random: Random, loads: int) -> None:
    found: dict[str, list[float]] = {maker: [] for maker in paths}
    for number in range(loads + 1):
        for maker in random.sample(list(paths), len(paths)):
            took = bare.load(paths[maker])
            if number:
                found[maker].append(took)
    result.loads[case.key] = found


def _machine() -> dict[str, str]:
    """What the figures depend on, for the head of the report."""
    system = os.uname()
    found = {"kernel": f"{system.release} {system.machine}", "cpus": str(os.cpu_count())}
    if find_program("dpkg-query"):
        done = run(["dpkg-query", "-W", "-f", "${Package} ${Version}\n", "libseccomp2"], check=False)
        found |= {name: version for name, _, version in (line.partition(" ") for line in done.stdout.splitlines())}
    return found | {"load": f"{os.getloadavg()[0]:.2f}"}


if __name__ == "__main__":
    main()
