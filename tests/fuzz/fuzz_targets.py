"""What is fuzzed: bytes go in, and nothing but BadInput may come out; what is taken has to be right.

Each target is a function of bytes and knows nothing of atheris: tests/fuzz/run.py gives them to it, and
tests/fuzz/test_corpus.py replays what was found. `rules` and `conditions` make a document that is nearly right of the
bytes, where those of `policy` and `profile` are the document. What the monitor reads is in monitor_targets.
"""

import hashlib
import json
import struct

import monitor_targets
from filter_calls import MINUS_ONE, VALUES, X32_BIT, Reference, byte_order

from scmm_oci.compiled import bpf, polfile
from scmm_oci.compiled.bpf import Call
from scmm_oci.compiled.disassemble import lines
from scmm_oci.compiled.filter import build, of_policy, of_profile, permissive
from scmm_oci.compiled.policy_file import policy_file
from scmm_oci.compiled.simulate import run, simulate
from scmm_oci.errors import BadInput
from scmm_oci.oci import resolve, rich, seccomp
from scmm_oci.policy import document
from scmm_oci.policy.container import DEFAULT_CAPABILITIES, depends, for_container
from scmm_oci.policy.model import Action
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch

_HEADER = 64
_EDGES = (0, 1, 5, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 32, 1 << 32 | 5, 1 << 63, (1 << 64) - 1)


def fuzz_polfile(data):
    """The reader of compiled policies: of the bytes, and of what they are with a right size and digest."""
    _read(data)
    if len(data) >= _HEADER:
        digest = hashlib.sha256(data[_HEADER:]).digest()
        _read(data[:16] + struct.pack("<QQ", len(data), 0) + digest + data[_HEADER:])


def _read(data):
    try:
        file = polfile.read(data)
    except BadInput as error:
        assert error.problems
        return
    assert polfile.write(file) == data


def fuzz_policy(data):
    """A policy as text → a filter, its twin, and a compiled policy."""
    policy = _filtered(data)
    if policy is None:
        return
    try:
        file, _ = policy_file(policy)
        written = polfile.write(file)
    except BadInput as error:
        assert error.problems
        return
    assert polfile.write(polfile.read(written)) == written


def _filtered(data):
    """A policy as text → its filter and the twin, which are looked at; and the policy, if it has some."""
    try:
        policy = document.parse(data)
        if depends(policy):
            policy = for_container(policy, capabilities=DEFAULT_CAPABILITIES, kernel=(6, 1))
        plan = of_policy(policy)
        program, twin = build(plan), build(permissive(plan))
    except BadInput as error:
        assert error.problems
        return None
    _sound(program)
    _sound(twin)
    try:
        reference = Reference(policy)
    except BadInput:
        reference = None  # a constraint that no filter holds, in a rule that says what holds anyway
    if reference is not None:
        for call in _calls(policy):
            assert simulate(program, call).value == reference.value(call), call
            assert simulate(twin, call).value in (bpf.RET_ALLOW, bpf.RET_LOG, bpf.RET_LOG | 1), call
    return policy


def _sound(program):
    assert bpf.problems(program) == []
    assert bpf.decode(bpf.encode(program)) == program


