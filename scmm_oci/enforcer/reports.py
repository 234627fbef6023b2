"""What the launcher tells in permissive mode (its `--report`) as values. Pure.

The words are those of launcher/violations.c and launcher/supervise.c. What the program chose in them (paths, names of
threads) is between fixed words, and is only ever shown. The program may write into the file as well, whatever and as
much as it likes: no more is kept of it than the launcher would tell, and then it is said that there was more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from scmm_oci.compiled import bpf
from scmm_oci.enforcer.logs.decode import Call, Process
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch

_PREFIX = "scmm-enforce: "
_MOST_KINDS = 2048  # violations.c, MOST_KINDS
_MOST_NOTES, _MOST_NOTE = 20, 300
_MOST_DIGITS = 20  # of a number of 64 bits
_FIRST = re.compile(r"would refuse (.*) of process (\d+)(?: \((.*)\))?")
_TOTAL = re.compile(r"would have refused \d+ calls?:")
_COUNT = re.compile(r"  (\d+) times? (.*)")
_NUMBER = re.compile(r"call (\d+)")
_ABIS = {f"{arch.value}'s ": arch for arch in (Arch.X86, Arch.X32, Arch.ARM)}
_ERRNO = re.compile(r"errno (\d+)(?: [A-Z0-9]+)?")
_CODES = {
    "the process is killed": bpf.RET_KILL_PROCESS,
    "the thread is killed": bpf.RET_KILL_THREAD,
    "SIGSYS is sent": bpf.RET_TRAP,
    "a listener is asked": bpf.RET_USER_NOTIF,
    "a tracer is asked": bpf.RET_TRACE,
}


@dataclass(frozen=True)
class Violation:
    """A call that the policy would refuse, by what it would be answered.

    Attributes:
        name: of the call, with its ABI where that is not the machine's own: "mkdir", "x86's getpid", "call 600".
        answer: in words, such as "errno 1 EPERM".
        example: the first such call with its arguments; "" if it was not told.
        program: the name of the thread that made it.
        count: how often; None if the launcher was killed before it told.
    """

    name: str
    answer: str
    example: str = ""
    program: str | None = None
    count: int | None = None


@dataclass(frozen=True)
class Report:
    """A whole report: violations in the order in which they came, and whatever else was said, as it stands there."""

    violations: tuple[Violation, ...]
    notes: tuple[str, ...]


def parse(text: str) -> Report:
    """A report of one run."""
    first: dict[tuple[str, str], Violation] = {}
    counts: dict[tuple[str, str], int] = {}
    notes: list[str] = []
    for line in text.split("\n"):
        said = line.removeprefix(_PREFIX)
        rest, _, answer = said.rpartition(": ")
        if said == line or _TOTAL.fullmatch(said):
            notes += [line] if said == line and line.strip() else []
        elif (told := _FIRST.fullmatch(rest)) is not None:
            name = told[1].partition("(")[0]
            first.setdefault((name, answer), Violation(name, answer, told[1], told[3]))
        elif (summed := _COUNT.fullmatch(rest)) is not None:
            counts[summed[2], answer] = int(summed[1][-_MOST_DIGITS:])
        else:
            notes.append(said.strip())
    keys = list(dict.fromkeys([*first, *counts]))
    found = (first.get(key) or Violation(*key) for key in keys[:_MOST_KINDS])
    return Report(
        tuple(
            Violation(one.name, one.answer, one.example, one.program, counts.get((one.name, one.answer)))
            for one in found
        ),
        tuple(_fewer(notes, len(keys) - _MOST_KINDS)),
    )


def _fewer(notes: list[str], kinds: int) -> list[str]:
    """Notes that can be read; kinds: so many kinds of calls were left out, if that is more than none."""
    kept = [note if len(note) <= _MOST_NOTE else f"{note[:_MOST_NOTE]}…" for note in notes[:_MOST_NOTES]]
    if len(notes) > _MOST_NOTES:
        kept.append(f"{len(notes) - _MOST_NOTES} lines more, which are not shown")
    if kinds > 0:
        kept.append(f"{kinds} kinds of calls more, which are not shown")
    return kept


def as_call(violation: Violation, machine: Arch) -> Call | None:
    """A violation as what the kernel's log would have of it; None where its name is not in our tables."""
    arch, name = machine, violation.name
    for words, abi in _ABIS.items():
        if name.startswith(words):
            arch, name = abi, name.removeprefix(words)
    number = _NUMBER.fullmatch(name)
    nr = int(number[1]) if number is not None else syscalls.number_of(arch, name)
    if nr is None:
        return None
    errno = _ERRNO.fullmatch(violation.answer)
    code = _CODES.get(violation.answer, bpf.RET_KILL_PROCESS) if errno is None else bpf.RET_ERRNO
    who = Process(comm=violation.program)
    return Call(0, 0, who, arch, arch.audit, nr, None if number is not None else name, code, 0, 0)
