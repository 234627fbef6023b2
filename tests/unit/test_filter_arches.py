"""Filters for every architecture, made and asked on any machine: each of its numbers, in its byte order."""

import os
import random
import struct

import pytest
from filter_calls import (
    BIG,
    LOW,
    NARROW,
    Reference,
    byte_order,
    differences,
    every_call,
    policies_for,
    value_of,
)
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from scmm_oci.compiled import bpf
from scmm_oci.compiled.bpf import Call
from scmm_oci.compiled.filter import build, of_policy
from scmm_oci.compiled.retarget import retarget
from scmm_oci.compiled.simulate import simulate
from scmm_oci.errors import BadInput
from scmm_oci.policy.answers import Answers, entries
from scmm_oci.policy.model import Action, ArgType, Constraint, Operator, Policy, Settings, SyscallRule
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch

SOAK = bool(os.environ.get("SCMM_SOAK"))
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]

# Every kernel's ABIs, alone and together.
KERNELS = [
    (Arch.X86_64,),
    (Arch.X86,),
    (Arch.X86_64, Arch.X86, Arch.X32),
    (Arch.AARCH64,),
    (Arch.AARCH64, Arch.ARM),
    (Arch.ARM,),
    (Arch.RISCV64,),
    (Arch.S390X,),
    (Arch.S390X, Arch.S390),
    (Arch.S390,),
    (Arch.PPC64LE,),
]
every_kernel = pytest.mark.parametrize("arches", KERNELS, ids="+".join)


def seccomp_data(call):
    """The bytes of ``struct seccomp_data`` on the machine of a call."""
    order = ">" if call.byte_order == "big" else "<"
    args = (*call.args, *[0] * (6 - len(call.args)))
    return struct.pack(f"{order}IIQ6Q", call.nr, call.arch, call.instruction_pointer, *args)


@every_kernel
def test_words_are_those_in_the_memory_of_the_machine(arches):
    for arch in arches:
        call = Call(7, arch.audit, (1 << 32 | 2, 3, 0xFFFFFFFF00000000), 0x1234567890, byte_order(arch))
        words = struct.unpack(">16I" if arch in BIG else "<16I", seccomp_data(call))
        assert call.words() == words


@every_kernel
def test_every_call_of_the_architecture_is_answered_by_its_name(arches):
    """A third of the calls is allowed, one logged, one left to the default, each by name."""
    main = arches[0]
    names = sorted(set().union(*(syscalls.numbers(arch) for arch in arches)))
    chosen = random.Random(11)
    actions = {name: chosen.choice((Action.ALLOW, Action.LOG, None)) for name in names}
    rules = tuple(SyscallRule(name, action) for name, action in actions.items() if action is not None)
    given_settings = Settings(arch=main, architectures=arches, default_errno="ENOSYS", bad_arch_action=Action.TRAP)
    program = build(of_policy(Policy(settings=given_settings, syscalls=rules)))
    values = {Action.ALLOW: bpf.RET_ALLOW, Action.LOG: bpf.RET_LOG, None: bpf.RET_ERRNO | 38}
    for arch in arches:
        table = {number: name for name, number in syscalls.numbers(arch).items()}
        begin = 0x40000000 if arch is Arch.X32 else 0
        # arm has a few numbers of its own far behind the others.
        last = max(number for number in table if number < 0xF0000)
        for number in {*range(last + 3), *(number + by for number in table for by in (0, 1, 2))}:
            found = simulate(program, Call(begin + number, arch.audit, byte_order=byte_order(arch))).value
            assert found == values[actions.get(table.get(number))], (arch, number)
    for arch in set(Arch) - set(arches):
        if arch.audit not in {one.audit for one in arches}:
            assert simulate(program, Call(0, arch.audit)).value == bpf.RET_TRAP


@every_kernel
@settings(max_examples=150 if SOAK else 12, suppress_health_check=SLOW)
@given(st.data(), st.randoms())
def test_any_policy(arches, data, chosen):
    policy = data.draw(policies_for(*arches, most=6))
    try:
        program = build(of_policy(policy))
    except BadInput as error:
        assert "4096" in str(error)
        assume(False)
    assert bpf.problems(program) == []
    assert list(differences(program, policy, every_call(policy, chosen, most=30))) == []


