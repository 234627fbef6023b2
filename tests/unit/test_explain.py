"""What becomes of a call, and by which rule: compared with what policies answer, with controls that are wrong."""

import json
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from policy_samples import policies

from scmm_oci.compiled import bpf, explain
from scmm_oci.compiled.bpf import Instruction
from scmm_oci.compiled.deciders import Source
from scmm_oci.compiled.explain import of_a_filter, of_a_policy, of_a_profile
from scmm_oci.compiled.filter import build, of_policy, returned
from scmm_oci.compiled.question import number, question
from scmm_oci.compiled.rule_words import came_from, constraint, decided, described, verdict
from scmm_oci.errors import BadInput, Failure
from scmm_oci.oci import seccomp
from scmm_oci.policy import document, model
from scmm_oci.policy.answers import Answer, Answers, applying
from scmm_oci.tables.arch import Arch

POLICY = """\
version: "1.0"
settings: {architectures: [x86_64, x86], default_errno: EACCES}
syscalls:
  - {names: [read, write], action: allow, origin: {count: 45, programs: [/usr/sbin/nginx]}}
  - name: socket
    action: allow
    constraints:
      - {arg: "0", type: integer, allowed: [AF_INET, AF_UNIX]}
  - name: socket
    action: kill
    constraints: [{arg: "1", type: flags, denied: [SOCK_RAW]}]
  - {name: "@file-io", action: allow, comment: files}
  - {name: bind, action: deny, errno: ENOSYS}
"""


def policy(text=POLICY):
    return document.parse(text.encode())


def asked(word, *args, arch=Arch.X86_64):
    return question(word, args, arch)


def explained(word, *args, arch=Arch.X86_64, text=POLICY):
    return of_a_policy(policy(text), asked(word, *args, arch=arch)).outcomes


def one(*words, **changes):
    (outcome,) = explained(*words, **changes)
    return outcome


def test_rules_defaults_and_what_was_added():
    read = one("read")
    assert (read.value, read.decider.source, read.decider.index) == (bpf.RET_ALLOW, Source.RULE, 0)
    assert one("write").decider.index == 1  # each name of an item is a rule
    getpid = one("getpid")
    assert (getpid.value, getpid.decider.source) == (bpf.RET_ERRNO | 13, Source.DEFAULT)
    execve = one("execve")
    assert (execve.value, execve.decider.source, execve.decider.index) == (bpf.RET_ALLOW, Source.NEEDED, None)
    assert one("bind").value == bpf.RET_ERRNO | 38


def test_the_rule_of_a_group_is_told():
    outcome = one("openat")
    assert outcome.decider.index == 4 and outcome.decider.rule.name == "@file-io"
    assert came_from(outcome.decider) == "the group @file-io; “files”"
    # Control: a name's own rule stands before its group's.
    text = POLICY + "  - {name: openat, action: log}\n"
    assert one("openat", text=text).decider.index == 6 and one("openat", text=text).value == bpf.RET_LOG


def test_known_arguments_lead_to_one_outcome_and_unknown_ones_to_all():
    assert one("socket", "AF_INET", "SOCK_STREAM").value == bpf.RET_KILL_PROCESS  # refusals win
    assert one("socket", "AF_INET", "SOCK_RAW").decider.index == 2
    assert one("socket", "AF_INET", "SOCK_RAW").value == bpf.RET_ALLOW
    assert one("socket", "AF_ALG", "SOCK_RAW").decider.source is Source.DEFAULT
    every = explained("socket")
    assert {outcome.value for outcome in every} == {bpf.RET_ALLOW, bpf.RET_ERRNO | 13, bpf.RET_KILL_PROCESS}
    for outcome in every:
        again = of_a_policy(policy(), asked("socket", *map(str, outcome.args))).outcomes
        assert [(each.value, each.decider) for each in again] == [(outcome.value, outcome.decider)]
    assert {outcome.value for outcome in explained("socket", "-", "SOCK_RAW")} == {bpf.RET_ALLOW, bpf.RET_ERRNO | 13}
    assert explained("socket", "-", "SOCK_RAW")[0].looks


