"""What a filter returns for a call, and how many instructions that takes: an interpreter of classic BPF.

It has every instruction that the kernel lets a seccomp filter have, so that filters of others can be asked as well.
Pure.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scmm_oci.compiled import bpf
from scmm_oci.compiled.bpf import WORD, Call, Instruction
from scmm_oci.errors import BadInput, Problem

# The operation of BPF_ALU codes, by code & 0xF0 (linux/bpf_common.h).
_ALU: dict[int, Callable[[int, int], int]] = {
    0x00: operator.add,
    0x10: operator.sub,
    0x20: operator.mul,
    0x40: operator.or_,
    0x50: operator.and_,
    0xA0: operator.xor,
    0x60: lambda a, b: a << (b & 31),  # by X as the machine shifts: the kernel's interpreter masks, too
    0x70: lambda a, b: a >> (b & 31),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a filter returns (``SECCOMP_RET_*`` and data), and how many instructions were executed for it."""

    value: int
    executed: int


def simulate(program: Sequence[Instruction], call: Call) -> Outcome:
    """Run a filter on a call. The program is one that `bpf.problems` finds nothing wrong with."""
    return run(program, call.words())


def run(program: Sequence[Instruction], words: Sequence[int]) -> Outcome:
    """`simulate`, with the sixteen words of ``struct seccomp_data`` given."""
    a = x = at = executed = 0
    memory = [0] * 16
    while True:
        one = program[at]
        code, k = one.code, one.k
        at += 1
        executed += 1
        if code == bpf.LOAD:
            a = words[k >> 2]
        elif code == bpf.JEQ:
            at += one.jt if a == k else one.jf
        elif code == bpf.JGT:
            at += one.jt if a > k else one.jf
        elif code == bpf.JGE:
            at += one.jt if a >= k else one.jf
        elif code == bpf.JSET:
            at += one.jt if a & k else one.jf
        elif code == bpf.AND:
            a &= k
        elif code == bpf.RET:
            return Outcome(k, executed)
        elif code == bpf.JA:
            at += k
        elif code == 0x16:
            return Outcome(a, executed)
        elif code & 7 == 5:
            at += one.jt if _compare(code, a, x) else one.jf
        elif code & 7 == 4:
            other = x if code & 8 else k
            if code & 0xF0 == 0x30 and not other:
                return Outcome(bpf.RET_KILL_THREAD, executed)  # as the kernel's division by 0 ends a filter
            a = _compute(code, a, other) & WORD
        elif code == 0x07:
            x = a
        elif code == 0x87:
            a = x
        elif code in (0x02, 0x03):
            memory[k] = a if code == 0x02 else x
        else:
            value = _loaded(code, k, memory)
            if code & 7:
                x = value
            else:
                a = value


def _compare(code: int, a: int, x: int) -> bool:
    match code:
        case 0x1D:
            return a == x
        case 0x2D:
            return a > x
        case 0x3D:
            return a >= x
    return bool(a & x)


def _compute(code: int, a: int, other: int) -> int:
    match code & 0xF0:
        case 0x30:
            return a // other
        case 0x80:
            return -a
    return _ALU[code & 0xF0](a, other)


def _loaded(code: int, k: int, memory: Sequence[int]) -> int:
    match code & 0xE0:
        case 0x80:
            return bpf.DATA_SIZE
        case 0x60:
            return memory[k]
    return k


def check(program: Sequence[Instruction], *, source: str = "") -> None:
    """Raise BadInput with all that keeps the program from being a filter."""
    found: list[Problem] = bpf.problems(program)
    if found:
        raise BadInput(found, source=source)