def one_comparison(arch, op, value):
    constraint = Constraint(2, ArgType.INTEGER, op=op, value=value)
    rule = SyscallRule("getpid", Action.ALLOW, constraints=(constraint,))
    return Policy(settings=Settings(arch=arch, architectures=(arch,)), syscalls=(rule,))


@pytest.mark.parametrize("arch", sorted(set(Arch) - {Arch.X32}))
def test_high_words_are_looked_at_where_there_are_any(arch):
    program = build(of_policy(one_comparison(arch, Operator.EQ, 5)))
    number = syscalls.numbers(arch)["getpid"]
    low, high = (20 + 16, 16 + 16) if arch in BIG else (16 + 16, 20 + 16)
    loads = {one.k for one in program if one.code == bpf.LOAD}
    assert loads == ({0, 4, low} if arch in NARROW else {0, 4, low, high})

    def passes(value):
        return simulate(program, Call(number, arch.audit, (0, 0, value), byte_order=byte_order(arch))).value

    assert passes(5) == bpf.RET_ALLOW
    assert passes(6) == bpf.RET_ERRNO | 1
    if arch not in NARROW:
        assert passes(1 << 32 | 5) == passes(5 << 32) == bpf.RET_ERRNO | 1


@pytest.mark.parametrize("arch", sorted(NARROW))
@pytest.mark.parametrize(
    ("op", "never"), [(Operator.EQ, True), (Operator.GT, True), (Operator.LT, False), (Operator.NE, False)]
)
def test_numbers_that_32_bits_never_have(arch, op, never):
    program = build(of_policy(one_comparison(arch, op, 1 << 32 | 5)))
    number = syscalls.numbers(arch)["getpid"]
    for value in (0, 5, LOW):
        found = simulate(program, Call(number, arch.audit, (0, 0, value), byte_order=byte_order(arch))).value
        assert found == (bpf.RET_ERRNO | 1 if never else bpf.RET_ALLOW)
    assert not any(one.code == bpf.LOAD and one.k >= 16 for one in program)  # nothing to ask of the arguments


def test_wrong_byte_order_is_found():
    """Control: a filter for s390x that reads words as a little-endian machine has them is told apart."""
    policy = one_comparison(Arch.S390X, Operator.LE, 5)
    program = build(of_policy(policy))
    swapped = tuple(
        bpf.Instruction(one.code, one.k ^ 4) if one.code == bpf.LOAD and one.k >= 16 else one for one in program
    )
    calls = list(every_call(policy, random.Random(1)))
    assert list(differences(program, policy, calls)) == []
    assert list(differences(swapped, policy, calls)) != []
    assert Reference(policy).value(calls[0]) == bpf.RET_KILL_PROCESS


@pytest.mark.parametrize("arch", [Arch.AARCH64, Arch.RISCV64, Arch.S390X, Arch.PPC64LE, Arch.X86])
@settings(max_examples=150 if SOAK else 10, suppress_health_check=SLOW)
@given(st.data(), st.randoms())
def test_policy_for_another_architecture(arch, data, chosen):
    policy = data.draw(policies_for(Arch.X86_64, Arch.X86))
    try:
        there, _ = retarget(policy, arch)
        program = build(of_policy(there))
    except BadInput:
        assume(False)
    assert there.settings.arch is arch
    assert list(differences(program, there, every_call(there, chosen, most=20))) == []
    # What is answered whatever the arguments is answered by name as before.
    before, found = Answers(policy, Arch.X86_64), entries(policy)
    for name, number in sorted(syscalls.numbers(arch).items()):
        if name in syscalls.numbers(Arch.X86_64) and (name not in found or not found[name].constrained):
            call = Call(number, arch.audit, byte_order=byte_order(arch))
            assert simulate(program, call).value == value_of(before.of(name, {})), name
