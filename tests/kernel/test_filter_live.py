"""Our filters in the running kernel: it does with each call what the simulator says, and each action is what it is."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random

import live
import profiles_found
import pytest
from live import GUARD, X86, X86_64, Kind, Live, Verdict, few_kills, random_calls
from support import ROOT, need

from scmm_oci.compiled import bpf
from scmm_oci.compiled.bpf import Call, Instruction, Program
from scmm_oci.compiled.filter import build, of_policy, of_profile
from scmm_oci.compiled.simulate import simulate
from scmm_oci.oci import rich
from scmm_oci.oci.resolve import resolve
from scmm_oci.policy import document
from scmm_oci.policy.model import Action, Policy, Settings, SyscallRule
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.syscalls import X32_SYSCALL_BIT, numbers

CALLS = 10_000_000 if os.environ.get("SCMM_SOAK") else 100_000
BATCH = 200_000
KILLS = 200
ARCHES = (Arch.X86_64, Arch.X86, Arch.X32)

#: What Docker leaves a container by default (oci/caps/defaults.go of moby).
CAPABILITIES = frozenset(
    f"CAP_{name}"
    for name in (
        *("CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP"),
        *("NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"),
    )
)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Live:
    need("KERNEL", live.unavailable())
    return Live(tmp_path_factory.mktemp("live"))


@pytest.fixture(scope="module")
def acts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("KERNEL", live.unavailable())
    return live.compiled("filter_acts.c", tmp_path_factory.mktemp("acts"))


def golden(name: str) -> Policy:
    path = ROOT / "tests/unit/golden" / f"{name}.scmm.yaml"
    return document.parse(path.read_bytes(), source=str(path))


def for_all_abis(policy: Policy) -> Policy:
    return replace(policy, settings=replace(policy.settings, architectures=ARCHES))


def default_profile(engine: str) -> Program:
    """The filter of an engine's default profile for a container with Docker's capabilities."""
    if engine == "docker":
        need("DOCKER", profiles_found.docker_default_unavailable())
        path = profiles_found.docker_default()
    else:
        need("PODMAN", profiles_found.podman_default_unavailable())
        path = profiles_found.PODMAN_DEFAULT
    profile = rich.parse(path.read_bytes(), source=str(path))
    found = resolve(profile, arch=Arch.X86_64, capabilities=CAPABILITIES, kernel=(6, 1))
    assert len(found.architectures) == 3
    return build(of_profile(found))


def program_of(what: str) -> Program:
    if what in ("docker", "podman"):
        return default_profile(what)
    policy = golden(what.removesuffix("-all-abis"))
    return build(of_policy(for_all_abis(policy) if what.endswith("-all-abis") else policy))


def batches(program: Program, random: Random, count: int) -> Iterator[list[Call]]:
    """Calls in lists; those that end the thread or process, which take long, are few."""
    calls = few_kills(program, random_calls(program, random), KILLS)
    while count > 0:
        yield list(islice(calls, min(count, BATCH)))
        count -= BATCH


def every_number(program: Program) -> list[Call]:
    """Each call of each ABI, and the numbers beside them, with arguments that are 0 and that are not."""
    found = [
        Call(nr, arch, args)
        for arch, bit, names in ((X86_64, 0, "x86_64"), (X86_64, X32_SYSCALL_BIT, "x32"), (X86, 0, "x86"))
        for nr in sorted({(number + by | bit) & bpf.WORD for number in numbers(names).values() for by in (-1, 0, 1)})
        for args in ((), (bpf.WORD,) * 6)
        if arch == X86 or nr not in live.UNFILTERED
    ]
    return list(few_kills(program, found, KILLS))


@pytest.mark.timeout(3600 if CALLS > 1_000_000 else 300)
@pytest.mark.parametrize("what", ["docker", "podman", "nginx", "nginx-all-abis", "seed-example-all-abis"])
def test_kernel_does_what_the_simulator_says(kernel: Live, what: str) -> None:
    program = program_of(what)
    seen = set()
    for calls in (every_number(program), *batches(program, Random(what), CALLS // 5)):
        assert kernel.differences(program, calls) == []
        seen |= {(call.arch, bool(call.nr & X32_SYSCALL_BIT), simulate(program, call).value) for call in calls}
    # The calls were of all ABIs, and the filter said several things about them.
    assert {where[:2] for where in seen} >= {(X86_64, False), (X86_64, True), (X86, False)}
    assert len({value for *_, value in seen}) >= 2


def broken(program: Program, at: int) -> Program | None:
    """The program with the instruction changed, if that is still a program."""
    one = program[at]
    if one.code == bpf.RET:
        changed = replace(one, k=bpf.RET_ERRNO | 3333)
    elif one.jt != one.jf:
        changed = replace(one, jt=one.jf, jf=one.jt)
    elif one.code == bpf.LOAD:
        changed = replace(one, k=(one.k + 4) % bpf.DATA_SIZE)
    else:
        return None
    return (*program[:at], changed, *program[at + 1 :])


def test_each_changed_instruction_is_noticed(kernel: Live) -> None:
    """The control: what the simulator says of one program is not what the kernel does with another."""
    program = program_of("nginx")
    calls = [*every_number(program), *few_kills(program, islice(random_calls(program, Random(5)), 6000), KILLS)]
    assert kernel.differences(program, calls) == []
    tried = 0
    for at in Random(6).sample(range(len(program)), min(40, len(program))):
        changed = broken(program, at)
        if changed is None:
            continue
        tried += 1
        told = [call for call in calls if outcome(changed, call) != outcome(program, call)][:50]
        assert told, f"no call tells that instruction {at} was changed: {program[at]}"
        assert [one.call for one in kernel.differences(changed, told, simulated=program)] == told
    assert tried >= 20


def outcome(program: Program, call: Call) -> Verdict:
    return live.expected(simulate(program, call).value, call)


@pytest.mark.parametrize("what", ["docker", "nginx-all-abis"])
def test_high_words_of_i386_do_not_matter(kernel: Live, what: str) -> None:
    """A 64-bit program that makes calls of i386 (int 0x80) shows a filter whole registers; the call takes half."""
    program = program_of(what)
    shows = (Instruction(bpf.LOAD, 20), Instruction(bpf.JEQ, 7, 0, 1))
    shows = (*shows, Instruction(bpf.RET, bpf.RET_ERRNO | 1), Instruction(bpf.RET, bpf.RET_ERRNO | 2))
    seen = kernel.raw(bpf.encode(shows), [(1, 20, 7 << 32, *[0] * 5), (1, 20, *[0] * 6)])
    assert [one.value for one in seen] == [-1, -2]
    random = Random(7)
    kept = [one for one in few_kills(program, islice(random_calls(program, random), 9000), 50) if one.arch == X86]
    full = [replace(one, args=tuple(random.getrandbits(32) << 32 | arg for arg in one.args)) for one in kept]
    assert [outcome(program, one) for one in kept] == kernel.verdicts(program, full)


def test_numbers_are_32_bits_wide(kernel: Live) -> None:
    """The kernel and the filter see the low half of the register, so its high half is no way around a filter."""
    program = build(
        of_policy(Policy(settings=Settings(default_action=Action.ALLOW), syscalls=(act("acct", Action.DENY),)))
    )
    number = numbers("x86_64")["acct"]
    words = [(0, high << 32 | number, *[0] * 6) for high in (0, 1, bpf.WORD)]
    assert kernel.raw(bpf.encode(program), words) == [Verdict(Kind.RETURNED, -1)] * 3
    assert kernel.raw(bpf.encode(program), [(0, number + 1, *[0] * 6)]) == [Verdict(Kind.RETURNED, -GUARD)]


def act(name: str, action: Action, **how: object) -> SyscallRule:
    return SyscallRule(name, action, **how)  # type: ignore[arg-type]


def one_rule(action: Action, **how: object) -> bytes:
    """A filter that lets all happen but getppid."""
    settings = Settings(default_action=Action.ALLOW)
    return bpf.encode(build(of_policy(Policy(settings=settings, syscalls=(act("getppid", action, **how),)))))


def acted(acts: Path, tmp_path: Path, program: bytes, how: str = "call") -> tuple[int, dict[str, list[int]]]:
    """What filter_acts said, and its status."""
    (tmp_path / "program").write_bytes(program)
    done = subprocess.run([acts, tmp_path / "program", how], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    said = {}
    for line in done.stdout.splitlines():
        word, *values = line.split()
        assert word not in said
        said[word] = [int(value) for value in values]
    # The twin: the other call goes through.
    assert said.pop("twin") == [os.getuid()]
    return done.returncode, said


NUMBER = numbers("x86_64")["getppid"]


def test_allow(acts: Path, tmp_path: Path) -> None:
    status, said = acted(acts, tmp_path, one_rule(Action.ALLOW))
    assert (status, said["acted"]) == (0, [os.getpid(), 0, 1])
    # A filter that is about another call.
    assert "acted" not in acted(acts, tmp_path, one_rule(Action.KILL))[1]


def test_log(acts: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9) as audit:  # NETLINK_AUDIT
        audit.bind((0, 1))  # AUDIT_NLGRP_READLOG: linux/audit.h
        audit.settimeout(20)
        status, said = acted(acts, tmp_path, one_rule(Action.LOG))
        assert (status, said["acted"]) == (0, [os.getpid(), 0, 1])
        (pid,) = said["end"]
        assert f"syscall={NUMBER} compat=0" in record(audit, pid) and said["acted"]
        # Control: what is allowed is not in the log. The record of a later call shows that one would have come.
        _, quiet = acted(acts, tmp_path, one_rule(Action.ALLOW))
        _, later = acted(acts, tmp_path, one_rule(Action.LOG))
        record(audit, later["end"][0], never=quiet["end"][0])


def record(audit: socket.socket, pid: int, never: int = 0) -> str:
    """The next record about seccomp (1326) of a process; none may come of `never` before."""
    while True:
        text = audit.recv(8192)[16:].decode(errors="replace")
        assert not never or f" pid={never} " not in text
        if f" pid={pid} " in text and "code=0x7ffc0000" in text:
            return text


def test_deny(acts: Path, tmp_path: Path) -> None:
    assert acted(acts, tmp_path, one_rule(Action.DENY, errno="EPROTO"))[1]["acted"] == [-1, 71, 0]
    assert acted(acts, tmp_path, one_rule(Action.DENY))[1]["acted"] == [-1, 1, 0]
    assert acted(acts, tmp_path, one_rule(Action.DENY, errno="4095"))[1]["acted"] == [-1, 4095, 0]


def test_trap(acts: Path, tmp_path: Path) -> None:
    status, said = acted(acts, tmp_path, one_rule(Action.TRAP))
    assert (status, said["trap"], said["acted"]) == (0, [0, NUMBER, X86_64], [777, 0, 0])


def test_trace(acts: Path, tmp_path: Path) -> None:
    status, said = acted(acts, tmp_path, one_rule(Action.TRACE, message=4242), "trace")
    assert (status, said["message"], said["acted"]) == (0, [4242, NUMBER], [777, 0, 0])
    # Without a tracer there is no such call (seccomp(2)), and without the rule no message.
    assert acted(acts, tmp_path, one_rule(Action.TRACE, message=4242))[1]["acted"] == [-1, 38, 0]
    status, said = acted(acts, tmp_path, one_rule(Action.ALLOW), "trace")
    assert (status, "message" in said, said["acted"][1:]) == (0, False, [0, 1])


def test_notify(acts: Path, tmp_path: Path) -> None:
    status, said = acted(acts, tmp_path, one_rule(Action.NOTIFY), "notify")
    assert (status, said["notified"], said["acted"]) == (0, [NUMBER, X86_64], [777, 0, 0])
    # Without a listener there is no such call.
    assert acted(acts, tmp_path, one_rule(Action.NOTIFY))[1]["acted"] == [-1, 38, 0]


def test_kill_thread_and_kill(acts: Path, tmp_path: Path) -> None:
    # The thread ends and the process goes on; the process ends.
    status, said = acted(acts, tmp_path, one_rule(Action.KILL_THREAD))
    assert (status, said.keys()) == (0, {"end"})
    assert acted(acts, tmp_path, one_rule(Action.KILL)) == (-31, {})


def test_kernel_has_the_filter_that_we_made(acts: Path, tmp_path: Path) -> None:
    """PTRACE_SECCOMP_GET_FILTER, ptrace(2)."""
    for program in (program_of("podman"), program_of("nginx-all-abis")):
        (tmp_path / "program").write_bytes(bpf.encode(program))
        done = subprocess.run([acts, tmp_path / "program", "read"], capture_output=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, b"")
        assert bpf.decode(done.stdout) == program
