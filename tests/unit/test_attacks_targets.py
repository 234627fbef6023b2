"""Policies that targets would have widened in silence: each with what is held, or told, and its twin."""

from __future__ import annotations

import json
from random import Random

import pytest

from scmm_oci.cli.options import check_outputs
from scmm_oci.compiled import bpf, multiplexed
from scmm_oci.compiled.bpf import Call
from scmm_oci.compiled.crun import annotation
from scmm_oci.compiled.explain import of_a_policy
from scmm_oci.compiled.filter import build, of_policy, of_profile, returned
from scmm_oci.compiled.limits import CANNOT_HOLD, listener
from scmm_oci.compiled.profiles import oci_profile
from scmm_oci.compiled.question import question
from scmm_oci.compiled.retarget import retarget
from scmm_oci.compiled.rich_profile import to_rich
from scmm_oci.compiled.simulate import simulate
from scmm_oci.compiled.systemd import drop_in
from scmm_oci.errors import BadInput, Finding
from scmm_oci.policy import document
from scmm_oci.policy.answers import Answers
from scmm_oci.policy.model import Policy
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.floor import floor

FLOOR = floor("runc", None, False)


def policy(rules: str, settings: str = "", *, more: str = "") -> Policy:
    text = f'version: "1.0"\nsettings: {{{settings}}}\n{more}syscalls:\n{rules}'
    return document.parse(text.encode(), source="test")


def of_code(findings: tuple[Finding, ...] | list[Finding], code: str) -> list[str]:
    return [one.message for one in findings if one.code == code]


def family(action: str, word: str) -> str:
    constraint = f'{{arg: "0", type: integer, allowed: ["{word}"]}}'
    return f"  - {{name: socket, action: {action}, constraints: [{constraint}]}}\n"


@pytest.mark.parametrize("default", ["allow", "deny"])
def test_groups_hold_for_calls_of_the_abi_beside(default):
    """clock_settime64, setuid32 and mmap2 are x86's only; a group has them there in every target."""
    action = "deny" if default == "allow" else "allow"
    given = policy(
        f'  - {{name: "@clock", action: {action}}}\n  - {{name: "@setuid", action: {action}}}\n',
        f"default_action: {default}, architectures: [x86_64, x86]",
    )
    plan = of_profile(oci_profile(given, FLOOR).profile)
    program, reference = build(plan), Answers(given, Arch.X86)
    named = {name for rule in json.loads(to_rich(given, floor=FLOOR).json)["syscalls"] for name in rule["names"]}
    unit = drop_in(given).text.decode()
    for name in ("clock_settime64", "setuid32", "setresgid32"):
        number = syscalls.number_of(Arch.X86, name)
        assert number is not None
        answer = simulate(program, Call(number, Arch.X86.audit)).value
        assert answer == returned(reference.of(name, {}))
        assert answer == simulate(build(of_policy(given)), Call(number, Arch.X86.audit)).value
        assert name in named
        assert f" {name}" in unit or f"={name}" in unit or f"~{name}" in unit, unit
    # Twin: of another ABI nothing is said.
    alone = policy(f'  - {{name: "@clock", action: {action}}}\n', f"default_action: {default}")
    assert "clock_settime64" not in {name for rule in oci_profile(alone, FLOOR).profile.syscalls for name in rule.names}


def test_constraints_on_calls_that_one_abi_has_are_those_of_that_abi():
    constraint = '{arg: "2", type: integer, allowed: ["1"]}'
    rules = f"  - {{name: fcntl64, action: deny, constraints: [{constraint}]}}\n"
    given = policy(rules, "default_action: allow, architectures: [x86_64, x86]")
    rule = next(one for one in oci_profile(given, FLOOR).profile.syscalls if one.names == ("fcntl64",))
    alone = policy(rules, "default_action: allow, arch: x86")
    assert rule in oci_profile(alone, FLOOR).profile.syscalls


