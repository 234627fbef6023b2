"""Everything that watches system calls while they are timed, one class each: how it is attached and what proves it.

Leaving `attached` takes it off again and checks that it saw the calls that were made: what did nothing must not
look cheap. Only one is attached at a time.
"""

from __future__ import annotations

import os
import re
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from benchmarks.ground import ProductError
from benchmarks.processes import Asked, Loop, Programs
from rig.process import Daemon, missing_programs, wait_until
from scmm_oci.tables import syscalls

KIND = "getppid"
_MACHINE = os.uname().machine
_START_S = 60.0
_END_S = 20.0
# What a tool is in when it has attached everything and waits for events.
_WAITING = ("poll", "ppoll", "epoll_wait", "epoll_pwait")


class Tracer(ABC):
    """`seen`, `lost`: calls that it saw, and that it did not see, of all that were made."""

    key: str
    title: str

    def __init__(self) -> None:
        self.lost = self.seen = 0

    def unavailable(self) -> str | None:
        """Why it cannot be measured here, or None."""
        return None

    @abstractmethod
    def attached(self, loop: Loop) -> AbstractContextManager[None]:
        """Watch the loop until the end. Raises ProductError when it did not."""

    def programs(self) -> int:
        """How many BPF programs it has loaded while it is attached."""
        return 0

    def check(self, made: int, seen: int, lost: int = 0) -> None:
        """Compare the calls made with what it saw, and with what it says that it lost."""
        if seen + lost != made:
            raise ProductError(f"{self.title}: {made} calls were made, it saw {seen} and says that it lost {lost}")
        self.seen += seen
        self.lost += lost


@contextmanager
def placed(loop: Loop, *, beside: bool) -> Iterator[None]:
    """Start what is started meanwhile on the loop's own processor (`beside`), or on the others if there are any."""
    before = os.sched_getaffinity(0)
    own = os.sched_getaffinity(loop.pid)
    os.sched_setaffinity(0, own if beside else (before - own or own))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Empty(Tracer):
    """Programs that do nothing. That they ran is proven once, with the kernel's own statistics, which cost time."""

    def __init__(self, programs: Programs, key: str, title: str, names: Sequence[str]) -> None:
        super().__init__()
        self.key, self.title, self.names, self._programs = key, title, tuple(names), programs

    def programs(self) -> int:
        return len(self.names)

    def _loaded(self, loop: Loop) -> Asked:
        return Asked(self._programs.tracer, self._programs.empty, str(loop.cgroup_id), *self.names, hello="loaded")

    @contextmanager
    def attached(self, loop: Loop) -> Iterator[None]:
        with self._loaded(loop) as tracer:
            tracer.ask("attach")
            yield
            tracer.ask("detach")

    def prove(self, loop: Loop, *, count: int = 1000) -> None:
        """Raises ProductError unless each program runs for each call while attached, and not afterwards."""
        with self._loaded(loop) as tracer:
            tracer.ask("attach")
            tracer.ask("stats")
            loop.run(KIND, count)
            tracer.ask("detach")
            ran = self._ran(tracer)
            loop.run(KIND, count)
            again = self._ran(tracer)
        # Others' calls are seen, too.
        if ran < count * len(self.names) or again != ran:
            raise ProductError(f"{self.title}: ran {ran} times in {count} calls, {again - ran} times when detached")

    @staticmethod
    def _ran(tracer: Asked) -> int:
        return int(tracer.ask("counts").split()[2])


class Ring(Tracer):
    """An event of 88 bytes for each call, and a consumer."""

    key, title = "ring", "ring buffer event for each call"

    def __init__(self, programs: Programs) -> None:
        super().__init__()
        self._programs = programs

    def programs(self) -> int:
        return 1

    @contextmanager
    def attached(self, loop: Loop) -> Iterator[None]:
        words = (self._programs.tracer, self._programs.ring, str(loop.cgroup_id), "bench_ring")
        with ExitStack() as stack:
            with placed(loop, beside=False):
                tracer = stack.enter_context(Asked(*words, hello="loaded"))
            tracer.ask("attach")
            before = loop.made[KIND]
            yield
            made = loop.made[KIND] - before
            tracer.ask("detach")

            def counts() -> tuple[int, int]:
                events, dropped, _ = map(int, tracer.ask("counts").split())
                return events, dropped

            wait_until(lambda: sum(counts()) >= made, deadline_s=10, what=f"{made} events consumed")
            events, dropped = counts()
        # The calls by which the loop is told what to do are events, too.
        if not made <= events + dropped <= made + 1000:
            raise ProductError(f"{self.title}: {events} events and {dropped} dropped for {made} calls")
        self.check(made, made - dropped, dropped)


