"""Seccomp sections that have to let the launcher: what is added, what is not, and what is refused."""

import copy
import itertools
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scmm_oci.enforcer import sections
from scmm_oci.enforcer.admits import (
    FILTER,
    IDENTITY,
    LISTENER,
    NEEDS,
    PATHS,
    PORTS,
    PRECREATE,
    RULESET,
    admit,
    needs,
    parts,
)
from scmm_oci.oci import annotations
from scmm_oci.tables import syscalls

PARTS = (FILTER, RULESET, PATHS, PORTS, PRECREATE, IDENTITY)
EVERYTHING = frozenset(PARTS)


def section(*rules, default="SCMP_ACT_ERRNO", **more):
    return {"defaultAction": default, **more, "syscalls": list(rules)}


def rule(*names, action="SCMP_ACT_ALLOW", args=None, **more):
    return {"names": list(names), "action": action, **({} if args is None else {"args": args}), **more}


def condition(value, op="SCMP_CMP_EQ", index=0, **more):
    return {"index": index, "value": value, "op": op, **more}


def names_of(found):
    return {one.name for one in found}


def test_names_are_those_of_both_machines():
    for arch in ("x86_64", "aarch64"):
        assert names_of(NEEDS) <= syscalls.numbers(arch).keys()
    assert all(need.why for need in NEEDS)


def test_modes_and_parts_decide():
    least = names_of(needs("standard", ()))
    assert {"execve", "openat", "fstat", "landlock_create_ruleset"} <= least
    assert not least & {"seccomp", "setresuid", "mkdirat", "clone", "landlock_restrict_self", "readlinkat"}
    assert {"setresuid", "capset"} <= names_of(needs("standard", {IDENTITY}))
    assert {"mkdirat", "setfsuid"} <= names_of(needs("strict", {PATHS, PRECREATE}))
    assert "landlock_add_rule" in names_of(needs("strict", {RULESET, PORTS}))
    # The filter alone, and nothing of it but calls.
    assert names_of(needs("seccomp", EVERYTHING)) == least | {"seccomp"}
    permissive = names_of(needs("permissive", EVERYTHING))
    assert {"clone", "ioctl", "signalfd4"} <= permissive
    assert not permissive & {"setresuid", "mkdirat", "landlock_restrict_self"}
    assert "clone" not in names_of(needs("standard", EVERYTHING))


def test_a_hand_over_takes_more():
    for mode in ("standard", "strict", "seccomp", "ask"):
        asked = {str(one) for one in needs(mode, {FILTER, LISTENER})}
        least = {str(one) for one in needs(mode, {FILTER})}
        assert {"sendmsg", f"clone (argument 0: {0x50F00})", f"ioctl (argument 1: {0x5411})"} <= asked - least
    assert "sendmsg" not in names_of(needs("permissive", EVERYTHING))


@pytest.mark.parametrize("mode", annotations.MODES)
def test_nothing_is_wanted_twice(mode):
    there = EVERYTHING | {LISTENER}
    found = [str(one) for one in needs(mode, there)]
    for name in set(found):
        same = [one for one in needs(mode, there) if str(one) == name]
        assert len({one.spared for one in same}) == 1


def test_what_is_added_to_a_profile_that_lets_nothing():
    wanted = needs("standard", {FILTER})
    there = section()
    done = admit(there, wanted)
    plain, *uses = there["syscalls"]
    assert plain == {"names": sorted(one.name for one in wanted if one.argument is None), "action": "SCMP_ACT_ALLOW"}
    # Of prctl nothing but no-new-privileges, of seccomp nothing but filters.
    assert rule("prctl", args=[condition(38)]) in uses
    assert rule("seccomp", args=[condition(1)]) in uses
    assert done.added[: len(plain["names"])] == plain["names"]
    assert "prctl (argument 0: 38)" in done.added
    assert done.notes == []


