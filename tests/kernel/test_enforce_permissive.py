"""Permissive mode on this kernel: nothing is refused, all that would be is told, and the process is as without it.

The program is tests/payload/permissive.c. Each behaviour has its control: the same run with the filter in force, or
without the launcher.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeVar

import pytest
from enforce import base, launcher, needed, place, stored
from live import compiled
from recording import as_from_a_shell

from rig.process import wait_until
from scmm_oci.compiled import bpf
from scmm_oci.compiled.filter.values import VIOLATION
from scmm_oci.compiled.polfile import write
from scmm_oci.compiled.policy_file import policy_file
from scmm_oci.policy import document

DEADLINE_S = 60
T = TypeVar("T")
ABIS = "{default_action: allow, default_errno: EPERM, arch: x86_64, architectures: [x86_64, x86, x32]}"
POLICY = f"""
version: "1.0"
settings: {ABIS}
syscalls:
  - {{name: getpid, action: deny}}
  - {{name: getsid, action: deny, errno: EPROTO}}
  - {{name: chdir, action: kill}}
  - {{name: connect, action: trap}}
  - {{name: uname, action: kill_thread}}
  - {{name: times, action: trace}}
  - {{name: syncfs, action: notify}}
  - {{name: umask, action: log}}
"""
HEAD = "scmm-enforce: would refuse "


@pytest.fixture(autouse=True, scope="module")
def _kernel():
    needed()


@cache
def acts() -> Path:
    return compiled("permissive.c", base())


def made(text: str = POLICY) -> bytes:
    return write(policy_file(document.parse(text.encode()))[0])


def rules(*given: str) -> str:
    """Another policy, with these rules."""
    return "\n  - ".join((POLICY.split("syscalls:")[0] + "syscalls:", *given)) + "\n"


@cache
def policy() -> Path:
    return stored(made())


def command(
    *words: object, options: tuple[str, ...] = (), by: Path | None = None, mode: str = "permissive"
) -> list[str]:
    file = str(by or policy())
    return [str(launcher()), "-p", file, "-m", mode, *options, "--", str(acts()), *(str(one) for one in words)]


def run(*words: object, **how: Any) -> subprocess.CompletedProcess[str]:
    """The program under supervision; what is told is on standard error."""
    given = {one: how.pop(one) for one in ("options", "by", "mode") if one in how}
    return subprocess.run(
        command(*words, **given), capture_output=True, text=True, timeout=DEADLINE_S, check=False, **how
    )


@dataclass(frozen=True)
class Report:
    """The lines of a report, and its counts: what of which call → how often."""

    lines: list[str]
    counts: dict[str, int]


def report(text: str) -> Report:
    counts = {}
    for line in text.splitlines():
        if found := re.fullmatch(r"scmm-enforce:   (\d+) times? (.*)", line):
            counts[found[2]] = int(found[1])
    told = [line.removeprefix(HEAD) for line in text.splitlines() if line.startswith(HEAD)]
    total = re.findall(r"would have refused (\d+) calls?:", text)
    assert [int(one) for one in total] == ([sum(counts.values())] if counts else []), text
    assert len(told) == len(counts), text
    return Report([re.sub(r"process \d+", "process N", one) for one in told], counts)


@contextmanager
def started(*words: object, options: tuple[str, ...] = (), **how: Any) -> Iterator[subprocess.Popen[str]]:
    how = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **how}
    with subprocess.Popen(command(*words, options=options), **how) as process:
        try:
            yield process
        finally:
            process.kill()


def until(condition: Callable[[], T], what: str) -> T:
    return wait_until(condition, deadline_s=DEADLINE_S, what=what)


def _read(pipe: IO[Any], size: int) -> bytes:
    """What comes next, or nothing at the end; a failure if neither does."""
    assert select.select([pipe], [], [], DEADLINE_S)[0], "nothing came, and no end"
    return os.read(pipe.fileno(), size)


def line_of(pipe: IO[Any]) -> str:
    line = b""
    while not line.endswith(b"\n") and (byte := _read(pipe, 1)):
        line += byte
    return line.decode()


def rest_of(pipe: IO[Any]) -> str:
    found = b""
    while part := _read(pipe, 4096):
        found += part
    return found.decode()


def relatives(key: str, value: int) -> dict[int, str]:
    """Process → state, of those with this parent (PPid) or process group (NSpgid)."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if (one := re.search(rf"^{key}:\t(\d+)$", text, re.MULTILINE)) and int(one[1]) == value:
            state = re.search(r"^State:\t(\w)", text, re.MULTILINE)
            found[int(status.parent.name)] = state[1] if state else "?"
    return found


