"""compiled.needed: policies under which nothing could start, and what is allowed because everything needs it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scmm_oci.compiled.needed import NEEDED, check, completed
from scmm_oci.errors import BadInput
from scmm_oci.policy.answers import Answers
from scmm_oci.policy.model import (
    Action,
    ArgType,
    Constraint,
    Operator,
    Policy,
    RunAs,
    Settings,
    SyscallRule,
    Transition,
)
from scmm_oci.tables.arch import Arch

READ = SyscallRule("read", Action.ALLOW)


def messages(policy: Policy) -> list[str]:
    with pytest.raises(BadInput) as caught:
        check(policy)
    return [problem.message for problem in caught.value.problems]


@pytest.mark.parametrize("action", [Action.DENY, Action.TRAP, Action.KILL, Action.KILL_THREAD])
@pytest.mark.parametrize("default", [Action.DENY, Action.ALLOW])
def test_refusals_are_told_at_once(action, default):
    rules = tuple(SyscallRule(name, action) for name in ("execve", "exit_group", "rt_sigreturn"))
    told = messages(Policy(settings=Settings(default_action=default), syscalls=(READ, *rules)))
    assert [message.split()[:4] for message in told] == [
        [name, "is", "answered", f"{action}:"] for name in ("execve", "exit_group", "rt_sigreturn")
    ]


@pytest.mark.parametrize("action", [Action.ALLOW, Action.LOG, Action.NOTIFY, Action.TRACE])
def test_what_may_still_pass_is_no_refusal(action):
    check(Policy(syscalls=(READ, SyscallRule("execve", action))))


def test_a_group_that_refuses_them_is_told():
    assert any(
        message.startswith("execve is")
        for message in messages(Policy(syscalls=(SyscallRule("@default", Action.KILL),)))
    )


def test_constraints_count_as_far_as_they_can_pass():
    zero = (Constraint(0, ArgType.INTEGER, op=Operator.EQ, value=0),)
    check(Policy(syscalls=(SyscallRule("exit_group", Action.ALLOW, constraints=zero),)))
    allow = Policy(
        settings=Settings(default_action=Action.ALLOW),
        syscalls=(SyscallRule("exit_group", Action.KILL, constraints=zero),),
    )
    check(allow)
    refused = Policy(syscalls=(SyscallRule("exit_group", Action.KILL, constraints=zero),))
    assert messages(refused)


def test_empty_policies():
    assert "is empty" in messages(Policy())[0]
    with pytest.raises(BadInput, match=r"such as @system-service, or let the default be allow"):
        check(Policy())
    check(Policy(syscalls=(SyscallRule("@system-service", Action.ALLOW),)))
    nothing = Policy(settings=Settings(default_action=Action.ALLOW))
    assert "restricts nothing" in messages(nothing)[0]
    # For a compiled file: a watch may be all that it is for, and no profile holds that.
    watched = replace(nothing, transitions=(Transition("start", ("brk",)),))
    check(watched, asks=True)
    assert "restricts nothing" in messages(watched)[0]
    with pytest.raises(BadInput, match="restricts nothing"):
        check(nothing, asks=True)
    check(Policy(settings=Settings(default_action=Action.ALLOW), filesystem=()))
    check(Policy(settings=Settings(default_action=Action.ALLOW, run_as=RunAs(1, 1))))
    check(Policy(syscalls=(READ,)))


def test_what_is_merely_not_listed_is_added_once_and_said():
    whole, findings = completed(Policy(syscalls=(READ, SyscallRule("exit", Action.DENY))))
    added = {rule.name for rule in whole.syscalls} - {"read", "exit"}
    assert added == {"execve", "exit_group", "rt_sigreturn", "restart_syscall"}
    assert [finding.code for finding in findings] == ["needed-added"]
    assert all(name in findings[0].message for name in added)
    answers = Answers(whole, Arch.X86_64)
    assert all(answers.of(name, {}).action is Action.ALLOW for name in added)
    # A rule of the policy is never changed.
    assert answers.of("exit", {}).action is Action.DENY
    assert completed(whole) == (whole, [])


def test_other_machines_have_other_names_for_it():
    arm = Settings(arch=Arch.AARCH64, architectures=(Arch.AARCH64, Arch.ARM))
    whole, _ = completed(Policy(settings=arm, syscalls=(READ,)))
    assert {rule.name for rule in whole.syscalls} == {"read", *NEEDED}


def test_nothing_is_added_where_the_default_passes():
    policy = Policy(settings=Settings(default_action=Action.LOG), syscalls=(SyscallRule("ptrace", Action.DENY),))
    assert completed(policy) == (policy, [])
