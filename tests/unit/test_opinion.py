"""The filter = libseccomp's = what the policy answers, and a filter with a mistake is none of these."""

import os
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from policy_samples import policies
from profiles_found import PODMAN_DEFAULT, docker_default, docker_default_unavailable, podman_default_unavailable
from support import need

from scmm_oci.compiled import bpf, opinion, simulate
from scmm_oci.compiled.filter import Case, Machine, Piece, Plan, build, of_policy, of_profile, returned
from scmm_oci.compiled.opinion import libseccomp, reading
from scmm_oci.compiled.opinion.ask import Library
from scmm_oci.compiled.opinion.calls import randoms
from scmm_oci.errors import BadInput, Failure
from scmm_oci.oci import rich
from scmm_oci.oci.resolve import resolve
from scmm_oci.policy import document
from scmm_oci.policy.answers import Answer
from scmm_oci.policy.constraints import Test as Comparison
from scmm_oci.policy.model import Action, ArgType, Constraint, Operator, Policy, Settings, SyscallRule
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch

SOAK = bool(os.environ.get("SCMM_SOAK"))
CALLS = 1_000_000 if SOAK else 3000
long = pytest.mark.timeout(3600 if SOAK else 300)
GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.scmm.yaml"))


@pytest.fixture(autouse=True)
def _there():
    need("KERNEL", opinion.unavailable())


def rule(name, action="allow", *constraints, **more):
    return SyscallRule(name, Action(action), constraints=constraints, **more)


def compared(arg, op, value, mask=None):
    return Constraint(arg, ArgType.INTEGER, op=Operator(op), value=value, mask=mask)


def policy(*rules, arch=Arch.X86_64, beside=(), default="deny", bad_arch="kill"):
    return Policy(settings=Settings(Action(default), arch=arch, architectures=(arch, *beside),
                                    bad_arch_action=Action(bad_arch)), syscalls=rules)  # fmt: skip


def check(made, program=None, calls=CALLS):
    return opinion.check(made, program or build(of_policy(made)), random=Random(5), calls=calls)


# Something of everything: ranges, each operator, both words, a mask, several answers for one call.
MIXED = policy(
    *(rule(name) for name in ("read", "write", "openat", "close", "execve", "exit_group", "futex")),
    rule("personality", "allow", compared(0, "eq", 0)),
    rule("personality", "allow", compared(0, "eq", 0xFFFFFFFF)),
    rule("lseek", "allow", compared(1, "lt", (3 << 32) + 7)),
    rule("pread64", "log", compared(2, "ge", 5 << 32), compared(3, "ne", (1 << 32) + 1)),
    rule("mmap", "allow", compared(2, "masked_eq", 1, 5)),
    rule("ioctl"),
    rule("ioctl", "kill", compared(1, "eq", 0x5412)),
    rule("ioctl", "deny", compared(1, "gt", 1 << 33), errno="ENOSYS"),
    rule("sendto", "trace", compared(2, "le", 9), message=3),
    rule("clone3", "deny", errno="ENOSYS"),
    rule("ptrace", "trap"),
)


@long
@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
@pytest.mark.parametrize("beside", [(), (Arch.X86, Arch.X32)], ids=["alone", "beside"])
def test_policies_that_extract_makes(path, beside):
    made = document.read(path)
    made = replace(made, settings=replace(made.settings, architectures=(Arch.X86_64, *beside)))
    report = check(made)
    assert report.calls > CALLS + 1000
    assert (report.unknown, report.disjoined) == ((), 0)
    # Only where it takes arguments of x32 for 32 bits wide is the library not asked.
    assert report.alone <= report.calls // 5


@long
@pytest.mark.parametrize(("engine", "path", "lacking"), [
    ("PODMAN", lambda: PODMAN_DEFAULT, podman_default_unavailable),
    ("DOCKER", docker_default, docker_default_unavailable),
], ids=["podman", "docker"])  # fmt: skip
def test_profiles_of_engines(engine, path, lacking):
    need(engine, lacking())
    found = rich.parse(path().read_bytes())
    for capabilities in (frozenset(), frozenset({"CAP_SYS_ADMIN", "CAP_NET_ADMIN"})):
        profile = resolve(found, arch=Arch.X86_64, capabilities=capabilities, kernel=(6, 1))
        report = opinion.check_profile(profile, build(of_profile(profile)), random=Random(3), calls=CALLS)
        assert report.calls > CALLS + 1000
        assert report.unknown == ()