def test_a_profile_without_rules():
    for there in ({"defaultAction": "SCMP_ACT_ERRNO"}, {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": None}):
        assert admit(there, needs("seccomp", ())).added
        assert there["syscalls"]
    there = {"defaultAction": "SCMP_ACT_ALLOW"}
    assert admit(there, needs("seccomp", ())).added == []
    assert there == {"defaultAction": "SCMP_ACT_ALLOW"}


@pytest.mark.parametrize("action", ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG"])
def test_what_is_allowed_is_not_added(action):
    there = section(rule(*names_of(NEEDS), action=action))
    before = copy.deepcopy(there)
    assert admit(there, needs("permissive", EVERYTHING)).added == []
    assert there == before


def test_conditions_that_let_the_launcher_are_enough():
    """Docker's own: clone without new namespaces."""
    clone = [one for one in needs("permissive", ()) if one.name == "clone"]
    mask = condition(0x7E020000, "SCMP_CMP_MASKED_EQ", valueTwo=0)
    assert admit(section(rule("clone", args=[mask])), clone).added == []
    # The twin: conditions that do not, or of which it is not known.
    for args in ([condition(17)], [condition(0x400, "SCMP_CMP_MASKED_EQ", valueTwo=0)], [condition(0, index=2)]):
        there = section(rule("clone", args=args))
        assert admit(there, clone).added == ["clone (argument 0: 1041)"]
        assert there["syscalls"][-1] == rule("clone", args=[condition(0x411)])


@pytest.mark.parametrize(
    ("op", "value", "more", "holds"),
    [
        ("SCMP_CMP_EQ", 38, {}, True),
        ("SCMP_CMP_NE", 38, {}, False),
        ("SCMP_CMP_NE", 1, {}, True),
        ("SCMP_CMP_LT", 39, {}, True),
        ("SCMP_CMP_LT", 38, {}, False),
        ("SCMP_CMP_LE", 38, {}, True),
        ("SCMP_CMP_LE", 37, {}, False),
        ("SCMP_CMP_GE", 38, {}, True),
        ("SCMP_CMP_GE", 39, {}, False),
        ("SCMP_CMP_GT", 37, {}, True),
        ("SCMP_CMP_GT", 38, {}, False),
        ("SCMP_CMP_MASKED_EQ", 6, {"valueTwo": 6}, True),
        ("SCMP_CMP_MASKED_EQ", 6, {"valueTwo": 2}, False),
        ("SCMP_CMP_MASKED_EQ", 1, {}, True),
        ("SCMP_CMP_SOMETHING", 38, {}, False),
    ],
)
def test_comparisons(op, value, more, holds):
    prctl = [one for one in needs("standard", ()) if one.name == "prctl"]
    there = section(rule("prctl", args=[condition(value, op, **more)]))
    assert (admit(there, prctl).added == []) is holds


def test_conditions_on_one_argument_are_alternatives():
    prctl = [one for one in needs("standard", ()) if one.name == "prctl"]
    assert admit(section(rule("prctl", args=[condition(1), condition(38)])), prctl).added == []
    # The twin: on two arguments they hold together.
    assert admit(section(rule("prctl", args=[condition(1), condition(38, index=1)])), prctl).added != []


@pytest.mark.parametrize("action", ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP", "SCMP_ACT_NOTIFY"])
def test_what_a_rule_refuses_is_not_turned_round(action):
    there = section(rule("openat", "seccomp", action=action), default="SCMP_ACT_ALLOW")
    before = copy.deepcopy(there)
    with pytest.raises(ValueError, match=r"refuses openat, .* refuses seccomp \(argument 0: 1\)"):
        admit(there, needs("standard", {FILTER}))
    assert there == before


def test_what_can_be_spared_is_told():
    there = section(rule("close_range", "write", action="SCMP_ACT_ERRNO"), default="SCMP_ACT_ALLOW")
    done = admit(there, needs("standard", ()))
    assert done.added == []
    assert sorted(one.split(",")[0] for one in done.notes) == ["refuses close_range", "refuses write"]


def test_landlock_that_some_rule_refuses_is_not_left_to_the_launcher():
    """In the mode standard it says that files are not held, and runs the program."""
    some = rule("landlock_restrict_self", action="SCMP_ACT_ERRNO", args=[condition(0, index=1)])
    with pytest.raises(ValueError, match="landlock_restrict_self"):
        admit(section(some, default="SCMP_ACT_ALLOW"), needs("standard", {RULESET}))
    # The twin: of other calls it is told.
    some = rule("openat", action="SCMP_ACT_ERRNO", args=[condition(0, index=2)])
    done = admit(section(some, default="SCMP_ACT_ALLOW"), needs("standard", {RULESET}))
    assert (done.added, len(done.notes)) == ([], 1)


def test_a_rule_like_the_default_refuses_nothing():
    """Runtimes leave it out; one with another error number they do not."""
    like = section(rule("openat", action="SCMP_ACT_ERRNO", errnoRet=1))
    assert "openat" in admit(like, needs("standard", ())).added
    with pytest.raises(ValueError, match="openat"):
        admit(section(rule("openat", action="SCMP_ACT_ERRNO", errnoRet=38)), needs("standard", ()))
    other = section(rule("openat", action="SCMP_ACT_ERRNO", errnoRet=38), defaultErrnoRet=38)
    assert "openat" in admit(other, needs("standard", ())).added


def test_the_first_rule_counts():
    allow, deny = rule("openat"), rule("openat", action="SCMP_ACT_ERRNO", errnoRet=2)
    assert "openat" not in admit(section(allow, deny), needs("standard", ())).added
    with pytest.raises(ValueError, match="refuses openat"):
        admit(section(deny, allow), needs("standard", ()))


@pytest.mark.parametrize(
    ("there", "place"),
    [
        ([], "linux.seccomp: "),
        ({}, "linux.seccomp.defaultAction"),
        ({"defaultAction": 1}, "linux.seccomp.defaultAction"),
        (section() | {"syscalls": {}}, "linux.seccomp.syscalls: "),
        (section("x"), r"syscalls\[0\]: "),
        (section(rule("x"), {"names": ["x"]}), r"syscalls\[1\].action"),
        (section({"names": "x", "action": "SCMP_ACT_ALLOW"}), r"syscalls\[0\].names"),
        (section({"names": [1], "action": "SCMP_ACT_ALLOW"}), r"syscalls\[0\].names"),
        (section(rule("x", args={})), r"syscalls\[0\].args"),
        (section(rule("x", args=[1])), r"syscalls\[0\].args"),
        (section(rule("x", args=[condition("1")])), r"syscalls\[0\].args"),
        (section(rule("x", args=[condition(True)])), r"syscalls\[0\].args"),
        (section(rule("x", args=[{"index": 1, "value": 1}])), r"syscalls\[0\].args"),
    ],
)
def test_malformed_sections(there, place):
    before = copy.deepcopy(there)
    with pytest.raises(ValueError, match=place):
        admit(there, needs("standard", ()))
    assert there == before


# Laws.

ACTIONS = st.sampled_from(["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL"])
CALLS = ["prctl", "clone", "seccomp", "openat", "execve", "landlock_add_rule", "close_range", "ptrace"]
OPS = ["EQ", "NE", "LT", "LE", "GE", "GT", "MASKED_EQ"]
CONDITIONS = st.builds(
    lambda index, value, second, op: {"index": index, "value": value, "valueTwo": second, "op": f"SCMP_CMP_{op}"},
    st.integers(0, 1),
    st.sampled_from([0, 1, 38, 0x411]),
    st.sampled_from([0, 1, 0x411]),
    st.sampled_from(OPS),
)
RULES = st.builds(
    lambda names, action, args, more: {"names": names, "action": action, **({"args": args} if args else {}), **more},
    st.lists(st.sampled_from(CALLS), max_size=3),
    ACTIONS,
    st.lists(CONDITIONS, max_size=2),
    st.sampled_from([{}, {"errnoRet": 1}, {"errnoRet": 2}, {"comment": 1.50}]),
)
SECTIONS = st.builds(
    lambda default, rules: {"defaultAction": default, "syscalls": rules}, ACTIONS, st.lists(RULES, max_size=5)
)
WANTED = st.builds(needs, st.sampled_from(annotations.MODES), st.sets(st.sampled_from(PARTS)))
COMPARE = {
    "SCMP_CMP_EQ": lambda x, a, b: x == a,
    "SCMP_CMP_NE": lambda x, a, b: x != a,
    "SCMP_CMP_LT": lambda x, a, b: x < a,
    "SCMP_CMP_LE": lambda x, a, b: x <= a,
    "SCMP_CMP_GE": lambda x, a, b: x >= a,
    "SCMP_CMP_GT": lambda x, a, b: x > a,
    "SCMP_CMP_MASKED_EQ": lambda x, a, b: x & a == b,
}


def answers(there, name, args):
    """Whether a call may pass, each answer that may be; as runtimes do it (tests/runtime/test_launcher_admitted.py)."""

    def key(one, action, errno):
        return one[action], one.get(errno, 1) if one[action] == "SCMP_ACT_ERRNO" else None

    def holds(one):
        return COMPARE[one["op"]](args[one["index"]], one["value"], one.get("valueTwo", 0))

    default = key(there, "defaultAction", "defaultErrnoRet")
    rules = [one for one in there["syscalls"] if name in one["names"] and key(one, "action", "errnoRet") != default]
    for one in rules:
        if not one.get("args"):
            return {one["action"] in sections.PASS}
    found = set()
    for one in rules:
        indexes = [each["index"] for each in one["args"]]
        combine = all if len(set(indexes)) == len(indexes) else any
        if combine(holds(each) for each in one["args"]):
            found.add(one["action"] in sections.PASS)
    return found or {default[0] in sections.PASS}


@given(SECTIONS, WANTED)
def test_no_call_is_lost_and_what_is_needed_passes(there, wanted):
    before = copy.deepcopy(there)
    try:
        done = admit(there, wanted)
    except ValueError:
        assert json.dumps(there) == json.dumps(before)
        return
    # The rules that were there are what they were.
    count = len(before["syscalls"])
    assert json.dumps({**there, "syscalls": there["syscalls"][:count]}) == json.dumps(before)
    assert bool(there["syscalls"][count:]) is bool(done.added)
    told = {one.split(" of ")[-1].removeprefix("refuses ").split(",")[0].split(" ")[0] for one in done.notes}
    for need in wanted:
        for args in itertools.product((0, 1, 38, 0x411), repeat=2):
            if need.argument is not None and need.argument[0] < 2:
                args = tuple(need.argument[1] if at == need.argument[0] else one for at, one in enumerate(args))
            now = answers(there, need.name, args) if need.name in CALLS else {True}
            if need.name not in told:
                assert now == {True}, need
    for name in CALLS:
        for args in itertools.product((0, 1, 38, 0x411), repeat=2):
            if answers(before, name, args) == {True}:
                assert answers(there, name, args) == {True}
    # Nothing that is not needed passes now.
    assert answers(there, "ptrace", (0, 0)) == answers(before, "ptrace", (0, 0))
    again = copy.deepcopy(there)
    assert admit(again, wanted).added == []
    assert again == there


def compiled(*rules):
    """A compiled policy's header, table and path rules, of which each is made for what is done if a path is missing."""
    section = b"".join(struct.pack("<QIIII", 1, 1, missing, 1, 0) for missing in rules)
    table = struct.pack("<IIQQIIQQ", 4, 0, 112, len(section), 9, 0, 112 + len(section), 0)
    return struct.pack("<8sHHIQQ32s", b"SCMMPOL", 2, 64, 2, 112 + len(section), 0, bytes(32)) + table + section


def test_what_is_made_beforehand_shows_in_a_policy():
    assert parts(compiled(0, 2, 0)) == {PATHS}
    assert parts(compiled(0, 0, 1)) == {PATHS, PRECREATE}
    with pytest.raises(ValueError, match="ends early"):
        parts(compiled(0, 0, 1)[:-24])


@given(st.binary(max_size=200))
def test_no_policy(data):
    with pytest.raises(ValueError, match="not a compiled policy"):
        parts(data)
    with pytest.raises(ValueError, match="not a compiled policy"):
        parts(b"SCMMPOL\0" + bytes(4) + b"\xff" + data[1:])
