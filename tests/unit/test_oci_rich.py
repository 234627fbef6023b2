import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from profiles_found import PODMAN_DEFAULT, docker_default, docker_default_unavailable, podman_default_unavailable
from support import need

from scmm_oci.errors import BadInput
from scmm_oci.oci import rich, seccomp
from scmm_oci.oci.resolve import Engine, resolve, unheeded
from scmm_oci.oci.rich import ArchMapping, Filter, RichProfile, RichRule
from scmm_oci.oci.richcheck import ARCHES
from scmm_oci.oci.seccomp import Condition, Flag, OciAction, Operator, Profile, Rule
from scmm_oci.schema import _validator
from scmm_oci.tables import errnos
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.vocabulary import CAPABILITIES

GOLDEN = Path(__file__).parent / "golden"
MIXED = GOLDEN / "rich.json"
CAPS = [f"CAP_{name}" for name in CAPABILITIES]

ANSWERING = (OciAction.ERRNO, OciAction.TRACE)
words = st.integers(0, 2**64 - 1)
call_names = st.lists(st.sampled_from(["read", "write", "clone", "_llseek", "s390_pci_mmio_read"]), min_size=1)
conditions = st.builds(Condition, st.integers(0, 5), words, st.sampled_from(Operator), words | st.just(0))
numbered = st.sampled_from([None, 0, 1, 38, 4095]).map(lambda number: (number, ""))
named = st.sampled_from(["EPERM", "ENOSYS", "71", "EWOULDBLOCK"])
errno_pairs = numbered | named.flatmap(lambda name: st.sampled_from([(None, name), (errnos.number(name), name)]))


def part(known):
    return st.lists(st.sampled_from(known), unique=True, max_size=3).map(tuple)


@st.composite
def filters(draw):
    """includes and excludes that do not contradict each other."""
    caps, arches = draw(part(CAPS)), draw(part(ARCHES))
    kernels = st.none() | st.tuples(st.integers(1, 255), st.integers(0, 255))
    first, second = Filter(caps, (), draw(kernels)), Filter((), arches)
    return draw(st.sampled_from([(first, second), (second, first), (Filter(), first), (second, Filter())]))


@st.composite
def rules(draw):
    action = draw(st.sampled_from([action for action in OciAction if action is not OciAction.NOTIFY]))
    number, name = draw(errno_pairs) if action in ANSWERING else (None, "")
    includes, excludes = draw(filters())
    args = tuple(draw(st.lists(conditions, max_size=6)))
    return RichRule(tuple(draw(call_names)), action, number, name, args, draw(st.text(max_size=9)), includes, excludes)


@st.composite
def profiles(draw):
    action = draw(st.sampled_from([action for action in OciAction if action is not OciAction.NOTIFY]))
    number, name = draw(errno_pairs) if action in ANSWERING else (None, "")
    machines = [arch.scmp for arch in Arch]
    listed = draw(part(machines))
    mapped = () if draw(st.booleans()) else (ArchMapping(machines[0], (machines[1],)), ArchMapping(machines[2]))
    listener = draw(st.sampled_from([(None, None), ("/run/x", None), ("/run/x", "text")]))
    flags = draw(st.none() | part(list(Flag)))
    return RichProfile(
        action,
        number,
        name,
        () if mapped else listed,
        mapped,
        flags,
        *listener,
        tuple(draw(st.lists(rules(), max_size=4))),
    )