@long
@settings(max_examples=1000 if SOAK else 100, deadline=None, suppress_health_check=list(HealthCheck))
@given(policies(), st.integers(0, 1 << 30))
def test_any_policy(made, seed):
    try:
        program = build(of_policy(made))
    except BadInput as error:
        assert "instructions" in str(error) or "comparisons" in str(error)
        return
    report = opinion.check(made, program, random=Random(seed), calls=1000 if SOAK else 200)
    assert report.calls > 1000


@pytest.mark.parametrize(
    ("arch", "beside"),
    [
        (Arch.AARCH64, (Arch.ARM,)),
        (Arch.RISCV64, ()),
        (Arch.S390X, (Arch.S390,)),
        (Arch.PPC64LE, ()),
        (Arch.X86, ()),
        (Arch.X86_64, Arch.X86_64.beside),
    ],
)
def test_every_architecture(arch, beside):
    # Without sendto, as conditions on what x86's socketcall stands for are not compared there.
    rules = [one for one in MIXED.syscalls if one.name in syscalls.numbers(arch) and one.name != "sendto"]
    rules += [rule("socket"), rule("accept4", "log"), rule("shmat", "kill")]
    report = check(policy(*rules, arch=arch, beside=beside, bad_arch="trap"), calls=2000)
    assert (report.unknown, report.multiplexers) == ((), ())
    assert report.alone < report.calls // 3


def test_default_that_allows():
    rules = [replace(one, action=Action.KILL) if one.action is Action.ALLOW else one for one in MIXED.syscalls]
    report = check(policy(*rules, default="allow", beside=(Arch.X86,)))
    assert report.disjoined == 0


# Controls: what is wrong with a filter is seen.


def differs(made, program):
    with pytest.raises(Failure) as caught:
        check(made, program, calls=500)
    return str(caught.value)


def behaves(program):
    calls = randoms(reading.targets(reading.of_policy(MIXED)), Random(9), 10_000)
    return [simulate.simulate(program, call).value for call in calls]


def mutants(program, kind):
    for index, one in enumerate(program):
        if one.code not in (bpf.JEQ, bpf.JGE, bpf.JGT, bpf.JSET):
            continue
        changed = {
            "swapped": replace(one, jt=one.jf, jf=one.jt),
            "number": replace(one, k=(one.k + 1) & bpf.WORD),
            "distance": replace(one, jt=(one.jt + 1) & 0xFF),
            "other distance": replace(one, jf=(one.jf + 1) & 0xFF),
        }[kind]
        program_ = (*program[:index], changed, *program[index + 1 :])
        if not bpf.problems(program_):
            yield index, program_


@pytest.mark.parametrize("kind", ["swapped", "number", "distance", "other distance"])
def test_changed_jump_is_a_difference(kind):
    program = build(of_policy(MIXED))
    check(MIXED, program, calls=500)
    found = list(mutants(program, kind))
    assert len(found) > 20
    alike = 0
    for index, mutant in found:
        try:
            check(MIXED, mutant, calls=500)
        except Failure as error:
            assert "the filter returns" in str(error)
        else:
            # Then the change is none: of an outcome that there is not, or between two ways to the same.
            assert behaves(mutant) == behaves(program), index
            alike += 1
    assert alike <= len(found) // 8


def planned(change):
    plan = of_policy(MIXED)
    lines = [replace(one, line=tuple(change(one, piece) for piece in one.line)) for one in plan.machines]
    return build(Plan(tuple(lines), plan.bad_arch))


def test_missing_x32_guard_is_a_difference():
    default = returned(Answer.of(None, MIXED.settings))

    def unguarded(_, piece):
        return replace(piece, decision=(Case((), default),)) if piece.first == 0x40000000 else piece

    text = differs(MIXED, planned(unguarded))
    assert "(0x40000000)" in text
    assert "the filter returns errno 1, libseccomp" in text
    assert text.endswith("right is kill process")


