"""What two policies do differently: by meaning, and whether it allows more."""

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st
from test_policy_merge import eq, policies, policy, rule

from scmm_oci.policy.answers import Answers
from scmm_oci.policy.diff import Difference, Kind, differences
from scmm_oci.policy.merge import canonical, union
from scmm_oci.policy.model import (
    Action,
    Applies,
    ArgType,
    Constraint,
    FilterFlag,
    LandlockScope,
    Listener,
    Match,
    MatchType,
    Metadata,
    Network,
    NetworkRule,
    OnMissing,
    Origin,
    PathRule,
    PortRange,
    Protocol,
    RunAs,
    Settings,
    SyscallRule,
    Transition,
)
from scmm_oci.tables.arch import Arch


def allowed(*words):
    return Constraint(0, ArgType.INTEGER, allowed=words)


def told(a, b):
    return [(one.what, one.kind.value, one.wider) for one in differences(a, b)]


@settings(max_examples=60, deadline=None)
@given(policies(), policies())
def test_a_policy_and_what_means_the_same_have_no_differences(a, b):
    assert differences(a, a) == () == differences(a, canonical(a)) == differences(canonical(a), a)
    shuffled = dataclasses.replace(a, syscalls=a.syscalls[::-1], metadata=Metadata("other"))
    assert differences(a, shuffled) == ()
    assert bool(differences(a, b)) == bool(differences(b, a))


@settings(max_examples=100, deadline=None)
@given(policies(), policies(), st.sampled_from(["read", "socket", "clone", "setitimer"]), st.integers(0, 3))
def test_calls_without_a_difference_are_answered_alike_and_narrower_ones_with_no_less(a, b, name, value):
    found = {one.what: one for one in differences(a, b) if one.section == "syscalls"}
    before, after = (Answers(one, Arch.X86_64).of(name, {0: value}) for one in (a, b))
    # The default of calls without a rule, and another set of architectures, are differences of their own.
    elsewhere = any(one.what in ("default_action", "architectures") for one in differences(a, b))
    if before > after:
        assert elsewhere or (name in found and found[name].wider)
    if before != after:
        assert elsewhere or name in found


@settings(max_examples=60, deadline=None)
@given(policies(), policies())
def test_a_union_is_wider_or_the_same_and_never_only_narrower(a, b):
    merged = union([a, b]).policy
    for one in differences(a, merged):
        assert one.wider or one.what in ("log_denials", "flags") or one.kind is not Kind.NEW


def test_how_rules_are_written_is_no_difference():
    a = policy(
        rule("socket", "allow", allowed("AF_UNIX")),
        rule("socket", "allow", allowed("AF_INET")),
        rule("read", origin=Origin(3)),
        rule("mount", "deny"),
        filesystem=(PathRule("/a", ("read_file",)), PathRule("/a/b", ("read_file",))),
        network=Network(outbound=(NetworkRule(Protocol.TCP, (), (PortRange(1, 3), PortRange(4, 4))),)),
    )
    b = policy(
        rule("read"),
        rule("socket", "allow", allowed("2", "AF_UNIX")),
        filesystem=(PathRule("/a", ("read_file",)),),
        network=Network(outbound=(NetworkRule(Protocol.TCP, ("any",), (PortRange(1, 4),)),)),
    )
    assert differences(a, b) == ()
    more = dataclasses.replace(b, syscalls=(*b.syscalls, rule("socket", "allow", allowed("AF_INET6"))))
    assert told(a, more) == [("socket", "changed", True)]
    assert told(more, a) == [("socket", "changed", False)]


def test_a_group_and_its_calls_are_the_same():
    from scmm_oci.tables import groups
    from scmm_oci.tables.syscalls import numbers

    names = [one.name for one in groups.expand("@timer") if one.name in numbers("x86_64")]
    assert differences(policy(rule("@timer")), policy(*map(rule, names))) == ()
    assert told(policy(rule("@timer")), policy(*map(rule, names[1:]))) == [(names[0], "gone", False)]


def test_calls():
    a = policy(rule("read"), rule("write"), rule("mount", "kill"))
    b = policy(rule("read"), rule("mount", "log"), rule("bpf", "allow", eq(0, 1)))
    assert differences(a, b) == (
        Difference("syscalls", "bpf", Kind.NEW, "deny EPERM", "allow if arg0 eq 1; else deny EPERM", True),
        Difference("syscalls", "mount", Kind.CHANGED, "kill", "log", True),
        Difference("syscalls", "write", Kind.GONE, "allow", "deny EPERM", False),
    )
    assert told(policy(rule("read", "deny", errno="ENOSYS")), policy(rule("read", "deny"))) == [
        ("read", "changed", True)
    ]
    pattern = Constraint(0, ArgType.PATH, match=(Match("/a*", MatchType.GLOB),))
    assert told(policy(rule("open", "allow", pattern)), policy(rule("open", "allow", pattern))) == []
    assert told(policy(rule("open", "allow", pattern)), policy(rule("open"))) == [("open", "changed", True)]


