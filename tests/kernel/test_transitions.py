"""What leads to what, by the recorder and by strace: beginnings, classes, stages and three in a row.

The program makes the calls that its words say and no others (tests/payload/watched.c), so that every edge is known.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest
from recording import Recorder, as_from_a_shell, losses
from support import Hooks
from trial import Trial

from rig.process import wait_until
from scmm_oci.capture import file
from scmm_oci.capture.facts import Edges, Stage
from scmm_oci.capture.model import Capture, NoteKind
from scmm_oci.capture.strace.importer import Log, import_logs
from scmm_oci.capture.strace.lexer import lines
from scmm_oci.recorder import pins, wire
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch

PAYLOAD = Path(__file__).resolve().parents[1] / "payload"
NUMBERS = syscalls.numbers("x86_64")
NARROW = syscalls.numbers("x86")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("transitions") / "watched"
    options = ("-O2", "-nostdlib", "-static", "-ffreestanding", "-fno-stack-protector", "-fno-pic", "-no-pie")
    subprocess.run(["gcc", *options, "-o", target, PAYLOAD / "watched.c"], check=True)
    return target


def call(name: str, *arguments: object) -> str:
    """The word for a call."""
    return ",".join(map(str, ("c", NUMBERS[name], *arguments)))


def narrow(name: str, *arguments: object) -> str:
    """The word for a call of the 32-bit ABI."""
    return ",".join(map(str, ("C", NARROW[name], *arguments)))


def recorded(hooks: Hooks, directory: Path, program: Path, *words: str, depth: int = 3) -> Capture:
    recorder = Recorder(hooks, directory)
    document = recorder.of(str(program), *words, options=("--depth", str(depth)))
    assert losses(document) == {}
    return file.parse(recorder.path().read_bytes())


def traced(directory: Path, program: Path, *words: str) -> Capture:
    """The same program under strace."""
    path = directory / "trace"
    done = subprocess.run(
        ["strace", "-f", "-o", path, program, *words],
        check=False, capture_output=True, timeout=60, preexec_fn=as_from_a_shell,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with path.open("rb") as opened:
        return import_logs([Log("trace", lines(opened), None)], name="t")


def both(hooks: Hooks, directory: Path, program: Path, *words: str) -> dict[tuple[Arch, Stage | None], Edges]:
    """The order that the recorder and strace both give."""
    ours, theirs = recorded(hooks, directory, program, *words), traced(directory, program, *words)
    assert ours.order == theirs.order
    return {(one.arch, one.stage): one for one in ours.order}


def named(edges: Edges, items: Iterable[tuple[int | str, ...]] | None = None) -> set[tuple[str, ...]]:
    """Edges (or triples) in words."""
    return {
        tuple(state if isinstance(state, str) else str(syscalls.name_of(edges.arch, state)) for state in item)
        for item in (edges.pairs if items is None else items)
    }


def chain(*states: str) -> set[tuple[str, str]]:
    """What follows what in one thread."""
    return set(pairwise(states))


STARTING = (Arch.X86_64, Stage.STARTING)


def test_programs_processes_and_threads_begin_each_in_its_own_way(hooks: Hooks, tmp_path: Path, program: Path) -> None:
    last = ("E", call("getpgrp"))
    words = (
        *(call("getuid"), "t{", call("getppid"), "}", "f{", call("getgid"), "}"),
        *("3{", call("geteuid"), "}", "v{", call("getegid"), "}", *last),
    )
    found = both(hooks, tmp_path, program, *words)
    assert list(found) == [STARTING]
    assert named(found[STARTING]) == {
        *chain("start:exec", "getuid", "clone", "fork", "wait4", "clone3", "wait4", "vfork", "wait4", "execve"),
        *chain("start:thread", "getppid", "exit"),
        *chain("start:fork", "getgid", "exit_group"),
        *chain("start:fork", "geteuid", "exit_group"),
        *chain("start:fork", "getegid", "exit_group"),
        *chain("start:exec", "getpgrp", "exit_group"),
    }


def test_classes_of_calls(hooks: Hooks, tmp_path: Path, program: Path) -> None:
    made = tmp_path / "made"
    words = (
        *(call("openat", -100, "@/dev/null", 0), call("openat", -100, f"@{made}", 0o101, 0o644)),
        *(call("open", "@/dev/null", 0o2000000), call("open", "@/dev/null", 0o1000), call("open", "@/dev/null", 2)),
        *(call("mmap", 0, 4096, 3, 0x22, -1, 0), call("mprotect", "*", 4096, 1), call("mprotect", "*", 4096, 5)),
        call("mmap", 0, 4096, 5, 0x22, -1, 0),
        *(call("socket", family, 1, 0) for family in (1, 2, 10, 16, 17, 38, 99)),
        *(call("socketpair", 1, 1, 0, "$"), call("socketpair", 2, 1, 0, "$"), call("getuid")),
        # Numbers that no kernel has are no calls: they are between getuid and getgid, and nothing tells of them.
        *("c,548", "c,573", "c,600", call("getgid")),
    )
    ours, theirs = recorded(hooks, tmp_path, program, *words), traced(tmp_path, program, *words)
    assert ours.order == theirs.order
    assert named(ours.order[0]) == chain(
        *("start:exec", "openat:read", "openat:write", "open:read", "open:write", "open:write", "mmap:data"),
        *("mprotect:data", "mprotect:exec", "mmap:exec", "socket:unix", "socket:inet", "socket:inet6"),
        *("socket:netlink", "socket:packet", "socket:other", "socket:other", "socketpair:unix", "socketpair:inet"),
        *("getuid", "getgid", "exit_group"),
    )
    assert {note.kind: note.count for note in ours.notes}[NoteKind.BAD_NUMBERS] == 3
    assert made.exists()


def test_classes_and_stages_of_another_abi(hooks: Hooks, tmp_path: Path, program: Path) -> None:
    """By int 0x80. i386's first mmap has its protection in memory: that of "d" is executable, that of "a" is not."""
    words = (
        *(call("getuid"), narrow("getuid"), narrow("open", "@/dev/null", 1), narrow("mmap", "@" + "a" * 24)),
        *(narrow("mmap", "@" + "d" * 24), narrow("mmap", 1), narrow("getgid"), call("getppid")),
        # socket, listen, accept as subcalls.
        *(narrow("socketcall", 1, "$"), narrow("socketcall", 4, "$"), narrow("getuid"), call("getuid")),
        *(narrow("socketcall", 18, "$"), narrow("getgid"), call("getgid")),
    )
    ours = recorded(hooks, tmp_path, program, *words)
    found = {(one.arch, one.stage): one for one in ours.order}
    pairs = {key: named(one) for key, one in found.items()}
    narrow_pairs = {
        ("foreign", "getuid"),
        *chain("getuid", "open:write", "mmap:data", "mmap:exec", "mmap:exec", "getgid"),
        ("foreign", "socketcall"),
        ("socketcall", "socketcall"),
    }
    assert pairs == {
        STARTING: {("start:exec", "getuid"), ("foreign", "getppid")},
        (Arch.X86, Stage.STARTING): narrow_pairs,
        (Arch.X86, Stage.LISTENING): {("socketcall", "getuid"), ("foreign", "socketcall")},
        (Arch.X86_64, Stage.LISTENING): {("foreign", "getuid")},
        (Arch.X86, Stage.ACCEPTING): {("socketcall", "getgid")},
        (Arch.X86_64, Stage.ACCEPTING): {("foreign", "getgid"), ("getgid", "exit_group")},
    }
    # Nothing three deep goes from one ABI to another.
    assert found[STARTING].triples == () == found[Arch.X86_64, Stage.LISTENING].triples
    triples = named(found[Arch.X86, Stage.STARTING], found[Arch.X86, Stage.STARTING].triples)
    assert triples == {
        *(("foreign", "getuid", "open:write"), ("getuid", "open:write", "mmap:data")),
        *(("open:write", "mmap:data", "mmap:exec"), ("mmap:data", "mmap:exec", "getgid")),
    }
    after = found[Arch.X86_64, Stage.ACCEPTING]
    assert named(after, after.triples) == {("foreign", "getgid", "exit_group")}


