"""What a watch costs: added to each call, beside an empty program; of the throughput of servers; when it begins.

Slices of one loop, bare and watched, take turns; a server's load runs with a watch and without in turns, while the same
process serves. Figures are only comparable within one run. Run as root: `python -m benchmarks.watch`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from random import Random
from statistics import mean

import click
from rich.console import Console

from benchmarks import processes, watch_report, watch_ways, watched_servers
from benchmarks.ground import ProductError, busy_share
from benchmarks.learning import Learning, Where, edges_of, in_cgroup, in_container, policy_of, settings_in
from benchmarks.slices import Measurement, Row
from benchmarks.tracers import KIND, Empty, Tracer
from benchmarks.watch_report import BYSTANDER, EMPTY, Result
from benchmarks.watch_ways import REFINED, Watched
from benchmarks.watched import Watcher, edge_of, machines_of
from benchmarks.watched_servers import Server
from rig import images, namespace
from rig.cgroup import child_cgroup
from rig.mounts import private_dir
from rig.process import RigError, missing_programs, run
from scmm_oci.capture.model import Capture
from scmm_oci.compiled.policy_file import policy_file
from scmm_oci.policy import render
from scmm_oci.policy.infer.completeness import completeness
from scmm_oci.recorder.settings import Settings
from scmm_oci.watch.machines import Machines

SEED = 20_261_126
PAUSE = 0.1
MAX_BUSY = 0.05
LEAST_LEARNT, MOST_LEARNT = 24, 96
MOST_KILLED = 5


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", default=40, show_default=True, type=click.IntRange(3), help="Rounds of single calls.")
@click.option("--server-rounds", default=40, show_default=True, type=click.IntRange(0), help="Rounds of each server.")
@click.option("--starts", default=20, show_default=True, type=click.IntRange(0), help="Starts of commands.")
@click.option("--slices", default=5, show_default=True, type=click.IntRange(1), help="Slices for each sample.")
@click.option("--quick", is_flag=True, help="Few rounds, short loads: does it work?")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write samples and figures here.")
@click.option("--seed", default=SEED, show_default=True, help="Of the order of rounds, loads and the bootstrap.")
def main(
    *, rounds: int, server_rounds: int, starts: int, slices: int, quick: bool, json_file: Path | None, seed: int
) -> None:
    """Measure what a watch adds to each system call, takes from servers under load, and takes to begin."""
    if quick:
        rounds, server_rounds, starts, slices = 5, min(3, server_rounds), min(3, starts), min(3, slices)
    reason = namespace.unavailable()
    if reason:
        raise click.ClickException(reason)
    namespace.enter(fresh_bpffs=True)
    system = os.uname()
    machine = {"kernel": f"{system.release} {system.machine}", "cpus": str(os.cpu_count())}
    result = Result(machine, seed)
    try:
        with private_dir("watch") as base:
            base.chmod(0o711)
            settings = settings_in(base)
            calls(result, base, settings, rounds=rounds, slices=slices)
            servers(result, settings, rounds=server_rounds, quick=quick)
            command_starts(result, base, settings, runs=starts)
    except RigError as error:
        raise click.ClickException(str(error)) from None
    watch_report.show(result, Console(width=watch_report.WIDTH, highlight=False))
    if json_file:
        json_file.write_text(json.dumps(watch_report.to_json(result), indent=1) + "\n")


def calls(result: Result, base: Path, settings: Settings, *, rounds: int, slices: int) -> None:
    """Fill in everything about single calls. Raises RigError."""
    built = processes.build(base)
    measurement = Measurement(built, result.samples, slices=slices)
    cpu = max(os.sched_getaffinity(0))
    machines = watch_ways.learnt(built, settings, cpu=cpu)
    busy = []
    with ExitStack() as stack:
        loops = []
        for name in ("loop", "outside"):
            cgroup = stack.enter_context(child_cgroup(name, empty_s=2.0))
            loops.append(stack.enter_context(processes.Loop(built, cgroup=cgroup, cpu=cpu)))
        loop, outside = loops
        empty = Empty(built, EMPTY, watch_report.TITLES[EMPTY], ["bench_enter"])
        empty.prove(loop)
        tracers: list[Tracer] = [empty, *(Watched(key, each, settings) for key, each in machines.items())]
        random = Random(result.seed)
        for number in range(rounds + 1):
            click.echo(f"\rround {number} of {rounds}", err=True, nl=number == rounds or not sys.stderr.isatty())
            busy.append(busy_share(PAUSE))
            for tracer in random.sample(tracers, len(tracers)):
                rows = [Row(tracer.key, loop, KIND)]
                if tracer.key == REFINED:
                    rows.append(Row(BYSTANDER, outside, KIND))
                measurement.block(tracer, rows, number)
    if mean(busy) > MAX_BUSY:
        result.warnings.append(f"others kept {mean(busy):.0%} of the processors busy meanwhile")


def servers(result: Result, settings: Settings, *, rounds: int, quick: bool) -> None:
    """Fill in the servers' figures. Raises RigError; what cannot be measured is told as missing."""
    reason = missing_programs("runc", "wrk", "redis-benchmark") or images.services_unavailable()
    if reason or not rounds:
        result.missing |= dict.fromkeys(watch_report.SERVERS, reason or "--server-rounds 0")
        return
    for server in watched_servers.EVERY:
        machines = server_machines(server, settings, result.seed, least=4 if quick else LEAST_LEARNT)
        serve(result, server, machines, settings, rounds=rounds)


