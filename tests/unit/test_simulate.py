"""The interpreter of filters: every instruction by hand, and random programs beside an interpreter written in C."""

import os
import random
import struct
import subprocess
from pathlib import Path

import pytest
from bpf_samples import ALL_CODES, valid, words

from scmm_oci.compiled import bpf
from scmm_oci.compiled.bpf import Call, Instruction
from scmm_oci.compiled.simulate import Outcome, check, run, simulate
from scmm_oci.errors import BadInput

PROGRAMS = 50_000 if os.environ.get("SCMM_SOAK") else 4000
RETURN_A = Instruction(0x16)


def result(*instructions, data=(0,) * 16):
    return run((*instructions, RETURN_A), data).value


def imm(a, x=0):
    """A and X, given."""
    return Instruction(0x01, x), Instruction(0x00, a)


@pytest.mark.parametrize(
    ("code", "a", "other", "expected"),
    [
        (0x04, 0xFFFFFFFF, 2, 1),
        (0x14, 1, 2, 0xFFFFFFFF),
        (0x24, 0x10001, 0x10001, 0x20001),
        (0x34, 0xFFFFFFFF, 2, 0x7FFFFFFF),
        (0x44, 5, 10, 15),
        (0x54, 13, 6, 4),
        (0xA4, 13, 6, 11),
        (0x64, 0x80000001, 1, 2),
        (0x74, 0x80000001, 1, 0x40000000),
    ],
)
def test_arithmetic_with_numbers_and_with_x(code, a, other, expected):
    assert result(*imm(a, 0xDEAD), Instruction(code, other)) == expected
    # The same operation with X; its k counts for nothing.
    assert result(*imm(a, other), Instruction(code | 8, 0xDEAD)) == expected


def test_shifts_by_x_count_the_low_five_bits():
    # What this kernel does, asked with a filter that compares 1 << 33.
    assert result(*imm(1, 33), Instruction(0x6C)) == 2
    assert result(*imm(4, 33), Instruction(0x7C)) == 2
    assert result(*imm(1, 32), Instruction(0x6C)) == 1


def test_division_by_x_of_zero_ends_the_thread():
    assert run((*imm(7, 0), Instruction(0x3C), Instruction(bpf.RET, bpf.RET_ALLOW)), (0,) * 16).value == 0
    assert run((*imm(7, 1), Instruction(0x3C), Instruction(bpf.RET, bpf.RET_ALLOW)), (0,) * 16).value == bpf.RET_ALLOW


def test_negation_copies_length_and_memory():
    assert result(Instruction(0x00, 1), Instruction(0x84)) == 0xFFFFFFFF
    assert result(*imm(3, 9), Instruction(0x87)) == 9
    assert result(*imm(3, 9), Instruction(0x07), Instruction(0x00, 1), Instruction(0x87)) == 3
    assert result(Instruction(0x80)) == 64
    assert result(Instruction(0x81), Instruction(0x87)) == 64
    stored = (*imm(3, 9), Instruction(0x02, 15), Instruction(0x03, 0), *imm(0))
    assert result(*stored, Instruction(0x60, 15)) == 3
    assert result(*stored, Instruction(0x61, 0), Instruction(0x87)) == 9


@pytest.mark.parametrize(
    ("code", "below", "equal", "above"),
    [(bpf.JEQ, 0, 1, 0), (bpf.JGT, 0, 0, 1), (bpf.JGE, 0, 1, 1), (0x1D, 0, 1, 0), (0x2D, 0, 0, 1), (0x3D, 0, 1, 1)],
)
def test_comparisons_are_unsigned(code, below, equal, above):
    middle = 0x80000000
    for a, expected in ((1, below), (middle, equal), (middle + 1, above)):
        program = (*imm(a, middle), Instruction(code, middle, 0, 1), Instruction(bpf.RET, 1), Instruction(bpf.RET, 0))
        assert run(program, (0,) * 16).value == expected


