"""Rules compare what the kernel takes of a register: what stands above an int's 32 bits gets nothing past a rule."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scmm_oci.enforcer.monitor import calls
from scmm_oci.enforcer.monitor.model import Call, Subject, Target
from scmm_oci.enforcer.monitor.rules.decide import Outcome, Rules, Spent
from scmm_oci.enforcer.monitor.rules.load import parse
from scmm_oci.errors import BadInput
from scmm_oci.kernel.notify import Notification
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.syscalls import numbers

TARGET = Target("id", "name", 1, "")
HIGH = st.integers(1, (1 << 32) - 1).map(lambda value: value << 32)


def call(name: str, arg: int, value: int, arch: Arch = Arch.X86_64) -> Call:
    words = [0] * 6
    words[arg] = value
    return calls.decode(Notification(1, 1, numbers(arch)[name], arch.audit, tuple(words)))  # type: ignore[arg-type]


def decided(made: Call, decision: str, name: str, **constraint: Any) -> Outcome:
    other = "deny" if decision == "allow" else "allow"
    rule = {"syscalls": [name], "args": [{"type": "integer", **constraint}], "decision": decision}
    rules = Rules(parse(json.dumps({"version": "1.0", "default": other, "rules": [rule]}).encode()))
    return rules.decide(Subject(TARGET, made), Spent()).outcome


# Arguments that have no words, an int each; setuid(2^32) makes a process root's as setuid(0) does.
@pytest.mark.parametrize(
    ("name", "arg", "number"),
    [("setuid", 0, 0), ("setresuid", 1, 0), ("chown", 1, 0), ("chmod", 1, 0o4755), ("dup2", 1, 2), ("kill", 0, 1)],
)
@given(HIGH)
def test_what_is_refused_is_refused_whatever_stands_above(name: str, arg: int, number: int, high: int) -> None:
    for value in (number, number | high):
        made = call(name, arg, value)
        assert decided(made, "deny", name, arg=arg, allowed=[str(number)]) is Outcome.DENY
        assert decided(made, "allow", name, arg=arg, denied=[str(number)]) is Outcome.DENY
    other = call(name, arg, number + 1)
    assert decided(other, "deny", name, arg=arg, allowed=[str(number)]) is Outcome.ALLOW
    assert decided(other, "allow", name, arg=arg, denied=[str(number)]) is Outcome.ALLOW


# chmod(2) takes no notice of the kind of file, mkdir(2) of setuid and setgid, umask(2) of all but permissions.
@pytest.mark.parametrize(
    ("name", "arg", "mode", "more"),
    [
        ("chmod", 1, 0o4755, 0o100000),
        ("fchmodat", 2, 0, 0o40000),
        ("mkdirat", 2, 0o777, 0o6000),
        ("umask", 0, 0, 0o7000),
    ],
)
def test_bits_of_a_mode_that_count_for_nothing_get_nothing_past_a_rule(
    name: str, arg: int, mode: int, more: int
) -> None:
    for value in (mode, mode | more, mode | 1 << 40):
        made = call(name, arg, value)
        assert decided(made, "deny", name, arg=arg, allowed=[str(mode)]) is Outcome.DENY
        assert decided(made, "allow", name, arg=arg, denied=[str(mode)]) is Outcome.DENY
    assert decided(call(name, arg, mode ^ 0o1), "deny", name, arg=arg, allowed=[str(mode)]) is Outcome.ALLOW
    # A rule that names such bits would be for no call.
    with pytest.raises(BadInput, match=r"has more than the \d+ bits that the kernel takes of it"):
        decided(call(name, arg, mode), "deny", name, arg=arg, allowed=[str(mode | more)])


@given(HIGH)
def test_minus_one_is_the_same_in_32_and_64_bits(high: int) -> None:
    for value in (0xFFFFFFFF, 0xFFFFFFFF | high, (1 << 64) - 1):
        assert decided(call("kill", 0, value), "deny", "kill", arg=0, allowed=["-1"]) is Outcome.DENY


@given(HIGH)
def test_what_has_64_bits_is_compared_with_all_of_them(high: int) -> None:
    for value, outcome in ((4096, Outcome.DENY), (4096 | high, Outcome.ALLOW)):
        assert decided(call("munmap", 1, value), "deny", "munmap", arg=1, allowed=["4096"]) is outcome
        # As the runtime-spec has it.
        assert decided(call("setuid", 0, value), "deny", "setuid", arg=0, op="eq", value=4096) is outcome


@given(HIGH)
def test_a_program_of_64_bits_that_makes_calls_of_32(high: int) -> None:
    """What seccomp is told of int $0x80 has the whole register, and the kernel takes its lower half."""
    made = call("setuid32", 0, high, Arch.X86)
    assert made.args[0] == 0 and made == call("setuid32", 0, 0, Arch.X86)
    assert decided(made, "deny", "setuid32", arg=0, allowed=["0"]) is Outcome.DENY
    assert decided(made, "deny", "setuid32", arg=0, op="eq", value=0) is Outcome.DENY
    unnamed = calls.decode(Notification(1, 1, 0xFFFF, Arch.X86.audit, (high,) * 6))
    assert unnamed.name is None and unnamed.args == (0,) * 6
