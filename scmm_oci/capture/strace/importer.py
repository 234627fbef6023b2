"""Lines of strace output → one capture.

``import_logs`` reads every line once and keeps only what it adds up. A line that is not strace's is a problem; all of
them are told at once. What a trace cannot tell is a loss or a note of the capture. Pure: files, the time and the
machine are the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from scmm_oci.capture.model import Capture
from scmm_oci.capture.strace import clock, lexer, summary
from scmm_oci.capture.strace.calls import Calls
from scmm_oci.capture.strace.family import Family
from scmm_oci.capture.strace.lexer import BadLine, Kind, Line, Result
from scmm_oci.capture.strace.logs import Log, Numbered, merged, numbered
from scmm_oci.capture.strace.paths import Bases
from scmm_oci.errors import BadInput, Problem
from scmm_oci.tables.arch import Arch

__all__ = ["MAX_PROBLEMS", "Log", "import_logs"]

MAX_PROBLEMS = 1000

_NOTHING = Result(None, None, None)


def import_logs(
    logs: Sequence[Log],
    *,
    name: str,
    arch: Arch = Arch.X86_64,
    cwd: str | None = None,
    ended: float = 0.0,
    progress: Callable[[int], None] | None = None,
) -> Capture:
    """The capture of a trace.

    Args:
        logs: one file, or those of one ``strace -ff``.
        name: the capture's.
        arch: of the machine that the trace was made on.
        cwd: the directory that strace was started in, where it is known.
        ended: when the trace ended, in seconds since 1970; used where its lines have no date.
        progress: called with the number of lines read, every ten thousand.

    Raises:
        BadInput: there are lines that strace did not write, or no calls at all.
    """
    importer = _Importer(arch, Bases(cwd), progress)
    if len(logs) == 1:
        importer.read(numbered(logs[0], 0))
    else:
        importer.read_all(logs)
    importer.finish()
    if importer.problems:
        raise BadInput(importer.problems)
    if not importer.calls:
        names = ", ".join(log.name for log in logs)
        raise BadInput([Problem(names, "has no system call", "write a trace with: strace -f -o FILE COMMAND")])
    return summary.capture(importer.found(), name=name, arch=arch, ended=ended)


class _Importer:
    def __init__(self, arch: Arch, bases: Bases, progress: Callable[[int], None] | None) -> None:
        self._arch = arch
        self._progress = progress
        self._bases = bases
        self._family = Family(bases, arch)
        self._calls = Calls(arch, bases, self._family)
        self._clock = clock.Clock()
        self._timed = True
        self._now = 0
        self._lines = 0
        self._cut = 0
        self._running = 0
        self._filtered = 0
        self.problems: list[Problem] = []

    # Lines.

    def read(self, lines: Iterable[Numbered]) -> None:
        """Take lines in their order."""
        for name, number, pid, raw in lines:
            if len(self.problems) >= MAX_PROBLEMS:
                return
            self._lines += 1
            if self._progress is not None and self._lines % 10_000 == 0:
                self._progress(self._lines)
            whole = raw.endswith(b"\n") or len(raw) > lexer.MAX_LINE
            try:
                if len(raw) > lexer.MAX_LINE:
                    raise BadLine(f"is longer than {lexer.MAX_LINE} bytes", "use a smaller -s")
                line = lexer.lex(raw.decode("latin-1").rstrip("\r\n"))
                if line.kind is Kind.NOTHING:
                    continue
                if line.time is not None and self._timed:
                    self._now = self._clock.at(line.time)
                if line.pid is None:
                    line = line._replace(pid=pid)
                self._take(line, line.pid or pid, name, number, self._now)
                if self._calls.released:
                    self._release()
            except BadLine as error:
                self._bad(error, name, number, whole)

    def _bad(self, error: BadLine, name: str, number: int, whole: bool) -> None:
        if not whole:
            self._cut += 1  # the file's last line, which strace did not finish
        elif len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(f"{name}: line {number}", error.message, error.hint))

    def read_all(self, logs: Sequence[Log]) -> None:
        """Take the files of -ff: by time if they have times, else each after the one that announces it."""
        sources = merged(logs)
        if not isinstance(sources, dict):
            self.read(sources)
            return
        self._timed = False
        while sources:
            announced = next((pid for pid in self._family.announced if pid in sources), None)
            pid = next(iter(sources)) if announced is None else announced
            self.read(sources.pop(pid))

    def _take(self, line: Line, pid: int, name: str, number: int, now: int) -> None:
        kind = line.kind
        family = self._family
        if kind is Kind.CALL or kind is Kind.UNFINISHED:
            thread = family.threads.get(pid)
            if thread is None:
                executes = line.name.startswith("execve")
                thread = None if pid in family.waiting else family.find(pid, executes=executes)
                if thread is None:
                    self._wait(line, pid, name, number, now)
                    return
            self._calls.begin(thread, line, now, timed=self._clock.seen)
        elif kind is Kind.RESUMED:
            thread = family.threads.get(pid)
            if thread is None and pid in family.waiting:
                self._wait(line, pid, name, number, now)
                return
            self._calls.resume(thread, pid, line)
        elif kind is Kind.SIGNAL:
            thread = family.threads.get(pid)
            if thread is not None and thread.process.began:
                self._calls.order.signal(thread, line.name)
        elif kind is Kind.ENDED:
            if pid in family.waiting:
                self._wait(line, pid, name, number, now)
            else:
                self._end(pid, killed=line.name == "killed")
        elif kind is Kind.SUPERSEDED:
            self._calls.superseded.add(pid)
            old = family.replace(pid, line.number or 0)
            if old is not None:
                self._calls.order.finish(old)
        elif kind is Kind.MODE:
            arch = self._calls.plans.mode(line.name)
            if arch is None:
                raise BadLine(f"has a mode that {self._arch} does not have", "give the machine's own with --arch")
            thread = family.threads.get(line.number or 0) or family.threads.get(pid)
            if thread is not None:
                thread.arch = arch
        elif kind is Kind.DETACHED:
            self._running += 1

    def _wait(self, line: Line, pid: int, name: str, number: int, now: int) -> None:
        if not self._family.wait(pid, (line, name, number, now)):
            self._family.lost += 1

    def _release(self) -> None:
        # No recursion: what these lines release comes after them.
        released = self._calls.released
        at = 0
        while at < len(released):
            line, name, number, now = released[at]
            at += 1
            try:
                self._take(line, line.pid or 0, name, number, now)
            except BadLine as error:
                self._bad(error, name, number, True)
        released.clear()

    def _end(self, pid: int, *, killed: bool) -> None:
        thread = self._family.end(pid)
        if thread is None:
            return
        self._calls.order.finish(thread)
        if not killed and not thread.process.ended:
            self._filtered += 1
        self._calls.released += self._family.orphans()

    def finish(self) -> None:
        """The last line is read."""
        self._family.forking.clear()
        self._calls.released += self._family.orphans()
        self._release()
        for thread in self._family.threads.values():
            self._calls.order.finish(thread)
            self._calls.unfinished(thread)

    @property
    def calls(self) -> int:
        """How many calls began."""
        return self._calls.count

    def found(self) -> summary.Found:
        """Everything, for the capture."""
        return summary.Found(
            bases=self._bases,
            facts=self._calls.facts,
            plans=self._calls.plans,
            order=self._calls.order,
            arguments=self._calls.arguments,
            programs=self._calls.programs,
            clock=self._clock,
            argv=self._calls.argv,
            cut=self._cut,
            running=self._running,
            filtered=self._filtered,
            attached=self._family.attached,
            unfollowed=len(self._family.announced),
            lost_threads=self._family.lost,
        )
