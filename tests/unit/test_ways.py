"""The ways through a filter: compared with running it on everything there is, in filters on a few bits."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scmm_oci.compiled import bpf
from scmm_oci.compiled.bpf import Call, Instruction
from scmm_oci.compiled.simulate import simulate
from scmm_oci.compiled.ways import ways
from scmm_oci.errors import BadInput, Failure

X86_64 = 0xC000003E
LOW, HIGH = 16, 20
JUMPS = (bpf.JEQ, bpf.JGT, bpf.JGE, bpf.JSET)


@st.composite
def programs(draw):
    """Filters that look at the low 3 bits of argument 0's and 1's low words, and at the number."""
    size = draw(st.integers(1, 14))
    found = []
    for index in range(size):
        left = size - index  # instructions after this one, the return at the end among them
        load = Instruction(bpf.LOAD, draw(st.sampled_from([0, 16, 24])))
        kind = draw(st.sampled_from(["load", "and", "jump", "jump", "ja", "ret"]))
        if index == 0 or kind == "load":
            found.append(load)
        elif kind == "and":
            found.append(Instruction(bpf.AND, draw(st.integers(0, 7))))
        elif kind == "ja":
            found.append(Instruction(bpf.JA, draw(st.integers(0, left - 1))))
        elif kind == "ret":
            found.append(Instruction(bpf.RET, draw(st.integers(0, 5))))
        else:
            jt, jf = draw(st.integers(0, left - 1)), draw(st.integers(0, left - 1))
            found.append(Instruction(draw(st.sampled_from(JUMPS)), draw(st.integers(0, 8)), jt, jf))
    return (*found, Instruction(bpf.RET, 9))


def everything(program, nr, known):
    outcomes = set()
    for first, second in product(range(16), repeat=2):
        args = (first, second)
        if all(not (args[index] ^ value) & mask for index, (value, mask) in known.items()):
            done = simulate(program, Call(nr, X86_64, args))
            outcomes.add((done.value, done.executed))
    return outcomes


@settings(max_examples=300, deadline=None)
@given(
    programs(), st.integers(0, 3), st.dictionaries(st.integers(0, 1), st.tuples(st.integers(0, 7), st.integers(0, 7)))
)
def test_ways_are_what_running_the_filter_on_everything_finds(program, nr, given_bits):
    # Bits above those 4 are known, so that there are no other arguments than those that are run.
    known = dict.fromkeys(range(2), (0, (1 << 64) - 16))
    for index, (value, mask) in given_bits.items():
        known[index] = (value & mask, known[index][1] | mask)
    found = ways(program, Call(nr, X86_64), known)
    assert {(way.value, way.executed) for way in found} == everything(program, nr, known)
    for way in found:
        done = simulate(program, Call(nr, X86_64, way.args))
        assert (done.value, done.executed) == (way.value, way.executed)
        assert all(not (way.args[index] ^ value) & mask for index, (value, mask) in known.items())


def socket(*, big=False):
    low, high = (HIGH, LOW) if big else (LOW, HIGH)
    return (
        Instruction(bpf.LOAD, 0),
        Instruction(bpf.JEQ, 41, 0, 5),
        Instruction(bpf.LOAD, high),
        Instruction(bpf.JEQ, 0, 0, 2),
        Instruction(bpf.LOAD, low),
        Instruction(bpf.JEQ, 2, 1, 0),
        Instruction(bpf.RET, bpf.RET_ERRNO | 1),
        Instruction(bpf.RET, bpf.RET_ALLOW),
    )


def test_what_is_looked_at_and_what_is_known():
    open_ = ways(socket(), Call(41, X86_64), {})
    assert [(way.value, way.executed, way.looks) for way in open_] == [
        (bpf.RET_ERRNO | 1, 5, {0}),
        (bpf.RET_ERRNO | 1, 7, {0}),
        (bpf.RET_ALLOW, 7, {0}),
    ]
    (one,) = ways(socket(), Call(41, X86_64), {0: (2, (1 << 64) - 1)})
    assert (one.value, one.args[0]) == (bpf.RET_ALLOW, 2)
    # Only the low word is known: what stands above may be refused.
    assert len(ways(socket(), Call(41, X86_64), {0: (2, bpf.WORD)})) == 2
    (other,) = ways(socket(), Call(0, X86_64), {})
    assert (other.value, other.executed, other.looks) == (bpf.RET_ALLOW, 3, frozenset())


def test_words_of_big_endian_machines_are_the_other_way_round():
    call = Call(41, 0x80000016, byte_order="big")
    (one,) = ways(socket(big=True), call, {0: (2, (1 << 64) - 1)})
    assert one.value == bpf.RET_ALLOW
    (swapped,) = ways(socket(), call, {0: (2, (1 << 64) - 1)})
    assert swapped.value == bpf.RET_ERRNO | 1


def test_strange_instructions_are_refused():
    with pytest.raises(BadInput, match=r"\[0\]: has the code 0x07, which is not followed"):
        ways((Instruction(0x07), Instruction(bpf.RET, 0)), Call(0, X86_64), {})


def test_too_many_ways_are_told():
    # Each bit of a word is asked for, and nothing is made of it: 2**16 ways.
    asked = [Instruction(bpf.JSET, 1 << bit, 0, 1 if bit < 15 else 0) for bit in range(16)]
    doubled = [step for one in asked for step in (one, Instruction(bpf.AND, bpf.WORD))]
    program = (Instruction(bpf.LOAD, 16), *doubled, Instruction(bpf.RET, 0))
    assert bpf.problems(program) == []
    with pytest.raises(Failure, match="more than 20000 ways"):
        ways(program, Call(0, X86_64), {})
    assert len(ways(program[:1] + program[1:9] + program[-1:], Call(0, X86_64), {})) == 16