def minimal(*rules, **members):
    return {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": list(rules), **members}


def rule(**members):
    return {"names": ["read"], "action": "SCMP_ACT_ALLOW", **members}


def read(document):
    return rich.parse(json.dumps(document).encode())


def problems(document):
    with pytest.raises(BadInput) as caught:
        rich.parse(json.dumps(document).encode(), source="p.json")
    return [str(problem) for problem in caught.value.problems]


def mixed():
    return rich.parse(MIXED.read_bytes())


# Reading and writing


@given(profiles())
def test_what_is_written_reads_the_same(profile):
    data = rich.to_json(profile)
    assert rich.parse(data) == profile
    assert rich.to_json(rich.parse(data)) == data


def test_every_oddity_of_real_files_is_read():
    profile = mixed()
    assert profile.default_errno_number == 38
    assert profile.arch_map == (
        ArchMapping("SCMP_ARCH_X86_64", ("SCMP_ARCH_X86", "SCMP_ARCH_X32")),
        ArchMapping("SCMP_ARCH_RISCV64"),
        ArchMapping("SCMP_ARCH_PPC64LE"),
    )
    assert (profile.architectures, profile.flags, profile.listener_path) == ((), (), None)
    first, second, socket, clone, _, _, ptrace = profile.syscalls
    assert first == RichRule(("read",), OciAction.ALLOW)
    assert second == RichRule(("write", "close", "write"), OciAction.ALLOW)
    assert socket.args == (Condition(0, 16, Operator.EQ), Condition(2, 9, Operator.EQ))
    assert clone.args == (Condition(0, 2**64 - 1, Operator.MASKED_EQ, 2**63 + 1),)
    assert clone.comment == "café, as libc calls it"
    assert clone.includes == Filter(arches=("amd64", "x32"))
    assert ptrace.excludes == Filter(min_kernel=(4, 8))
    assert ptrace.rule == Rule(("ptrace",), OciAction.ERRNO, 13)


def test_the_bytes_that_are_written():
    assert rich.to_json(mixed()) == (GOLDEN / "rich-written.json").read_bytes()


def test_flags_alone_differ_when_they_are_empty():
    for nothing in (None, []):
        assert read(minimal(rule(args=nothing), archMap=nothing, architectures=nothing)) == read(minimal(rule()))
    assert read(minimal(flags=None)) == read(minimal())
    assert read(minimal(flags=[])) != read(minimal())


def without_nothing(value):
    """The normalisations: members that are null or empty, and a second value of 0, are as if they were not there."""
    if isinstance(value, list):
        return [without_nothing(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: without_nothing(inner) for key, inner in value.items()}
    return {
        key: inner
        for key, inner in kept.items()
        if inner not in (None, "", [], {}) and not (key == "valueTwo" and inner == 0)
    }


def podmans():
    need("PODMAN", podman_default_unavailable())
    return PODMAN_DEFAULT


def dockers():
    need("DOCKER", docker_default_unavailable())
    return docker_default()


@pytest.mark.parametrize("path_of", [podmans, dockers, lambda: MIXED], ids=["podman", "docker", "mixed"])
def test_nothing_is_lost_of_real_profiles(path_of):
    data = path_of().read_bytes()
    profile = rich.parse(data)
    original, written = json.loads(data), json.loads(rich.to_json(profile))
    for one in original["syscalls"]:
        if one.get("name"):
            one["names"] = [one.pop("name")]
    assert without_nothing(written) == without_nothing(original)
    # Control: the comparison sees the smallest of differences.
    written["syscalls"][-1]["action"] = "SCMP_ACT_LOG"
    assert without_nothing(written) != without_nothing(original)


@pytest.mark.parametrize(
    ("path_of", "default", "rules", "names"),
    [(podmans, 38, 20, 400), (dockers, 1, 20, 380)],
    ids=["podman", "docker"],
)
def test_real_profiles_are_what_they_are_known_to_be(path_of, default, rules, names):
    profile = rich.parse(path_of().read_bytes())
    assert rich.parse(rich.to_json(profile)) == profile
    assert (profile.default_action, profile.default_errno_number or 1) == (OciAction.ERRNO, default)
    assert len(profile.syscalls) >= rules
    assert len({name for one in profile.syscalls for name in one.names}) >= names
    assert profile.arch_map[0].architecture == "SCMP_ARCH_X86_64"


# What is wrong


def test_every_problem_is_told_at_once_with_its_place():
    document = {
        "defaultAction": "SCMP_ACT_ERNO",
        "defaultErrno": "ENOSYSS",
        "architectures": ["SCMP_ARCH_X86"],
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86_64"]},
            {"architecture": "SCMP_ARCH_X86_64", "subarch": []},
            {"subArchitectures": ["amd64"]},
        ],
        "listenerMetadata": "x",
        "archmap": None,
        "syscalls": [
            {"name": "read", "names": ["write"], "action": "SCMP_ACT_ALLOW"},
            {"names": [], "action": "SCMP_ACT_ALLOW"},
            {"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "errno": "ENOSYS"},
            {"names": ["read"], "action": "SCMP_ACT_ALLOW", "errno": "EPERM", "includes": {"caps": ["SYS_ADMIN"]}},
            {"names": ["read"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["x86_64"], "minKernel": "4"}},
            {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [None, {"index": 0, "value": -1, "op": "EQ"}]},
            {"name": "write", "action": "SCMP_ACT_NOTIFY"},
            {"names": ["Read"], "action": "SCMP_ACT_ALLOW", "include": {}},
        ],
    }
    found = problems(document)
    assert [problem.split(": ")[0] for problem in found] == [
        ".archMap[1].subarch",
        ".archMap[2]",
        ".archMap[2].subArchitectures[0]",
        ".archmap",
        ".defaultAction",
        ".syscalls[4].excludes.minKernel",
        ".syscalls[5].args[0]",
        ".syscalls[5].args[1].op",
        ".syscalls[5].args[1].value",
        ".syscalls[7].include",
        ".syscalls[7].names[0]",
        ".listenerMetadata",
        ".syscalls[6].name",
        ".defaultErrno",
        ".architectures",
        ".archMap[0].subArchitectures",
        ".archMap[1].architecture",
        ".syscalls[0].name",
        ".syscalls[1].names",
        ".syscalls[2].errno",
        ".syscalls[3].errno",
        ".syscalls[3].includes.caps[0]",
        ".syscalls[4].excludes.arches[0]",
    ]
    said = "\n".join(found)
    for hint in ("'archMap'", "'SCMP_ACT_ERRNO'", "'includes'", "'ENOSYS'", "'CAP_SYS_ADMIN'", "'amd64'"):
        assert f"did you mean {hint}" in said
    assert "ENOSYS is 38, but errnoRet is 1" in said
    assert "is not a kernel's version such as 4.8" in said


@pytest.mark.parametrize(
    ("bad", "good", "expected"),
    [
        ({"errno": "E38"}, {"errno": "38"}, ".syscalls[0].errno: 'E38' is not an error name"),
        ({"errno": "EXTRA"}, {"errno": "EAGAIN"}, ".syscalls[0].errno: 'EXTRA' is not an error name"),
        ({"errno": "1", "errnoRet": 2}, {"errno": "2", "errnoRet": 2}, ".syscalls[0].errno: is 1, but errnoRet is 2"),
        ({"errnoRet": 4096}, {"errnoRet": 4095}, ".syscalls[0].errnoRet: 4096 is more than 4095"),
        (
            {"includes": {"minKernel": "4.256"}},
            {"includes": {"minKernel": "4.255"}},
            ".syscalls[0].includes.minKernel: '4.256' is not a kernel's version: its parts are at most 255, not both 0",
        ),
        (
            {"includes": {"minKernel": "0.0"}},
            {"includes": {"minKernel": "0.1"}},
            ".syscalls[0].includes.minKernel: '0.0' is not a kernel's version: its parts are at most 255, not both 0",
        ),
        (
            {"includes": {"minKernel": "5.10"}, "excludes": {"minKernel": "5.9"}},
            {"includes": {"minKernel": "5.9"}, "excludes": {"minKernel": "5.10"}},
            ".syscalls[0].excludes.minKernel: excludes 5.9, but includes begins with 5.10",
        ),
        (
            {"includes": {"caps": ["CAP_BPF", "CAP_KILL"]}, "excludes": {"caps": ["CAP_KILL"]}},
            {"includes": {"caps": ["CAP_BPF"]}, "excludes": {"caps": ["CAP_KILL"]}},
            ".syscalls[0].excludes.caps[0]: excludes CAP_KILL, but includes asks for it too, "
            "so the rule is never taken",
        ),
        (
            {"includes": {"arches": ["arm"]}, "excludes": {"arches": ["arm"]}},
            {"includes": {"arches": ["arm", "arm64"]}, "excludes": {"arches": ["arm"]}},
            ".syscalls[0].excludes.arches[0]: excludes arm, but includes asks for it too, so the rule is never taken",
        ),
        (
            {"args": [{"index": 0, "value": number, "op": "SCMP_CMP_EQ"} for number in range(7)]},
            {"args": [{"index": 0, "value": number, "op": "SCMP_CMP_EQ"} for number in range(6)]},
            ".syscalls[0].args: has 7 conditions; crun reads the first 6 only",
        ),
        ({"names": "read"}, {"names": ["read"]}, ".syscalls[0].names: 'read' is not a list or null"),
    ],
)
def test_what_contradicts_itself_is_refused_and_its_neighbour_is_not(bad, good, expected):
    def with_action(members):
        return minimal(rule(action="SCMP_ACT_ERRNO", **members))

    (found,) = problems(with_action(bad))
    assert found.split(" (")[0] == expected
    assert rich.parse(rich.to_json(read(with_action(good)))) == read(with_action(good))


def test_a_profile_made_by_hand_is_checked_when_it_is_written():
    bad = RichProfile(OciAction.ERRNO, 1, "ENOSYS", syscalls=(RichRule((), OciAction.ALLOW),))
    with pytest.raises(BadInput) as caught:
        rich.to_json(bad)
    assert [problem.place for problem in caught.value.problems] == [".defaultErrno", ".syscalls[0].names"]


@given(st.data())
def test_mutations_are_read_or_refused(data):
    """A wrong value anywhere is a problem with its place, never another exception; and what is read is written."""
    document = json.loads(MIXED.read_bytes())
    places = [(document, key) for key in document]
    for holder, key in places:
        value = holder[key]
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        places += [(value, step) for step, _ in inner]
    holder, key = data.draw(st.sampled_from(places))
    strange = st.sampled_from(
        [None, True, -1, 2**70, "", "x", "SCMP_ACT_ALLOW", "read", "4.8", [], {}, [None], [[]], {"x": 1}]
    )
    holder[key] = data.draw(strange)
    try:
        profile = read(document)
    except BadInput as error:
        assert all(problem.place.startswith(".") for problem in error.problems)
    else:
        assert rich.parse(rich.to_json(profile)) == profile


def test_schema_and_model_have_one_vocabulary():
    schema, plain = _validator("rich-seccomp").schema, _validator("oci-seccomp").schema
    Draft202012Validator.check_schema(schema)
    assert schema["$defs"]["action"] == plain["$defs"]["action"]
    assert schema["$defs"]["condition"]["properties"]["op"] == plain["$defs"]["condition"]["properties"]["op"]
    assert schema["$defs"]["architecture"] == plain["properties"]["architectures"]["items"]
    assert schema["properties"]["flags"]["items"] == plain["properties"]["flags"]["items"]
    assert set(schema["properties"]) >= set(plain["properties"])
    for pattern in re.findall(r"'pattern': '([^']*)'", str(schema)):
        assert pattern.endswith(r"$(?!\\n)"), pattern


# The runtime-spec's form


def test_the_runtime_specs_form_goes_through_unchanged():
    profile = Profile(
        OciAction.ERRNO,
        38,
        ("SCMP_ARCH_X86_64",),
        (Flag.LOG,),
        "/run/agent.sock",
        "text",
        (Rule(("read",), OciAction.ALLOW), Rule(("kcmp",), OciAction.ERRNO, 1, (Condition(0, 1, Operator.EQ, 7),))),
    )
    richer = rich.from_plain(profile)
    assert rich.parse(seccomp.to_json(profile)) == richer
    assert richer.more_than_plain == ()
    assert rich.plain(richer) == profile
    assert seccomp.parse(rich.to_json(richer)) == profile


def test_what_the_runtime_spec_has_no_word_for_is_told():
    profile = mixed()
    with pytest.raises(BadInput) as caught:
        rich.plain(profile)
    places = [problem.place for problem in caught.value.problems]
    assert places == [
        ".defaultErrno",
        ".archMap",
        ".syscalls[2].errno",
        ".syscalls[2].excludes",
        ".syscalls[3].comment",
        ".syscalls[3].includes",
        ".syscalls[3].excludes",
        ".syscalls[4].includes",
        ".syscalls[5].includes",
        ".syscalls[6].errno",
        ".syscalls[6].excludes",
    ]
    assert profile.more_than_plain == tuple(places)


# For one container


def taken(*, arch=Arch.X86_64, caps=(), kernel=(6, 1)):
    resolved = resolve(mixed(), arch=arch, capabilities=frozenset(caps), kernel=kernel)
    return [(one.names[0], one.action is OciAction.ALLOW) for one in resolved.syscalls]


BASE = [("read", True), ("write", True)]
SOCKET, CLONE, BPF = ("socket", False), ("clone", True), ("bpf", True)
NEW, OLD = ("ptrace", True), ("ptrace", False)


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        ({}, [*BASE, SOCKET, CLONE, NEW]),
        ({"kernel": (4, 8)}, [*BASE, SOCKET, CLONE, NEW]),
        ({"kernel": (4, 7)}, [*BASE, SOCKET, CLONE, OLD]),
        ({"kernel": (3, 19)}, [*BASE, SOCKET, CLONE, OLD]),
        ({"kernel": None}, [*BASE, SOCKET, CLONE, NEW, OLD]),
        ({"caps": ["CAP_AUDIT_WRITE"]}, [*BASE, CLONE, NEW]),
        # One capability is enough to exclude, and all are needed to include.
        ({"caps": ["CAP_SYS_ADMIN"]}, [*BASE, SOCKET, NEW]),
        ({"caps": ["CAP_BPF"]}, [*BASE, SOCKET, NEW]),
        ({"caps": ["CAP_PERFMON"]}, [*BASE, SOCKET, CLONE, NEW]),
        ({"caps": ["CAP_BPF", "CAP_PERFMON"]}, [*BASE, SOCKET, BPF, NEW]),
        ({"arch": Arch.S390X}, [*BASE, SOCKET, NEW]),
        ({"arch": Arch.AARCH64}, [*BASE, SOCKET, NEW]),
        ({"arch": Arch.X32}, [*BASE, SOCKET, CLONE, NEW]),
    ],
)
def test_rules_are_taken_as_engines_take_them(container, expected):
    assert taken(**container) == expected


