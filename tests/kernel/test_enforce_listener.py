"""The launcher's hand-over to a monitor, and the mode ask: what the monitor gets, what is left of it in the program,
and that nothing is run where no monitor takes it.

The monitor here is a few lines: it takes one listener, and answers by the name of the call. As scmm-monitor does, it
sends a byte to whom it listens to; where it does not, another thread becomes the program.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import enforce
import pytest
from enforce import HERE, Done, acts, bytes_of, checked, launcher, path_rules, refusing, run, stored, under
from recording import as_from_a_shell

from scmm_oci.compiled import bpf
from scmm_oci.kernel import notify
from scmm_oci.policy.model import Action, Metadata, Policy, RunAs, Settings, SyscallRule
from scmm_oci.tables.syscalls import numbers

NR = numbers(HERE)
NAMES = {nr: name for name, nr in NR.items()}
MKDIR = ("mkdir", "mkdirat")
WWW = 33
DEADLINE_S = 60
ALLOWING = Settings(default_action=Action.ALLOW, arch=HERE, architectures=(HERE,))
#: What a static program calls before its main, and to say something.
STARTS = ("brk", "arch_prctl", "mmap", "mprotect", "set_tid_address", "set_robust_list", "rseq", "prlimit64", "fstat")

#: Listens at a path, and says so, until it is told to end.
LISTENS = """
import socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True, scope="module")
def kernel() -> None:
    enforce.needed()


def known(*names: str) -> tuple[str, ...]:
    return tuple(name for name in names if name in NR)


def rules(action: Action, *names: str, **more: Any) -> tuple[SyscallRule, ...]:
    return tuple(SyscallRule(name, action, **more) for name in known(*names))


def of(*given: SyscallRule, settings: Settings = ALLOWING, **parts: Any) -> bytes:
    return bytes_of(Policy(settings=settings, syscalls=given, **parts))


#: The same calls, asked about by the policy or refused by it.
ASKS = rules(Action.NOTIFY, *MKDIR)
REFUSES = rules(Action.DENY, *MKDIR, errno="EPROTO")

Answer = Callable[[int, notify.Notification], object]


def allow(fd: int, call: notify.Notification) -> object:
    return notify.let_go_on(fd, call.id)


def deny(fd: int, call: notify.Notification) -> object:
    return notify.refuse(fd, call.id, errno.EDOM)


def filters_of(pid: int | str) -> list[str]:
    """Whether the process's first thread is under filters, and how many."""
    return [one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith("Seccomp")]


@dataclass
class Monitor:
    """What it was told, and asked about: names of calls, and threads that made them."""

    path: Path
    answer: Answer
    greets: bool = True
    text: bytes = b""
    descriptors: list[str] = field(default_factory=list)
    peer: int = 0
    filters: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)
        return found

    def meet(self, connection: socket.socket) -> None:
        connection.settimeout(DEADLINE_S)
        self.peer = int.from_bytes(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], "little")
        if self.greets:
            self.filters = filters_of(self.peer)
            connection.send(b"\1")
        else:
            # All the time: it has sent something, and waits until it is read.
            select.select([connection], [], [], DEADLINE_S)
            self.filters = filters_of(self.peer)

    def serve(self, connection: socket.socket) -> None:
        self.text, given, flags, _ = socket.recv_fds(connection, 1, 4)
        assert not flags & socket.MSG_CTRUNC
        self.descriptors = [os.readlink(f"/proc/self/fd/{fd}") for fd in given]
        while more := connection.recv(1 << 16):
            self.text += more
        connection.close()
        (fd,) = given
        try:
            self.decide(fd)
        finally:
            os.close(fd)

    def decide(self, fd: int) -> None:
        """Until the last process under the filter is gone."""
        waiting = select.poll()
        waiting.register(fd, select.POLLIN)
        while waiting.poll(DEADLINE_S * 1000)[0][1] & select.POLLIN:
            if (call := notify.receive(fd)) is None:
                continue
            self.calls.append(NAMES[call.nr])
            self.threads.append(call.tid)
            self.answer(fd, call)


@contextmanager
def listening(place: Path, *, backlog: int = 8) -> Iterator[socket.socket]:
    """A socket at place/monitor.sock."""
    with socket.socket(socket.AF_UNIX) as server:
        server.settimeout(DEADLINE_S)
        server.bind(str(place / "monitor.sock"))
        server.listen(backlog)
        yield server
    (place / "monitor.sock").unlink()