def test_conditions_do_not_hold_through_a_multiplexer():
    """libseccomp drops the condition on socket's family where socketcall makes the call."""
    both = "architectures: [x86_64, x86]"
    given = policy(family("allow", "AF_UNIX"), both)
    for findings in (oci_profile(given, FLOOR).findings, to_rich(given, floor=FLOOR).findings):
        (message,) = of_code(findings, "arguments-not-held")
        assert "socketcall of x86" in message and "socket," in message
    # Twins: where the ABI has none; where a rule of its own goes before; without constraints.
    for other in (
        policy(family("allow", "AF_UNIX")),
        policy(family("allow", "AF_UNIX") + "  - {name: socketcall, action: kill}\n", both),
        policy("  - {name: socket, action: allow}\n", both),
    ):
        assert not of_code(oci_profile(other, FLOOR).findings, "arguments-not-held")


def test_a_multiplexer_that_is_refused_by_default_is_opened_by_its_calls():
    both = "architectures: [x86_64, x86]"
    given = policy("  - {name: socket, action: allow}\n  - {name: socketcall, action: deny}\n", both)
    compiled = oci_profile(given, FLOOR)
    assert of_code(compiled.findings, "arguments-not-held")
    assert of_code(drop_in(given).findings, "arguments-not-held")
    # It is so: the filter of the profile lets it pass, the policy does not.
    call = Call(102, Arch.X86.audit, args=(1, 0, 0, 0, 0, 0))
    _, program = annotation(compiled.profile)
    assert simulate(program, call).value != simulate(build(of_policy(given)), call).value
    assert not multiplexed.not_held(
        policy("  - {name: socket, action: allow}\n  - {name: socketcall, action: trap}\n", both), conditions=True
    )


def test_what_runtimes_do_with_other_abis_is_told():
    rules = "  - {name: read, action: allow}\n"
    for action, told in (("allow", True), ("log", True), ("deny", True), ("kill", False), ("kill_thread", False)):
        given = policy(rules, f"bad_arch_action: {action}")
        for findings in (oci_profile(given, FLOOR).findings, to_rich(given, floor=FLOOR).findings):
            assert bool(of_code(findings, "bad-arch-not-held")) is told, action


def test_no_capabilities_is_a_word_that_profiles_do_not_hold():
    rules = "  - {name: read, action: allow}\n"
    (message,) = of_code(oci_profile(policy(rules, more="capabilities: []\n"), FLOOR).findings, "not-in-profile")
    assert "capabilities" in message
    assert not of_code(oci_profile(policy(rules), FLOOR).findings, "not-in-profile")


def test_a_listener_that_a_filter_cannot_name_is_told():
    rules = "  - {name: mount, action: notify}\n"
    (finding,) = listener(policy(rules, "listener: {path: /run/scmm.sock}"))
    assert finding.code in CANNOT_HOLD and "/run/scmm.sock" in finding.message
    assert listener(policy(rules)) == []


def test_a_family_without_a_name_does_not_open_all_families():
    """An empty RestrictAddressFamilies= is no restriction at all."""
    made = drop_in(policy(family("allow", "100")))
    assert "RestrictAddressFamilies" not in made.text.decode()
    assert of_code(made.findings, "arguments-not-held")
    beside = drop_in(policy(family("allow", "100") + family("allow", "AF_UNIX")))
    assert "RestrictAddressFamilies" not in beside.text.decode()
    assert of_code(beside.findings, "arguments-not-held")
    named = drop_in(policy(family("allow", "1")))
    assert "RestrictAddressFamilies=AF_UNIX\n" in named.text.decode()
    assert not of_code(named.findings, "arguments-not-held")


def test_families_that_are_logged_or_killed_are_told():
    mixed = drop_in(policy(family("allow", "AF_UNIX") + family("log", "AF_INET")))
    assert of_code(mixed.findings, "arguments-not-held")
    killed = drop_in(policy(family("allow", "AF_UNIX"), "default_action: kill"))
    assert of_code(killed.findings, "action-not-held")
    assert not of_code(drop_in(policy(family("allow", "AF_UNIX"))).findings, "action-not-held")