def test_what_is_resolved():
    resolved = resolve(mixed(), arch=Arch.X86_64, capabilities=frozenset(), kernel=(4, 7))
    assert seccomp.parse(seccomp.to_json(resolved)) == resolved
    assert (resolved.default_errno_ret, resolved.flags) == (38, None)
    assert resolved.architectures == ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32")
    assert resolved.syscalls[1].names == ("write", "close")
    assert resolved.syscalls[-1] == Rule(("ptrace",), OciAction.ERRNO, 13)


def test_architectures_are_those_of_the_machine():
    def architectures(arch, **members):
        profile = replace(mixed(), **members)
        return resolve(profile, arch=arch, capabilities=frozenset(), kernel=None).architectures

    assert architectures(Arch.RISCV64) == ("SCMP_ARCH_RISCV64",)
    assert architectures(Arch.AARCH64) == ()
    assert architectures(Arch.AARCH64, arch_map=(), architectures=("SCMP_ARCH_ARM",)) == ("SCMP_ARCH_ARM",)


def test_capabilities_that_are_none_are_refused():
    with pytest.raises(BadInput) as caught:
        taken(caps=["SYS_ADMIN", "CAP_NET_ADMN", "CAP_KILL"])
    assert [str(one).split(" is")[0] for one in caught.value.problems] == ["'CAP_NET_ADMN'", "'SYS_ADMIN'"]
    assert "did you mean 'CAP_SYS_ADMIN'?" in str(caught.value)