def test_bits_and_jumps():
    for code in (bpf.JSET, 0x4D):
        for a, expected in ((6, 1), (8, 0)):
            program = (*imm(a, 3), Instruction(code, 3, 0, 1), Instruction(bpf.RET, 1), Instruction(bpf.RET, 0))
            assert run(program, (0,) * 16).value == expected
    assert result(*imm(5), Instruction(bpf.JA, 1), Instruction(0x00, 6)) == 5
    assert result(*imm(5), Instruction(bpf.JA, 0), Instruction(0x00, 6)) == 6


def test_words_of_a_call():
    args = tuple((index + 1) << 32 | 0x100 + index for index in range(6))
    call = Call(0xFFFFFFFF, 0xC000003E, args, 0xAAAABBBBCCCC)
    big = Call(0xFFFFFFFF, 0x80000016, args, 0xAAAABBBBCCCC, byte_order="big")

    def loaded(call, offset):
        return simulate((Instruction(bpf.LOAD, offset), RETURN_A), call).value

    assert [loaded(call, offset) for offset in (0, 4, 8, 12)] == [0xFFFFFFFF, 0xC000003E, 0xBBBBCCCC, 0xAAAA]
    assert [loaded(big, offset) for offset in (0, 4, 8, 12)] == [0xFFFFFFFF, 0x80000016, 0xAAAA, 0xBBBBCCCC]
    for index in range(6):
        low, high = 16 + 8 * index, 20 + 8 * index
        assert (loaded(call, low), loaded(call, high)) == (0x100 + index, index + 1)
        assert (loaded(big, high), loaded(big, low)) == (0x100 + index, index + 1)
    assert Call(1, 2, (3,)).words() == (1, 2, 0, 0, 3, *[0] * 11)


def test_what_is_executed_is_counted():
    program = (Instruction(bpf.LOAD, 0), Instruction(bpf.JEQ, 7, 1, 0), RETURN_A, Instruction(bpf.RET, 1))
    assert simulate(program, Call(7, 0)) == Outcome(1, 3)
    assert simulate(program, Call(8, 0)) == Outcome(8, 3)
    assert simulate((Instruction(bpf.RET, 5),), Call(0, 0)) == Outcome(5, 1)


def test_check_raises_with_every_problem():
    with pytest.raises(BadInput, match="divides by 0") as raised:
        check((Instruction(0x34), Instruction(0x99), RETURN_A), source="filter")
    assert len(raised.value.problems) == 2
    check((RETURN_A,))


@pytest.fixture(scope="module")
def in_c(tmp_path_factory):
    """Run programs on words in tests/unit/interpreter.c."""
    binary = tmp_path_factory.mktemp("interpreter") / "interpreter"
    source = Path(__file__).with_name("interpreter.c")
    subprocess.run(["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-o", binary, source], check=True)

    def outcomes(cases):
        data = b"".join(struct.pack("=17I", len(one), *given) + bpf.encode(one) for one, given in cases)
        done = subprocess.run([binary], input=data, capture_output=True, check=True, timeout=120)
        return [Outcome(*pair) for pair in struct.iter_unpack("=II", done.stdout)]

    return outcomes


def test_same_as_the_interpreter_in_c(in_c):
    chosen = random.Random(5)
    programs = [valid(chosen) for _ in range(PROGRAMS)]
    executed = set()
    cases = [(program, words(chosen)) for program in programs for _ in range(3)]
    expected = in_c(cases)
    assert len(expected) == len(cases)
    for (program, given), outcome in zip(cases, expected, strict=True):
        assert bpf.problems(program) == []
        assert run(program, given) == outcome, program
        executed.update(one.code for one in program)
    assert executed == ALL_CODES  # control: every instruction was among them
    # Control: programs that differ in one instruction are told apart.
    wrong = [((*program[:-1], Instruction(bpf.RET, 0xABCD)), given) for program, given in cases]
    assert sum(one != other for one, other in zip(in_c(wrong), expected, strict=True)) > PROGRAMS