def test_what_the_kernel_remembers_costs_nothing():
    assert of_a_policy(policy(), asked("read")).cached
    # Refused calls and those with arguments run the filter each time, and so do numbers of x32.
    assert not of_a_policy(policy(), asked("getpid")).cached and not of_a_policy(policy(), asked("socket")).cached
    both = POLICY.replace("[x86_64, x86]", "[x86_64, x86, x32]")
    assert not of_a_policy(policy(both), asked("read", arch=Arch.X32)).cached
    assert one("read").least == one("read").most > 2


def test_other_abis():
    assert one("read", arch=Arch.X86).decider.index == 0
    foreign = one("read", arch=Arch.X32)
    assert (foreign.value, foreign.decider.source) == (bpf.RET_KILL_PROCESS, Source.BAD_ARCH)
    assert one("read", arch=Arch.AARCH64).decider.source is Source.BAD_ARCH
    # Nobody's number gets what other numbers get that are not known.
    nobody = one("-1")
    assert (nobody.value, nobody.decider.source) == (bpf.RET_ERRNO | 13, Source.DEFAULT)
    errno = POLICY.replace("default_errno: EACCES", "default_errno: EACCES, bad_arch_action: deny")
    assert one("read", arch=Arch.X32, text=errno).value == bpf.RET_ERRNO | 13


def test_calls_through_a_multiplexer():
    bind = one("socketcall", "2", arch=Arch.X86)
    assert (bind.value, bind.decider.index, bind.decider.through) == (bpf.RET_ERRNO | 38, 5, "socketcall")
    assert decided(bind.decider) == "bind: deny ENOSYS (through socketcall, whatever its arguments)"
    assert one("socketcall", "3", arch=Arch.X86).decider.source is Source.DEFAULT


def test_a_wrong_filter_is_a_failure(monkeypatch):
    monkeypatch.setattr(explain, "build", lambda plan: (Instruction(bpf.RET, bpf.RET_ALLOW),))
    with pytest.raises(Failure, match=r"answers bind\(.*\) with ALLOW, its rules say ERRNO\(38 ENOSYS\)"):
        explained("bind")
    assert one("read").value == bpf.RET_ALLOW  # where it happens to be right


def test_rules_of_the_policy_as_it_was_written():
    text = POLICY + "  - {name: mount, action: allow, includes: {capabilities: [CAP_SYS_ADMIN]}}\n"
    given = policy(text)
    here = replace(given, syscalls=tuple(replace(rule, includes=None) for rule in given.syscalls))
    (outcome,) = of_a_policy(here, asked("mount"), given=given).outcomes
    assert outcome.decider.index == 6 and outcome.decider.rule is given.syscalls[6]


@settings(max_examples=80, deadline=None)
@given(policies(), st.data())
def test_every_answer_is_the_policys(policy, data):
    policy = replace(policy, syscalls=applying(policy.syscalls))
    name = data.draw(st.sampled_from(sorted({rule.name for rule in policy.syscalls if not rule.is_group} | {"read"})))
    args = data.draw(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 40), min_size=6, max_size=6))
    try:
        (outcome,) = of_a_policy(policy, asked(name, *map(str, args))).outcomes
        every = of_a_policy(policy, asked(name)).outcomes
    except BadInput:
        assume(False)
    answer = Answers(explain.needed.completed(policy)[0], Arch.X86_64).of(name, dict(enumerate(args)))
    assert outcome.value == returned(answer)
    rule = outcome.decider.rule
    assert Answer.of(rule, policy.settings) == answer
    assert (outcome.value, outcome.decider) in [(each.value, each.decider) for each in every]
    if outcome.decider.index is not None:
        assert policy.syscalls[outcome.decider.index] == rule


