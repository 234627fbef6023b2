"""Start a command that waits to be recorded, pass signals on to it, and know how it ended."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scmm_oci.errors import BadInput, Problem, ScmmError, printable, short

NOT_FOUND, NOT_EXECUTABLE = 127, 126  # as shells say it
_NOBODY = 2**32 - 1  # (uid_t) -1, which is no user: setresuid(2)


class CannotExecute(ScmmError):
    """The command was not executed; `exit_code` is 127 if there is none of that name, else 126."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


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
        account = pwd.getpwuid(int(user)) if _is_number(user) else pwd.getpwnam(user)
        uid, gid = account.pw_uid, account.pw_gid
    except (KeyError, OverflowError, ValueError):
        if _is_number(user) and int(user) < _NOBODY and colon:
            uid = int(user)
        else:
            hint = "give a group too: USER:GROUP" if _is_number(user) and int(user) < _NOBODY else ""
            problems.append(Problem("--user", f"there is no user {short(user)}", hint))
    if colon:
        try:
            gid = int(group) if _is_number(group) else grp.getgrnam(group).gr_gid
            if gid >= _NOBODY:
                raise KeyError(group)
        except (KeyError, ValueError):
            problems.append(Problem("--user", f"there is no group {short(group)}"))
    if problems:
        raise BadInput(problems)
    return User(uid, gid, account.pw_name if account else None)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 10


def invoking_user(environ: Mapping[str, str]) -> User | None:
    """Who called sudo(8), or None. The seed system runs a command as whom its user is, and so do we."""
    try:
        uid, gid = int(environ["SUDO_UID"]), int(environ["SUDO_GID"])
    except (KeyError, ValueError):
        return None
    if not (0 < uid < _NOBODY and 0 <= gid < _NOBODY) or os.geteuid() != 0:
        return None
    try:
        return User(uid, gid, pwd.getpwuid(uid).pw_name)
    except KeyError:
        return User(uid, gid, None)


def environment_of(user: User, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a command that runs as `user`: what tells of our own account in it tells of theirs.

    HOME, LOGNAME, SHELL and USER, as runuser(1) does it; one that is not set, or is not our account's, stays as it is.
    """
    result = dict(environ)
    try:
        ours = _account_variables(pwd.getpwuid(os.geteuid()))
    except KeyError:
        return result
    try:
        theirs = _account_variables(pwd.getpwuid(user.uid))
    except KeyError:
        theirs = {"HOME": "/"}
    for name, value in ours.items():
        if result.get(name) == value:
            del result[name]
            result |= {name: theirs[name]} if name in theirs else {}
    return result


def _account_variables(account: pwd.struct_passwd) -> dict[str, str]:
    name = account.pw_name
    return {"HOME": account.pw_dir, "LOGNAME": name, "SHELL": account.pw_shell or "/bin/sh", "USER": name}


class Child:
    """A child process that waits until `release` before it executes the command.

    Signals that this process ignores, the child ignores too (as under nohup(1)); its mask is `mask`.
    """

    def __init__(self, words: Sequence[str], *, user: User | None, mask: set[int]) -> None:
        # Whoever ignores its children never learns how they ended: wait(2), NOTES. The command inherits it, though.
        ignored = [signal.SIGCHLD] if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN else []
        for number in ignored:
            signal.signal(number, signal.SIG_DFL)
        gate, self._gate = os.pipe2(os.O_CLOEXEC)
        self._report, result = os.pipe2(os.O_CLOEXEC)
        self.status: int | None = None
        self.pid = os.fork()
        if not self.pid:
            for each in (self._gate, self._report):
                os.close(each)
            _execute(words, gate=gate, result=result, user=user, mask=mask, ignored=ignored)
        os.close(gate)
        os.close(result)
        self.pidfd = os.pidfd_open(self.pid)

    def release(self) -> None:
        """Let it execute the command.

        Raises:
            CannotExecute: that did not work.
        """
        try:
            os.write(self._gate, b"x")
        except BrokenPipeError:
            pass  # it was killed meanwhile, and its status says so
        os.close(self._gate)
        said = os.read(self._report, 4096).decode(errors="replace")
        os.close(self._report)
        if said:
            raise CannotExecute(said, self.wait())

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

    def is_in_our_group(self) -> bool:
        """Whether it is in our process group still, so that it has what a terminal sends us."""
        try:
            return os.getpgid(self.pid) == os.getpgrp()
        except ProcessLookupError:
            return True

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
    words: Sequence[str],
    *,
    gate: int,
    result: int,
    user: User | None,
    mask: set[int],
    ignored: Sequence[signal.Signals],
) -> None:
    """What the child does: wait, become the user, execute. Never returns."""
    message, status = "", NOT_EXECUTABLE
    try:
        if os.read(gate, 1) != b"x":
            os._exit(NOT_EXECUTABLE)
        environ: Mapping[str, str] = os.environ
        if user is not None:
            environ = environment_of(user, environ)
            _become(user)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)  # Python ignores these
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        # A Ctrl-C that waits is not for Python's handler.
        if signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, signal.SIG_DFL):
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        _replace_ourselves(words, environ)
    except OSError as error:
        message, status = _explained(words[0], error)
    except BaseException as error:
        message = f"{short(words[0])} cannot be executed: {error!r}"
    os.write(result, printable(message).encode(errors="replace")[:4000])
    os._exit(status)


def _become(user: User) -> None:
    if user.name is not None:
        os.initgroups(user.name, user.gid)
    else:
        os.setgroups([])
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)


def _replace_ourselves(words: Sequence[str], environ: Mapping[str, str]) -> None:
    """Execute a program, or a script that does not say which program is to run it: that is sh's, as in execvp(3)."""
    if not words[0]:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    try:
        os.execvpe(words[0], list(words), environ)
    except OSError as error:
        path = shutil.which(words[0], path=environ.get("PATH", os.defpath))
        if error.errno != errno.ENOEXEC or path is None:
            raise
        with open(path, "rb") as file:
            # What has a NUL in its first line is no text, but a program for another machine.
            if b"\0" in file.readline(4096):
                raise
        os.execve("/bin/sh", ["/bin/sh", path, *words[1:]], environ)


def _explained(word: str, error: OSError) -> tuple[str, int]:
    """(message, exit status) for a program that was not executed."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        if not word or not shutil.which(word):
            where = "" if "/" in word else " in PATH"
            return f"{short(word)} cannot be executed: there is no such program{where}", NOT_FOUND
        return f"{short(word)} cannot be executed: its interpreter or loader is missing", NOT_EXECUTABLE
    return f"{short(word)} cannot be executed: {error.strerror}", NOT_EXECUTABLE