@contextmanager
def monitor(
    place: Path,
    answer: Answer = deny,
    act: Callable[[socket.socket], None] | None = None,
    *,
    greets: bool = True,
) -> Iterator[Monitor]:
    """A monitor for one program; act: what it does with the connection instead of serving."""
    made = Monitor(place / "monitor.sock", answer, greets)
    failed: list[BaseException] = []

    def serve(server: socket.socket) -> None:
        try:
            connection, _ = server.accept()
            with connection:
                made.meet(connection)
                (act or made.serve)(connection)
        except BaseException as error:
            failed.append(error)

    with listening(place) as server:
        thread = threading.Thread(target=serve, args=(server,), daemon=True)
        thread.start()
        yield made
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
        assert not failed, failed


def asked(monitor: Monitor, policy: bytes, *words: object, options: tuple[str, ...] = (), **how: Any) -> Done:
    return run(policy, *words, options=("--listener", str(monitor.path), *options), **how)


#: Which thread becomes the program: the first one where the monitor greets.
GREETS = pytest.mark.parametrize("greets", [True, False])


@GREETS
def test_what_the_monitor_gets(place: Path, greets: bool) -> None:
    policy = of(*ASKS, metadata=Metadata(name='we"b\\ü\n'))
    with monitor(place, greets=greets) as there:
        done = asked(there, policy, "mkdir", place / "made")
    assert (done.code, done.lines, os.listdir(place)) == (0, ["EDOM"], [])
    assert done.status is not None and done.status["enforced"] == "fully" and done.status["missing"] == []
    pid = there.peer
    assert there.state == {
        "ociVersion": "1.1.0",
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": 'we"b\\ü\n',
        "state": {
            "ociVersion": "1.1.0",
            "id": f"scmm-enforce-{pid}",
            "status": "running",
            "pid": pid,
            "bundle": "",
            "annotations": {
                "scmm.executable": str(acts()),
                "scmm.mode": "standard",
                "scmm.policy.sha256": hashlib.sha256(policy).hexdigest(),
            },
        },
    }
    assert there.descriptors == ["anon_inode:seccomp notify"]
    # While the monitor looks at who connects, that process has none of the filter that it hands over.
    assert there.filters == filters_of("self")
    # The program is the process that connected.
    assert (len(there.calls), set(there.threads)) == (1, {pid})
    # The twin: what is allowed is done.
    with monitor(place, allow, greets=greets) as there:
        assert asked(there, policy, "mkdir", place / "made").lines == ["ok"]
    assert os.listdir(place) == ["made"]


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("web", (), "web"),
        ("", (), None),
        ("web", ("--listener-metadata", 'a"\\\x01\x7fü'), 'a"\\\x01\x7fü'),
        ("web", ("--listener-metadata", "\udcff\udcc3ü"), "\xff\xc3\xc3\xbc"),
        ("web", ("--listener-metadata", ""), ""),
        ('","name":"x', (), '","name":"x'),
    ],
)
def test_what_it_is_called(place: Path, name: str, options: tuple[str, ...], told: str | None) -> None:
    policy = of(*ASKS, metadata=Metadata(name=name, description='},"name":"y",{'))
    with monitor(place) as there:
        asked(there, policy, "nnp", options=options)
    assert there.state["metadata"] == (str(acts()) if told is None else told)


def test_who_knows_of_a_container_says_so(place: Path) -> None:
    state = {"ociVersion": "1.0.2", "id": "web-1", "status": "creating", "pid": 0, "bundle": "/b", "annotations": {}}
    with monitor(place) as there:
        asked(there, of(*ASKS), "nnp", options=("--listener-state", json.dumps(state)))
    assert there.state["state"] == state and there.state["pid"] == there.peer
    # More than there is room for is not cut: nothing is run.
    with monitor(place, act=lambda connection: connection.close()) as there:
        long = "\x01" * 40_000
        done = asked(there, of(*ASKS), "mkdir", place / "made", options=("--listener-metadata", long))
    assert (done.code, done.lines, os.listdir(place)) == (125, [], [])
    assert "the monitor would be told too much" in done.errors


