"""A capture as frozen values: which system calls each session of a container made, phase by phase, and with what.

Built by capture.file from a document, read by policy.infer, ``extract --stats-only`` and ``scmm show``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from scmm_oci.capture.facts import ArgumentSet, Edges, FileUse, Program, SocketUse
from scmm_oci.tables.arch import Arch


class Source(StrEnum):
    """What was recorded, and by whom."""

    CONTAINER = "container"  # by the OCI hooks, from its beginning
    COMMAND = "command"  # scmm record -- COMMAND
    ATTACHED = "attached"  # scmm record -p PID, --container NAME: it ran already
    STRACE = "strace"  # imported


class LossKind(StrEnum):
    """Ways in which a recording can be incomplete."""

    CGROUPS = "lost-cgroups"
    THREADS = "lost-threads"
    CALLS = "lost-calls"
    ARGUMENTS = "lost-arguments"
    FILES = "lost-files"
    SOCKETS = "lost-sockets"
    PROGRAMS = "lost-programs"
    ORDER = "lost-order"
    IO_URING = "io-uring"
    ATTACHED = "attached"
    SNAPSHOT = "snapshot"
    FILTERED = "filtered"
    UNFOLLOWED = "unfollowed"
    LEFT = "left-cgroup"
    CUT_SHORT = "cut-short"
    NEVER_STARTED = "never-started"
    UNKNOWN_PHASE = "unknown-phase"


class NoteKind(StrEnum):
    """Things worth knowing that take nothing from a recording's completeness."""

    SESSIONS_SHARED = "sessions-shared"
    BAD_NUMBERS = "bad-numbers"
    PROGRAMS_SHARED = "programs-shared"
    NAMED_PATHS = "named-paths"
    STILL_RUNNING = "still-running"


class SessionKind(StrEnum):
    """How the processes of a session came into the container."""

    MAIN = "main"
    EXEC = "exec"


class Phase(StrEnum):
    """Until the filter is loaded, from there to the execve of the program, and the program."""

    SETUP = "setup"
    RUNTIME = "runtime"
    APP = "app"


@dataclass(frozen=True)
class Loss:
    """Something that could not be kept, how often, and in words."""

    kind: LossKind
    count: int
    detail: str


@dataclass(frozen=True)
class Note:
    """Something worth knowing, how often, and in words."""

    kind: NoteKind
    count: int
    detail: str


@dataclass(frozen=True)
class Call:
    """One system call of one phase.

    Attributes:
        nr: its number, for x32 without the x32 bit.
        name: None where the recorder's tables had none.
        entered: how often it began (sys_enter); refusals by a filter are not among them.
        errnos: names of the errors that it ended with, sorted.
        denied: how often a filter that was loaded already refused it; ``denied_errno``: with what, the last time.
        programs: numbers of the programs that made it, sorted; only in the phase app.
        first: when it was first made, in milliseconds from the beginning of the recording; None if not known.
    """

    arch: Arch
    nr: int
    name: str | None
    entered: int
    succeeded: int
    errnos: tuple[str, ...]
    denied: int
    denied_errno: str | None
    programs: tuple[int, ...] = ()
    first: int | None = None


@dataclass(frozen=True)
class Session:
    """The container's own process and its descendants (main, number 0), or one late entrant's (exec)."""

    kind: SessionKind
    number: int
    setup: tuple[Call, ...]
    runtime: tuple[Call, ...]
    app: tuple[Call, ...]

    def calls(self, phase: Phase) -> tuple[Call, ...]:
        """The calls of one phase."""
        return {Phase.SETUP: self.setup, Phase.RUNTIME: self.runtime, Phase.APP: self.app}[phase]


@dataclass(frozen=True)
class Recorder:
    """What wrote the capture."""

    name: str
    version: str


@dataclass(frozen=True)
class Host:
    """The kernel's release and machine, as uname(2) has them."""

    kernel: str
    machine: str


@dataclass(frozen=True)
class Container:
    """The container, as far as its bundle could be read; what could not be is None, or empty for ``args``."""

    id: str
    args: tuple[str, ...]
    uid: int | None
    gid: int | None
    no_new_privileges: bool | None
    seccomp: bool | None


@dataclass(frozen=True)
class Runtime:
    """The OCI runtime, where it could be told."""

    name: str | None
    version: str | None


@dataclass(frozen=True)
class Capture:
    """One recording. Times are RFC 3339 in UTC.

    The facts (programs, arguments, files, sockets, order) are of the phase app of all sessions together.
    """

    name: str
    source: Source
    losses: tuple[Loss, ...]
    notes: tuple[Note, ...]
    started_at: str
    ended_at: str
    recorder: Recorder
    host: Host
    container: Container
    runtime: Runtime
    sessions: tuple[Session, ...]
    programs: tuple[Program, ...] = ()
    arguments: tuple[ArgumentSet, ...] = ()
    files: tuple[FileUse, ...] = ()
    sockets: tuple[SocketUse, ...] = ()
    order: tuple[Edges, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether everything that happened is in it."""
        return not self.losses

    def calls(self, phase: Phase) -> Iterator[tuple[Session, Call]]:
        """Every call of a phase, with its session."""
        for session in self.sessions:
            for call in session.calls(phase):
                yield session, call
