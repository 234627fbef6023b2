"""The machine of calls that a trace gives: states, edges and triples, by the stage of the process.

Traces of echo, cat and nginx are real ones (strace 6.1, glibc 2.36, nginx 1.22), begun at the program's execve.
"""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive_order import from_the_program, naive, plain

from scmm_oci.capture import file
from scmm_oci.capture.facts import Stage
from scmm_oci.capture.model import Capture, LossKind
from scmm_oci.capture.strace.importer import Log, import_logs
from scmm_oci.capture.strace.lexer import lines
from scmm_oci.tables import states, syscalls
from scmm_oci.tables.arch import Arch

TRACES = Path(__file__).parent / "traces"
EXEC = '7 execve("/bin/x", ["x"], 0x1 /* 3 vars */) = 0'
THREAD = "CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD"


def machine(text: str, **options: object) -> Capture:
    capture = import_logs([Log("t", lines(io.BytesIO(text.encode())), None)], name="t", **options)  # type: ignore[arg-type]
    assert file.parse(file.dump(capture)) == capture
    return capture


def of(*given: str, **options: object) -> Capture:
    """The machine of lines."""
    return machine("".join(f"{line}\n" for line in given), **options)


def run(*given: str, **options: object) -> Capture:
    """The same after a program was executed."""
    return of(EXEC, *(f"7 {line}" for line in given), **options)


def words(arch: Arch, items: object) -> set[tuple[str, ...]]:
    return {
        tuple(state if isinstance(state, str) else str(syscalls.name_of(arch, state)) for state in item)
        for item in items  # type: ignore[attr-defined]
    }


def edges(capture: Capture, stage: Stage | None = Stage.STARTING, arch: Arch = Arch.X86_64) -> set[tuple[str, ...]]:
    return words(arch, [pair for one in capture.order if (one.arch, one.stage) == (arch, stage) for pair in one.pairs])


def triples(capture: Capture, stage: Stage | None = Stage.STARTING, arch: Arch = Arch.X86_64) -> set[tuple[str, ...]]:
    found = [one.triples or () for one in capture.order if (one.arch, one.stage) == (arch, stage)]
    return words(arch, [triple for each in found for triple in each])


def counted(edges_: set[tuple[str, str]]) -> tuple[int, int]:
    """How many states and edges the naive machine has, which begins with execve."""
    return len({state for edge in edges_ for state in edge} - {"start"}), len(edges_ - {("start", "execve")})


@pytest.mark.parametrize(
    ("name", "size", "sizes"),
    [
        ("echo", (20, 32), {"starting": (34, 30)}),
        ("cat", (20, 37), {"starting": (39, 36)}),
        ("nginx", (60, 145), {"starting": (75, 83), "listening": (65, 59), "accepting": (24, 25)}),
    ],
)
def test_a_real_trace_gives_the_machine_that_can_be_read_off_it(
    name: str, size: tuple[int, int], sizes: dict[str, tuple[int, int]]
) -> None:
    text = (TRACES / f"{name}.strace").read_text()
    found, capture = naive(text), machine(text)
    assert counted(found) == size
    assert plain(capture) == from_the_program(found)
    assert LossKind.ORDER not in {loss.kind for loss in capture.losses}
    # Classes and kinds of beginnings make more states of some, and stages tell edges apart.
    assert {one.stage: (len(one.pairs), len(one.triples or ())) for one in capture.order} == sizes
    # The control: without the line after the first it is another machine.
    first, _, *rest = text.splitlines(keepends=True)
    less = first + "".join(rest)
    assert naive(less) != found and plain(machine(less)) == from_the_program(naive(less))


def test_the_machine_of_echo_by_hand() -> None:
    row = (
        *("start:exec", "brk", "mmap:data", "access", "openat:read", "newfstatat", "mmap:data", "close", "openat:read"),
        *("read", "pread64", "newfstatat", "pread64", "mmap:data", "mmap:exec", "mmap:data", "mmap:data", "mmap:data"),
        *("close", "mmap:data", "arch_prctl", "set_tid_address", "set_robust_list", "rseq", "mprotect:data"),
        *("mprotect:data", "mprotect:data", "prlimit64", "munmap", "getrandom", "brk", "brk", "newfstatat", "ioctl"),
        *("write", "close", "close", "exit_group"),
    )
    capture = machine((TRACES / "echo.strace").read_text())
    assert edges(capture) == set(pairwise(row))
    short = [state for index, state in enumerate(row) if index == 0 or row[index - 1] != state]
    assert triples(capture) == set(zip(short, short[1:], short[2:], strict=False))