def test_a_connection_that_somebody_else_has_made(place: Path) -> None:
    ours, theirs = socket.socketpair()
    theirs.settimeout(DEADLINE_S)
    there = Monitor(place, allow)
    thread = threading.Thread(target=there.serve, args=(theirs,), daemon=True)
    with ours:
        thread.start()
        number = ours.fileno()
        options = ("--listener-fd", str(number), "--preserve-fds", "1000")
        done = run(of(*ASKS), "mkdir", place / "made", "fds", options=options, pass_fds=(number,))
        thread.join(DEADLINE_S)
    assert (done.code, done.lines[0], os.listdir(place)) == (0, "ok", ["made"])
    assert there.calls and str(number) not in done.lines[1].split()
    # Whoever made it has been met: so the first thread becomes the program.
    ours, theirs = socket.socketpair()
    theirs.settimeout(DEADLINE_S)
    there = Monitor(place, allow)
    thread = threading.Thread(target=there.serve, args=(theirs,), daemon=True)
    with ours:
        thread.start()
        options = ("--listener-fd", str(ours.fileno()))
        assert run(of(*rules(Action.NOTIFY, "execve")), options=options, pass_fds=(ours.fileno(),)).code == 0
        thread.join(DEADLINE_S)
    assert there.threads == [there.state["pid"]]
    # The twin: it is the launcher's alone because it is named; else it is the program's.
    done = run(of(*REFUSES), "fds", options=("--preserve-fds", "1000"), pass_fds=(0, number := os.dup(0)))
    os.close(number)
    assert str(number) in done.lines[0].split()


@GREETS
def test_nothing_is_left_of_it(place: Path, greets: bool) -> None:
    """One thread, no child, no descriptor; whose number the parent knows; signals reach it, and none is ignored."""
    script = place / "script"
    script.write_text(
        "#!/bin/sh\necho $$\necho /proc/$$/task/* /proc/$$/fd/*\ncat /proc/$$/task/$$/children\necho\n"
        # By the shell itself, which blocks signals while it starts something.
        "while read -r line; do case $line in SigIgn*|SigBlk*|Threads*|NoNewPrivs*) echo $line; esac; done"
        " </proc/$$/status\nmkdir /nowhere/x\nkill -TERM $$\n"
    )
    script.chmod(0o755)
    with monitor(place, greets=greets) as there:
        listened = asked(there, of(*ASKS), program=script)
    plain = run(of(*REFUSES), program=script)
    pid = listened.lines[0]
    assert int(pid) == there.peer
    # What the shell itself has open is the same without a monitor.
    assert listened.lines[1] == plain.lines[1].replace(plain.lines[0], pid)
    assert listened.lines[1].split()[0] == f"/proc/{pid}/task/{pid}" and "/task/" not in listened.lines[1][20:]
    # The only child is cat, and it is the next process.
    assert len(listened.lines[2].split()) == 1
    assert listened.lines[3:] == plain.lines[3:]
    assert listened.code == plain.code == -signal.SIGTERM
    assert there.calls


@pytest.mark.parametrize("mode", ["standard", "seccomp", "strict"])
def test_each_mode_hands_over(place: Path, mode: str) -> None:
    with monitor(place) as there:
        done = asked(there, of(*ASKS), "mkdir", place / "made", mode=mode)
    assert (done.lines, there.state["state"]["annotations"]["scmm.mode"]) == (["EDOM"], mode)


def test_ask_asks_what_standard_refuses_and_nothing_else(place: Path) -> None:
    given = (
        *REFUSES,
        *rules(Action.KILL, "chroot"),
        *rules(Action.TRAP, "getppid"),
        *rules(Action.KILL_THREAD, "sync"),
        *rules(Action.TRACE, "getpgid"),
        *rules(Action.NOTIFY, "getsid"),
        *rules(Action.LOG, "getuid"),
    )
    made = place / "made"
    words: list[object] = ["mkdir", made]
    for name in ("chroot", "getppid", "sync", "getpgid", "getsid", "getuid", "getgid"):
        words += ["call", NR[name], 0, 0, 0]
    with monitor(place) as there:
        done = asked(there, of(*given), *words, mode="ask")
    assert done.code == 0
    # Of 0, chroot answers EFAULT by itself: so it was the monitor that answered.
    assert done.lines == ["EDOM"] * 6 + ["0 ok", "0 ok"]
    assert there.calls[1:] == ["chroot", "getppid", "sync", "getpgid", "getsid"] and there.calls[0] in MKDIR
    assert (done.status or {})["layers"]["calls"] == "partially"
    assert done.missing == ["calls: a monitor decides about those that the policy would refuse"]
    assert not made.exists()
    # What it lets go on is done.
    with monitor(place, allow) as there:
        assert asked(there, of(*given), "mkdir", made, mode="ask").lines == ["ok"]
    assert made.is_dir()
    made.rmdir()
    # The twin: the policy in the mode standard refuses.
    assert run(of(*given), "mkdir", made).lines == ["EPROTO"]
    assert run(of(*given), "call", NR["chroot"], 0, 0, 0).code == -signal.SIGSYS


