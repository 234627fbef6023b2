"""A configuration file of somebody else's, changed with a backup beside it, and changed back; records of what was done.

The order of things holds a crash: backup, record, file. A record whose file is still what it was is no registration
yet, and one that a crash left is taken up by the next run. Called by cli.install.
"""

from __future__ import annotations

import difflib
import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scmm_oci.errors import BadInput, Failure, Problem
from scmm_oci.files import atomic_write, read_bounded

# Bytes; containerd's longest default configuration has 10 KB.
MAX_FILE = 1 << 20
RECORDS = Path("/var/lib/scmm/registered")
_SUFFIX = ".scmm-backup"
_MOST_LINES = 10


@dataclass(frozen=True)
class Record:
    """What was done to one file. before: its digest, None if there was no file; after: the text that was written."""

    path: Path
    before: str | None
    after: str

    @property
    def backup(self) -> Path:
        """Where its text from before is, if there was one."""
        return self.path.with_name(self.path.name + _SUFFIX)


@dataclass(frozen=True)
class Change:
    """What is to be done to one file. now, before, after: texts, None where there is no file.

    now is what stands there, before what it is to be again when the change is undone; the two differ where an earlier
    change is replaced.
    """

    path: Path
    now: str | None
    before: str | None
    after: str | None

    @property
    def is_done(self) -> bool:
        """Whether the file is as it should be."""
        return self.now == self.after

    def diff(self) -> list[str]:
        """The change as lines of a unified diff."""
        now, after = ((text or "").splitlines() for text in (self.now, self.after))
        return list(difflib.unified_diff(now, after, str(self.path), str(self.path), lineterm="", n=2))


@contextmanager
def records(directory: Path, *, make: bool = True) -> Iterator[Records]:
    """The records, locked for as long as they are open. make: the directory, where there is none. Raises Failure."""
    try:
        if make:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        elif not directory.is_dir():
            yield Records(directory)
            return
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Failure(f"{directory}: {error.strerror}", "registering needs root") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield Records(directory)
    finally:
        os.close(fd)


