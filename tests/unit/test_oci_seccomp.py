import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scmm_oci.errors import BadInput
from scmm_oci.oci import seccomp
from scmm_oci.oci.seccomp import Condition, Flag, OciAction, Operator, Profile, Rule, parse, to_json
from scmm_oci.schema import _validator
from scmm_oci.tables.arch import Arch

FULL = Profile(
    OciAction.ERRNO,
    1,
    ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86"),
    (Flag.LOG,),
    "/run/agent.sock",
    "text",
    (
        Rule(("read", "write"), OciAction.ALLOW),
        Rule(("clone3",), OciAction.ERRNO, 38),
        Rule(("socket",), OciAction.ALLOW, None, (Condition(0, 1, Operator.EQ),)),
        Rule(("clone",), OciAction.TRACE, 7, (Condition(0, 2**64 - 1, Operator.MASKED_EQ, 5),)),
    ),
)


def problems(document):
    with pytest.raises(BadInput) as caught:
        parse(json.dumps(document).encode(), source="p.json")
    return [str(problem) for problem in caught.value.problems]


EQ = Operator.EQ
words = st.integers(0, 2**64 - 1)
conditions = st.builds(Condition, st.integers(0, 5), words, st.sampled_from(Operator), st.just(0) | words)


@pytest.mark.parametrize("profile", [FULL, Profile(OciAction.ALLOW), Profile(OciAction.LOG, flags=())])
def test_round_trip(profile):
    assert parse(to_json(profile)) == profile


def test_the_json_is_the_runtime_specs():
    assert json.loads(to_json(FULL)) == {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "listenerPath": "/run/agent.sock",
        "listenerMetadata": "text",
        "syscalls": [
            {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            {
                "names": ["socket"],
                "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}],
            },
            {
                "names": ["clone"],
                "action": "SCMP_ACT_TRACE",
                "errnoRet": 7,
                "args": [{"index": 0, "value": 2**64 - 1, "op": "SCMP_CMP_MASKED_EQ", "valueTwo": 5}],
            },
        ],
    }


def test_every_problem_is_told_at_once_with_its_place():
    document = {
        "defaultAction": "SCMP_ACT_ALOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86_64"],
        "archMap": [],
        "listenerMetadata": "x",
        "syscalls": [
            {"names": [], "action": "SCMP_ACT_ALLOW", "errnoRet": 1},
            {"names": ["Read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096},
            {"names": ["write"], "action": "SCMP_ACT_NOTIFY"},
            {
                "names": ["read"],
                "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 6, "value": 2**64, "op": "SCMP_CMP_EQ"}],
            },
        ],
    }
    found = problems(document)
    assert [problem.split(" ")[0] for problem in found] == [
        ".archMap:",
        ".architectures:",
        ".defaultAction:",
        ".syscalls[0].names:",
        ".syscalls[1].errnoRet:",
        ".syscalls[1].names[0]:",
        ".syscalls[3].args[0].index:",
        ".syscalls[3].args[0].value:",
        ".listenerMetadata:",
        ".syscalls[0].errnoRet:",
        ".syscalls[2].names:",
    ]
    assert "did you mean 'SCMP_ACT_ALLOW'" in found[2]
    assert found[5] == ".syscalls[1].names[0]: 'Read' is not a system call's name"


@pytest.mark.parametrize("action", ["SCMP_ACT_ALLOW", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_LOG", "SCMP_ACT_TRAP"])
def test_an_errno_goes_with_errno_and_trace_only(action):
    bad = {"defaultAction": action, "defaultErrnoRet": 1, "syscalls": []}
    expected = f".defaultErrnoRet: goes with SCMP_ACT_ERRNO and SCMP_ACT_TRACE only, not {action}"
    assert problems(bad) == [expected]
    for good in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        assert parse(json.dumps({**bad, "defaultAction": good}).encode()).default_errno_ret == 1


def test_notify_cannot_be_the_default():
    assert problems({"defaultAction": "SCMP_ACT_NOTIFY"}) == [
        ".defaultAction: SCMP_ACT_NOTIFY cannot be the default: runc refuses it"
    ]


def test_limits(monkeypatch):
    def rules(count):
        return Profile(OciAction.ALLOW, syscalls=(Rule(("read",), OciAction.ERRNO),) * count)

    assert len(parse(to_json(rules(128))).syscalls) == 128
    with pytest.raises(BadInput, match=r"\.syscalls: has 129 rules; 128 is the most"):
        to_json(rules(129))
    size = len(to_json(rules(1)))
    monkeypatch.setattr(seccomp, "MAX_BYTES", size)
    to_json(rules(1))
    monkeypatch.setattr(seccomp, "MAX_BYTES", size - 1)
    with pytest.raises(BadInput, match="bytes of JSON"):
        to_json(rules(1))


def test_schema_and_model_have_one_vocabulary():
    schema = _validator("oci-seccomp").schema
    assert schema["$defs"]["action"]["enum"] == list(OciAction)
    assert set(schema["$defs"]["condition"]["properties"]["op"]["enum"]) == set(Operator)
    assert schema["properties"]["flags"]["items"]["enum"] == list(Flag)
    assert {arch.scmp for arch in Arch} <= set(schema["properties"]["architectures"]["items"]["enum"])


@given(st.lists(conditions, max_size=6).map(tuple))
def test_conditions_are_kept_to_the_last_bit(args):
    profile = Profile(OciAction.ERRNO, syscalls=(Rule(("clone",), OciAction.ALLOW, None, args),))
    assert parse(to_json(profile)) == profile


@pytest.mark.parametrize(
    ("indexes", "expected"),
    [
        ([], [[]]),
        ([0], [[0]]),
        ([0, 2, 1], [[0, 2, 1]]),
        ([0, 0], [[0], [0]]),
        # One argument that has two conditions makes rules of all of them.
        ([1, 0, 0], [[1], [0], [0]]),
    ],
)
def test_two_conditions_on_one_argument_are_alternatives(indexes, expected):
    args = tuple(Condition(index, position, EQ) for position, index in enumerate(indexes))
    alternatives = Rule(("socket",), OciAction.ALLOW, None, args).alternatives()
    assert [[condition.index for condition in one] for one in alternatives] == expected
    assert [condition for one in alternatives for condition in one] == list(args)


def test_more_conditions_than_crun_reads_are_refused():
    def rule(count):
        args = [{"index": 0, "value": number, "op": "SCMP_CMP_EQ"} for number in range(count)]
        return {
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{"names": ["kcmp"], "action": "SCMP_ACT_ALLOW", "args": args}],
        }

    assert len(parse(json.dumps(rule(6)).encode()).syscalls[0].args) == 6
    assert problems(rule(7)) == [
        ".syscalls[0].args: has 7 conditions; crun reads the first 6 only (write the rule once for each alternative)"
    ]


def test_an_errno_that_is_not_said_is_eperm():
    assert [Profile(action).default_errno for action in (OciAction.ERRNO, OciAction.TRACE)] == [1, 1]
    assert [Profile(OciAction.ERRNO, number).default_errno for number in (0, 38)] == [0, 38]
    assert Profile(OciAction.KILL_PROCESS).default_errno is None
    assert [rule.errno for rule in FULL.syscalls] == [None, 38, None, 7]
    assert Rule(("read",), OciAction.ERRNO).errno == 1
