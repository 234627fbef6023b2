"""Profiles become policies that mean the same, and profiles again."""

import json
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles_found import PODMAN_DEFAULT, docker_default, docker_default_unavailable, podman_default_unavailable
from support import need

from scmm_oci.cli.main import main
from scmm_oci.compiled.profiles import oci_profile
from scmm_oci.compiled.rich_profile import to_rich
from scmm_oci.errors import BadInput
from scmm_oci.oci import rich, seccomp
from scmm_oci.oci.resolve import Engine, resolve
from scmm_oci.oci.rich import ArchMapping, Filter, RichProfile, RichRule
from scmm_oci.oci.seccomp import Condition, Flag, OciAction, Operator, Profile
from scmm_oci.policy import document
from scmm_oci.policy.container import DEFAULT_CAPABILITIES, for_container
from scmm_oci.policy.model import Action, Applies, ArgType, Constraint, Policy, Settings, SyscallRule
from scmm_oci.policy.model import Operator as Comparison
from scmm_oci.policy.profile_import import from_profile
from scmm_oci.policy.scopes import Scope
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.floor import Floor, floor
from scmm_oci.tables.vocabulary import CAPABILITIES

MIXED = Path(__file__).parent / "golden" / "rich.json"
ADMIN, AUDIT, BPF = "CAP_SYS_ADMIN", "CAP_AUDIT_WRITE", "CAP_BPF"
BOUNDING = [
    frozenset(),
    DEFAULT_CAPABILITIES,
    DEFAULT_CAPABILITIES | {ADMIN},
    frozenset({AUDIT, BPF}),
    frozenset(f"CAP_{name}" for name in CAPABILITIES),
]
KERNELS = [None, (4, 7), (4, 8), (6, 1)]
MAPPED = (
    ArchMapping("SCMP_ARCH_X86_64", ("SCMP_ARCH_X86", "SCMP_ARCH_X32")),
    ArchMapping("SCMP_ARCH_AARCH64", ("SCMP_ARCH_ARM",)),
    ArchMapping("SCMP_ARCH_MIPS64", ("SCMP_ARCH_MIPS",)),
)
# Each stands for another argument's worth: no two of them hold at once on one argument.
APART = [
    Condition(0, 5, Operator.EQ),
    Condition(0, 6, Operator.EQ),
    Condition(0, 0xF0, Operator.MASKED_EQ, 0x10),
    Condition(0, 2**64 - 1, Operator.MASKED_EQ, 2**63),
]


def verdicts(profile: Profile):
    """Name → what a runtime makes of it: the answer, or answers with the conditions of each.

    As libseccomp has it: rules that repeat the default are skipped, the first rule without conditions wins, and
    otherwise each alternative is a rule of its own.
    """

    def answer(action, number):
        action = OciAction.KILL_THREAD if action is OciAction.KILL else action
        return action, number

    default = answer(profile.default_action, profile.default_errno)
    plain, limited = {}, defaultdict(set)
    for rule in profile.syscalls:
        here = answer(rule.action, rule.errno)
        if here == default:
            continue
        for name in rule.names:
            for way in rule.alternatives():
                if way:
                    limited[name].add((here, frozenset(map(compared, way))))
                else:
                    plain.setdefault(name, here)
    return default, {name: plain.get(name) or frozenset(limited[name]) for name in plain.keys() | limited.keys()}


def compared(condition):
    """A condition less what has no effect (libseccomp drops what lies outside of the mask)."""
    if condition.op is Operator.MASKED_EQ and condition.value == 2**64 - 1:
        return (condition.index, Operator.EQ, condition.value_two, 0)
    two = condition.value_two & condition.value if condition.op is Operator.MASKED_EQ else 0
    return (condition.index, condition.op, condition.value, two)


def carried(profile, arch, *, engine=None):
    """A profile through a policy's text and back; and the findings."""
    imported = from_profile(profile, arch=arch, name="there and back")
    read = document.parse(document.dump(imported.policy))
    assert read == imported.policy
    exported = to_rich(read, engine=engine)
    assert rich.parse(exported.json) == exported.profile
    return exported.profile, imported.findings


