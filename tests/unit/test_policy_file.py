"""All of a compiled policy from a policy: filters that answer as it does, identity, transitions, and what is told."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from policy_samples import policies

from scmm_oci import __version__
from scmm_oci.compiled import bpf
from scmm_oci.compiled.bpf import Call
from scmm_oci.compiled.filter import returned
from scmm_oci.compiled.identity import ALL_CAPABILITIES, CAPABILITY_BITS, capability_names, identity
from scmm_oci.compiled.polfile import canonical, read, write
from scmm_oci.compiled.polfile.model import SIGNAL, START, Identity, Metadata, Transitions
from scmm_oci.compiled.policy_file import policy_file
from scmm_oci.compiled.simulate import simulate
from scmm_oci.compiled.transitions import transitions
from scmm_oci.errors import BadInput
from scmm_oci.policy.answers import Answers
from scmm_oci.policy.document import parse
from scmm_oci.policy.model import (
    Action,
    Applies,
    FilterFlag,
    PathRule,
    Policy,
    RunAs,
    Settings,
    SyscallRule,
    Transition,
)
from scmm_oci.tables import groups, syscalls
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.vocabulary import CAPABILITIES

GOLDEN = Path(__file__).parent / "golden"
OTHERS = (Arch.AARCH64, Arch.RISCV64, Arch.S390X, Arch.PPC64LE)
NEEDED = ("execve", "exit", "exit_group", "rt_sigreturn", "restart_syscall")
VIOLATION = bpf.RET_LOG | 1


def policy(*names, **changes):
    rules = tuple(SyscallRule(name, Action.ALLOW) for name in (*NEEDED, *names))
    return Policy(syscalls=rules, settings=Settings(**changes))


def codes(findings):
    return [finding.code for finding in findings]


def nginx():
    return parse((GOLDEN / "nginx.scmm.yaml").read_bytes())


def call(arch, number, *args):
    order = "big" if arch in (Arch.S390X, Arch.S390) else "little"
    return Call(number, arch.audit, args, byte_order=order)


@pytest.mark.parametrize("arch", [Arch.X86_64, *OTHERS])
def test_every_number_of_every_architecture_is_answered_as_the_policy_says(arch):
    names = sorted(syscalls.numbers("x86_64"))
    rules = [SyscallRule(name, Action.ALLOW if number % 3 else Action.TRAP) for number, name in enumerate(names)]
    start = Policy(syscalls=(*(rule for rule in rules if rule.name not in NEEDED), *policy().syscalls))
    made, _ = policy_file(start, arches=[arch])
    (one,) = made.filters
    assert (one.arch, one.flags) == (arch, None)
    # Added where there is one: every signal handler ends with it.
    answers = {"sigreturn": Action.ALLOW, **{rule.name: rule.action for rule in start.syscalls}}
    refused = 0
    for number in [*range(600), 0xFFFFFFFF]:
        action = answers.get(syscalls.name_of(arch, number) or "", Action.DENY)
        value = {Action.ALLOW: bpf.RET_ALLOW, Action.TRAP: bpf.RET_TRAP, Action.DENY: bpf.RET_ERRNO | 1}[action]
        assert simulate(one.program, call(arch, number)).value == value, number
        allowed = action is Action.ALLOW
        assert simulate(one.permissive, call(arch, number)).value == (value if allowed else VIOLATION), number
        refused += not allowed
    assert 100 < refused < 500
    foreign = Arch.PPC64LE if arch is not Arch.PPC64LE else Arch.X86_64
    assert simulate(one.program, call(foreign, 1)).value == bpf.RET_KILL_PROCESS


def test_filters_for_several_architectures():
    made, findings = policy_file(nginx(), arches=[Arch.X86_64, Arch.AARCH64, Arch.RISCV64, Arch.AARCH64])
    assert [one.arch for one in made.filters] == [Arch.X86_64, Arch.AARCH64, Arch.RISCV64]
    assert [len(one.program) > 10 for one in made.filters] == [True] * 3
    left = [finding.message for finding in findings if finding.code == "calls-left-out"]
    assert [message.split()[0] for message in left] == ["aarch64", "riscv64"]
    alone, _ = policy_file(nginx(), arches=[Arch.AARCH64])
    assert alone.filters == made.filters[1:2]
    assert (alone.ruleset, alone.identity) == (made.ruleset, made.identity)


def test_the_policy_decides_where_no_architecture_is_chosen():
    start = policy("read", arch=Arch.AARCH64, architectures=(Arch.AARCH64, Arch.ARM))
    made, _ = policy_file(start)
    assert [one.arch for one in made.filters] == [Arch.AARCH64]
    assert simulate(made.filters[0].program, call(Arch.ARM, 3)).value == bpf.RET_ALLOW
    made, _ = policy_file(policy("read", arch=Arch.AARCH64, architectures=(Arch.AARCH64,)))
    assert simulate(made.filters[0].program, call(Arch.ARM, 3)).value == bpf.RET_KILL_PROCESS


def test_what_every_program_needs_is_added_on_each_architecture():
    start = Policy(
        syscalls=(SyscallRule("read", Action.ALLOW),), settings=Settings(architectures=(Arch.X86_64, Arch.X86))
    )
    made, findings = policy_file(start, arches=[Arch.X86_64, Arch.RISCV64])
    assert codes(findings) == ["needed-added", "needed-added", "architecture-left-out"]
    assert findings[0].message.startswith("for x86_64: ") and ", sigreturn," in findings[0].message
    assert findings[1].message.startswith("for riscv64: ") and ", sigreturn," not in findings[1].message
    # Said once where it is so on all.
    _, findings = policy_file(Policy(syscalls=start.syscalls), arches=[Arch.X86_64, Arch.RISCV64])
    assert codes(findings) == ["needed-added"] and not findings[0].message.startswith("for ")
    for one in made.filters:
        for name in ("execve", "exit_group", "rt_sigreturn"):
            number = syscalls.number_of(one.arch, name)
            assert simulate(one.program, call(one.arch, number)).value == bpf.RET_ALLOW, (one.arch, name)
        assert simulate(one.program, call(one.arch, syscalls.number_of(one.arch, "socket"))).value == bpf.RET_ERRNO | 1


def test_everything_that_is_wrong_is_told_at_once():
    start = Policy(
        syscalls=(
            SyscallRule("read", Action.ALLOW),
            SyscallRule("execve", Action.DENY),
            SyscallRule("exit_group", Action.KILL),
        ),
        filesystem=(PathRule("relative", ("read_file",)),),
        capabilities=("CAP_CHOWN", "CAP_CHWON"),
    )
    with pytest.raises(BadInput) as caught:
        policy_file(start)
    assert [problem.place for problem in caught.value.problems] == [
        ".syscalls",
        ".syscalls",
        ".filesystem.rules[0].path",
        ".capabilities[1]",
    ]


def test_problems_of_other_architectures_have_their_names():
    text = (
        b"{version: '1.0', syscalls: [{name: mmap, action: deny, constraints: "
        b"[{arg: '3', type: flags, allowed: [MAP_32BIT]}]}, {name: read, action: allow}]}"
    )
    start = parse(text)
    assert [one.arch for one in policy_file(start)[0].filters] == [Arch.X86_64]
    with pytest.raises(BadInput) as caught:
        policy_file(start, arches=[Arch.X86_64, Arch.AARCH64, Arch.S390X])
    assert [(problem.place, problem.message.split(":")[0]) for problem in caught.value.problems] == [
        (".syscalls[0].constraints[0]", "for s390x"),
        (".syscalls[0].constraints[0].allowed[0]", "for aarch64"),
    ]


def test_x32_has_no_kernel_and_rules_of_engines_no_filter():
    with pytest.raises(BadInput, match="no kernel has x32 as its own"):
        policy_file(policy("read"), arches=[Arch.X32])
    depends = SyscallRule("mount", Action.ALLOW, includes=Applies(capabilities=("CAP_SYS_ADMIN",)))
    with pytest.raises(BadInput, match="depend on the container"):
        policy_file(Policy(syscalls=(*policy().syscalls, depends)))


@pytest.mark.parametrize(
    ("flags", "log", "expected", "told"),
    [
        (None, False, None, []),
        (None, True, 2, []),
        ((), False, 0, []),
        ((FilterFlag.TSYNC,), False, 1, []),
        ((FilterFlag.SPEC_ALLOW, FilterFlag.TSYNC), True, 7, []),
        ((FilterFlag.WAIT_KILLABLE_RECV,), False, 0, ["flag-left-out"]),
    ],
)
def test_flags(flags, log, expected, told):
    made, findings = policy_file(policy("read", flags=flags, log_denials=log))
    assert (made.filters[0].flags, codes(findings)) == (expected, told)


def test_a_listener_may_be_waited_for():
    asked = SyscallRule("mount", Action.NOTIFY)
    start = Policy(syscalls=(*policy().syscalls, asked), settings=Settings(flags=(FilterFlag.WAIT_KILLABLE_RECV,)))
    made, findings = policy_file(start)
    assert (made.filters[0].flags, findings) == (32, [])


def test_no_filter_where_every_call_passes():
    changes = {"default_action": Action.ALLOW, "bad_arch_action": Action.ALLOW}
    start = Policy(settings=Settings(**changes), filesystem=())
    made, findings = policy_file(start, arches=[Arch.X86_64, Arch.AARCH64])
    assert made.filters == ()
    assert codes(findings) == ["no-filter", "no-filter"]
    assert made.ruleset is not None
    # The twins: something is refused, or logged.
    for rule in (SyscallRule("mount", Action.DENY), SyscallRule("mount", Action.LOG)):
        made, findings = policy_file(Policy(settings=Settings(**changes), filesystem=(), syscalls=(rule,)))
        assert (len(made.filters), findings) == (1, [])
    for key in changes:
        other = Settings(**{**changes, key: Action.LOG})
        assert len(policy_file(Policy(settings=other, filesystem=()))[0].filters) == 1


def test_a_policy_without_layers_has_a_filter_only():
    made, findings = policy_file(policy("read"), policy_digest="ab" * 32)
    assert (made.ruleset, made.identity, made.transitions, findings) == (None, Identity(), (), [])
    assert made.metadata == Metadata(policy_digest="ab" * 32, compiler=__version__)


def test_metadata_is_the_policys():
    made, _ = policy_file(nginx())
    given_metadata = nginx().metadata
    assert made.metadata.name == given_metadata.name
    assert made.metadata.generated_at == (given_metadata.generated_at or "")
    assert made.metadata.target_executable == (given_metadata.target_executable or "")


def test_identity():
    assert identity(Policy()) == Identity()
    assert identity(Policy(capabilities=())) == Identity(capabilities=0)
    start = Policy(settings=Settings(run_as=RunAs(uid=0, gid=33)), capabilities=("CAP_CHOWN", "CAP_BPF"))
    assert identity(start) == Identity(0, 33, 1 | 1 << 39)
    assert identity(Policy(settings=Settings(run_as=RunAs(uid=7)))) == Identity(7, None, None)


def test_capabilities_are_those_of_the_header():
    header = Path("/usr/include/linux/capability.h").read_text()
    words = [line.split() for line in header.splitlines() if line.startswith("#define CAP_")]
    numbers = {word[1]: int(word[2]) for word in words if len(word) >= 3 and word[2].isdigit()}
    assert {name: 1 << number for name, number in numbers.items()} == dict(CAPABILITY_BITS)
    assert {f"CAP_{name}" for name in CAPABILITIES} == set(CAPABILITY_BITS)
    assert ALL_CAPABILITIES == (1 << 41) - 1
    assert capability_names(1 | 1 << 21 | 1 << 50) == ("CAP_CHOWN", "CAP_SYS_ADMIN")


def test_transitions_are_numbers_of_each_abi():
    given_transitions = (
        Transition("start", ("read", "execve")),
        Transition("read", ("mmap2", "close")),
        Transition("signal", ("rt_sigreturn",)),
    )
    start = Policy(settings=Settings(architectures=(Arch.X86_64, Arch.X86, Arch.X32)), transitions=given_transitions)
    assert transitions(start) == (
        Transitions(Arch.X86_64, ((0, 3), (SIGNAL, 15), (START, 0), (START, 59))),
        Transitions(Arch.X86, ((3, 6), (3, 192), (SIGNAL, 173), (START, 3), (START, 11))),
        # Without x32's bit; it has an rt_sigreturn and an execve of its own.
        Transitions(Arch.X32, ((0, 3), (SIGNAL, 513), (START, 0), (START, 520))),
    )


def test_no_transitions_and_none_listed():
    assert transitions(Policy()) == ()
    assert transitions(Policy(transitions=())) == (Transitions(Arch.X86_64, ()),)


def test_groups_in_transitions_are_all_their_calls():
    made = transitions(Policy(transitions=(Transition("@sync", ("@timer",)),)))
    known = syscalls.numbers("x86_64")

    def numbers(name):
        return {known[member.name] for member in groups.expand(name) if member.name in known}

    assert set(made[0].edges) == {(before, after) for before in numbers("@sync") for after in numbers("@timer")}
    assert len(made[0].edges) > 20


def test_calls_beyond_16_bits_are_held():
    start = Policy(
        settings=Settings(arch=Arch.ARM, architectures=(Arch.ARM,)),
        transitions=(Transition("read", ("set_tls", "close")), Transition("cacheflush", ("read",))),
    )
    # ARM's own calls: arch/arm/include/uapi/asm/unistd.h.
    assert transitions(start) == (Transitions(Arch.ARM, ((3, 6), (3, 0xF0005), (0xF0002, 3))),)


def test_transitions_of_several_architectures():
    start = Policy(
        syscalls=policy("open", "read").syscalls,
        transitions=(Transition("start", ("open", "read")),),
        settings=Settings(architectures=(Arch.X86_64, Arch.X86)),
    )
    made, _ = policy_file(start, arches=[Arch.X86_64, Arch.AARCH64])
    assert {one.arch: one.edges for one in made.transitions} == {
        Arch.X86_64: ((START, 0), (START, 2)),
        Arch.X86: ((START, 3), (START, 5)),
        Arch.AARCH64: ((START, 63),),
        Arch.ARM: ((START, 3), (START, 5)),
    }


def test_an_abi_of_two_kernels_has_its_transitions_once(monkeypatch):
    start = Policy(
        syscalls=policy("open", "read").syscalls,
        transitions=(Transition("start", ("open", "read", "socketcall")), Transition("@timer", ("@sync",))),
        settings=Settings(architectures=(Arch.X86_64, Arch.X86)),
    )
    both, _ = policy_file(start, arches=[Arch.X86, Arch.X86_64])
    one, _ = policy_file(start)
    assert [each.arch for each in both.filters] == [Arch.X86, Arch.X86_64]
    assert sorted(one.transitions, key=repr) == sorted(both.transitions, key=repr)
    assert {each.arch for each in both.transitions} == {Arch.X86, Arch.X86_64}
    assert read(write(both)) == canonical(both)

    def others(there):
        known = transitions(there)
        return known if there.settings.arch is Arch.X86 else tuple(replace(each, edges=()) for each in known)

    monkeypatch.setattr("scmm_oci.compiled.policy_file.transitions", others)
    with pytest.raises(BadInput) as caught:
        policy_file(start, arches=[Arch.X86, Arch.X86_64])
    assert [str(problem) for problem in caught.value.problems] == [
        ".transitions: the transitions of x86 are others on kernels of x86_64 than on those of another architecture"
        " (compile for one architecture at a time)"
    ]
    assert policy_file(start)[0].transitions[1].edges == ()


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(policies())
def test_any_policy_is_compiled_to_what_a_file_holds_or_refused(any_policy):
    rules = tuple(rule for rule in any_policy.syscalls if not (rule.includes or rule.excludes))
    start = Policy(
        any_policy.metadata,
        any_policy.settings,
        rules,
        any_policy.capabilities,
        any_policy.filesystem,
        any_policy.network,
        any_policy.scopes,
        any_policy.transitions,
    )
    try:
        made, _ = policy_file(start)
    except BadInput:
        return
    assert read(write(made)) == canonical(made)
    for one in made.filters:
        assert bpf.problems(one.program) == bpf.problems(one.permissive) == []
        answers = Answers(start, Arch.X86_64)
        for name in {rule.name for rule in rules if not rule.is_group} - {*NEEDED, "sigreturn"}:
            number = syscalls.number_of(Arch.X86_64, name)
            args = (0, 1, 2, 3, 4, 5)
            expected = returned(answers.of(name, dict(enumerate(args))))
            assert simulate(one.program, call(Arch.X86_64, number, *args)).value == expected, name


PROGRAM = """
import sys
from pathlib import Path
from scmm_oci.compiled.polfile import write
from scmm_oci.compiled.policy_file import policy_file
from scmm_oci.policy.document import parse
from scmm_oci.tables.arch import Arch
for name in ("nginx", "seed-example"):
    policy = parse((Path(sys.argv[1]) / f"{name}.scmm.yaml").read_bytes())
    sys.stdout.buffer.write(write(policy_file(policy, arches=[Arch.X86_64])[0]))
"""


def test_the_same_policy_gives_the_same_bytes_whatever_the_hash_seed():
    digests = set()
    for seed, locale, zone in (("0", "C", "UTC"), ("1", "C.UTF-8", "Asia/Tokyo"), ("77", "POSIX", "EST5EDT")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": locale, "TZ": zone}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(GOLDEN)], env=environment, capture_output=True, check=True, timeout=60
        )
        assert len(done.stdout) > 1000
        digests.add(sha256(done.stdout).hexdigest())
    assert len(digests) == 1
