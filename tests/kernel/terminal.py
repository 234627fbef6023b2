"""A terminal with a command as the foreground job of a shell that knows job control, and what is on its screen."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pyte

from rig.process import wait_until

#: What an interactive shell does: credentials(7), tcsetpgrp(3). Reports stops and the end, waits for a word to go on.
_SHELL = """
import fcntl, os, signal, sys, termios
tty, report, control = map(int, sys.argv[1:4])
words = sys.argv[4:]
for number in (*range(1, 32),):
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_SETMASK, [])
fcntl.ioctl(tty, termios.TIOCSCTTY, 0)
for each in (0, 1, 2):
    os.dup2(tty, each)
job = os.fork()
if not job:
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    for each in (tty, report, control):
        os.close(each)
    os.execvp(words[0], words)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
os.write(report, b"job %d\\n" % job)
while True:
    _, status = os.waitpid(job, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        break
    os.tcsetpgrp(0, os.getpgrp())
    os.write(report, b"stopped\\n")
    background = os.read(control, 1) == b"b"
    if not background:
        os.tcsetpgrp(0, job)
    os.killpg(job, signal.SIGCONT)
os.write(report, b"ended %d\\n" % os.waitstatus_to_exitcode(status))
os.read(control, 1)
"""


class Terminal:
    """Use as a context manager. `said` is every byte that was written to it."""

    def __init__(
        self, words: Sequence[str], *, env: Mapping[str, str], cwd: Path, rows: int = 24, columns: int = 80
    ) -> None:
        self._words, self._env, self._cwd = words, env, cwd
        self.said = b""
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._reports = b""
        self.master, self._slave = pty.openpty()
        self._size(rows, columns)

    def __enter__(self) -> Self:
        self._report, report = os.pipe()
        control, self._control = os.pipe()
        fds = (self._slave, report, control)
        self._shell = subprocess.Popen(
            [sys.executable, "-c", _SHELL, *map(str, fds), *self._words],
            pass_fds=fds,
            env={**self._env, "TERM": "xterm-256color"},
            cwd=self._cwd,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        for each in (report, control):
            os.close(each)
        self.job = int(self._await_report(rb"job (\d+)\n"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hang_up()
        self._shell.kill()
        self._shell.wait()
        for each in (self._report, self._control):
            os.close(each)

    def hang_up(self) -> None:
        """Close the window."""
        if self.master >= 0:
            os.close(self.master)
            os.close(self._slave)
            self.master = -1

    def _size(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize(self, rows: int, columns: int) -> None:
        """Make the window another size; the kernel sends SIGWINCH."""
        self._size(rows, columns)
        self._screen.resize(rows, columns)

    def _pump(self) -> None:
        watched = [each for each in (self.master, self._report) if each >= 0]
        for each in select.select(watched, [], [], 0)[0]:
            data = os.read(each, 65536)
            if each == self.master:
                self.said += data
                self._stream.feed(data)
            else:
                self._reports += data

    def _await_report(self, pattern: bytes) -> bytes:
        def look() -> re.Match[bytes] | None:
            self._pump()
            return re.search(pattern, self._reports)

        found = wait_until(look, deadline_s=30, what=f"the shell says {pattern!r}", detail=self.text)
        assert found is not None
        self._reports = self._reports[found.end() :]
        return found[1] if found.re.groups else found[0]

    def lines(self) -> list[str]:
        """What is on the screen, without empty lines."""
        return [line.rstrip() for line in self._screen.display if line.strip()]

    def text(self) -> str:
        return "\n".join(self.lines())

    @property
    def cursor_is_hidden(self) -> bool:
        return bool(self._screen.cursor.hidden)

    def await_screen(self, condition: Callable[[str], object], what: str) -> str:
        """Wait until the screen's text is so."""

        def look() -> bool:
            self._pump()
            return bool(condition(self.text()))

        wait_until(look, deadline_s=30, what=what, detail=self.text)
        return self.text()

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def modes(self) -> list[object]:
        """Its settings: termios(3)."""
        return termios.tcgetattr(self._slave)

    def await_stop(self) -> None:
        self._await_report(rb"stopped\n")

    def go_on(self, *, background: bool = False) -> None:
        """`fg`, or `bg`."""
        os.write(self._control, b"b" if background else b"f")

    def end(self) -> int:
        """Wait for the job's end; its status, as waitstatus_to_exitcode has it."""
        status = int(self._await_report(rb"ended (-?\d+)\n"))
        self._pump()
        return status
