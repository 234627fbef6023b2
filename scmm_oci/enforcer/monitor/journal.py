"""The log of every decision: one JSON object a line (docs/monitor.md, "Log").

The event loop only makes lines; a thread of its own writes them, since a disk that hangs must not hold up the calls
that wait. What cannot be written is counted, told once, and said in the log itself as soon as there is room.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from queue import SimpleQueue

from scmm_oci.enforcer.monitor.journal_lines import Lines, Words, lost_line
from scmm_oci.enforcer.monitor.record import Decided
from scmm_oci.errors import BadInput, Problem
from scmm_oci.files import reason

_BATCH = 128  # decisions that are made lines at once
_PIECE = 256 << 10  # bytes that are written without waiting for the next flush
_MOST = 32 << 20  # bytes that may wait for a slow disk
_CLOSE_S = 5.0  # that a slow disk is waited for at the end

# Bytes and how many lines they are; None: open the file anew.
_Piece = tuple[bytes, int] | None


class Journal:
    """A log file. `write`, `flush` and `reopen` never wait, and never fail."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        words: Words,
        now: Callable[[], float],
        tell: Callable[[str], None],
    ) -> None:
        """Open or make the file.

        Args:
            words: how people read a call, where a decision does not say.
            now: seconds since 1970.
            tell: gets what is wrong with the log, once when it begins and once when it ends; called by `flush`.

        Raises:
            BadInput: the file cannot be opened, is no regular file, or another user's.
        """
        self._tell = tell
        self._made = Lines(words)
        self._decided: list[Decided] = []
        self._lines: list[str] = []
        self._size = 0
        self._writer = _Writer(os.fspath(path), now)

    @property
    def lost(self) -> int:
        """How many decisions could not be written."""
        return self._writer.lost

    def write(self, decided: Decided) -> None:
        """Keep one decision."""
        self._decided.append(decided)
        if len(self._decided) >= _BATCH:
            self._make_lines()
            if self._size >= _PIECE:
                self._hand_over()

    def flush(self) -> None:
        """Have written what there is, and tell of trouble: to be called every 0.2 s or so."""
        self._make_lines()
        self._hand_over()
        self._writer.begin()
        while not self._writer.news.empty():
            self._tell(self._writer.news.get())

    def reopen(self) -> None:
        """What comes from now on goes to the file that has the path then (SIGHUP, after logrotate)."""
        self._make_lines()
        self._hand_over()
        self._writer.put(None)

    def close(self) -> None:
        """Write what there is, as far as the disk takes it in 5 s."""
        self.flush()
        self._writer.close()
        self.flush()

    def _make_lines(self) -> None:
        for decided in self._decided:
            line = self._made.line(decided)
            self._lines.append(line)
            self._size += len(line)
        self._decided.clear()

    def _hand_over(self) -> None:
        if self._lines:
            self._writer.put(("".join(self._lines).encode("ascii"), len(self._lines)))
            self._lines.clear()
            self._size = 0


class _Writer:
    """A thread that writes pieces to a file.

    Attributes:
        lost: lines that were not written.
        news: what is to be told.
    """

    def __init__(self, path: str, now: Callable[[], float]) -> None:
        self.lost = 0
        self.news: SimpleQueue[str] = SimpleQueue()
        self._path = path
        self._now = now
        self._fd = _open(path)
        self._failing = False
        self._unsaid = 0  # lost lines that the file does not tell of yet
        self._torn = False  # the file ends within a line
        self._queue: SimpleQueue[_Piece | str] = SimpleQueue()
        self._queued = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    def put(self, piece: _Piece) -> None:
        """Have a piece written, or the file opened anew; what a slow disk leaves no room for is lost."""
        if self._closed:
            if piece is not None:
                self._lose(piece[1], "it is closed")
            return
        if piece is not None:
            with self._lock:
                full = self._queued + len(piece[0]) > _MOST
                self._queued += 0 if full else len(piece[0])
            if full:
                self._lose(piece[1], "the disk is too slow")
                return
        self._queue.put(piece)
        self.begin()

    def begin(self) -> None:
        """Start the thread where there is something to write: the monitor forks a helper before it has threads."""
        if self._thread is not None or self._queue.empty():
            return
        thread = threading.Thread(target=self._work, name="log", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return  # targets may have taken all threads that there can be: it is tried again
        self._thread = thread

    def close(self) -> None:
        """Write what is queued, as far as that is done in time, and close the file."""
        self._closed = True
        self._queue.put("end")
        if self._thread is None:
            self._work()
        else:
            self._thread.join(_CLOSE_S)

    def _lose(self, lines: int, why: str) -> None:
        with self._lock:
            self.lost += lines
            self._unsaid += lines
            if not self._failing:
                self._failing = True
                self.news.put(f"the log {self._path} cannot be written: {why}; calls are decided without it")

    def _work(self) -> None:
        while (piece := self._queue.get()) != "end":
            if piece is None:
                self._reopen()
            elif not isinstance(piece, str):
                self._write(*piece)
        os.close(self._fd)

    def _reopen(self) -> None:
        try:
            fd = _open(self._path)
        except BadInput as error:
            self.news.put(f"{error}; the old file is written on")
            return
        os.close(self._fd)
        self._fd, self._torn = fd, False

    def _write(self, data: bytes, lines: int) -> None:
        with self._lock:
            unsaid = self._unsaid
        head = b"\n" if self._torn else b""
        if unsaid:
            head += lost_line(self._now(), unsaid).encode("ascii")
        text = head + data
        written, why = self._put(text)
        if written:
            self._torn = text[written - 1] != 0x0A
        with self._lock:
            self._queued -= len(data)
            if written >= len(head):
                self._unsaid -= unsaid
            if why is None and self._failing and not self._queued:
                self._failing = False
                self.news.put(f"the log {self._path} is written again; it lacks {self.lost} decisions")
        if why is not None:
            self._lose(lines - data[: max(0, written - len(head))].count(b"\n"), why)

    def _put(self, text: bytes) -> tuple[int, str | None]:
        """How many bytes were written, and what hindered the rest."""
        written = 0
        try:
            while written < len(text):
                written += os.write(self._fd, text[written:])
        except OSError as error:
            return written, reason(error)
        return written, None


def _open(path: str) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    try:
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        raise BadInput([Problem(path, f"cannot be opened as a log: {reason(error)}")]) from error
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
        return fd
    os.close(fd)
    what = "is another user's" if stat.S_ISREG(status.st_mode) else "is no regular file"
    raise BadInput([Problem(path, what, "give a file of your own, in a directory of your own")])
