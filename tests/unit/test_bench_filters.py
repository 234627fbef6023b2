"""The arithmetic of benchmarks.filters: which calls count how much, what filters of one policy cost, the goals."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console
from samples import app, argument, as_bytes, call
from support import need

from benchmarks import filter_makers, filter_report
from benchmarks.filter_cases import ARCH, NUMBERS, Sample, disagreements, executed, of_capture, of_default
from benchmarks.filter_makers import Input, Maker, make
from benchmarks.filter_report import BARE, KINDS, Counted, Result, added, goals
from benchmarks.filters import counted
from rig.process import RigError
from scmm_oci.capture import file
from scmm_oci.compiled import bpf
from scmm_oci.compiled.bpf import Call, Instruction
from scmm_oci.compiled.simulate import simulate
from scmm_oci.oci.seccomp import Condition, OciAction, Operator, Profile, Rule


@pytest.fixture(autouse=True, scope="module")
def libseccomp() -> None:
    need("KERNEL", filter_makers.unavailable())


ALLOW, ERRNO = OciAction.ALLOW, OciAction.ERRNO
PROFILE = Profile(
    ERRNO,
    1,
    ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    syscalls=(
        Rule(("read", "write", "exit_group", "socket"), ALLOW),
        Rule(("clone3",), ERRNO, 38),
        Rule(("socket",), ALLOW, None, (Condition(0, 40, Operator.NE),)),
        *(Rule(("personality",), ALLOW, None, (Condition(0, value, Operator.EQ),)) for value in (0, 0xFFFFFFFF)),
    ),
)

# Two instructions for read, three for what is above it, two for all else.
TINY = (
    Instruction(bpf.LOAD, bpf.NR_OFFSET),
    Instruction(bpf.JGT, 0, 0, 1),
    Instruction(bpf.JA, 0),
    Instruction(bpf.RET, bpf.RET_ALLOW),
)


def at(name: str, *args: int) -> Call:
    return Call(NUMBERS[name], ARCH.audit, args)


def test_executed_is_a_weighted_mean() -> None:
    assert executed(TINY, [Sample(at("read"), 1)]) == 3
    assert executed(TINY, [Sample(at("write"), 1)]) == 4
    assert executed(TINY, [Sample(at("read"), 3), Sample(at("write"), 1)]) == 3.25
    # Calls that were never made count alike.
    assert executed(TINY, [Sample(at("read"), 0), Sample(at("write"), 0)]) == 3.5
    with pytest.raises(ValueError, match="no calls"):
        executed(TINY, [])


def test_calls_of_a_default() -> None:
    case = of_default("docker", PROFILE)
    # What has a rule without conditions is not tested.
    assert {one.call.nr for one in case.checked} == {NUMBERS["personality"]}
    assert sum(one.weight for one in case.checked) == pytest.approx(1)
    denied = {one.call.nr for one in case.denied}
    assert NUMBERS["clone3"] in denied and NUMBERS["bpf"] in denied
    assert denied.isdisjoint({NUMBERS["read"], NUMBERS["personality"], NUMBERS["socket"]})
    assert sum(one.weight for one in case.denied) == pytest.approx(1)


CAPTURE = app(
    call("mprotect", 10),
    call("read", 5000),
    call("socket", 30),
    call("clone3", 0, denied=4, denied_errno="ENOSYS"),
    arguments=[argument("mprotect", 2, 1, 3), argument("socket", 0, 1, 2, 10), argument("socket", 1, 1, 2)],
)


def test_calls_of_a_recording_count_as_recorded() -> None:
    case = of_capture("nginx", file.parse(as_bytes(CAPTURE)))
    by_call: dict[int, list[Sample]] = {}
    for one in case.checked:
        by_call.setdefault(one.call.nr, []).append(one)
    assert by_call.keys() == {NUMBERS["mprotect"], NUMBERS["socket"]}
    sockets = by_call[NUMBERS["socket"]]
    assert {one.call.args for one in sockets} == {(family, kind) for family in (1, 2, 10) for kind in (1, 2)}
    assert {one.weight for one in sockets} == {5.0}
    assert sum(one.weight for one in by_call[NUMBERS["mprotect"]]) == 10
    assert [(one.call.nr, one.weight) for one in case.denied] == [(NUMBERS["clone3"], 4)]
    assert case.given.counts["read"] == 5000
    # All of them are as the recording was: these calls pass, the others do not.
    program = make(Maker.OURS, case.given)
    assert {simulate(program, one.call).value for one in case.checked} == {bpf.RET_ALLOW}
    assert {simulate(program, one.call).value for one in case.denied} == {bpf.RET_ERRNO | 38}
    # Where nothing was refused, refused calls have no weight but a cost.
    quiet = of_capture("nginx", file.parse(as_bytes(app(call("mprotect", 1), arguments=[argument("mprotect", 2, 1)]))))
    assert {one.weight for one in quiet.denied} == {0}
    one = counted(make(Maker.OURS, quiet.given), quiet)
    assert one.weighted == one.checked and one.denied > 1


def test_a_recording_without_the_timed_call_is_refused() -> None:
    with pytest.raises(RigError, match="mprotect"):
        of_capture("nginx", file.parse(as_bytes(app(call("read", 1)))))


def test_makers_agree_and_a_changed_filter_is_noticed() -> None:
    case = of_default("docker", PROFILE)
    programs = {maker: make(maker, case.given) for maker in Maker}
    assert disagreements(programs, case) == []
    assert len(set(programs.values())) == 3
    # Another policy's filter in its place: of the two, the call that only one allows is named.
    other = replace(PROFILE, syscalls=(*PROFILE.syscalls, Rule(("getsid",), ALLOW)))
    found = disagreements({**programs, Maker.TREE: make(Maker.TREE, Input(other, {}))}, case)
    assert len(found) == 1 and f"nr={NUMBERS['getsid']}," in found[0]
    # What is timed must pass and be refused.
    bare = Profile(ALLOW, None, ("SCMP_ARCH_X86_64",), syscalls=(Rule(("acct",), ERRNO, 1),))
    empty = {maker: make(maker, Input(bare, {})) for maker in Maker}
    assert all("timed calls" in line for line in disagreements(empty, replace(case, checked=(), denied=())))


def result() -> Result:
    made = Result({"kernel": "6.18"}, seed=1)
    made.counted["docker"] = {
        "ours": Counted(100, 9.0, 7.0, 8.0),
        "list": Counted(900, 600.0, 590.0, 595.0),
        "tree": Counted(1200, 13.0, 12.0, 12.8),
    }
    made.counted["nginx"] = {maker: Counted(50, 9.0, 9.0, 9.0) for maker in Maker}
    rounds = range(1, 11)
    made.times["docker"] = {
        # The machine was slow for a while, with and without a filter.
        name: {kind: {number: 100.0 + more + 50 * (number == 3) for number in rounds} for kind in KINDS}
        for name, more in ((BARE, 0), ("ours", 25), ("list", 300), ("tree", 40))
    }
    made.loads = {
        "docker": {"ours": [0.0001] * 9, "list": [0.001] * 9, "tree": [0.0004] * 9},
        "nginx": {"ours": [0.0003] * 9, "list": [0.001] * 9, "tree": [0.0004] * 9},
    }
    made.made = {"docker": {maker: [0.01, 0.012] for maker in Maker}}
    made.missing["podman"] = "not here"
    return made


def test_added_is_within_rounds() -> None:
    found = added(result())
    assert found.keys() == {"docker"}
    medians = {maker: found["docker"][maker]["denied"].value for maker in Maker}
    assert medians == {Maker.OURS: 25, Maker.LIST: 300, Maker.TREE: 40}
    assert found["docker"][Maker.OURS]["cached"].high == 25


def test_goals() -> None:
    found = {(goal.case, goal.verdict.goal): (goal.figure, str(goal.verdict)) for goal in goals(result())}
    assert found == {
        ("docker", "≤ 10"): ("8.00", "met"),
        ("docker", "≥ 1.7"): ("1.60", "not met"),
        ("docker", "≥ 50"): ("74.38", "met"),
        ("docker", "≥ 8"): ("9.00", "met"),
        ("docker", "≤ 200 µs"): ("100 µs [100, 100]", "met"),
        # A recorded program's policy is as long as it is, and must be loaded as fast.
        ("nginx", "≤ 200 µs"): ("300 µs [300, 300]", "not met"),
    }


def test_report() -> None:
    given = result()
    text = io.StringIO()
    filter_report.show(given, Console(file=text, width=filter_report.WIDTH, highlight=False))
    lines = text.getvalue().splitlines()
    row = next(line for line in lines if "libseccomp list" in line)
    assert [cell.strip() for cell in row.split("│")[2:-1]] == [
        *("libseccomp list", "900", "600.00", "590.00", "595.00"),
        *("+300 [+300, +300]",) * 3,
        *("1000, 1000", "10.0, 11.0"),
    ]
    assert "not measured: podman's default: not here" in lines
    assert not any(line.startswith("wrong") for line in lines)
    given.wrong.append("docker: Call(…)")
    assert "wrong: docker: Call(…)" in filter_report.notes(given)
    document = json.loads(json.dumps(filter_report.to_json(given)))
    assert document["added"]["docker"]["tree"]["checked"] == {"value": 40, "low": 40, "high": 40}
    assert len(document["goals"]) == 6
