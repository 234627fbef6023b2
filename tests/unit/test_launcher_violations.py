"""What permissive mode tells of calls, in a hosted program with sanitizers: from any numbers and any memory."""

import re
import subprocess
from pathlib import Path

import pytest
from launcher_questions import LAUNCHER, OWN, SANITIZED, STRICT, compiled

PAYLOAD = Path(__file__).resolve().parents[1] / "payload/launcher_violations.c"
# MOST_KINDS of launcher/violations.c.
KINDS = 2048


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    directory = tmp_path_factory.mktemp("violations")
    text = compiled(directory, LAUNCHER / "text.c", *OWN, "-fno-builtin")
    binary = directory / "launcher_violations"
    sources = [PAYLOAD, *(LAUNCHER / name for name in ("violations.c", "policy.c", "sha256.c")), text]
    subprocess.run(["gcc", *SANITIZED, *STRICT, "-o", binary, *sources], check=True, timeout=120)
    return binary


def told(program, seed, count):
    command = [program, str(seed), str(count)]
    return subprocess.run(command, capture_output=True, check=True, timeout=120).stdout.decode("ascii")


LINE = re.compile(
    r"scmm-enforce: would refuse (?:(?:x86|x32)'s )?(?:\w+|call \d+)\(.*\) of process \d*(?: \(.*\))?: "
    r"(?:errno (?:13 EACCES|4095)|SIGSYS is sent)"
)
SUM = re.compile(r"scmm-enforce:   (\d+) times? (?:\S.*: (?:errno .*|SIGSYS is sent)|others, .*)")


@pytest.mark.parametrize("seed", range(4))
def test_nothing_steers_a_terminal_and_every_call_is_counted(program, seed):
    lines = told(program, seed, 3000).splitlines()
    heads = [index for index, line in enumerate(lines) if line.startswith("scmm-enforce: would have refused ")]
    assert len(heads) == 1
    first, total = lines[: heads[0]], int(lines[heads[0]].split()[4])
    counts = [SUM.fullmatch(line) for line in lines[heads[0] + 1 :]]
    assert all(counts)
    assert sum(int(count[1]) for count in counts) == total
    assert 2700 < total < 3000
    # One line for each kind, and one in the sum; beside those without room.
    assert [line for line in first if not LINE.fullmatch(line)] == []
    assert len(first) == sum("others, " not in count[0] for count in counts)
    assert all(" " <= letter <= "~" for line in lines for letter in line)
    # Control: there was something to escape.
    assert any("\\u001b" in line for line in first)


def test_kinds_without_room_are_counted_together(program):
    lines = told(program, 9, 8000).splitlines()
    # Calls that were gone before they could go on take no room.
    assert sum(line.startswith("scmm-enforce: would refuse ") for line in lines) == KINDS
    assert re.fullmatch(r"scmm-enforce:   \d{4} times others, as there is no room for more kinds", lines[-1])
