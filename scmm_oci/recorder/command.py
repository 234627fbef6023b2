"""Start a command that waits to be recorded, pass signals on to it, and know how it ended."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scmm_oci.errors import BadInput, Failure, Problem

# What a supervisor is sent and its child should have; the others end or stop whom they are sent to.
FORWARDED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
SI_USER = 0  # sigaction(2), si_code: sent by kill(2)
NOT_FOUND, NOT_EXECUTABLE = 127, 126  # as shells say it


@dataclass(frozen=True)
class User:
    """Whom a command runs as; name None: a number that no account has."""

    uid: int
    gid: int
    name: str | None


def parse_user(text: str) -> User:
    """USER[:GROUP], by names or numbers; without a group, the user's own.

    Raises:
        BadInput: there is no such user or group.
    """
    user, colon, group = text.partition(":")
    problems = []
    account: pwd.struct_passwd | None = None
    uid = gid = 0
    try:
        account = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
        uid, gid = account.pw_uid, account.pw_gid
    except (KeyError, OverflowError, ValueError):
        if user.isdecimal() and int(user) < 2**32 - 1 and colon:
            uid = int(user)
        else:
            hint = "give a group too: USER:GROUP" if user.isdecimal() else ""
            problems.append(Problem("--user", f"there is no user {user!r}", hint))
    if colon:
        try:
            gid = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
            if gid >= 2**32 - 1:
                problems.append(Problem("--user", f"there is no group {group!r}"))
        except (KeyError, ValueError):
            problems.append(Problem("--user", f"there is no group {group!r}"))
    if problems:
        raise BadInput(problems)
    return User(uid, gid, account.pw_name if account else None)


def invoking_user(environ: Mapping[str, str]) -> User | None:
    """Who called sudo(8), or None. The seed system runs a command as whom its user is, and so do we."""
    try:
        uid, gid = int(environ["SUDO_UID"]), int(environ["SUDO_GID"])
    except (KeyError, ValueError):
        return None
    if not (0 < uid < 2**32 - 1 and 0 <= gid < 2**32 - 1) or os.geteuid() != 0:
        return None
    try:
        return User(uid, gid, pwd.getpwuid(uid).pw_name)
    except KeyError:
        return User(uid, gid, None)


class Child:
    """A child process that waits until `release` before it executes the command.

    Signals that this process ignores, the child ignores too (as under nohup(1)); its mask is `mask`.
    """

    def __init__(self, words: Sequence[str], *, user: User | None, mask: set[int]) -> None:
        gate, self._gate = os.pipe2(os.O_CLOEXEC)
        report, result = os.pipe2(os.O_CLOEXEC)
        self._report = report
        self.pid = os.fork()
        if not self.pid:
            _execute(words, gate=gate, result=result, others=(self._gate, report), user=user, mask=mask)
        os.close(gate)
        os.close(result)
        self.pidfd = os.pidfd_open(self.pid)
        self.status: int | None = None

    def release(self) -> None:
        """Let it execute the command.

        Raises:
            Failure: that did not work; `Child.status` is 126 or 127 then.
        """
        os.write(self._gate, b"x")
        os.close(self._gate)
        said = os.read(self._report, 4096).decode(errors="replace")
        os.close(self._report)
        if said:
            self.wait()
            raise Failure(said)

    def poll(self) -> int | None:
        """The exit status as a shell has it (128 + number for a signal), or None while it runs."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._ended(status)
        return self.status

    def wait(self) -> int:
        """Wait for its end; the exit status."""
        if self.status is None:
            self._ended(os.waitpid(self.pid, 0)[1])
        assert self.status is not None
        return self.status

    def _ended(self, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        self.status = code if code >= 0 else 128 - code

    def send(self, number: int) -> None:
        """Send it a signal, if it is there."""
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            pass

    def abandon(self) -> None:
        """End it before it executed anything."""
        os.close(self._gate)
        os.close(self._report)
        self.wait()


def _execute(
    words: Sequence[str], *, gate: int, result: int, others: Sequence[int], user: User | None, mask: set[int]
) -> None:
    """What the child does: wait, become the user, execute. Never returns."""
    try:
        for each in others:
            os.close(each)
        if os.read(gate, 1) != b"x":
            os._exit(NOT_EXECUTABLE)
        if user is not None:
            if user.name is not None:
                os.initgroups(user.name, user.gid)
            else:
                os.setgroups([])
            os.setresgid(user.gid, user.gid, user.gid)
            os.setresuid(user.uid, user.uid, user.uid)
        for number in (signal.SIGPIPE, getattr(signal, "SIGXFSZ", signal.SIGPIPE)):
            signal.signal(number, signal.SIG_DFL)  # Python ignores these
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.execvp(words[0], list(words))
    except OSError as error:
        os.write(result, f"{words[0]!r} cannot be executed: {error.strerror}".encode())
        os._exit(NOT_FOUND if error.errno in (errno.ENOENT, errno.ENOTDIR) else NOT_EXECUTABLE)
    except BaseException as error:
        os.write(result, f"{words[0]!r} cannot be executed: {error!r}".encode())
    os._exit(NOT_EXECUTABLE)