def test_stages_of_a_process(hooks: Hooks, tmp_path: Path, program: Path) -> None:
    """A thread listens while another, that was there before, makes no call; children and programs after it go on."""
    words = (
        *("f{", call("getppid"), "}", call("getuid"), "t{", call("listen", -1), "}", call("getgid")),
        # What a child accepts is not its parent's.
        *("f{", call("accept", -1, 0, 0), call("geteuid"), "f{", call("getsid", 0), "}", "}"),
        # Nor does a stage go back.
        *(call("listen", -1), call("getegid"), "E", call("getpgrp"), "t{", call("accept4", -1, 0, 0), "}"),
        *(call("listen", -1), call("gettid"), "E", call("getpid")),
    )
    found = both(hooks, tmp_path, program, *words)
    assert {key[1]: named(one) for key, one in found.items()} == {
        Stage.STARTING: {
            *chain("start:exec", "fork", "wait4", "getuid", "clone"),
            *chain("start:fork", "getppid", "exit_group"),
            ("start:thread", "listen"),
        },
        Stage.LISTENING: {
            ("listen", "exit"),
            *chain("clone", "getgid", "fork", "wait4", "listen", "getegid", "execve"),
            ("start:fork", "accept"),
            *chain("start:exec", "getpgrp", "clone"),
            ("start:thread", "accept4"),
        },
        Stage.ACCEPTING: {
            *chain("accept", "geteuid", "fork", "wait4", "exit_group"),
            *chain("start:fork", "getsid", "exit_group"),
            ("accept4", "exit"),
            *chain("clone", "listen", "gettid", "execve"),
            *chain("start:exec", "getpid", "exit_group"),
        },
    }