def test_stages_of_nginx() -> None:
    capture = machine((TRACES / "nginx.strace").read_text())
    assert ("bind", "listen") in edges(capture)
    # The master has listened before it forks its workers, which accept: the master itself never does.
    listening, accepting = edges(capture, Stage.LISTENING), edges(capture, Stage.ACCEPTING)
    assert ("start:fork", "set_robust_list") in listening and ("epoll_wait", "accept4") in listening
    assert {before for before, to in accepting if before == "accept4"} == {"accept4"}
    assert not {state for edge in accepting for state in edge} & {"start:exec", "start:fork", "bind", "rt_sigsuspend"}


OPENED = [
    ("O_RDONLY", "read"), ("O_RDONLY|O_CLOEXEC", "read"), ("O_WRONLY", "write"), ("O_RDWR|O_CLOEXEC", "write"),
    ("O_RDONLY|O_CREAT|O_EXCL, 0600", "write"), ("O_RDONLY|O_TRUNC", "write"), ("O_ACCMODE", "write"),
    ("0x80000", "read"), ("0x241", "write"), ("0x80000 /* O_RDONLY|O_CLOEXEC */", "read"), ("0", "read"),
    ("0x241 /* O_WRONLY|O_CREAT|O_TRUNC */, 0644", "write"), ("O_RDONLY|0x40000000", "read"), ("|O_CLOEXEC", "read"),
    ("O_WRONLY|O_NEW", "write"), ("O_RDONLY|O_NEW", None), ("", None),
]  # fmt: skip
PROTECTED = [
    ("PROT_NONE", "data"), ("PROT_READ|PROT_WRITE", "data"), ("PROT_READ|PROT_EXEC", "exec"), ("PROT_EXEC", "exec"),
    ("0x5", "exec"), ("0x3", "data"), ("0x5 /* PROT_READ|PROT_EXEC */", "exec"), ("PROT_READ|PROT_GROWSDOWN", "data"),
    ("PROT_READ|PROT_NEW", None), ("PROT_NEW|PROT_EXEC", "exec"), ("", None),
]  # fmt: skip
FAMILIES = [
    ("AF_UNIX", "unix"), ("AF_LOCAL", "unix"), ("PF_INET", "inet"), ("AF_INET6", "inet6"), ("AF_NETLINK", "netlink"),
    ("AF_PACKET", "packet"), ("AF_ALG", "other"), ("AF_UNSPEC", "other"), ("1", "unix"), ("0x2", "inet"),
    ("0xa", "inet6"), ("0x63 /* AF_??? */", "other"), ("10 /* AF_INET6 */", "inet6"), ("", None), ("[", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "text", "word"),
    [
        *(("openat", f'openat(AT_FDCWD, "a(b,\\"c", {flags})', word) for flags, word in OPENED),
        *(("open", f'open("/x", {flags})', word) for flags, word in OPENED),
        *(("mmap", f"mmap(NULL, 4096, {text}, MAP_PRIVATE, 3, 0)", word) for text, word in PROTECTED),
        *(("mprotect", f"mprotect(0x1000, 4096, {text})", word) for text, word in PROTECTED),
        *(("socket", f"socket({text}, SOCK_STREAM, 0)", word) for text, word in FAMILIES if text != "["),
        *(
            ("socketpair", f"socketpair({text}, SOCK_STREAM, 0, [3, 4])", word)
            for text, word in FAMILIES
            if text != "["
        ),
    ],
)
def test_classes_of_calls(call: str, text: str, word: str | None) -> None:
    state = call if word is None else f"{call}:{word}"
    result = "-1 ENOENT (No such file or directory)"
    assert edges(run(f"{text} = {result}", "getpid() = 7")) == {("start:exec", state), (state, "getpid")}
    # As much is said where the call ends on a later line.
    parted = run(f"{text[:-1]} <unfinished ...>", f"<... {call} resumed>) = {result}", "getpid() = 7")
    assert edges(parted) == {("start:exec", state), (state, "getpid")}


def test_other_architectures_have_classes_of_their_own() -> None:
    line = 'openat(AT_FDCWD, "/x", O_RDONLY|O_DIRECTORY) = 3'
    for arch in (Arch.AARCH64, Arch.RISCV64, Arch.PPC64LE):
        capture = run(line, "getpid() = 7", arch=arch)
        assert edges(capture, arch=arch) == {("start:exec", "openat:read"), ("openat:read", "getpid")}
    narrow = run("[ Process PID=7 runs in 32 bit mode. ]", "mmap2(NULL, 1, PROT_EXEC, MAP_PRIVATE, 3, 0) = 0x1000")
    assert edges(narrow, arch=Arch.X86) == {("start:exec", "mmap2:exec")}


