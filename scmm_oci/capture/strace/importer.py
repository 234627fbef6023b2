"""Lines of strace output → one capture.

``import_logs`` reads every line once and keeps only what it adds up. A line that is not strace's is a problem; all of
them are told at once. What a trace cannot tell is a loss or a note of the capture. Pure: files, the time and the
machine are the caller's.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from scmm_oci.capture.facts import PathState
from scmm_oci.capture.model import Capture
from scmm_oci.capture.strace import clock, effects, lexer, summary, values
from scmm_oci.capture.strace.counts import Arguments, Programs, error_name
from scmm_oci.capture.strace.effects import Done, Facts
from scmm_oci.capture.strace.family import Family, clone_flags
from scmm_oci.capture.strace.lexer import BadLine, Kind, Line, Result
from scmm_oci.capture.strace.order import Order
from scmm_oci.capture.strace.paths import Bases, absolute, of_descriptor, own
from scmm_oci.capture.strace.plans import Plan, Plans
from scmm_oci.capture.strace.threads import Handlers, Place, Thread
from scmm_oci.errors import BadInput, Problem
from scmm_oci.tables.arch import Arch

MAX_PROBLEMS = 1000

_NOTHING = Result(None, None, None)


@dataclass(frozen=True)
class Log:
    """One file of strace output.

    Attributes:
        name: for messages.
        lines: its lines with their ends (lexer.lines).
        pid: whose lines they are where they do not say so, as in the files of -ff; None if not known.
    """

    name: str
    lines: Iterable[bytes]
    pid: int | None = None


@dataclass(slots=True, eq=False)
class Begun:
    """A call that a thread has begun."""

    plan: Plan
    body: str
    now: int


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
        importer.read(_numbered(logs[0], 0))
    else:
        importer.read_all(logs)
    importer.finish()
    if importer.problems:
        raise BadInput(importer.problems)
    if not importer.calls:
        names = ", ".join(log.name for log in logs)
        raise BadInput([Problem(names, "has no system call", "write a trace with: strace -f -o FILE COMMAND")])
    return summary.capture(importer.found(), name=name, arch=arch, ended=ended)


def _numbered(log: Log, index: int) -> Iterator[tuple[str, int, int, bytes]]:
    # Without a pid the lines are of one thread, which needs some number that no other has.
    pid = -index if log.pid is None else log.pid
    name = log.name
    for number, raw in enumerate(log.lines, 1):
        yield name, number, pid, raw


class _Importer:
    def __init__(self, arch: Arch, bases: Bases, progress: Callable[[int], None] | None) -> None:
        self._arch = arch
        self._progress = progress
        self._bases = bases
        self._facts = Facts(bases)
        self._family = Family(bases, arch)
        self._plans = Plans(arch)
        self._order = Order()
        self._arguments = Arguments()
        self._programs = Programs()
        self._clock = clock.Clock()
        self._timed = True
        self._now = 0
        self._lines = 0
        self._argv: tuple[str, ...] = ()
        self._cut = 0
        self._running = 0
        self._filtered = 0
        self._superseded: set[int] = set()
        self.calls = 0
        self.problems: list[Problem] = []

    # Lines.

    def read(self, lines: Iterable[tuple[str, int, int, bytes]]) -> None:
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
                self._take(line, pid if line.pid is None else line.pid, name, number, self._now)
            except BadLine as error:
                self._bad(error, name, number, whole)

    def _bad(self, error: BadLine, name: str, number: int, whole: bool) -> None:
        if not whole:
            self._cut += 1  # the file's last line, which strace did not finish
        elif len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(f"{name}: line {number}", error.message, error.hint))

    def read_all(self, logs: Sequence[Log]) -> None:
        """Take the files of -ff: by time if they have times, else each after the one that announces it."""
        ordered = sorted(enumerate(logs), key=lambda item: (item[1].pid is None, item[1].pid or 0, item[0]))
        sources = {(-i if log.pid is None else log.pid): _peeked(_numbered(log, i)) for i, log in ordered}
        if sources and all(timed for timed, _ in sources.values()):
            merged = heapq.merge(*(_by_time(lines) for _, lines in sources.values()), key=lambda item: item[0])
            self.read(line for _, line in merged)
            return
        self._timed = False
        while sources:
            announced = next((pid for pid in self._family.announced if pid in sources), None)
            pid = next(iter(sources)) if announced is None else announced
            self.read(sources.pop(pid)[1])

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
            self._call(thread, line, now)
        elif kind is Kind.RESUMED:
            thread = family.threads.get(pid)
            if thread is None and pid in family.waiting:
                self._wait(line, pid, name, number, now)
                return
            self._resume(thread, pid, line, now)
        elif kind is Kind.SIGNAL:
            thread = family.threads.get(pid)
            if thread is not None and thread.process.began:
                self._order.signal(thread, line.name)
        elif kind is Kind.ENDED:
            if pid in family.waiting:
                self._wait(line, pid, name, number, now)
            else:
                self._end(pid, killed=line.name == "killed")
        elif kind is Kind.SUPERSEDED:
            self._superseded.add(pid)
            old = family.replace(pid, line.number or 0)
            if old is not None:
                self._order.finish(old)
        elif kind is Kind.MODE:
            arch = self._plans.mode(line.name)
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

    def _replay(self, lines: list[tuple[Line, str, int, int]], pid: int | None = None) -> None:
        for line, name, number, now in lines:
            try:
                self._take(line, line.pid if line.pid is not None else pid or 0, name, number, now)
            except BadLine as error:
                self._bad(error, name, number, True)

    # Calls.

    def _call(self, thread: Thread, line: Line, now: int) -> None:
        plan = self._plans.find(thread, line.name, line.number)
        if thread.pending is not None:
            thread.pending = None  # strace lost its end, as when it was detached
            self._family.forking.pop(thread.pid, None)
        self.calls += 1
        count = plan.app if thread.process.began else plan.setup
        count.entered += 1
        if count.first is None and self._clock.seen:
            count.first = now
        if thread.process.began:
            if thread.process.program is not None:
                count.programs.add(thread.process.program)
            self._order.begin(thread, plan.nr, restarts=plan.restarts)
        if plan.exits:
            thread.process.ended = True
        if line.kind is Kind.UNFINISHED:
            thread.pending = Begun(plan, line.text, now)
            if plan.forks:
                self._family.forking[thread.pid] = clone_flags(lexer.partial(line.text))
            return
        self._leave(thread, plan, line.text, now)

    def _resume(self, thread: Thread | None, pid: int, line: Line, now: int) -> None:
        begun = thread.pending if thread is not None else None
        if thread is None or not isinstance(begun, Begun):
            if thread is None:
                self._family.find(pid, executes=False)  # strace was attached while the call was under way
                return
            if pid in self._superseded and line.name.startswith("execve"):
                self._superseded.discard(pid)
                self._programs.lost += 1
                thread.handlers = Handlers(known=True)
                return
            if thread.previous == "start":
                return
            raise BadLine(f"ends a call {line.name} that did not begin", "is a part of the file missing?")
        if begun.plan.name != line.name and not (begun.plan.word == line.name):
            raise BadLine(
                f"ends a call {line.name}, but {begun.plan.word} is under way", "is a part of the file missing?"
            )
        thread.pending = None
        self._superseded.discard(pid)
        if begun.plan.forks:
            self._family.forking.pop(thread.pid, None)
        self._leave(thread, begun.plan, begun.body + line.text, begun.now)

    def _leave(self, thread: Thread, plan: Plan, body: str, now: int) -> None:
        arguments: list[str] = []
        at = -1
        if not plan.reads:
            at = body.find(" = ")
            if at < 0 or body.find(" = ", at + 1) >= 0 or not body[:at].rstrip().endswith(")"):
                at = -1
        if at >= 0:
            rest = body[at:]
        else:
            arguments, rest = lexer.split(body)
        result = _result(rest) if len(rest) < 80 else lexer.result(rest)
        count = plan.app if thread.process.began else plan.setup
        error = result.error
        if plan.returns:
            # What it "returns" is what the interrupted call did.
            count.succeeded += 1
            self._returned(thread, error)
            return
        if result.value is None:
            # Interrupted, to be made again: no error that the program has seen. Or the thread is gone.
            thread.restart = plan.nr if error is not None and error.startswith("ERESTART") else None
            result = _NOTHING
        elif error is not None:
            known = error_name(error)
            if known is None:
                raise BadLine(f"has an error {error[:24]} that Linux does not have")
            count.errnos.add(known)
            if known != error:
                result = Result(result.value, known, result.path)
        else:
            count.succeeded += 1
        if plan.reads:
            self._meaning(thread, plan, Done(thread, plan.word, arguments, result, now), rest)

    def _returned(self, thread: Thread, error: str | None) -> None:
        frame = self._order.returned(thread)
        if frame is not None and error == "EINTR" and frame.restart is not None:
            # The call that the signal interrupted: it was shown with ERESTART….
            plan = self._plans.numbered(thread.arch, frame.restart)
            if plan is not None:
                plan.app.errnos.add("EINTR")
            thread.restart = None

    def _meaning(self, thread: Thread, plan: Plan, call: Done, rest: str) -> None:
        if plan.names:
            effects.learn_directory(self._facts, call)
        if plan.executes:
            self._execute(thread, plan, call)
        elif not thread.process.began:
            return
        else:
            effects.apply(self._facts, call, plan.file)
        if plan.arguments and thread.process.began and plan.name is not None:
            self._arguments.add(plan.arch, plan.nr, plan.name, plan.arguments, plan.ordered(call.arguments))
        if plan.forks and call.good and call.result.value:
            self._forked(thread, call, rest)

    def _forked(self, thread: Thread, call: Done, rest: str) -> None:
        assert call.result.value is not None
        pid = call.result.value
        translated = rest.partition("/* ")[2].partition(" in strace's PID NS */")
        if translated[1] and translated[0].isascii() and translated[0].isdecimal():
            pid = int(translated[0][:8])
        flags = clone_flags(call.arguments)
        self._replay(self._family.announce(thread, pid, flags), pid)
        self._replay(self._family.orphans(), pid)

    def _execute(self, thread: Thread, plan: Plan, call: Done) -> None:
        arguments = call.arguments
        at = 1 if plan.word == "execveat" else 0
        if not call.good:
            if thread.process.began:
                effects.apply(self._facts, call, plan.file)
            return
        name = values.name(arguments[at]) if at < len(arguments) else None
        place: Place | None = None
        if name is not None and name.cut:
            self._facts.cut += 1
        elif name is not None and "\0" not in name.text:
            if name.text:
                place = absolute(thread, arguments[0] if at else None, name.text)
            elif at:
                place = own(of_descriptor(thread, arguments[0]), thread)
        vector = list(values.strings(arguments[at + 1])) if at + 1 < len(arguments) else []
        if place is None:
            self._programs.lost += 1
            place = Place(name.text[:4096] if name is not None else "", PathState.OUTSIDE)
        argv0 = vector[0].text if vector else ""
        number = self._programs.execute(place, argv0[:4096], call.now)
        if place.state in (PathState.NAMED, PathState.RESOLVED, PathState.DELETED):
            caller = number if thread.process.program is None else thread.process.program
            self._facts.files.use(place, "execute", error=None, program=caller, now=call.now)
        if not self._argv:
            self._argv = tuple(one.text for one in vector)[:4096]
        self._order.finish(thread)
        thread.execute(number, self._arch)

    def _end(self, pid: int, *, killed: bool) -> None:
        thread = self._family.end(pid)
        if thread is None:
            return
        self._order.finish(thread)
        if not killed and not thread.process.ended:
            self._filtered += 1
        self._replay(self._family.orphans(), pid)

    def finish(self) -> None:
        """The last line is read."""
        self._family.forking.clear()
        self._replay(self._family.orphans())
        for thread in self._family.threads.values():
            self._order.finish(thread)
            if isinstance(thread.pending, Begun) and thread.process.began and thread.pending.plan.reads:
                plan = thread.pending.plan
                call = Done(thread, plan.word, lexer.partial(thread.pending.body), _NOTHING, thread.pending.now)
                self._meaning(thread, plan, call, "")

    def found(self) -> summary.Found:
        """Everything, for the capture."""
        return summary.Found(
            bases=self._bases,
            facts=self._facts,
            plans=self._plans,
            order=self._order,
            arguments=self._arguments,
            programs=self._programs,
            clock=self._clock,
            argv=self._argv,
            cut=self._cut,
            running=self._running,
            filtered=self._filtered,
            attached=self._family.attached,
            unfollowed=len(self._family.announced),
            lost_threads=self._family.lost,
        )


@lru_cache(4096)
def _result(rest: str) -> Result:
    return lexer.result(rest)


def _peeked(lines: Iterator[tuple[str, int, int, bytes]]) -> tuple[bool, Iterator[tuple[str, int, int, bytes]]]:
    """Whether the first line has a time that others can be compared with, and all lines."""
    first = next(lines, None)
    if first is None:
        return True, iter(())
    time = _time(first[3])

    def everything() -> Iterator[tuple[str, int, int, bytes]]:
        yield first
        yield from lines

    return time is not None, everything()


def _time(raw: bytes) -> int | None:
    try:
        word = lexer.lex(raw[:4096].decode("latin-1").rstrip("\r\n")).time
    except BadLine:
        return None
    return None if word is None or clock.is_relative(word) else clock.microseconds(word)


def _by_time(lines: Iterator[tuple[str, int, int, bytes]]) -> Iterator[tuple[int, tuple[str, int, int, bytes]]]:
    last = 0
    for line in lines:
        last = _time(line[3]) or last
        yield last, line
