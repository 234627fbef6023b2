"""A policy for one architecture compiled for another: the same answers, a finding or an error; never wider."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_samples import policies

from scmm_oci.compiled.polfile.model import SIGNAL, Transitions
from scmm_oci.compiled.retarget import retarget
from scmm_oci.compiled.transitions import transitions
from scmm_oci.errors import BadInput
from scmm_oci.policy.answers import Answers
from scmm_oci.policy.argument_places import moved
from scmm_oci.policy.constraints import index_of, known_words, value_of
from scmm_oci.policy.document import parse
from scmm_oci.policy.model import Action, ArgType, Constraint, Operator, Policy, Settings, SyscallRule, Transition
from scmm_oci.tables import syscalls, words
from scmm_oci.tables.arch import Arch

OTHERS = (Arch.AARCH64, Arch.RISCV64, Arch.S390X, Arch.PPC64LE)
MACHINES = (*OTHERS, Arch.X86_64, Arch.X86, Arch.ARM)


def policy(*rules, **settings):
    return Policy(settings=Settings(**settings), syscalls=tuple(rules))


def allow(name, *constraints):
    return SyscallRule(name, Action.ALLOW, constraints=tuple(constraints))


def deny(name, *constraints):
    return SyscallRule(name, Action.DENY, constraints=tuple(constraints))


def flags(arg, *, allowed=(), denied=()):
    return Constraint(arg, ArgType.FLAGS, allowed=tuple(allowed), denied=tuple(denied))


def codes(findings):
    return [finding.code for finding in findings]


def refused(given_policy, arch):
    with pytest.raises(BadInput) as caught:
        retarget(given_policy, arch)
    return [(problem.place, str(problem)) for problem in caught.value.problems]


@given(policies())
def test_its_own_architecture_changes_nothing(any_policy):
    assert retarget(any_policy, Arch.X86_64) == (any_policy, [])


@pytest.mark.parametrize("arch", MACHINES)
@pytest.mark.parametrize("before", MACHINES)
def test_every_call_of_every_architecture(before, arch):
    """All calls of one, each with an answer of its own: those that both have keep it, all others are told."""
    answers = (Action.ALLOW, Action.LOG, Action.TRAP, Action.KILL)
    names = sorted(syscalls.numbers(before))
    rules = tuple(SyscallRule(name, answers[number % 4]) for number, name in enumerate(names))
    start = Policy(
        settings=Settings(arch=before, architectures=(before,)),
        syscalls=rules,
        transitions=tuple(Transition(name, ("read", name)) for name in names if name != "signal"),
    )
    there, findings = retarget(start, arch)
    assert (there.settings.arch, there.settings.architectures) == (arch, (arch,))
    known = syscalls.numbers(arch)
    assert there.syscalls == tuple(rule for rule in rules if rule.name in known)
    assert there.transitions == tuple(one for one in start.transitions if one.call in known)
    gone = set(names) - set(known)
    assert codes(findings) == (["calls-left-out", "transitions-left-out"] if gone else [])
    told = Answers(there, arch)
    for name in known:
        expected = answers[names.index(name) % 4] if name in names else Action.DENY
        assert told.fallback(name).action is expected, name


def test_what_is_left_out_is_told_with_its_names():
    _, findings = retarget(policy(allow("open"), allow("openat"), allow("arch_prctl")), Arch.AARCH64)
    assert codes(findings) == ["calls-left-out"]
    assert "aarch64 has no open, arch_prctl" in findings[0].message
    assert "--portable" in findings[0].hint
    assert retarget(policy(allow("openat")), Arch.AARCH64)[1] == []


@pytest.mark.parametrize(
    ("before", "arch", "expected", "told"),
    [
        ((Arch.X86_64, Arch.X86), Arch.AARCH64, (Arch.AARCH64, Arch.ARM), []),
        ((Arch.X86_64, Arch.X86), Arch.S390X, (Arch.S390X, Arch.S390), []),
        ((Arch.AARCH64, Arch.ARM), Arch.X86_64, (Arch.X86_64, Arch.X86), []),
        ((Arch.X86_64, Arch.X86, Arch.X32), Arch.AARCH64, (Arch.AARCH64, Arch.ARM), ["architecture-left-out"]),
        ((Arch.X86_64, Arch.X86), Arch.RISCV64, (Arch.RISCV64,), ["architecture-left-out"]),
        ((Arch.X86_64,), Arch.AARCH64, (Arch.AARCH64,), []),
        ((Arch.X86,), Arch.AARCH64, (Arch.AARCH64,), []),
    ],
)
def test_abis_beside(before, arch, expected, told):
    there, findings = retarget(policy(allow("read"), arch=before[0], architectures=before), arch)
    assert there.settings.architectures == expected
    assert codes(findings) == told


def test_a_call_of_an_abi_beside_stays():
    there, findings = retarget(policy(allow("mmap2"), architectures=(Arch.X86_64, Arch.X86)), Arch.AARCH64)
    assert [rule.name for rule in there.syscalls] == ["mmap2"]
    assert findings == []
    assert codes(retarget(policy(allow("mmap2"), architectures=(Arch.X86_64, Arch.X86)), Arch.RISCV64)[1]) == [
        "architecture-left-out",
        "calls-left-out",
    ]


def test_x32_is_no_machine():
    assert refused(policy(allow("read")), Arch.X32)[0][0] == ".settings.arch"


def test_the_flags_of_clone_move():
    there, _ = retarget(policy(allow("clone", flags(0, denied=["CLONE_NEWUSER"]))), Arch.S390X)
    assert there.syscalls[0].constraints[0].arg == 1 == index_of("clone", "clone_flags", Arch.S390X)
    new_user = words.names("clone_flags", arch="s390x")["CLONE_NEWUSER"]
    told = Answers(there, Arch.S390X)
    assert told.of("clone", {0: new_user, 1: 17}).action is Action.ALLOW
    assert told.of("clone", {0: 0, 1: 17 | new_user}).action is Action.DENY
    back, _ = retarget(there, Arch.X86_64)
    assert back.syscalls[0].constraints[0].arg == 0
    there, _ = retarget(policy(allow("clone", flags(0, denied=["CLONE_NEWUSER"]))), Arch.RISCV64)
    assert there.syscalls[0].constraints[0].arg == 0


@pytest.mark.parametrize(
    ("call", "arg", "before", "after", "expected"),
    [
        ("clone", 3, Arch.X86_64, Arch.AARCH64, 4),
        ("clone", 4, Arch.X86_64, Arch.AARCH64, 3),
        ("clone", 3, Arch.AARCH64, Arch.RISCV64, 3),
        ("clone", 5, Arch.X86_64, Arch.AARCH64, None),
        ("write", 0, Arch.X86_64, Arch.S390X, 0),
        ("mmap", 2, Arch.X86_64, Arch.AARCH64, 2),
        ("mmap", 2, Arch.X86_64, Arch.S390X, None),
        ("mmap", 4, Arch.X86_64, Arch.X86, None),
        ("mmap2", 2, Arch.X86, Arch.S390, None),
        ("select", 0, Arch.X86_64, Arch.X86, None),
        ("preadv2", 5, Arch.X86_64, Arch.X32, 4),
        ("sync_file_range", 3, Arch.X86_64, Arch.X86, 5),
        ("pread64", 2, Arch.X86_64, Arch.X86, 2),
        ("pread64", 3, Arch.X86_64, Arch.X86, None),
        ("pread64", 3, Arch.X86, Arch.ARM, None),
        ("pread64", 3, Arch.X86_64, Arch.AARCH64, 3),
        ("fanotify_mark", 3, Arch.AARCH64, Arch.ARM, None),
        ("read", 2, Arch.X86_64, Arch.ARM, 2),
    ],
)
def test_places_of_arguments(call, arg, before, after, expected):
    assert moved(call, arg, before, after) == expected
    assert moved(call, arg, before, before) == arg
    if expected is not None:
        assert moved(call, expected, after, before) == arg


def test_names_are_other_numbers_there():
    there, findings = retarget(policy(allow("openat", flags(2, allowed=["O_RDONLY", "O_DIRECTORY"]))), Arch.AARCH64)
    assert findings == []
    told = Answers(there, Arch.AARCH64)
    assert told.of("openat", {2: words.names("open_flags", arch="aarch64")["O_DIRECTORY"]}).action is Action.ALLOW
    assert told.of("openat", {2: words.names("open_flags", arch="x86_64")["O_DIRECTORY"]}).action is Action.DENY


def test_what_would_mean_something_else_is_refused_with_its_place():
    found = refused(
        policy(
            allow("read"),
            allow("open"),
            allow("openat", flags(2, allowed=["O_RDONLY", "0x10000"])),
            deny("mmap", flags(2, allowed=["PROT_EXEC"]), flags(3, denied=["MAP_32BIT"])),
        ),
        Arch.AARCH64,
    )
    assert [place for place, _ in found] == [
        ".syscalls[2].constraints[0].allowed[1]",
        ".syscalls[3].constraints[1].denied[0]",
    ]
    assert "'0x10000' of argument 2 of openat is another on aarch64 (write O_RDONLY|O_DIRECTORY)" in found[0][1]
    assert "'MAP_32BIT' is not a value of argument 3 of mmap" in found[1][1]
    # Numbers that are the same there are no matter; riscv64 has x86_64's for O_DIRECTORY.
    assert retarget(policy(allow("openat", flags(2, allowed=["O_RDONLY", "0x10000"]))), Arch.RISCV64)[1] == []
    assert retarget(policy(allow("openat", flags(2, allowed=["O_RDONLY", "0x80000"]))), Arch.AARCH64)[1] == []


def test_masks_of_docker_are_the_same_everywhere():
    mask = Constraint(0, ArgType.INTEGER, op=Operator.MASKED_EQ, value=0, mask=0x7E020000)
    for arch in OTHERS:
        there, findings = retarget(policy(allow("clone", mask)), arch)
        assert (there.syscalls[0].constraints[0].mask, findings) == (0x7E020000, [])


def test_socket_options_by_number():
    def option(word):
        return policy(allow("setsockopt", Constraint(2, ArgType.INTEGER, allowed=(word,))))

    # SO_RCVLOWAT is 18, on powerpc 16 (asm/socket.h).
    assert [place for place, _ in refused(option("18"), Arch.PPC64LE)] == [".syscalls[0].constraints[0].allowed[0]"]
    assert retarget(option("SO_RCVLOWAT"), Arch.PPC64LE)[1] == []
    assert retarget(option("18"), Arch.AARCH64)[1] == []


def test_a_constraint_that_no_filter_sees_there_is_refused():
    for rule in (deny("mmap", flags(2, allowed=["PROT_EXEC"])), allow("mmap", flags(2, denied=["PROT_EXEC"]))):
        found = refused(policy(rule), Arch.S390X)
        assert [place for place, _ in found] == [".syscalls[0].constraints[0]"]
        assert "cannot see argument 2 of mmap on s390x" in found[0][1]
        assert retarget(policy(rule), Arch.PPC64LE)[1] == []


def test_what_a_group_cannot_tell_there():
    group = SyscallRule("@memory-data", Action.ALLOW)
    there, findings = retarget(policy(group), Arch.S390X)
    assert there.syscalls == (group,)
    assert codes(findings) == ["calls-left-out"]
    assert "@memory-data cannot tell mmap by its arguments on s390x" in findings[0].message
    assert retarget(policy(group), Arch.AARCH64)[1] == []
    denied = policy(allow("read"), SyscallRule("@memory-data", Action.DENY), default_action=Action.ALLOW)
    assert [place for place, _ in refused(denied, Arch.S390X)] == [".syscalls[1].name"]
    assert retarget(denied, Arch.AARCH64)[1] == []
    # Words that are not there are no loss: nobody can give them.
    assert retarget(policy(SyscallRule("@terminal", Action.ALLOW)), Arch.PPC64LE)[1] == []


def test_a_default_that_lets_new_calls_pass_is_told():
    listed = policy(deny("openat"), default_action=Action.ALLOW, arch=Arch.AARCH64, architectures=(Arch.AARCH64,))
    _, findings = retarget(listed, Arch.X86_64)
    assert codes(findings) == ["default-wider"]
    assert "access, " in findings[0].message
    refusing = policy(allow("openat"), arch=Arch.AARCH64, architectures=(Arch.AARCH64,))
    assert retarget(refusing, Arch.X86_64)[1] == []
    # Nothing is new on aarch64.
    assert retarget(policy(deny("openat"), default_action=Action.ALLOW), Arch.AARCH64)[1] == []


def test_transitions_keep_what_is_there():
    there, findings = retarget(
        Policy(
            syscalls=(allow("openat"),),
            transitions=(
                Transition("start", ("open", "openat")),
                Transition("open", ("openat",)),
                Transition("@basic-io", ("openat",)),
            ),
        ),
        Arch.AARCH64,
    )
    assert there.transitions == (Transition("start", ("openat",)), Transition("@basic-io", ("openat",)))
    assert codes(findings) == ["transitions-left-out"]
    assert retarget(policy(allow("read")), Arch.AARCH64)[0].transitions is None


@given(policies(), st.sampled_from(OTHERS), st.data())
def test_what_means_the_same_is_answered_the_same(any_policy, arch, data):
    """With arguments whose words are the same numbers on both, each call has the answer that it had."""
    try:
        there, _ = retarget(any_policy, arch)
    except BadInput:
        return
    here, told = Answers(any_policy, Arch.X86_64), Answers(there, arch)
    for rule in any_policy.syscalls:
        if rule.is_group or rule.name not in syscalls.numbers(arch):
            continue
        args = {one.arg for other in any_policy.syscalls if other.name == rule.name for one in other.constraints}
        places = {arg: moved(rule.name, arg, Arch.X86_64, arch) for arg in args}
        if all(_words(rule.name, arg, Arch.X86_64) == _words(rule.name, places[arg], arch) for arg in args):
            values = {arg: data.draw(st.integers(0, 2**64 - 1) | st.integers(0, 64)) for arg in sorted(args)}
            expected = here.of(rule.name, values)
            assert told.of(rule.name, {places[arg]: value for arg, value in values.items()}) == expected, rule.name


def _words(call, arg, arch):
    return {word: value_of(call, arg, word, arch) for word in known_words(call, arg, arch)}


def test_the_state_of_a_handler_is_no_call():
    start = Policy(
        settings=Settings(arch=Arch.X86, architectures=(Arch.X86,)),
        syscalls=(allow("signal"),),
        transitions=(Transition("signal", ("signal", "read")),),
    )
    assert retarget(start, Arch.AARCH64)[0].transitions == (Transition("signal", ("read",)),)
    assert transitions(start) == (Transitions(Arch.X86, ((SIGNAL, 3), (SIGNAL, 48))),)


def test_an_example_in_full():
    text = b"""
version: '1.0'
settings: {architectures: [x86_64, x86]}
syscalls:
- {name: open, action: allow}
- {name: openat, action: allow, constraints: [{arg: '2', type: flags, allowed: [O_RDONLY, O_CLOEXEC]}]}
- {name: '@process', action: allow}
- {name: socketcall, action: deny, errno: ENOSYS}
"""
    there, findings = retarget(parse(text), Arch.AARCH64)
    assert [rule.name for rule in there.syscalls] == ["open", "openat", "@process"]
    assert codes(findings) == ["calls-left-out"]
    assert "socketcall" in findings[0].message
