"""The filter by the launcher: every action, conditions on both words; the modes, and kernels without Landlock."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

import enforce
import pytest
from enforce import bytes_of, checked, path_rules, run, under

from scmm_oci.compiled import bpf
from scmm_oci.policy.model import (
    Action,
    ArgType,
    Constraint,
    FilterFlag,
    LandlockScope,
    Network,
    Operator,
    Policy,
    RunAs,
    Settings,
    SyscallRule,
)
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.syscalls import numbers

HERE = Arch.X86_64 if os.uname().machine == "x86_64" else Arch.AARCH64
NR = numbers(HERE)
ALLOWING = Settings(default_action=Action.ALLOW, arch=HERE, architectures=(HERE,))


@pytest.fixture(autouse=True, scope="module")
def kernel() -> None:
    enforce.needed()


def of(*rules: SyscallRule, settings: Settings = ALLOWING, **parts: object) -> bytes:
    return bytes_of(Policy(settings=settings, syscalls=rules, **parts))  # type: ignore[arg-type]


def test_deny_answers_its_errno_and_nothing_happens(place: Path) -> None:
    policy = of(SyscallRule("mkdir", Action.DENY, errno="EPROTO"), SyscallRule("mkdirat", Action.DENY, errno="EPROTO"))
    done = run(policy, "mkdir", place / "denied", "symlink", place / "made", mode="strict")
    assert (done.code, done.lines) == (0, ["EPROTO", "ok"])
    assert os.listdir(place) == ["made"]
    assert done.status is not None
    assert done.status["enforced"] == "fully" and done.status["layers"]["calls"] == "fully"
    # The control: another call is denied.
    done = run(of(SyscallRule("chroot", Action.DENY, errno="EPROTO")), "mkdir", place / "denied")
    assert (done.lines, (place / "denied").is_dir()) == (["ok"], True)


def test_trap() -> None:
    policy = of(SyscallRule("getppid", Action.TRAP))
    assert run(policy, "trap", NR["getppid"], "nnp").lines == [f"trap {NR['getppid']} ok", "1 ok"]
    assert run(policy, "nnp", "call", NR["getppid"], 0, 0, 0, "nnp").code == -signal.SIGSYS
    assert run(policy, "trap", NR["getpid"]).lines == ["ok"]


def test_kill_ends_the_process_and_kill_thread_the_thread() -> None:
    for action, code, lines in (
        (Action.KILL, -signal.SIGSYS, []),
        (Action.KILL_THREAD, 0, None),
        (Action.LOG, 0, ["lives ok", "1 ok"]),
        (Action.DENY, 0, ["lives ok", "1 ok"]),
    ):
        done = run(of(SyscallRule("getppid", action)), "thread", NR["getppid"], "nnp")
        if action is Action.KILL_THREAD:
            # The last line of the other thread: whoever waits for the one that is gone gets nothing from it.
            assert (done.code, done.lines) == (0, ["gone ok", "1 ok"])
        else:
            assert (done.code, done.lines) == (code, lines), action


def test_log_lets_the_call_pass() -> None:
    done = run(of(SyscallRule("getppid", Action.LOG)), "call", NR["getppid"], 0, 0, 0, mode="strict")
    assert done.lines == [f"{os.getpid()} ok"]


def test_a_filter_that_denies_by_default(place: Path) -> None:
    """All that the program needs is listed; what is not is refused with the default's errno."""
    names = (
        *("brk", "arch_prctl", "set_tid_address", "set_robust_list", "rseq", "prlimit64", "readlinkat", "getrandom"),
        *(
            "mprotect",
            "write",
            "prctl",
            "newfstatat",
            "fstat",
            "ioctl",
            "rt_sigaction",
            "rt_sigprocmask",
            "mmap",
            "munmap",
        ),
        *("mkdir", "readlink", "uname", "mremap", "futex"),
    )
    rules = tuple(SyscallRule(name, Action.ALLOW) for name in names if name in NR)
    settings = Settings(default_action=Action.DENY, default_errno="ENOTTY", arch=HERE, architectures=(HERE,))
    tried = ("nnp", "symlink", place / "link", "kill", os.getpid(), 0)
    done = run(of(*rules, settings=settings), *tried, mode="strict")
    assert (done.code, done.lines) == (0, ["1 ok", "ENOTTY", "ENOTTY"])
    assert os.listdir(place) == []
    assert run(of(SyscallRule("chroot", Action.DENY)), *tried).lines == ["1 ok", "ok", "ok"]
    # Where the launcher may not write, it ends in silence: there is nothing to execute.
    fewer = tuple(rule for rule in rules if rule.name != "write")
    quiet = run(of(*fewer, settings=settings), program=place, mode="strict")
    assert (quiet.code, quiet.errors) == (126, "")
    assert run(of(*rules, settings=settings), program=place, mode="strict").errors.startswith(
        "scmm-enforce: cannot execute "
    )


