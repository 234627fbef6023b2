"""A cgroup of our own for a command that is watched: made below ours on cgroup v2, emptied and removed by who began it.

Facts: cgroups(7); the kernel's admin-guide/cgroup-v2, "cgroup.procs", "cgroup.events", "cgroup.kill".
"""

from __future__ import annotations

import errno
import os
import secrets
import select
import time
from pathlib import Path

from scmm_oci.errors import Failure
from scmm_oci.kernel import cgroup
from scmm_oci.kernel.cgroup import Place
from scmm_oci.watch import stale

_PREFIX = "scmm-watch-"
_LOOK_S = 0.02


def make() -> Place:
    """A new, empty cgroup below the one that this process is in.

    Raises:
        Failure: cgroup v2 is not mounted here, or ours is not to be written.
    """
    ours = next((path for hierarchy, _, path in cgroup.memberships("self") if hierarchy == 0), None)
    if ours is None:
        raise Failure("this kernel has no cgroup v2", "watch a container instead: scmm-watch -p POLICY CONTAINER")
    above = cgroup.directory(ours)
    if above is None:
        raise Failure(
            f"our cgroup {ours} is in no cgroup v2 file system that is mounted here",
            "mount -t cgroup2 cgroup2 /sys/fs/cgroup, or /sys/fs/cgroup/unified beside v1 controllers",
        )
    name = f"{_PREFIX}{os.getpid()}-{secrets.token_hex(3)}"
    made = Path(above, name)
    try:
        made.mkdir(mode=0o755)
    except OSError as error:
        raise Failure(f"no cgroup can be made in {above}: {error.strerror}", _remedy(error)) from None
    path = f"{ours.rstrip('/')}/{name}"
    return Place(hierarchy=0, controller="", path=path, id=made.stat().st_ino, directory=str(made))


def _remedy(error: OSError) -> str:
    if error.errno == errno.EROFS:
        return "it is mounted read-only, as in containers: run scmm-watch on the host, or mount it to be written"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "run as root"
    if error.errno == errno.EAGAIN:
        return "its cgroup.max.descendants or cgroup.max.depth is reached"
    return ""


def enter(place: Place, pid: int) -> None:
    """Move a process into it.

    Raises:
        Failure: the kernel does not let us.
    """
    try:
        write(Path(place.directory, "cgroup.procs"), str(pid))
    except OSError as error:
        # EOPNOTSUPP: a threaded cgroup above; EBUSY: it has controllers of its own.
        raise Failure(f"the command cannot be moved into {place.directory}: {error.strerror}", _remedy(error)) from None


def write(file: Path, text: str) -> None:
    """Write to a file of a cgroup, which is there or is not: nobody makes any. Raises OSError."""
    with file.open("r+") as opened:
        opened.write(text)


def processes(directory: str | Path) -> list[int]:
    """The processes in a cgroup and below it; none if it is gone."""
    found: list[int] = []
    for parent, _, _ in os.walk(directory):
        try:
            found += map(int, Path(parent, "cgroup.procs").read_text().split())
        except OSError:
            continue  # it goes at this moment
    return found


def is_populated(place: Place) -> bool:
    """Whether a process that lives is in it or below it."""
    try:
        return "populated 1" in Path(place.directory, "cgroup.events").read_text()
    except OSError:
        return False  # it is gone


def remove(place: Place, *, patience_s: float) -> bool:
    """Remove it if nobody is in it; whether it is gone. Who ends just now is waited for so many seconds."""
    deadline = time.monotonic() + patience_s
    while True:
        if is_populated(place):
            return False
        if stale.remove_cgroup(place.path):
            return True
        if time.monotonic() > deadline:
            return False
        select.select([], [], [], _LOOK_S)


def kill(place: Place) -> None:
    """End everything in it at once, whether it is frozen or not (cgroup.kill is of Linux 5.14)."""
    try:
        write(Path(place.directory, "cgroup.kill"), "1")
    except FileNotFoundError:
        for pid in processes(place.directory):
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                continue
