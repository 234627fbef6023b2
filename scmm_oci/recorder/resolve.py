"""Find the path that Landlock would check for a name that a program used: links followed, inside the container.

Tracepoints show no dentry of a call that only names a file (stat, unlink, rename …), so its name is looked up when
the recording ends, in the container's root file system and volumes. What lies on a file system that is gone by
then (tmpfs, devices) cannot be looked up. Standard library only (hook).

Names and links are the container's, and volumes may be in use by others: every step is one openat(2) with
O_PATH | O_NOFOLLOW from the directory before it, nothing is read but links, and the work is bounded.
"""

from __future__ import annotations

import os
import stat
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MOST_STEPS = 400_000  # lookups of one recording
MOST_LINKS = 40  # path_resolution(7)
LONGEST = 8192  # characters of a path in a capture
_MOST_OPEN = 256  # directories kept open
# A look-up there may hang for ever (a server that is gone), or be answered by the container.
_REMOTE = ("fuse", "nfs", "cifs", "smb", "9p", "ceph", "afs", "glusterfs", "lustre", "virtiofs", "autofs")
# In procfs, links to files that are elsewhere, and to a process's own directories.
_MAGIC = frozenset(("exe", "cwd", "root", "fd", "map_files", "ns"))
_PROC_LINKS = {"mounts": "self/mounts", "net": "self/net"}
_KINDS = {
    stat.S_IFREG: "reg",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "link",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "sock",
}


class _Elsewhere(Exception):
    """The name leads where it cannot be followed; the argument is its path as far as that is known."""


def kind_of(mode: int) -> str | None:
    """What the type bits of a mode say: "reg", "dir", "link", "char", "block", "fifo", "sock"; None for none."""
    return _KINDS.get(stat.S_IFMT(mode))