@GREETS
def test_a_filter_that_refuses_nearly_everything(place: Path, greets: bool) -> None:
    """The launcher itself makes no call under it but execve; what it does, the thread without a filter does."""
    deny_all = Settings(default_action=Action.DENY, arch=HERE, architectures=(HERE,), default_errno="EPROTO")
    policy = of(*ASKS, *rules(Action.ALLOW, *STARTS), settings=deny_all)
    with monitor(place, greets=greets) as there:
        done = asked(there, policy, "mkdir", place / "made")
    # It may not even say something.
    assert (done.code, done.lines, len(there.calls)) == (0, [], 1)
    with monitor(place, allow) as there:
        asked(there, policy, "mkdir", place / "made")
    assert os.listdir(place) == ["made"]
    # All of it is asked about, and allowed: then it says something. Nothing of the launcher is among it.
    with monitor(place, allow, greets=greets) as there:
        done = asked(there, of(*rules(Action.ALLOW, "brk"), settings=deny_all), "nnp", mode="ask")
    assert done.lines == ["1 ok"]
    assert "write" in there.calls and not {"sendmsg", "futex", "ppoll", "close", "clone"} & set(there.calls)


@GREETS
def test_execve_can_be_asked_about(place: Path, greets: bool) -> None:
    policy = of(*rules(Action.NOTIFY, "execve"))
    with monitor(place, allow, greets=greets) as there:
        assert asked(there, policy, "nnp").lines == ["1 ok"]
    assert there.calls == ["execve"]
    # Where it is not the first thread, that one is a zombie for a moment, and runtimes take the container for ended.
    assert (there.threads == [there.peer]) is greets
    with monitor(place, greets=greets) as there:
        done = asked(there, policy, "mkdir", place / "made")
    assert (done.code, done.lines, os.listdir(place)) == (126, [], [])
    assert done.errors.endswith(f"cannot execute {acts()}: error 33\n")


@GREETS
def test_what_cannot_be_executed_is_said_whatever_the_filter(place: Path, greets: bool) -> None:
    bad = place / "bad"
    bad.write_text("#!/nowhere/interpreter\n")
    bad.chmod(0o755)
    with monitor(place, greets=greets) as there:
        done = asked(there, of(*ASKS, *rules(Action.DENY, "write")), program=bad)
    assert (done.code, done.lines) == (127, [])
    assert "its interpreter or loader is not there" in done.errors
    done = run(of(*ASKS), program="no-such-program", options=("--listener", str(place / "nothing")))
    assert done.code == 127 and "there is no program no-such-program" in done.errors


@pytest.mark.parametrize("mode", ["standard", "ask"])
def test_as_another_user_under_landlock(place: Path, mode: str) -> None:
    """Connected as who called us: neither the user nor the rules for files reach the socket."""
    (place / "inside").mkdir()
    os.chown(place / "inside", WWW, WWW)
    place.chmod(0o711)
    settings = Settings(default_action=Action.ALLOW, arch=HERE, architectures=(HERE,), run_as=RunAs(uid=WWW, gid=WWW))
    files = path_rules({place / "inside": ("make_dir", "read_dir")})
    given = ASKS if mode == "standard" else REFUSES
    policy = of(*given, settings=settings, filesystem=files, capabilities=())
    with monitor(place, allow) as there:
        (place / "monitor.sock").chmod(0o600)
        done = asked(there, policy, "mkdir", place / "inside/made", "mkdir", place / "made", "ids", mode=mode)
    assert done.lines[:2] == ["ok", "EACCES"]
    assert done.lines[2].split()[:3] == [str(WWW)] * 3
    assert (place / "inside/made").stat().st_uid == WWW and not (place / "made").exists()
    assert len(there.calls) == 2