def test_only_calls_that_are_too_long_are_blamed():
    """A filter that has no room left has none for the calls behind either; these are not told."""
    random = Random(5)
    rules = ""
    for number in range(60):
        bits = ", ".join(
            f'{{arg: "{arg}", type: integer, op: masked_eq, mask: "{1 << random.randrange(64)}", value: "0"}}'
            for arg in range(6)
        )
        rules += f"  - {{name: ioctl, action: {('allow', 'log')[number % 2]}, constraints: [{bits}]}}\n"
    given = policy(rules + "  - {name: write, action: allow}\n")
    with pytest.raises(BadInput, match="4096") as raised:
        build(of_policy(given))
    (problem,) = raised.value.problems
    said = f"{problem.place} {problem.hint}"
    assert "ioctl" in said and "write" not in said and "4294967295" not in said


def test_what_a_filter_holds_is_answered_and_explained():
    """Two lists of denied numbers multiply where they become blocks, and only there."""
    words = ", ".join(f'"{number}"' for number in range(3, 700, 7))
    both = ", ".join(f'{{arg: "{arg}", type: integer, denied: [{words}]}}' for arg in (1, 2))
    given = policy(f"  - {{name: ioctl, action: allow, constraints: [{both}]}}\n")
    program, reference = build(of_policy(given)), Answers(given, Arch.X86_64)
    for args in ((1, 4, 4), (1, 3, 4), (1, 4, 3), (1, 4, (1 << 32) + 3), (1, 3, 3)):
        answer = returned(reference.of("ioctl", dict(enumerate(args))))
        assert simulate(program, Call(16, Arch.X86_64.audit, args=(*args, 0, 0, 0))).value == answer
    explained = of_a_policy(given, question("ioctl", ["1", "4", "4"], Arch.X86_64))
    assert [one.value for one in explained.outcomes] == [bpf.RET_ALLOW]
    assert of_code(drop_in(given).findings, "arguments-not-held")


def test_what_an_input_links_to_is_not_overwritten(tmp_path):
    (tmp_path / "policy").write_text("")
    (tmp_path / "link").symlink_to("policy")
    with pytest.raises(BadInput, match="is an input too"):
        check_outputs([str(tmp_path / "link")], [str(tmp_path / "policy")])
    with pytest.raises(BadInput, match="is an input too"):
        check_outputs([str(tmp_path / "link")], [str(tmp_path / "link")])
    assert check_outputs([str(tmp_path / "link")], [str(tmp_path / "other")]) == [str(tmp_path / "other")]


def answered(given: Policy, arch: Arch, name: str, *args: int) -> int:
    number = syscalls.number_of(arch, name)
    assert number is not None
    value = simulate(build(of_policy(given)), Call(number, arch.audit, args=(*args, *[0] * (6 - len(args))))).value
    assert value == returned(Answers(given, arch).of(name, dict(enumerate(args))))
    return value


