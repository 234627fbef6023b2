"""The generator: what a filter returns is what the policy answers, for every number and at every boundary."""

import os
import random
import subprocess
import sys

import pytest
from filter_calls import (
    FULL,
    LOW,
    MINUS_ONE,
    X32_BIT,
    Difference,
    Reference,
    comparisons,
    differences,
    every_call,
    numbers,
    policies_for,
    value_of,
)
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from policy_samples import policies

from scmm_oci.compiled import bpf
from scmm_oci.compiled.bpf import Call
from scmm_oci.compiled.filter import build, of_policy, permissive, returned
from scmm_oci.compiled.simulate import simulate
from scmm_oci.errors import BadInput
from scmm_oci.policy import model
from scmm_oci.policy.answers import Answer
from scmm_oci.policy.constraints import is_structure
from scmm_oci.policy.model import Action, ArgType, Constraint, Operator, Policy, Settings, SyscallRule
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch

SOAK = bool(os.environ.get("SCMM_SOAK"))
EXAMPLES = 1000 if SOAK else 60
X86_64, X86, X32 = Arch.X86_64, Arch.X86, Arch.X32
SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]

filters = settings(max_examples=EXAMPLES, suppress_health_check=SLOW)


def program_of(policy):
    """The program; None where its constraints are none that a filter of 4096 instructions holds."""
    try:
        return build(of_policy(policy))
    except BadInput as error:
        assert any("4096" in one.message for one in error.problems), error
        return None


def assert_sound(program):
    """A program that kernels take, in which nothing is out of reach."""
    assert bpf.problems(program) == []
    assert unreachable(program) == []


def unreachable(program):
    """The instructions that no way leads to."""
    seen, waiting = set(), [0]
    while waiting:
        at = waiting.pop()
        if at in seen:
            continue
        seen.add(at)
        one = program[at]
        if one.code == bpf.JA:
            waiting.append(at + 1 + one.k)
        elif one.code & 7 == 5:
            waiting += [at + 1 + one.jt, at + 1 + one.jf]
        elif one.code & 7 != 6:
            waiting.append(at + 1)
    return sorted(set(range(len(program))) - seen)


def rule(name, action, *given, **more):
    return SyscallRule(name, Action(action), constraints=given, **more)


def compare(op, value, *, arg=0, mask=None):
    return Constraint(arg, ArgType.INTEGER, op=Operator(op), value=value, mask=mask)


def policy_of(*rules, default="deny", architectures=(X86_64,), **more):
    given = Settings(default_action=Action(default), architectures=architectures, arch=architectures[0], **more)
    return Policy(settings=given, syscalls=rules)


def answer(program, name, *args, arch=X86_64):
    call = Call(syscalls.number_of(arch, name), arch.audit, args)
    return simulate(program, call).value


# Any policy


@filters
@given(policies(), st.randoms(use_true_random=False))
def test_filter_returns_what_the_policy_answers(policy, chosen):
    try:
        Reference(policy)
    except BadInput:
        with pytest.raises(BadInput):
            of_policy(policy)
        return
    program = program_of(policy)
    assume(program is not None)
    assert_sound(program)
    assert list(differences(program, policy, every_call(policy, chosen))) == []


@filters
@given(policies_for(X86_64, X86, X32) | policies_for(X86_64) | policies_for(X86_64, X32), st.randoms())
def test_filter_returns_what_overlapping_comparisons_answer(policy, chosen):
    program = program_of(policy)
    assume(program is not None)
    assert_sound(program)
    assert list(differences(program, policy, every_call(policy, chosen))) == []


@filters
@given(policies_for(X86_64, X86, most=4), st.randoms())
def test_permissive_twin_refuses_nothing(policy, chosen):
    plan = of_policy(policy)
    try:
        twin = build(permissive(plan))
    except BadInput:
        assume(False)
    assert_sound(twin)
    reference = Reference(policy)
    for call in every_call(policy, chosen, most=20):
        wanted = reference.value(call)
        expected = wanted if wanted in (bpf.RET_ALLOW, bpf.RET_LOG) else bpf.RET_LOG | 1
        assert simulate(twin, call).value == expected, Difference(call, simulate(twin, call).value, expected)