def ended(place: Path, monitor: Monitor | Path, *, mode: str = "ask", **how: Any) -> Done:
    """A run that must come to nothing."""
    path = monitor if isinstance(monitor, Path) else monitor.path
    made = place / "made"
    done = run(of(*REFUSES), "create", made, mode=mode, options=("--listener", str(path)), **how)
    assert (done.code, done.lines, made.exists()) == (125, [], False), done
    return done


def test_the_twin_of_all_that_comes_to_nothing(place: Path) -> None:
    with monitor(place) as there:
        done = run(of(*REFUSES), "create", place / "made", mode="ask", options=("--listener", str(there.path)))
    assert (done.code, done.lines, (place / "made").exists()) == (0, ["ok"], True)


def test_nobody_listens(place: Path) -> None:
    assert ended(place, place / "monitor.sock").errors == (
        f"scmm-enforce: no monitor listens at {place}/monitor.sock: ENOENT\n"
    )
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place / "monitor.sock"))
        assert ended(place, place / "monitor.sock").errors.endswith("monitor.sock: ECONNREFUSED\n")
    (place / "file").write_text("")
    assert ended(place, place / "file").errors.endswith("/file: is no socket\n")
    assert ended(place, Path(f"{place}/{'x' * 107}")).errors.endswith("these have 1 to 107 bytes\n")


def test_a_longest_path(place: Path) -> None:
    directory = place / ("d" * (107 - len(f"{place}//monitor.sock")))
    directory.mkdir()
    with monitor(directory) as there:
        assert len(str(there.path)) == 107
        assert asked(there, of(*ASKS), "mkdir", place / "made").lines == ["EDOM"]


