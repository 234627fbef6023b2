import json

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from policy_samples import rules

from scmm_oci.compiled.profiles import ACTIONS, oci_profile
from scmm_oci.errors import BadInput
from scmm_oci.oci.seccomp import OciAction, parse
from scmm_oci.policy.answers import Answers, expanded
from scmm_oci.policy.model import (
    Action,
    ArgType,
    Constraint,
    Match,
    MatchType,
    Network,
    Operator,
    PathRule,
    Policy,
    RunAs,
    Settings,
    SyscallRule,
)
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.floor import Floor, floor
from scmm_oci.tables.probes import probes

NOTHING = Floor(frozenset(), ())


def policy(*rules, **settings):
    return Policy(settings=Settings(**settings), syscalls=tuple(SyscallRule(*rule) for rule in rules))


def answers(profile):
    """Name → action and errno."""
    return {name: (rule.action, rule.errno_ret) for rule in profile.syscalls for name in rule.names}


EVERY_ACTION = (
    ("read", Action.ALLOW),
    ("kexec_load", Action.KILL),
    ("ptrace", Action.TRAP),
    ("mount", Action.LOG),
    ("keyctl", Action.DENY),
    ("bpf", Action.DENY, "EACCES"),
)


@pytest.mark.parametrize(
    ("default", "expected"),
    [
        (Action.DENY, (OciAction.ERRNO, 1)),
        (Action.ALLOW, (OciAction.ALLOW, None)),
        (Action.LOG, (OciAction.LOG, None)),
        (Action.KILL, (OciAction.KILL_PROCESS, None)),
        (Action.TRAP, (OciAction.TRAP, None)),
    ],
)
def test_actions_map_one_to_one(default, expected):
    profile = parse(oci_profile(policy(*EVERY_ACTION, default_action=default), NOTHING).json)
    assert (profile.default_action, profile.default_errno_ret) == expected
    wanted = {
        "read": (OciAction.ALLOW, None),
        "kexec_load": (OciAction.KILL_PROCESS, None),
        "ptrace": (OciAction.TRAP, None),
        "mount": (OciAction.LOG, None),
        "keyctl": (OciAction.ERRNO, 1),
        "bpf": (OciAction.ERRNO, 13),
    }
    # What the default does anyway has no rule: libseccomp refuses those.
    found = {name: answer for name, answer in answers(profile).items() if name in wanted}
    assert found == {name: answer for name, answer in wanted.items() if answer != expected}


def test_probes_are_answered_enosys_where_the_default_is_an_errno():
    rules = (("clone3", Action.ALLOW), ("openat2", Action.DENY), ("statx", Action.KILL))
    found = answers(oci_profile(policy(*rules), NOTHING).profile)
    assert found["clone3"] == (OciAction.ALLOW, None)
    assert "openat2" not in found
    assert found["statx"] == (OciAction.KILL_PROCESS, None)
    assert found["close_range"] == (OciAction.ERRNO, 38)
    answered = {name for name, answer in found.items() if answer == (OciAction.ERRNO, 38)}
    assert answered == (probes() & set(syscalls.numbers("x86_64"))) - {"clone3", "openat2", "statx"}
    # A default that is no errno is the user's word for everything.
    for default in (Action.ALLOW, Action.LOG, Action.KILL, Action.TRAP):
        other = answers(oci_profile(policy(*rules, default_action=default), NOTHING).profile)
        assert (OciAction.ERRNO, 38) not in other.values()


def test_a_default_errno_that_engines_may_forget_is_written_out():
    """Docker before 23 drops defaultErrnoRet; the default EPERM needs no such rule."""
    for errno, number in (("ENOSYS", 38), ("EPROTO", 71)):
        same = oci_profile(policy(("read", Action.ALLOW), default_errno=errno), NOTHING).profile
        assert same.default_errno_ret == number
        found = answers(same)
        assert found.pop("read") == (OciAction.ALLOW, None)
        every = set(syscalls.numbers("x86_64")) - {"read"}
        assert found == {name: (OciAction.ERRNO, 38 if name in probes() else number) for name in every}
    plain = answers(oci_profile(policy(("read", Action.ALLOW)), NOTHING).profile)
    assert (OciAction.ERRNO, 1) not in plain.values()


def test_the_floor_is_allowed_beside_the_program():
    compiled = oci_profile(policy(("read", Action.ALLOW), ("brk", Action.ALLOW)), floor("crun", "1.8.1", False))
    found = answers(compiled.profile)
    allowed = {name for name, answer in found.items() if answer[0] is OciAction.ALLOW}
    assert allowed == {"read", "brk"} | (floor("crun", "1.8.1", False).names & set(syscalls.numbers("x86_64")))
    assert "sigreturn" not in found  # x86_64 has none
    assert (compiled.program, compiled.floor) == (2, len(allowed) - 2)
    assert compiled.profile.syscalls[0].names == tuple(sorted(allowed))