class Tool(Tracer):
    """A program that attaches by itself, waits, and writes down what it saw when it is interrupted.

    beside: whether it runs on the loop's processor. Each runs where it costs less: those that collect events elsewhere
    (on the loop's they would get no turn, and lose them), strace, which takes turns with the loop, on the same.
    """

    beside = False
    package: str

    def __init__(self, base: Path) -> None:
        super().__init__()
        self.base, self._number = base, 0

    def unavailable(self) -> str | None:
        reason = missing_programs(self.words(0, 0, Path("/"))[0])
        return f"{reason} (Debian package {self.package})" if reason else None

    @abstractmethod
    def words(self, pid: int, cgroup: int, output: Path) -> list[str]:
        """The command."""

    @abstractmethod
    def counted(self, output: str, log: str) -> tuple[int, int]:
        """How many calls it saw, and how many it says it lost."""

    def is_ready(self, pid: int, loop: Loop) -> bool:
        """Whether it is attached."""
        return _waits(pid)

    @contextmanager
    def attached(self, loop: Loop) -> Iterator[None]:
        self._number += 1
        output, log = (self.base / f"{self.key}-{self._number}.{end}" for end in ("out", "log"))
        words = self.words(loop.pid, loop.cgroup_id, output)
        with ExitStack() as stack:
            with placed(loop, beside=self.beside):
                daemon = stack.enter_context(Daemon(words, log=log))
            wait_until(
                lambda: not daemon.running or self.is_ready(daemon.pid, loop),
                deadline_s=_START_S,
                what=f"{words[0]} attached",
                detail=daemon.log_tail,
            )
            before = loop.made[KIND]
            yield
            made = loop.made[KIND] - before
            if not daemon.running:
                raise ProductError(f"{self.title}: ended by itself: {daemon.log_tail()}")
            os.kill(daemon.pid, signal.SIGINT)
            wait_until(
                lambda: not daemon.running,
                deadline_s=_END_S,
                what=f"{words[0]} ended",
                detail=lambda: f"it is in {_where(daemon.pid)}; {daemon.log_tail()}",
            )
        text = output.read_text(errors="replace") if output.exists() else ""
        self.check(made, *self.counted(text, log.read_text(errors="replace")))
        output.unlink(missing_ok=True)
        log.unlink()


class Bpftrace(Tool):
    key, title, package = "bpftrace", "bpftrace @[args->id] = count()", "bpftrace"

    def programs(self) -> int:
        return 1

    def words(self, pid: int, cgroup: int, output: Path) -> list[str]:
        script = f"tracepoint:raw_syscalls:sys_enter /cgroup == {cgroup}/ {{ @[args->id] = count(); }}"
        return ["bpftrace", "-o", str(output), "-e", script]

    def counted(self, output: str, log: str) -> tuple[int, int]:
        number = syscalls.number_of(_MACHINE, KIND)
        assert number is not None
        return parse_bpftrace(output, number), 0


class PerfTrace(Tool):
    key, title, package = "perf", "perf trace -s", "linux-perf"

    def words(self, pid: int, cgroup: int, output: Path) -> list[str]:
        return ["perf", "trace", "-s", "-p", str(pid), "-o", str(output)]

    def counted(self, output: str, log: str) -> tuple[int, int]:
        return parse_perf_trace(output + log)

    def check(self, made: int, seen: int, lost: int = 0) -> None:
        # What it says it lost are events, of other calls too; and it has been seen to lack a few without a word.
        super().check(made, seen, made - seen if 0 < seen <= made else lost)


class Strace(Tool):
    key, title, package = "strace", "strace -f -o FILE", "strace"
    beside = True

    def words(self, pid: int, cgroup: int, output: Path) -> list[str]:
        return ["strace", "-f", "-o", str(output), "-p", str(pid)]

    def is_ready(self, pid: int, loop: Loop) -> bool:
        return tracer_of(loop.pid) == pid and _sleeps(loop.pid)

    def counted(self, output: str, log: str) -> tuple[int, int]:
        return parse_strace(output), 0

    @contextmanager
    def attached(self, loop: Loop) -> Iterator[None]:
        with super().attached(loop):
            yield
        if tracer_of(loop.pid):
            raise ProductError(f"{self.title}: process {tracer_of(loop.pid)} still traces the loop")


def parse_bpftrace(text: str, number: int) -> int:
    """The count of one key in the map that bpftrace prints at its end."""
    found = re.findall(rf"^@\[{number}\]: (\d+)$", text, re.MULTILINE)
    return sum(map(int, found))


def parse_perf_trace(text: str) -> tuple[int, int]:
    """Calls in the summary, and events that perf trace says it lost."""
    found = re.findall(rf"^ *{KIND} +(\d+) ", text, re.MULTILINE)
    lost = re.findall(r"LOST (\d+) events", text)
    return sum(map(int, found)), sum(map(int, lost))


def parse_strace(text: str) -> int:
    """Calls in what strace wrote, whose lines begin with the process."""
    return len(re.findall(rf"^(?:\d+ +)?{KIND}\(\) += \d+$", text, re.MULTILINE))


def tracer_of(pid: int) -> int:
    """Who traces a process by ptrace(2); 0 for nobody."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"^TracerPid:\t(\d+)$", status, re.MULTILINE)[0])


def _sleeps(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def _where(pid: int) -> str:
    """The number of the system call and the kernel function that a process is in, for messages."""
    try:
        return " ".join(Path(f"/proc/{pid}/{name}").read_text().split(" ")[0].strip() for name in ("syscall", "wchan"))
    except OSError as error:
        return str(error)


def _waits(pid: int) -> bool:
    """Whether the first thread of a process waits in poll(2) or the like: /proc/PID/syscall, proc(5)."""
    try:
        word = Path(f"/proc/{pid}/syscall").read_text().split()[0]
    except OSError:
        return False
    return word.isdigit() and syscalls.name_of(_MACHINE, int(word)) in _WAITING