WORDS = [0, 1, 5, 0xFFFFFFFF, 1 << 32, (1 << 32) + 5, 5 << 32, 1 << 63, (1 << 64) - 1]


@pytest.mark.parametrize("operator", list(Operator))
def test_conditions_on_both_words(operator: Operator) -> None:
    """seek's offset has 64 bits: it is denied where the condition holds, and fails for its descriptor elsewhere."""
    value, mask = (1 << 32) + 5, (1 << 32) + 0xFF
    holds = {
        Operator.EQ: lambda one: one == value,
        Operator.NE: lambda one: one != value,
        Operator.LT: lambda one: one < value,
        Operator.LE: lambda one: one <= value,
        Operator.GE: lambda one: one >= value,
        Operator.GT: lambda one: one > value,
        Operator.MASKED_EQ: lambda one: one & mask == value,
    }[operator]
    where = Constraint(
        1, ArgType.INTEGER, op=operator, value=value, mask=mask if operator is Operator.MASKED_EQ else None
    )
    policy = of(SyscallRule("lseek", Action.DENY, errno="EPROTO", constraints=(where,)))
    tried = [word for one in WORDS for word in ("call", NR["lseek"], 1000, one, 0)]
    assert run(policy, *tried).lines == ["EPROTO" if holds(one) else "EBADF" for one in WORDS]


def test_conditions_on_several_arguments() -> None:
    both = (
        Constraint(1, ArgType.INTEGER, op=Operator.EQ, value=5 << 32),
        Constraint(2, ArgType.INTEGER, op=Operator.EQ, value=1),
    )
    policy = of(SyscallRule("lseek", Action.DENY, errno="EPROTO", constraints=both))
    cases = [(5 << 32, 1), (5 << 32, 2), (5, 1), (0, 0)]
    tried = [word for one in cases for word in ("call", NR["lseek"], 1000, *one)]
    assert run(policy, *tried).lines == ["EPROTO", "EBADF", "EBADF", "EBADF"]


def test_flags_that_the_kernel_takes() -> None:
    settings = Settings(
        default_action=Action.ALLOW,
        arch=HERE,
        architectures=(HERE,),
        flags=(FilterFlag.SPEC_ALLOW, FilterFlag.TSYNC, FilterFlag.WAIT_KILLABLE_RECV),
        log_denials=True,
    )
    policy = of(SyscallRule("getppid", Action.DENY, errno="EPROTO"), settings=settings)
    assert run(policy, "call", NR["getppid"], 0, 0, 0, mode="strict").lines == ["EPROTO"]


def test_the_filter_of_another_architecture_is_refused(place: Path) -> None:
    other = Arch.AARCH64 if HERE is Arch.X86_64 else Arch.X86_64
    settings = Settings(default_action=Action.ALLOW, arch=other, architectures=(other,))
    for mode in ("standard", "strict", "seccomp"):
        policy = of(SyscallRule("getppid", Action.DENY), settings=settings)
        done = run(policy, "mkdir", place / "made", mode=mode)
        assert (done.code, done.lines, os.listdir(place)) == (125, [], [])
        assert f"is for another architecture than {HERE}" in done.errors


