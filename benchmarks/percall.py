"""What recording costs per system call: beside programs that do nothing, and beside other ways to watch system calls.

Slices of one loop, bare and watched, take turns; figures are medians of the differences within a round, and only
comparable within one run. Run as root: `python -m benchmarks.percall`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from statistics import mean

import click
from rich.console import Console

from benchmarks import applications, percall_report, processes
from benchmarks.ground import Ground, ProductError, busy_share, ground
from benchmarks.percall_report import Result
from benchmarks.recorded import KINDS, Recorded
from benchmarks.slices import Measurement, Row
from benchmarks.tracers import KIND, Bpftrace, Empty, PerfTrace, Ring, Strace, Tool, Tracer
from rig import images
from rig.cgroup import child_cgroup
from rig.mounts import mount, mounted_type
from rig.podman import Podman
from rig.process import RigError, find_program, run

SEED = 20_240_301
PAUSE = 0.1
MAX_LOAD = 0.3
MAX_BUSY = 0.05
TRACEFS = Path("/sys/kernel/tracing")
PACKAGES = ("bpftrace", "linux-perf", "strace", "podman", "runc", "wrk", "redis-tools")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", default=40, show_default=True, type=click.IntRange(3), help="Rounds of what attaches fast.")
@click.option("--tool-rounds", default=12, show_default=True, type=click.IntRange(0), help="Rounds with other tools.")
@click.option("--app-rounds", default=8, show_default=True, type=click.IntRange(0), help="Rounds of nginx and redis.")
@click.option("--slices", default=5, show_default=True, type=click.IntRange(1), help="Slices for each sample.")
@click.option("--quick", is_flag=True, help="Few rounds, short loads: does it work?")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write samples and figures here.")
@click.option("--markdown", "markdown_file", type=click.Path(path_type=Path), help="Write the tables here.")
@click.option("--seed", default=SEED, show_default=True, help="Of the order of rounds and the bootstrap's randomness.")
def main(
    *,
    rounds: int,
    tool_rounds: int,
    app_rounds: int,
    slices: int,
    quick: bool,
    json_file: Path | None,
    markdown_file: Path | None,
    seed: int,
) -> None:
    """Measure what recording adds to each system call, and to servers under load."""
    if quick:
        rounds, tool_rounds, app_rounds, slices = 5, min(3, tool_rounds), min(3, app_rounds), min(3, slices)
    load = os.getloadavg()[0]
    result = Result(percall_report.TITLES, _machine(), seed)
    try:
        with ground() as here:
            _calls(result, here, rounds=rounds, tool_rounds=tool_rounds, slices=slices)
            _applications(result, here, rounds=app_rounds, seconds=1 if quick else 2)
    except RigError as error:
        raise click.ClickException(str(error)) from None
    if load > MAX_LOAD:
        result.warnings.insert(0, f"load average {load:.2f} before the start; compare only figures of this run")
    percall_report.show(result, Console(width=percall_report.WIDTH, highlight=False))
    if json_file:
        json_file.write_text(json.dumps(percall_report.to_json(result), indent=1) + "\n")
    if markdown_file:
        markdown_file.write_text(percall_report.to_markdown(result))
    if result.failed:
        sys.exit(1)


def _calls(result: Result, here: Ground, *, rounds: int, tool_rounds: int, slices: int) -> None:
    """Fill in everything about single calls."""
    if mounted_type(TRACEFS) is None:
        mount("tracefs", TRACEFS, "tracefs")  # in our own mount namespace
    built = processes.build(here.empty_dir("programs"))
    measurement = Measurement(built, result.samples, slices=slices)
    with _loops(built) as (loop, outside):
        if not loop.real_time:
            result.warnings.append("no real-time priority during slices")
        empties = [
            Empty(built, "empty", result.titles["empty"], ["bench_enter"]),
            Empty(built, "both", result.titles["both"], ["bench_enter", "bench_exit"]),
        ]
        for empty in empties:
            empty.prove(loop)
        ours = Recorded(here)
        tracers: list[Tracer] = [*empties, ours, Ring(built)]
        tools: list[Tool] = [kind(here.empty_dir("tools")) for kind in (Bpftrace, PerfTrace, Strace)]
        for tool in tools:
            reason = tool.unavailable() if tool_rounds else "--tool-rounds 0"
            if reason:
                result.missing[tool.key] = reason
        others = [Row(f"call:{kind}", loop, kind) for kind in KINDS if kind != KIND]
        random = Random(result.seed)
        for number in range(rounds + 1):
            click.echo(f"\rround {number} of {rounds}", err=True, nl=number == rounds or not sys.stderr.isatty())
            result.busy.append(busy_share(PAUSE))
            turns = [*tracers, *(tools if number <= tool_rounds else ())]
            for tracer in random.sample(turns, len(turns)):
                if tracer.key in result.missing:
                    continue
                rows = [Row(tracer.key, loop, KIND)]
                if tracer is ours:
                    rows += [Row("bystander", outside, KIND), *others]
                try:
                    whole = measurement.block(tracer, rows, number)
                except RigError as error:
                    if not isinstance(tracer, Tool):
                        raise
                    result.fail([tracer.key], error)
                    continue
                result.skipped += not whole
        for each in (*tracers, *tools):
            result.counted[each.key] = (each.seen, each.lost)
    share = mean(result.busy)
    if share > MAX_BUSY:
        result.warnings.append(f"others kept {share:.0%} of the processors busy meanwhile")


@contextmanager
def _loops(built: processes.Programs) -> Iterator[tuple[processes.Loop, processes.Loop]]:
    """The loop that is watched and one that is not, each in its cgroup, on the last processor."""
    cpu = max(os.sched_getaffinity(0))
    with ExitStack() as stack:
        made = []
        for name in ("loop", "outside"):
            cgroup = stack.enter_context(child_cgroup(name, empty_s=2.0))
            made.append(stack.enter_context(processes.Loop(built, cgroup=cgroup, cpu=cpu)))
        yield made[0], made[1]


def _applications(result: Result, here: Ground, *, rounds: int, seconds: int) -> None:
    """Fill in the servers' figures, with and without recording in turns. Round 0 warms up and is not kept."""
    reason = images.services_unavailable() if rounds else "--app-rounds 0"
    missing = [name for name in ("wrk", "redis-benchmark") if find_program(name) is None]
    if missing:
        reason = f"not installed: {', '.join(missing)}"
    if reason:
        result.missing |= dict.fromkeys(applications.TITLES, reason)
        return
    every = [applications.Nginx(seconds=seconds), applications.Redis(requests=20_000 * seconds)]
    with Podman(runtime="runc", hooks_dirs=(here.layout.hooks_dir,)) as engine:
        image = engine.import_image("services", images.services())
        for number in range(rounds + 1):
            click.echo(f"\rservers: round {number} of {rounds}", err=True, nl=number == rounds)
            for application in every:
                if application.figures[0] in result.missing:
                    continue
                try:
                    for recorded in (False, True) if number % 2 else (True, False):
                        found = applications.measure(here, engine, image, application, number, recorded=recorded)
                        into = result.recorded if recorded else result.plain
                        for key, rate in found.items() if number else ():
                            into.setdefault(key, {})[number] = rate
                except ProductError as error:
                    result.fail(application.figures, error)


def _machine() -> dict[str, str]:
    """What the figures depend on, for the head of the report."""
    system = os.uname()
    found = {"kernel": f"{system.release} {system.machine}", "cpus": str(os.cpu_count())}
    if find_program("dpkg-query"):
        done = run(["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *PACKAGES], check=False)
        found |= {name: version for name, _, version in (line.partition(" ") for line in done.stdout.splitlines())}
    return found | {"load": f"{os.getloadavg()[0]:.2f}"}


if __name__ == "__main__":
    main()
