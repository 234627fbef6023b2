"""What scmm-runc adds to the start of a container, and to one more process in it: over runc, crun, podman and Docker.

Ways to start take turns within a round; figures are medians of the differences within a round, and only comparable
within one run. Run as root: `python -m benchmarks.shim`.
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

from benchmarks import shim_report
from benchmarks.shim_engines import hosts
from benchmarks.shim_hosts import Host, install
from benchmarks.shim_report import EXEC, START, WHOLE, Result
from rig import images, namespace
from rig.docker import Dockerd
from rig.mounts import private_dir
from rig.podman import Podman
from rig.process import RigError, find_program, run
from rig.runc import available

SEED = 20_240_303
MAX_LOAD = 0.3
NAMES = ("runc", "crun", "podman", "docker")
_UNAVAILABLE = {
    "runc": lambda: available("runc"),
    "crun": lambda: available("crun"),
    "podman": lambda: Podman.available("runc"),
    "docker": Dockerd.available,
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", default=30, show_default=True, type=click.IntRange(3), help="Rounds of starts.")
@click.option("--over", multiple=True, type=click.Choice(NAMES), help="Only these; several times for several.")
@click.option("--quick", is_flag=True, help="3 rounds: does it work?")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write samples and figures here.")
@click.option("--seed", default=SEED, show_default=True, help="Of the order of ways and the bootstrap's randomness.")
def main(*, rounds: int, over: Sequence[str], quick: bool, json_file: Path | None, seed: int) -> None:
    """Measure what scmm-runc adds to starts."""
    load = os.getloadavg()[0]
    result = Result(_machine(), seed)
    try:
        measure(result, over or NAMES, rounds=3 if quick else rounds)
    except RigError as error:
        raise click.ClickException(str(error)) from None
    if load > MAX_LOAD:
        result.warnings.insert(0, f"load average {load:.2f} before the start; compare only figures of this run")
    shim_report.show(result, Console(width=shim_report.WIDTH, highlight=False))
    if json_file:
        json_file.write_text(json.dumps(shim_report.to_json(result), indent=1) + "\n")


def measure(result: Result, names: Sequence[str], *, rounds: int) -> None:
    """Fill in the result. Raises RigError. Round 0 warms up and is not kept."""
    reason = namespace.unavailable() or images.busybox_unavailable()
    if reason:
        raise RigError(reason)
    namespace.enter(fresh_bpffs=True)
    random = Random(result.seed)
    try:
        # Before engines are started, so that all of them have it: what else the machine does has to wait.
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except OSError as error:
        result.warnings.append(f"no real-time priority for what is started: {error.strerror}")
    with private_dir("shim") as base, ExitStack() as stack:
        base.chmod(0o711)
        installed = install(base, pin_dir=f"/sys/fs/bpf/scmm-bench-{os.getpid()}")
        found = []
        for name, host in hosts(installed).items():
            if name not in names:
                continue
            if reason := _UNAVAILABLE[name]():
                result.missing[name] = reason
            else:
                found.append(stack.enter_context(host))
        for number in range(rounds + 1):
            click.echo(f"\rround {number} of {rounds}", err=True, nl=number == rounds or not sys.stderr.isatty())
            for host in found:
                _round(result, host, number, random)


def _round(result: Result, host: Host, number: int, random: Random) -> None:
    for way in random.sample(host.ways, len(host.ways)):
        start = host.start(way, number)
        process = host.exec(way)
        result.checked += 1
        if number:
            result.add(host.name, START, way, number, start.spoke)
            result.add(host.name, WHOLE, way, number, start.ended)
            result.add(host.name, EXEC, way, number, process.spoke)


def _machine() -> dict[str, str]:
    """What the figures depend on, for the head of the report."""
    system = os.uname()
    found = {"kernel": f"{system.release} {system.machine}", "cpus": str(os.cpu_count())}
    for name in (*NAMES, "python3"):
        if find_program(name):
            words = run([name, "--version"], check=False).stdout.replace(",", " ").split()
            found[name] = next((word for word in words if word[:1].isdigit()), "?")
    return found | {"load": f"{os.getloadavg()[0]:.2f}"}


if __name__ == "__main__":
    main()