class Records:
    """Which engines this command has registered the shim with, and in which files; one JSON file for each."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __iter__(self) -> Iterator[str]:
        """The engines there are records of."""
        if self._directory.is_dir():
            yield from sorted(path.stem for path in self._directory.glob("*.json"))

    def read(self, engine: str) -> Record | None:
        """The record of an engine, or None. Raises BadInput if it is none."""
        path = self._path(engine)
        if not path.exists():
            return None
        try:
            document = json.loads(read_bounded(path, 4 * MAX_FILE, own=True))
            before = document["before"]
            if set(document) != {"path", "before", "after"} or not isinstance(before, str | None):
                raise ValueError("other members expected")
            return Record(Path(document["path"]), before, str(document["after"]))
        except (ValueError, KeyError, TypeError) as error:
            problem = Problem("", f"is no record of `scmm install`: {error}", "put the engine's file right by hand")
            raise BadInput([problem], source=str(path)) from None

    def change(self, engine: str, path: Path, edited: Callable[[str | None], str]) -> Change:
        """What would have to be done to the engine's file, so that `edited` has nothing to add to what it makes.

        Raises:
            BadInput: the file, or what stands in it, is none that can be edited; or the engine is registered elsewhere.
        """
        record = self.read(engine)
        now = read_text(path)
        if record is not None and record.path != path and _is_written(record):
            hint = f"undo that first: scmm install {engine} --undo"
            raise BadInput([Problem("", f"{engine} is registered in {record.path}", hint)], source=str(path))
        before = now
        if record is not None and record.path == path and now == record.after:
            before = _before(record)
        try:
            return Change(path, now, before, edited(before))
        except BadInput as error:
            raise BadInput(error.problems, source=str(path)) from None

    def apply(self, engine: str, change: Change) -> Record | None:
        """Do it: the record, or None if there was nothing to do. Raises Failure; the file is changed whole or not."""
        if change.is_done:
            return None
        assert change.after is not None
        record = Record(change.path, None if change.before is None else _digest(change.before), change.after)
        try:
            change.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise Failure(f"{change.path.parent}: {error.strerror}", "registering needs root") from None
        mode, owner = _mode_and_owner(change.path)
        earlier = read_text(self._path(engine))
        if change.before is not None:
            atomic_write(record.backup, change.before.encode(), 0o600, owner=owner)
        document = {"path": str(record.path), "before": record.before, "after": record.after}
        atomic_write(self._path(engine), json.dumps(document, sort_keys=True).encode(), 0o600)
        try:
            self._write(change.path, change.now, change.after, mode, owner)
        except BaseException:
            if earlier is None:
                record.backup.unlink(missing_ok=True)
                self._path(engine).unlink()
            else:
                atomic_write(self._path(engine), earlier.encode(), 0o600)
            raise
        return record

    def reverted(self, engine: str, has_entries: Callable[[str | None], bool]) -> Change | None:
        """What undoing would do to the engine's file; None if nothing was done to any.

        Raises:
            BadInput: the file was changed since, and still has what was registered; with the lines. Or it was changed
                between two registrations, so that what it was before the second has what the first added.
        """
        record = self.read(engine)
        if record is None:
            return None
        now = read_text(record.path)
        if now == record.after:
            before = _before(record)
            if has_entries(before):
                raise BadInput([_named_before(record)], source=str(record.path))
            return Change(record.path, now, now, before)
        if (None if now is None else _digest(now)) == record.before:
            return Change(record.path, now, now, now)
        try:
            still = has_entries(now)
        except BadInput as error:
            raise BadInput(error.problems, source=str(record.path)) from None
        if still:
            raise BadInput(_since(record, now), source=str(record.path))
        return Change(record.path, now, now, now)

    def revert(self, engine: str, change: Change) -> None:
        """Do that, and forget the record; the backup goes with it where the file is what it was. Raises Failure."""
        record = self.read(engine)
        assert record is not None
        if not change.is_done:
            mode, owner = _mode_and_owner(change.path)
            self._write(change.path, change.now, change.after, mode, owner)
        # The record goes last: as long as it is there, what is left can be found.
        if (None if change.after is None else _digest(change.after)) == record.before:
            record.backup.unlink(missing_ok=True)
        self._path(engine).unlink()

    def _path(self, engine: str) -> Path:
        return self._directory / f"{engine}.json"

    @staticmethod
    def _write(path: Path, now: str | None, after: str | None, mode: int, owner: tuple[int, int]) -> None:
        if read_text(path) != now:
            raise Failure(f"{path} has just been changed by somebody else", "look at it, and try again")
        if after is None:
            path.unlink()
            return
        atomic_write(path, after.encode(), mode, owner=owner)
        path.chmod(mode)  # the umask takes from what atomic_write gives


def read_text(path: Path) -> str | None:
    """What a configuration file says, or None if there is none. Raises BadInput."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadInput([Problem("", f"cannot be read: {error.strerror}")], source=str(path)) from None
    if stat.S_ISLNK(kind):
        target = Problem("", "is a symbolic link, and is not replaced", f"give the file: --file {path.resolve()}")
        raise BadInput([target], source=str(path))
    if not stat.S_ISREG(kind):
        raise BadInput([Problem("", "is no regular file")], source=str(path))
    try:
        return read_bounded(path, MAX_FILE).decode()
    except UnicodeDecodeError as error:
        raise BadInput([Problem(f"byte {error.start}", "is no UTF-8")], source=str(path)) from None


def _before(record: Record) -> str | None:
    if record.before is None:
        return None
    text = read_text(record.backup)
    if text is None or _digest(text) != record.before:
        what = "is gone" if text is None else "was changed"
        hint = f"take out of {record.path} by hand what was registered"
        raise BadInput([Problem("", f"the backup {what}", hint)], source=str(record.backup))
    return text


def _is_written(record: Record) -> bool:
    return read_text(record.path) == record.after


def _since(record: Record, now: str | None) -> list[Problem]:
    written, found = record.after.splitlines(), (now or "").splitlines()
    # The first two lines name the files, and the line of a hunk says where it is.
    changed = [each for each in list(difflib.unified_diff(written, found, lineterm="", n=0))[2:] if each[0] != "@"]
    result = [Problem("", f"was changed since: {each}") for each in changed[:_MOST_LINES]]
    if len(changed) > _MOST_LINES:
        result.append(Problem("", f"was changed since: {len(changed) - _MOST_LINES} lines more"))
    if not changed:
        result.append(Problem("", "was changed since, in its line ends"))
    kept = f"what it was before is in {record.backup}; " if record.before is not None else ""
    hint = f"{kept}take out by hand what was registered, and undo again"
    return [*result, Problem("", "is not put back to what it was, as those changes would be lost", hint)]


def _named_before(record: Record) -> Problem:
    what = "is not put back to what it was, as some of what was registered stood there already"
    return Problem("", what, f"that is in {record.backup}; take out by hand what was registered, and undo again")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _mode_and_owner(path: Path) -> tuple[int, tuple[int, int]]:
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0o644, (os.geteuid(), os.getegid())
    return stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid)