def test_how_a_thread_begins() -> None:
    child = ("8 getppid() = 7", "8 exit_group(0) = ?")
    for call, word in (
        ("fork()", "start:fork"),
        ("vfork()", "start:fork"),
        ("clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|SIGCHLD, child_tidptr=0x7)", "start:fork"),
        ("clone(child_stack=0x1, flags=CLONE_VM|CLONE_VFORK|SIGCHLD)", "start:fork"),
        (f"clone(child_stack=0x1, flags={THREAD})", "start:thread"),
        ("clone(child_stack=0x1, flags=0x10f00)", "start:thread"),
        (f"clone3({{flags={THREAD}, exit_signal=0}}, 88)", "start:thread"),
        ("clone3({flags=0, exit_signal=SIGCHLD}, 88)", "start:fork"),
        ("clone3(0x7ffe, 88)", "start"),
    ):
        name = call.partition("(")[0]
        assert edges(of(EXEC, f"7 {call} = 8", *child)) == {
            *(("start:exec", name), (word, "getppid"), ("getppid", "exit_group"))
        }, call
    # The child's lines come first.
    early = of(EXEC, f"7 clone3({{flags={THREAD}}} <unfinished ...>", *child, "7 <... clone3 resumed>, 88) = 8")
    assert ("start:thread", "getppid") in edges(early)


def test_what_ran_before_the_trace_follows_nothing() -> None:
    capture = of("7 getpid() = 7", "7 getuid() = 0", "7 fork() = 8", "8 getgid() = 0", "8 getegid() = 0")
    assert edges(capture) == set()
    assert edges(capture, None) == {
        *(("getpid", "getuid"), ("getuid", "fork"), ("start:fork", "getgid"), ("getgid", "getegid"))
    }
    # Whether it listened before is not known either; once it accepts, that is.
    later = of("7 listen(3, 9) = 0", "7 getpid() = 7", "7 accept(3, NULL, NULL) = 4", "7 getuid() = 0")
    assert edges(later, None) == {("listen", "getpid"), ("getpid", "accept")}
    assert edges(later, Stage.ACCEPTING) == {("accept", "getuid")}


def test_stages() -> None:
    capture = of(
        EXEC,
        f"7 clone(child_stack=0x1, flags={THREAD}) = 8",
        "8 getpid() = 7",
        "7 fork() = 9",
        "9 getppid() = 7",
        "7 listen(3, 9 <unfinished ...>",
        "8 getuid() = 0",
        "7 <... listen resumed>) = 0",
        "9 getgid() = 0",
        "7 fork() = 10",
        "10 accept4(3, NULL, NULL, 0) = -1 EAGAIN (Resource temporarily unavailable)",
        '10 execve("/bin/y", ["y"], 0x1) = 0',
        "10 geteuid() = 0",
        "7 listen(3, 9) = 0",
    )
    assert edges(capture) == {
        *(("start:exec", "clone"), ("start:thread", "getpid"), ("clone", "fork"), ("fork", "listen")),
        *(("start:fork", "getppid"), ("getppid", "getgid")),
    }
    assert edges(capture, Stage.LISTENING) == {
        *(("getpid", "getuid"), ("listen", "fork"), ("fork", "listen"), ("start:fork", "accept4"))
    }
    assert edges(capture, Stage.ACCEPTING) == {("accept4", "execve"), ("start:exec", "geteuid")}
    # Of socketcall, strace shows what it does.
    narrow = ("[ Process PID=7 runs in 32 bit mode. ]", "[ 102] listen(3, 9) = 0", "getpid() = 7")
    assert edges(run(*narrow), Stage.LISTENING, Arch.X86) == {("socketcall", "getpid")}