PROFILE = b"""{
 "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "architectures": ["SCMP_ARCH_X86_64"],
 "syscalls": [
  {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
  {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]},
  {"names": ["socket"], "action": "SCMP_ACT_LOG",
   "args": [{"index": 0, "value": 255, "valueTwo": 16, "op": "SCMP_CMP_MASKED_EQ"}]},
  {"names": ["lseek"], "action": "SCMP_ACT_KILL", "args": [{"index": 1, "value": 7, "op": "SCMP_CMP_GE"}]}
 ]}"""


@pytest.mark.parametrize(
    ("words", "value", "index"),
    [
        (["write"], bpf.RET_ALLOW, 0),
        (["socket", "AF_INET"], bpf.RET_ALLOW, 1),
        (["socket", "AF_NETLINK"], bpf.RET_LOG, 2),
        (["socket", "0x110"], bpf.RET_LOG, 2),
        (["socket", "AF_UNIX"], bpf.RET_ERRNO | 38, None),
        (["lseek", "0", "7"], bpf.RET_KILL_THREAD, 3),
        (["lseek", "0", "6"], bpf.RET_ERRNO | 38, None),
        (["getpid"], bpf.RET_ERRNO | 38, None),
    ],
)
def test_profiles(words, value, index):
    (outcome,) = of_a_profile(seccomp.parse(PROFILE), asked(*words)).outcomes
    assert (outcome.value, outcome.decider.index) == (value, index)


def test_profiles_of_other_abis_and_in_words():
    profile = seccomp.parse(PROFILE)
    (foreign,) = of_a_profile(profile, asked("read", arch=Arch.X86)).outcomes
    assert (foreign.value, foreign.decider.source) == (bpf.RET_KILL_THREAD, Source.BAD_ARCH)
    assert described(profile.syscalls[2]) == "socket: SCMP_ACT_LOG if argument 0 & 0xff = 0x10"
    assert described(profile.syscalls[3]) == "lseek: SCMP_ACT_KILL if argument 1 ≥ 0x7"


@pytest.mark.parametrize(
    ("number", "value", "index"), [(2, bpf.RET_ALLOW, 0), (3, bpf.RET_LOG, 1), (1, 1, None), (5, 1, None)]
)
def test_calls_through_a_multiplexer_of_a_profile(number, value, index):
    """Rules without conditions hold there; `socket` has some, which no filter sees through socketcall."""
    document = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [
            {"names": ["read", "bind"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["connect"], "action": "SCMP_ACT_LOG"},
            {
                "names": ["socket"],
                "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}],
            },
        ],
    }
    profile = seccomp.parse(json.dumps(document).encode())
    (outcome,) = of_a_profile(profile, asked("socketcall", str(number), arch=Arch.X86)).outcomes
    assert outcome.decider.index == index
    assert outcome.value == (bpf.RET_ERRNO | value if index is None else value)


def test_a_compiled_filter_has_a_verdict_only():
    program = build(of_policy(policy()))
    found = of_a_filter(program, asked("socket", "AF_INET", "SOCK_RAW"))
    assert [(each.value, each.decider.source) for each in found.outcomes] == [(bpf.RET_ALLOW, Source.COMPILED)]


# Questions


@pytest.mark.parametrize(
    ("text", "bits", "value"),
    [
        ("10", 64, 10),
        ("0x1F", 64, 31),
        ("017", 64, 15),
        ("0o17", 64, 15),
        ("0", 64, 0),
        ("-0", 64, 0),
        ("-1", 64, 2**64 - 1),
        ("-100", 32, 2**32 - 100),
        (str(2**64), 64, None),
        (str(2**32), 32, None),
        ("-2147483649", 32, None),
        ("08", 64, None),
        ("1_0", 64, None),
        ("٣", 64, None),
        ("", 64, None),
        ("x", 64, None),
    ],
)
def test_numbers_of_c(text, bits, value):
    assert number(text, bits) == value