def test_comparing_the_low_word_only_is_a_difference():
    def low(_, piece):
        cases = tuple(
            Case(tuple(Comparison(one.arg, one.op, one.value & bpf.WORD & one.mask, one.mask & bpf.WORD)
                       if one.op is Operator.EQ else one for one in case.tests), case.value)
            for case in piece.decision
        )  # fmt: skip
        return replace(piece, decision=cases)

    text = differs(MIXED, planned(low))
    assert "x86_64 ioctl (16) with arguments (0x0, 0x" in text or "x86_64 personality (135)" in text or "mmap" in text


def test_missing_foreign_architecture_is_a_difference():
    plan = of_policy(MIXED)
    assert "architecture 0x" in differs(MIXED, build(replace(plan, bad_arch=bpf.RET_ALLOW)))


def test_policy_itself_is_asked_too(monkeypatch):
    # libseccomp and the filter agree here; only the policy says something else.
    other = policy(rule("read", "log"))
    monkeypatch.setattr("scmm_oci.compiled.opinion.compare.reference", lambda _: opinion.reference(other))
    made = policy(rule("read"))
    assert "libseccomp 2" in differs(made, build(of_policy(made)))


# What cannot be compared


def test_names_that_the_library_lacks_are_counted():
    assert not libseccomp.knows(Arch.X86_64, "mseal")
    arch = Arch.AARCH64 if libseccomp.is_native(Arch.X86_64) else Arch.X86_64
    made = policy(rule("mseal"), rule("read"), arch=arch)
    report = check(made, calls=500)
    assert report.unknown == (f"{arch} mseal",)
    assert report.alone > 0
    # They are compared with the policy all the same.
    wrong = build(of_policy(policy(rule("read"), arch=arch)))
    assert "was not asked" in differs(made, wrong)


def test_multiplexers_of_calls_with_conditions_are_counted():
    limited = rule("socket", "allow", Constraint(0, ArgType.INTEGER, allowed=("AF_UNIX",)))
    report = check(policy(limited, rule("bind"), arch=Arch.X86), calls=500)
    assert report.multiplexers == ("x86 socketcall",)
    assert check(policy(rule("socket"), rule("bind"), arch=Arch.X86), calls=500).multiplexers == ()
    # With a rule of its own, the library does as it is told.
    assert check(policy(limited, rule("socketcall"), arch=Arch.X86), calls=500).multiplexers == ()


def test_library_answers_to_multiplexers_by_itself():
    made = policy(rule("socket"), arch=Arch.X86)
    library = Library(reading.of_policy(made))
    number = syscalls.number_of(Arch.X86, "socketcall")
    calls = [bpf.Call(number, Arch.X86.audit, (value,)) for value in (1, 2)]
    assert [library.of(call, call.words()) for call in calls] == [bpf.RET_ALLOW, bpf.RET_ERRNO | 1]


def test_precedence_is_applied_to_what_the_library_tells():
    # By itself it looks at the last argument first, whatever the order of rules, and would allow read(1, 2).
    made = policy(rule("read", "kill", compared(0, "eq", 1)), rule("read", "allow", compared(1, "eq", 2)))
    call = bpf.Call(0, Arch.X86_64.audit, (1, 2))
    assert Library(reading.of_policy(made)).of(call, call.words()) == opinion.reference(made)(call)
    assert opinion.reference(made)(call) == bpf.RET_KILL_PROCESS
    assert check(made, calls=500).disjoined == 0


def test_same_values_as_the_library():
    import pyseccomp

    expected = {
        "allow": pyseccomp.ALLOW,
        "log": pyseccomp.LOG,
        "trace": pyseccomp.TRACE(0),
        "notify": pyseccomp.NOTIFY,
        "deny": pyseccomp.ERRNO(1),
        "trap": pyseccomp.TRAP,
        "kill_thread": pyseccomp.KILL_THREAD,
        "kill": pyseccomp.KILL_PROCESS,
    }
    for action in Action:
        number = 1 if action is Action.DENY else 0
        assert returned(Answer(action.rank, number, action)) == expected[action.value]


