"""Ways to answer calls that wait: the least that can, scmm-monitor, sandlock; and the program whose calls they are."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.monitor_report import ALLOW, BEHALF, DENY, EXECUTABLE, KINDS, LEAST, RETURN, SANDLOCK, Slice
from benchmarks.processes import SOURCES, Asked
from rig.process import Daemon, RigError, run
from scmm_oci.compiled import bpf
from scmm_oci.compiled.filter import build
from scmm_oci.compiled.filter import of_policy as filter_of
from scmm_oci.policy.model import Action, Policy, Settings, SyscallRule
from scmm_oci.tables.syscalls import numbers

CALLS = {ALLOW: "getppid", DENY: "getuid", RETURN: "getgid", EXECUTABLE: "geteuid", BEHALF: "openat"}
SANDLOCK_VERSION = "0.9.0"
_DRIVER = Path(__file__).with_name("monitor_sandlock.py")
_MACHINE = os.uname().machine


@dataclass(frozen=True)
class Ground:
    """What all ways use: the programs, the filter under which calls wait, a file to open."""

    directory: Path
    asks: Path
    answers: Path
    filter: Path
    file: Path


def prepare(directory: Path) -> Ground:
    """Compile and write all of it. Raises RigError with the compiler's words."""
    made = Ground(*(directory / name for name in (".", "asks", "answers", "filter", "file")))
    for name in ("asks", "answers"):
        options = ("-O2", "-static", "-pthread", "-Wall", "-Wextra", "-Werror")
        run(["gcc", *options, "-o", directory / name, SOURCES / f"{name}.c"])
    made.filter.write_bytes(notifying(tuple(CALLS.values())))
    made.file.write_text("opened\n")
    return made


def notifying(names: Sequence[str]) -> bytes:
    """A filter that has these calls wait for a listener's answer, and allows all others."""
    rules = tuple(SyscallRule(name, Action.NOTIFY) for name in names)
    return bpf.encode(build(filter_of(Policy(settings=Settings(default_action=Action.ALLOW), syscalls=rules))))


def rules(ground: Ground) -> Mapping[str, object]:
    """monitor.yaml: a rule for each kind."""
    return {
        "version": "1.0",
        "default": "deny",
        "rules": [
            {"syscalls": [CALLS[ALLOW]], "decision": "allow"},
            {"syscalls": [CALLS[DENY]], "decision": "deny", "errno": "EPERM"},
            {"syscalls": [CALLS[RETURN]], "decision": "return", "value": 7},
            {"syscalls": [CALLS[EXECUTABLE]], "executable": str(ground.asks), "decision": "allow"},
            {"syscalls": [CALLS[BEHALF]], "path": f"{ground.file.parent}/**", "decision": "allow"},
        ],
    }


@dataclass(frozen=True)
class Way:
    """Somebody who answers (`pids`, with all that they start), and the program that asks."""

    key: str
    asked: Asked
    pids: tuple[int, ...]
    file: Path
    kinds: tuple[str, ...] = tuple(KINDS)

    def run_on(self, cpus: set[int]) -> None:
        """Have the program and all who answer run on these processors."""
        for pid in (int(self.asked.greeting.split()[1]), *self.pids):
            for one in family(pid):
                _run_on(one, cpus)

    def slice(self, kind: str, threads: int, count: int) -> Slice:
        """`count` calls by each thread. Raises RigError if an answer is not what the rules say."""
        if kind == BEHALF:
            line = f"open {threads} {count} {os.O_RDONLY} {self.file}"
        else:
            line = f"time {threads} {count} {numbers(_MACHINE)[CALLS[kind]]}"
        took, median, p99, first, others = map(int, self.asked.ask(line).split())
        right = {ALLOW: first > 0, DENY: first == -1, RETURN: first == 7, EXECUTABLE: first == os.geteuid()}
        if others or not right.get(kind, first == 0):
            raise RigError(f"{self.key}: {CALLS[kind]} gave {first}, and something else {others} times")
        return Slice(median, p99, 1e9 * threads * count / took)


@contextmanager
def least(ground: Ground) -> Iterator[Way]:
    """benchmarks/programs/answers.c."""
    socket = ground.directory / "least.sock"
    with (
        Asked(ground.answers, socket, hello="ready") as supervisor,
        Asked(ground.asks, ground.filter, socket, LEAST, hello="ready") as asked,
    ):
        yield Way(LEAST, asked, (supervisor.pid,), ground.file)


@contextmanager
def monitored(ground: Ground, key: str, *options: str) -> Iterator[Way]:
    """scmm-monitor with a rule for each kind."""
    directory = ground.directory / key
    directory.mkdir(mode=0o700)
    socket, config = directory / "notify.sock", directory / "monitor.yaml"
    config.write_text(json.dumps(rules(ground)))  # JSON is YAML
    words = [
        *(sys.executable, "-m", "scmm_oci.cli.main", "monitor", "--no-prompt"),
        *("--socket", str(socket), "--rules", str(config), "--decisions", str(directory / "decisions.sqlite")),
        *options,
    ]
    with Daemon(words, log=directory / "log", ready=socket.exists) as daemon, ExitStack() as stack:
        try:
            asked = stack.enter_context(Asked(ground.asks, ground.filter, socket, key, hello="ready"))
            yield Way(key, asked, (daemon.pid,), ground.file)
        except RigError as error:
            raise RigError(f"{error}\nscmm-monitor: {daemon.log_tail()}") from None


@contextmanager
def sandlocked(ground: Ground, python: str) -> Iterator[Way]:
    """sandlock with a handler for each kind, by an interpreter that has it."""
    fifo = ground.directory / "sandlock" / "answers"
    fifo.parent.mkdir(mode=0o700)
    os.mkfifo(fifo)
    file = fifo.with_name("file")
    file.write_text("opened\n")
    with Asked(python, _DRIVER, ground.asks, fifo, hello="ready") as asked:
        kinds = tuple(kind for kind in KINDS if kind != EXECUTABLE)
        yield Way(SANDLOCK, asked, (asked.pid,), file, kinds)


def sandlock_unavailable(python: str) -> str | None:
    """Why an interpreter cannot run sandlock, or None."""
    done = run([python, "-c", "import sandlock.handler"], check=False)
    if done.returncode == 0:
        return None
    last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    return f"{last} (--install-sandlock installs sandlock {SANDLOCK_VERSION} in an environment of its own)"


def install_sandlock(directory: Path) -> str:
    """An interpreter that has sandlock, in a new environment. Raises RigError."""
    run([sys.executable, "-m", "venv", directory], timeout=120)
    python = str(directory / "bin" / "python")
    options = ("--quiet", "--disable-pip-version-check", "--only-binary=:all:")
    run([python, "-m", "pip", "install", *options, f"sandlock=={SANDLOCK_VERSION}"], timeout=300)
    return python


def family(pid: int) -> list[int]:
    """A process and all that it has started, of those that have not ended."""
    found = [pid]
    for one in found:
        try:
            for task in os.listdir(f"/proc/{one}/task"):
                found += map(int, Path(f"/proc/{one}/task/{task}/children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has just ended
    return found


def resident(pid: int) -> int:
    """A process's resident memory in bytes, proc_pid_statm(5)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _run_on(pid: int, cpus: set[int]) -> None:
    try:
        for task in map(int, os.listdir(f"/proc/{pid}/task")):
            os.sched_setaffinity(task, cpus)
    except (FileNotFoundError, ProcessLookupError):
        pass