def whole(place: Path, **parts: object) -> bytes:
    """All layers, cut to what this kernel can hold."""
    return of(
        SyscallRule("getppid", Action.DENY, errno="EPROTO"),
        filesystem=path_rules({place / "mine": ["make_dir"]}),
        network=Network(),
        scopes=tuple(LandlockScope),
        capabilities=("CAP_CHOWN",),
        **parts,
    )


def test_modes(place: Path) -> None:
    (place / "mine").mkdir()
    tried = (
        *("call", NR["getppid"], 0, 0, 0, "mkdir", place / "mine/new", "mkdir", place / "new", "bind", 0),
        *("kill", os.getpid(), 0, "caps"),
    )
    layers = ("calls", "files", "ports", "scopes", "identity")
    for mode in ("standard", "strict"):
        done = run(whole(place), *tried, mode=mode)
        assert (done.code, done.errors) == (0, "")
        assert done.lines == ["EPROTO", "ok", "EACCES", "EACCES", "EPERM", "1 1 1 1 1 ok"]
        assert not (place / "new").exists()
        (place / "mine/new").rmdir()
        expected = {"mode": mode, "enforced": "fully", "landlock_abi": enforce.landlockpy.abi_version()}
        assert done.status == {**expected, "layers": dict.fromkeys(layers, "fully"), "missing": [], "more": 0}
        found = checked(whole(place), mode=mode)
        assert (found.code, found.status) == (0, done.status)
        assert found.lines == [
            f"scmm-enforce: the policy is fully enforced (Landlock ABI {expected['landlock_abi']}, "
            + ", ".join(f"{one} fully" for one in layers)
            + ")"
        ]
    done = run(whole(place), *tried, mode="seccomp")
    assert done.lines[:5] == ["EPROTO", "ok", "ok", "ok", "ok"]
    assert done.lines[5] != "1 1 1 1 1 ok"
    assert (place / "new").exists()
    assert done.status is not None
    assert done.status["layers"] == {**dict.fromkeys(layers, "not"), "calls": "fully"}
    assert (done.status["enforced"], done.missing) == (
        "partially",
        ["the mode is seccomp: the filter alone is applied"],
    )
    assert checked(whole(place), mode="seccomp").code == 1


def test_strict_refuses_what_standard_says_is_partial(place: Path) -> None:
    """The rights that are newer than this kernel's ABI are in the policy."""
    enforce.need(
        "KERNEL",
        "this kernel's Landlock has all rights that there are" if enforce.landlockpy.abi_version() >= 10 else None,
    )
    policy = enforce.bytes_of_rules(filesystem=path_rules({place: ["make_dir"]}), network=Network())
    done = run(policy, "mkdir", place / "standard", "bind", 0)
    assert (done.code, done.lines) == (0, ["ok", "EACCES"])
    assert done.status is not None and done.status["enforced"] == "partially"
    assert "files: resolve_unix is not restricted: it is so from Landlock's ABI 9 on" in done.missing
    assert checked(policy).code == 1
    strict = run(policy, "mkdir", place / "strict", mode="strict")
    assert (strict.code, strict.lines, strict.status) == (125, [], None)
    assert strict.errors.endswith("the mode is strict: nothing is run\n")
    assert not (place / "strict").exists()


def without_landlock(errno: int) -> tuple[str, ...]:
    """Words before a command that is to find no Landlock."""
    return under(
        bpf.Instruction(bpf.LOAD, 0),
        bpf.Instruction(bpf.JGE, 444, 0, 2),
        bpf.Instruction(bpf.JGE, 447, 1, 0),
        bpf.Instruction(bpf.RET, bpf.RET_ERRNO | errno),
        bpf.Instruction(bpf.RET, bpf.RET_ALLOW),
    )


