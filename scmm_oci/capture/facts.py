"""What a recording knows beside the calls: arguments, files, programs, sockets and order, as frozen values.

docs/formats.md says what each means; scmm_oci.capture.model holds them together in a Capture.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from scmm_oci.tables.arch import Arch


class PathState(StrEnum):
    """How a path was found, and so how far it can be relied on."""

    RESOLVED = "resolved"  # the file's own path, as the kernel or a walk through the container's files gave it
    NAMED = "named"  # what the program said, made absolute; links on the way are not followed
    OUTSIDE = "outside"  # not below the container's root: a descriptor that came from elsewhere
    DELETED = "deleted"  # the file had no name any more; the path is its last one
    INTERNAL = "internal"  # on a file system without a place (pipe:, socket:, memfd:); Landlock lets it be


class Operation(StrEnum):
    """What a call does with a path: words of scmm_oci.tables.operations, which says what each is."""

    OPEN = "open"
    EXECUTE = "execute"
    LOADER = "loader"
    SCRIPT = "script"
    CHDIR = "chdir"
    CHROOT = "chroot"
    STAT = "stat"
    ACCESS = "access"
    READLINK = "readlink"
    STATFS = "statfs"
    CHMOD = "chmod"
    CHOWN = "chown"
    UTIME = "utime"
    GETXATTR = "getxattr"
    SETXATTR = "setxattr"
    LISTXATTR = "listxattr"
    REMOVEXATTR = "removexattr"
    TRUNCATE = "truncate"
    FTRUNCATE = "ftruncate"
    IOCTL = "ioctl"
    MKDIR = "mkdir"
    RMDIR = "rmdir"
    UNLINK = "unlink"
    MKNOD = "mknod"
    SYMLINK = "symlink"
    LINK_FROM = "link-from"
    LINK_TO = "link-to"
    RENAME_FROM = "rename-from"
    RENAME_TO = "rename-to"
    BIND = "bind"
    CONNECT = "connect"
    MOUNT = "mount"
    UMOUNT = "umount"
    PIVOT_ROOT = "pivot-root"
    WATCH = "watch"
    OTHER = "other"


class SocketOperation(StrEnum):
    """What a call does with a socket address."""

    BIND = "bind"
    CONNECT = "connect"
    SENDTO = "sendto"
    LISTEN = "listen"


@dataclass(frozen=True)
class Program:
    """A program that was executed, told apart by its file, its script and argv[0].

    Attributes:
        number: what the lists named ``programs`` refer to; at most 63, which stands for all further ones.
        path: the file that runs; of a script, its interpreter.
        loader: the ELF interpreter, or None for a static program.
        script: the file with "#!" that was named to execve(2), or None.
        count: how often it was executed.
        first: milliseconds from the beginning of the recording.
    """

    number: int
    path: str
    state: PathState
    loader: str | None
    script: str | None
    argv0: str
    count: int
    first: int


@dataclass(frozen=True)
class ArgumentSet:
    """The values that one argument of a call (or one field of a structure it points to) was seen with.

    Attributes:
        indexes: the argument's index from 0; two of them: pairs, each value being ``first << 32 | second``.
        field: the field of the structure the argument points to, or None. A filter cannot see such a value.
        values: as unsigned numbers of the width that the kernel looks at, sorted.
        open_ended: there were more values than are kept.
    """

    arch: Arch
    nr: int
    name: str | None
    indexes: tuple[int, ...]
    field: str | None
    values: tuple[int, ...]
    open_ended: bool


@dataclass(frozen=True)
class FileUse:
    """One way in which a path was used.

    Attributes:
        path: relative to the container's root, absolute. ``/proc/self/…`` and ``/proc/thread-self/…`` stand for
            a process's own directory.
        flags: of the operation (see scmm_oci.tables.operations), as far as they matter.
        other: of a link or rename: the other path.
        created: the call made the file.
        access: Landlock rights that the successful uses took on the path itself.
        parent_access: … and on the directory that holds it.
        programs, sessions: who did it, as numbers, sorted.
        first: milliseconds from the beginning of the recording.
    """

    path: str
    state: PathState
    operation: Operation
    flags: int
    other: str | None
    created: bool
    access: tuple[str, ...]
    parent_access: tuple[str, ...]
    succeeded: int
    failed: int
    errnos: tuple[str, ...]
    programs: tuple[int, ...]
    sessions: tuple[int, ...]
    first: int


@dataclass(frozen=True)
class SocketUse:
    """One way in which a socket address was used.

    Attributes:
        family: "inet", "inet6", "unix", …, or the number in decimal.
        type: "stream", "dgram", …, or the number in decimal.
        address: an IP address, the path or (with a leading "@") the abstract name of a UNIX socket, or, of other
            families, the address's bytes in hexadecimal; None where there is none (an unnamed UNIX socket).
        port: for the IP families; None elsewhere.
    """

    operation: SocketOperation
    family: str
    type: str
    protocol: int
    address: str | None
    port: int | None
    succeeded: int
    failed: int
    errnos: tuple[str, ...]
    programs: tuple[int, ...]
    sessions: tuple[int, ...]
    first: int


class Stage(StrEnum):
    """How far a process, or one that it came from, had got: what it had begun to do."""

    STARTING = "starting"
    LISTENING = "listening"  # it had made listen(2)
    ACCEPTING = "accepting"  # it had made accept(2) or accept4(2)


# A call's number, or a word of scmm_oci.tables.states.
State = int | str


@dataclass(frozen=True)
class Edges:
    """Which call followed which in one thread, in the phase app.

    Attributes:
        pairs: (from, to), sorted: numbers of calls, and words of scmm_oci.tables.states. A call that has classes is
            a number where its class is not known, and "start" stands for a beginning that is not known closer.
        stage: of the process when it made the second call; None: not known.
        triples: (before, from, to), sorted, where repeated calls count once: no two neighbours are the same; None
            where they were not recorded.
    """

    arch: Arch
    pairs: tuple[tuple[State, State], ...]
    stage: Stage | None = None
    triples: tuple[tuple[State, State, State], ...] | None = None