def assert_same_everywhere(profile, *, arches=tuple(Arch), left_out=frozenset()):
    for arch in arches:
        back, _ = carried(profile, arch)
        for capabilities in BOUNDING:
            for kernel in KERNELS:
                before = resolve(profile, arch=arch, capabilities=capabilities, kernel=kernel)
                after = resolve(back, arch=arch, capabilities=capabilities, kernel=kernel)
                default, expected = verdicts(before)
                assert verdicts(after) == (default, {k: v for k, v in expected.items() if k not in left_out})


def read(*rules, **members):
    return rich.parse(json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": list(rules), **members}).encode())


def codes(findings):
    return [finding.code for finding in findings]


# Laws

_caps = st.lists(st.sampled_from([ADMIN, AUDIT, BPF]), unique=True, max_size=2).map(tuple)
_machines = st.lists(st.sampled_from(["amd64", "arm64", "s390x", "x86"]), unique=True, max_size=2).map(tuple)
_kernels = st.none() | st.sampled_from([(4, 8), (5, 0)])


@st.composite
def filters(draw):
    """includes and excludes that can be met."""
    parts = [Filter(draw(_caps)), Filter((), draw(_machines)), Filter((), (), draw(_kernels))]
    sides = [draw(st.booleans()) for _ in parts]
    both = []
    for side in (True, False):
        chosen = [part if here is side else Filter() for part, here in zip(parts, sides, strict=True)]
        both.append(Filter(chosen[0].caps, chosen[1].arches, chosen[2].min_kernel))
    return tuple(both)


@st.composite
def rich_rules(draw, *, names=("read", "write", "clone", "_llseek", "socket"), errnos=(None, 1, 13, 38, 2000)):
    limited = draw(st.booleans())
    args = (draw(st.sampled_from(APART)),) if limited else ()
    # With conditions, one answer: what two that differ come to is for no profile to say.
    action = OciAction.ALLOW if limited else draw(st.sampled_from([OciAction.ALLOW, OciAction.ERRNO, OciAction.LOG]))
    number = draw(st.sampled_from(errnos)) if action is OciAction.ERRNO else None
    chosen = tuple(draw(st.lists(st.sampled_from(names), min_size=1, max_size=3)))
    return RichRule(chosen, action, number, "", args, draw(st.sampled_from(["", "why: so"])), *draw(filters()))


@st.composite
def rich_profiles(draw):
    action = draw(st.sampled_from([a for a in OciAction if a is not OciAction.NOTIFY]))
    number = draw(st.sampled_from([None, 38])) if action in (OciAction.ERRNO, OciAction.TRACE) else None
    listener = draw(st.sampled_from([(None, None), ("/run/x", None), ("/run/x", "text")]))
    flags = draw(st.none() | st.lists(st.sampled_from(Flag), unique=True).map(tuple))
    rules = tuple(draw(st.lists(rich_rules(), max_size=5)))
    return RichProfile(action, number, "", (), MAPPED, flags, *listener, rules)


@given(rich_profiles(), st.sampled_from([Arch.X86_64, Arch.AARCH64, Arch.S390X]))
def test_a_profile_means_the_same_when_it_comes_back(profile, arch):
    assert_same_everywhere(profile, arches=(arch,))


@given(rich_profiles(), st.sampled_from(BOUNDING), st.sampled_from(KERNELS[1:]))
def test_the_policy_means_what_the_profile_does(profile, capabilities, kernel):
    """For one container, through the policy's own answers."""
    policy = from_profile(profile, arch=Arch.X86_64, name="").policy
    one = for_container(policy, capabilities=capabilities, kernel=kernel)
    compiled = oci_profile(one, Floor(frozenset(), ())).profile
    before = resolve(profile, arch=Arch.X86_64, capabilities=capabilities, kernel=kernel)
    default, expected = verdicts(before)
    after_default, after = verdicts(compiled)
    known = set().union(*(syscalls.numbers(arch) for arch in policy.settings.architectures))
    spoken = {name for rule in before.syscalls for name in rule.names}
    assert after_default == default
    assert {k: v for k, v in after.items() if k in spoken} == {k: v for k, v in expected.items() if k in known}


@given(rich_profiles(), st.sampled_from(BOUNDING), st.sampled_from(KERNELS[1:]), st.sampled_from([None, Engine.DOCKER]))
def test_both_forms_of_one_policy_agree(profile, capabilities, kernel, engine):
    """With the floor: what an engine makes of the profile in its form is the profile for that container."""
    policy = from_profile(profile, arch=Arch.X86_64, name="").policy
    needs = floor("runc", "1.1.5", False)
    mine = to_rich(policy, engine=engine, floor=needs).profile
    given_to_runtime = resolve(mine, arch=Arch.X86_64, capabilities=capabilities, kernel=kernel)
    one = oci_profile(for_container(policy, capabilities=capabilities, kernel=kernel), needs).profile
    assert verdicts(given_to_runtime) == verdicts(one)


@st.composite
def canonical(draw):
    """Profiles as we write them for an engine: numbers for every errno, nothing without effect, nothing twice."""
    engine = draw(st.sampled_from([None, *Engine]))
    named = {1: "EPERM", 13: "EACCES", 38: "ENOSYS"} if engine is Engine.PODMAN else {}
    names = iter(sorted(syscalls.numbers("x86_64")))
    rules = []
    for rule in draw(st.lists(rich_rules(errnos=(1, 4, 13, 38, 2000)), unique_by=lambda one: one.rule, max_size=6)):
        args = tuple(
            Condition(one.index, one.value, Operator.EQ) if one.value == 2**64 - 1 else one for one in rule.args
        )
        chosen = tuple(next(names) for _ in rule.names)
        word = named.get(rule.errno_ret or 0, "")
        rules.append(
            RichRule(chosen, rule.action, rule.errno_ret, word, args, rule.comment, rule.includes, rule.excludes)
        )
    keys = [RichRule((), *[vars(one)[key] for key in list(vars(one))[1:]]) for one in rules]
    rules = [rule for index, rule in enumerate(rules) if keys.index(keys[index]) == index]
    default = draw(st.sampled_from([(OciAction.ERRNO, 38), (OciAction.ALLOW, None), (OciAction.KILL_PROCESS, None)]))
    flags = draw(st.none() | st.sampled_from([(), (Flag.LOG,), (Flag.LOG, Flag.TSYNC), (Flag.SPEC_ALLOW,)]))
    word = named.get(default[1] or 0, "")
    listed, mapped = draw(st.sampled_from([((), MAPPED), (("SCMP_ARCH_X86_64", "SCMP_ARCH_X86"), ())]))
    return engine, RichProfile(*default, word, listed, mapped, flags, None, None, tuple(rules))


@given(canonical())
def test_a_profile_in_our_form_comes_back_as_it_is(case):
    engine, profile = case
    back, findings = carried(profile, Arch.X86_64, engine=engine)
    assert back == profile
    assert findings == ()


# Real profiles


def real(engine):
    if engine is Engine.PODMAN:
        need("PODMAN", podman_default_unavailable())
        return rich.parse(PODMAN_DEFAULT.read_bytes())
    need("DOCKER", docker_default_unavailable())
    return rich.parse(docker_default().read_bytes())


@pytest.mark.parametrize("engine", Engine)
def test_engines_default_profiles_are_carried(engine):
    profile = real(engine)
    strange = {name for rule in profile.syscalls for name in rule.names} - syscalls.all_names()
    assert strange <= {"syscall", "arm_sync_file_range"}
    assert_same_everywhere(profile, left_out=strange)
    back, findings = carried(profile, Arch.X86_64, engine=engine)
    # What is not in it is said, name by name, and nothing else is said.
    gone = [set(a.names) - set(b.names) for a, b in zip(profile.syscalls, back.syscalls, strict=True)]
    said = " ".join(finding.message for finding in findings)
    assert all(name in said for names in gone for name in names)
    assert set(codes(findings)) <= {"unknown-call", "no-effect"}
    assert strange <= set().union(*gone) <= strange | {"setns"}


@pytest.mark.parametrize("engine", Engine)
def test_engines_default_profiles_start_containers_as_they_are(engine):
    policy = from_profile(real(engine), arch=Arch.X86_64, name="").policy
    exported = to_rich(policy, engine=engine, floor=floor(None, None, False))
    assert exported.floor == 0
    assert "floor-unconstrained" not in codes(exported.findings)


def test_every_oddity_of_real_files_is_carried():
    profile = rich.parse(MIXED.read_bytes())
    assert_same_everywhere(profile)
    back, findings = carried(profile, Arch.X86_64)
    assert findings == ()
    # A rule has a name once, though the file has it twice.
    assert [rule.names for rule in back.syscalls[:2]] == [("read", "write", "close"), ("socket",)]


# Single parts


def test_actions_and_answers():
    profile = read(
        *(
            {"names": [name], "action": f"SCMP_ACT_{word}", **more}
            for name, word, more in [
                ("acct", "KILL", {}),
                ("brk", "KILL_PROCESS", {}),
                ("bpf", "TRACE", {"errnoRet": 7}),
                ("chroot", "TRACE", {}),
                ("clone", "NOTIFY", {}),
                ("close", "ERRNO", {"errnoRet": 2000}),
                ("dup", "ERRNO", {"errno": "EWOULDBLOCK"}),
                ("dup2", "ERRNO", {}),
            ]
        ),
        defaultErrnoRet=38,
    )
    rules = from_profile(profile, arch=Arch.X86_64, name="").policy.syscalls
    assert [(rule.name, rule.action, rule.errno, rule.message) for rule in rules] == [
        ("acct", Action.KILL_THREAD, None, None),
        ("brk", Action.KILL, None, None),
        ("bpf", Action.TRACE, None, 7),
        ("chroot", Action.TRACE, None, 1),
        ("clone", Action.NOTIFY, None, None),
        ("close", Action.DENY, "2000", None),
        ("dup", Action.DENY, "EAGAIN", None),
        # Whatever the default answers.
        ("dup2", Action.DENY, "EPERM", None),
    ]


def test_conditions_become_comparisons():
    args = [
        {"index": 0, "value": 8, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"},
        {"index": 2, "value": 9, "op": "SCMP_CMP_NE"},
    ]
    (rule,) = from_profile(
        read({"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": args}), arch=Arch.X86_64, name=""
    ).policy.syscalls
    found = [(one.arg, one.type, one.op, one.value, one.mask) for one in rule.constraints]
    assert found == [(0, "integer", "masked_eq", 0, 8), (2, "integer", "ne", 9, None)]


def test_two_conditions_on_one_argument_are_alternatives():
    args = [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"} for value in (2, 3)]
    other = {"index": 1, "value": 1, "op": "SCMP_CMP_EQ"}
    imported = from_profile(
        read({"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [*args, other]}), arch=Arch.X86_64, name=""
    )
    assert [len(rule.constraints) for rule in imported.policy.syscalls] == [1, 1, 1]
    assert codes(imported.findings) == ["conditions-are-alternatives"]
    together = read({"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [args[0], other]})
    imported = from_profile(together, arch=Arch.X86_64, name="")
    assert [len(rule.constraints) for rule in imported.policy.syscalls] == [2]
    assert imported.findings == ()


@pytest.mark.parametrize(
    ("rules", "members", "code"),
    [
        ([{"names": ["read", "no_such"], "action": "SCMP_ACT_ALLOW"}], {}, "unknown-call"),
        # A call of another machine, where nothing says that the profile is for others too.
        ([{"names": ["read", "_llseek"], "action": "SCMP_ACT_ALLOW"}], {}, "unknown-call"),
        ([{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 0}], {}, "errno-zero"),
        ([], {"defaultErrnoRet": 0}, "errno-zero"),
        ([{"names": ["read", "read"], "action": "SCMP_ACT_ALLOW"}], {}, None),
        ([{"names": ["read"], "action": "SCMP_ACT_ALLOW"}] * 2, {}, "repeated"),
        (
            [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}, {"names": ["read"], "action": "SCMP_ACT_LOG"}],
            {},
            "no-effect",
        ),
        (
            [
                {"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": [ADMIN]}},
                {"names": ["read"], "action": "SCMP_ACT_LOG"},
            ],
            {},
            "narrowed",
        ),
        (
            [
                {
                    "names": ["clone3"],
                    "action": "SCMP_ACT_ALLOW",
                    "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}],
                },
            ],
            {},
            "address-compared",
        ),
        (
            [
                {
                    "names": ["dup"],
                    "action": "SCMP_ACT_ALLOW",
                    "args": [{"index": 0, "value": 1, "valueTwo": 3, "op": "SCMP_CMP_MASKED_EQ"}],
                },
            ],
            {},
            "outside-mask",
        ),
        ([], {"architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_MIPS"]}, "architecture-left-out"),
        ([], {"architectures": ["SCMP_ARCH_X86"]}, "architecture-added"),
        ([], {"archMap": [{"architecture": "SCMP_ARCH_S390X"}]}, "architecture-added"),
        ([], {"architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]}, None),
        ([{"names": ["read"], "action": "SCMP_ACT_ALLOW", "comment": "why"}], {"flags": []}, None),
    ],
)
def test_what_is_not_carried_is_said(rules, members, code):
    imported = from_profile(read(*rules, **members), arch=Arch.X86_64, name="")
    assert codes(imported.findings) == ([] if code is None else [code])
    document.parse(document.dump(imported.policy))


def test_a_rule_that_runtimes_prefer_is_taken_from_the_others():
    """With conditions and without, in one container: the one without has its way, whichever stands first."""
    limited = {"names": ["dup"], "action": "SCMP_ACT_LOG", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}
    plain = {"names": ["dup"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": [ADMIN], "minKernel": "5.0"}}
    for rules in ([limited, plain], [plain, limited]):
        imported = from_profile(read(*rules), arch=Arch.X86_64, name="")
        found = {(one.includes, one.excludes) for one in imported.policy.syscalls if one.constraints}
        assert found == {(None, Applies((ADMIN,))), (Applies((ADMIN,)), Applies((), (), "5.0"))}
        assert codes(imported.findings) == ["narrowed"]
    # A rule that does what the default does takes nothing away, as runtimes skip it.
    same = {"names": ["dup"], "action": "SCMP_ACT_ERRNO"}
    imported = from_profile(read(same, limited), arch=Arch.X86_64, name="")
    assert [len(rule.constraints) for rule in imported.policy.syscalls] == [0, 1]
    assert imported.findings == ()


_scopes = st.builds(
    Scope,
    st.frozensets(st.sampled_from([ADMIN, AUDIT]), max_size=1),
    st.frozensets(st.sampled_from([ADMIN, AUDIT, BPF]), max_size=2),
    st.frozensets(st.sampled_from(["amd64", "arm64", "x86"])),
    st.sampled_from([(0, 0), (4, 8)]),
    st.sampled_from([(4, 8), (5, 0), (1 << 16, 0)]),
)


def holds(scope, capabilities, machine, kernel):
    return (
        scope.present <= capabilities
        and not scope.absent & capabilities
        and machine in scope.machines
        and scope.since <= kernel < scope.before
    )


@given(_scopes, _scopes, st.lists(_scopes, max_size=3))
def test_scopes_are_sets_of_containers(one, other, more):
    left = one.without([other, *more])
    for capabilities in map(frozenset, ([], [ADMIN], [AUDIT], [BPF], [ADMIN, AUDIT], [ADMIN, AUDIT, BPF])):
        for machine in ("amd64", "arm64", "x86"):
            for kernel in ((4, 7), (4, 8), (5, 0)):
                where = (capabilities, machine, kernel)
                in_one = holds(one, *where)
                assert holds(one & other, *where) == (in_one and holds(other, *where))
                rest = in_one and not any(holds(scope, *where) for scope in [other, *more])
                assert sum(holds(scope, *where) for scope in left) == rest
                assert not in_one or one
    for scope in left:
        rule = rule_for(scope)
        assert Scope.of(rule) == scope


def rule_for(scope):
    return SyscallRule("read", Action.ALLOW, includes=scope.includes, excludes=scope.excludes)


def test_rules_that_overlap_in_too_many_ways_are_refused():
    caps = [f"CAP_{name}" for name in CAPABILITIES]
    pairs = [frozenset(caps[index : index + 2]) for index in range(0, 40, 2)]
    with pytest.raises(BadInput, match="more than 1024 ways"):
        Scope().without(Scope(present=pair) for pair in pairs)


# Policies that people write


def rule(name, action, *constraints, **more):
    return SyscallRule(name, action, constraints=constraints, **more)


def of(rules, **settings):
    return Policy(settings=Settings(**settings), syscalls=tuple(rules))


ADMINS = {"includes": Applies((ADMIN,))}
OTHERS = {"excludes": Applies((ADMIN,))}


def test_groups_are_taken_apart_and_rules_are_joined():
    profile = to_rich(
        of(
            [
                rule("read", Action.ALLOW),
                rule("bpf", Action.ALLOW, **ADMINS),
                rule("@sync", Action.ALLOW),
                rule("write", Action.ALLOW),
            ]
        )
    ).profile
    first, second = profile.syscalls
    assert first.names[:2] == ("read", "write")
    assert {"fsync", "syncfs"} <= set(first.names)
    assert (second.names, second.includes) == (("bpf",), Filter((ADMIN,)))


def test_rules_for_one_call_keep_their_order():
    """The first without conditions has its way, where an engine that knows no minKernel takes both."""
    since, before = {"includes": Applies((), (), "4.8")}, {"excludes": Applies((), (), "4.8")}
    rules = [
        rule("dup", Action.ALLOW, **since),
        rule("ptrace", Action.LOG, **before),
        rule("ptrace", Action.ALLOW, **since),
        rule("dup", Action.LOG, **before),
    ]
    profile = to_rich(of(rules)).profile
    for name, expected in (("dup", ["ALLOW", "LOG"]), ("ptrace", ["LOG", "ALLOW"])):
        found = [one.action.removeprefix("SCMP_ACT_") for one in profile.syscalls if name in one.names]
        assert found == expected


def test_what_holds_otherwise_is_written_as_conditions():
    """Of a rule with conditions and one without, runtimes take the latter: a policy means both."""
    is_inet = Constraint(0, ArgType.INTEGER, allowed=("AF_INET",))
    rules = [rule("socket", Action.LOG, is_inet, **ADMINS), rule("socket", Action.ALLOW, **ADMINS)]
    profile = to_rich(of(rules)).profile
    assert all(one.args and one.includes == Filter((ADMIN,)) for one in profile.syscalls)
    assert {one.action for one in profile.syscalls} == {OciAction.LOG, OciAction.ALLOW}
    # Where the containers are others, each rule stays as it is.
    apart = to_rich(of([rule("socket", Action.LOG, is_inet, **ADMINS), rule("socket", Action.ALLOW, **OTHERS)])).profile
    assert [(one.action, len(one.args)) for one in apart.syscalls] == [(OciAction.LOG, 1), (OciAction.ALLOW, 0)]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([rule("dup", Action.ALLOW), rule("dup", Action.LOG, **ADMINS)], "hold in the same container"),
        (
            [
                rule("dup", Action.ALLOW),
                rule("dup", Action.LOG, Constraint(0, ArgType.INTEGER, allowed=("1",)), **ADMINS),
            ],
            "hold in the same container",
        ),
        (
            [
                rule("dup", Action.ALLOW, Constraint(0, ArgType.INTEGER, allowed=("1",)), **ADMINS),
                rule("dup", Action.LOG, Constraint(1, ArgType.INTEGER, allowed=("1",))),
            ],
            "can hold at once",
        ),
    ],
)
def test_rules_that_runtimes_take_otherwise_are_refused(rules, message):
    with pytest.raises(BadInput, match=message):
        to_rich(of(rules))
    # Twin: for containers that have nothing in common they are fine.
    apart = [
        rule(one.name, one.action, *one.constraints, **more) for one, more in zip(rules, (OTHERS, ADMINS), strict=True)
    ]
    assert len(to_rich(of(apart)).profile.syscalls) == 2


def test_the_runtime_gets_what_it_needs_where_the_policy_says_nothing():
    needs = Floor(frozenset({"chdir", "clone", "close"}), ())
    flags = Constraint(0, ArgType.INTEGER, op=Comparison.EQ, value=0x10000011)
    rules = [
        rule("chdir", Action.LOG, **ADMINS),
        rule("clone", Action.ALLOW, flags),
        rule("clone3", Action.ALLOW, **ADMINS),
    ]
    exported = to_rich(of(rules), floor=needs)
    for capabilities, chdir, clone3 in (
        (frozenset(), OciAction.ALLOW, OciAction.ERRNO),
        (frozenset({ADMIN}), OciAction.LOG, OciAction.ALLOW),
    ):
        resolved = resolve(exported.profile, arch=Arch.X86_64, capabilities=capabilities, kernel=None)
        _, found = verdicts(resolved)
        assert found["chdir"][0] is chdir
        assert found["close"][0] is OciAction.ALLOW
        assert found["clone3"][0] is clone3
        assert len(found["clone"]) == 2
    assert exported.floor == 1
    # Without a floor there are the policy's rules and nothing else.
    assert [one.names for one in to_rich(of(rules)).profile.syscalls] == [("chdir",), ("clone",), ("clone3",)]


def test_the_archmap_follows_architectures():
    lines = [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
        {"architecture": "SCMP_ARCH_S390X"},
    ]
    policy = from_profile(read(archMap=lines), arch=Arch.X86_64, name="").policy
    same = to_rich(policy)
    assert same.findings == ()
    edited = Policy(settings=Settings(architectures=(Arch.X86_64,), arch_map=policy.settings.arch_map))
    changed = to_rich(edited)
    assert codes(changed.findings) == ["arch-map-changed"]
    assert [len(one.sub_architectures) for one in same.profile.arch_map] == [2, 0]
    assert changed.profile.arch_map == (ArchMapping("SCMP_ARCH_X86_64"), ArchMapping("SCMP_ARCH_S390X"))


def test_podman_gets_the_names_it_knows():
    rules = [
        SyscallRule(name, Action.DENY, errno)
        for name, errno in (("dup", "EACCES"), ("dup2", "EINTR"), ("dup3", "2000"))
    ]
    for engine, names in ((Engine.PODMAN, ["EACCES", "", ""]), (Engine.DOCKER, ["", "", ""])):
        profile = to_rich(of(rules, default_errno="ENOSYS"), engine=engine).profile
        assert [(one.errno_ret, one.errno_name) for one in profile.syscalls] == list(
            zip([13, 4, 2000], names, strict=True)
        )
        assert (profile.default_errno_ret, bool(profile.default_errno_name)) == (38, engine is Engine.PODMAN)


# The command lines


def run(capsys, *words):
    code = main(list(map(str, words)))
    return code, capsys.readouterr()


def test_there_and_back_by_command(tmp_path, capsys):
    source, policy = tmp_path / "mine.json", tmp_path / "mine.scmm.yaml"
    source.write_bytes(MIXED.read_bytes())
    code, said = run(capsys, "import-profile", source, "-o", policy, "--arch", "x86_64", "--json")
    assert code == 0
    answer = json.loads(said.out)
    assert (answer["name"], answer["system_calls"]) == ("mine", 8)
    assert document.read(policy).metadata.name == "mine"
    outputs = {form: tmp_path / f"{form}.json" for form in ("oci", "docker", "podman")}
    options = [word for form, path in outputs.items() for word in (f"--{form}", path)]
    code, said = run(capsys, "compile", "-i", policy, *options, "--kernel", "6.1", "--json")
    assert code == 0, said.err
    assert [one["form"] for one in json.loads(said.out)["profiles"]] == ["oci", "docker", "podman"]
    plain = seccomp.parse(outputs["oci"].read_bytes())
    for form in ("docker", "podman"):
        profile = rich.parse(outputs[form].read_bytes())
        resolved = resolve(profile, arch=Arch.X86_64, capabilities=DEFAULT_CAPABILITIES, kernel=(6, 1))
        assert verdicts(resolved) == verdicts(plain)
    # Names of errnos are podman's only.
    assert b'"errno":' in outputs["podman"].read_bytes()
    assert b'"errno":' not in outputs["docker"].read_bytes()


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ([], False),
        (["--cap-add", "sys_admin"], True),
        (["--cap-add", "CAP_SYS_ADMIN", "--cap-drop", "ALL"], True),
        (["--cap-add", "ALL"], True),
        (["--cap-add", "ALL", "--cap-drop", "SYS_ADMIN"], False),
        (["--cap-drop", "CHOWN"], False),
    ],
)
def test_the_container_is_chosen(options, allowed, tmp_path, capsys):
    rule = {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": [ADMIN]}}
    source, policy, output = tmp_path / "p.json", tmp_path / "p.scmm.yaml", tmp_path / "out.json"
    source.write_bytes(rich.to_json(read(rule)))
    assert run(capsys, "import-profile", source, "-o", policy, "--arch", "x86_64")[0] == 0
    code, said = run(capsys, "compile", "-i", policy, "--oci", output, *options)
    assert code == 0
    assert ("default-capabilities" in said.err) == (options == [])
    found = seccomp.parse(output.read_bytes())
    assert any("bpf" in rule.names and rule.action is OciAction.ALLOW for rule in found.syscalls) == allowed


def test_the_kernel_is_chosen(tmp_path, capsys):
    rule = {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}}
    source, policy, output = tmp_path / "p.json", tmp_path / "p.scmm.yaml", tmp_path / "out.json"
    source.write_bytes(rich.to_json(read(rule)))
    assert run(capsys, "import-profile", source, "-o", policy, "--arch", "x86_64")[0] == 0
    for options, allowed in (([], True), (["--kernel", "4.7"], False), (["--kernel", "4.8"], True)):
        assert run(capsys, "compile", "-i", policy, "--oci", output, *options)[0] == 0
        found = seccomp.parse(output.read_bytes())
        assert any("ptrace" in one.names for one in found.syscalls if one.action is OciAction.ALLOW) == allowed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "no output was asked for"),
        (["--docker", "d.json", "--cap-add", "SYS_ADMIN"], "--cap-add: goes with --oci"),
        (["--oci", "o.json", "--cap-add", "SYS_ADMI"], "did you mean 'SYS_ADMIN'?"),
        (["--oci", "o.json", "--kernel", "six"], "'six' is not a kernel's version"),
        (["--oci", "o.json", "--podman", "o.json"], "is the name of two outputs"),
    ],
)
def test_bad_words_are_refused(options, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    policy = tmp_path / "p.scmm.yaml"
    document.write(policy, Policy())
    code, said = run(capsys, "compile", "-i", policy, *options)
    assert code == 2
    assert message in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["p.scmm.yaml"]


def test_constraint_values_stay_whole():
    """Values that no signed or floating number keeps."""
    rule = RichRule(("dup",), OciAction.ALLOW, args=(Condition(0, 2**64 - 2, Operator.GE),))
    back, _ = carried(
        RichProfile(OciAction.ERRNO, 1, architectures=("SCMP_ARCH_X86_64",), syscalls=(rule,)), Arch.X86_64
    )
    assert back.syscalls == (rule,)
    policy = from_profile(RichProfile(OciAction.ERRNO, syscalls=(rule,)), arch=Arch.X86_64, name="").policy
    assert policy.syscalls[0].constraints == (Constraint(0, ArgType.INTEGER, op=Comparison.GE, value=2**64 - 2),)