# Nothing is refused


def test_refused_calls_are_made_and_each_kind_is_told_once_with_its_count():
    words = ["getsid", "getsid", "chdir", "connect", "uname", "getsid", "umask"]
    alone = subprocess.run([acts(), *words], capture_output=True, text=True, timeout=DEADLINE_S, check=True)
    done = run(*words)
    assert (done.returncode, done.stdout) == (0, alone.stdout)
    assert "getsid: ok" in done.stdout
    assert report(done.stderr) == Report(
        [
            "getsid(0x0) of process N (permissive): errno 71 EPROTO",
            'chdir("/") of process N (permissive): the process is killed',
            "connect(0x3, 127.0.0.1:1, 0x10) of process N (permissive): SIGSYS is sent",
            "uname(0x0) of process N (permissive): the thread is killed",
        ],
        {
            "getsid: errno 71 EPROTO": 3,
            "chdir: the process is killed": 1,
            "connect: SIGSYS is sent": 4,
            "uname: the thread is killed": 1,
        },
    )
    # Control: the filter in force.
    refused = run("getsid", mode="seccomp")
    assert (refused.returncode, refused.stdout) == (0, "getsid: EPROTO\n")
    assert run("chdir", mode="seccomp").returncode == -signal.SIGSYS


def test_what_asks_someone_is_done_and_told():
    # Nobody is there to be asked: in force, both fail with ENOSYS.
    done = run("times", "sync")
    alone = subprocess.run([acts(), "times", "sync"], capture_output=True, text=True, timeout=DEADLINE_S, check=True)
    assert (done.returncode, done.stdout) == (0, alone.stdout)
    assert "ENOSYS" not in done.stdout
    assert set(report(done.stderr).counts) == {"times: a tracer is asked", "syncfs: a listener is asked"}
    assert run("times", mode="seccomp").stdout == "times: ENOSYS\n"


def test_twin_that_asks_someone_itself_refuses_nothing_either():
    # As the format allows, though our compiler makes none.
    file, _ = policy_file(document.parse(POLICY.encode()))
    (one,) = file.filters
    kept = (bpf.RET_ALLOW, bpf.RET_LOG, bpf.RET_TRACE, bpf.RET_USER_NOTIF)
    twin = tuple(
        replace(step, k=VIOLATION) if step.code == bpf.RET and step.k & bpf.RET_ACTION_FULL not in kept else step
        for step in one.program
    )
    assert {bpf.RET_TRACE, bpf.RET_USER_NOTIF} <= {step.k for step in twin if step.code == bpf.RET}
    done = run("times", "sync", by=stored(write(replace(file, filters=(replace(one, permissive=twin),)))))
    assert "ENOSYS" not in done.stdout
    assert set(report(done.stderr).counts) == {"times: a tracer is asked", "syncfs: a listener is asked"}


def test_policy_that_allows_all_that_is_done_has_an_empty_report():
    with place() as directory:
        file = directory / "report"
        done = run("umask", options=("--report", str(file)))
        assert (done.returncode, file.read_text()) == (0, "")
        assert HEAD not in done.stderr
        # Control.
        run("getsid", options=("--report", str(file)))
        assert report(file.read_text()).counts == {"getsid: errno 71 EPROTO": 1}
        assert file.stat().st_mode & 0o777 == 0o600


