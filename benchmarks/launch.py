"""What scmm-enforce adds to the start of a program, beside bwrap and firejail.

Ways to start it take turns within a round; figures are medians of the differences within a round, and only comparable
within one run. Run as root: `python -m benchmarks.launch`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import click
from rich.console import Console

from benchmarks import launch_report
from benchmarks.launch_report import ALONE, BARE, BWRAP, FIREJAIL, OURS, THREE, Result
from benchmarks.processes import SOURCES, Asked
from rig import launcher
from rig.mounts import private_dir
from rig.process import RigError, find_program, run
from scmm_oci.compiled import polfile
from scmm_oci.policy import document
from scmm_oci.policy.model import Action, PathRule, Policy, SyscallRule
from tests import profiles_found

SEED = 20_240_302
_SCMM = Path(sys.executable).with_name("scmm")
MAX_LOAD = 0.3
PROGRAM = "/bin/true"
#: Starts of each way in a round.
STARTS, SLOW_STARTS = 10, 1
# What a small program of a C library asks for, as strace has it.
_CALLS = (
    *("access", "arch_prctl", "brk", "close", "execve", "exit_group", "fstat", "getrandom", "mmap", "mprotect"),
    *("munmap", "newfstatat", "openat", "pread64", "prlimit64", "read", "rseq", "set_robust_list", "set_tid_address"),
    "write",
)
_RUN = ("execute", "read_file")
_FILES = tuple(
    PathRule(path, access)
    for path, access in {
        "/usr/bin/true": _RUN,
        "/lib64/ld-linux-x86-64.so.2": _RUN,
        "/usr/lib": ("read_file",),
        "/etc/ld.so.cache": ("read_file",),
        "/etc/passwd": ("read_file",),
        "/etc/nsswitch.conf": ("read_file",),
        "/usr/share/zoneinfo/**": ("read_file", "read_dir"),
        "/dev/null": ("read_file", "write_file"),
        "/dev/urandom": ("read_file",),
        "/tmp/**": ("read_file", "write_file", "make_reg", "remove_file", "truncate"),
    }.items()
)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", default=60, show_default=True, type=click.IntRange(3), help="Rounds of starts.")
@click.option("--quick", is_flag=True, help="3 rounds: does it work?")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write samples and figures here.")
@click.option("--seed", default=SEED, show_default=True, help="Of the order of ways and the bootstrap's randomness.")
def main(*, rounds: int, quick: bool, json_file: Path | None, seed: int) -> None:
    """Measure what the launcher adds to the start of a program."""
    load = os.getloadavg()[0]
    result = Result(_machine(), seed)
    try:
        measure(result, rounds=3 if quick else rounds)
    except RigError as error:
        raise click.ClickException(str(error)) from None
    if load > MAX_LOAD:
        result.warnings.insert(0, f"load average {load:.2f} before the start; compare only figures of this run")
    launch_report.show(result, Console(width=launch_report.WIDTH, highlight=False))
    if json_file:
        json_file.write_text(json.dumps(launch_report.to_json(result), indent=1) + "\n")


def measure(result: Result, *, rounds: int) -> None:
    """Fill in the result. Raises RigError. Round 0 warms up and is not kept."""
    random = Random(result.seed)
    with private_dir("launch") as base:
        binary, program = base / "launch", launcher.build(base)
        run(["gcc", "-O2", "-static", "-Wall", "-Wextra", "-Werror", "-o", binary, SOURCES / "launch.c"])
        result.size = program.stat().st_size
        ways = {**_ours(result, program, base), **_others(result)}
        with Asked(binary, str(max(os.sched_getaffinity(0))), hello="ready") as starter:
            if starter.greeting != "ready 1":
                result.warnings.append("no real-time priority for what is started")
            for number in range(rounds + 1):
                click.echo(f"\rround {number} of {rounds}", err=True, nl=number == rounds or not sys.stderr.isatty())
                for way in random.sample(sorted(ways), len(ways)):
                    count = SLOW_STARTS if way == FIREJAIL else STARTS
                    took = int(starter.ask("\t".join([str(count), *ways[way]]))) / count / 1e9
                    if number:
                        result.samples.setdefault(way, {})[number] = took


def _policies(result: Result, directory: Path) -> dict[str, Policy]:
    """What ours applies, by way. A profile that is not to be had is missing."""
    calls = tuple(SyscallRule(name, Action.ALLOW) for name in _CALLS)
    found = {OURS: Policy(syscalls=calls, filesystem=_FILES)}
    reason = profiles_found.docker_default_unavailable()
    if reason:
        result.missing[THREE] = reason
    else:
        imported = directory / "docker.scmm.yaml"
        run([_SCMM, "import-profile", profiles_found.docker_default(), "-o", imported])
        found[THREE] = replace(document.read(imported), filesystem=_FILES)
    return found


def _ours(result: Result, program: Path, directory: Path) -> dict[str, Sequence[str]]:
    """Ours, and the bare start. Raises RigError where a policy does not hold."""
    ways: dict[str, Sequence[str]] = {BARE: [PROGRAM]}
    for way, policy in _policies(result, directory).items():
        source, compiled = directory / f"{way}.scmm.yaml", directory / f"{way}.scmm-pol"
        source.write_bytes(document.dump(policy))
        run([_SCMM, "compile", "-i", source, "-o", compiled])
        result.instructions[way] = len(polfile.read(compiled.read_bytes()).filters[0].program)
        words = [str(program), "-p", str(compiled), "--"]
        # What is timed is held: another program is refused.
        for command, status in ((PROGRAM, 0), ("/bin/false", 126)):
            done = run([*words, command], check=False)
            if done.returncode != status:
                raise RigError(f"{command} under {way} ended with {done.returncode}: {done.stderr}")
        ways[way] = [*words, PROGRAM]
    return ways


def _others(result: Result) -> Mapping[str, Sequence[str]]:
    """Those of the other programs that work here."""
    root = ["--ro-bind", "/", "/"]
    known = {
        BWRAP: ["bwrap", *root, PROGRAM],
        ALONE: ["bwrap", "--unshare-all", *root, "--proc", "/proc", "--dev", "/dev", PROGRAM],
        FIREJAIL: ["firejail", "--quiet", "--noprofile", PROGRAM],
    }
    found = {}
    for way, words in known.items():
        path = find_program(words[0])
        if path is None:
            result.missing[way] = f"{words[0]} is not installed"
            continue
        done = run([path, *words[1:]], check=False)
        if done.returncode:
            result.missing[way] = f"ends with {done.returncode} here: {' '.join(done.stderr.split())[-200:]}"
        else:
            found[way] = [path, *words[1:]]
    return found


def _machine() -> dict[str, str]:
    """What the figures depend on, for the head of the report."""
    system = os.uname()
    found = {"kernel": f"{system.release} {system.machine}", "cpus": str(os.cpu_count())}
    if find_program("dpkg-query"):
        done = run(["dpkg-query", "-W", "-f", "${Package} ${Version}\n", "bubblewrap", "firejail"], check=False)
        found |= {name: version for name, _, version in (line.partition(" ") for line in done.stdout.splitlines())}
    return found | {"load": f"{os.getloadavg()[0]:.2f}"}


if __name__ == "__main__":
    main()