def test_a_refusing_rule_wins_over_the_floor_and_is_told():
    needs = Floor(frozenset({"execve", "write"}), ("x",))
    compiled = oci_profile(policy(("write", Action.DENY), ("execve", Action.LOG)), needs)
    found = answers(compiled.profile)
    assert "write" not in found
    assert found["execve"] == (OciAction.LOG, None)
    assert [finding.code for finding in compiled.findings] == ["floor-denied"]
    assert "write" in compiled.findings[0].message
    # Control: without the rule the floor has it.
    assert answers(oci_profile(policy(), needs).profile)["write"] == (OciAction.ALLOW, None)


def test_architectures():
    wide = policy(
        ("read", Action.ALLOW),
        ("socketcall", Action.ALLOW),
        arch=Arch.X86_64,
        architectures=(Arch.X86_64, Arch.X86, Arch.X32),
    )
    profile = oci_profile(wide, floor("runc", "1.1.5", False)).profile
    assert profile.architectures == ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32")
    assert {"sigreturn", "socketcall"} <= answers(profile).keys()
    assert answers(profile)["clock_gettime64"] == (OciAction.ERRNO, 38)
    arm = oci_profile(policy(arch=Arch.AARCH64, architectures=(Arch.AARCH64,)), floor("runc", None, None)).profile
    assert arm.architectures == ("SCMP_ARCH_AARCH64",)
    assert not answers(arm).keys() - syscalls.numbers("aarch64").keys()


def test_log_denials_is_a_flag():
    compiled = oci_profile(policy(log_denials=True), NOTHING)
    assert json.loads(compiled.json)["flags"] == ["SECCOMP_FILTER_FLAG_LOG"]
    assert [finding.code for finding in compiled.findings] == ["flags"]
    assert "flags" not in json.loads(oci_profile(policy(), NOTHING).json)


def test_what_a_profile_cannot_hold_is_told():
    whole = Policy(
        settings=Settings(run_as=RunAs(1, 1)),
        capabilities=("CAP_CHOWN",),
        filesystem=(PathRule("/", ("execute",)),),
        network=Network(),
    )
    (finding,) = oci_profile(whole, NOTHING).findings
    assert finding.code == "not-in-profile"
    assert finding.message.endswith("not the policy's capabilities, filesystem, network, run_as")
    assert oci_profile(Policy(), NOTHING).findings == ()


def checked(name, *constraints, action=Action.ALLOW):
    return SyscallRule(name, action, constraints=constraints)


def conditions(profile, name):
    """Each rule with conditions for a call: its action, and them as (index, operator, value, second value)."""
    return [
        (rule.action, [(one.index, one.op.value, one.value, one.value_two) for one in rule.args])
        for rule in profile.syscalls
        if name in rule.names and rule.args
    ]


def test_constraints_are_conditions():
    masked = "SCMP_CMP_MASKED_EQ"
    low = 0xFFFF_FFFF
    rules = (
        checked("socket", Constraint(0, ArgType.INTEGER, allowed=("AF_UNIX", "AF_INET"))),
        checked("openat", Constraint(2, ArgType.FLAGS, allowed=("O_RDONLY", "O_CLOEXEC"))),
        checked("mmap", Constraint(2, ArgType.FLAGS, denied=("PROT_EXEC",))),
        checked("personality", Constraint(0, ArgType.INTEGER, op=Operator.EQ, value=8)),
        checked("lseek", Constraint(1, ArgType.INTEGER, op=Operator.LT, value=1 << 40)),
    )
    profile = parse(oci_profile(Policy(syscalls=rules), NOTHING).json)
    allow = OciAction.ALLOW
    # An int counts with its low half only: all else the kernel cuts off.
    assert conditions(profile, "socket") == [(allow, [(0, masked, low, 1)]), (allow, [(0, masked, low, 2)])]
    assert conditions(profile, "openat") == [(allow, [(2, masked, low & ~0o2000000, 0)])]
    assert conditions(profile, "mmap") == [(allow, [(2, masked, 4, 0)])]
    assert conditions(profile, "personality") == [(allow, [(0, "SCMP_CMP_EQ", 8, 0)])]
    assert conditions(profile, "lseek") == [(allow, [(1, "SCMP_CMP_LT", 1 << 40, 0)])]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (
            (
                checked("lseek", Constraint(1, ArgType.INTEGER, op=Operator.GE, value=1)),
                checked("lseek", Constraint(2, ArgType.INTEGER, allowed=("SEEK_SET",)), action=Action.KILL),
            ),
            "two rules for lseek can hold at once, one to allow and one to kill",
        ),
        (
            (
                checked(
                    "lseek",
                    Constraint(1, ArgType.INTEGER, op=Operator.GE, value=1),
                    Constraint(1, ArgType.INTEGER, op=Operator.LE, value=5),
                ),
            ),
            "two comparisons of one argument of lseek cannot be written",
        ),
        (
            (
                checked("lseek", Constraint(1, ArgType.INTEGER, op=Operator.GE, value=1)),
                SyscallRule("lseek", Action.KILL),
            ),
            "where none of its constraints holds cannot be written",
        ),
        (
            (checked("openat", Constraint(1, ArgType.PATH, (Match("/etc/passwd"),))),),
            "argument 1 of openat is the address of a path, which no filter can read",
        ),
        (
            (checked("lseek", Constraint(1, ArgType.INTEGER, (Match("1*", MatchType.GLOB),))),),
            "a glob pattern cannot be tested by a filter",
        ),
    ],
)
def test_what_conditions_cannot_say_is_refused_not_dropped(rules, expected):
    with pytest.raises(BadInput, match=expected):
        oci_profile(Policy(syscalls=rules), NOTHING)


