"""Run *.bats files under one runtime, and read what bats says of each case.

Facts relied on: bats(1) 1.8 (`--formatter tap`), the TAP it prints (`ok N NAME # skip WHY`),
ioctl_tty(2) TIOCSCTTY: cases that run a container with a terminal and no console socket take the caller's.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import subprocess
import termios
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rig.process import RigError, clean_environ

from .suite import Suite

_SENT = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE)
# For a whole file. bats's own limit for a case is a child of the case's shell: `wait` in a case would wait for it.
FILE_S = 1800
_LINE = re.compile(r"(?P<not>not )?ok \d+ (?P<rest>.*)")
_SKIP = re.compile(r"(?P<name>.*?) # skip ?(?P<why>.*)")
_TOOK = re.compile(r" in \d+(ms|sec)$")


class Outcome(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Case:
    """A case's file (its name without .bats), name and outcome; `detail` is why it was skipped, or what it printed."""

    file: str
    name: str
    outcome: Outcome
    detail: str

    @property
    def key(self) -> str:
        return f"{self.file}: {self.name}"


def parse(file: str, text: str) -> list[Case]:
    """The cases in the TAP of one file. Raises RigError where it is not whole: a file that broke off proves nothing."""
    found: list[Case] = []
    details: list[list[str]] = []
    plan = None
    for line in text.splitlines():
        if re.fullmatch(r"1\.\.\d+", line):
            plan = int(line[3:])
        elif match := _LINE.fullmatch(line):
            found.append(_case(file, _TOOK.sub("", match["rest"]), failed=bool(match["not"])))
            details.append([])
        elif line.startswith("#") and details:
            details[-1].append(line.removeprefix("# "))
    if plan is None or plan != len(found):
        raise RigError(f"{file}.bats: {plan} cases announced, {len(found)} told of:\n{text[-2000:]}")
    return [
        case if case.outcome is Outcome.SKIPPED else Case(case.file, case.name, case.outcome, "\n".join(lines))
        for case, lines in zip(found, details, strict=True)
    ]


def _case(file: str, rest: str, *, failed: bool) -> Case:
    skip = None if failed else _SKIP.fullmatch(rest)
    if skip:
        return Case(file, _TOOK.sub("", skip["name"]), Outcome.SKIPPED, skip["why"])
    return Case(file, rest, Outcome.FAILED if failed else Outcome.PASSED, "")


def run_file(
    suite: Suite, path: Path, *, way: str, runtime: Path, scratch: Path, only: Sequence[str] = ()
) -> list[Case]:
    """The cases of a file with `runtime` as $RUNC; `only` has names of cases, all if it is empty.

    way: what starts are counted for, see `ways`.
    """
    words = ["bats", "--formatter", "tap", "--timing", path.name]
    if only:
        words[1:1] = ["--filter", f"^({'|'.join(map(re.escape, only))})$"]
    env = clean_environ(
        *("RUNC", "SCMM_", "BATS_", "ROOTLESS", "CASES_"),
        **{f"CASES_{name}": str(image) for name, image in suite.images.items()},
        CASES_WAY=way,
        RUNC=str(runtime),
        TMPDIR=str(scratch),
    )
    with _terminal() as terminal, (scratch / "tap").open("w+b") as output:

        def take_terminal() -> None:
            for number in _SENT:  # whoever runs us may have ignored some
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

        process = subprocess.Popen(
            words,
            cwd=suite.directory,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[terminal],
            preexec_fn=take_terminal,
        )
        try:
            process.wait(FILE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        return parse(path.stem, output.read().decode("utf-8", "replace"))


@contextmanager
def _terminal() -> Iterator[int]:
    """A terminal that nobody types on."""
    ours, theirs = pty.openpty()
    try:
        yield theirs
    finally:
        os.close(theirs)
        os.close(ours)
