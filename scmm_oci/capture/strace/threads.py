"""What a trace says of its processes: directories, descriptors, signal handlers and programs, as they change.

One Thread for each that lives. What threads share (clone(2): CLONE_FS, CLONE_FILES, CLONE_SIGHAND, CLONE_THREAD) is one
object here too. A path whose beginning is not known yet starts with a NUL and the number of a base; see paths.Bases.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from scmm_oci.capture.facts import PathState, Stage, State
from scmm_oci.tables import states
from scmm_oci.tables.arch import Arch

# The state that a thread was in last: a call's, or a beginning; None: what it did before is not known.
Previous = tuple[Arch, State] | str | None

# A table of descriptors that is larger is not a program's but a hostile trace's (RLIMIT_NOFILE is 1024 as a rule).
MAX_DESCRIPTORS = 4096
# No architecture has more signals; their names are short.
MAX_SIGNALS = 128
_MAX_SIGNAL = 16


class Place(NamedTuple):
    """A path and how far it can be relied on."""

    path: str
    state: PathState


@dataclass(slots=True, eq=False)
class Socket:
    """A socket: what it is, and what it was bound to."""

    family: str
    type: str
    protocol: int
    address: str | None = None
    port: int | None = None


@dataclass(slots=True, eq=False)
class Open:
    """An open descriptor: the file or socket behind it, and whether it is closed by execve."""

    place: Place | None = None
    socket: Socket | None = None
    cloexec: bool = False


@dataclass(slots=True, eq=False)
class Directories:
    """The current directory and the root: struct fs_struct. ``root`` is "" where it was never changed."""

    cwd: Place
    root: str = ""

    def copy(self) -> Directories:
        return Directories(self.cwd, self.root)


class Descriptors:
    """A process's table of descriptors; only those are in it that the trace showed being made.

    A copy has the same dictionary until one of the two is changed: most children change little or nothing.
    """

    __slots__ = ("_open", "_shared")

    def __init__(self, opened: dict[int, Open] | None = None, *, shared: bool = False) -> None:
        self._open = opened if opened is not None else {}
        self._shared = shared

    def copy(self) -> Descriptors:
        self._shared = True
        return Descriptors(self._open, shared=True)

    def _part(self) -> None:
        if self._shared:
            self._open = dict(self._open)
            self._shared = False

    def get(self, fd: int) -> Open | None:
        return self._open.get(fd)

    def set(self, fd: int, opened: Open) -> None:
        if len(self._open) < MAX_DESCRIPTORS or fd in self._open:
            self._part()
            self._open[fd] = opened

    def close(self, first: int, last: int) -> None:
        found = [first] if first == last else [fd for fd in self._open if first <= fd <= last]
        for fd in found:
            if fd in self._open:
                self._part()
                del self._open[fd]

    def close_on_exec(self, first: int, last: int) -> None:
        self._part()
        for fd, opened in self._open.items():
            if first <= fd <= last:
                self._open[fd] = Open(opened.place, opened.socket, True)

    def executed(self) -> Descriptors:
        """What is left after execve."""
        if not any(opened.cloexec for opened in self._open.values()):
            return self.copy()
        return Descriptors({fd: opened for fd, opened in self._open.items() if not opened.cloexec})

    def __len__(self) -> int:
        return len(self._open)


class Handlers:
    """Which signals have a handler; ``known``: all of that is known, as the process was seen from an execve on.

    A copy has the same dictionary until one of the two is changed.
    """

    __slots__ = ("_seen", "_shared", "known")

    def __init__(self, *, known: bool = False) -> None:
        # signal → whether its handler is reset once used; None: it was seen to have none
        self._seen: dict[str, bool | None] = {}
        self._shared = False
        self.known = known

    def copy(self) -> Handlers:
        self._shared = True
        made = Handlers(known=self.known)
        made._seen, made._shared = self._seen, True
        return made

    def handles(self, signal: str) -> bool | None:
        """Whether it has a handler; None if that is not known."""
        if signal in self._seen:
            return self._seen[signal] is not None
        return False if self.known else None

    def learn(self, signal: str, resets: bool | None) -> None:
        """The signal has a handler now, which is reset once used or is not; or (None) has none."""
        if signal not in self._seen and (len(self._seen) >= MAX_SIGNALS or len(signal) > _MAX_SIGNAL):
            return
        if self._shared:
            self._seen = dict(self._seen)
            self._shared = False
        self._seen[signal] = resets

    def use(self, signal: str) -> None:
        """Its handler runs."""
        if self._seen.get(signal):
            self.learn(signal, None)

    def __len__(self) -> int:
        return len(self._seen)


@dataclass(slots=True, eq=False)
class Process:
    """A thread group: the program it runs, and whether the trace showed it end by a call of its own.

    ``program`` is a number of Program, None before the first execve. ``began``: whether it is the program that was
    traced, or comes of it; strace's own child is not until it executes that. ``stage``: None where that is not known.
    """

    pid: int
    program: int | None = None
    began: bool = True
    ended: bool = False
    stage: Stage | None = Stage.STARTING


@dataclass(slots=True, eq=False)
class Frame:
    """A place that a signal interrupted. ``sure``: that a handler runs.

    ``first``: the first call made since, ``then`` the next that was another, and ``stages`` those of the process then.
    """

    previous: Previous
    before: State | None
    restart: int | None
    sure: bool
    first: tuple[Arch, State] | None = None
    then: tuple[Arch, State] | None = None
    stages: list[Stage | None] = field(default_factory=lambda: [None, None])


@dataclass(slots=True, eq=False)
class Thread:
    """One thread. ``pending``: the call that it has begun and not ended (importer.Begun).

    ``before``: the last state that was another than ``previous``, of the same ABI; None: there is none.
    """

    pid: int
    process: Process
    directories: Directories
    descriptors: Descriptors
    handlers: Handlers
    arch: Arch
    previous: Previous = None
    before: State | None = None
    restart: int | None = None
    frames: list[Frame] = field(default_factory=list)
    pending: object = None

    def child(self, pid: int, flags: frozenset[str] | None) -> Thread:
        """The thread that a call of the clone family makes, with these of its flags; None: they are not known."""
        shared = flags or frozenset()
        threaded = "CLONE_THREAD" in shared
        process = self.process
        return Thread(
            pid,
            process if threaded else Process(pid, process.program, process.began, stage=process.stage),
            self.directories if "CLONE_FS" in shared else self.directories.copy(),
            self.descriptors if "CLONE_FILES" in shared else self.descriptors.copy(),
            self.handlers if "CLONE_SIGHAND" in shared else self.handlers.copy(),
            self.arch,
            previous=states.START if flags is None else states.THREAD if threaded else states.FORK,
        )

    def execute(self, program: int, arch: Arch) -> None:
        """What a successful execve changes."""
        self.process.program = program
        self.process.began = True
        self.descriptors = self.descriptors.executed()
        self.directories = self.directories.copy()
        self.handlers = Handlers(known=True)
        self.arch = arch
        self.previous, self.before = states.EXEC, None
        self.restart = None
        self.frames.clear()