def test_returned_values_are_those_of_the_header():
    for action in Action:
        for number in (0, 1, 4095):
            one = Answer(action.rank, number if action in (Action.DENY, Action.TRACE) else 0, action)
            assert returned(one) == value_of(one)


# One comparison


@pytest.mark.parametrize("op", Operator)
@pytest.mark.parametrize("value", [0, 1, LOW, 1 << 32, (1 << 32) + 1, 1 << 63, FULL - 1, FULL])
@pytest.mark.parametrize("mask", [1, LOW, FULL ^ LOW, FULL, 1 << 63 | 1])
def test_every_operator_on_64_bits(op, value, mask):
    masked = op is Operator.MASKED_EQ
    one = compare(op.value, value & mask if masked else value, arg=3, mask=mask if masked else None)
    policy = policy_of(rule("getpid", "allow", one), rule("getppid", "trap", one), rule("getppid", "allow"))
    program = build(of_policy(policy))
    assert_sound(program)
    held = {
        "eq": lambda v: v == value,
        "ne": lambda v: v != value,
        "lt": lambda v: v < value,
        "le": lambda v: v <= value,
        "ge": lambda v: v >= value,
        "gt": lambda v: v > value,
        "masked_eq": lambda v: v & mask == value & mask,
    }[op.value]
    near = {value + by for by in (-1, 0, 1, 1 << 32, -(1 << 32), 1 << 63)} | {0, 1, LOW, 1 << 32, FULL, value ^ mask}
    for given_value in {one & FULL for one in near}:
        args = (7, 7, 7, given_value, 7, 7)
        holds = held(given_value)
        assert (answer(program, "getpid", *args) == bpf.RET_ALLOW) is holds, hex(given_value)
        assert answer(program, "getppid", *args) == (bpf.RET_TRAP if holds else bpf.RET_ALLOW), hex(given_value)


@settings(max_examples=400 if SOAK else 150)
@given(st.lists(comparisons([2]), min_size=1, max_size=5), numbers)
def test_several_comparisons_of_one_argument(tests, value):
    actions = ("allow", "log", "trap", "kill", "kill_thread")
    rules = [rule("getpid", action, one) for action, one in zip(actions, tests, strict=False)]
    policy = policy_of(*rules)
    program = build(of_policy(policy))
    calls = [
        Call(39, X86_64.audit, (0, 0, v & FULL))
        for one in tests
        for edge in (value, one.value)
        for v in (edge - 1, edge, edge + 1, edge ^ 1 << 32, edge ^ 1 << 63)
    ]
    assert list(differences(program, policy, calls)) == []


# Numbers


def test_x32_is_refused_where_the_policy_is_not_for_it():
    program = build(of_policy(policy_of(rule("read", "allow"), default="allow", bad_arch_action=Action.KILL)))
    for number in (X32_BIT, X32_BIT | 1, X32_BIT + 547, 0x80000000, MINUS_ONE - 1):
        assert simulate(program, Call(number, X86_64.audit)).value == bpf.RET_KILL_PROCESS
    # -1 is what a tracer makes of a call that it takes over.
    for number in (0, X32_BIT - 1, MINUS_ONE):
        assert simulate(program, Call(number, X86_64.audit)).value == bpf.RET_ALLOW


def test_x32_has_its_own_numbers_where_the_policy_is_for_it():
    policy = policy_of(rule("ioctl", "allow"), rule("readv", "log"), architectures=(X86_64, X32), default_errno="EIO")
    program = build(of_policy(policy))
    assert simulate(program, Call(16, X86_64.audit)).value == bpf.RET_ALLOW
    # ioctl is 514 on x32, and 16 is none of its numbers.
    assert simulate(program, Call(X32_BIT | 514, X86_64.audit)).value == bpf.RET_ALLOW
    assert simulate(program, Call(X32_BIT | 515, X86_64.audit)).value == bpf.RET_LOG
    for number in (X32_BIT | 16, 514, MINUS_ONE, X32_BIT | 9999):
        assert simulate(program, Call(number, X86_64.audit)).value == bpf.RET_ERRNO | 5


