"""Which thread a line is of, and whose child: threads as they appear, are announced, replaced and end.

A child's lines often come before the line on which its parent's clone returns. If only one such call is under way, it
is the child's; if there are several, the child's lines wait until one of these calls names it.
"""

from __future__ import annotations

from collections.abc import Iterable

from scmm_oci.capture.facts import Stage
from scmm_oci.capture.strace import values
from scmm_oci.capture.strace.lexer import Line
from scmm_oci.capture.strace.paths import Bases
from scmm_oci.capture.strace.threads import Descriptors, Directories, Handlers, Process, Thread
from scmm_oci.tables.arch import Arch

MAX_THREADS = 16384
_MAX_ANNOUNCED = 65536
_MAX_WAITING = 10_000

FORKS = frozenset({"fork", "vfork", "clone", "clone2", "clone3"})

# linux/sched.h
_BITS = {"CLONE_FS": 0x200, "CLONE_FILES": 0x400, "CLONE_SIGHAND": 0x800, "CLONE_THREAD": 0x10000}

Waiting = tuple[Line, str, int, int]  # a line, where it stands (log and number), and its time


def clone_flags(word: str, arguments: Iterable[str]) -> frozenset[str] | None:
    """The flags that say what the child shares, of a call of FORKS; None where the trace does not show them."""
    if word in ("fork", "vfork"):
        return frozenset()
    for text in arguments:
        if text.startswith("{"):
            text = f"flags={values.field(text, 'flags') or ''}"
        if text.startswith("flags=") and text != "flags=":
            words = values.plain(text.removeprefix("flags=")).split("|")
            bits = 0
            for word in words:
                bits |= values.number(word) or 0
            return frozenset(name for name, bit in _BITS.items() if name in words or bits & bit)
    return None


class Family:
    """The threads of a trace."""

    def __init__(self, bases: Bases, arch: Arch) -> None:
        self._bases = bases
        self._arch = arch
        self.threads: dict[int, Thread] = {}
        self.announced: dict[int, Thread] = {}
        self.forking: dict[int, frozenset[str] | None] = {}  # threads with such a call under way, and its flags
        self.waiting: dict[int, list[Waiting]] = {}
        self._ended: set[int] = set()
        self._count = 0
        self.attached = 0
        self.lost = 0

    def find(self, pid: int, *, executes: bool) -> Thread | None:
        """The thread of a line; None while its parent is not known (the line then waits), or if there are too many.

        Args:
            executes: whether the line is an execve: a trace of a command begins with one.
        """
        thread = self.threads.get(pid)
        if thread is not None:
            return thread
        if len(self.threads) >= MAX_THREADS:
            self.lost += 1
            return None
        thread = self.announced.pop(pid, None)
        if thread is None and len(self.forking) == 1:
            parent, flags = next(iter(self.forking.items()))
            thread = self.threads[parent].child(pid, flags)
        elif thread is None and self.forking:
            return None
        elif thread is None and self.announced:
            # In a PID namespace, clone returns other numbers than those that lines begin with.
            thread = self.announced.pop(next(iter(self.announced)))
            if thread.process.pid == thread.pid:
                thread.process.pid = pid
            thread.pid = pid
        elif thread is None:
            thread = self._root(pid, executes)
        self.threads[pid] = thread
        return thread

    def wait(self, pid: int, waiting: Waiting) -> bool:
        """Keep a line until its thread's parent is known; False when there is no more room."""
        if self._count >= _MAX_WAITING:
            return False
        self._count += 1
        self.waiting.setdefault(pid, []).append(waiting)
        return True

    def announce(self, parent: Thread, pid: int, flags: frozenset[str] | None) -> list[Waiting]:
        """A clone returned a pid; the lines that waited for that."""
        if pid in self.threads:
            return []
        if pid in self._ended:
            self._ended.remove(pid)
            return []
        if len(self.announced) < _MAX_ANNOUNCED:
            self.announced[pid] = parent.child(pid, flags)
        else:
            self.lost += 1
        return self._release(pid)

    def orphans(self) -> list[Waiting]:
        """The lines that wait for nothing any more, because no clone is under way."""
        if self.forking or not self.waiting:
            return []
        return [line for pid in list(self.waiting) for line in self._release(pid)]

    def replace(self, leader: int, other: int) -> Thread | None:
        """A thread executed a program: it takes its leader's pid, and all others are gone (execve(2)).

        Returns the leader as it was.
        """
        old = self.threads.get(leader)
        thread = self.threads.pop(other, None)
        if thread is not None:
            thread.pid = leader
            self.threads[leader] = thread
            if other in self.forking:
                self.forking.pop(other)
        return old

    def end(self, pid: int) -> Thread | None:
        """A thread is gone."""
        self.forking.pop(pid, None)
        self.announced.pop(pid, None)
        if self.forking:
            self._ended.add(pid)  # before its parent's vfork has returned, as a rule
        else:
            self._ended.clear()
        return self.threads.pop(pid, None)

    def _release(self, pid: int) -> list[Waiting]:
        lines = self.waiting.pop(pid, [])
        self._count -= len(lines)
        return lines

    def _root(self, pid: int, executes: bool) -> Thread:
        if not executes:
            self.attached += 1
        process = Process(pid, began=not executes, stage=Stage.STARTING if executes else None)
        directories = Directories(self._bases.new())
        return Thread(pid, process, directories, Descriptors(), Handlers(), self._arch)
