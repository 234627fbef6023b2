"""Whose denials are asked for: processes with what they started, a container's, or by name; and since when.

A record has the id of a process, which may have ended. What is known of processes is read from /proc as long as they
are there, and kept; of others it is said that it is not known.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from scmm_oci.enforcer.logs.decode import Access, Denial
from scmm_oci.enforcer.logs.forks import Forks
from scmm_oci.kernel import cgroup
from scmm_oci.kernel.cgroup import Place

_COMM = 15  # TASK_COMM_LEN without its end
_MOST_KNOWN = 1 << 18
_DEEPEST = 64  # generations
# Records have the time of the last tick; a clock that is set moves the time since boot against it.
_TOLERANCE_MS = 2000


class Whose(StrEnum):
    """Whether a denial is one that is asked for."""

    OURS = "ours"
    OTHERS = "others"
    UNKNOWN = "unknown"  # the process has ended, and nothing says whose it was
    EARLIER = "earlier"


@dataclass(frozen=True)
class Asked:
    """What is asked for; all of it must hold.

    Attributes:
        pids: these processes and what they start; none is any.
        container: the cgroup of a container.
        comm: the name of a thread, of which the kernel keeps 15 bytes.
        exe: the path of the program's file, as the process saw it.
        since: milliseconds since 1970.
    """

    pids: tuple[int, ...] = ()
    container: Place | None = None
    comm: str | None = None
    exe: str | None = None
    since: int = 0


class Judge:
    """Says whose a denial is, with what it knows of processes.

    Args:
        forks: tells of those that are started from now on; None: /proc alone is asked.
        here: records are of this host since it started. Else /proc is of other processes, and only numbers count.
    """

    def __init__(self, asked: Asked, forks: Forks | None = None, *, here: bool = True) -> None:
        self._asked = asked
        self._here = here
        self._forks = forks
        # Started since we listen, and by none of ours; only of a container they can still come to be.
        self._strangers: dict[int, None] = {}
        # Process → when it started (milliseconds since 1970), None where that is not known.
        self._ours: dict[int, int | None] = {}
        for pid in asked.pids:
            self._ours[pid] = _started(pid) if here else None
        if here:
            self.refresh()

    def refresh(self) -> None:
        """Look for what has been started since the last time."""
        if self._asked.pids:
            parents = {pid: _parent(pid) for pid in _all()}
            for pid in parents:
                self._adopt(pid, parents)
        if self._asked.container is not None:
            for pid in _in_cgroup(self._asked.container.directory):
                self._know(pid)

    def listen(self) -> None:
        """Take in what has been started since the last time, as far as the kernel tells it."""
        for parent, child in self._forks.read() if self._forks is not None else ():
            if parent in self._ours:
                self._ours.pop(child, None)
                self._know(child)
                continue
            # The number may have been one of ours before.
            self._ours.pop(child, None)
            self._strangers[child] = None
            if len(self._strangers) > _MOST_KNOWN:
                del self._strangers[next(iter(self._strangers))]

    @property
    def ended(self) -> tuple[int, ...]:
        """The processes that were asked for and are not there."""
        return tuple(pid for pid in self._asked.pids if not _exists(pid))

    def judge(self, denial: Denial) -> Whose:
        """Whose it is."""
        asked = self._asked
        if denial.at < asked.since:
            return Whose.EARLIER
        process = denial.process
        nobody = isinstance(denial, Access) and process.pid is None
        for wanted, found in ((asked.comm and _cut(asked.comm), process.comm), (asked.exe, process.exe)):
            if wanted is not None and found != wanted:
                return Whose.UNKNOWN if nobody else Whose.OTHERS
        if not asked.pids and asked.container is None:
            return Whose.OURS
        if process.pid is None:
            return Whose.UNKNOWN
        return self._of(process.pid, denial.at)

    def _of(self, pid: int, at: int) -> Whose:
        if pid not in self._ours:
            self.listen()
        if pid not in self._ours:
            if not self._here:
                return Whose.UNKNOWN
            if not _exists(pid):
                known = pid in self._strangers and self._asked.container is None
                return Whose.OTHERS if known else Whose.UNKNOWN
            self._look_at(pid)
            if pid not in self._ours:
                return Whose.OTHERS
        started = self._ours[pid]
        # Ids are used again: what came before the process began was another one's.
        return Whose.OURS if started is None or at >= started - _TOLERANCE_MS else Whose.OTHERS

    def _look_at(self, pid: int) -> None:
        place = self._asked.container
        if place is not None:
            try:
                memberships = cgroup.memberships(pid)
            except OSError:
                return
            paths = [path for hierarchy, _, path in memberships if hierarchy == place.hierarchy]
            if any(path == place.path or path.startswith(place.path + "/") for path in paths):
                self._know(pid)
            return
        chain: dict[int, int | None] = {}
        one: int | None = pid
        while one is not None and one not in chain and len(chain) < _DEEPEST:
            chain[one] = _parent(one)
            one = chain[one]
        self._adopt(pid, chain)

    def _adopt(self, pid: int, parents: dict[int, int | None]) -> None:
        """Know a process if one of those above it is ours."""
        line: list[int] = []
        one: int | None = pid
        while one is not None and one not in self._ours and len(line) < _DEEPEST:
            line.append(one)
            one = parents.get(one)
        if one is not None and one in self._ours:
            for each in line:
                self._know(each)

    def _know(self, pid: int) -> None:
        if pid not in self._ours:
            self._ours[pid] = _started(pid)
            if len(self._ours) > _MOST_KNOWN:
                del self._ours[next(iter(self._ours))]


def _cut(comm: str) -> str:
    return comm.encode("utf-8", "surrogateescape")[:_COMM].decode("utf-8", "surrogateescape")


def _all() -> list[int]:
    return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()]


def _exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _stat(pid: int) -> list[bytes]:
    """Its fields from the state on (proc_pid_stat(5)); none when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []


def _parent(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[1]) or None if len(fields) > 1 else None


def _started(pid: int) -> int | None:
    fields = _stat(pid)
    if len(fields) <= 19:
        return None
    return boot() + int(fields[19]) * 1000 // os.sysconf("SC_CLK_TCK")


def boot() -> int:
    """When the kernel started, in milliseconds since 1970 as the clock stands now."""
    return int((time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)) * 1000)


def _in_cgroup(directory: str) -> Collection[int]:
    found: set[int] = set()
    for parent, _, _ in os.walk(directory):
        try:
            found.update(map(int, Path(parent, "cgroup.procs").read_text().split()))
        except (OSError, ValueError):
            continue  # it has gone, or holds threads only: then the one above has their process
    return found