def test_other_machines_get_the_action_for_them():
    program = build(of_policy(policy_of(default="allow", bad_arch_action=Action.DENY, default_errno="ENOSYS")))
    assert simulate(program, Call(0, X86_64.audit)).value == bpf.RET_ALLOW
    for audit in (X86.audit, Arch.AARCH64.audit, 0, MINUS_ONE):
        assert simulate(program, Call(0, audit)).value == bpf.RET_ERRNO | 38


# Size


def many(count):
    """Rules with different comparisons for many calls."""
    names = [name for name in sorted(syscalls.numbers(X86_64)) if not is_structure(name, 0, X86_64)][:count]
    tests = [(compare("eq", index * 0x10001, arg=4), compare("lt", 77, arg=5)) for index in range(len(names))]
    return policy_of(*(rule(name, "allow", *two) for name, two in zip(names, tests, strict=True)))


def test_jumps_beyond_255_instructions():
    policy = many(350)
    program = build(of_policy(policy))
    assert len(program) > 1000
    assert_sound(program)
    assert any(one.code == bpf.JA for one in program)
    assert list(differences(program, policy, every_call(policy, random.Random(1), most=6))) == []
    # Control: without the jumps it would not be the same filter.
    broken = tuple(one if one.code != bpf.JA else bpf.Instruction(bpf.JA) for one in program)
    assert next(differences(broken, policy, every_call(policy, random.Random(1), most=6)), None) is not None


def test_filter_that_is_too_long_is_refused_with_what_makes_it_so():
    # Numbers whose low words have nothing in common.
    tests = [compare("eq", index * 2654435761 % (1 << 32) | index << 40) for index in range(2500)]
    big = [rule("ioctl", "allow", one) for one in tests]
    with pytest.raises(BadInput, match="4096") as raised:
        build(of_policy(policy_of(*big, rule("read", "allow", compare("eq", 1)), rule("write", "allow"))))
    assert "ioctl" in str(raised.value)
    assert len(build(of_policy(policy_of(*big[:500], rule("write", "allow"))))) <= 4096


def test_calls_that_are_answered_alike_take_no_instructions():
    assert len(build(of_policy(policy_of(default="allow", bad_arch_action=Action.ALLOW)))) <= 4
    names = sorted(syscalls.numbers(X86_64), key=syscalls.numbers(X86_64).get)[:200]
    program = build(of_policy(policy_of(*(rule(name, "allow") for name in names))))
    assert len(program) <= 10


def test_words_that_are_refused_take_a_test_each():
    words = [str(0x5401 + 7 * index) for index in range(40)]
    given_words = Constraint(1, ArgType.INTEGER, denied=tuple(words))
    policy = policy_of(rule("ioctl", "allow", given_words))
    program = build(of_policy(policy))
    assert len(program) < 70
    assert list(differences(program, policy, every_call(policy, random.Random(1)))) == []
    for word in words:
        assert answer(program, "ioctl", 0, int(word)) == answer(program, "ioctl", 0, 1 << 32 | int(word)) == 0x50001


# Bytes


SAME = """
import sys
sys.path[:0] = ["tests/unit", "tests"]
from test_filter import many
from scmm_oci.compiled import bpf
from scmm_oci.compiled.filter import build, of_policy
sys.stdout.buffer.write(bpf.encode(build(of_policy(many(120)))))
"""


def test_same_bytes_whatever_the_hash_seed_and_the_order_of_rules():
    policy = many(120)
    ours = bpf.encode(build(of_policy(policy)))
    mixed = list(policy.syscalls)
    random.Random(3).shuffle(mixed)
    assert bpf.encode(build(of_policy(model.Policy(settings=policy.settings, syscalls=tuple(mixed))))) == ours
    for seed in ("0", "1", "77"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", SAME], env=environment, capture_output=True, check=True, timeout=60
        )
        assert done.stdout == ours


@settings(max_examples=30)
@given(policies_for(X86_64, X86), st.randoms(use_true_random=False))
def test_order_of_calls_does_not_change_the_bytes(policy, chosen):
    order = list({one.name for one in policy.syscalls})
    chosen.shuffle(order)
    mixed = sorted(policy.syscalls, key=lambda one: order.index(one.name))
    assert program_of(policy) == program_of(model.Policy(settings=policy.settings, syscalls=tuple(mixed)))