def test_words_and_numbers_of_a_call():
    assert asked("openat", "-100", "-", "O_RDWR|O_CLOEXEC", "0644").args == (2**64 - 100, None, 0o2000002, 0o644)
    assert asked("socket", "-1").args == (2**32 - 1,)  # an int
    assert asked("mmap", "-", "-", "PROT_READ|PROT_EXEC").args[2] == 5
    assert asked("setsockopt", "3", "SOL_SOCKET", "SO_REUSEADDR").args == (3, 1, 2)
    assert (asked("0x40000000").arch, asked("0x40000000").name) == (Arch.X32, "read")
    assert (asked("read", arch=Arch.X32).nr, asked("0", arch=Arch.X32).nr) == (0x40000000, 0x40000000)
    assert (asked("-1").nr, asked("-1").name, asked("-1").arch) == (0xFFFFFFFF, None, Arch.X86_64)
    assert asked("999").name is None
    # Nothing stands above registers of 32 bits.
    assert asked("read", arch=Arch.X86).known[3] == (0, 0xFFFFFFFF00000000)
    assert 3 not in asked("read").known


def test_everything_that_is_wrong_is_told_at_once():
    with pytest.raises(BadInput) as caught:
        asked("sockt", "AF_FOO", "-", "1", "2", "3", "4", "5")
    assert [(one.place, one.message) for one in caught.value.problems] == [
        ("NAME", "'sockt' is not a system call of x86_64"),
        ("ARGS", "7 arguments were given; a call has 6 at most"),
        ("argument 0", "'AF_FOO' is not a value of argument 0 of that call, nor a number"),
    ]
    with pytest.raises(BadInput, match=r"argument 0: 'AF_INETT' is not a value.*did you mean 'AF_INET'"):
        asked("socket", "AF_INETT")
    with pytest.raises(BadInput, match="more than the 32 bits of a register of x86"):
        asked("lseek", "0x100000000", arch=Arch.X86)
    with pytest.raises(BadInput, match=r"'open' is not a system call of aarch64 .*--arch x86_64 or x86"):
        asked("open", arch=Arch.AARCH64)


# Words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (bpf.RET_ALLOW, "is allowed"),
        (bpf.RET_LOG, "is allowed, and logged"),
        (bpf.RET_TRACE | 7, "asks a tracer (message 7); without one it answers ENOSYS"),
        (bpf.RET_USER_NOTIF, "asks a supervisor; without one it answers ENOSYS"),
        (bpf.RET_ERRNO | 13, "is not made, and answers EACCES"),
        (bpf.RET_ERRNO | 4000, "is not made, and answers error 4000"),
        (bpf.RET_ERRNO, "is not made, and answers success"),
        (bpf.RET_TRAP, "is not made, and the thread gets SIGSYS"),
        (bpf.RET_KILL_THREAD, "ends the thread"),
        (bpf.RET_KILL_PROCESS, "ends the process"),
    ],
)
def test_verdicts(value, text):
    assert verdict(value) == text


def test_rules_in_words():
    flags, integer = model.ArgType.FLAGS, model.ArgType.INTEGER
    assert constraint(model.Constraint(2, flags, allowed=("PROT_READ", "PROT_EXEC"))) == (
        "argument 2 has only PROT_READ, PROT_EXEC"
    )
    assert constraint(model.Constraint(2, flags, denied=("PROT_EXEC",))) == "argument 2 has none of PROT_EXEC"
    assert constraint(model.Constraint(0, integer, (model.Match("7"),), ("AF_INET",), ("1",))) == (
        "argument 0 is AF_INET or 7 and is not 1"
    )
    assert constraint(model.Constraint(1, integer, op=model.Operator.LE, value=5)) == "argument 1 ≤ 5"
    masked = model.Constraint(1, integer, op=model.Operator.MASKED_EQ, value=5, mask=7)
    assert constraint(masked) == "argument 1 & 7 = 5"
    rule = model.SyscallRule("kill", model.Action.TRACE, message=9)
    assert described(rule) == "kill: trace 9"
    assert came_from(one("write").decider) == "seen 45× in app of main by /usr/sbin/nginx"
    assert decided(one("execve").decider) == "added: execve: allow"