def normal(path: str) -> str:
    """The path without empty components, "." and ".." (taken as text)."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


class Resolver:
    """Looks names up below `root`, a directory of the host; None: nothing can be looked up.

    mounts: where something is mounted in the container → the host's directory or file, or None for what is gone.
    deadline: as time.monotonic() has it, in seconds. known: whether a path is known (from the kernel) to be what it
    says, so that it needs no look-up.
    """

    def __init__(
        self,
        root: str | None,
        mounts: Mapping[str, str | None],
        *,
        deadline: float,
        known: Callable[[str], bool] = lambda path: False,
    ) -> None:
        self._deadline = deadline
        self._known = known
        self._steps = MOST_STEPS
        self._open: dict[str, int] = {}
        remote = _remote_mounts()
        self._mounts = {normal(place): source for place, source in mounts.items()}
        self._mounts["/"] = root
        for place, source in list(self._mounts.items()):
            if source is None:
                continue
            source = os.path.abspath(source)
            if _is_below(source, remote):
                self._mounts[place] = None
            # One that is mounted somewhere in it, perhaps by the container itself.
            for each in remote:
                if _is_below(each, [source]):
                    self._mounts.setdefault(normal(place + "/" + each[len(source) :]), None)

    def close(self) -> None:
        """Close the directories that are kept open."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def __enter__(self) -> Resolver:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def resolve(self, path: str, *, follow: bool, root: str = "/") -> tuple[str, str | None] | None:
        """The real path of an absolute name, and what is there (None: nothing); or None if it cannot be known.

        follow: whether a link at its end is followed. root: what "/" means (of a process after chroot(2)).
        """
        try:
            found = self._walk(path, follow=follow, root=root.rstrip("/"))
        except (_Elsewhere, OSError, ValueError):
            return None
        return found if len(found[0]) <= LONGEST else None

    def _walk(self, path: str, *, follow: bool, root: str) -> tuple[str, str | None]:
        waiting = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        done = root
        kind: str | None = "dir"
        links = 0
        while waiting:
            part = waiting.pop()
            if part == "..":
                self._step(done)
                if done != root:
                    done = done.rpartition("/")[0]
                continue
            place = f"{done}/{part}"
            if place == "/proc" or place.startswith("/proc/"):
                return _in_proc(place, waiting), None
            if not waiting and not follow and place not in self._mounts and self._is_gone(done):
                # Its directory is real, and what it is itself does not matter.
                return place, None
            kind, target = self._look(done, part, place)
            if kind is None:
                # Nothing of that name: what comes after it is as it was said.
                if ".." in waiting:
                    return normal("/".join([place, *reversed(waiting)])), None
                return "/".join([place, *reversed(waiting)]), None
            if target is not None and (waiting or follow):
                links += 1
                if links > MOST_LINKS:
                    raise _Elsewhere(place)
                waiting += [each for each in reversed(target.split("/")) if each not in ("", ".")]
                if target.startswith("/"):
                    done = root
                kind = "dir"
                continue
            done = place
        return done or "/", kind or None

    def _step(self, place: str) -> None:
        self._steps -= 1
        if self._steps % 256 == 0 and time.monotonic() > self._deadline:
            self._steps = 0  # for all that comes, too
        if self._steps <= 0:
            raise _Elsewhere(place)

    def _look(self, directory: str, part: str, place: str) -> tuple[str | None, str | None]:
        """(kind, text of the link) of an entry; kind None when it is not there."""
        self._step(place)
        if place in self._mounts:
            source = self._mounts[place]
            if source is None:
                return "dir", None  # a mount's place is no link
            return kind_of(os.stat(source).st_mode), None
        if self._is_gone(directory):
            if self._known(place):
                return "", None
            raise _Elsewhere(place)
        try:
            descriptor = os.open(
                part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._directory(directory or "/")
            )
        except (FileNotFoundError, NotADirectoryError):
            return None, None
        try:
            kind = kind_of(os.fstat(descriptor).st_mode)
            return kind, os.readlink("", dir_fd=descriptor) if kind == "link" else None
        finally:
            os.close(descriptor)

    def _is_gone(self, directory: str) -> bool:
        """Whether a directory lies on something that cannot be looked into any more."""
        place = directory
        while place and place not in self._mounts:
            place = place.rpartition("/")[0]
        return self._mounts[place or "/"] is None

    def _directory(self, place: str) -> int:
        """A descriptor of a directory that has been walked to already."""
        known = self._open.get(place)
        if known is not None:
            return known
        if len(self._open) >= _MOST_OPEN:
            self.close()
        flags = os.O_PATH | os.O_CLOEXEC
        if place in self._mounts:
            # The source is the engine's word, and may be a link.
            try:
                descriptor = os.open(self._mounts[place] or "/", flags | os.O_DIRECTORY)
            except OSError:
                self._mounts[place] = None  # nothing can be said of what is in it
                raise _Elsewhere(place) from None
        else:
            above, _, name = place.rpartition("/")
            descriptor = os.open(name, flags | os.O_NOFOLLOW | os.O_DIRECTORY, dir_fd=self._directory(above or "/"))
        self._open[place] = descriptor
        return descriptor


def _in_proc(place: str, waiting: list[str]) -> str:
    """A path in procfs. Raises _Elsewhere for one that may lead through a link to somewhere else."""
    parts = [*place.split("/")[2:], *reversed(waiting)]
    if parts and parts[0] in _PROC_LINKS:
        parts[:1] = _PROC_LINKS[parts[0]].split("/")
    path = "/".join(["/proc", *parts])
    if ".." in parts or (
        parts and (parts[0].isdigit() or parts[0].endswith("self")) and _MAGIC.intersection(parts[1:])
    ):
        raise _Elsewhere(path)
    return path


def _remote_mounts() -> list[str]:
    """Mount points here of file systems that may hang."""
    found = []
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                head, _, tail = line.partition(" - ")
                if tail.startswith(_REMOTE):
                    found.append(head.split(" ")[4].replace("\\040", " "))
    except OSError:
        pass
    return found


def _is_below(path: str, places: list[str]) -> bool:
    return any(path == place or path.startswith(place.rstrip("/") + "/") for place in places)
