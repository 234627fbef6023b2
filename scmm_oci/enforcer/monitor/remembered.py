"""What people have answered for good, in a SQLite file: found again in memory, saved at once, listed, forgotten.

Nothing is lost for want of understanding: a file that is damaged, another program's or a later version's is told and
left as it is. Another process may change the file meanwhile (`scmm monitor decisions forget`): `find` sees it.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING

from scmm_oci.enforcer import private
from scmm_oci.enforcer.monitor import remembered_rules
from scmm_oci.enforcer.monitor.model import Decision, Subject
from scmm_oci.enforcer.monitor.remembered_values import COLUMNS, About, Entry, Key, decision_of, from_row, to_row
from scmm_oci.errors import BadInput, Failure, Problem
from scmm_oci.tables.arch import Arch

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MOST", "About", "Entry", "Key", "Remembered", "default_path"]

MOST = 10_000

_APPLICATION = 0x5343_4D44  # PRAGMA application_id; "SCMD"
_VERSION = 1
_BUSY_S = 0.5  # how long another process may hold the file
_MOST_TEXT = 64 << 10  # bytes of one text; what is remembered has two paths of 4096 at most

_TABLE = """
CREATE TABLE decisions (
    name BLOB NOT NULL, executable BLOB NOT NULL, call BLOB NOT NULL, detail BLOB NOT NULL,
    verdict TEXT NOT NULL, errno INTEGER NOT NULL, value INTEGER NOT NULL, at INTEGER NOT NULL, about TEXT NOT NULL,
    PRIMARY KEY (name, executable, call, detail)
) WITHOUT ROWID
"""


class Remembered:
    """The remembered answers of one file."""

    def __init__(self, path: str | os.PathLike[str], *, now: Callable[[], float], make: bool = True) -> None:
        """Open the file.

        Args:
            path: of the file. What is missing above it is made for us alone.
            now: seconds since 1970.
            make: make the file where it is missing.

        Raises:
            BadInput: it is no file of ours, or others can write there.
            Failure: it cannot be made or read.
        """
        self.path = os.path.abspath(path)
        self._now = now
        self._entries: dict[Key, Entry] = {}
        _check_place(self.path, make=make)
        # What is found is found on the way of a call: there it is not waited until somebody lets go of the file.
        self._database = sqlite3.connect(self.path, timeout=0, isolation_level=None)
        try:
            with self._told("cannot be read"):
                self._prepare(make=make)
                self._seen = self._version()
                self._entries = self._read()
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        """Close the file. What was found is still found."""
        self._database.close()

    def find(self, key: Key) -> Decision | None:
        """What was answered, or None. Where the file cannot be read, or another process holds it, it is what was in it
        before."""
        try:
            self._refresh()
        except (sqlite3.Error, BadInput):
            pass
        entry = self._entries.get(key)
        return None if entry is None else entry.decision

    def save(self, key: Key, decision: Decision, *, subject: Subject | None = None) -> None:
        """Remember an answer; it takes the place of the one before.

        Args:
            subject: what was asked about, its paths and address only where they were held; without it `export` cannot
                say the same as a rule.

        Raises:
            Failure: it cannot be written (a full disk), or MOST answers are remembered: the file is as it was.
        """
        about = None if subject is None else About.of(subject)
        entry = Entry(key, decision_of(decision.verdict, decision.errno, decision.value), int(self._now()), about)
        row = to_row(entry)
        if any(len(each) > _MOST_TEXT for each in row if isinstance(each, bytes | str)):
            raise Failure(f"{self.path}: the answer is not remembered: what it is for is too long")
        with self._told("cannot be written"):
            self._refresh()
            if key not in self._entries and len(self._entries) >= MOST:
                message = f"{self.path}: the answer is not remembered: there are {MOST} already"
                raise Failure(message, "`scmm monitor decisions forget` makes room")
            places = ", ".join("?" * len(row))
            self._database.execute(f"INSERT OR REPLACE INTO decisions ({COLUMNS}) VALUES ({places})", row)
        self._entries[key] = entry

    def list(self) -> tuple[Entry, ...]:
        """Everything remembered, sorted by key.

        Raises:
            BadInput, Failure: the file is damaged, or cannot be read any more.
        """
        with self._told("cannot be read"):
            self._refresh()
        return tuple(self._entries[key] for key in sorted(self._entries))

    def forget(self, keys: Iterable[Key]) -> int:
        """Forget answers, all of these or none; those that are not remembered are passed over. Returns how many.

        Raises:
            Failure: the file cannot be written.
        """
        count = 0
        with self._told("cannot be written"):
            self._refresh()
            gone = [key for key in dict.fromkeys(keys) if key in self._entries]
            self._database.execute("BEGIN IMMEDIATE")
            try:
                for key in gone:
                    where = "name = ? AND executable = ? AND call = ? AND detail = ?"
                    done = self._database.execute(f"DELETE FROM decisions WHERE {where}", key.row)
                    count += done.rowcount
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
        for key in gone:
            del self._entries[key]
        return count

    def export(self, *, arch: Arch, only: Iterable[Entry] | None = None) -> bytes:
        """A monitor.yaml with a rule for each answer that rules can say exactly; comments tell of the others.

        Args:
            arch: the machine's ABI.
            only: these, of those in `list`.

        Raises:
            BadInput, Failure: as `list`.
        """
        return remembered_rules.export(self.list() if only is None else only, arch)

    def _prepare(self, *, make: bool) -> None:
        run = self._database.execute
        # Nothing here is worth a second file that outlives us; what is told to be saved is saved (sqlite.org/pragma).
        run("PRAGMA journal_mode = DELETE")
        run("PRAGMA synchronous = FULL")
        run("PRAGMA trusted_schema = OFF")
        empty = not run("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if empty and make and not self._pragma("application_id"):
            run("BEGIN IMMEDIATE")
            # Another process may have been quicker.
            if not run("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                run(_TABLE)
                run(f"PRAGMA application_id = {_APPLICATION}")
                run(f"PRAGMA user_version = {_VERSION}")
            run("COMMIT")
        if self._pragma("application_id") != _APPLICATION:
            raise _bad(self.path, "is no file of remembered decisions", "name another file")
        version = self._pragma("user_version")
        if version != _VERSION:
            message = f"is of version {version}, and {_VERSION} is the one that is read"
            raise _bad(self.path, message, "it was written by another version of scmm-oci; name another file")

    def _pragma(self, name: str) -> int:
        return int(self._database.execute(f"PRAGMA {name}").fetchone()[0])

    def _version(self) -> int:
        """A number that changes when another process has changed the file."""
        return self._pragma("data_version")

    def _refresh(self) -> None:
        version = self._version()
        if version != self._seen:
            self._entries = self._read()
            self._seen = version

    def _read(self) -> dict[Key, Entry]:
        rows = self._database.execute(f"SELECT {COLUMNS} FROM decisions LIMIT {MOST + 1}").fetchall()
        if len(rows) > MOST:
            raise _bad(self.path, f"has more than {MOST} decisions", "name another file")
        try:
            entries = [from_row(row) for row in rows]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise _bad(self.path, "is damaged: it holds what is no decision", "name another file") from error
        return {entry.key: entry for entry in entries}

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        self._database.execute(f"PRAGMA busy_timeout = {int(_BUSY_S * 1000)}")
        try:
            yield
        except sqlite3.OperationalError as error:
            hint = "another process holds it" if "locked" in str(error) else ""
            raise Failure(f"{self.path} {what}: {error}", hint) from error
        except sqlite3.DatabaseError as error:
            raise _bad(self.path, f"is damaged, or no file of decisions: {error}", "name another file") from error
        finally:
            self._database.execute("PRAGMA busy_timeout = 0")


def default_path() -> str:
    """Where remembered decisions are: root's below /var/lib, others' in their state directory (XDG)."""
    if os.geteuid() == 0:
        return "/var/lib/scmm/monitor/decisions.sqlite"
    state = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):
        state = os.path.expanduser("~/.local/state")
    return os.path.join(state, "scmm/monitor/decisions.sqlite")


def _check_place(path: str, *, make: bool) -> None:
    """That nobody else can have written the file, or put another in its place; it is made, for us alone."""
    try:
        directory = private.open_directory(os.path.dirname(path), make=make)
    except FileNotFoundError:
        raise Failure(f"{path} is not there") from None
    except OSError as error:
        raise _bad(path, error.strerror or str(error)) from error
    try:
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | (os.O_CREAT if make else 0)
        descriptor = os.open(os.path.basename(path), flags, 0o600, dir_fd=directory)
    except FileNotFoundError:
        raise Failure(f"{path} is not there") from None
    except OSError as error:
        if stat.S_ISLNK(_mode(path)):
            raise _bad(path, "is a symbolic link", "give the file itself") from error
        raise Failure(f"{path} cannot be opened: {error.strerror}") from error
    finally:
        os.close(directory)
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    problems = []
    if not stat.S_ISREG(status.st_mode):
        problems.append(Problem("", "is no regular file"))
    if status.st_uid not in (0, os.geteuid()):
        problems.append(Problem("", "belongs to another user, who could change it", "name another file"))
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        problems.append(Problem("", "may be written by others", "take that right away: chmod go-w"))
    if problems:
        raise BadInput(problems, source=path)


def _mode(path: str) -> int:
    try:
        return os.lstat(path).st_mode
    except OSError:
        return 0


def _bad(path: str, message: str, hint: str = "") -> BadInput:
    return BadInput([Problem("", message, hint)], source=path)
