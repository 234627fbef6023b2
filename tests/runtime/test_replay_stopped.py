"""`scmm verify --replay` that is told to end, at any moment: it ends, with the status of what was stopped, and leaves
nothing. With SCMM_SOAK=1 at 200 moments of each kind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from recording import as_from_a_shell
from replays import MACHINE, SCMM, bundle_of, left, running
from support import need

from rig import namespace
from rig import runc as bundles
from rig.process import wait_until
from scmm_oci.oci.seccomp import OciAction, Profile, Rule, to_json

SOAK = bool(os.environ.get("SCMM_SOAK"))
MANY = 200 if SOAK else 3
DEADLINE = 120
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# A replay that sends itself a signal at the n-th line that it executes; it prints how many there are if that is fewer,
# and for n = 0.
AT_A_LINE = """
import os, sys, threading
from scmm_oci.cli.main import main
number, at, *words = sys.argv[1:]
seen = 0
def line(frame, event, argument):
    global seen
    if event == "line":
        seen += 1
        if seen == int(at):
            os.kill(os.getpid(), int(number))
    return line
THEIRS = ("/subprocess.py", "/contextlib.py", "/tempfile.py", "/shutil.py")
OURS = ("/recorder/replay/", "/cli/replayed.py", "/scmm_oci/scratch.py", *THEIRS)
def call(frame, event, argument):
    return line if any(part in frame.f_code.co_filename for part in OURS) else None
import scmm_oci.cli.replayed, scmm_oci.recorder.replay.trial, scmm_oci.recorder.replay.start
sys.settrace(call)
status = main(words)
sys.settrace(None)
if seen < int(at) or at == "0":
    print(seen)
sys.exit(status)
"""


@pytest.fixture(scope="module", autouse=True)
def ready(inside: namespace.Entered) -> None:
    need("KERNEL", bundles.available("runc"))


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A replay of a profile that refuses what the program needs: it starts, records, and tries again."""
    profile = Profile(OciAction.ALLOW, None, (MACHINE.scmp,), syscalls=(Rule(("mkdir",), OciAction.ERRNO),))
    (tmp_path / "p.json").write_bytes(to_json(profile))
    source = bundle_of(tmp_path, "mkdir /made && exit 3")
    return ["verify", str(tmp_path / "p.json"), "--replay", "--bundle", str(source), "--times", "1", "--nnp", "off"]


def begun(words: Sequence[str], **how: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=as_from_a_shell,
        **how,
    )


def over(process: subprocess.Popen[str]) -> str:
    """What a process printed until its end."""
    try:
        return process.communicate(timeout=DEADLINE)[0]
    finally:
        process.kill()


def ways(chance: random.Random) -> list[str]:
    kinds = [name for name in ("runc", "crun") if bundles.available(name) is None]
    way = ["--runtime", chance.choice(kinds), "--way", chance.choice(["run", "create", "exec"])]
    return way if SOAK else ["--runtime", "runc", "--way", "create"]


def test_at_any_line(words: list[str]) -> None:
    chance = random.Random(7)
    lines: dict[tuple[str, ...], int] = {}
    reached = 0
    for _ in range(MANY):
        way = ways(chance)
        if tuple(way) not in lines:
            with begun([sys.executable, "-c", AT_A_LINE, "0", "0", *words, *way]) as process:
                printed = over(process)
            assert process.returncode == 1, printed
            lines[tuple(way)] = int(printed.split()[-1])
            assert lines[tuple(way)] > 1000 and left(process.pid) == set()
        number, at = chance.choice(SIGNALS), chance.randint(1, lines[tuple(way)])
        with begun([sys.executable, "-c", AT_A_LINE, str(int(number)), str(at), *words, *way]) as process:
            printed = over(process)
        if printed.strip() and printed.split()[-1].isdecimal():  # waits take more lines or fewer
            assert process.returncode == 1 and left(process.pid) == set()
            continue
        reached += 1
        # Before and after what is kept a signal does what it does.
        outside = 130 if number is signal.SIGINT else -number
        assert process.returncode in (130, outside) and left(process.pid) == set(), (number, at, way, printed)
    assert reached > MANY / 2


def test_at_any_time(words: list[str]) -> None:
    """While it waits, too: the moments are those of a clock."""
    chance = random.Random(8)
    for _ in range(MANY):
        number, way = chance.choice(SIGNALS), ways(chance)
        with begun([*SCMM, *words, *way]) as process:
            wait_until(lambda: left(process.pid), deadline_s=DEADLINE, what="a replay that has begun")
            try:
                process.wait(chance.uniform(0, 0.6))
            except subprocess.TimeoutExpired:
                os.kill(process.pid, number)
            printed = over(process)
        assert process.returncode in (130, 1, -number) and left(process.pid) == set(), (number, way, printed)


@pytest.mark.parametrize("number", SIGNALS)
def test_while_a_program_runs(words: list[str], tmp_path: Path, number: signal.Signals) -> None:
    bundle_of(tmp_path, "exec sleep 1000")
    with begun([*SCMM, *words, "--runtime", "runc", "--seconds", "600"]) as process:
        wait_until(lambda: on_in(process), deadline_s=DEADLINE, what="a program in a container")
        os.kill(process.pid, number)
        printed = over(process)
    assert process.returncode == 130 and printed.splitlines()[-1] == "stopped" and left(process.pid) == set()


def test_a_signal_that_is_ignored_stays_so(words: list[str], tmp_path: Path) -> None:
    """As of what a shell starts in the background, and nohup."""
    bundle_of(tmp_path, "exec sleep 1000")
    ignoring = ["sh", "-c", 'trap "" INT HUP; exec "$@"', "sh"]
    with begun([*ignoring, *SCMM, *words, "--runtime", "runc", "--way", "run", "--seconds", "1"]) as process:
        wait_until(lambda: on_in(process), deadline_s=DEADLINE, what="a program in a container")
        os.kill(process.pid, signal.SIGINT)
        os.kill(process.pid, signal.SIGHUP)
        printed = over(process)
    assert process.returncode == 0 and "serves in 1 of 1 ways" in printed and left(process.pid) == set()


def on_in(process: subprocess.Popen[str]) -> bool:
    """Whether the container's own program runs."""
    return any(program.endswith("busybox") for program in running(process.pid))