def test_three_in_a_row() -> None:
    capture = run("getpid() = 7", "getpid() = 7", "getuid() = 0", "getpid() = 7", "getpid() = 7", "getgid() = 0")
    assert triples(capture) == {
        *(("start:exec", "getpid", "getuid"), ("getpid", "getuid", "getpid"), ("getuid", "getpid", "getgid"))
    }
    # Another ABI begins anew, and so does a handler.
    lines_ = ("getpid() = 7", "[ 200] getgid32() = 0", "[  20] getpid() = 7", "[  39] getpid() = 7", "getuid() = 0")
    mixed = run(*lines_)
    assert edges(mixed, arch=Arch.X86) == {("foreign", "getgid32"), ("getgid32", "getpid")}
    assert triples(mixed, arch=Arch.X86) == {("foreign", "getgid32", "getpid")}
    assert edges(mixed) == {("start:exec", "getpid"), ("foreign", "getpid"), ("getpid", "getuid")}
    assert triples(mixed) == {("foreign", "getpid", "getuid")}
    handled = run(
        *("rt_sigaction(SIGUSR1, {sa_handler=0x55, sa_mask=[], sa_flags=0}, NULL, 8) = 0", "getpid() = 7"),
        *("--- SIGUSR1 {si_signo=SIGUSR1} ---", "getuid() = 0", "getuid() = 0", "rt_sigreturn({mask=[]}) = 7"),
        *("getpid() = 7", "getgid() = 0"),
    )
    assert triples(handled) == {
        *(("start:exec", "rt_sigaction", "getpid"), ("rt_sigaction", "getpid", "getgid")),
        ("signal", "getuid", "rt_sigreturn"),
    }


def test_a_signal_of_which_only_the_return_tells() -> None:
    """Of what ran before, handlers are not known: three in a row wait for what comes of it."""
    before = ("7 getpid() = 7", "7 getuid() = 0", "7 --- SIGUSR1 {si_signo=SIGUSR1} ---", "7 getgid() = 0")
    handled = of(*before, "7 getgid() = 0", "7 getegid() = 0", "7 rt_sigreturn({mask=[]}) = 0", "7 getppid() = 1")
    assert triples(handled, None) == {
        *(("signal", "getgid", "getegid"), ("getgid", "getegid", "rt_sigreturn"), ("getpid", "getuid", "getppid"))
    }
    ignored = of(*before, "7 getgid() = 0", "7 getegid() = 0", "7 getppid() = 1")
    assert triples(ignored, None) == {
        *(("getpid", "getuid", "getgid"), ("getuid", "getgid", "getegid"), ("getgid", "getegid", "getppid"))
    }
    # A handler that makes no call but to return.
    empty = of(*before[:3], "7 rt_sigreturn({mask=[]}) = 0", "7 getppid() = 1")
    assert edges(empty, None) == {("getpid", "getuid"), ("signal", "rt_sigreturn"), ("getuid", "getppid")}
    assert triples(empty, None) == {("getpid", "getuid", "getppid")}
    # The stage is that of the call, not of when it is known where it came from.
    later = of(*before[:3], "7 accept(3, NULL, NULL) = 4", "7 rt_sigreturn({mask=[]}) = 0", "7 getppid() = 1")
    assert edges(later, None) == {("getpid", "getuid"), ("signal", "accept")}
    assert edges(later, Stage.ACCEPTING) == {("accept", "rt_sigreturn"), ("getuid", "getppid")}


def test_numbers_that_no_kernel_has_are_no_calls() -> None:
    capture = run(
        "getpid() = 7", "syscall_0x270f(0x1, 0, 0, 0, 0, 0) = -1 ENOSYS (Function not implemented)", "getuid() = 0"
    )
    assert edges(capture) == {("start:exec", "getpid"), ("getpid", "getuid")}
    assert triples(capture) == {("start:exec", "getpid", "getuid")}


CALLS = ("getpid", "getuid", "getgid", "listen", "accept4")


@given(st.lists(st.sampled_from(CALLS), max_size=30))
def test_any_row_of_calls(row: list[str]) -> None:
    """Against what the definitions say, one state after the other."""
    given_ = {"listen": "listen(3, 9) = 0", "accept4": "accept4(3, NULL, NULL, 0) = 4"}
    capture = run(*(given_.get(name, f"{name}() = 0") for name in row), "exit_group(0) = ?")
    at, pairs, threes = 0, set(), set()
    before, last = "", states.EXEC
    for name in (*row, "exit_group"):
        stage = list(Stage)[at]
        pairs.add((stage, last, name))
        if name != last:
            if before:
                threes.add((stage, before, last, name))
            before, last = last, name
        at = max(at, {"listen": 1, "accept4": 2}.get(name, 0))
    assert {(stage, *edge) for stage in Stage for edge in edges(capture, stage)} == pairs
    assert {(stage, *triple) for stage in Stage for triple in triples(capture, stage)} == threes