def _calls(policy):
    """Some calls of every ABI: those that have rules, with a few values, and some that have none."""
    for arch in policy.settings.architectures:
        order = byte_order(arch)
        wide = syscalls.ARCHES.index(arch) not in (1, 4, 7)
        values = [value for value in _EDGES if wide or value < 1 << 32]
        for name in sorted({rule.name for rule in policy.syscalls})[:40]:
            number = syscalls.number_of(arch, name)
            if number is not None:
                for index, value in enumerate(values):
                    args = (value, values[-1 - index], value, 0, value, values[index // 2])
                    yield Call(number, arch.audit, args, byte_order=order)
        for number in (0, 423, 424, 9999, X32_BIT, X32_BIT | 520, 0x80000000, MINUS_ONE):
            yield Call(number, arch.audit, byte_order=order)
    yield Call(0, 0x1234)


def fuzz_profile(data):
    """A profile of the runtime-spec's form or the engines' → a filter."""
    found = []
    try:
        found.append(seccomp.parse(data))
    except BadInput as error:
        assert error.problems
    try:
        engines = rich.parse(data)
        for kernel in (None, (6, 1)):
            arguments = {"arch": Arch.X86_64, "capabilities": DEFAULT_CAPABILITIES, "kernel": kernel}
            found.append(resolve.resolve(engines, **arguments))
    except BadInput as error:
        assert error.problems
    for profile in dict.fromkeys(found):
        try:
            program = build(of_profile(profile))
        except BadInput as error:
            assert error.problems
            continue
        _sound(program)
        _agrees(profile, program)


def _agrees(profile, program):
    """Whether a program does what a second reading of the profile says, on x86_64."""
    if profile.architectures and "SCMP_ARCH_X86_64" not in profile.architectures:
        return
    for name in ("read", "socket", "clone", "personality", "ioctl", "mount"):
        for index, value in enumerate(_EDGES):
            args = (value, _EDGES[-1 - index], value, 0, value, _EDGES[index // 2])
            call = Call(syscalls.numbers("x86_64")[name], Arch.X86_64.audit, args)
            assert simulate(program, call).value == _expected(profile, name, args), (name, args)
    assert simulate(program, Call(9999, Arch.X86_64.audit)).value == _expected(profile, "", (0,) * 6)


def _expected(profile, name, args):
    default = _value(profile.default_action, profile.default_errno)
    limited = []
    for rule in profile.syscalls:
        value = _value(rule.action, rule.errno)
        if name in rule.names and value != default:
            if not rule.args:
                return value
            limited += [(way, value) for way in rule.alternatives()]
    return next((value for way, value in limited if all(_holds(one, args) for one in way)), default)


def _holds(condition, args):
    value, given = args[condition.index], condition.value
    match condition.op.removeprefix("SCMP_CMP_"):
        case "NE":
            return value != given
        case "LT":
            return value < given
        case "LE":
            return value <= given
        case "EQ":
            return value == given
        case "GE":
            return value >= given
        case "GT":
            return value > given
    return value & given == condition.value_two & given


def _value(action, errno):
    word = action.removeprefix("SCMP_ACT_")
    ours = {"KILL": "KILL_THREAD", "KILL_PROCESS": "KILL", "ERRNO": "DENY"}.get(word, word)
    return VALUES[Action[ours]] | (errno or 0)


def fuzz_program(data):
    """Programs: those that are filters end, in no more steps than they have instructions; all can be told in words."""
    words = struct.unpack("<16I", data[:64].ljust(64, b"\0"))
    try:
        program = bpf.decode(data[64:])
    except ValueError:
        return
    assert bpf.encode(program) == data[64:]
    if bpf.problems(program):
        return
    outcome = run(program, words)
    assert 0 <= outcome.value <= bpf.WORD
    assert 1 <= outcome.executed <= len(program)
    assert len(lines(program, arch=None)) == len(lines(program, arch=Arch.X86_64)) == len(program)


class _Choices:
    """Choices made by bytes; what is behind their end are zeros."""

    def __init__(self, data):
        self._data = data
        self._at = 0

    def number(self, size):
        part = self._data[self._at : self._at + size]
        self._at += size
        return int.from_bytes(part, "little")

    def one_of(self, values):
        return values[self.number(1) % len(values)]

    def some(self, most):
        return range(self.number(1) % (most + 1))

    def wide(self):
        kind = self.number(1)
        if kind < 128:
            return _EDGES[kind % len(_EDGES)]
        return self.number(1 + kind % 8)


_NAMES = ("read", "socket", "clone", "ioctl", "mmap", "open", "personality", "prctl", "futex", "kill", "socketcall")
_MORE_NAMES = ("mount", "execve", "exit_group", "rt_sigreturn", "setsockopt", "fcntl", "ipc", "clone3", "@file-io", "x")
_ACTIONS = ("allow", "log", "trace", "notify", "deny", "trap", "kill_thread", "kill")
_WORDS = (
    "AF_INET",
    "AF_UNIX|8",
    "O_RDONLY",
    "O_RDWR",
    "PROT_EXEC",
    "CLONE_NEWUSER",
    "-1",
    "0x100000000",
    "7",
    "TCGETS",
)
_OPS = ("eq", "ne", "lt", "le", "ge", "gt", "masked_eq")
_ABIS = (["x86_64"], ["x86_64", "x86", "x32"], ["aarch64", "arm"], ["s390x", "s390"], ["riscv64"], ["ppc64le"], ["x86"])


def fuzz_rules(data):
    """Policies → filters, of a document made by the bytes: rules that hold at once, on every machine."""
    choices = _Choices(data)
    arches = choices.one_of(_ABIS)
    settings = {
        "arch": arches[0],
        "architectures": arches,
        "default_action": choices.one_of(("deny", "allow", "log", "kill", "trap")),
        "default_errno": choices.one_of(("EPERM", "ENOSYS", "4095")),
        "bad_arch_action": choices.one_of(_ACTIONS),
    }
    rules = {}
    for _ in choices.some(12):
        rule = {"name": choices.one_of(_NAMES + _MORE_NAMES), "action": choices.one_of(_ACTIONS)}
        if rule["action"] == "deny" and choices.number(1) % 2:
            rule["errno"] = choices.one_of(("EACCES", "ENOENT"))
        rule["constraints"] = [_constraint(choices) for _ in choices.some(3)]
        if not rule["constraints"]:
            del rule["constraints"]
        rules[json.dumps([rule["name"], rule.get("constraints")])] = rule
    made = {"version": "1.0", "settings": settings, "syscalls": list(rules.values())}
    _filtered(json.dumps(made).encode())


def _constraint(choices):
    made = {"arg": str(choices.number(1) % 6), "type": choices.one_of(("integer", "flags"))}
    kind = choices.number(1) % 3
    if kind == 0:
        made |= {"op": choices.one_of(_OPS), "value": choices.wide()}
        if made["op"] == "masked_eq":
            made["mask"] = choices.wide()
            made["value"] &= made["mask"]
    else:
        key = "allowed" if kind == 1 else "denied"
        some = [*choices.some(3), 0]
        made[key] = list(dict.fromkeys(choices.one_of((*_WORDS, str(choices.wide()))) for _ in some))
    return made


def fuzz_conditions(data):
    """`fuzz_profile`, of a document made by the bytes."""
    choices = _Choices(data)
    acts = ("ALLOW", "ERRNO", "LOG", "TRAP", "KILL_PROCESS", "KILL_THREAD", "TRACE", "NOTIFY", "KILL")
    known = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")
    machines = ((), ("X86_64",), ("X86_64", "X86", "X32"), ("AARCH64", "ARM"), ("S390X", "S390"), ("X86",), ("MIPS",))
    rules = []
    for _ in choices.some(10):
        names = [choices.one_of(_NAMES + _MORE_NAMES) for _ in (*choices.some(2), 0)]
        rule = {"names": list(dict.fromkeys(names)), "action": f"SCMP_ACT_{choices.one_of(acts)}"}
        if rule["action"] in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE") and choices.number(1) % 2:
            rule["errnoRet"] = choices.number(1)
        rule["args"] = []
        for _ in choices.some(3):
            index, op = choices.number(1) % 6, choices.one_of(known)
            rule["args"].append({"index": index, "op": f"SCMP_CMP_{op}", "value": choices.wide()})
            if op == "MASKED_EQ":
                rule["args"][-1]["valueTwo"] = choices.wide()
        rules.append(rule)
    made = {
        "defaultAction": f"SCMP_ACT_{choices.one_of(acts)}",
        "architectures": [f"SCMP_ARCH_{name}" for name in choices.one_of(machines)],
        "syscalls": rules,
    }
    fuzz_profile(json.dumps(made).encode())


TARGETS = {
    "polfile": fuzz_polfile,
    "policy": fuzz_policy,
    "rules": fuzz_rules,
    "profile": fuzz_profile,
    "conditions": fuzz_conditions,
    "program": fuzz_program,
    **monitor_targets.TARGETS,
}