def test_rules_that_depend_on_the_container():
    admin = SyscallRule("mount", Action.ALLOW, includes=Applies(("CAP_SYS_ADMIN",), (), "4.8"))
    assert told(policy(admin), policy(admin)) == []
    found = differences(policy(), policy(admin))
    assert found == (Difference("syscalls", "mount", Kind.NEW, "–", "allow with CAP_SYS_ADMIN, kernel 4.8", True),)


def test_files():
    a = policy(filesystem=(PathRule("/a", ("read_file", "write_file")), PathRule("/b", ("read_file",))))
    b = policy(filesystem=(PathRule("/a", ("read_file",)), PathRule("/c/*", ("execute",), OnMissing.PRECREATE)))
    assert differences(a, b) == (
        Difference("filesystem", "/a", Kind.CHANGED, "write_file, read_file", "read_file", False),
        Difference("filesystem", "/b", Kind.GONE, "read_file", "–", False),
        Difference("filesystem", "/c/*", Kind.NEW, "–", "execute (precreate)", True),
    )
    assert told(a, policy()) == [("filesystem", "gone", True)]
    assert told(policy(), a) == [("filesystem", "new", False)]


def test_network():
    a = policy(network=Network(True, (NetworkRule(Protocol.TCP, ("10.0.0.0/8",), (PortRange(80, 90),)),)))
    b = policy(
        network=Network(
            False,
            (NetworkRule(Protocol.TCP, ("10.0.0.0/8",), (PortRange(85, 95),)),),
            (NetworkRule(Protocol.UDP),),
        )
    )
    assert differences(a, b) == (
        Difference("network", "allow_loopback", Kind.CHANGED, "True", "False", False),
        Difference("network", "inbound udp any", Kind.NEW, "–", "all ports", True),
        Difference("network", "outbound tcp 10.0.0.0/8", Kind.CHANGED, "ports 80-90", "ports 85-95", True),
    )
    assert told(a, policy()) == [("network", "gone", True)]


def test_capabilities_scopes_and_transitions():
    a = policy(
        capabilities=("CAP_KILL",),
        scopes=(LandlockScope.SIGNAL,),
        transitions=(Transition("start", ("read",)), Transition("read", ("close",))),
    )
    b = policy(
        capabilities=("CAP_CHOWN",),
        scopes=(LandlockScope.ABSTRACT_UNIX_SOCKET,),
        transitions=(Transition("start", ("read", "write")),),
    )
    assert told(a, b) == [
        ("CAP_CHOWN", "new", True),
        ("CAP_KILL", "gone", False),
        ("abstract_unix_socket", "new", False),
        ("signal", "gone", True),
        ("read", "gone", False),
        ("start", "changed", True),
    ]
    assert told(a, policy()) == [
        ("capabilities", "gone", True),
        ("scopes", "gone", True),
        ("transitions", "gone", True),
    ]


def test_settings():
    def of(**changes):
        return dataclasses.replace(policy(), settings=dataclasses.replace(Settings(), **changes))

    usual = of()
    for changes, name, kind, wider in [
        ({"default_action": Action.ALLOW}, "default_action", "changed", True),
        ({"default_action": Action.KILL}, "default_action", "changed", False),
        ({"architectures": (Arch.X86_64, Arch.X86)}, "architectures", "changed", True),
        ({"arch": Arch.AARCH64, "architectures": (Arch.AARCH64,)}, "arch", "changed", True),
        ({"bad_arch_action": Action.ALLOW}, "bad_arch_action", "changed", True),
        ({"log_denials": True}, "log_denials", "changed", False),
        ({"flags": (FilterFlag.SPEC_ALLOW,)}, "flags", "new", True),
        ({"flags": ()}, "flags", "new", False),
        ({"run_as": RunAs(1)}, "run_as", "new", False),
        ({"listener": Listener("/a", "x")}, "listener", "new", True),
    ]:
        assert told(usual, of(**changes)) == [(name, kind, wider)]
    assert told(of(run_as=RunAs(1)), of(run_as=RunAs(0))) == [("run_as", "changed", True)]
    assert told(of(architectures=(Arch.X86_64, Arch.X86)), usual) == [("architectures", "changed", False)]
