"""What follows what in a thread, as the watch judges it: edges, beginnings, classes, signals, depth, ABIs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import need
from watching import Kernel, both, build, call, chain, loaded, narrow, policy

from rig import namespace
from scmm_oci.tables.arch import Arch

END = "exit_group"


@pytest.fixture(scope="module")
def kernel(inside: namespace.Entered, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    need("KERNEL", None if os.uname().machine == "x86_64" else "the program's numbers are those of x86_64")
    with loaded(tmp_path_factory.mktemp("watch")) as found:
        yield found


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("watched"))


def told(kernel: Kernel, program: Path, rows: dict[str, list[str]], *words: str, **options: object) -> list[object]:
    """The edges that are told when the program runs its words."""
    with kernel.watch(policy(rows, **options)) as watched:  # type: ignore[arg-type]
        assert watched.run(program, *words) == 0
        assert watched.count("violations") == len(watched.edges) + watched.count("unreported")
        assert watched.count("entered") == 1
        return watched.edges  # type: ignore[return-value]


def again(name: str) -> str:
    """The word for a call that is made in another place of the program than `call` does."""
    return "d" + call(name)[1:]


def test_each_call_is_judged_by_the_one_before(kernel: Kernel, program: Path) -> None:
    rows = chain("start:exec", "getppid", "getuid", "getppid", END)
    words = (call("getppid"), call("getuid"), call("getppid"))
    assert told(kernel, program, rows, *words) == []
    # All of its calls are allowed, in another order.
    assert told(kernel, program, rows, *words, again("getppid"), call("getuid"), again("getuid")) == [
        ("getppid", "getppid"),
        ("getuid", "getuid"),
        ("getuid", END),
    ]
    # From the same place it could be the kernel that makes an interrupted call again.
    assert told(kernel, program, rows, *words, call("getppid")) == []
    # What is flagged is what comes next judged by.
    assert told(kernel, program, rows, call("getppid"), call("sched_yield"), call("getuid")) == [
        ("getppid", "sched_yield"),
        ("sched_yield", "getuid"),
        ("getuid", END),
    ]


@pytest.mark.parametrize("how", ["kill", "count", "alert"])
def test_what_is_done(kernel: Kernel, program: Path, tmp_path: Path, how: str) -> None:
    rows = both(chain("start:exec", "getppid", END), chain("start:exec", "execve"))
    with kernel.watch(policy(rows), action=how) as watched:
        # The program executes itself after getppid, and would write then.
        status = watched.run(program, call("getppid"), "E", "o,done")
        alerts = watched.alerts
        counters = watched.value.counters
    assert status == (-signal.SIGKILL if how == "kill" else 0)
    assert counters["kills"] == (how == "kill")
    assert [(each.state, each.to) for each in alerts][:1] == ([] if how == "count" else [(110, 59)])
    assert counters["violations"] == (1 if how == "kill" else 3)
    if alerts:
        assert alerts[0].action == ("kill" if how == "kill" else "none")
        assert (alerts[0].comm, alerts[0].path) == ("program", str(program))
        assert alerts[0].recent == (110, 59)
        assert alerts[0].tgid == watched.started[0].pid == alerts[0].tid


@pytest.mark.parametrize("action", ["kill", "alert"])
def test_a_kill_comes_before_the_effect_of_execve_and_fork(
    kernel: Kernel, program: Path, tmp_path: Path, action: str
) -> None:
    rows = chain("start:exec", "getppid", END)
    for number, word in enumerate(("E", "F{")):
        mark = tmp_path / f"{action}{number}"
        # openat: O_CREAT | O_WRONLY
        make = call("openat", -100, f"@{mark}", 0o101, 0o600)
        with kernel.watch(policy(rows), action=action) as watched:
            status = watched.run(program, call("getppid"), word, make, *(["}"] if word == "F{" else []))
        assert (status, mark.exists()) == ((-signal.SIGKILL, False) if action == "kill" else (0, True))


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("openat:write", [call("openat", -100, "@/nowhere/x", 1)]),
        ("openat:write", [call("openat", -100, "@/nowhere/x", 0o100)]),
        ("openat:read", [call("openat", -100, "@/nowhere/x", 0)]),
        ("open:write", [call("open", "@/nowhere/x", 2)]),
        ("socket:unix", [call("socket", 1, 1, 0)]),
        ("socket:inet", [call("socket", 2, 1, 0)]),
        ("socket:inet6", [call("socket", 10, 1, 0)]),
        ("socket:netlink", [call("socket", 16, 3, 0)]),
        ("socket:other", [call("socket", 38, 5, 0)]),
        ("mmap:exec", [call("mmap", 0, 4096, 5, 0x22, -1, 0)]),
        ("mmap:data", [call("mmap", 0, 4096, 3, 0x22, -1, 0)]),
        ("mprotect:exec", [call("mprotect", 0, 0, 4)]),
    ],
)
def test_classes_of_calls(kernel: Kernel, program: Path, state: str, words: list[str]) -> None:
    name, _, kind = state.partition(":")
    other = {"write": "read", "read": "write", "exec": "data", "data": "exec"}.get(kind, "packet")
    assert told(kernel, program, chain("start:exec", state, END), *words) == []
    assert told(kernel, program, chain("start:exec", name, END), *words) == []
    assert told(kernel, program, chain("start:exec", f"{name}:{other}", END), *words) == [
        ("start:exec", state),
        (state, END),
    ]


def test_processes_threads_and_programs_begin(kernel: Kernel, program: Path) -> None:
    rows = both(
        chain("start:exec", "fork", "wait4", "vfork", "wait4", "clone3", "wait4", "clone", END),
        chain("start:fork", "getppid", END),
        chain("start:thread", "getuid", "exit"),
    )
    ids = {"f": call("getppid"), "t": call("getuid")}
    blocks = [word for kind in "fv3t" for word in (f"{kind}{{", ids.get(kind, ids["f"]), "}")]
    assert told(kernel, program, rows, *blocks) == []
    # The other's first call, by each of them.
    swapped = [word for kind in "fv3t" for word in (f"{kind}{{", ids["f" if kind == "t" else "t"], "}")]
    assert told(kernel, program, rows, *swapped) == [
        *([("start:fork", "getuid"), ("getuid", END)] * 3),
        ("start:thread", "getppid"),
        ("getppid", "exit"),
    ]
    rows = both(chain("start:exec", "execve"), chain("start:exec", "getuid", END))
    assert told(kernel, program, rows, "E", "E", call("getuid")) == []
    assert told(kernel, program, rows, "E", call("getuid"), "E") == [("getuid", "execve"), ("start:exec", END)]
    # A fork goes on after nothing of its parent's.
    rows = both(chain("start:exec", "getuid", "fork", "wait4", END), chain("start:fork", "getuid", END))
    assert told(kernel, program, rows, call("getuid"), "f{", call("getuid"), "}") == []
    assert told(kernel, program, rows, call("getuid"), "f{", "}") == [("start:fork", END)]


SIGNALS = both(
    chain("start:exec", "getpid", "rt_sigaction", "kill", "getuid", END),
    chain("signal", "getppid", "rt_sigreturn"),
)


def test_handlers_begin_and_return(kernel: Kernel, program: Path) -> None:
    inside = ("h,10{", call("getppid"), "}")
    assert told(kernel, program, SIGNALS, "p", *inside, "k,10", call("getuid")) == []
    assert told(kernel, program, SIGNALS, "p", "h,10{", call("getuid"), "}", "k,10", call("getuid")) == [
        ("signal", "getuid"),
        ("getuid", "rt_sigreturn"),
    ]
    # What was interrupted goes on, as if nothing had been: here with what may not follow.
    assert told(kernel, program, SIGNALS, "p", *inside, "k,10", call("getppid")) == [
        ("kill", "getppid"),
        ("getppid", END),
    ]


def test_handlers_within_handlers(kernel: Kernel, program: Path) -> None:
    rows = both(
        chain("start:exec", "getpid", "rt_sigaction", "rt_sigaction", "kill", "getuid", END),
        chain("signal", "getgid", "kill", "getegid", "rt_sigreturn"),
        chain("signal", "getppid", "rt_sigreturn"),
    )
    outer = ("h,10{", call("getgid"), "k,12", call("getegid"), "}")
    words = ("p", "h,12{", call("getppid"), "}", *outer, "k,10", call("getuid"))
    assert told(kernel, program, rows, *words) == []
    # After the inner one, the outer one goes on after kill, not after the inner one's getppid.
    broken = both(rows, {})
    broken["kill"] = ["getuid"]
    assert told(kernel, program, broken, *words) == [("kill", "getegid")]


def test_a_handler_that_is_left_by_a_jump(kernel: Kernel, program: Path) -> None:
    rows = both(
        chain("start:exec", "getpid", "rt_sigaction", "rt_sigaction", "kill"),
        chain("signal", "getppid", "kill", "getuid", END),
        chain("signal", "getgid", "rt_sigreturn"),
    )
    # Out of the first handler to after `k,10`; then another, which returns to where it was.
    words = (
        "p",
        "S",
        "h,10{",
        call("getppid"),
        "j,6",
        "}",
        "k,10",
        "h,12{",
        call("getgid"),
        "}",
        "k,12",
        call("getuid"),
    )
    del rows["getpid"], rows["rt_sigaction"]
    rows = both(rows, chain("getpid", "rt_sigaction", "kill"), chain("getppid", "rt_sigaction"))
    assert told(kernel, program, rows, *words) == []
    del rows["kill"]
    assert ("kill", "getuid") in told(kernel, program, rows, *words)


def test_many_handlers_that_were_left(kernel: Kernel, program: Path) -> None:
    """The oldest places are forgotten, and what comes back to one of them is judged no closer than by all rows."""
    rows = both(
        chain("start:exec", "getpid", "rt_sigaction", "kill"),
        chain("signal", "kill"),
        chain("signal", "getppid", "rt_sigreturn", "getuid"),
    )
    rows = both(rows, chain("kill", "rt_sigreturn"), chain("kill", "getuid", END), chain("signal", "rt_sigreturn"))
    # Ten handlers inside one another: each sends the signal of the next.
    handlers = [word for number in range(40, 50) for word in (f"h,{number}{{", f"k,{number + 1}", "}")]
    rows = both(rows, chain("rt_sigaction", "rt_sigaction"))
    words = ("p", *handlers, "h,50{", call("getppid"), "}", "k,40", call("getuid"))
    with kernel.watch(policy(rows)) as watched:
        assert watched.run(program, *words) == 0
        assert watched.edges == []
        assert watched.count("lost_handlers") == 3


def test_the_end_of_a_handler_where_none_runs(kernel: Kernel, program: Path) -> None:
    rows = both(
        SIGNALS, chain("kill", "rt_sigreturn"), chain("start:exec", "rt_sigreturn"), chain("start:exec", "getuid")
    )
    with kernel.watch(policy(rows)) as watched:
        assert watched.run(program, "r", call("getuid")) == 0
        assert [each.kind for each in watched.alerts] == ["no-handler"]
        assert watched.count("no_handler") == watched.count("violations") == 1
    with kernel.watch(policy(rows), action="kill") as watched:
        assert watched.run(program, "r", call("getuid")) == -signal.SIGKILL
    # Where one runs, its end is none.
    with kernel.watch(policy(rows)) as watched:
        assert watched.run(program, "p", "h,10{", call("getppid"), "}", "k,10", call("getuid")) == 0
        assert watched.count("no_handler") == 0


@pytest.mark.parametrize("word", ["H", "h"])
def test_calls_that_the_kernel_makes_again(kernel: Kernel, program: Path, word: str) -> None:
    """A read that a signal interrupts is made again after SA_RESTART, and returns EINTR otherwise."""
    rows = both(
        chain("start:exec", "rt_sigaction", "write", "read", "getuid", END), chain("signal", "getppid", "rt_sigreturn")
    )
    from watching import await_output, let_go

    with kernel.watch(policy(rows)) as watched:
        process = watched.start(program, f"{word},10{{", call("getppid"), "}", "o,+", "w", call("getuid"))
        await_output(process, b"+")
        _await_read(process.pid)
        process.send_signal(signal.SIGUSR1)
        if word == "H":
            _await_read(process.pid)
            for number in (signal.SIGSTOP, signal.SIGCONT, signal.SIGUSR1):
                process.send_signal(number)
            _await_read(process.pid)
            let_go(process)
        assert process.wait(60) == 0
        assert watched.edges == []
    # The program's own second read is none that the kernel makes again.
    with kernel.watch(policy(rows)) as watched:
        process = watched.start(program, "h,10{", "}", "o,+", "w", call("read", 0, "$", 1), call("getuid"))
        process.communicate(b"xx", timeout=60)
        assert watched.edges == [("read", "read")]


def _await_read(pid: int) -> None:
    from rig.process import wait_until

    where = Path(f"/proc/{pid}/syscall")
    wait_until(lambda: where.read_text().split()[0] == "0", deadline_s=60, what="it waits in read")


def test_restart_syscall_never_counts(kernel: Kernel, program: Path) -> None:
    rows = chain("start:exec", "getppid", "getuid", END)
    assert told(kernel, program, rows, call("getppid"), call("restart_syscall"), call("getuid")) == []
    assert told(kernel, program, rows, call("getppid"), call("getpgrp"), call("getuid")) != []


def test_depth_three(kernel: Kernel, program: Path) -> None:
    rows = both(
        chain("start:exec", "getppid", "getpid", "getuid", END), chain("start:exec", "getgid", "getpid", "getegid", END)
    )
    rows = both(rows, {"getpid": ["getpid"]})
    deep = {"getppid > getpid": ["getuid"], "getgid > getpid": ["getegid"]}
    one, two = (call("getppid"), "p", call("getuid")), (call("getgid"), "p", call("getegid"))
    assert told(kernel, program, rows, *one, deep=deep) == told(kernel, program, rows, *two, deep=deep) == []
    mixed = (call("getppid"), "p", call("getegid"))
    assert told(kernel, program, rows, *mixed) == []
    assert told(kernel, program, rows, *mixed, deep=deep) == [("getpid", "getegid")]
    # Repetitions count once.
    assert told(kernel, program, rows, call("getppid"), "p", "p", call("getuid"), deep=deep) == []
    assert told(kernel, program, rows, call("getppid"), "p", "p", call("getegid"), deep=deep) == [("getpid", "getegid")]
    # A list may have what the row has not; an empty one allows nothing.
    assert told(kernel, program, rows, call("getppid"), "p", call("getgid"), call("getpid"), call("getegid"), deep={
        "getppid > getpid": ["getgid"], "getgid > getpid": ["getegid"],
    }) == []  # fmt: skip
    assert told(kernel, program, rows, *one, deep={"getppid > getpid": []}) == [("getpid", "getuid")]
    # At a beginning nothing is before; then the beginning is.
    deep = {"start:exec > getppid": ["getuid"]}
    assert told(kernel, program, rows, call("getppid"), "p", call("getuid"), deep=deep) == [("getppid", "getpid")]


def test_what_was_before_is_told(kernel: Kernel, program: Path) -> None:
    with kernel.watch(policy(chain("start:exec", "getppid", "getuid"))) as watched:
        watched.run(program, call("getppid"), call("getuid"), call("getgid"))
        assert watched.told == [
            ("getppid", "getuid", "getgid"),
            ("getuid", "getgid", END),
        ]
    with kernel.watch(policy(chain("start:exec", "getppid"))) as watched:
        watched.run(program)
        assert watched.told == [("", "start:exec", END)]


def test_other_abis(kernel: Kernel, program: Path) -> None:
    rows = both(chain("start:exec", "getppid", END), chain("foreign", "getppid", "getuid"), chain("foreign", END))
    words = (call("getppid"), narrow("getppid"), narrow("getuid"), call("getppid"))
    arches = (Arch.X86_64, Arch.X86)
    assert told(kernel, program, rows, *words, arches=arches) == []
    # i386's 64 is getppid there, and semget here.
    assert told(kernel, program, rows, call("getppid"), narrow("getuid"), arches=arches) == [("foreign", "getuid")]
    with kernel.watch(policy(rows)) as watched:
        assert watched.run(program, *words) == 0
        assert [each.kind for each in watched.alerts] == ["no-machine"] * 2
        assert watched.count("no_machine") == watched.count("violations") == 2
    with kernel.watch(policy(rows), action="kill") as watched:
        assert watched.run(program, *words) == -signal.SIGKILL


def test_programs_of_32_bits(kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> None:
    small = build(tmp_path_factory.mktemp("narrow"), narrow=True)
    rows = both(
        chain("start:exec", "getpid", "rt_sigaction", "kill", "getuid", "fork", "wait4", END),
        chain("signal", "getppid", "rt_sigreturn"),
        chain("start:fork", END),
    )
    word = f"c,{64}"  # getppid; getuid is 24: i386's numbers
    words = ("p", "h,10{", word, "}", "k,10", "c,24", "f{", "}")
    with kernel.watch(policy(rows, arches=(Arch.X86,))) as watched:
        assert watched.run(small, *words) == 0
        assert watched.edges == []
        assert watched.run(small, *words, word) == 0
        assert watched.edges == [("wait4", "getppid"), ("getppid", END)]
    # A policy for the other ABI alone says nothing of it.
    with kernel.watch(policy(rows)) as watched:
        assert watched.run(small, *words) == 0
        assert watched.count("no_machine") == watched.count("violations") > 0
