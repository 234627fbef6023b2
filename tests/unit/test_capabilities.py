"""Capabilities that are given up: those that were asked for stay, and no other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, need

from scmm_oci.kernel import capabilities

KEEPS = """
import os, sys
from scmm_oci.kernel import capabilities
capabilities.keep(map(int, sys.argv[1:]))
print(*(line.split()[1] for line in open("/proc/self/status") if line.startswith(("CapInh", "CapPrm", "CapEff"))))
"""


def kept(*numbers: int) -> tuple[int, ...]:
    words = [sys.executable, "-c", KEEPS, *map(str, numbers)]
    done = subprocess.run(
        words, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return tuple(int(word, 16) for word in done.stdout.split())


def permitted() -> int:
    (line,) = [one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("CapPrm")]
    return int(line.split()[1], 16)


@pytest.mark.parametrize("numbers", [(), (0,), (1, 2, 34, 37), tuple(range(64))])
def test_what_is_kept_is_what_was_asked_for_and_had(numbers: tuple[int, ...]) -> None:
    left = permitted() & sum(1 << number for number in numbers)
    assert kept(*numbers)[:2] == (0, left)
    need("KERNEL", None if os.geteuid() == 0 else "of others than root nothing is effective")
    assert kept(*numbers)[2] == left


def test_numbers_are_the_kernels() -> None:
    header = Path("/usr/include/linux/capability.h")
    need("KERNEL", None if header.is_file() else f"{header} is not here")
    defined = {words[1]: words[2] for line in header.read_text().splitlines() if len(words := line.split()) == 3}
    for name in ("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "NET_ADMIN", "SYS_RESOURCE",
                 "AUDIT_CONTROL", "SYSLOG", "AUDIT_READ", "SYS_ADMIN", "PERFMON", "BPF"):  # fmt: skip
        assert int(defined[f"CAP_{name}"]) == getattr(capabilities, name)
