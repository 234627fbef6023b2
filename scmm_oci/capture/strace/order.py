"""Which call followed which in each thread, through signal handlers and restarted calls.

strace shows a signal whether or not there is a handler. Where the process's handlers are known, that decides; where
they are not (it ran before the trace), a handler is what a later rt_sigreturn proves.
"""

from __future__ import annotations

from scmm_oci.capture.facts import Edges
from scmm_oci.capture.strace.threads import Frame, Handlers, Thread
from scmm_oci.tables.arch import Arch

MAX_EDGES = 1 << 18
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
    """The edges of a trace."""

    def __init__(self) -> None:
        self._edges: dict[Arch, set[tuple[int | str, int]]] = {}
        self._count = 0
        self.lost = 0

    def begin(self, thread: Thread, nr: int, *, restarts: bool) -> None:
        """A call begins. ``restarts``: it is restart_syscall, the kernel's own."""
        restarted, thread.restart = thread.restart, None
        if restarts or restarted == nr:
            return
        this = (thread.arch, nr)
        if thread.frames and thread.frames[-1].first is None and not thread.frames[-1].sure:
            # From "signal" or from the call before: rt_sigreturn will tell.
            thread.frames[-1].first = this
        else:
            self._add(thread.previous, this)
        thread.previous = this

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
        thread.frames.append(Frame(thread.previous, thread.restart, bool(sure)))
        if sure:
            thread.previous = "signal"
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
        if not frame.sure and frame.first is not None:
            self._add("signal", frame.first)
        thread.previous, thread.restart = frame.previous, frame.restart
        return frame

    def finish(self, thread: Thread) -> None:
        """The thread ended, or runs another program now."""
        for frame in thread.frames:
            self._settle(frame)
        thread.frames.clear()

    def edges(self) -> tuple[Edges, ...]:
        """All of them, sorted."""
        return tuple(Edges(arch, tuple(sorted(self._edges[arch], key=_edge_key))) for arch in sorted(self._edges))

    def _settle(self, frame: Frame) -> None:
        if not frame.sure and frame.first is not None:
            self._add(frame.previous, frame.first)

    def _add(self, previous: object, this: tuple[Arch, int]) -> None:
        arch, nr = this
        origin: int | str = str(previous)
        if isinstance(previous, tuple):
            origin = previous[1] if previous[0] is arch else "foreign"
        edges = self._edges.setdefault(arch, set())
        if (origin, nr) not in edges:
            if self._count >= MAX_EDGES:
                self.lost += 1
                return
            self._count += 1
            edges.add((origin, nr))


def _edge_key(edge: tuple[int | str, int]) -> tuple[bool, int, str, int]:
    origin, nr = edge
    # As capture.document sorts them: words, then numbers.
    return (False, 0, origin, nr) if isinstance(origin, str) else (True, origin, "", nr)


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
