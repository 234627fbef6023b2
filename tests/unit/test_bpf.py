"""Instructions of filters: their bytes, and which programs are filters, of which this kernel is asked as well."""

import errno
import os
import random
import struct
import subprocess
import sys

import pytest
from bpf_samples import ALL_CODES, mutated, valid
from hypothesis import given
from hypothesis import strategies as st

from scmm_oci.compiled import bpf
from scmm_oci.compiled.bpf import Instruction, decode, encode, problems

ALLOW = Instruction(bpf.RET, bpf.RET_ALLOW)
MUTATED = 30_000 if os.environ.get("SCMM_SOAK") else 3000

instructions = st.builds(
    Instruction, st.integers(0, 0xFFFF), st.integers(0, 2**32 - 1), st.integers(0, 255), st.integers(0, 255)
)


def test_bytes_of_an_instruction():
    # struct sock_filter: __u16 code, __u8 jt, __u8 jf, __u32 k.
    one = Instruction(0x15, 0x01020304, 5, 6)
    assert encode([one]) == bytes.fromhex("1500 05 06 04030201")
    assert encode([one], "big") == bytes.fromhex("0015 05 06 01020304")


@given(st.lists(instructions, max_size=5), st.sampled_from(["little", "big"]))
def test_what_is_encoded_is_decoded(program, order):
    assert decode(encode(program, order), order) == tuple(program)


def test_part_of_an_instruction_is_refused():
    assert decode(b"") == ()
    with pytest.raises(ValueError, match="9 bytes are no whole number"):
        decode(bytes(9))


def messages(*program):
    return [(one.place, one.message) for one in problems(program, place=".filter")]


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (Instruction(0x94, 3), "code 0x94"),  # MOD, which bpf_check_classic takes and seccomp_check_filter does not
        (Instruction(0x28), "code 0x28"),  # LD|H|ABS
        (Instruction(0x115), "code 0x115"),
        (Instruction(bpf.LOAD, 64), "loads from 64"),
        (Instruction(bpf.LOAD, 2), "loads from 2"),
        (Instruction(0x02, 16), "memory word 16"),
        (Instruction(0x60, 3), "word 3, which nothing stored"),
        (Instruction(0x34, 0), "divides by 0"),
        (Instruction(0x64, 32), "shifts by 32"),
        (Instruction(0x74, 99), "shifts by 99"),
        (Instruction(bpf.JA, 1), "jumps to 2, beyond"),
        (Instruction(bpf.JEQ, 0, 1, 0), "jumps to 2, beyond"),
        (Instruction(bpf.JEQ, 0, 0, 255), "jumps to 256, beyond"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(one, message):
    ((place, text),) = messages(one, ALLOW)
    assert place == ".filter[0]"
    assert message in text


@pytest.mark.parametrize(
    "one",
    [
        Instruction(bpf.LOAD, 60),
        Instruction(0x02, 15),
        Instruction(0x34, 1),
        Instruction(0x64, 31),
        Instruction(bpf.JA, 0),
        Instruction(bpf.JEQ, 0, 0, 0),
    ],
)
def test_what_is_right_is_not_refused(one):
    assert messages(one, ALLOW) == []


def test_size_and_end():
    assert messages(*[ALLOW] * 4096) == []
    assert "has 4097 instructions" in messages(*[ALLOW] * 4097)[0][1]
    assert "has 0 instructions" in messages()[0][1]
    assert messages(ALLOW, Instruction(0x07)) == [(".filter[1]", "is the last instruction and does not return")]


def test_memory_that_is_stored_on_one_way_only():
    def program(otherwise):
        return (Instruction(bpf.JEQ, 0, 0, 1), Instruction(0x02, 3), otherwise, Instruction(0x60, 3), ALLOW)

    assert [place for place, _ in messages(*program(Instruction(0x07)))] == [".filter[3]"]
    assert messages(*program(Instruction(0x03, 3))) == []


# Asks seccomp(2) without installing anything: a filter that is taken fails for want of a file descriptor (EMFILE), as
# its listener is made after the filter was checked; one that is not taken fails with EINVAL.
CHILD = """
import ctypes, resource, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
data = sys.stdin.buffer.read()
assert libc.prctl(38, 1, 0, 0, 0) == 0
resource.setrlimit(resource.RLIMIT_NOFILE, (0, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
at, found = 0, []
while at < len(data):
    (count,) = struct.unpack_from("=I", data, at)
    program = ctypes.create_string_buffer(data[at + 4 : at + 4 + 8 * count], max(1, 8 * count))
    at += 4 + 8 * count
    argument = ctypes.create_string_buffer(struct.pack("@HP", count, ctypes.addressof(program)))
    done = libc.syscall(ctypes.c_long(NUMBER), 1, 8, argument)
    found.append(0 if done >= 0 else ctypes.get_errno())
sys.stdout.buffer.write(struct.pack(f"={len(found)}I", *found))
"""


def kernel_takes(programs):
    """Whether seccomp(2) of this kernel takes each program as a filter."""
    from scmm_oci.tables import arch, syscalls

    number = syscalls.numbers(arch.from_machine(os.uname().machine))["seccomp"]
    data = b"".join(struct.pack("=I", len(one)) + encode(one, sys.byteorder) for one in programs)
    words = [sys.executable, "-c", CHILD.replace("NUMBER", str(number))]
    done = subprocess.run(words, input=data, capture_output=True, check=True, timeout=120)
    answers = [number for (number,) in struct.iter_unpack("=I", done.stdout)]
    assert set(answers) <= {errno.EMFILE, errno.EINVAL}
    return [one == errno.EMFILE for one in answers]


def test_kernel_and_problems_agree():
    chosen = random.Random(6)
    programs = [valid(chosen) for _ in range(300)] + [mutated(chosen) for _ in range(MUTATED)]
    programs += [(Instruction(code, 1), ALLOW) for code in range(0x200)]
    programs += [(), (ALLOW,) * 4096, (ALLOW,) * 4097, (Instruction(0x07),)]
    ours = [not problems(one) for one in programs]
    theirs = kernel_takes(programs)
    assert [one for one, our, their in zip(programs, ours, theirs, strict=True) if our != their] == []
    assert all(ours[:300])
    # Controls: both answers are frequent among the mutated, and every code that may be in a filter was taken.
    assert min(ours.count(True), ours.count(False)) > MUTATED // 10
    assert {code for one, their in zip(programs, theirs, strict=True) if their for code in (x.code for x in one)} == (
        ALL_CODES
    )