def test_other_abis_are_named():
    done = run("x86", "x32", "unknown", "getsid")
    assert done.stdout.splitlines()[0] == "x86: ok"
    counts = report(done.stderr).counts
    assert counts.pop("getpid: errno 1 EPERM") == 1  # the program compares
    assert counts == {
        "x86's getpid: errno 1 EPERM": 1,
        "x32's getsid: errno 71 EPROTO": 1,
        "getsid: errno 71 EPROTO": 1,
    }


def test_numbers_without_a_name_are_told_with_all_arguments():
    names = "read write close execve exit exit_group brk mmap mprotect prctl rt_sigprocmask arch_prctl set_tid_address"
    names += " set_robust_list rseq prlimit64 readlink readlinkat getrandom newfstatat fstat uname openat"
    allowed = rules(*(f"{{name: {one}, action: allow}}" for one in names.split()))
    done = run("unknown", by=stored(made(allowed.replace("default_action: allow", "default_action: deny"))))
    assert report(done.stderr).lines == [
        "call 999(0x1, 0x2, 0x3, 0x4, 0x5, 0x6) of process N (permissive): errno 1 EPERM"
    ]


@pytest.mark.parametrize(
    ("word", "said", "told"),
    [
        ("hostile", "ENOENT", r'chdir("/\"a\\\u000a\u001b[31m\u00ff")'),
        ("nowhere", "EFAULT", "chdir(0x10)"),
        ("edge", "ok", 'chdir("/")'),
        ("long", "ENAMETOOLONG", f'chdir("{"a" * 1024}"...)'),
    ],
)
def test_paths_are_told_whatever_they_are(word, said, told):
    done = run(word)
    assert done.stdout == f"{word}: {said}\n"
    assert report(done.stderr).lines == [f"{told} of process N (permissive): the process is killed"]


def test_a_path_that_another_thread_is_to_bring_holds_nothing_up():
    """It is on a page of userfaultfd(2), and who brings it makes a call first that is told too."""
    assert subprocess.run([acts(), "faulted"], capture_output=True, timeout=DEADLINE_S).stdout == b"faulted: ok\n"
    done = run("faulted")
    assert done.stdout == "faulted: ok\n"
    found = report(done.stderr)
    assert set(found.counts) == {"chdir: the process is killed", "getsid: errno 71 EPROTO"}
    assert re.match(r"chdir\(0x[0-9a-f]+000\) of ", found.lines[0])


def test_addresses_are_told():
    # Of one kind only the first is told: each family is refused by another policy, by the length of its address.
    found = {}
    for length in (16, 28, 110, 7):
        test = f"{{type: integer, arg: '2', op: eq, value: {length}}}"
        done = run("connect", by=stored(made(rules(f"{{name: connect, action: deny, constraints: [{test}]}}"))))
        found[length] = [one.split(", ")[1] for one in report(done.stderr).lines]
    assert found == {16: ["127.0.0.1:1"], 28: ["[0:0:0:0:0:0:0:1]:2"], 110: ['"/nowhere/at all"'], 7: ['@"name"']}


def test_each_call_of_many_threads_and_processes_is_counted():
    done = run("crowd")
    assert (done.returncode, done.stdout) == (0, "crowd: ok\n")
    assert report(done.stderr).counts == {"getsid: errno 71 EPROTO": 4 * 4 * 25}


def test_programs_that_are_executed_in_turn_are_told_by_their_names():
    done = run("named", "first", "getsid", "exec", "named", "second", "chdir", "exec", "named", "third", "connect")
    assert done.returncode == 0
    assert [one.split(" of ")[1] for one in report(done.stderr).lines] == [
        "process N (first): errno 71 EPROTO",
        "process N (second): the process is killed",
        "process N (third): SIGSYS is sent",
    ]