def test_the_runtime_keeps_what_it_needs_of_a_checked_call():
    flags = Constraint(0, ArgType.FLAGS, allowed=("CLONE_VM", "CLONE_NEWUSER"))
    option = Constraint(0, ArgType.INTEGER, allowed=("PR_SET_NAME",))
    rules = Policy(syscalls=(checked("clone", flags), checked("prctl", option)))
    needs = Floor(frozenset({"clone", "prctl", "read"}), ("x",))
    compiled = oci_profile(rules, needs)
    assert [len(args) for _, args in conditions(compiled.profile, "clone")] == [1, 1]
    assert (OciAction.ALLOW, [(0, "SCMP_CMP_MASKED_EQ", 0x7E020000, 0)]) in conditions(compiled.profile, "clone")
    assert answers(compiled.profile)["prctl"] == (OciAction.ALLOW, None)
    assert [finding.code for finding in compiled.findings] == ["floor-unconstrained"]
    assert conditions(compiled.profile, "prctl") == []
    assert len(conditions(oci_profile(rules, NOTHING).profile, "prctl")) == 1


_floors = st.builds(
    floor, st.sampled_from(["runc", "crun", None]), st.sampled_from([None, "1.1.5", "1.9"]), st.none() | st.booleans()
)


def verdict(profile, name, values):
    """What a runtime's filter answers: the rule without conditions, one whose conditions hold, or the default."""
    tests = {
        "SCMP_CMP_EQ": lambda value, one: value == one.value,
        "SCMP_CMP_NE": lambda value, one: value != one.value,
        "SCMP_CMP_LT": lambda value, one: value < one.value,
        "SCMP_CMP_LE": lambda value, one: value <= one.value,
        "SCMP_CMP_GE": lambda value, one: value >= one.value,
        "SCMP_CMP_GT": lambda value, one: value > one.value,
        "SCMP_CMP_MASKED_EQ": lambda value, one: value & one.value == one.value_two,
    }
    found = {
        (rule.action, rule.errno_ret)
        for rule in profile.syscalls
        if name in rule.names and all(tests[one.op](values[one.index], one) for one in rule.args)
    }
    plain = [rule for rule in profile.syscalls if name in rule.names and not rule.args]
    assert len(found) <= 1
    assert len(plain) <= 1
    assert not plain or not conditions(profile, name)
    return next(iter(found), (profile.default_action, profile.default_errno_ret))


@settings(max_examples=60)
@given(rules(["socket", "openat", "mmap", "clone", "lseek", "read"]), st.sampled_from(Action), _floors, st.data())
def test_a_profile_answers_as_the_policy_does(these, default, needs, data):
    assume(default is not Action.NOTIFY)
    whole = Policy(settings=Settings(default_action=default), syscalls=these)
    spoken = {rule.name for rule in expanded(these, Arch.X86_64)}
    rest = Floor(needs.names - spoken, ("x",))
    try:
        compiled = oci_profile(whole, rest)
    except BadInput:
        assume(False)
    profile = parse(compiled.json)
    assert profile == compiled.profile
    expected = Answers(whole, Arch.X86_64)
    interesting = [value for rule in profile.syscalls for one in rule.args for value in (one.value, one.value_two)]
    numbers = st.sampled_from([0, 1, 2**32, 2**64 - 1, *interesting]) | st.integers(0, 2**64 - 1)
    for name in sorted(spoken & {"socket", "openat", "mmap", "clone", "lseek", "read"}):
        for _ in range(4):
            values = {index: data.draw(numbers) ^ data.draw(st.sampled_from([0, 0, 1, 2**32])) for index in range(6)}
            answer = expected.of(name, values)
            number = answer.number if answer.action in (Action.DENY, Action.TRACE) else None
            assert verdict(profile, name, values) == (ACTIONS[answer.action], number)
    known = set(syscalls.numbers("x86_64"))
    for name in sorted(known - spoken):
        action = verdict(profile, name, dict.fromkeys(range(6), 0))[0]
        passes = name in needs.names or default.passes
        assert (action in (OciAction.ALLOW, OciAction.LOG)) == passes
    turned = Policy(settings=whole.settings, syscalls=these[::-1])
    assert oci_profile(turned, rest).json == compiled.json


def test_a_floor_measured_elsewhere_is_told():
    for arch, codes in (("x86_64", []), ("aarch64", ["floor-not-measured"])):
        compiled = oci_profile(
            policy(("read", Action.ALLOW), arch=Arch(arch), architectures=(Arch(arch),)), floor("runc", "1.1.5", False)
        )
        assert [finding.code for finding in compiled.findings] == codes
