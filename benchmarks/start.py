"""How much longer a container takes to start when it is recorded: by our hooks, and by what there was before.

The ways to start it take turns, so that what else the machine does falls on all of them; figures are medians of
the differences within a round. Run as root: `python -m benchmarks.start`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click
from rich.console import Console

from benchmarks import alone, cases, incumbent, report
from benchmarks.ground import Ground, busy_share, ground
from benchmarks.report import Result
from rig.process import RigError, find_program, run

SEED = 20_240_229
PAUSE = 0.1
MAX_LOAD = 0.3
MAX_BUSY = 0.05


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", default=20, show_default=True, type=click.IntRange(3), help="Rounds of short starts.")
@click.option(
    "--incumbent-rounds",
    default=5,
    show_default=True,
    type=click.IntRange(0),
    help="Rounds that also have the incumbent's start, which takes seconds, and ours after a boot.",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write samples and figures here.")
@click.option("--quick", is_flag=True, help="5 rounds, 2 with the incumbent: does it work?")
@click.option("--install-incumbent", is_flag=True, help="Install the incumbent's Debian packages where missing.")
@click.option("--seed", default=SEED, show_default=True, help="Of the bootstrap's randomness.")
def main(
    *, rounds: int, incumbent_rounds: int, json_file: Path | None, quick: bool, install_incumbent: bool, seed: int
) -> None:
    """Measure what recording adds to the start of a container."""
    if quick:
        rounds, incumbent_rounds = 5, min(2, incumbent_rounds)
    load = os.getloadavg()[0]
    try:
        result = _measure(rounds, incumbent_rounds, seed=seed, install=install_incumbent)
    except RigError as error:
        raise click.ClickException(str(error)) from None
    if load > MAX_LOAD:
        result.warnings.insert(0, f"load average {load:.2f} before the start; compare only figures of this run")
    report.show(result, Console(width=report.WIDTH, highlight=False))
    if json_file:
        json_file.write_text(json.dumps(report.to_json(result), indent=1) + "\n")


def _measure(rounds: int, slow_rounds: int, *, seed: int, install: bool) -> Result:
    missing = _incumbent(install) if slow_rounds else "--incumbent-rounds 0"
    with ground() as here:
        always: list[cases.Case] = [cases.Nothing(here), cases.Recorded(here), cases.NotAsked(here)]
        theirs = None if missing else cases.Incumbent(here)
        sometimes: list[cases.Case] = [cases.First(here), *([theirs] if theirs else [])]
        kinds = (cases.Nothing, cases.NotAsked, cases.Recorded, cases.First, cases.Incumbent)
        titles = {kind.key: kind.title for kind in kinds}
        result = Result(titles, machine(), seed, truth=len(here.truth))
        if missing:
            result.missing["incumbent"] = missing
        busy = _rounds(result, here, always, sometimes, rounds=rounds, slow_rounds=max(slow_rounds, 2))
        if theirs and theirs.names:
            result.names = incumbent.compare(theirs.names, here.truth)
    if busy > MAX_BUSY:
        result.warnings.append(f"others kept {busy:.0%} of the processors busy meanwhile")
    return result


def _rounds(
    result: Result,
    here: Ground,
    always: list[cases.Case],
    sometimes: list[cases.Case],
    *,
    rounds: int,
    slow_rounds: int,
) -> float:
    """Fill in `result`; the share of the processors that others used. Round 0 warms up and is not kept."""
    busy = []
    for number in range(rounds + 1):
        slow = number <= slow_rounds
        click.echo(f"\rround {number} of {rounds}", err=True, nl=number == rounds or not sys.stderr.isatty())
        busy.append(busy_share(PAUSE))
        for case in (*always, *(sometimes if slow else ())):
            if case.key in result.missing:
                continue
            try:
                start = case.start(number)
            except RigError as error:
                if not isinstance(case, cases.Incumbent):
                    raise
                result.missing[case.key] = " ".join(str(error).split())[-300:]
                continue
            if number:
                result.samples.setdefault(case.key, {})[number] = start.ended
                result.spoke.setdefault(case.key, {})[number] = start.spoke
            result.checked += isinstance(case, cases.Recorded)
        for first in (False, True) if slow else (False,):
            for key, seconds in alone.measure(here, number, first=first).items():
                if number:
                    result.hooks.setdefault(key, []).append(seconds)
            result.checked += 1
    return sum(busy) / len(busy)


def _incumbent(install: bool) -> str | None:
    """Why there will be no figures of the incumbent, or None."""
    if install and incumbent.unavailable():
        click.echo(f"installing {' '.join(incumbent.packages())}", err=True)
        try:
            incumbent.install()
        except RigError as error:
            return " ".join(str(error).split())[-300:]
    return incumbent.unavailable()


def machine() -> dict[str, str]:
    """What the figures depend on, for the head of the report."""
    system = os.uname()
    return {
        "kernel": f"{system.release} {system.machine}",
        "cpus": str(os.cpu_count()),
        "podman": _version("podman"),
        "runc": _version("runc"),
        "incumbent": _package_version(incumbent.packages()[0]),
        "headers": _package_version(incumbent.packages()[1]),
        "load": f"{os.getloadavg()[0]:.2f}",
    }


def _version(program: str) -> str:
    done = run([find_program(program) or program, "--version"], check=False)
    return done.stdout.splitlines()[0].split()[-1] if done.stdout else "?"


def _package_version(name: str) -> str:
    if find_program("dpkg-query") is None:
        return "?"
    return run(["dpkg-query", "-W", "-f", "${Version}", name], check=False).stdout or "none"


if __name__ == "__main__":
    main()
