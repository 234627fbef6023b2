"""Finding and ending what an engine left running: known by the private directory in its command line.

Facts relied on: pidfd_open(2), pidfd_send_signal(2), proc(5) (`/proc/PID/stat`, `/proc/PID/cmdline`).
"""

from __future__ import annotations

import os
import re
import signal
import stat
import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from rig.cgroup import cgroup2_mount, remove_cgroup
from rig.mounts import remove_tree
from rig.process import DeadlineError, wait_until


def processes_naming(path: Path) -> list[int]:
    """Live processes whose command line names something below `path`.

    For a private directory of the rig's those are the helpers an engine left: conmon, shims, containerd.
    """
    needle = os.fsencode(path) + b"/"
    return [pid for pid in _pids() if pid != os.getpid() and needle in _cmdline(pid) and alive(pid)]


def alive(pid: int) -> bool:
    """Whether the process exists and is not a zombie waiting for its parent."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(b")")[2].split()[0] not in (b"Z", b"X")


def end_processes(pids: Iterable[int], *, naming: Path, term_s: float = 3.0, kill_s: float = 5.0) -> None:
    """SIGTERM, a deadline, SIGKILL, for those that name `naming`; through pidfds, so never a reused pid."""
    chosen = tuple(pids)
    for sign, deadline in ((signal.SIGTERM, term_s), (signal.SIGKILL, kill_s)):
        left = [pid for pid in chosen if _signal(pid, sign, naming)]
        try:
            wait_until(partial(_all_ended, left), deadline_s=deadline, what=f"{left} ended by {sign.name}")
            return
        except DeadlineError:
            if sign == signal.SIGKILL:
                raise


def sweep() -> tuple[Path, ...]:
    """Remove what rigs that were killed (SIGKILL) left: processes, cgroup and private directories.

    Theirs are directories named with the pid of a process that is no more, owned by this user and closed to
    others. Never called by the rig itself; `python -m rig.leftovers` does it.
    """
    removed = []
    for path in sorted(Path(tempfile.gettempdir()).resolve().glob("scmm-rig-*-*")):
        owner = re.match(r"scmm-rig-(\d+)-", path.name)
        info = path.lstat()
        private = stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid() and not info.st_mode & 0o077
        if owner is None or not private or alive(int(owner[1])):
            continue
        end_processes(processes_naming(path), naming=path)
        cgroup = cgroup2_mount() / f"scmm-rig-{owner[1]}"
        if cgroup.is_dir():
            remove_cgroup(cgroup, empty_s=0.5)
        remove_tree(path)
        removed.append(path)
    return tuple(removed)


def _all_ended(pids: list[int]) -> bool:
    return not any(map(alive, pids))


def _signal(pid: int, sign: signal.Signals, naming: Path) -> bool:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if os.fsencode(naming) + b"/" not in _cmdline(pid):
            return False
        signal.pidfd_send_signal(fd, sign)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


if __name__ == "__main__":
    for directory in sweep():
        print(f"removed {directory}")
