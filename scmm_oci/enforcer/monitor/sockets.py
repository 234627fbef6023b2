"""The monitor's UNIX sockets: where they are, who may be at their other end.

A socket is for its owner alone, in a directory into which nobody else writes. Who connects is asked of the kernel
(unix(7), SO_PEERCRED): root, or the user that the monitor runs as; and no process under a filter that the monitor
is not under itself, because that could be one of those that are to be decided about.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

from scmm_oci.enforcer.private import replaceable
from scmm_oci.errors import BadInput, Failure, Problem

NAME = "notify.sock"
CONTROL = "control.sock"
_MOST_PATH = 107  # sun_path of unix(7), and its 0
_SUFFIX = ".new"
_BACKLOG = 4096  # a full one has connect(2) fail at once for who does not block; the kernel cuts it to its own bound
_SO_PEERPIDFD = 77  # asm-generic/socket.h
CREDENTIALS = struct.Struct("=iII")  # struct ucred: pid, uid, gid


@dataclass(frozen=True, slots=True)
class Peer:
    """Who has connected, in our PID namespace; pid 0 for a process that cannot be seen from here."""

    pid: int
    uid: int
    gid: int


def default_path(*, uid: int, runtime_dir: str | None) -> str:
    """Where the monitor of a user listens: root's in /run, another's in its XDG_RUNTIME_DIR.

    Raises:
        Failure: the user has no such directory.
    """
    if uid == 0:
        return f"/run/scmm/monitor/{NAME}"
    if not runtime_dir or not runtime_dir.startswith("/"):
        raise Failure("XDG_RUNTIME_DIR names no directory", "give the socket's path: --socket")
    return f"{runtime_dir}/scmm/monitor/{NAME}"


class Listening:
    """A socket that listens at a path, until it is closed. One process at a time has a path."""

    def __init__(self, path: str) -> None:
        """Raises BadInput where nothing can safely listen, Failure where another process does."""
        self.path = os.path.abspath(path)
        self._lock = -1
        if len(os.fsencode(self.path + _SUFFIX)) > _MOST_PATH:
            raise _bad(self.path, f"is longer than the {_MOST_PATH - len(_SUFFIX)} bytes that a socket's path may have")
        self._make_directory()
        self._lock = self._locked()
        try:
            self._check_place()
            self.socket = self._bound()
        except BaseException:
            os.unlink(f"{self.path}.lock")  # as long as it is ours
            os.close(self._lock)
            raise
        self._inode = os.lstat(self.path).st_ino

    def close(self) -> None:
        """Listen no more, and leave nothing behind. Once is enough."""
        if self._lock < 0:
            return
        self.socket.close()
        for path in (self.path, f"{self.path}.lock"):
            try:
                if path != self.path or os.lstat(path).st_ino == self._inode:
                    os.unlink(path)
            except OSError:
                pass  # somebody has taken it away: nothing is left then
        os.close(self._lock)
        self._lock = -1

    def _make_directory(self) -> None:
        directory = Path(self.path).parent
        try:
            directory.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            directory.mkdir(mode=0o700, exist_ok=True)
            status = os.stat(directory)
            # The directory, and what its path stands for.
            above = replaceable(str(directory)) + replaceable(os.path.realpath(directory))
        except OSError as error:
            raise _bad(str(directory), f"cannot be made: {error.strerror}") from error
        if status.st_uid not in (0, os.geteuid()):
            raise _bad(str(directory), "belongs to another user", "give a path in a directory of your own")
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise _bad(str(directory), "may be written by others", "give a path in a directory that is yours alone")
        if above:
            problems = [
                Problem("", each, "give a path below directories of root's and your own")
                for each in dict.fromkeys(above)
            ]
            raise BadInput(problems, source=self.path)

    def _locked(self) -> int:
        path = f"{self.path}.lock"
        while True:
            try:
                lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise _bad(path, f"cannot be made: {error.strerror}") from error
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(lock).st_ino == os.lstat(path).st_ino:
                    return lock
            except FileNotFoundError:
                pass  # whoever had it has just ended, and taken it away
            except OSError as error:
                os.close(lock)
                if error.errno == errno.EWOULDBLOCK:
                    hint = f"scmm monitor status --socket {self.path}"
                    raise Failure(f"{self.path}: another monitor listens there", hint) from error
                raise _bad(path, f"cannot be locked: {error.strerror}") from error
            os.close(lock)

    def _check_place(self) -> None:
        try:
            status = os.lstat(self.path)
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(status.st_mode) or status.st_uid != os.geteuid():
            raise _bad(self.path, "is there, and no socket of yours", "remove it, or give another path")

    def _bound(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        new = self.path + _SUFFIX
        mask = os.umask(0o177)
        try:
            if os.path.lexists(new):
                os.unlink(new)  # the directory is ours: one of us was killed in between
            made.bind(new)
            made.listen(_BACKLOG)
            os.rename(new, self.path)  # from now on it can be connected to
        except OSError as error:
            made.close()
            raise _bad(self.path, f"cannot be listened at: {error.strerror}") from error
        finally:
            os.umask(mask)
        return made


def peer_of(connection: socket.socket) -> Peer:
    """Who has connected, as the kernel noted it then."""
    return Peer(*CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)))


#: The refusal of a peer that cannot be looked at any more: runtimes live for a few milliseconds.
ENDED = "it has ended"


def refusal(peer: Peer, connection: socket.socket, *, most_filters: int | None) -> str | None:
    """Why a peer is not listened to, or None.

    Args:
        connection: the peer's.
        most_filters: how many seccomp filters it may have, as a rule as many as this process; None for any number.

    Raises:
        OSError: there is no descriptor left to look with.
    """
    if peer.uid not in (0, os.geteuid()):
        return f"it is of user {peer.uid}"
    if not peer.pid:
        return "its process cannot be seen from here"
    if most_filters is None:
        return None
    filters = filters_of(peer.pid)
    # In this order: whoever is there afterwards has had that number all the time.
    if filters is None or _has_ended(connection):
        return ENDED
    if filters > most_filters:
        return f"process {peer.pid} is under a seccomp filter"
    return None


def _has_ended(connection: socket.socket) -> bool:
    """Whether the process that connected is gone, and its number perhaps another's.

    Before Linux 6.5 the kernel does not say: False.
    """
    try:
        handle = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        return error.errno in (errno.ESRCH, errno.EINVAL)
    try:
        signal.pidfd_send_signal(handle, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    finally:
        os.close(handle)
    return False


def filters_of(pid: int | str) -> int | None:
    """How many seccomp filters a process has; None if it is gone.

    Before Linux 5.9 the kernel does not count them (proc_pid_status(5)): then 1 where there is any.

    Raises:
        OSError: there is no descriptor left to look with.
    """
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            lines = dict(line.split(b":", 1) for line in file.read().splitlines() if b":" in line)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        return None
    counted = lines.get(b"Seccomp_filters")
    return int(counted) if counted is not None else int(lines.get(b"Seccomp", b"0").strip() == b"2")


def _bad(path: str, message: str, hint: str = "") -> BadInput:
    return BadInput([Problem(path, message, hint)])