def test_no_call_is_lost_while_signals_come():
    # Linux gives EINTR to a call that is interrupted before the listener has seen it: then it was not made.
    done = run("interrupted", 3000)
    failed = int(done.stdout.removeprefix("interrupted: "))
    assert report(done.stderr).counts == {"getsid: errno 71 EPROTO": 3000 - failed}


# The process is as without


@pytest.mark.parametrize("code", [0, 7, 255])
def test_exit_status_is_the_program_s(code):
    done = run("getsid", "exit", code)
    assert done.returncode == code
    assert report(done.stderr).counts


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGUSR1])
def test_end_by_a_signal_is_the_program_s(number):
    done = run("getsid", "raise", int(number))
    assert done.returncode == -number
    assert report(done.stderr).counts["getsid: errno 71 EPROTO"] == 1


def test_signals_are_passed_on_once_each():
    with started("signals") as process:
        assert line_of(process.stdout) == "ready\n"
        for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGRTMIN + 3, signal.SIGINT, signal.SIGTERM):
            process.send_signal(number)
            assert line_of(process.stdout) == f"signal: {int(number)}\n"
        assert process.wait(DEADLINE_S) == 0
        assert rest_of(process.stdout) == ""


def test_stop_from_the_terminal_stops_both_and_continue_goes_on():
    # In a process group of its own, which is not orphaned: there SIGTSTP stops.
    with started("raise", int(signal.SIGTSTP), "getsid", process_group=0) as process:
        how = os.WUNTRACED | os.WNOHANG
        assert os.WIFSTOPPED(until(lambda: os.waitpid(process.pid, how)[1], "the stop"))
        os.killpg(process.pid, signal.SIGCONT)
        assert process.wait(DEADLINE_S) == 0
        assert rest_of(process.stdout) == "getsid: ok\n"


