"""socketcall and ipc: their numbers against libseccomp and our vocabulary, and what a policy answers to them."""

import tempfile

import pyseccomp
import pytest

from scmm_oci.compiled import bpf, simulate
from scmm_oci.policy.answers import Answers, entries
from scmm_oci.policy.model import Action, Applies, ArgType, Constraint, Policy, Settings, SyscallRule
from scmm_oci.tables import syscalls, words
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.multiplexed import multiplexers

WITH = (Arch.X86, Arch.S390, Arch.S390X, Arch.PPC64LE)


def rule(name, action="allow", *constraints, **more):
    return SyscallRule(name, Action(action), constraints=constraints, **more)


def answers(arch, *rules, default="deny"):
    settings = Settings(Action(default), arch=arch, architectures=(arch,))
    return Answers(Policy(settings=settings, syscalls=rules), arch)


def actions(made, name, *values):
    return [made.of(name, {0: value}).action.value for value in values]


def family(number):
    return Constraint(0, ArgType.INTEGER, allowed=(str(number),))


@pytest.mark.parametrize("arch", WITH)
def test_numbers_are_those_of_the_kernels_headers(arch):
    calls = words.names("socket_calls", arch=arch)
    assert multiplexers(arch)["socketcall"] == {name.removeprefix("SYS_").lower(): one for name, one in calls.items()}
    calls = {name.lower(): one for name, one in words.names("ipc_calls", arch=arch).items()}
    assert calls.pop("dipc") == 25  # never in Linux
    assert dict(multiplexers(arch)["ipc"]) == calls
    for multiplexer in multiplexers(arch):
        assert multiplexer in syscalls.numbers(arch)


@pytest.mark.parametrize("arch", list(Arch))
def test_libseccomp_answers_the_same_members_through_the_same_numbers(arch):
    order = "big" if arch in (Arch.S390, Arch.S390X) else "little"
    found = {}
    names = sorted({*multiplexers(Arch.X86)["socketcall"], *multiplexers(Arch.X86)["ipc"], "openat", "recvmmsg_time64"})
    for name in names:
        library = pyseccomp.SyscallFilter(pyseccomp.ERRNO(1))
        # In list form 2.5.4 does not load the number where only a multiplexer has the call (semop on x86).
        library.set_attr(8, 2)
        library.remove_arch(pyseccomp.Arch.NATIVE)
        library.add_arch(getattr(pyseccomp.Arch, arch.value.upper()))
        library.add_rule(pyseccomp.ALLOW, name)
        with tempfile.TemporaryFile() as file:
            library.export_bpf(file)
            file.seek(0)
            program = bpf.decode(file.read(), order)
        for multiplexer in ("socketcall", "ipc"):
            number = syscalls.number_of(arch, multiplexer)
            for value in range(40) if number is not None else ():
                call = bpf.Call(number, arch.audit, (value,), byte_order=order)
                if simulate.simulate(program, call).value == bpf.RET_ALLOW:
                    found.setdefault(multiplexer, {})[name] = value
    assert found == {name: dict(members) for name, members in multiplexers(arch).items()}
    assert bool(found) == (arch in WITH)


@pytest.mark.parametrize("arch", WITH)
def test_what_holds_for_a_call_holds_through_its_multiplexer(arch):
    made = answers(arch, rule("socket"), rule("accept"), rule("bind", "log"), rule("shmat", "kill"))
    assert actions(made, "socketcall", 0, 1, 2, 3, 5) == ["deny", "allow", "log", "deny", "allow"]
    # What stands above the bits that the kernel takes does not count.
    assert actions(made, "socketcall", 1 << 32 | 1, 1 << 16 | 1) == ["allow", "deny"]
    assert actions(made, "ipc", 21, 22, 3 << 16 | 21) == ["kill", "deny", "kill"]


def test_other_abis_have_none():
    made = answers(Arch.X86_64, rule("socket"))
    assert actions(made, "socketcall", 1) == ["deny"]
    assert set(entries(Policy(syscalls=(rule("socket"),)), Arch.AARCH64)) == {"socket"}


def test_errno_and_message_are_the_members():
    made = answers(Arch.X86, rule("socket", "deny", errno="ENOSYS"), rule("bind", "trace", message=7))
    assert [made.of("socketcall", {0: value}).number for value in (1, 2, 3)] == [38, 7, 1]


def test_rule_of_its_own_replaces_all_that_members_say():
    made = answers(Arch.X86, rule("socket"), rule("socketcall", "log", family(2)), rule("shmat"))
    assert actions(made, "socketcall", 1, 2, 3) == ["deny", "log", "deny"]
    assert actions(made, "ipc", 21) == ["allow"]


def test_constraints_of_a_member_open_nothing_there():
    made = answers(Arch.X86, rule("socket", "allow", family(1)), rule("bind"))
    assert actions(made, "socket", 1, 2) == ["allow", "deny"]
    assert actions(made, "socketcall", 1, 2) == ["deny", "allow"]


@pytest.mark.parametrize("default", ["allow", "log"])
def test_constraints_of_a_member_refuse_it_there(default):
    # Else a program would make its socket through socketcall, where no family is to be seen.
    made = answers(Arch.X86, rule("socket", "kill", family(16)), rule("shmat", "deny"), default=default)
    assert actions(made, "socket", 1, 16) == [default, "kill"]
    assert actions(made, "socketcall", 1, 2) == ["kill", default]
    assert actions(made, "ipc", 21, 1 << 16 | 21, 22) == ["deny", "deny", default]
    # A rule without constraints beside it opens no more than the one with.
    made = answers(Arch.X86, rule("socket"), rule("socket", "deny", family(16)), default="trap")
    assert actions(made, "socketcall", 1) == ["trap" if default == "trap" else "deny"]


def test_groups_reach_members_that_have_no_number_of_their_own():
    assert "accept" not in syscalls.numbers(Arch.X86)
    made = answers(Arch.X86, rule("@socket-listen"))
    assert actions(made, "socketcall", 1, 2, 4, 5, 18) == ["deny", "allow", "allow", "allow", "allow"]
    refused = answers(Arch.X86, rule("@socket-inet", "deny"), rule("@sysv-memory", "deny"), default="allow")
    assert actions(refused, "socketcall", 1, 2) == ["deny", "allow"]
    assert actions(refused, "ipc", 21, 1) == ["deny", "allow"]
    # A rule for the name replaces the group's.
    own = answers(Arch.X86, rule("@socket-listen"), rule("accept", "kill"))
    assert actions(own, "socketcall", 4, 5) == ["allow", "kill"]


def test_rules_for_some_containers_are_not_heard_of():
    made = answers(Arch.X86, rule("socket", includes=Applies(capabilities=("CAP_SYS_ADMIN",))))
    assert actions(made, "socketcall", 1) == ["deny"]


def test_only_filters_have_rules_of_multiplexers():
    policy = Policy(
        settings=Settings(arch=Arch.X86, architectures=(Arch.X86,)), syscalls=(rule("socket"), rule("shmat"))
    )
    assert set(entries(policy)) == {"socket", "shmat"}
    assert set(entries(policy, Arch.X86)) == {"socket", "shmat", "socketcall", "ipc"}
