"""Start a command that waits to be recorded, pass signals on to it, and know how it ended."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Mapping, Sequence

from scmm_oci.errors import ScmmError, printable, short
from scmm_oci.recorder.users import User, environment_of

NOT_FOUND, NOT_EXECUTABLE = 127, 126  # as shells say it


class CannotExecute(ScmmError):
    """The command was not executed; `exit_code` is 127 if there is none of that name, else 126."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


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
