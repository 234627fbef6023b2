"""Rules for one run: what they make of a policy, and what of them is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_samples import NAMES, policies

from scmm_oci.enforcer.overrides import DEFAULTS, OPTIONS, Overrides, applied, nothing, problems
from scmm_oci.errors import BadInput
from scmm_oci.policy.answers import Answer, entries
from scmm_oci.policy.model import Action, ArgType, Constraint, Policy, Settings, SyscallRule
from scmm_oci.tables import errnos, groups
from scmm_oci.tables.arch import Arch

ARCHES = (Arch.X86_64, Arch.X86, Arch.X32)
PLAIN_GROUPS = sorted(name for name in groups.groups() if not any(one.conditions for one in groups.expand(name)))


def rules(**options):
    """Overrides of options by their names: ``rules(deny="mkdir")``."""
    return Overrides(rules=tuple((f"--{option}", name) for option, name in options.items()))


def said(overrides, arches=ARCHES):
    return [str(one) for one in problems(overrides, arches)]


def test_a_rule_stands_in_the_place_of_all_that_the_policy_says():
    first = Constraint(0, ArgType.INTEGER, allowed=("1",))
    policy = Policy(
        syscalls=(
            SyscallRule("socket", Action.ALLOW, constraints=(first,)),
            SyscallRule("socket", Action.KILL),
            SyscallRule("read", Action.ALLOW),
        )
    )
    assert len(entries(policy)["socket"].constrained) == 1
    changed = applied(policy, rules(log="socket"))
    assert entries(changed)["socket"].constrained == ()
    assert entries(changed)["socket"].plain.action is Action.LOG
    assert entries(changed)["read"] == entries(policy)["read"]


def test_a_rule_stands_above_a_group_of_the_policy():
    policy = Policy(syscalls=(SyscallRule("@file-system", Action.ALLOW),))
    assert entries(policy)["mkdir"].plain.action is Action.ALLOW
    changed = entries(applied(policy, rules(kill="mkdir")))
    assert changed["mkdir"].plain.action is Action.KILL
    assert changed["rmdir"] == entries(policy)["rmdir"]


def test_a_group_is_all_of_its_calls_and_a_name_stands_above_it():
    policy = Policy(syscalls=(SyscallRule("mkdir", Action.KILL), SyscallRule("getpid", Action.TRAP)))
    changed = entries(applied(policy, Overrides(rules=(("--allow", "@file-system"), ("--log", "rmdir")))))
    assert changed["mkdir"].plain.action is Action.ALLOW
    assert changed["rmdir"].plain.action is Action.LOG
    assert changed["getpid"].plain.action is Action.TRAP


def test_defaults_and_errnos():
    policy = Policy(
        settings=Settings(default_action=Action.TRACE, default_message=7),
        syscalls=(SyscallRule("mkdir", Action.DENY), SyscallRule("rmdir", Action.DENY, "EACCES")),
    )
    changed = applied(policy, Overrides("deny", "EROFS"))
    assert changed.settings.default_message is None
    numbers = {name: Answer.of(entry.plain, changed.settings).number for name, entry in entries(changed).items()}
    assert numbers == {"mkdir": errnos.ERRNOS["EROFS"], "rmdir": errnos.ERRNOS["EACCES"]}
    assert Answer.of(None, changed.settings).number == errnos.ERRNOS["EROFS"]


@pytest.mark.parametrize("default", DEFAULTS)
def test_every_default_is_taken(default):
    assert applied(Policy(), Overrides(default)).settings.default_action is default


@pytest.mark.parametrize("default", ["notify", "trace", "ALLOW", "", "errno"])
def test_other_defaults_are_refused(default):
    (line,) = said(Overrides(default))
    assert line.startswith(f"--default-action: {default!r} is not an action (")
    assert "known: allow, log, deny, trap, kill_thread, kill" in line


def test_an_errno_that_nothing_is_answered_with_is_refused():
    policy = Policy(
        settings=Settings(default_action=Action.ALLOW), syscalls=(SyscallRule("mkdir", Action.DENY, "EIO"),)
    )
    with pytest.raises(BadInput, match="no call is answered with it"):
        applied(policy, Overrides(errno="EROFS"))
    assert applied(policy, Overrides(errno="EROFS", rules=(("--deny", "rmdir"),))).settings.default_errno == "EROFS"


def test_without_a_policy_all_is_allowed_on_every_abi_of_the_machine():
    assert nothing(Arch.X86_64).settings.architectures == ARCHES
    assert nothing(Arch.AARCH64).settings.architectures == (Arch.AARCH64, Arch.ARM)
    assert nothing(Arch.X86_64).settings.default_action is Action.ALLOW
    # A call that only an ABI beside has can be named too.
    assert entries(applied(nothing(Arch.X86_64), rules(kill="clock_settime64")))["clock_settime64"]


def test_all_that_is_wrong_is_told():
    given = Overrides(
        "allows",
        "EFOO",
        (
            ("--allow", "opennat"),
            ("--kill", "@file"),
            ("--log", "arm_fadvise64_64"),
            ("--deny", ""),
            ("--deny", "read"),
        ),
    )
    lines = said(given)
    assert [line.partition(":")[0] for line in lines] == [
        "--default-action",
        "--errno",
        "--allow",
        "--kill",
        "--log",
        "--deny",
    ]
    assert "did you mean 'openat'?" in lines[2]
    assert "it is one of arm" in lines[4]


def test_a_group_with_conditions_is_refused():
    conditional = sorted(set(groups.groups()) - set(PLAIN_GROUPS))
    assert conditional
    for name in conditional[:3]:
        (line,) = said(rules(allow=name))
        assert line.startswith(f"--allow: {name} is about calls with some arguments only")
    assert said(rules(allow=PLAIN_GROUPS[0])) == []


def test_one_call_in_two_ways_is_refused():
    (line,) = said(rules(allow="mkdir", kill="mkdir"))
    assert line == "--allow mkdir and --kill mkdir: mkdir cannot be answered in two ways"
    assert said(Overrides(rules=(("--allow", "mkdir"), ("--allow", "mkdir")))) == []
    (line,) = said(rules(allow="@file-system", kill="@file-system"))
    assert "a call that is named itself is answered by that" in line
    assert said(rules(allow="@file-system", kill="mkdir")) == []


@given(
    policy=policies(),
    chosen=st.dictionaries(st.sampled_from([*NAMES, *PLAIN_GROUPS]), st.sampled_from(sorted(OPTIONS)), max_size=4),
)
def test_what_is_named_is_as_said_and_all_else_as_before(policy, chosen):
    overrides = Overrides(rules=tuple((option, name) for name, option in chosen.items()))
    try:
        changed = applied(policy, overrides)
    except BadInput as error:
        assert any("@" in one.place for one in error.problems), "only groups can be in each other's way here"
        return
    wanted = {
        member.name: OPTIONS[option]
        for name, option in chosen.items()
        if name in groups.groups()
        for member in groups.expand(name)
    }
    wanted |= {name: OPTIONS[option] for name, option in chosen.items() if name not in groups.groups()}
    before, after = entries(policy), entries(changed)
    assert changed.settings == policy.settings
    for name in before.keys() | after.keys():
        if name in wanted:
            assert after[name].plain.action is wanted[name]
            assert after[name].constrained == ()
        else:
            assert after.get(name) == before.get(name)
    assert {name for name in wanted if name in NAMES} <= after.keys()


def socketcall(policy, number, arch=Arch.X86):
    """What the filter answers a socketcall with that number."""
    from scmm_oci.compiled.bpf import Call
    from scmm_oci.compiled.filter import build, of_policy
    from scmm_oci.compiled.simulate import simulate
    from scmm_oci.tables import syscalls

    call = Call(syscalls.numbers(arch)["socketcall"], arch.audit, (number, 0, 0, 0, 0, 0))
    return simulate(build(of_policy(policy)), call).value


@pytest.mark.parametrize("groups_too", [False, True])
def test_a_multiplexer_that_the_policy_allows_refuses_what_is_refused(groups_too):
    """Engines' profiles allow socketcall by its name: there a refused call would pass through it."""
    kept = ("@network-io",) if groups_too else ()
    names = ("socketcall", "socket", "connect", "execve", *kept)
    settings = Settings(architectures=ARCHES)
    policy = Policy(settings=settings, syscalls=tuple(SyscallRule(name, Action.ALLOW) for name in names))
    allowed, refused = 0x7FFF0000, 0x00050000 | errnos.number("EROFS")
    assert socketcall(policy, 1) == socketcall(policy, 3) == allowed
    changed = applied(policy, Overrides(errno="EROFS", rules=(("--deny", "socket"),)))
    assert [socketcall(changed, number) for number in (1, 3, 2**32 + 1, 2**32 + 3)] == [refused, allowed] * 2
    # send and recv are no calls that could be named on x86.
    changed = applied(policy, Overrides(errno="EROFS", rules=(("--deny", "sendto"),)))
    assert [socketcall(changed, number) for number in (9, 10, 11, 12)] == [refused, allowed] * 2
    # Of what is said of the multiplexer itself, nothing is changed; and no rule allows what it refuses.
    named = applied(policy, Overrides(errno="EROFS", rules=(("--deny", "socket"), ("--allow", "socketcall"))))
    assert socketcall(named, 1) == allowed
    strict = replace(policy, syscalls=(SyscallRule("socketcall", Action.KILL), *policy.syscalls[1:]))
    for option in ("--allow", "--deny", "--kill"):
        assert socketcall(applied(strict, Overrides(rules=((option, "socket"),))), 1) == 0x80000000


def test_a_multiplexer_with_constraints_of_its_own_has_to_be_named():
    first = Constraint(0, ArgType.INTEGER, allowed=("1",))
    policy = Policy(
        settings=Settings(architectures=ARCHES),
        syscalls=(SyscallRule("socketcall", Action.ALLOW, constraints=(first,)), SyscallRule("ipc", Action.ALLOW)),
    )
    with pytest.raises(BadInput) as caught:
        applied(policy, Overrides(rules=(("--deny", "socket"), ("--kill", "bind"))))
    (problem,) = caught.value.problems
    assert "socket, bind may pass through socketcall" in problem.message
    assert problem.hint == "give a rule for socketcall, too"
    assert applied(policy, Overrides(rules=(("--deny", "socket"), ("--deny", "socketcall"))))
    assert applied(policy, Overrides(rules=(("--allow", "socket"),)))
    # Machines without it have nothing to say.
    arm = Settings(arch=Arch.AARCH64, architectures=(Arch.AARCH64,))
    assert applied(Policy(settings=arm), Overrides(rules=(("--deny", "socket"),)))
