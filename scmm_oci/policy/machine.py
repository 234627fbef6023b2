"""The machine that a policy's transitions are on one ABI, run on what threads do: the reference for the watch. Pure.

It says the same as the watch in the kernel, which has bitmaps instead (docs/formats.md, transitions), and is what
policies are proven, judged and compared by.

A thread's past is the state that it is in and the one before that was another (repetitions count once). Both begin
anew with a program, a process, a thread and a handler; the end of a handler brings back what it interrupted. A process
serves once it has made one of the calls that the policy names, and so do the processes that it starts from then on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import product

from scmm_oci.policy import order
from scmm_oci.policy.model import Policy, Serving, Transition
from scmm_oci.policy.order import Following, Table
from scmm_oci.tables import states, syscalls
from scmm_oci.tables.arch import Arch

# The state of a thread whose past is not known: any call may follow that the machine has at all.
ANY = "any"
# The kernel goes on with a call that was interrupted. No program makes it, and it never counts.
RESUMES = "restart_syscall"
RETURNS = frozenset({"rt_sigreturn", "sigreturn"})
# x86's call; as a state that is led from, the word means the handler.
SIGNAL_CALL = "signal()"


class Kind(StrEnum):
    """What a thread does, as far as a machine is concerned."""

    CALL = "call"
    """It enters a call."""
    FORK = "fork"
    """It made a process."""
    THREAD = "thread"
    """It made a thread of its own process."""
    EXEC = "exec"
    """It executed a program; the other threads of its process are gone."""
    SIGNAL = "signal"
    """A handler of its own begins."""
    FOREIGN = "foreign"
    """It made a call of another ABI."""
    EXIT = "exit"
    """It ended."""


@dataclass(frozen=True)
class Event:
    """One thing that a thread does.

    Attributes:
        thread: any number; the same for the same thread.
        call: of a call its name, or its class (``openat:write``). Of one that has classes the name alone means that the
            class is not known: then it is allowed if some class of it is.
        child: of a new process or thread its number.
        meant: of socketcall(2) the call that it stands for, as its first argument says; a process serves by that, too.
    """

    thread: int
    kind: Kind
    call: str = ""
    child: int = 0
    meant: str = ""


@dataclass(frozen=True)
class Violation:
    """A call that the machine does not have there.

    Attributes:
        index: of the event in the trace.
        before: the state before ``state`` that was another; None: none is known.
        state, to: what it was made after, and the call or its class.
    """

    index: int
    thread: int
    serving: bool
    before: str | None
    state: str
    to: str


@dataclass(frozen=True)
class Machine:
    """What a policy's transitions say on one ABI.

    Attributes:
        starting: holds until a process serves; None: then nothing is judged.
        serving: holds from then on; None: the policy has none, and ``starting`` goes on to hold.
        switches: the calls that begin it.
    """

    arch: Arch
    starting: Table | None
    serving: Table | None = None
    switches: Following = frozenset()

    @classmethod
    def of(cls, policy: Policy, arch: Arch | None = None) -> Machine | None:
        """The machine of a policy on one of its ABIs (None: its own); None if it has no transitions at all."""
        return cls.built(policy.transitions, policy.serving, arch or policy.settings.arch)

    @classmethod
    def built(cls, transitions: Sequence[Transition] | None, serving: Serving | None, arch: Arch) -> Machine | None:
        """The machine of these two sections of a policy; None if there is neither.

        Calls that the ABI lacks are left out.
        """
        if transitions is None and serving is None:
            return None
        known = frozenset(name for name, number in syscalls.numbers(arch).items() if number < states.FIRST)
        starting = None if transitions is None else order.table(transitions, known)
        if serving is None:
            return cls(arch, starting)
        switches = {states.call_of(one) or one for word in serving.calls for one in order.calls(word, known)}
        return cls(arch, starting, order.table(serving.transitions, known), frozenset(switches))

    def table(self, serving: bool) -> Table | None:
        """What holds for a process that does not serve yet, or that does; None: nothing is judged."""
        return self.serving if serving and self.serving is not None else self.starting

    def allows(self, before: str | None, state: str, to: str, *, serving: bool = False) -> bool:
        """Whether a call may be made there.

        Args:
            before: the state before ``state`` that was another; None if none is known.
            state: a call, class or beginning, or ANY.
            to: the call, or its class. Of calls whose class is not known it is asked whether some class of them can.
        """
        held = self.table(serving)
        if held is None:
            return True
        ends = states.classes_of(to)
        if state == ANY:
            return any(one in held.called for one in ends)
        befores = [None] if before is None else states.expand(before)
        return any(held.allows(*way) for way in product(befores, states.expand(state), ends))

    def run(self, trace: Iterable[Event], *, attached: bool = False) -> list[Violation]:
        """All that the machine does not have in a trace of processes and their threads, in order.

        Args:
            attached: threads that no event has begun were there before the watch, so that their past is not known.
                Otherwise they have just been executed.
        """
        run = _Run(self, ANY if attached else states.EXEC)
        return [found for index, event in enumerate(trace) if (found := run.step(index, event)) is not None]


@dataclass(frozen=True)
class _Past:
    """Where a thread is; ``interrupted``: what the handlers that run interrupted, the last one last."""

    state: str
    before: str | None = None
    interrupted: tuple[tuple[str, str | None], ...] = ()


@dataclass
class _Run:
    machine: Machine
    unknown: str
    pasts: dict[int, _Past] = field(default_factory=dict)
    processes: dict[int, int] = field(default_factory=dict)
    serving: set[int] = field(default_factory=set)

    def step(self, index: int, event: Event) -> Violation | None:
        thread = event.thread
        past = self.pasts.get(thread, _Past(self.unknown))
        process = self.processes.setdefault(thread, thread)
        match event.kind:
            case Kind.CALL:
                return self._call(index, event, past, process)
            case Kind.FORK:
                # A child that is forked in a handler returns from it, too.
                self.pasts[event.child] = _Past(states.FORK, None, past.interrupted)
                self.processes[event.child] = event.child
                if process in self.serving:
                    self.serving.add(event.child)
            case Kind.THREAD:
                self.pasts[event.child] = _Past(states.THREAD, None, past.interrupted)
                self.processes[event.child] = process
            case Kind.EXEC:
                for other in [one for one, its in self.processes.items() if its == process and one != thread]:
                    del self.processes[other]
                    self.pasts.pop(other, None)
                past = _Past(states.EXEC)
            case Kind.SIGNAL:
                past = _Past(states.SIGNAL, None, (*past.interrupted, (past.state, past.before)))
            case Kind.FOREIGN:
                past = replace(past, state=states.FOREIGN, before=None)
            case Kind.EXIT:
                self.pasts.pop(thread, None)
                del self.processes[thread]
                return None
        self.pasts[thread] = past
        return None

    def _call(self, index: int, event: Event, past: _Past, process: int) -> Violation | None:
        call = states.call_of(event.call) or event.call
        number = syscalls.numbers(self.machine.arch).get(call)
        if call == RESUMES or number is None or number >= states.FIRST:
            # What has no place in the tables is no call to them.
            self.pasts[event.thread] = past
            return None
        serving = process in self.serving
        found = None
        if not self.machine.allows(past.before, past.state, event.call, serving=serving):
            found = Violation(index, event.thread, serving, past.before, past.state, event.call)
        if not self.machine.switches.isdisjoint((call, event.meant)):
            self.serving.add(process)
        if call in RETURNS:
            state, before = past.interrupted[-1] if past.interrupted else (ANY, None)
            past = _Past(state, before, past.interrupted[:-1])
        else:
            state = SIGNAL_CALL if event.call == states.SIGNAL else event.call
            if state != past.state:
                past = replace(past, state=state, before=past.state)
        self.pasts[event.thread] = past
        return found