def test_somebody_elses_monitor(place: Path) -> None:
    """Neither a link that others could change, nor a process of theirs."""
    (place / "theirs").mkdir()
    os.chown(place / "theirs", WWW, WWW)
    (place / "theirs/link").symlink_to(place / "monitor.sock")
    os.lchown(place / "theirs/link", WWW, WWW)
    (place / "own").symlink_to(place / "monitor.sock")
    with listening(place):
        assert "leads over a link which another user could change" in ended(place, place / "theirs/link").errors
    with monitor(place):
        done = run(of(*ASKS), "mkdir", place / "made", options=("--listener", str(place / "own")))
        assert done.lines == ["EDOM"]
    command = ["/usr/bin/python3", "-I", "-c", LISTENS, str(place / "theirs/sock")]
    with subprocess.Popen(
        command, user=WWW, group=WWW, extra_groups=[], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as theirs:
        assert theirs.stdout is not None
        theirs.stdout.readline()
        assert "belongs to another user" in ended(place, place / "theirs/sock").errors
        theirs.communicate()


@GREETS
@pytest.mark.parametrize("taken", ["nothing", "the descriptor", "a part"])
def test_a_monitor_that_hangs_up(place: Path, taken: str, greets: bool) -> None:
    def hang_up(connection: socket.socket) -> None:
        if taken != "nothing":
            _, given, _, _ = socket.recv_fds(connection, 1 if taken == "the descriptor" else 50, 4)
            for fd in given:
                os.close(fd)
        else:
            select.select([connection], [], [], DEADLINE_S)
        connection.close()

    with monitor(place, act=hang_up, greets=greets) as there:
        done = ended(place, there)
    reason = "calls: the monitor has not taken the listener: it has hung up"
    assert reason in done.errors
    # Instead of what was told before.
    assert (done.status or {})["layers"]["calls"] == "not" and reason in done.missing


def test_a_monitor_that_refuses_to_listen(place: Path) -> None:
    """It hangs up instead of greeting."""
    with listening(place) as server:
        refusing_it = threading.Thread(target=lambda: server.accept()[0].close(), daemon=True)
        refusing_it.start()
        done = ended(place, place / "monitor.sock")
        refusing_it.join(DEADLINE_S)
    assert done.errors == f"scmm-enforce: the monitor at {place}/monitor.sock: has hung up\n"


@cache
def patient() -> Path:
    """The launcher that waits for 1 s; `make soak` waits for the 10 s of the one that is shipped."""
    if os.environ.get("SCMM_SOAK"):
        return launcher()
    target = enforce.base() / "scmm-enforce-impatient"
    sources = [*enforce.SOURCES.glob("*.c"), enforce.SOURCES / "start.S"]
    given = ("-DSCMM_TEST_PATIENCE=1", "-nostdlib", "-static", "-fuse-ld=lld", "-o", target)
    flags = ("-std=c11", "-ffreestanding", "-fno-builtin", "-Os", "-fno-stack-protector", "-fno-pic")
    subprocess.run(["clang", *flags, *given, *sources], check=True, timeout=120)
    return target


def test_monitors_that_take_nothing(place: Path) -> None:
    """Each takes all of our patience, so all at once: one does not accept, one does not read, one is full."""
    made = [place / name for name in ("unaccepted", "unread", "full")]
    file = stored(of(*REFUSES))
    for each in made:
        each.mkdir()
    with (
        listening(made[0]),
        listening(made[1]) as unread,
        listening(made[2], backlog=0),
        socket.socket(socket.AF_UNIX) as first,
    ):
        first.connect(str(made[2] / "monitor.sock"))
        running = [
            subprocess.Popen(
                [
                    *(patient(), "-p", file, "-m", "ask", "--listener", each / "monitor.sock", "-q", "--"),
                    *(acts(), "create", each / "made"),
                ],
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=as_from_a_shell,
            )
            for each in made
        ]
        connection, _ = unread.accept()
        connection.send(b"\1")
        told = [one.communicate(timeout=DEADLINE_S)[1] for one in running]
        connection.close()
    file.unlink()
    assert [one.returncode for one in running] == [125] * 3
    assert not any((each / "made").exists() for each in made)
    assert all("calls: the monitor has not taken the listener: there was no answer in 10 s" in one for one in told[:2])
    assert told[2] == f"scmm-enforce: the monitor at {made[2]}/monitor.sock: takes no connection\n"


def test_a_monitor_that_ends_later(place: Path) -> None:
    """Calls that wait and calls to come fail, and nothing of ours keeps the listener open."""

    def leave(connection: socket.socket) -> None:
        _, (fd,), _, _ = socket.recv_fds(connection, 1, 4)
        while connection.recv(1 << 16):
            pass
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.poll(DEADLINE_S * 1000)
        os.close(fd)

    with monitor(place, act=leave) as there:
        done = asked(there, of(*ASKS), "mkdir", place / "made", "mkdir", place / "made")
    assert (done.lines, os.listdir(place)) == (["ENOSYS", "ENOSYS"], [])


def test_one_listener_alone(place: Path) -> None:
    """In a process that has one, of an engine or another launcher, nothing is run."""
    inner = stored(of(*REFUSES))
    command = (launcher(), "-p", inner, "-m", "ask", "--listener", place / "monitor.sock", "--")
    with monitor(place) as outer:
        done = asked(outer, of(*ASKS), *command[1:], acts(), "create", place / "made", program=launcher())
        # The outer one serves its connection; the inner one's waits, and is closed unheard.
    inner.unlink()
    assert (done.code, done.lines, os.listdir(place)) == (125, [], [])
    assert "calls: the kernel gives no listener: there is one already" in done.errors


def test_kernels_without_the_newer_flag(place: Path) -> None:
    """SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, of Linux 5.19; and those without listeners."""
    old = refusing("seccomp", errno.EINVAL, 8 | 32, at=1)
    with monitor(place) as there:
        done = asked(there, of(*ASKS), "mkdir", place / "made", before=old)
    assert (done.code, done.lines) == (0, ["EDOM"])
    with monitor(place, act=lambda connection: connection.close()) as there:
        ended(place, there, before=under(*_refusing_listeners()))


def _refusing_listeners() -> tuple[bpf.Instruction, ...]:
    return (
        bpf.Instruction(bpf.LOAD, 0),
        bpf.Instruction(bpf.JEQ, NR["seccomp"], 0, 3),
        bpf.Instruction(bpf.LOAD, 24),
        bpf.Instruction(bpf.JSET, 8, 0, 1),
        bpf.Instruction(bpf.RET, bpf.RET_ERRNO | errno.EINVAL),
        bpf.Instruction(bpf.RET, bpf.RET_ALLOW),
    )


@pytest.mark.parametrize(
    ("name", "answer", "said"),
    [
        ("clone", errno.EAGAIN, "there is no second thread: EAGAIN"),
        ("sendmsg", errno.EPERM, "the monitor has not taken the listener: EPERM"),
        ("ioctl", errno.EPERM, "the monitor has not taken the listener: EPERM"),
    ],
)
def test_what_an_outer_filter_refuses_ends_it(place: Path, name: str, answer: int, said: str) -> None:
    def drain(connection: socket.socket) -> None:
        _, given, _, _ = socket.recv_fds(connection, 1 << 16, 4)
        connection.recv(1)
        for fd in given:
            os.close(fd)

    with monitor(place, act=drain) as there:
        assert said in ended(place, there, before=refusing(name, answer)).errors


def test_where_there_is_nothing_to_ask(place: Path) -> None:
    path = str(place / "monitor.sock")
    done = run(of(*REFUSES), "create", place / "made", options=("--listener", path))
    assert done.code == 125 and "there is nothing to ask a monitor about" in done.errors
    # Calls of other ABIs are refused by default, and would be asked about.
    open_to_all = Settings(default_action=Action.ALLOW, arch=HERE, architectures=(HERE,), bad_arch_action=Action.ALLOW)
    for policy in (of(*rules(Action.LOG, *MKDIR), settings=open_to_all), bytes_of(run_as=RunAs(uid=WWW))):
        done = run(policy, "create", place / "made", mode="ask", options=("--listener", path))
        assert done.code == 125 and "there is nothing to ask about: the policy refuses no call" in done.errors
    assert os.listdir(place) == []


def test_notify_without_a_monitor_is_said(place: Path) -> None:
    done = run(of(*ASKS), "mkdir", place / "made", mode="strict")
    assert (done.code, done.lines, done.errors, os.listdir(place)) == (0, ["ENOSYS"], "", [])
    assert (done.status or {})["enforced"] == "fully"
    said = ["calls: nobody is asked about those with the action notify: they fail with ENOSYS"]
    assert done.missing == said
    assert (checked(of(*ASKS)).status or {})["missing"] == said
    assert (checked(of(*REFUSES)).status or {})["missing"] == []


def test_check_needs_no_monitor_and_tells_whether_there_can_be_a_listener(place: Path) -> None:
    done = checked(of(*REFUSES), mode="ask")
    assert (done.code, (done.status or {})["layers"]["calls"], (done.status or {})["mode"]) == (1, "partially", "ask")
    done = checked(of(*REFUSES), mode="ask", before=under(*_refusing_listeners()))
    assert (done.status or {})["layers"]["calls"] == "not"
    assert "calls: the kernel gives no listener: EINVAL" in done.missing
    file = stored(of(*ASKS, *rules(Action.NOTIFY, "exit_group")))
    command = [launcher(), "-p", file, "--check", "--json"]
    given = subprocess.run([*command, "--listener", place / "none"], capture_output=True, timeout=60, check=False)
    assert (given.returncode, json.loads(given.stdout)["missing"]) == (0, [])
    without = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert len(json.loads(without.stdout)["missing"]) == 1
    file.unlink()


@pytest.mark.parametrize(
    ("mode", "options", "said"),
    [
        ("ask", (), "--mode ask needs a monitor: give its socket: --listener or --listener-fd"),
        ("ask", ("--listener", "s", "--listener-fd", "0"), "not a number for --listener-fd: 0"),
        (
            "ask",
            ("--listener", "s", "--listener-fd", "77"),
            "two listeners were given: either --listener or --listener-fd",
        ),
        ("ask", ("--listener-fd", "77"), "the descriptor of --listener-fd is not open"),
        ("ask", ("--listener", "s", "--listener", "t"), "the option is given twice: --listener"),
        ("ask", ("--listener", ""), "the listener : is no path of a socket: these have 1 to 107 bytes"),
        ("permissive", ("--listener", "s"), "--listener does not go with --mode permissive: --mode ask asks a monitor"),
        ("standard", ("--listener-metadata", "x"), "--listener-metadata goes with --listener or --listener-fd"),
        ("standard", ("--listener-state", "{}"), "--listener-state goes with --listener or --listener-fd"),
        ("asks", (), "unknown mode asks: known: standard, strict, seccomp, permissive, ask"),
    ],
)
def test_command_lines_that_make_no_sense(place: Path, mode: str, options: tuple[str, ...], said: str) -> None:
    done = run(of(*REFUSES), "create", place / "made", mode=mode, options=options)
    assert (done.code, done.errors, os.listdir(place)) == (125, f"scmm-enforce: {said}\n", [])


def test_descriptors_that_lead_to_no_monitor(place: Path) -> None:
    (place / "file").write_text("")
    with (
        open(place / "file") as file,
        socket.socket(socket.AF_INET) as inet,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams,
        socket.socket(socket.AF_UNIX) as unconnected,
    ):
        for one, said in (
            (file, "the descriptor of --listener-fd is no UNIX stream socket"),
            (inet, "the descriptor of --listener-fd is no UNIX stream socket"),
            (datagrams, "the descriptor of --listener-fd is no UNIX stream socket"),
            (unconnected, "calls: the monitor has not taken the listener: "),
        ):
            number = one.fileno()
            options = ("--listener-fd", str(number))
            done = run(of(*ASKS), "create", place / "made", options=options, pass_fds=(number,))
            assert (done.code, said in done.errors, (place / "made").exists()) == (125, True, False), done


@GREETS
def test_a_parents_death_reaches_the_program(place: Path, greets: bool) -> None:
    """PR_SET_PDEATHSIG of the process is that of its thread, and another one may become the program."""
    code = "import ctypes; n = ctypes.c_int(); ctypes.CDLL(None).prctl(2, ctypes.byref(n)); print(n.value)"
    with monitor(place, greets=greets) as there:
        words = ("setpriv", "--pdeathsig", "USR1")
        done = asked(there, of(*ASKS), "-I", "-c", code, program="/usr/bin/python3", before=words)
    assert done.lines == [str(int(signal.SIGUSR1))]


YAML = """
version: "1.0"
metadata: {name: web}
settings: {default_action: allow, listener: {path: PATH, metadata: "of the policy"}}
syscalls:
  - {names: CALLS, action: ACTION}
"""


def by_package(place: Path, *options: object, action: str) -> Done:
    """`scmm enforce` with a policy that says who is asked, and a program that makes a directory."""
    policy = place / "web.scmm.yaml"
    calls = f"[{', '.join(known(*MKDIR))}]"
    text = YAML.replace("PATH", str(place / "monitor.sock")).replace("CALLS", calls).replace("ACTION", action)
    policy.write_text(text)
    policy.chmod(0o644)
    command = [sys.executable, "-m", "scmm_oci.cli.main", "enforce", "-p", policy, *options, "--"]
    done = subprocess.run(
        [*command, acts(), "mkdir", place / "made"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
        preexec_fn=as_from_a_shell,
    )
    return Done(done.returncode, done.stdout.splitlines(), done.stderr, None)


@pytest.mark.parametrize(
    ("action", "options", "metadata"),
    [
        ("notify", (), "of the policy"),
        ("deny", ("--mode", "ask"), "of the policy"),
        ("notify", ("--listener-metadata", "mine"), "mine"),
    ],
)
def test_the_package_asks_whom_the_policy_says(
    place: Path, action: str, options: tuple[str, ...], metadata: str
) -> None:
    with monitor(place) as there:
        done = by_package(place, "-q", *options, action=action)
    assert (done.code, done.lines, done.errors, (place / "made").exists()) == (0, ["EDOM"], "", False)
    assert (there.state["metadata"], len(there.calls)) == (metadata, 1)


def test_the_package_says_what_makes_no_sense(place: Path) -> None:
    # Nobody is asked about anything: so the policy's monitor need not be there, and that it is not asked is said.
    done = by_package(place, "-q", action="deny")
    assert (done.code, done.lines) == (0, ["EPERM"]) and "who loads it names one" in done.errors
    done = by_package(place, "--listener-fd=77", "--listener=x", "--mode=permissive", action="deny")
    assert (done.code, done.lines) == (125, [])
    for said in ("descriptor 77 is not open", "two listeners were given", "does not go with --mode permissive"):
        assert said in done.errors
    done = by_package(place, action="notify")
    assert done.code == 125 and f"(start one: scmm-monitor --socket {place}/monitor.sock)" in done.errors
    with socket.socket(socket.AF_UNIX) as left:  # where nobody listens any more, it is the launcher that tells
        left.bind(str(place / "monitor.sock"))
        done = by_package(place, action="notify")
    assert done.code == 125 and done.errors.endswith("monitor.sock: ECONNREFUSED\n")
    assert not (place / "made").exists()