def server_machines(server: Server, settings: Settings, seed: int, *, least: int) -> Machines:
    """The machine of whole lives of a server: recorded until no recording has an edge that no other has."""
    captures: list[Capture] = []
    learning = Learning(settings)
    with learning.kept():
        while len(captures) < MOST_LEARNT:
            with server.serving(recorded(learning, captures)) as port:
                server.measure(port, 1)
                server.load(port, Random(f"{seed} {server.key} {len(captures)}"))
            known = completeness([edges_of(one) for one in captures])
            if len(captures) >= least and (least < LEAST_LEARNT or not known.once):
                break
    return machines_of(policy_file(policy_of(captures))[0])


def recorded(learning: Learning, captures: list[Capture]) -> Callable[[int], AbstractContextManager[object]]:
    """What records a container that was created."""
    return lambda pid: learning.recording(in_container(pid), captures)


def serve(result: Result, server: Server, machines: Machines, settings: Settings, *, rounds: int) -> None:
    """One server, its load with a watch and without in turns.

    A server that is killed for what its machine lacks is told, and begins anew; that round does not count. Raises
    ProductError where the watch was of no effect, or where too many are killed.
    """
    watcher, random = Watcher(settings), Random(result.seed)
    number = killed = 0
    while number <= rounds:
        found: list[Where] = []

        @contextmanager
        def created(pid: int, found: list[Where] = found) -> Iterator[None]:
            found.append(in_container(pid))
            yield

        try:
            with server.serving(created) as port:
                while number <= rounds:
                    click.echo(f"\r{server.key}: round {number} of {rounds}", err=True, nl=number == rounds)
                    _round(result, server, port, watcher, found[0], machines, random, number)
                    number += 1
        except Killed as error:
            killed, number = killed + 1, number + 1
            result.warnings.append(f"{server.key} was killed in round {number - 1}: {error}")
            if killed > MOST_KILLED:
                raise ProductError(f"{server.key}: killed {killed} times, the last time for {error}") from None


def _round(
    result: Result,
    server: Server,
    port: int,
    watcher: Watcher,
    where: Where,
    machines: Machines,
    random: Random,
    number: int,
) -> None:
    """One load with a watch and one without, in an order by chance. Round 0 warms up and is not kept."""
    rates: dict[bool, dict[str, float]] = {}
    for watched in random.sample((False, True), 2):
        with _attached(watcher, where, machines) if watched else nullcontext():
            rates[watched] = server.measure(port, 1)
    for into, of in ((result.plain, rates[False]), (result.watched, rates[True])):
        for key, rate in of.items() if number else ():
            into.setdefault(key, {})[number] = rate


class Killed(RigError):
    """The watch has killed the server; the message is the edge."""


@contextmanager
def _attached(watcher: Watcher, where: Where, machines: Machines) -> Iterator[None]:
    with watcher.loaded() as maps, watcher.watching(maps, where, machines, action="kill", attached=True) as watch:
        try:
            yield
        finally:
            if watch.violations():
                raise Killed("; ".join(map(edge_of, watch.alerts())))
        value, blind = watch.value(), watch.blind()
    if blind or not value.threads:
        raise ProductError(f"the watch of the server: {value.threads} threads, {value.counters}")


def command_starts(result: Result, base: Path, settings: Settings, *, runs: int) -> None:
    """Fill in what it takes to run a command that does nothing, by itself and watched. Raises RigError."""
    captures: list[Capture] = []
    learning = Learning(settings)
    program = "/bin/true"
    with learning.kept(), child_cgroup("learn") as cgroup, learning.recording(in_cgroup(cgroup), captures):
        run([program], cgroup=cgroup)
    text, compiled, config = (base / name for name in ("true.scmm.yaml", "true.scmm-pol", "config.yaml"))
    text.write_bytes(render.dump(policy_of(captures)))
    config.write_text(json.dumps(_values(settings)))
    scmm = [sys.executable, "-m", "scmm_oci.cli.main"]
    run([*scmm, "compile", "-i", text, "-o", compiled])
    commands: dict[str, list[str | Path]] = {"plain": [program]}
    for key, policy in (("watched", compiled), ("text", text)):
        commands[key] = [*scmm, "watch", "--config", config, "-p", policy, "--", program]
    for number in range(runs + 1):
        for key, words in commands.items():
            seconds = run(words).seconds
            if number:
                result.starts.setdefault(key, {})[number] = seconds


def _values(settings: Settings) -> Mapping[str, str]:
    names = ("capture_dir", "run_dir", "log_file", "pin_dir", "watch_pin_dir")
    return {name: getattr(settings, name) for name in names}


if __name__ == "__main__":
    main()
