"""One run of a program in a cgroup: with the standard input, output and environment that the run asks for.

The process joins the cgroup before it executes the program, as one that enters a container does. A run is over when
nothing is left in the cgroup.
"""

from __future__ import annotations

import errno
import os
import select
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rig.cgroup import populated
from rig.process import RigError, wait_until

DEADLINE_S = 60.0
INPUTS = ("nothing", "pipe", "file")
OUTPUTS = ("pipe", "file", "nothing", "terminal")
# Who joins the cgroup is no program in it before it executes one. To fork a process as large as ours takes longer.
_JOIN = ("/bin/sh", "-c", 'group=$1; shift; echo 0 >"$group"; exec "$@"', "join")
#: Of what Debian always has.
LOCALES = ("C", "C.UTF-8")


@dataclass(frozen=True)
class Run:
    """A command line, and what it stands on. `given`: what comes from standard input, of one of INPUTS."""

    words: tuple[str, ...]
    input: str = "nothing"
    output: str = "pipe"
    locale: str = "C"
    given: bytes = b""
    environ: Mapping[str, str] = field(default_factory=dict)


def perform(run: Run, *, where: Path, cgroup: Path, group: str) -> int:
    """Run it in a directory to its end; its status. `group`: the path of the file of processes to join."""
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(where), "LC_ALL": run.locale, "TZ": "UTC", **run.environ}
    feed, stdin = _input(run, where)
    drain, stdout = _output(run, where)
    try:
        process = subprocess.Popen(
            (*_JOIN, group, *run.words),
            stdin=stdin,
            stdout=stdout,
            stderr=stdout if run.output == "terminal" else subprocess.DEVNULL,
            cwd=where,
            env=environ,
            start_new_session=True,
        )
    finally:
        os.close(stdin)
        os.close(stdout)
    _exchange(process, feed, run.given, drain)
    status = process.wait(DEADLINE_S)
    wait_until(lambda: not populated(cgroup), deadline_s=DEADLINE_S, what=f"{run.words} has ended")
    return status


def _input(run: Run, where: Path) -> tuple[int | None, int]:
    """(our end, the program's end)."""
    if run.input == "pipe":
        theirs, ours = os.pipe2(os.O_CLOEXEC)
        return ours, theirs
    path = "/dev/null"
    if run.input == "file":
        path = f"{where}/.stdin"
        Path(path).write_bytes(run.given)
    return None, os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _output(run: Run, where: Path) -> tuple[int | None, int]:
    if run.output == "pipe":
        return os.pipe2(os.O_CLOEXEC)
    if run.output == "terminal":
        return os.openpty()
    path = "/dev/null" if run.output == "nothing" else f"{where}/.stdout"
    return None, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _exchange(process: subprocess.Popen[bytes], feed: int | None, given: bytes, drain: int | None) -> None:
    """Write what is given, read all that comes."""
    end = time.monotonic() + DEADLINE_S
    left = memoryview(given)
    if feed is not None:
        os.set_blocking(feed, False)
    while feed is not None or drain is not None:
        readable, writable, _ = select.select(
            [drain] if drain is not None else [], [feed] if feed is not None else [], [], max(0, end - time.monotonic())
        )
        if not readable and not writable:
            process.kill()
            raise RigError(f"{process.args!r} neither reads nor ends")
        if writable and feed is not None:
            try:
                left = left[os.write(feed, left[:65536]) :] if left else left
            except BrokenPipeError:
                left = left[:0]
            if not left:
                os.close(feed)
                feed = None
        if readable and drain is not None and not _read(drain):
            os.close(drain)
            drain = None


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError as error:
        if error.errno != errno.EIO:  # nobody has the terminal's other end any more
            raise
        return b""
