"""Who holds which slot: one small JSON file per running recording, and the lock around loading and unloading.

The files are what makes a recording recoverable when a hook dies. They live in a directory only root can
enter (the run directory), so their contents are ours.
"""

from __future__ import annotations

import errno
import fcntl
import os

from scmm_oci import quickjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SUFFIX = ".json"


def private_directory(path: str, *, above: bool = True) -> None:
    """Make `path` and refuse it if anyone but its owner, who must be us, could write there.

    above: refuse it too if others could put another in its place. Raises OSError.
    """
    os.makedirs(path, mode=0o700, exist_ok=True)
    status = os.lstat(path)
    if (status.st_mode & 0o170000) != 0o040000:
        raise NotADirectoryError(errno.ENOTDIR, f"{path} is not a directory (a symbolic link is not followed)")
    if status.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, f"{path} belongs to uid {status.st_uid}, not to us")
    if status.st_mode & 0o022:
        raise PermissionError(
            errno.EPERM, f"{path} can be written by others (mode {status.st_mode & 0o7777:o}): chmod go-w"
        )
    parent = os.path.dirname(path)
    while above and parent != os.path.dirname(parent):
        status = os.stat(parent)
        # In a sticky directory nobody can replace what belongs to us.
        if status.st_uid not in (0, os.geteuid()) or (status.st_mode & 0o022 and not status.st_mode & 0o1000):
            raise PermissionError(errno.EPERM, f"others could replace {path}: {parent} is theirs to write")
        parent = os.path.dirname(parent)


def entries_in(directory: str) -> list[dict[str, Any]]:
    """What a Ledger's entries() gives, without its lock: what is begun or ended meanwhile may be among them or not."""
    result = []
    for name in os.listdir(directory):
        number = name.removesuffix(_SUFFIX)
        if name == number or not number.isdigit():
            continue
        entry: dict[str, Any] = {}
        try:
            with open(os.path.join(directory, name), "rb") as file:
                entry = quickjson.loads(file.read())
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            entry = {"broken": True}
        entry["slot"] = int(number)
        result.append(entry)
    return sorted(result, key=lambda each: each["slot"])


class Ledger:
    """The recordings of one run directory, locked while open. Use as a context manager.

    Waiting for the lock is bounded by the caller's alarm (scmm_oci.recorder.hook).
    """

    def __init__(self, directory: str) -> None:
        private_directory(directory)
        self.directory = directory
        self._lock = os.open(
            os.path.join(directory, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        except BaseException:
            os.close(self._lock)
            raise

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._lock)

    def _path(self, slot: int) -> str:
        return os.path.join(self.directory, f"{slot}{_SUFFIX}")

    def entries(self) -> list[dict[str, Any]]:
        """Every running recording, by slot. A file cut short by a crash still names its slot."""
        return entries_in(self.directory)

    def write(self, entry: dict[str, Any]) -> None:
        path = self._path(entry["slot"])
        temporary = path + ".tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(quickjson.dumps(entry))
        os.rename(temporary, path)

    def remove(self, slot: int) -> None:
        try:
            os.unlink(self._path(slot))
        except FileNotFoundError:
            pass