def test_a_program_that_a_thread_executes_keeps_the_stage(hooks: Hooks, tmp_path: Path, program: Path) -> None:
    """It takes the first thread's place, which is gone with all that was known of it."""
    words = (call("listen", -1), "t{", "E", call("getuid"), "t{", call("getgid"), "}")
    (starting, listening) = both(hooks, tmp_path, program, *words).values()
    assert named(starting) == {("start:exec", "listen")}
    assert named(listening) == {
        *chain("listen", "clone"),
        ("start:thread", "execve"),
        *chain("start:exec", "getuid", "clone", "exit_group"),
        *chain("start:thread", "getgid", "exit"),
    }


def test_three_in_a_row(hooks: Hooks, tmp_path: Path, program: Path) -> None:
    twice = (call("getuid"), call("getuid"))
    words = (*twice, call("getgid"), *twice, "b,3{", call("getgid"), call("geteuid"), call("geteuid"), "}")
    (order,) = both(hooks, tmp_path, program, *words).values()
    assert named(order, order.triples) == {
        ("start:exec", "getuid", "getgid"),
        ("getuid", "getgid", "getuid"),
        ("getgid", "getuid", "getgid"),
        ("getuid", "getgid", "geteuid"),
        ("getgid", "geteuid", "getgid"),
        ("geteuid", "getgid", "geteuid"),
        ("getgid", "geteuid", "exit_group"),
    }
    # The control: the same edges without, and nothing three deep.
    (shallow,) = recorded(hooks, tmp_path, program, *words, depth=2).order
    assert (shallow.pairs, shallow.triples) == (order.pairs, None)
    # A handler begins anew; then what it interrupted goes on, with what was before that.
    handled = ("h,10{", call("getegid"), "}", "p", call("getuid"), "k,10", call("getgid"), call("getgid"))
    (order,) = both(hooks, tmp_path, program, *handled).values()
    assert named(order) == {
        *chain("start:exec", "rt_sigaction", "getpid", "getuid", "kill", "getgid", "getgid", "exit_group"),
        *chain("signal", "getegid", "rt_sigreturn"),
    }
    assert named(order, order.triples) == {
        *(("start:exec", "rt_sigaction", "getpid"), ("rt_sigaction", "getpid", "getuid")),
        *(("getpid", "getuid", "kill"), ("getuid", "kill", "getgid"), ("kill", "getgid", "exit_group")),
        ("signal", "getegid", "rt_sigreturn"),
    }


def test_what_ran_before_has_no_beginning_and_a_stage_only_once_it_accepts(
    hooks: Hooks, tmp_path: Path, program: Path
) -> None:
    words = (
        *(call("listen", -1), "w", call("getuid"), "f{", call("geteuid"), "}", call("listen", -1), call("getgid")),
        *(call("accept", -1, 0, 0), call("getegid")),
    )
    recorder = Recorder(hooks, tmp_path)
    with subprocess.Popen([program, *words], stdin=subprocess.PIPE, preexec_fn=as_from_a_shell) as running:
        asleep = f"/proc/{running.pid}/syscall"
        wait_until(lambda: Path(asleep).read_text().startswith("0 "), deadline_s=30, what="the program reads")
        with recorder.start("-p", str(running.pid), "--depth", "3", "-o", "capture.scmm-cap") as recording:
            recorder.entry()
            running.communicate(b"x", timeout=60)
            _, err = recording.communicate(timeout=60)
    assert (running.returncode, recording.returncode) == (0, 0), err
    capture = file.parse(recorder.path().read_bytes())
    assert losses(recorder.capture()).keys() == {"attached"}
    found = {one.stage: one for one in capture.order}
    assert {stage: named(one) for stage, one in found.items()} == {
        None: {
            *chain("getuid", "fork", "wait4", "listen", "getgid", "accept"),
            *chain("start:fork", "geteuid", "exit_group"),
        },
        Stage.ACCEPTING: chain("accept", "getegid", "exit_group"),
    }
    assert ("getuid", "fork", "wait4") in named(found[None], found[None].triples)
    assert "read" not in {state for pair in named(found[None]) for state in pair}


