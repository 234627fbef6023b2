"""Filters in words: every instruction's text, and names only where the way to them says whose they are."""

import pytest
from hypothesis import given, settings
from policy_samples import policies

from scmm_oci.compiled import bpf
from scmm_oci.compiled.bpf import Instruction as I
from scmm_oci.compiled.disassemble import arch_of, lines, name_of, returned
from scmm_oci.compiled.filter import build, of_policy
from scmm_oci.errors import BadInput
from scmm_oci.policy import document
from scmm_oci.tables.arch import Arch

X86_64, X86, S390X = (arch.audit for arch in (Arch.X86_64, Arch.X86, Arch.S390X))
ALLOW, DENY = I(bpf.RET, bpf.RET_ALLOW), I(bpf.RET, bpf.RET_ERRNO | 38)


def texts(*program, arch=None):
    assert bpf.problems(program) == []
    return [line.text for line in lines(program, arch=arch)]


def labels(*program, arch=None):
    return {line.index: line.label for line in lines(program, arch=arch) if line.label}


SOCKET = (
    I(bpf.LOAD, 4),
    I(bpf.JEQ, X86_64, 0, 8),
    I(bpf.LOAD, 0),
    I(bpf.JGE, 0x40000029, 6, 0),
    I(bpf.JEQ, 41, 0, 4),
    I(bpf.LOAD, 20),
    I(bpf.JEQ, 0, 0, 3),
    I(bpf.LOAD, 16),
    I(bpf.JEQ, 2, 0, 1),
    ALLOW,
    DENY,
)


def test_names_of_calls_arguments_and_values():
    assert texts(*SOCKET) == [
        "load arch",
        "if arch == 0xc000003e (x86_64) goto 2 else 10",
        "load nr",
        "if nr >= 0x40000029 (x32 socket) goto 10 else 4",
        "if nr == 41 (socket) goto 5 else 9",
        "load arg0.high",
        "if arg0.high == 0 goto 7 else 10",
        "load arg0.low",
        "if arg0.low == 2 (AF_INET) goto 9 else 10",
        "return ALLOW",
        "return ERRNO(38 ENOSYS)",
    ]
    assert labels(*SOCKET) == {9: "x86_64: up to x32 sendfile"}
    assert [(line.index, line.instruction) for line in lines(SOCKET, arch=None)] == list(enumerate(SOCKET))


def test_numbers_belong_to_the_abi_that_was_compared():
    def both(audit):
        return texts(I(bpf.LOAD, 4), I(bpf.JEQ, audit, 0, 2), I(bpf.LOAD, 0), I(bpf.JEQ, 11, 0, 0), ALLOW)[3]

    assert both(X86_64) == "if nr == 11 (munmap) goto 4 else 4"
    assert both(X86) == "if nr == 11 (execve) goto 4 else 4"
    assert both(0x1234) == "if nr == 11 goto 4 else 4"
    # Without a comparison it is the architecture that was said, or nobody's.
    bare = (I(bpf.LOAD, 0), I(bpf.JEQ, 11, 0, 0), ALLOW)
    assert texts(*bare)[1] == "if nr == 11 goto 2 else 2"
    assert texts(*bare, arch=Arch.X86)[1] == "if nr == 11 (execve) goto 2 else 2"


def test_where_ways_meet_only_what_they_share_is_known():
    # One of two ABIs, and then a number: whose it is cannot be said.
    program = (
        I(bpf.LOAD, 4),
        I(bpf.JEQ, X86_64, 1, 0),
        I(bpf.JEQ, X86, 0, 2),
        I(bpf.LOAD, 0),
        I(bpf.JEQ, 11, 0, 0),
        ALLOW,
    )
    assert texts(*program)[4] == "if nr == 11 goto 5 else 5"
    # The word in A differs.
    program = (I(bpf.LOAD, 0), I(bpf.JEQ, 3, 1, 0), I(bpf.LOAD, 16), I(bpf.JEQ, 2, 0, 0), ALLOW)
    assert texts(*program)[3] == "if A == 2 goto 4 else 4"


def test_words_of_arguments_in_the_machines_byte_order():
    def first(arch):
        return texts(I(bpf.LOAD, 16), I(bpf.JEQ, 7, 0, 0), ALLOW, arch=arch)[0]

    assert first(Arch.X86_64) == "load arg0.low" and first(Arch.S390X) == first(Arch.S390) == "load arg0.high"
    compared = texts(I(bpf.LOAD, 4), I(bpf.JEQ, S390X, 0, 1), I(bpf.LOAD, 60), ALLOW)
    assert compared[2] == "load arg5.low"
    assert texts(I(bpf.LOAD, 8), I(bpf.LOAD, 12), ALLOW)[:2] == ["load ip.low", "load ip.high"]


