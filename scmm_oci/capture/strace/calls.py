"""What happens when a call begins and ends: counts, order, arguments, programs and children.

The importer calls this with the lines of calls, after it has found whose they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from scmm_oci.capture.facts import PathState, State
from scmm_oci.capture.strace import classes, effects, lexer, values
from scmm_oci.capture.strace.counts import Arguments, Programs, error_name
from scmm_oci.capture.strace.family import Family, Waiting, clone_flags
from scmm_oci.capture.strace.lexer import BadLine, Kind, Line, Result
from scmm_oci.capture.strace.naming import Done, Facts
from scmm_oci.capture.strace.order import Order
from scmm_oci.capture.strace.paths import Bases, absolute, of_descriptor, own
from scmm_oci.capture.strace.plans import Plan, Plans
from scmm_oci.capture.strace.threads import Handlers, Place, Thread
from scmm_oci.tables import states
from scmm_oci.tables.arch import Arch

# MAX_ARG_STRLEN of linux/binfmts.h, and what a capture takes.
_MAX_ARG = 131072

_NOTHING = Result(None, None, None)
_INTERRUPTED = Result(None, "EINTR", None)
# A thread of which no call has been seen.
_NOTHING_YET = (None, states.START, *states.STARTS)


@dataclass(slots=True, eq=False)
class Begun:
    """A call that a thread has begun."""

    plan: Plan
    body: str
    now: int


class Calls:
    """The calls of a trace.

    ``released``: lines that waited for their thread's parent, and can be taken now. ``superseded``: pids whose thread
    was replaced by one that executes a program, until that has returned.
    """

    def __init__(self, arch: Arch, bases: Bases, family: Family) -> None:
        self._arch = arch
        self._family = family
        self.facts = Facts(bases)
        self.plans = Plans(arch)
        self.order = Order()
        self.arguments = Arguments()
        self.programs = Programs()
        self.argv: tuple[str, ...] = ()
        self.count = 0
        self.superseded: set[int] = set()
        self.released: list[Waiting] = []

    def begin(self, thread: Thread, line: Line, now: int, *, timed: bool) -> None:
        """A line on which a call begins, and may end. ``timed``: the trace has times."""
        plan = self.plans.find(thread, line.name, line.number)
        if thread.pending is not None:
            thread.pending = None  # strace lost its end, as when it was detached
            self._family.forking.pop(thread.pid, None)
        self.count += 1
        count = plan.app if thread.process.began else plan.setup
        count.entered += 1
        if count.first is None and timed:
            count.first = now
        if thread.process.began:
            if thread.process.program is not None:
                count.programs.add(thread.process.program)
            self._follow(thread, plan, line)
        if plan.exits:
            thread.process.ended = True
        if line.kind is Kind.UNFINISHED:
            thread.pending = Begun(plan, line.text, now)
            if plan.forks:
                self._family.forking[thread.pid] = clone_flags(plan.word, lexer.partial(line.text))
            return
        self._leave(thread, plan, line.text, now)

    def _follow(self, thread: Thread, plan: Plan, line: Line) -> None:
        state: State = plan.nr
        if plan.refined:
            assert plan.name is not None
            state = classes.state(plan.name, plan.nr, lexer.leading(line.text), plan.arch)
        self.order.begin(thread, plan.nr, state, restarts=plan.restarts)
        if plan.stage is not None:
            self.order.reach(thread.process, plan.stage)

    def resume(self, thread: Thread | None, pid: int, line: Line) -> None:
        """A line on which a call ends."""
        begun = thread.pending if thread is not None else None
        if thread is None or not isinstance(begun, Begun):
            if thread is None:
                self._family.find(pid, executes=False)  # strace was attached while the call was under way
                return
            if pid in self.superseded and line.name.startswith("execve"):
                self.superseded.discard(pid)
                self.programs.lost += 1
                thread.handlers = Handlers(known=True)
                return
            if thread.previous in _NOTHING_YET:
                return
            raise BadLine(f"ends a call {line.name} that did not begin", "is a part of the file missing?")
        if begun.plan.name != line.name and not (begun.plan.word == line.name):
            raise BadLine(
                f"ends a call {line.name}, but {begun.plan.word} is under way", "is a part of the file missing?"
            )
        thread.pending = None
        self.superseded.discard(pid)
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
            # As far as names and addresses go, this attempt has failed.
            result = _NOTHING if thread.restart is None else _INTERRUPTED
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
            self.meaning(thread, plan, Done(thread, plan.word, arguments, result, now), rest)

    def _returned(self, thread: Thread, error: str | None) -> None:
        frame = self.order.returned(thread)
        if frame is not None and error == "EINTR" and frame.restart is not None:
            # The call that the signal interrupted: it was shown with ERESTART….
            plan = self.plans.numbered(thread.arch, frame.restart)
            if plan is not None:
                plan.app.errnos.add("EINTR")
            thread.restart = None

    def meaning(self, thread: Thread, plan: Plan, call: Done, rest: str) -> None:
        """What a call that ended, or was seen to begin, says beyond being made."""
        if plan.names:
            effects.learn_directory(self.facts, call)
        if plan.executes:
            self._execute(thread, plan, call)
        elif not thread.process.began:
            return
        else:
            effects.apply(self.facts, call, plan.file)
        if plan.arguments and thread.process.began and plan.name is not None:
            self.arguments.add(plan.arch, plan.nr, plan.name, plan.arguments, plan.ordered(call.arguments))
        if plan.forks and call.good and call.result.value:
            self._forked(thread, plan, call, rest)

    def _forked(self, thread: Thread, plan: Plan, call: Done, rest: str) -> None:
        assert call.result.value is not None
        pid = call.result.value
        translated = rest.partition("/* ")[2].partition(" in strace's PID NS */")
        if translated[1] and translated[0].isascii() and translated[0].isdecimal():
            pid = int(translated[0][:8])
        flags = clone_flags(plan.word, call.arguments)
        self.released += self._family.announce(thread, pid, flags)
        self.released += self._family.orphans()

    def _execute(self, thread: Thread, plan: Plan, call: Done) -> None:
        arguments = call.arguments
        at = 1 if plan.word == "execveat" else 0
        if not call.good:
            if thread.process.began:
                effects.apply(self.facts, call, plan.file)
            return
        name = values.name(arguments[at]) if at < len(arguments) else None
        place: Place | None = None
        if name is not None and name.cut:
            self.facts.cut += 1
        elif name is not None and "\0" not in name.text:
            if name.text:
                place = absolute(thread, arguments[0] if at else None, name.text)
            elif at:
                place = own(of_descriptor(thread, arguments[0]), thread)
        vector = list(values.strings(arguments[at + 1])) if at + 1 < len(arguments) else []
        if place is None:
            self.programs.lost += 1
            place = Place(name.text[:4096].replace("\0", "?") if name is not None else "", PathState.OUTSIDE)
        argv0 = vector[0].text if vector else ""
        number = self.programs.execute(place, argv0[:4096], call.now)
        if place.state in (PathState.NAMED, PathState.RESOLVED, PathState.DELETED):
            caller = number if thread.process.program is None else thread.process.program
            self.facts.files.use(place, "execute", error=None, program=caller, now=call.now)
        if not self.argv:
            self.argv = tuple(one.text[:_MAX_ARG] for one in vector[:4096])
        self.order.finish(thread)
        thread.execute(number, self._arch)

    def unfinished(self, thread: Thread) -> None:
        """The trace ends, and with it what is known of a call under way."""
        begun = thread.pending
        if isinstance(begun, Begun) and thread.process.began and begun.plan.reads:
            call = Done(thread, begun.plan.word, lexer.partial(begun.body), _NOTHING, begun.now)
            self.meaning(thread, begun.plan, call, "")


@lru_cache(4096)
def _result(rest: str) -> Result:
    return lexer.result(rest)