# Calls that do nothing here, whatever they are called with.
IDLE = (
    *("read", "write", "close", "fstat", "lseek", "readv", "writev", "sched_yield", "dup", "getpid", "flock", "fsync"),
    *("fdatasync", "ftruncate", "fchdir", "fchmod", "umask", "getuid", "getgid", "geteuid", "getegid", "getppid"),
    *("getpgrp", "getpgid", "getsid", "getpriority", "gettid"),
)


def every_three() -> list[str]:
    """A row of calls in which every three of IDLE stand one behind the other: a de Bruijn sequence."""
    size = len(IDLE)
    row: list[int] = []
    word = [0] * (3 * size)

    def grow(at: int, period: int) -> None:
        if at > 3:
            if 3 % period == 0:
                row.extend(word[1 : period + 1])
            return
        word[at] = word[at - period]
        grow(at + 1, period)
        for letter in range(word[at - period] + 1, size):
            word[at] = letter
            grow(at + 1, at)

    grow(1, 1)
    return [IDLE[letter] for letter in row]


def test_triples_beyond_a_recordings_share_are_counted_and_go_with_it(
    hooks: Hooks, tmp_path: Path, program: Path
) -> None:
    """While another recording runs, which keeps its own."""
    row = every_three()
    kept: set[tuple[str, ...]] = set()
    lost = 0
    before, last = "", "start:exec"
    for name in [*row, "exit_group"]:
        if name == last:
            continue
        if before and (before, last, name) not in kept:
            if len(kept) < wire.TRIPLES_PER_SLOT:
                kept.add((before, last, name))
            else:
                lost += 1
        before, last = last, name
    assert lost > 1000  # the control: without a bound there would be none
    recorder = Recorder(hooks, tmp_path)
    other = ("--depth", "3", "-o", "other.scmm-cap", "--", str(program), call("getuid"), call("getgid"), "w")
    with recorder.start(*other, stdin=subprocess.PIPE) as waiting:
        epoch = recorder.entry("other")["epoch"]
        recorder.await_calls("other", more_than=2)
        done = recorder.run("--depth", "3", "--", str(program), *(call(name, -1) for name in row))
        assert done.returncode == 0, done.stderr
        with pins.Maps(hooks.settings.pin_dir) as maps:
            left = [wire.TRIPLE_KEY.unpack(key) for key, _ in maps.triples.items()]
        assert {key[0] for key in left} == {epoch} and len(left) == 2
        waiting.communicate("x", timeout=60)
    assert losses(recorder.capture()) == {"lost-order": lost}
    (order,) = file.parse(recorder.path().read_bytes()).order
    assert named(order, order.triples) == kept
    assert losses(recorder.capture("other")) == {}


@pytest.mark.parametrize(("depth", "kept"), [("3", 2), (None, None), ("4", None)])
def test_containers_ask_for_triples_by_annotation(
    hooks: Hooks, payload: Path, program: Path, depth: str | None, kept: int | None
) -> None:
    words = ("gate", str(program), call("getuid"), call("getgid"))
    with Trial(hooks, payload, *words, name="deep", gate=False, record="false") as trial:
        given = {"scmm.record": "true", "scmm.name": "deep", **({} if depth is None else {"scmm.depth": depth})}
        started = trial.hook("prestart", trial.state(annotations=given))
        assert started.returncode == 0, started.stderr
        # One that is not known is told, and the usual is recorded.
        assert ("scmm.depth='4' (known values: 2, 3)" in started.stderr) == (depth == "4")
        trial.release()
        (order,) = trial.finish()["order"]
    assert len(order["edges"]) == 3
    assert (len(order["triples"]) if "triples" in order else None) == kept
