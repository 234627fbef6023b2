"""The small C programs of benchmarks/programs/, compiled when they are needed: what is timed and what watches it."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from rig.process import RigError, run

SOURCES = Path(__file__).with_name("programs")
# uname(2) machine → what <bpf/bpf_tracing.h> calls it.
_MACHINES = {"x86_64": "x86", "aarch64": "arm64"}
ANSWER_S = 60.0


@dataclass(frozen=True)
class Programs:
    """Paths: the loop, the loader, the two BPF objects."""

    loop: Path
    tracer: Path
    empty: Path
    ring: Path


def build(directory: Path) -> Programs:
    """Compile all of them into `directory`. Raises RigError with the compiler's words."""
    warnings = ("-Wall", "-Wextra", "-Werror")
    loop, tracer = directory / "loop", directory / "tracer"
    run(["gcc", "-O2", "-static", *warnings, "-o", loop, SOURCES / "loop.c"])
    run(["gcc", "-O2", "-pthread", *warnings, "-o", tracer, SOURCES / "tracer.c", "-lbpf"])
    # clang for BPF does not know where Debian keeps <asm/types.h>.
    multiarch = run(["gcc", "-print-multiarch"]).stdout.strip()
    machine = _MACHINES[os.uname().machine]
    objects = []
    for name in ("empty", "ring"):
        objects.append(directory / f"{name}.bpf.o")
        options = [*warnings, "-Wno-unused-parameter", f"-D__TARGET_ARCH_{machine}", f"-I/usr/include/{multiarch}"]
        source = SOURCES / f"{name}.bpf.c"
        run(["clang", "-target", "bpf", "-mcpu=v3", "-O2", "-g", *options, "-c", source, "-o", objects[-1]])
    return Programs(loop, tracer, *objects)


class Asked:
    """A process that answers lines: one command, one answer. It ends when its standard input does."""

    def __init__(self, *words: str | Path, hello: str, cgroup: Path | None = None) -> None:
        self.words, self._hello, self._cgroup = tuple(map(str, words)), hello, cgroup
        self.greeting = ""

    def __enter__(self) -> Self:
        cgroup = self._cgroup

        def join() -> None:
            if cgroup is not None:
                (cgroup / "cgroup.procs").write_text("0")

        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            self.words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
            preexec_fn=join,
        )
        try:
            self.greeting = self._read()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, line: str) -> str:
        """The answer to one command. Raises RigError when there is none within ANSWER_S seconds."""
        assert self._process.stdin is not None
        try:
            os.write(self._process.stdin.fileno(), line.encode() + b"\n")
        except BrokenPipeError:
            raise self._error(f"ended before it was asked {line!r}") from None
        return self._read(line)

    def _read(self, line: str = "") -> str:
        assert self._process.stdout is not None
        fd, answer = self._process.stdout.fileno(), b""
        end = time.monotonic() + ANSWER_S
        while not answer.endswith(b"\n"):
            if not select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
                raise self._error(f"no answer to {line!r} within {ANSWER_S:g} s")
            part = os.read(fd, 4096)
            if not part:
                raise self._error(f"ended instead of an answer to {line!r}")
            answer += part
        if not line and not answer.decode().startswith(self._hello):
            raise self._error(f"said {answer!r} first")
        return answer.decode().strip()

    def _error(self, what: str) -> RigError:
        self._errors.seek(0)
        return RigError(f"{' '.join(self.words)}: {what}: {self._errors.read().decode(errors='replace')[-2000:]}")


class Loop(Asked):
    """The program that is timed, in a cgroup of its own. `made`: rounds of each kind since its last execve."""

    def __init__(self, programs: Programs, *, cgroup: Path, cpu: int) -> None:
        super().__init__(programs.loop, str(cpu), hello="ready", cgroup=cgroup)
        self.cgroup = cgroup
        self.made: Counter[str] = Counter()

    @property
    def cgroup_id(self) -> int:
        """What bpf_get_current_cgroup_id() says: the inode of the directory, cgroups(7)."""
        return self.cgroup.stat().st_ino

    @property
    def real_time(self) -> bool:
        """Whether it has a real-time priority during a slice."""
        return self.greeting == "ready 1"

    def run(self, kind: str, count: int) -> float:
        """Nanoseconds for each of `count` rounds."""
        taken = int(self.ask(f"{kind} {count}"))
        self.made[kind] += count
        return taken / count

    def execute_again(self) -> None:
        self.greeting = self.ask("exec")
        self.made.clear()


def watchers(programs: Programs) -> list[tuple[int, str]]:
    """Id and name of each BPF program that is loaded, by whomever, and could be watching system calls."""
    lines = (line.split(" ", 2) for line in run([programs.tracer, "list"]).stdout.splitlines())
    return [(int(number), name) for number, _, name in lines]
