"""Merging policies: the laws, that answers are what they should be, and that nothing is lost or widened unsaid."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from order_samples import servings, transitions

from scmm_oci.errors import BadInput
from scmm_oci.policy import document
from scmm_oci.policy.admit import Files
from scmm_oci.policy.answers import Answers
from scmm_oci.policy.merge import canonical, difference, intersection, union
from scmm_oci.policy.model import (
    Action,
    Applies,
    ArgType,
    Constraint,
    FilterFlag,
    LandlockScope,
    Listener,
    Metadata,
    Network,
    NetworkRule,
    OnMissing,
    Operator,
    Origin,
    PathRule,
    Policy,
    PortRange,
    Protocol,
    RunAs,
    Settings,
    SyscallRule,
    WatchAction,
)
from scmm_oci.tables import groups
from scmm_oci.tables.arch import Arch

ACCESS = ("execute", "read_file", "write_file", "remove", "remove_file", "make_reg")
NAMES = ("read", "socket", "personality", "clone")
GROUPS = ("@timer", "@clock", "@keyring")


def rule(name, action="allow", *constraints, **rest):
    return SyscallRule(name, Action(action), constraints=constraints, **rest)


def eq(arg, value):
    return Constraint(arg, ArgType.INTEGER, op=Operator.EQ, value=value)


def policy(*rules, default="deny", errno="EPERM", **rest):
    return Policy(settings=Settings(Action(default), errno), syscalls=rules, **rest)


_actions = st.sampled_from(["allow", "log", "deny", "trap", "kill", "trace", "notify", "kill_thread"])
_origins = st.none() | st.builds(
    Origin, st.integers(0, 9), programs=st.lists(st.sampled_from(["/a", "/b"]), unique=True).map(tuple)
)
_tests = st.builds(
    lambda arg, op, value: Constraint(arg, ArgType.INTEGER, op=op, value=value),
    st.integers(0, 1),
    st.sampled_from([Operator.EQ, Operator.NE, Operator.LT]),
    st.integers(0, 2),
)
_words = st.builds(
    lambda words: Constraint(0, ArgType.INTEGER, allowed=tuple(words)),
    st.lists(st.sampled_from(["AF_UNIX", "AF_INET"]), min_size=1, unique=True),
)


@st.composite
def call_rules(draw):
    found = []
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True)):
        for number in range(draw(st.integers(0, 3))):
            action = draw(_actions)
            one = draw(_words if name == "socket" and draw(st.booleans()) else _tests)
            constraints = (one, *draw(st.lists(_tests, max_size=1))) if number or draw(st.booleans()) else ()
            errno = draw(st.sampled_from([None, "ENOSYS", "EPERM"])) if action == "deny" else None
            found.append(SyscallRule(name, Action(action), errno, constraints, draw(_origins)))
    for name in draw(st.lists(st.sampled_from(GROUPS), unique=True, max_size=2)):
        found.append(rule(name, draw(st.sampled_from(["allow", "log"])), origin=draw(_origins)))
    return tuple(dict.fromkeys(found))


@st.composite
def policies(draw):
    """Policies that have much in common, so that their rules meet."""
    paths = st.sampled_from(["/", "/a", "/a/b", "/a/b/c", "/a/**", "/a/*.so", "/a/b*", "/d"])
    rights = st.lists(st.sampled_from(ACCESS), min_size=1, max_size=3, unique=True).map(tuple)
    path_rules = st.lists(st.builds(PathRule, paths, rights, st.sampled_from(OnMissing), _origins), max_size=4)
    networks = st.lists(st.sampled_from(["any", "10.0.0.0/8", "10.1.0.0/16", "::1/128"]), max_size=2, unique=True).map(
        tuple
    )
    ports = st.lists(st.builds(lambda a, b: PortRange(a, a + b), st.integers(0, 6), st.integers(0, 3)), max_size=2).map(
        tuple
    )
    peers = st.lists(
        st.builds(NetworkRule, st.sampled_from(Protocol), networks, ports, networks, _origins), max_size=2
    ).map(tuple)
    capabilities = st.lists(st.sampled_from(["CAP_CHOWN", "CAP_KILL"]), unique=True).map(tuple)
    scopes = st.lists(st.sampled_from(LandlockScope), unique=True).map(tuple)
    following = draw(st.none() | transitions)
    serving = draw(st.none() | servings)
    spoken = following is not None or serving is not None
    beside = draw(st.sampled_from([(), (Arch.X86,)]))
    return Policy(
        Metadata(draw(st.sampled_from(["a", "b", "c"])), generated_at=draw(st.sampled_from([None, "1", "2"]))),
        Settings(
            Action(draw(st.sampled_from(["deny", "allow", "log", "kill"]))),
            draw(st.sampled_from(["EPERM", "ENOSYS"])),
            log_denials=draw(st.booleans()),
            architectures=(Arch.X86_64, *beside),
            bad_arch_action=draw(st.sampled_from([Action.KILL, Action.DENY])),
            run_as=draw(st.none() | st.just(RunAs(1, 1))),
        ),
        draw(call_rules()),
        draw(st.none() | capabilities),
        draw(st.none() | path_rules.map(tuple)),
        draw(st.none() | st.builds(Network, st.booleans(), peers, peers)),
        draw(st.none() | scopes),
        following,
        serving,
        draw(st.none() | st.sampled_from(WatchAction)) if spoken else None,
    )


@settings(max_examples=60, deadline=None)
@given(policies(), policies(), policies())
def test_union_is_associative_commutative_and_idempotent(a, b, c):
    both = union([a, b])
    assert union([b, a]) == both
    assert union([both.policy, c]).policy == union([a, union([b, c]).policy]).policy == union([a, b, c]).policy
    assert union([a, a]).policy == union([a]).policy == canonical(a) == canonical(canonical(a))
    assert union([both.policy, a]).policy == both.policy


@settings(max_examples=60, deadline=None)
@given(policies(), policies(), policies())
def test_intersection_of_calls_is_associative_commutative_and_idempotent(a, b, c):
    a, b, c = (dataclasses.replace(one, filesystem=None, network=None) for one in (a, b, c))
    both = intersection([a, b])
    assert intersection([b, a]) == both
    assert intersection([both.policy, c]).policy == intersection([a, intersection([b, c]).policy]).policy
    assert intersection([a, a]).policy == canonical(a)


CALLS = (*NAMES, "setitimer", "seccomp", "adjtimex", "getpid")


@settings(max_examples=100, deadline=None)
@given(policies(), policies(), st.sampled_from(CALLS), st.integers(0, 3), st.integers(0, 3))
def test_answers_are_the_least_and_the_most_restrictive(a, b, name, first, second):
    # On one architecture: what another has besides is told by a finding of its own.
    values = {0: first, 1: second}
    answers = [Answers(one, Arch.X86_64).of(name, values) for one in (a, b)]
    for merged, pick, code in (
        (union([a, b]), min, "union-wider"),
        (intersection([a, b]), max, "intersection-narrower"),
    ):
        answer = Answers(merged.policy, Arch.X86_64).of(name, values)
        assert pick(answer, pick(answers)) == answer
        told = {one.message.split("constraints on ")[1].split()[0] for one in merged.findings if one.code == code}
        assert answer == pick(answers) or name in told
    assert Answers(canonical(a), Arch.X86_64).of(name, values) == answers[0]


def test_exact_answers_are_the_rule_and_others_are_told():
    # Control for the test above: joined constraints are exact where rules can say it.
    a = policy(rule("socket", "allow", eq(0, 1)))
    b = policy(rule("socket", "allow", eq(0, 2)))
    merged = union([a, b])
    assert merged.findings == ()
    answers = Answers(merged.policy, Arch.X86_64)
    assert [answers.of("socket", {0: value}).action.value for value in range(4)] == ["deny", "allow", "allow", "deny"]
    hidden = policy(rule("socket", "allow", eq(0, 1)), rule("socket", "kill", eq(1, 1)))
    assert [one.code for one in union([hidden, b]).findings] == ["union-wider"]
    assert [one.code for one in union([hidden, hidden]).findings] == []


def test_restrictions_of_one_policy_stand_where_the_other_restricts_as_well():
    a = policy(rule("clone", "allow"), rule("clone", "kill", eq(0, 7)), default="deny")
    b = policy()
    merged = union([a, b])
    assert merged.findings == ()
    answers = Answers(merged.policy, Arch.X86_64)
    assert answers.of("clone", {0: 7}).action is Action.DENY
    assert answers.of("clone", {0: 6}).action is Action.ALLOW


def test_two_constraints_on_one_argument_are_both_kept():
    # The seed system keeps the first of them only.
    inet = Constraint(0, ArgType.INTEGER, allowed=("AF_INET",))
    unix = Constraint(0, ArgType.INTEGER, allowed=("AF_UNIX",))
    merged = union([policy(rule("socket", "allow", inet)), policy(rule("socket", "allow", unix))]).policy
    assert [one.constraints for one in merged.syscalls] == [(inet,), (unix,)]
    both = intersection([policy(rule("socket", "allow", inet)), policy(rule("socket", "allow", unix))])
    assert Answers(both.policy, Arch.X86_64).possible("socket", {}).action is Action.DENY


def test_groups_stay_where_all_have_them():
    a = policy(rule("@timer"), rule("setitimer", "kill"))
    b = policy(rule("@timer"))
    assert [(one.name, one.action) for one in union([a, b]).policy.syscalls] == [
        ("@timer", Action.ALLOW),
        ("setitimer", Action.ALLOW),
    ]
    apart = union([b, policy()]).policy
    assert {one.name for one in apart.syscalls} <= {one.name for one in groups.expand("@timer")}
    assert "setitimer" in {one.name for one in apart.syscalls}
    # What is written is read again, also where the group has calls that this machine lacks.
    assert document.parse(document.dump(apart)) == apart


def test_the_default_errno_is_written_out_where_it_no_longer_is_the_default():
    a = policy(rule("mount", "deny"), errno="ENOSYS")
    b = policy(rule("mount", "kill"), default="allow")
    merged = union([a, b]).policy
    assert merged.settings.default_action is Action.ALLOW
    assert merged.syscalls == (SyscallRule("mount", Action.DENY, "ENOSYS"),)


@settings(max_examples=60, deadline=None)
@given(policies(), policies(), st.sampled_from(["/", "/a", "/a/b", "/a/b/c", "/a/x.so", "/a/bb", "/d", "/d/e", "/q"]))
def test_files_are_what_any_or_all_grant(a, b, path):
    everything = frozenset(["execute", "read_file", "write_file", "remove_file", "remove_dir", "make_reg"])

    def rights(one):
        return everything if one.filesystem is None else Files(one.filesystem).rights(path)

    assert rights(union([a, b]).policy) == rights(a) | rights(b) or None in (a.filesystem, b.filesystem)
    assert rights(union([a, b]).policy) >= rights(a) | rights(b)
    merged = intersection([a, b])
    both = rights(a) & rights(b)
    assert rights(merged.policy) <= both
    if not any(one.code == "files-narrower" for one in merged.findings):
        assert rights(merged.policy) == both


@settings(max_examples=40, deadline=None)
@given(policies(), policies())
def test_a_difference_is_what_the_second_lacks(a, b):
    for one in (a, b):
        assert difference(one, one).policy.syscalls == ()
        assert difference(one, one).policy.filesystem is None
    rest = difference(a, b).policy
    if a.filesystem is not None and b.filesystem is not None:
        whole = Files([*(rest.filesystem or ()), *b.filesystem])
        for path in ("/a", "/a/b/c", "/a/x.so", "/d"):
            assert whole.rights(path) >= Files(a.filesystem).rights(path)
    assert difference(intersection([a, b]).policy, b).policy.capabilities is None
    assert difference(union([a, b]).policy, a).policy.syscalls or not difference(b, a).policy.syscalls


def test_a_difference_names_calls_files_ports_and_capabilities():
    a = policy(
        rule("read"),
        rule("mount"),
        rule("socket", "allow", eq(0, 1)),
        rule("socket", "allow", eq(0, 2)),
        capabilities=("CAP_KILL", "CAP_CHOWN"),
        filesystem=(PathRule("/a", ("read_file", "write_file")), PathRule("/b/c", ("read_file",))),
        network=Network(outbound=(NetworkRule(Protocol.TCP, (), (PortRange(1, 10),)),)),
    )
    b = policy(
        rule("read"),
        rule("socket", "allow", eq(0, 1)),
        capabilities=("CAP_KILL",),
        filesystem=(PathRule("/a", ("read_file",)), PathRule("/b", ("read_file",))),
        network=Network(outbound=(NetworkRule(Protocol.TCP, (), (PortRange(3, 4),)),)),
    )
    rest = difference(a, b).policy
    assert [(one.name, one.constraints) for one in rest.syscalls] == [("mount", ()), ("socket", (eq(0, 2),))]
    assert rest.capabilities == ("CAP_CHOWN",)
    assert rest.filesystem == (PathRule("/a", ("write_file",)),)
    assert rest.network.outbound[0].ports == (PortRange(1, 2), PortRange(5, 10))
    back = dataclasses.replace(policy(), filesystem=(PathRule("/b", ("read_file",)),))
    assert difference(b, a).policy == canonical(back)


def test_parentdir_gives_the_directory_no_other_rules_rights():
    a = policy(filesystem=(PathRule("/a/b", ("read_file",), OnMissing.PARENTDIR),))
    b = policy(filesystem=(PathRule("/a/b", ("write_file",), OnMissing.PRECREATE),))
    merged = union([a, b]).policy.filesystem
    assert merged == (
        PathRule("/a/b", ("write_file",), OnMissing.PRECREATE),
        PathRule("/a/b", ("read_file",), OnMissing.PARENTDIR),
    )
    assert union([b, policy(filesystem=(PathRule("/a/b", ("execute",)),))]).policy.filesystem == (
        PathRule("/a/b", ("execute", "write_file"), OnMissing.PRECREATE),
    )


def test_what_a_policy_does_not_speak_of_is_open_in_the_union_and_told():
    a = policy(filesystem=(PathRule("/a", ("read_file",)),), scopes=(LandlockScope.SIGNAL,))
    merged = union([a, policy()])
    assert merged.policy.filesystem is None and merged.policy.scopes is None
    assert [one.code for one in merged.findings] == ["not-spoken-of"] * 2
    assert intersection([a, policy()]).policy.filesystem == a.filesystem
    assert union([policy(), policy()]).findings == ()


def test_scopes_keep_in_so_the_union_has_those_of_all():
    both = policy(scopes=tuple(LandlockScope))
    one = policy(scopes=(LandlockScope.SIGNAL,))
    assert union([both, one]).policy.scopes == (LandlockScope.SIGNAL,)
    assert intersection([both, one]).policy.scopes == tuple(LandlockScope)


def network(*rules, **rest):
    return policy(network=Network(outbound=rules, **rest))


def test_ports_and_addresses():
    a = network(NetworkRule(Protocol.TCP, ("10.0.0.0/8",), (PortRange(80, 90), PortRange(91, 91))))
    b = network(NetworkRule(Protocol.TCP, ("10.1.0.0/16", "10.0.0.0/8"), (PortRange(90, 100),)))
    assert union([a, b]).policy.network.outbound == (NetworkRule(Protocol.TCP, ("10.0.0.0/8",), (PortRange(80, 100),)),)
    c = network(NetworkRule(Protocol.TCP, ("10.1.2.0/24", "::1"), ()))
    assert intersection([a, c]).policy.network.outbound == (
        NetworkRule(Protocol.TCP, ("10.1.2.0/24",), (PortRange(80, 91),)),
    )
    assert intersection([a, network(NetworkRule(Protocol.UDP))]).policy.network == Network()
    assert intersection([a, network(NetworkRule(Protocol.TCP, ("any",)))]).policy == canonical(
        dataclasses.replace(
            a, network=Network(outbound=(NetworkRule(Protocol.TCP, ("10.0.0.0/8",), (PortRange(80, 91),)),))
        )
    )


def test_counts_are_not_added_and_programs_are_joined():
    a = policy(rule("read", origin=Origin(3, programs=("/b",), reason="x")))
    b = policy(rule("read", origin=Origin(5, programs=("/a",), reason="y")))
    assert union([a, b]).policy.syscalls[0].origin == Origin(5, programs=("/a", "/b"), reason="x; y")


def test_settings():
    def of(**changes):
        return dataclasses.replace(policy(), settings=dataclasses.replace(Settings(), **changes))

    assert union([of(log_denials=True), of()]).policy.settings.log_denials
    merged = union([of(run_as=RunAs(1, 1)), of()])
    assert merged.policy.settings.run_as is None and [one.code for one in merged.findings] == ["run-as-dropped"]
    assert union([of(run_as=RunAs(1, 1))] * 2).policy.settings.run_as == RunAs(1, 1)
    wider = union([of(architectures=(Arch.X86_64, Arch.X86)), of()])
    assert wider.policy.settings.architectures == (Arch.X86_64, Arch.X86)
    assert [one.code for one in wider.findings] == ["architectures-widened"]
    assert intersection([of(architectures=(Arch.X86_64, Arch.X86)), of()]).policy.settings == Settings()
    assert union([of(flags=()), of()]).policy.settings.flags == ()
    assert union([of(bad_arch_action=Action.DENY), of()]).policy.settings.bad_arch_action is Action.DENY
    assert intersection([of(bad_arch_action=Action.DENY), of()]).policy.settings.bad_arch_action is Action.KILL


def test_everything_that_cannot_be_merged_is_told_at_once():
    a = Policy(settings=Settings(flags=(), listener=Listener("/a"), run_as=RunAs(1)))
    other = Settings(arch=Arch.AARCH64, architectures=(Arch.AARCH64,), flags=(FilterFlag.TSYNC,))
    b = Policy(settings=dataclasses.replace(other, listener=Listener("/b"), run_as=RunAs(2)))
    with pytest.raises(BadInput) as caught:
        intersection([a, b])
    places = [one.place for one in caught.value.problems]
    assert places == [".settings.arch", ".settings.flags", ".settings.listener", ".settings.run_as"]
    with pytest.raises(BadInput, match="no policy"):
        union([])


def test_rules_that_depend_on_the_container_must_be_the_same():
    admin = rule("mount", includes=Applies(("CAP_SYS_ADMIN",)))
    a = policy(admin, rule("read"))
    merged = union([a, policy(rule("write"), admin)])
    assert [one.name for one in merged.policy.syscalls] == ["mount", "read", "write"]
    assert merged.policy.syscalls[0] == admin
    with pytest.raises(BadInput, match="mount: the rules for mount depend on the container and differ"):
        union([a, policy()])
    with pytest.raises(BadInput, match="depend on the container"):
        difference(a, policy())


def test_too_many_products_are_refused():
    many = [rule("read", "kill", eq(0, value)) for value in range(80)]
    other = [rule("read", "kill", eq(1, value)) for value in range(80)]
    with pytest.raises(BadInput, match="read: joining the constraints takes 6561 rules"):
        union([policy(*many, default="allow"), policy(*other, default="allow")])


def test_a_name_that_was_spoken_of_in_between_leaves_no_rule():
    # The first two have nothing in common but the name, which has to stand somewhere until the third one restricts it.
    a = policy(rule("read", "allow", Constraint(0, ArgType.INTEGER, op=Operator.NE, value=1)), default="allow")
    b = policy(default="allow")
    c = policy(rule("read", "deny", eq(0, 1)), default="allow")
    between = intersection([a, b]).policy
    assert between.syscalls == (rule("read"),)
    late = intersection([a, intersection([b, c]).policy]).policy
    assert intersection([between, c]).policy.syscalls == late.syscalls == (rule("read", "deny", eq(0, 1)),)