def test_ignored_child_signal_is_the_program_s_and_takes_no_status_away():
    done = run("status", "SigIgn", "exit", 7, preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    assert done.returncode == 7
    assert int(done.stdout.split()[1], 16) >> (signal.SIGCHLD - 1) & 1
    assert not int(run("status", "SigIgn").stdout.split()[1], 16) >> (signal.SIGCHLD - 1) & 1


def test_blocked_signals_are_those_of_before():
    alone = subprocess.run([acts(), "status", "SigBlk"], capture_output=True, text=True, timeout=DEADLINE_S, check=True)
    assert run("status", "SigBlk").stdout == alone.stdout


def test_pipe_ends_when_the_program_closes_it():
    with started("shut", "wait") as process:
        assert rest_of(process.stdout) == ""
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(DEADLINE_S) == 0


def test_preserved_descriptors_reach_the_program_and_end_with_it():
    read_end, write_end = os.pipe()
    options = (f"--preserve-fds={write_end - 2}",)
    with os.fdopen(read_end, "rb", 0) as end, started("wait", options=options, pass_fds=(write_end,)) as process:
        os.close(write_end)
        until(lambda: len(relatives("PPid", process.pid)) == 1, "the program")
        child = next(iter(relatives("PPid", process.pid)))
        until(lambda: _holds(child, write_end) and not _holds(process.pid, write_end), "it to be the program's alone")
        process.stdin.close()
        assert _read(end, 1) == b""
        assert process.wait(DEADLINE_S) == 0


def _holds(pid: int, descriptor: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/fd/{descriptor}").startswith("pipe:")
    except FileNotFoundError:
        return False


def test_program_holds_nothing_of_the_launcher_s():
    with started("wait") as process:
        until(lambda: any(_is_acts(pid) for pid in relatives("PPid", process.pid)), "the program")
        child = next(iter(relatives("PPid", process.pid)))
        assert sorted(int(one) for one in os.listdir(f"/proc/{child}/fd")) == [0, 1, 2]
        process.stdin.close()
        assert process.wait(DEADLINE_S) == 0


def _is_acts(pid: int) -> bool:
    return os.readlink(f"/proc/{pid}/exe") == str(acts())


@contextmanager
def left_behind() -> Iterator[subprocess.Popen[str]]:
    """A launcher whose program has ended with 3, and left a process behind that ends when standard input is closed."""
    with started("behind", "exit", 3) as process:

        def is_alone() -> bool:
            children = relatives("PPid", process.pid)
            # What is left has closed its standard output; a program that is a zombie still, nobody has waited for.
            early = "Z" in children.values() or any(os.path.lexists(f"/proc/{pid}/fd/1") for pid in children)
            return bool(children) and not early

        until(is_alone, "the program's end")
        assert process.poll() is None
        yield process


def test_what_the_program_leaves_behind_is_supervised_to_its_end():
    with left_behind() as process:
        process.stdin.close()
        told = rest_of(process.stderr)
        assert process.wait(DEADLINE_S) == 3
        assert report(told).counts == {"getsid: errno 71 EPROTO": 1}


def test_supervision_of_what_is_left_can_be_ended_and_that_is_said():
    with left_behind() as process:
        process.send_signal(signal.SIGUSR1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 3
        process.stdin.close()
        assert "is watched no longer" in rest_of(process.stderr)


def test_there_are_no_zombies():
    with started("orphans", "wait") as process:
        assert line_of(process.stdout) == "orphans: ok\n"
        until(lambda: len(relatives("PPid", process.pid)) == 1, "the orphans to be collected")
        assert "Z" not in relatives("PPid", process.pid).values()
        process.stdin.close()
        assert process.wait(DEADLINE_S) == 0
        assert not relatives("PPid", process.pid)


def test_program_ends_with_its_supervisor():
    with started("wait", process_group=0) as process:
        until(lambda: len(relatives("PPid", process.pid)) == 1, "the program")
        child = next(iter(relatives("PPid", process.pid)))
        process.kill()
        process.wait(DEADLINE_S)
        # Whoever has adopted it may take a while to collect it.
        until(lambda: relatives("NSpgid", process.pid).get(child, "Z") == "Z", "the program's end")


@pytest.mark.parametrize(("mode", "code"), [(0o644, 126), (None, 127)])
def test_program_that_cannot_be_executed(mode, code):
    with place() as directory:
        program = directory / "program"
        if mode is None:
            program.write_bytes(b"#!/no/such/interpreter\n")
            program.chmod(0o755)
        else:
            program.write_bytes(acts().read_bytes())
            program.chmod(mode)
        words = [str(launcher()), "-p", str(policy()), "-m", "permissive", "--", str(program)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        assert done.returncode == code
        why = "its interpreter" if mode is None else "nobody may execute it"
        assert f"scmm-enforce: cannot execute {program}: {why}" in done.stderr


@pytest.mark.parametrize(("own_proc", "who"), [(True, "process N (permissive)"), (False, "process N")])
def test_first_process_of_a_container(own_proc, who):
    # It cannot end by a signal, and must not look processes up in another namespace's /proc.
    before = ["unshare", "--pid", "--fork", "--kill-child", *(["--mount-proc"] if own_proc else [])]
    words = [*before, *command("getsid", "orphans", "raise", int(signal.SIGTERM))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, "getsid: ok\norphans: ok\n")
    assert report(done.stderr).lines[0] == f"getsid(0x0) of {who}: errno 71 EPROTO"


def test_what_the_first_process_leaves_behind_ends_with_it():
    before = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    words = [*before, *command("behind", "exit", 4)]
    # What is left behind waits for the end of standard input, which does not come.
    how = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, **how) as process:
        assert process.wait(DEADLINE_S) == 4
        process.stderr.read()
        process.stdin.close()


def test_what_is_left_behind_and_stopped_is_ended_as_by_the_kernel():
    """Nobody is there to continue it."""
    script = 'sleep 1000 & echo $!; kill -STOP $!; while ! grep -q "^State:.T" /proc/$!/status; do :; done; exit 6'
    words = [str(launcher()), "-p", str(policy()), "-m", "permissive", "--", "sh", "-c", script]
    # SIGHUP may be ignored by whoever runs the tests.
    how: dict[str, Any] = {"capture_output": True, "text": True, "timeout": DEADLINE_S, "check": False}
    done = subprocess.run(words, **how, preexec_fn=as_from_a_shell)
    assert done.returncode == 6
    assert not Path(f"/proc/{int(done.stdout)}").exists()


# Who may, and where it cannot be had


def test_user_without_privileges_is_told_everything_too():
    done = run("hostile", "status", "NoNewPrivs", user=65534, group=65534, extra_groups=[])
    assert (done.returncode, done.stdout) == (0, "hostile: ENOENT\nNoNewPrivs:\t1\n")
    assert report(done.stderr).lines[0].startswith(r'chdir("/\"a')
    assert "programs gain no rights by their files" in done.stderr
    # Control: root's programs are left what they gain.
    done = run("status", "NoNewPrivs")
    assert done.stdout == "NoNewPrivs:\t0\n"
    assert "programs gain no rights" not in done.stderr


def test_under_another_listener_the_kernel_s_log_has_violations_and_that_is_said():
    with place() as directory:
        file = directory / "report"
        inner = command("getsid", "status", "Seccomp_filters", "exit", 5, options=("--report", str(file)))
        outer = [str(launcher()), "-p", str(policy()), "-m", "permissive", "--", *inner]
        done = subprocess.run(outer, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        assert (done.returncode, done.stdout) == (5, "getsid: ok\nSeccomp_filters:\t2\n")
        reason = "calls: violations are in the kernel's log only (dmesg, audit), as no listener can be had: "
        reason += "there is one already"
        assert f"scmm-enforce:   {reason}\n" in done.stderr
        assert file.read_text() == f"scmm-enforce: {reason}\n"
        # The outer one is the listener.
        assert report(done.stderr).counts["getsid: errno 71 EPROTO"] == 1


def test_kernel_without_listeners_has_the_fallback():
    # As Linux before 5.0 has it: EINVAL for the flag (8).
    test = "{type: integer, arg: '1', op: masked_eq, mask: 8, value: 8}"
    rule = f"{{name: seccomp, action: deny, errno: EINVAL, constraints: [{test}]}}"
    old = stored(made(rules(rule)))
    inner = command("getsid", "status", "Seccomp_filters", "exit", 5)
    words = [str(launcher()), "-p", str(old), "-m", "seccomp", "--", *inner]
    done = subprocess.run(words, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert (done.returncode, done.stdout) == (5, "getsid: ok\nSeccomp_filters:\t2\n")
    assert "as no listener can be had: EINVAL" in done.stderr
    assert "is told" not in done.stderr
    assert HEAD not in done.stderr


def test_descriptors_are_closed_also_where_unshare_is_refused():
    # As engines' profiles do.
    profile = stored(made(rules("{name: unshare, action: deny}")))
    words = [str(launcher()), "-p", str(profile), "-m", "seccomp", "--", *command("shut", "wait")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert rest_of(process.stdout) == ""
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(DEADLINE_S) == 0


# What is said


ALL_LAYERS = (
    POLICY
    + """
filesystem:
  rules: [{path: /usr, access: [read_file]}]
network:
  outbound: [{protocol: tcp, ports: [80]}]
scopes: [signal]
"""
)


def test_nothing_is_called_enforced():
    with place() as directory:
        read_end, write_end = os.pipe()
        options = ("--status-fd", str(write_end), "--report", str(directory / "report"))
        done = run("status", "NoNewPrivs", options=options, pass_fds=(write_end,), by=stored(made(layered())))
        os.close(write_end)
        with os.fdopen(read_end) as pipe:
            status = json.load(pipe)
        assert done.returncode == 0
        assert (status["mode"], status["enforced"]) == ("permissive", "not")
        assert set(status["layers"].values()) == {"not"}
        assert "files: not watched, as no kernel has a permissive Landlock" in status["missing"]
        assert "identity: user, groups and capabilities stay as they are" in status["missing"]
        assert "the policy is not enforced" in done.stderr


def layered() -> str:
    settings = ABIS.replace("}", ", run_as: {uid: 65534, gid: 65534}}")
    return ALL_LAYERS.replace(ABIS, settings)


def test_check_tells_the_same_and_runs_nothing():
    file = stored(made(layered()))
    words = [str(launcher()), "-p", str(file), "-m", "permissive", "--check", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    status = json.loads(done.stdout)
    assert (done.returncode, status["mode"], status["enforced"]) == (1, "permissive", "not")


def test_files_and_user_stay_as_they_are():
    done = run("status", "Uid", by=stored(made(layered())))
    assert done.stdout == "Uid:\t0\t0\t0\t0\n"


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "nowhere", "hard", "foreign", "writable", "policy"])
def test_report_that_is_no_file_of_our_own_is_refused_and_nothing_run(kind):
    with place() as directory:
        target = directory / "report"
        if kind == "link":
            (directory / "other").write_text("kept")
            target.symlink_to(directory / "other")
        elif kind == "fifo":
            os.mkfifo(target)
        elif kind == "directory":
            target.mkdir()
        elif kind == "nowhere":
            target = directory / "no" / "report"
        elif kind == "policy":
            target.write_bytes(policy().read_bytes())
        else:
            (directory / "other").write_text("kept")
            os.link(directory / "other", target)
            if kind != "hard":
                (directory / "other").unlink()
                target.chmod(0o620 if kind == "writable" else 0o600)
                os.chown(target, 33 if kind == "foreign" else 0, 0)
        before = target.read_bytes() if target.is_file() else b""
        by = target if kind == "policy" else policy()
        done = run("getsid", options=("--report", str(target)), by=by)
        assert (done.returncode, done.stdout) == (125, "")
        assert f"the report {target}" in done.stderr
        assert (target.read_bytes() if target.is_file() else b"") == before


def test_report_that_is_full_goes_on_where_people_look():
    with place() as directory:
        mount = f'mount -t tmpfs -o size=4k none {directory}; head -c 4096 /dev/zero > {directory}/other; exec "$@"'
        words = command("getsid", "chdir", options=("--report", f"{directory}/report"))
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", mount, "sh", *words], capture_output=True, text=True, timeout=DEADLINE_S
        )
        assert done.stdout == "getsid: ok\nchdir: ok\n"
        lines = done.stderr.splitlines()
        full = [index for index, line in enumerate(lines) if "the report cannot be written any more: ENOSPC" in line]
        assert len(full) == 1
        told = report("\n".join(lines[full[0] + 1 :]))
        assert told.counts == {"getsid: errno 71 EPROTO": 1, "chdir: the process is killed": 1}


def test_report_waits_for_a_pipe_that_does_not():
    """Programs make standard error so that writing does not wait: nothing that is told is lost by it."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    filled = 0
    try:
        while True:
            filled += os.write(write_end, b"x" * 4096)
    except BlockingIOError:
        pass
    with subprocess.Popen(command("getsid"), stdout=subprocess.DEVNULL, stderr=write_end) as process:
        os.close(write_end)
        with os.fdopen(read_end, "rb") as pipe:
            told = pipe.read()[filled:].decode()
        assert process.wait(DEADLINE_S) == 0
    assert report(told).counts == {"getsid: errno 71 EPROTO": 1}


def test_report_is_for_permissive_mode():
    done = run("getsid", options=("--report", "/nowhere"), mode="standard")
    assert (done.returncode, done.stdout) == (125, "")
    assert "--report goes with --mode permissive" in done.stderr


def test_report_is_of_this_run_alone():
    with place() as directory:
        file = directory / "report"
        file.write_text("old\n" * 1000)
        run("getsid", options=("--report", str(file)))
        assert "old" not in file.read_text()
        assert report(file.read_text()).counts == {"getsid: errno 71 EPROTO": 1}