@pytest.mark.parametrize(
    ("errno", "why"),
    [
        (38, "this kernel has no Landlock: ENOSYS"),
        (95, "Landlock is switched off in this kernel (see its option lsm=): EOPNOTSUPP"),
        (1, "Landlock is refused here: EPERM"),
    ],
)
def test_without_landlock(place: Path, errno: int, why: str) -> None:
    before = without_landlock(errno)
    parts = {"network": Network(), "scopes": tuple(LandlockScope)}
    policy = bytes_of(files={place / "no": ["make_dir"]}, **parts)
    reasons = [why, *(f"{layer}: nothing is restricted" for layer in ("files", "ports", "scopes"))]
    tried = ("mkdir", place / "new", "bind", 0, "kill", os.getpid(), 0)
    done = run(policy, *tried, before=before)
    assert (done.code, done.lines) == (0, ["ok", "ok", "ok"])
    assert (done.missing, (place / "new").exists()) == (reasons, True)
    assert done.errors == "".join(
        f"scmm-enforce: {one}\n"
        for one in (
            "the policy is not enforced (Landlock ABI 0, files not, ports not, scopes not)",
            *(f"  {reason}" for reason in reasons),
        )
    )
    assert done.status is not None
    assert (done.status["enforced"], done.status["landlock_abi"]) == ("not", 0)
    for quiet in ("-q", "--quiet"):
        silent = run(policy, "mkdir", place / "quiet", options=(quiet,), before=before)
        assert (silent.lines, silent.errors, silent.status) == (["ok"], "", done.status)
        (place / "quiet").rmdir()
    found = checked(policy, before=before)
    assert (found.code, found.status) == (1, done.status)
    assert found.lines == done.errors.splitlines()
    # With a filter, a part of it holds.
    both = of(SyscallRule("getppid", Action.DENY), filesystem=(), **parts)
    done = run(both, "call", NR["getppid"], 0, 0, 0, before=before)
    assert done.lines == ["EPERM"]
    assert done.status is not None and done.status["enforced"] == "partially"
    # All or nothing; and a policy that asks nothing of Landlock is held in full.
    done = run(policy, "mkdir", place / "strict", mode="strict", before=before)
    assert (done.code, done.lines, (place / "strict").exists()) == (125, [], False)
    done = run(of(SyscallRule("getppid", Action.DENY)), "nnp", mode="strict", before=before)
    assert (done.code, done.lines, done.errors) == (0, ["1 ok"], "")
    # The control: with Landlock it is refused.
    (place / "new").rmdir()
    assert run(policy, *tried).lines == ["EACCES", "EACCES", "EPERM"]
    assert not (place / "new").exists()


def test_a_17th_domain_is_refused(place: Path) -> None:
    """Landlock has 16 layers at most (landlock(7)): no program is run with less than the policy says."""
    policy = enforce.stored(bytes_of(scopes=(LandlockScope.SIGNAL,)))
    one = (enforce.launcher(), "-p", policy, "-m", "strict", "--preserve-fds", "1000", "--")
    assert run(policy, "nnp", before=one * 15).lines == ["1 ok"]
    done = run(policy, "mkdir", place / "new", before=one * 16)
    assert (done.code, done.lines, os.listdir(place)) == (125, [], [])
    assert "there are as many Landlock domains as the kernel allows already: E2BIG" in done.errors


def test_nobody_can_gain_by_executing() -> None:
    """NO_NEW_PRIVS is set whatever the policy holds."""
    for policy in (bytes_of(scopes=(LandlockScope.SIGNAL,)), bytes_of(run_as=RunAs(33, 33))):
        for mode in ("standard", "strict", "seccomp"):
            assert run(policy, "nnp", mode=mode).lines == ["1 ok"]
    assert ctypes.CDLL(None).prctl(39, 0, 0, 0, 0) == 0, "the tests themselves have it not"