def test_masks_stand_with_what_they_are_laid_over():
    program = (
        I(bpf.LOAD, 0),
        I(bpf.JEQ, 257, 0, 3),
        I(bpf.LOAD, 32),
        I(bpf.AND, 3),
        I(bpf.JEQ, 1, 0, 0),
        ALLOW,
    )
    assert texts(*program, arch=Arch.X86_64)[3:5] == [
        "A &= 0x3",
        "if (arg2.low & 0x3) == 1 (O_WRONLY) goto 5 else 5",
    ]
    assert texts(I(bpf.LOAD, 0), I(bpf.JSET, 0x40000000, 0, 0), ALLOW, arch=Arch.X86_64)[1] == (
        "if nr & 0x40000000 goto 2 else 2"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (bpf.RET_ALLOW, "ALLOW"),
        (bpf.RET_LOG, "LOG"),
        (bpf.RET_LOG | 1, "LOG(1)"),
        (bpf.RET_TRACE | 5, "TRACE(5)"),
        (bpf.RET_USER_NOTIF, "USER_NOTIF"),
        (bpf.RET_ERRNO | 1, "ERRNO(1 EPERM)"),
        (bpf.RET_ERRNO, "ERRNO(0)"),
        (bpf.RET_ERRNO | 4000, "ERRNO(4000)"),
        (bpf.RET_TRAP, "TRAP"),
        (0, "KILL_THREAD"),
        (bpf.RET_KILL_PROCESS, "KILL_PROCESS"),
        (0x12340000, "0x12340000 (unknown, as KILL_PROCESS)"),
    ],
)
def test_return_values(value, text):
    assert returned(value) == text


@pytest.mark.parametrize(
    ("code", "k", "text"),
    [
        (0x80, 0, "A = 64"),
        (0x81, 0, "X = 64"),
        (0x00, 7, "A = 0x7"),
        (0x01, 7, "X = 0x7"),
        (0x60, 3, "A = M[3]"),
        (0x61, 3, "X = M[3]"),
        (0x02, 3, "M[3] = A"),
        (0x03, 3, "M[3] = X"),
        (0x07, 0, "X = A"),
        (0x87, 0, "A = X"),
        (0x84, 0, "A = -A"),
        (0x04, 5, "A += 0x5"),
        (0x1C, 0, "A -= X"),
        (0x64, 2, "A <<= 0x2"),
        (0x5C, 0, "A &= X"),
        (0xA4, 9, "A ^= 0x9"),
        (0x1D, 0, "if nr == X goto 3 else 3"),
    ],
)
def test_instructions_of_others(code, k, text):
    stored = (I(bpf.LOAD, 0), I(0x02, 3))  # memory words are read only where something was stored
    assert texts(*stored, I(code, k), ALLOW)[2] == text


def test_what_is_never_reached_is_told():
    assert texts(I(bpf.JA, 1), DENY, ALLOW) == ["goto 2", "return ERRNO(38 ENOSYS) (never reached)", "return ALLOW"]
    assert texts(I(bpf.LOAD, 0), I(0x16))[1] == "return A"


def test_x32_is_told_by_its_bit():
    assert arch_of(X86_64) is arch_of(X86_64, 0xFFFFFFFF) is Arch.X86_64
    assert arch_of(X86_64, 0x40000000) is Arch.X32 and arch_of(0x7777) is None
    assert name_of(Arch.X86_64, 0x40000000) == "x32 read" and name_of(Arch.X86_64, 0) == "read"
    assert name_of(Arch.X86_64, 0x3FFFFFFF) is name_of(None, 0) is None


@settings(max_examples=60, deadline=None)
@given(policies())
def test_any_filter_of_ours_is_told_and_nothing_in_it_is_unreached(policy):
    try:
        program = build(of_policy(policy))
    except BadInput:
        return
    found = lines(program, arch=policy.settings.arch)
    assert [line.instruction for line in found] == list(program)
    assert found == lines(program, arch=policy.settings.arch)
    assert not any("never reached" in line.text for line in found)
    # What ABIs share may be about the number of one and what is left of it of the other.
    if policy.settings.architectures == (Arch.X86_64,):
        assert not any(" A " in line.text for line in found)


def test_numbers_without_a_bit_that_they_never_have_are_still_numbers():
    def last(below):
        program = (
            I(bpf.LOAD, 0),
            I(bpf.JGE, below, 0, 1),
            I(bpf.AND, 0xBFFFFFFF),
            I(bpf.JEQ, 39, 0, 0),
            ALLOW,
        )
        return texts(*program, arch=Arch.X86_64)[3]

    assert last(0x40000000) == "if (nr & 0xbfffffff) == 39 (getpid) goto 4 else 4"
    assert last(0x40000001) == "if A == 0x27 goto 4 else 4"


def test_a_whole_filter():
    policy = document.parse(b"version: '1.0'\nsyscalls: [{names: [read, execve], action: allow}]")
    found = lines(build(of_policy(policy)), arch=Arch.X86_64)
    text = "\n".join(line.text for line in found)
    assert "(x86_64)" in text and "read" in text and "return ERRNO(1 EPERM)" in text and "return ALLOW" in text
