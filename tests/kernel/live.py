"""Asks the kernel what filters make of calls, by tests/payload/filters.c; says what a filter's value comes to there.

No call is executed. What the kernel never has filtered is left out: see UNFILTERED.
"""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from random import Random

from support import ROOT

from rig.process import missing_programs
from scmm_oci.compiled import bpf
from scmm_oci.compiled.bpf import Call, Program
from scmm_oci.compiled.simulate import simulate
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.syscalls import X32_SYSCALL_BIT, numbers

GUARD = 4000
MAX_ERRNO = 4095  # what is above is answered as this: __seccomp_filter of kernel/seccomp.c
X86, X86_64 = Arch.X86.audit, Arch.X86_64.audit

#: uretprobe and uprobe of x86_64: since Linux 6.14 and 6.18 they pass by every filter (kernel/seccomp.c).
UNFILTERED = frozenset({335, 336})

_CALL = struct.Struct("<8Q")
_RESULT = struct.Struct("<IiII")
_HEAD = 16


class Kind(IntEnum):
    """How a call ended; the numbers of filters.c."""

    NONE = 0
    RETURNED = 1
    TRAPPED = 2
    THREAD_KILLED = 3
    PROCESS_KILLED = 4


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a call: its result, or what the handler of SIGSYS was told."""

    kind: Kind
    value: int = 0
    nr: int = 0
    arch: int = 0


@dataclass(frozen=True)
class Difference:
    """A call of which the kernel thought otherwise."""

    call: Call
    expected: Verdict
    found: Verdict


def expected(value: int, call: Call) -> Verdict:
    """What becomes of a call, beneath the guard, if a filter returns `value` for it."""
    data = value & bpf.RET_DATA
    match value & bpf.RET_ACTION_FULL:
        case bpf.RET_ALLOW | bpf.RET_LOG | bpf.RET_TRACE | bpf.RET_USER_NOTIF:
            return Verdict(Kind.RETURNED, -GUARD)
        case bpf.RET_ERRNO:
            return Verdict(Kind.RETURNED, -min(data, MAX_ERRNO))
        case bpf.RET_TRAP:
            return Verdict(Kind.TRAPPED, data, call.nr, call.arch)
        case bpf.RET_KILL_THREAD:
            return Verdict(Kind.THREAD_KILLED)
    return Verdict(Kind.PROCESS_KILLED)


def unavailable() -> str | None:
    """Why calls of x86_64, x32 and i386 cannot be made here, or None."""
    if os.uname().machine != "x86_64":
        return "the program that asks the kernel about filters is for x86_64"
    return missing_programs("gcc")


def compiled(source: str, directory: Path) -> Path:
    """A program of tests/payload, compiled into a directory."""
    target = directory / Path(source).stem
    words = ("gcc", "-O2", "-static", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", target)
    subprocess.run([*words, ROOT / "tests/payload" / source], check=True)
    return target


class Live:
    """filters.c, compiled into a directory. Makes calls of x86_64 (also with the bit of x32) and of i386."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._program = compiled("filters.c", directory)

    def verdicts(self, program: Program, calls: Sequence[Call]) -> list[Verdict]:
        """What becomes of each call. None of them may be UNFILTERED."""
        return self.raw(bpf.encode(program), [_words(call) for call in calls])

    def raw(self, program: bytes, calls: Sequence[tuple[int, ...]]) -> list[Verdict]:
        """The same for registers: how (0 syscall, 1 int 0x80), the number's and the arguments', 64 bits of each."""
        files = [self._directory / name for name in ("program", "calls", "results")]
        files[0].write_bytes(program)
        files[1].write_bytes(b"".join(_CALL.pack(*words) for words in calls))
        files[2].write_bytes(bytes(_HEAD + _RESULT.size * len(calls)))
        done = subprocess.run([self._program, *files], capture_output=True, text=True, timeout=300)
        assert (done.returncode, done.stderr) == (0, "")
        results = files[2].read_bytes()
        assert struct.unpack_from("<2Q", results) == (len(calls), 1)
        return [Verdict(Kind(kind), *rest) for kind, *rest in _RESULT.iter_unpack(results[_HEAD:])]

    def differences(
        self, program: Program, calls: Sequence[Call], *, simulated: Program | None = None
    ) -> list[Difference]:
        """Where the kernel, with `program`, does something else than the simulator says of it (or of `simulated`)."""
        found = self.verdicts(program, calls)
        wanted = [expected(simulate(simulated or program, call).value, call) for call in calls]
        return [Difference(*three) for three in zip(calls, wanted, found, strict=True) if three[1] != three[2]]


def _words(call: Call) -> tuple[int, ...]:
    assert call.arch in (X86, X86_64)
    assert call.arch == X86 or call.nr not in UNFILTERED
    args = (*call.args, *([0] * (6 - len(call.args))))
    return (int(call.arch == X86), call.nr, *args)


def random_calls(program: Program, random: Random) -> Iterator[Call]:
    """Calls without end, at and beside what the program compares with; x86_64's, x32's and i386's."""
    near = sorted({one.k + by & bpf.WORD for one in program if one.code & 7 == 5 for by in (-1, 0, 1)} | {0, bpf.WORD})
    known = sorted({number for arch in ("x86_64", "x86", "x32") for number in numbers(arch).values()})

    def word() -> int:
        return random.choice(near) if random.random() < 0.7 else random.getrandbits(32)

    while True:
        nr = random.choice(known) if random.random() < 0.6 else word()
        arch = random.choice((X86, X86_64, X86_64))
        if arch == X86_64 and random.random() < 0.3:
            nr ^= X32_SYSCALL_BIT
        if arch == X86_64 and nr in UNFILTERED:
            continue
        high = (lambda: 0) if arch == X86 else (lambda: word() if random.random() < 0.3 else 0)
        yield Call(nr, arch, tuple(high() << 32 | word() for _ in range(6)))


def few_kills(program: Program, calls: Iterable[Call], most: int) -> Iterator[Call]:
    """The calls without those that end a thread or process, after the first `most` of them: these take long.

    There may be no others, so do not wait for one of calls without end.
    """
    for call in calls:
        kind = expected(simulate(program, call).value, call).kind
        if kind in (Kind.THREAD_KILLED, Kind.PROCESS_KILLED):
            most -= 1
            if most < 0:
                continue
        yield call
