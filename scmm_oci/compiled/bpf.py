"""Classic BPF as seccomp(2) takes it: instructions, what a filter returns, and the data that it sees.

Sources: linux/filter.h and linux/bpf_common.h (codes), linux/seccomp.h (return values, struct seccomp_data), and
seccomp_check_filter of kernel/seccomp.c (which instructions a filter may have). Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from scmm_oci.errors import Problem

ByteOrder = Literal["little", "big"]

# Codes of the instructions that our filters have.
LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS: A = the 32-bit word at offset k of struct seccomp_data
AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
JA = 0x05
JEQ = 0x15
JGT = 0x25
JGE = 0x35
JSET = 0x45
RET = 0x06

# BPF_MAXINSNS of linux/bpf_common.h: no filter may have more instructions.
MAX_INSTRUCTIONS = 4096

# Return values, from the least restrictive to the most (linux/seccomp.h). The low 16 bits are data.
RET_ALLOW = 0x7FFF0000
RET_LOG = 0x7FFC0000
RET_TRACE = 0x7FF00000
RET_USER_NOTIF = 0x7FC00000
RET_ERRNO = 0x00050000
RET_TRAP = 0x00030000
RET_KILL_THREAD = 0x00000000
RET_KILL_PROCESS = 0x80000000
RET_ACTION_FULL = 0xFFFF0000
RET_DATA = 0x0000FFFF

# struct seccomp_data: int nr, u32 arch, u64 instruction_pointer, u64 args[6].
NR_OFFSET = 0
ARCH_OFFSET = 4
ARGS_OFFSET = 16
DATA_SIZE = 64

WORD = (1 << 32) - 1

# What seccomp_check_filter lets pass besides the above, by code.
_OTHER = frozenset(
    {
        *(0x80, 0x81),  # LD|W|LEN, LDX|W|LEN
        *(0x16, 0x07, 0x87),  # RET|A, MISC|TAX, MISC|TXA
        *(0x04, 0x0C, 0x14, 0x1C, 0x24, 0x2C, 0x34, 0x3C),  # ALU ADD, SUB, MUL, DIV by K and X
        *(0x5C, 0x44, 0x4C, 0xA4, 0xAC, 0x64, 0x6C, 0x74, 0x7C, 0x84),  # AND X, OR, XOR, LSH, RSH, NEG
        *(0x00, 0x01, 0x60, 0x61, 0x02, 0x03),  # LD and LDX of IMM and MEM, ST, STX
        *(0x1D, 0x2D, 0x3D, 0x4D),  # JEQ, JGT, JGE, JSET by X
    }
)
_JUMPS = frozenset({JEQ, JGT, JGE, JSET, 0x1D, 0x2D, 0x3D, 0x4D})
_MEMORY = frozenset({0x60, 0x61, 0x02, 0x03})
_CODES = frozenset({LOAD, AND, JA, RET}) | _JUMPS | _OTHER

_FORMATS: dict[ByteOrder, struct.Struct] = {"little": struct.Struct("<HBBI"), "big": struct.Struct(">HBBI")}
INSTRUCTION_SIZE = 8


@dataclass(frozen=True, slots=True)
class Instruction:
    """``struct sock_filter``: a code, the distances of a jump if true and if false, and a number."""

    code: int
    k: int = 0
    jt: int = 0
    jf: int = 0


Program = tuple[Instruction, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """What a filter sees of a call.

    Attributes:
        nr: as the kernel has it, unsigned: of x32 with its bit, -1 as 0xFFFFFFFF.
        arch: ``AUDIT_ARCH_*``.
        args: up to six unsigned numbers of 64 bits; missing ones are 0.
    """

    nr: int
    arch: int
    args: tuple[int, ...] = ()
    instruction_pointer: int = 0
    byte_order: ByteOrder = field(default="little")

    def words(self) -> tuple[int, ...]:
        """The sixteen 32-bit words of ``struct seccomp_data``, in the byte order of the machine."""
        longs = (self.instruction_pointer, *self.args, *([0] * (6 - len(self.args))))
        words = [self.nr & WORD, self.arch]
        for long in longs:
            halves = (long & WORD, long >> 32 & WORD)
            words += halves if self.byte_order == "little" else halves[::-1]
        return tuple(words)


def encode(program: Iterable[Instruction], byte_order: ByteOrder = "little") -> bytes:
    """The program as an array of ``struct sock_filter``."""
    pack = _FORMATS[byte_order].pack
    return b"".join(pack(one.code, one.jt, one.jf, one.k) for one in program)


def decode(data: bytes, byte_order: ByteOrder = "little") -> Program:
    """The program in an array of ``struct sock_filter``; `problems` tells whether it is one that a kernel takes.

    Raises:
        ValueError: the data are no whole number of instructions.
    """
    if len(data) % INSTRUCTION_SIZE:
        raise ValueError(f"{len(data)} bytes are no whole number of instructions of {INSTRUCTION_SIZE} bytes")
    return tuple(Instruction(code, k, jt, jf) for code, jt, jf, k in _FORMATS[byte_order].iter_unpack(data))


def problems(program: Sequence[Instruction], *, place: str = "") -> list[Problem]:
    """Why the kernel would not take the program as a filter (bpf_check_classic, seccomp_check_filter)."""
    size = len(program)
    if not 0 < size <= MAX_INSTRUCTIONS:
        return [Problem(place, f"has {size} instructions; a filter has 1 to {MAX_INSTRUCTIONS}")]
    found = [
        Problem(f"{place}[{index}]", message)
        for index, one in enumerate(program)
        if (message := _wrong(one, index, size)) is not None
    ]
    if program[-1].code not in (RET, 0x16):
        found.append(Problem(f"{place}[{size - 1}]", "is the last instruction and does not return"))
    if not found:
        found = [
            Problem(
                f"{place}[{index}]", f"loads memory word {program[index].k}, which nothing stored on some way there"
            )
            for index in _unstored(program)
        ]
    return found


def _unstored(program: Sequence[Instruction]) -> list[int]:
    """The instructions that load a memory word that may not be stored (check_load_and_stores of net/core/filter.c).

    As there, what stands behind a return counts as reached from it.
    """
    if not any(one.code in (0x60, 0x61) for one in program):
        return []
    every = (1 << 16) - 1
    arriving = [every] * len(program)
    found, stored = [], 0
    for index, one in enumerate(program):
        stored &= arriving[index]
        if one.code in (0x02, 0x03):
            stored |= 1 << one.k
        elif one.code in (0x60, 0x61):
            if not stored >> one.k & 1:
                found.append(index)
        elif one.code == JA or one.code in _JUMPS:
            for distance in {one.k} if one.code == JA else {one.jt, one.jf}:
                arriving[index + 1 + distance] &= stored
            stored = every
    return found


def _wrong(one: Instruction, index: int, size: int) -> str | None:
    if one.code not in _CODES:
        return f"has the code {one.code:#04x}, which no seccomp filter may have"
    if one.code == LOAD and (one.k % 4 or one.k >= DATA_SIZE):
        return f"loads from {one.k}, which is no word of struct seccomp_data"
    if one.code in _MEMORY and one.k >= 16:
        return f"uses memory word {one.k} of 16"
    if one.code == 0x34 and one.k == 0:
        return "divides by 0"
    if one.code in (0x64, 0x74) and one.k >= 32:
        return f"shifts by {one.k} bits"
    farthest = one.k if one.code == JA else max(one.jt, one.jf) if one.code in _JUMPS else 0
    if index + 1 + farthest >= size and (one.code == JA or one.code in _JUMPS):
        return f"jumps to {index + 1 + farthest}, beyond the last instruction"
    return None
