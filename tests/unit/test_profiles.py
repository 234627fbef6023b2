import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_samples import policies

from scmm_oci.compiled.profiles import oci_profile
from scmm_oci.errors import BadInput
from scmm_oci.oci.seccomp import OciAction, parse
from scmm_oci.policy.model import (
    Action,
    ArgType,
    Constraint,
    Match,
    Network,
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
    findings = oci_profile(whole, NOTHING).findings
    assert [finding.code for finding in findings] == ["not-in-profile"] * 4
    assert oci_profile(Policy(), NOTHING).findings == ()


def test_constraints_are_refused_not_dropped():
    rule = SyscallRule("mmap", Action.ALLOW, constraints=(Constraint(2, ArgType.INTEGER, (Match("1"),)),))
    with pytest.raises(BadInput, match=r"\.syscalls\[0\]\.constraints: constraints on mmap cannot"):
        oci_profile(Policy(syscalls=(rule,)), NOTHING)


_floors = st.builds(
    floor, st.sampled_from(["runc", "crun", None]), st.sampled_from([None, "1.1.5", "1.9"]), st.none() | st.booleans()
)


@given(policies(), _floors)
def test_a_profile_allows_nothing_outside_policy_and_floor(given_policy, needs):
    stripped = tuple(SyscallRule(rule.name, rule.action, rule.errno) for rule in given_policy.syscalls)
    bare = Policy(settings=given_policy.settings, syscalls=stripped)
    compiled = oci_profile(bare, needs)
    profile = parse(compiled.json)
    assert profile == compiled.profile
    found = answers(profile)
    allowed = {name for name, answer in found.items() if answer[0] in (OciAction.ALLOW, OciAction.LOG)}
    permitted = {rule.name for rule in stripped if rule.action in (Action.ALLOW, Action.LOG)}
    refused = {rule.name for rule in stripped} - permitted
    assert allowed <= permitted | needs.names
    assert not allowed & refused
    if bare.settings.default_action not in (Action.ALLOW, Action.LOG):
        known = set().union(*(syscalls.numbers(arch) for arch in bare.settings.architectures))
        assert allowed == (permitted | (needs.names & known)) - refused
    # One rule for each name, and the same bytes whatever the order of the rules.
    assert sum(len(rule.names) for rule in profile.syscalls) == len(found)
    turned = Policy(settings=bare.settings, syscalls=stripped[::-1])
    assert oci_profile(turned, needs).json == compiled.json


def test_a_floor_measured_elsewhere_is_told():
    for arch, codes in (("x86_64", []), ("aarch64", ["floor-not-measured"])):
        compiled = oci_profile(
            policy(("read", Action.ALLOW), arch=Arch(arch), architectures=(Arch(arch),)), floor("runc", "1.1.5", False)
        )
        assert [finding.code for finding in compiled.findings] == codes