@pytest.mark.parametrize(
    ("name", "constraint", "args", "same"),
    [
        # mmap of x86 has the address of its arguments (old_mmap), so that the third register is anything.
        ("mmap", '{arg: "2", type: flags, allowed: [PROT_READ]}', (0, 4096, 1, 2), False),
        ("select", '{arg: "0", type: integer, op: le, value: "10"}', (5,), False),
        # Two registers there, of which this is the lower.
        ("pread64", '{arg: "3", type: integer, op: le, value: "10"}', (0, 0, 0, 5), False),
        ("pwritev", '{arg: "3", type: integer, op: le, value: "10"}', (0, 0, 0, 5), False),
        # The thread-local storage and the child's id change places.
        ("clone", '{arg: "4", type: integer, op: eq, value: "0"}', (0,), False),
        ("pread64", '{arg: "0", type: integer, op: le, value: "10"}', (5,), True),
        ("mprotect", '{arg: "2", type: flags, allowed: [PROT_READ]}', (0, 4096, 1), True),
    ],
)
def test_arguments_that_an_abi_beside_has_elsewhere_are_not_compared(name, constraint, args, same):
    """A filter that compares another register there lets a program choose what is compared."""
    rule = f"  - {{name: {name}, action: allow, constraints: [{constraint}]}}\n"
    given = policy(rule, "architectures: [x86_64, x86]")
    denied = returned(Answers(given, Arch.X86_64).of("ptrace", {}))
    assert answered(given, Arch.X86_64, name, *args) == bpf.RET_ALLOW
    assert answered(given, Arch.X86, name, *args) == (bpf.RET_ALLOW if same else denied)
    # A profile says one thing for both, so it is refused where the floor does not open the call.
    if not same and name not in FLOOR.names:
        with pytest.raises(BadInput, match="different comparisons"):
            oci_profile(given, FLOOR)
    # The other way round it is refused there whatever its arguments, and the rule that does it is named.
    listed = policy(rule.replace("allow,", "deny,"), "default_action: allow, architectures: [x86_64, x86]")
    assert answered(listed, Arch.X86, name, *args) != bpf.RET_ALLOW
    (outcome, *others) = of_a_policy(listed, question(name, [], Arch.X86)).outcomes
    assert bool(others) is same
    assert same or (outcome.decider.source, outcome.decider.index) == ("rule", 0)


def test_negative_numbers_are_those_of_the_abi():
    """-1 in a register of 32 bits has nothing above it: the rule would never hold there."""
    rule = '  - {name: kill, action: deny, constraints: [{arg: "0", type: integer, allowed: ["-1"]}]}\n'
    given = policy(rule, "default_action: allow, architectures: [x86_64, x86]")
    for arch, value in ((Arch.X86_64, (1 << 64) - 1), (Arch.X86, (1 << 32) - 1)):
        assert answered(given, arch, "kill", value) != bpf.RET_ALLOW
        assert answered(given, arch, "kill", 1) == bpf.RET_ALLOW
    moved, findings = retarget(policy(rule, "default_action: allow"), Arch.ARM)
    assert answered(moved, Arch.ARM, "kill", (1 << 32) - 1) != bpf.RET_ALLOW
    assert "calls-left-out" not in {one.code for one in findings}


def test_groups_with_a_multiplexer_do_not_open_what_a_rule_closes():
    """@network-io has socketcall, through which any socket could be made."""
    both = "architectures: [x86_64, x86]"
    group = '  - {name: "@network-io", action: allow}\n'
    given = policy(group + family("allow", "AF_UNIX"), both)
    denied = returned(Answers(given, Arch.X86_64).of("ptrace", {}))
    assert answered(given, Arch.X86, "socketcall", 1) == denied
    assert answered(given, Arch.X86, "socketcall", 3) == bpf.RET_ALLOW
    assert answered(given, Arch.X86, "socket", 1) == bpf.RET_ALLOW
    for compiled in (oci_profile(given, FLOOR), to_rich(given, floor=FLOOR)):
        assert "socketcall" not in {name for rule in compiled.profile.syscalls for name in rule.names}
        assert of_code(compiled.findings, "arguments-not-held")
    # Twins: the group alone; a rule for the multiplexer itself; a group that refuses.
    assert answered(policy(group, both), Arch.X86, "socketcall", 1) == bpf.RET_ALLOW
    own = policy(group + family("allow", "AF_UNIX") + "  - {name: socketcall, action: allow}\n", both)
    assert answered(own, Arch.X86, "socketcall", 1) == bpf.RET_ALLOW
    closed = policy(group.replace("allow", "kill") + family("deny", "AF_UNIX"), f"default_action: allow, {both}")
    assert answered(closed, Arch.X86, "socketcall", 3) != bpf.RET_ALLOW
    assert "socketcall" in {name for rule in oci_profile(closed, FLOOR).profile.syscalls for name in rule.names}