@given(profiles(), part(CAPS), st.sampled_from(Arch), st.tuples(st.integers(1, 255), st.integers(0, 255)))
def test_resolved_rules_are_rules_of_the_profile_in_its_order(profile, caps, arch, kernel):
    resolved = resolve(profile, arch=arch, capabilities=frozenset(caps), kernel=kernel)
    every = iter([replace(one.rule, names=tuple(dict.fromkeys(one.names))) for one in profile.syscalls])
    assert all(one in every for one in resolved.syscalls)
    unconditional = sum(not one.includes and not one.excludes for one in profile.syscalls)
    assert unconditional <= len(resolved.syscalls) <= len(profile.syscalls)


def test_what_engines_do_not_read_is_told():
    profile = mixed()
    docker = [finding.message for finding in unheeded(profile, Engine.DOCKER)]
    assert [message.split(":")[0] for message in docker] == [".syscalls[6].errno", ".defaultErrnoRet"]
    podman = [finding.message for finding in unheeded(profile, Engine.PODMAN)]
    assert [message.split(":")[0] for message in podman] == [".syscalls[5]", ".syscalls[6]"]
    bare = read({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "flags": [], "syscalls": [rule()]})
    assert [unheeded(bare, engine) for engine in Engine] == [(), ()]
    more = replace(bare, default_errno_ret=None, default_errno_name="EACCES", flags=(Flag.LOG,), listener_path="/s")
    told = [finding.message.split(":")[0] for finding in unheeded(more, Engine.DOCKER)]
    assert told == [".defaultErrno", ".flags", ".listenerPath"]