def test_errno_that_the_library_lacks():
    made = policy(rule("read", "deny", errno="4095"), rule("write", "deny", errno="4094"))
    assert check(made, calls=200).disjoined == 0
    wrong = build(of_policy(policy(rule("read", "deny", errno="4094"), rule("write", "deny", errno="4094"))))
    assert "read (0)" in differs(made, wrong)


# Calls


def plan(*pieces):
    return Plan((Machine(Arch.X86_64.audit, 64, "little", pieces),), 0)


def test_boundaries_are_all_there():
    tests = (Comparison(1, Operator.GT, 7 << 32), Comparison(2, Operator.EQ, 5))
    low, high = (Piece(*ends, (Case((), 1),)) for ends in ((0, 699), (701, bpf.WORD)))
    calls = list(opinion.boundary_calls(plan(low, Piece(700, 700, (Case(tests, 2), Case((), 1))), high)))
    numbers = {call.nr for call in calls if call.arch == Arch.X86_64.audit}
    assert {*range(600), 699, 700, 701, 0x3FFFFFFF, 0x40000000, 0x40000257, bpf.WORD} <= numbers
    args = {call.args for call in calls if call.nr == 700}
    for first in ((7 << 32) - 1, 7 << 32, (7 << 32) + 1, (8 << 32), (6 << 32), (7 << 32) | bpf.WORD):
        assert any(one[1:2] == (first,) and one[2:3] == (5,) for one in args)
    for second in (4, 5, 6, (1 << 32) + 5):
        assert any(one[2:3] == (second,) and one[1] > 7 << 32 for one in args)
    assert {call.arch for call in calls} > {arch.audit for arch in Arch}


def test_random_calls_are_the_same_for_the_same_seed():
    made = of_policy(MIXED)
    first, again, other = (list(opinion.random_calls(made, Random(seed), 400)) for seed in (1, 1, 2))
    assert first == again != other
    tested = {nr for target in reading.targets(reading.of_policy(MIXED)) for nr in target.tests}
    assert sum(call.nr in tested for call in first) > 100
    assert any(call.arch != Arch.X86_64.audit for call in opinion.random_calls(made, Random(1), 3000))


def test_no_high_words_on_32_bits():
    made = policy(rule("read", "allow", compared(0, "eq", 5 << 32)), rule("write", "allow", compared(0, "lt", 1 << 40)),
                  arch=Arch.X86)  # fmt: skip
    calls = [*opinion.boundary_calls(of_policy(made)), *opinion.random_calls(of_policy(made), Random(1), 500)]
    assert all(arg <= bpf.WORD for call in calls for arg in call.args if call.arch == Arch.X86.audit)
    # libseccomp 2.5.4 drops the high words of the values, and would allow read(0, …).
    right = opinion.reference(made)
    assert right(bpf.Call(3, Arch.X86.audit, (0,))) == bpf.RET_ERRNO | 1
    assert right(bpf.Call(4, Arch.X86.audit, (bpf.WORD,))) == bpf.RET_ALLOW
    check(made, calls=500)


@pytest.mark.parametrize("words", [{"allowed": 400}, {"denied": 200}])
def test_lists_that_the_library_would_take_minutes_for_are_compared_with_the_policy(words):
    ((key, count),) = words.items()
    one = Constraint(1, ArgType.INTEGER, **{key: tuple(str(7 * index) for index in range(count))})
    two = Constraint(2, ArgType.INTEGER, **{key: tuple(str(7 * index) for index in range(count))})
    both = (one,) if key == "allowed" else (one, two)
    policy = Policy(syscalls=(SyscallRule("ioctl", Action.ALLOW, constraints=both),))
    program = build(of_policy(policy))
    report = opinion.check(policy, program, random=Random(1), calls=100)
    assert report.alone > 100 and report.calls - report.alone > 1000
    with pytest.raises(Failure, match="ioctl"):
        wrong = tuple(
            replace(each, k=each.k + 1) if each.code == bpf.JEQ and each.k == 14 else each for each in program
        )
        opinion.check(policy, wrong, random=Random(1), calls=100)
