"""Which state followed which in each thread, through signal handlers and restarted calls, by the stage of the process.

strace shows a signal whether or not there is a handler. Where the process's handlers are known, that decides; where
they are not (it ran before the trace), a handler is what a later rt_sigreturn proves. What states, stages and triples
are is said in docs/formats.md; the recorder in the kernel keeps the same.
"""

from __future__ import annotations

from scmm_oci.capture.document import states_key
from scmm_oci.capture.facts import Edges, Stage, State
from scmm_oci.capture.strace.threads import Frame, Handlers, Previous, Process, Thread
from scmm_oci.tables import states
from scmm_oci.tables.arch import Arch

MAX_EDGES = 1 << 18
MAX_TRIPLES = 1 << 18
# Handlers that are left by longjmp never return: old places are forgotten.
_MAX_FRAMES = 64

_RETURNS = frozenset({"rt_sigreturn", "sigreturn"})

# signal(7), the first 31: the same on every architecture of tables.arch.
_SIGNALS = (
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
)  # fmt: skip


def signal_name(word: str) -> str:
    """A signal as the lines of strace call it, where -X raw printed its number."""
    if not word.isascii() or not word.isdecimal() or len(word) > 3:
        return word
    number = int(word)
    if 1 <= number <= len(_SIGNALS):
        return f"SIG{_SIGNALS[number - 1]}"
    return "SIGRTMIN" if number == 32 else f"SIGRT_{number - 32}"


class Order:
    """The edges and triples of a trace. ``lost``: how many there was no room for."""

    def __init__(self) -> None:
        self._edges: dict[tuple[Arch, Stage | None], set[tuple[State, State]]] = {}
        self._triples: dict[tuple[Arch, Stage | None], set[tuple[State, State, State]]] = {}
        self._count = 0
        self._deep = 0
        self.lost = 0

    def begin(self, thread: Thread, nr: int, state: State, *, restarts: bool) -> None:
        """A call begins.

        Args:
            state: what it is in transitions, its number or the word of its class.
            restarts: it is restart_syscall, the kernel's own.
        """
        restarted, thread.restart = thread.restart, None
        # No kernel has calls with such numbers but arm's private ones, for which no table has room.
        if restarts or restarted == nr or nr >= states.FIRST:
            return
        this = (thread.arch, state)
        stage = thread.process.stage
        frame = thread.frames[-1] if thread.frames else None
        if frame is None or frame.sure or frame.then is not None:
            thread.before = self._add(thread.before, thread.previous, this, stage)
        elif frame.first is None:
            # From "signal" or from the call before: rt_sigreturn will tell, and so what is before the next.
            frame.first, frame.stages[0] = this, stage
            thread.before = None
        elif frame.first != this:
            frame.then, frame.stages[1] = this, stage
            thread.before = self._add(None, frame.first, this, stage)
        thread.previous = this

    def reach(self, process: Process, stage: Stage) -> None:
        """A call that brings its process to a stage has begun, and is itself of the stage before."""
        # What ran before the trace may have listened before, and accepted, too.
        if stage is Stage.ACCEPTING or process.stage is Stage.STARTING:
            process.stage = stage

    def signal(self, thread: Thread, signal: str) -> None:
        """A signal is delivered."""
        handlers = thread.handlers
        sure = handlers.handles(signal)
        if sure is False:
            return
        handlers.use(signal)
        if len(thread.frames) >= _MAX_FRAMES:
            self._settle(thread.frames.pop(0))
        if not sure and thread.frames and thread.frames[-1].first is None and not thread.frames[-1].sure:
            return  # two in a row, and no call between them: one of them is enough to wait for
        thread.frames.append(Frame(thread.previous, thread.before, thread.restart, bool(sure)))
        if sure:
            thread.previous, thread.before = states.SIGNAL, None
            thread.restart = None

    def returned(self, thread: Thread) -> Frame | None:
        """rt_sigreturn began: the interrupted place goes on. The frame is the handler's, or None if none is known."""
        frames = thread.frames
        index = len(frames) - 1
        for at in range(len(frames) - 1, -1, -1):
            if frames[at].sure:
                index = at
                break
        if index < 0:
            return None
        for frame in frames[index + 1 :]:
            self._settle(frame)
        frame = frames[index]
        del frames[index:]
        if not frame.sure:
            self._settle(Frame(states.SIGNAL, None, None, False, frame.first, frame.then, frame.stages))
        thread.previous, thread.before, thread.restart = frame.previous, frame.before, frame.restart
        return frame

    def finish(self, thread: Thread) -> None:
        """The thread ended, or runs another program now."""
        for frame in thread.frames:
            self._settle(frame)
        thread.frames.clear()

    def edges(self) -> tuple[Edges, ...]:
        """All of them, sorted."""
        keys = sorted(self._edges, key=lambda key: (key[0], _STAGES.index(key[1])))
        return tuple(
            Edges(
                arch,
                tuple(sorted(self._edges[arch, stage], key=states_key)),
                stage,
                tuple(sorted(self._triples.get((arch, stage), ()), key=states_key)),
            )
            for arch, stage in keys
        )

    def _settle(self, frame: Frame) -> None:
        """What was made since a signal did follow the place that it interrupted."""
        if frame.sure or frame.first is None:
            return
        before = self._add(frame.before, frame.previous, frame.first, frame.stages[0])
        if frame.then is not None:
            self._add(before, frame.first, frame.then, frame.stages[1])

    def _add(
        self, before: State | None, previous: Previous, this: tuple[Arch, State], stage: Stage | None
    ) -> State | None:
        """Keep that a state followed another; what stands before the next that is another than ``this``.

        Args:
            before: the last state that was another than ``previous``; None: there is none, or it is not known.
        """
        if previous is None:
            return None
        arch, state = this
        origin: State
        if isinstance(previous, str):
            origin = previous
        elif previous[0] is arch:
            origin = previous[1]
        else:
            origin, before = states.FOREIGN, None
        key = (arch, stage)
        edges = self._edges.get(key)
        if edges is None:
            edges = self._edges[key] = set()
        if (origin, state) not in edges:
            if self._count >= MAX_EDGES:
                self.lost += 1
            else:
                self._count += 1
                edges.add((origin, state))
        if origin == state:
            return before
        if before is not None:
            triples = self._triples.setdefault(key, set())
            if (before, origin, state) not in triples:
                if self._deep >= MAX_TRIPLES:
                    self.lost += 1
                else:
                    self._deep += 1
                    triples.add((before, origin, state))
        return origin


_STAGES = (None, *Stage)


def returns(name: str) -> bool:
    """Whether a call is the end of a signal handler."""
    return name in _RETURNS


def learn_handler(handlers: Handlers, signal: str, action: str) -> None:
    """A successful rt_sigaction.

    Args:
        action: the text of the new action, or of "NULL" or a pointer when there is none.
    """
    if not action.startswith("{sa_handler=") and not action.startswith("{sa_sigaction="):
        return
    handler = action.partition("=")[2].partition(",")[0].rstrip("}")
    if handler.split(" ")[0] in ("SIG_DFL", "SIG_IGN", "0", "1", "0x0", "0x1", "NULL"):
        handlers.learn(signal, None)
    else:
        handlers.learn(signal, "SA_RESETHAND" in action)
