"""What `scmm extract` takes for large captures: time by stage, growth with size, memory; run by `make bench`.

Each case is a process of its own, told to read a capture file and write a policy and a profile, as the command does.
The captures are made here: a data set in many directories, which becomes one pattern, and paths without anything in
common, each of which stays a rule.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from scmm_oci.capture import file
from scmm_oci.capture.facts import FileUse, Operation, PathState, Program
from scmm_oci.capture.model import Call, Capture, Container, Host, Recorder, Runtime, Session, SessionKind, Source
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch

SIZES = (1_000, 10_000, 100_000)
_CALLS = 1_000_000
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


def measure(path: Path, folder: Path) -> dict[str, Any]:
    """Wall and processor seconds, MiB and KiB of one run of the command."""
    output = folder / "out.scmm.yaml"
    code = (
        "import json, resource, sys, time; started = time.perf_counter();"
        "from scmm_oci.cli.main import extract; status = extract(sys.argv[1:]);"
        "used = resource.getrusage(resource.RUSAGE_SELF);"
        "print(json.dumps([status, time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss]))"
    )
    words = ["-i", str(path), "-o", str(output), "--oci", str(folder / "out.json"), "--non-interactive"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    status, wall, processor, memory = json.loads(done.stdout.splitlines()[-1])
    if status:
        raise SystemExit(done.stderr)
    rules = output.read_bytes().count(b"{path: ")
    size = output.stat().st_size
    return {"wall": wall, "processor": processor, "memory": memory >> 10, "rules": rules, "bytes": size}


def main() -> None:
    """Measure every size and shape, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    table = Table("shape", title="scmm extract: policy and profile", title_justify="left")
    for column in ("paths", "rules", "wall s", "processor s", "for each path µs", "MiB", "policy KiB"):
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for words, shape in SHAPES.items():
            for size in SIZES:
                one = capture(size, shape)
                path = folder / "large.scmm-cap"
                file.write(path, one)
                runs = sorted((measure(path, folder) for _ in range(arguments.rounds)), key=lambda run: run["wall"])
                run = runs[len(runs) // 2]
                each = run["processor"] / len(one.files) * 1e6
                cells = (
                    f"{run['wall']:.2f}",
                    f"{run['processor']:.2f}",
                    f"{each:.0f}",
                    run["memory"],
                    run["bytes"] >> 10,
                )
                table.add_row(words, str(len(one.files)), str(run["rules"]), *map(str, cells))
    Console().print(table)


if __name__ == "__main__":
    main()
