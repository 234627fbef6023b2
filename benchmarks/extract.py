"""What `scmm extract` and `scmm compile` take for large captures: time, growth with size, memory; run by `make bench`.

Each case is two processes, told to do what the commands do: one reads a capture file and writes a policy and a profile,
the other reads that policy and writes the compiled one, and judges it as it does by default. The captures are made
here: a data set in many directories, which becomes one pattern, and paths without anything in common, each of which
stays a rule.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from scmm_oci.capture import file
from scmm_oci.capture.facts import FileUse, Operation, PathState, Program
from scmm_oci.capture.model import Call, Capture, Container, Host, Recorder, Runtime, Session, SessionKind, Source
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch

SIZES = (1_000, 10_000, 100_000)
# Extract and compile together, of the largest.
GOAL_S = 5.0
_CALLS = 1_000_000
# Of the table where no terminal says it.
_WIDTH = 140
_LETTERS = "abcdefghijklmnopqrst"


def data_set(number: int, _random: random.Random) -> str:
    """A file of a data set in a thousand directories."""
    return f"/srv/data/d{number % 97}/s{number % 1009}/item-{number}.bin"


def unlike(_number: int, source: random.Random) -> str:
    """A path of its own."""
    words = ["".join(source.choices(_LETTERS, k=8)) for _ in range(3)]
    return f"/usr/share/{'/'.join(words)}"


SHAPES: dict[str, Callable[[int, random.Random], str]] = {"data set": data_set, "nothing in common": unlike}


def capture(size: int, shape: Callable[[int, random.Random], str]) -> Capture:
    """A capture of one program that opened so many files, and made a million calls of each kind."""
    source = random.Random(size)
    paths = sorted({shape(number, source) for number in range(size)})
    uses = tuple(
        FileUse(
            path=path,
            state=PathState.RESOLVED,
            operation=Operation.OPEN,
            flags=0,
            other=None,
            created=False,
            access=("read_file",),
            parent_access=(),
            succeeded=_CALLS // size,
            failed=0,
            errnos=(),
            programs=(0,),
            sessions=(0,),
            first=1,
        )
        for path in paths
    )
    numbers = syscalls.numbers(Arch.X86_64)
    names = ("read", "openat", "close", "newfstatat", "mmap", "brk", "exit_group")
    calls = tuple(
        Call(Arch.X86_64, numbers[name], name, _CALLS, _CALLS, (), 0, None, (0,), 1)
        for name in sorted(names, key=numbers.__getitem__)
    )
    return Capture(
        name="large",
        source=Source.COMMAND,
        losses=(),
        notes=(),
        started_at="2026-01-01T00:00:00Z",
        ended_at="2026-01-01T00:01:00Z",
        recorder=Recorder("scmm-oci", "bench"),
        host=Host("6.1", "x86_64"),
        container=Container("large", ("reader",), 0, 0, False, False),
        runtime=Runtime("runc", "1.1.5"),
        sessions=(Session(SessionKind.MAIN, 0, (), (), calls),),
        programs=(Program(0, "/usr/bin/reader", PathState.RESOLVED, None, None, "reader", 1, 0),),
        files=uses,
    )


@dataclass(frozen=True)
class Step:
    """One run of one command.

    Attributes:
        wall, processor: seconds.
        memory: the most that was resident, KiB.
        size: bytes of what was written.
    """

    wall: float
    processor: float
    memory: int
    size: int


@dataclass(frozen=True)
class Run:
    """One run of both commands, and how many rules for files the policy has."""

    extract: Step
    compile: Step
    rules: int

    @property
    def wall(self) -> float:
        """Seconds of both."""
        return self.extract.wall + self.compile.wall

    @property
    def processor(self) -> float:
        """Seconds of both."""
        return self.extract.processor + self.compile.processor


def measure(path: Path, folder: Path) -> Run:
    """What both commands take for one capture file, one after the other."""
    policy, compiled = folder / "out.scmm.yaml", folder / "out.scmm-pol"
    extracted = step(
        "extract", ["-i", path, "-o", policy, "--oci", folder / "out.json", "--non-interactive"], written=policy
    )
    made = step("compile", ["-i", policy, "-o", compiled], written=compiled)
    return Run(extracted, made, policy.read_bytes().count(b"{path: "))


def step(verb: str, words: Sequence[str | Path], *, written: Path) -> Step:
    """What one command takes.

    Raises:
        SystemExit: it failed.
    """
    code = (
        "import json, resource, sys, time; started = time.perf_counter();"
        f"from scmm_oci.cli.main import {verb}; status = {verb}(sys.argv[1:]);"
        "used = resource.getrusage(resource.RUSAGE_SELF);"
        "print(json.dumps([status, time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    status, wall, processor, memory = json.loads(done.stdout.splitlines()[-1])
    if status:
        raise SystemExit(done.stderr)
    return Step(wall, processor, memory, written.stat().st_size)


def middle(runs: Sequence[Run]) -> Run:
    """The run in the middle by processor time, of an even number the slower."""
    return sorted(runs, key=lambda run: run.processor)[len(runs) // 2]


def row(paths: int, run: Run) -> list[str]:
    """The cells of one case, in the order of COLUMNS."""
    return [
        str(paths),
        str(run.rules),
        f"{run.extract.processor:.2f}",
        f"{run.compile.processor:.2f}",
        f"{run.processor:.2f}",
        f"{run.wall:.2f}",
        f"{run.processor / paths * 1e6:.0f}",
        str(max(run.extract.memory, run.compile.memory) >> 10),
        str(run.extract.size >> 10),
        str(run.compile.size >> 10),
    ]


COLUMNS = (
    *("paths", "rules", "extract s", "compile s", "both s", "wall s", "for each path µs", "MiB"),
    *("policy KiB", "compiled KiB"),
)


def verdict(shape: str, paths: int, run: Run) -> str:
    """Whether the goal is reached, by processor time: neither command waits, and other work counts less in it."""
    met = "reached" if run.processor <= GOAL_S else "not reached"
    return f"goal {GOAL_S:g} s for both, {shape}, {paths} paths: {run.processor:.2f} s, {met}"


def main() -> None:
    """Measure every size and shape, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    title = "scmm extract (policy and profile) and scmm compile: seconds of processor"
    table = Table("shape", title=title, title_justify="left")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    verdicts = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for words, shape in SHAPES.items():
            for size in SIZES:
                one = capture(size, shape)
                path = folder / "large.scmm-cap"
                file.write(path, one)
                run = middle([measure(path, folder) for _ in range(arguments.rounds)])
                table.add_row(words, *row(len(one.files), run))
                if size == SIZES[-1]:
                    verdicts.append(verdict(words, len(one.files), run))
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    console.print(table)
    for line in verdicts:
        console.print(line)


if __name__ == "__main__":
    main()
