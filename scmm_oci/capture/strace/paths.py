"""Names in arguments → absolute paths, by the directories and descriptors that the trace showed.

Links are not followed: a name is joined to its directory and stays as the program said it (PathState.NAMED), with "..".
What -y prints is the kernel's own path of a descriptor (PathState.RESOLVED), or says that it is none.
"""

from __future__ import annotations

import re

from scmm_oci.capture.facts import PathState
from scmm_oci.capture.strace import values
from scmm_oci.capture.strace.threads import Place, Thread

# schemas/capture.schema.json has paths of 8192 characters.
MAX_PATH = 8192
# PATH_MAX of linux/limits.h, with the NUL at the end: the kernel answers ENAMETOOLONG to longer names.
MAX_NAME = 4095

_INTERNAL = re.compile(r"([a-zA-Z_-]+:)")
_OWN = re.compile(r"/proc/(\d+)(?=/|\Z)", re.ASCII)


class Bases:
    """Directories that processes began in, which the trace may tell later: getcwd, or -y."""

    def __init__(self, first: str | None = None) -> None:
        self._known: list[str | None] = []
        self._first = first

    def new(self) -> Place:
        """The directory of a process that the trace begins with."""
        if self._first is not None:
            return Place(self._first, PathState.RESOLVED)
        return self.unknown()

    def unknown(self) -> Place:
        """A directory that the trace does not show, or not yet."""
        self._known.append(None)
        return Place(f"\0{len(self._known) - 1}", PathState.NAMED)

    def learn(self, unknown: str, path: str) -> None:
        """The current directory, so far known as ``unknown``, is ``path``."""
        if unknown.startswith("\0") and "/" not in unknown:
            index = int(unknown[1:])
            if self._known[index] is None:
                self._known[index] = path

    def resolve(self, path: str) -> str | None:
        """The path with its beginning, or None if that never became known or makes it too long."""
        if not path.startswith("\0"):
            return path
        number, slash, rest = path[1:].partition("/")
        base = self._known[int(number)]
        if base is None:
            return None
        path = f"{base.rstrip('/')}/{rest}" if slash else base
        return None if len(path) > MAX_PATH else path


def shown(text: str) -> Place:
    """The path that -y prints, between the angle brackets."""
    # -yy adds the numbers of a device: /dev/null<char 1:3>.
    text = text.partition("<")[0] if text.startswith("/") else text
    path = values.unescape(text)
    if "\0" in path:
        return Place("?", PathState.INTERNAL)  # no file has such a name
    deleted = path.endswith(" (deleted)")
    path = path.removesuffix(" (deleted)")
    if path.startswith("/memfd:"):
        return Place("memfd:", PathState.INTERNAL)
    if not path.startswith("/"):
        kind = _INTERNAL.match(path)
        return Place(kind[1] if kind else path[:64], PathState.INTERNAL)
    return Place(path[:MAX_PATH], PathState.DELETED if deleted else PathState.RESOLVED)


def join(base: Place, name: str, *, root: str = "") -> Place | None:
    """A name made absolute; None if it would be too long."""
    if name.startswith("/"):
        at, trusted = root, not root
    else:
        at, trusted = ("" if base.path == "/" else base.path), base.state is PathState.RESOLVED
    parts = [part for part in name.split("/") if part and part != "."]
    if not parts and not name.startswith("/"):
        return base
    if trusted:
        # The parent of a resolved directory is what stands before it; behind a link it would not be.
        up = next((index for index, part in enumerate(parts) if part != ".."), len(parts))
        above = at.split("/")
        at = "/".join(above[: max(1, len(above) - up)])
        del parts[:up]
    path = "/".join((at, *parts)) if parts else at or "/"
    return None if len(path) > MAX_PATH else Place(path, PathState.NAMED)


def of_descriptor(thread: Thread, text: str) -> Place | None:
    """The file of a descriptor's argument, or None where the trace did not show it being opened."""
    found = values.descriptor(text)
    if found is None:
        return None
    if found.path is not None:
        return shown(found.path)
    if found.fd == values.AT_FDCWD:
        return thread.directories.cwd
    opened = thread.descriptors.get(found.fd)
    return opened.place if opened is not None else None


def absolute(thread: Thread, directory: str | None, name: str) -> Place | None:
    """The path of a name; None where the directory is not known, or no file can have the name.

    Args:
        directory: the text of the descriptor's argument, or None for the current directory.
    """
    if "\0" in name or too_long(name):
        return None
    if name.startswith("/"):
        return own(join(Place("/", PathState.RESOLVED), name, root=thread.directories.root), thread)
    base = thread.directories.cwd if directory is None else of_descriptor(thread, directory)
    if base is None or base.state in (PathState.DELETED, PathState.INTERNAL):
        return None
    return own(join(base, name), thread)


def too_long(name: str) -> bool:
    """Whether the kernel refuses a name for its length."""
    return len(name) > MAX_NAME or len(name.encode("utf-8", "surrogateescape")) > MAX_NAME


def own(place: Place | None, thread: Thread) -> Place | None:
    """The path with /proc/self for the process's own directory there."""
    if place is not None and place.path.startswith("/proc/") and (match := _OWN.match(place.path)):
        pid = int(match[1][:10])
        if pid in (thread.pid, thread.process.pid):
            rest = place.path[match.end() :]
            task = f"/task/{thread.pid}"
            if rest == task or rest.startswith(task + "/"):
                return Place(f"/proc/thread-self{rest[len(task) :]}", place.state)
            return Place(f"/proc/self{rest}", place.state)
    return place


def parent(path: str) -> str:
    """The directory that a path is in."""
    return path.rpartition("/")[0] or "/"
