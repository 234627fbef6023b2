"""cgroup2 directories of the rig's own, made on demand and removed when they are empty.

Facts relied on: cgroups(7) and the kernel's admin-guide/cgroup-v2 (`cgroup.events`, `cgroup.kill`).
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rig.mounts import mounts
from rig.process import DeadlineError, RigError, wait_until


def cgroup2_mount() -> Path:
    """Where cgroup2 is mounted: /sys/fs/cgroup inside the rig's namespace, elsewhere on a hybrid host."""
    points = [mount.point for mount in mounts() if mount.fstype == "cgroup2"]
    if not points:
        raise RigError("no cgroup2 file system is mounted; call rig.namespace.enter() first")
    return Path("/sys/fs/cgroup") if Path("/sys/fs/cgroup") in points else points[-1]


def rig_cgroup() -> Path:
    """The parent of all cgroups this process makes."""
    return cgroup2_mount() / f"scmm-rig-{os.getpid()}"


def cgroup_path(directory: Path) -> str:
    """A cgroup directory as /proc/PID/cgroup and `cgroupsPath` write it: absolute below the mount."""
    return "/" + str(directory.relative_to(cgroup2_mount()))


@contextmanager
def child_cgroup(name: str, *, empty_s: float = 10.0) -> Iterator[Path]:
    """Make a cgroup below the rig's own; at the end wait until it is empty and remove it and its descendants.

    What still runs in it after `empty_s` seconds is killed (`cgroup.kill`): it is the rig's by construction.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise RigError(f"not a cgroup name: {name!r}")
    directory = rig_cgroup() / f"{name}-{secrets.token_hex(3)}"
    directory.mkdir(parents=True)
    try:
        yield directory
    finally:
        remove_cgroup(directory, empty_s=empty_s)
        with suppress(OSError):  # other children keep the parent; the last one out removes it
            directory.parent.rmdir()


def populated(directory: Path) -> bool:
    """Whether a live process is in the cgroup or below it."""
    try:
        return "populated 1" in (directory / "cgroup.events").read_text()
    except FileNotFoundError:
        return False


def remove_cgroup(directory: Path, *, empty_s: float = 10.0, kill_s: float = 5.0) -> None:
    """Wait until the cgroup is empty (then kill what is left), and remove it with its descendants."""

    def empty() -> bool:
        return not populated(directory)

    try:
        wait_until(empty, deadline_s=empty_s, what=f"{directory} empty")
    except DeadlineError:
        (directory / "cgroup.kill").write_text("1")
        wait_until(empty, deadline_s=kill_s, what=f"{directory} empty after cgroup.kill")
    wait_until(lambda: _rmdir_all(directory), deadline_s=kill_s, what=f"{directory} removed")


def _rmdir_all(directory: Path) -> bool:
    try:
        for parent, _, _ in os.walk(directory, topdown=False):
            os.rmdir(parent)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise
        return False
    return not directory.exists()
