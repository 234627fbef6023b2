"""Which cgroup a process is in, and that cgroup's id as BPF programs see it.

Reads /proc only (proc_pid_cgroup(5), proc_pid_mountinfo(5)); used by the recorder's hook and by `scmm doctor`.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Mounted = tuple[str, str, str, frozenset[str]]

# v1 controllers that runtimes give a container a cgroup of its own in. The order is the one in which
# bpf/recorder.bpf.c's controller_ssid() numbers them, from 1.
V1_CONTROLLERS = ("memory", "pids", "devices", "freezer", "cpu", "perf_event", "net_cls")


class NoOwnCgroup(OSError):
    """The process has no cgroup that tells its container apart from other processes."""


class Place:
    """A cgroup: `hierarchy` number (0 is cgroup v2), v1 `controller` or "", `path` in it, `id`, mounted `directory`."""

    __slots__ = ("controller", "directory", "hierarchy", "id", "path")

    def __init__(self, *, hierarchy: int, controller: str, path: str, id: int, directory: str) -> None:
        self.directory = directory
        self.hierarchy = hierarchy
        self.controller = controller
        self.path = path
        self.id = id


def memberships(pid: int | str) -> list[tuple[int, tuple[str, ...], str]]:
    """(hierarchy, controllers, path) for every line of /proc/PID/cgroup; v2 is (0, (), path).

    Raises FileNotFoundError or ProcessLookupError when the process is gone.
    """
    result = []
    with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            number, controllers, path = line.rstrip("\n").split(":", 2)
            result.append((int(number), tuple(filter(None, controllers.split(","))), path))
    return result


def _unescape(field: str) -> str:
    # mountinfo writes space, tab, newline and backslash as octal.
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, character)
    return field


def mounts() -> list[Mounted]:
    """(file system type, root in the hierarchy, mount point, super options) of every cgroup mount seen here."""
    result = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            head, _, tail = line.rstrip("\n").partition(" - ")
            kind, _, options = tail.split(" ", 2)
            if kind in ("cgroup", "cgroup2"):
                fields = head.split(" ")
                result.append((kind, _unescape(fields[3]), _unescape(fields[4]), frozenset(options.split(","))))
    return result


def directory(path: str, *, controller: str = "", among: Sequence[Mounted] | None = None) -> str | None:
    """Where the cgroup `path` of a hierarchy is mounted here; `controller` "" is cgroup v2. None if nowhere.

    among: what `mounts` gave; None: it is asked.
    """
    found = None
    for kind, root, point, options in mounts() if among is None else among:
        if (kind == "cgroup2") != (controller == "") or (controller and controller not in options):
            continue
        root = root.rstrip("/")
        if path == root or path.startswith(root + "/"):
            # The last mount on a place hides those before it.
            found = os.path.join(point, path[len(root) :].lstrip("/"))
    return found


def _is_own(path: str, ours: str) -> bool:
    """Whether a cgroup holds only others: neither ours nor one of our ancestors, nor the root."""
    return path not in ("/", "") and not (ours == path or ours.startswith(path + "/")) and "/.." not in path


def descendants(directory: str) -> Iterator[int]:
    """The ids of all cgroups below a cgroup's directory."""
    for parent, names, _ in os.walk(directory):
        for name in names:
            yield os.stat(os.path.join(parent, name)).st_ino


def place_of_container(pid: int) -> Place:
    """The cgroup of a container whose init is `pid`, as its runtime's hook sees it.

    cgroup v2 if the container has a cgroup of its own there, else the first v1 controller where it does.
    Raises NoOwnCgroup, or OSError (ENOENT, ESRCH) when the process is gone.
    """
    theirs = memberships(pid)
    ours = {(hierarchy, controllers): path for hierarchy, controllers, path in memberships("self")}
    candidates: list[tuple[int, str, str]] = []
    for hierarchy, controllers, path in theirs:
        if not _is_own(path, ours.get((hierarchy, controllers), "/")):
            continue
        if hierarchy == 0:
            candidates.insert(0, (0, "", path))
        else:
            candidates += [(hierarchy, name, path) for name in V1_CONTROLLERS if name in controllers]
    unmounted = []
    for hierarchy, controller, path in sorted(
        candidates, key=lambda each: (each[0] != 0, V1_CONTROLLERS.index(each[1]) if each[1] else 0)
    ):
        place = directory(path, controller=controller)
        if place is None or not os.path.isdir(place):
            unmounted.append(f"{controller or 'cgroup2'}:{path}")
            continue
        # kernfs: on 64-bit kernels the inode number of a cgroup directory is its id (kernfs_ino).
        number = os.stat(place).st_ino
        return Place(hierarchy=hierarchy, controller=controller, path=path, id=number, directory=place)
    if unmounted:
        raise NoOwnCgroup(f"no mounted cgroup hierarchy shows the container's cgroup ({', '.join(unmounted)})")
    raise NoOwnCgroup(
        f"process {pid} has no cgroup of its own ({', '.join(sorted({path for _, _, path in theirs})) or 'none'}): "
        "the runtime was told to make none (--cgroups=disabled, --cgroup-manager=disabled)"
    )
