"""Which cgroups the cases see: cgroup v2 alone, or the controllers' own hierarchies as on a hybrid host.

A controller that a v1 hierarchy of the host has is in no v2 cgroup, and cases about limits then need the other layout.
Both are mounts of a private namespace. Facts relied on: cgroups(7), /proc/cgroups.
"""

from __future__ import annotations

import ctypes
import os
from enum import StrEnum
from pathlib import Path

from rig import namespace
from rig.cgroup import remove_cgroup
from rig.mounts import MS_NODEV, MS_NOEXEC, MS_NOSUID, mount, unmount_below
from rig.process import RigError

#: Files with cases about limits, which take controllers.
OF_LIMITS = ("cgroups", "delete", "events", "run", "update")
_PARENT = "runc-cgroups-integration-test"  # helpers.bash, set_cgroups_path
_CLONE_NEWNS, _CLONE_NEWCGROUP = 0x00020000, 0x02000000  # linux/sched.h
_libc = ctypes.CDLL(None, use_errno=True)
_FLAGS = MS_NOSUID | MS_NODEV | MS_NOEXEC


class Layout(StrEnum):
    """What is mounted at /sys/fs/cgroup."""

    V2 = "v2"
    V1 = "v1"


def hierarchies(table: str) -> list[str]:
    """Of the text of /proc/cgroups: the v1 hierarchies that are in use, each as its controllers with commas between."""
    found: dict[int, list[str]] = {}
    for line in table.splitlines():
        if not line.startswith("#"):
            name, hierarchy, _, enabled = line.split()
            if int(hierarchy) and int(enabled):
                found.setdefault(int(hierarchy), []).append(name)
    return sorted(",".join(names) for names in found.values())


def unavailable(layout: Layout) -> str | None:
    """Why the machine does not have it, or None."""
    if layout is Layout.V1 and not hierarchies(Path("/proc/cgroups").read_text()):
        return "no controller has a cgroup v1 hierarchy here"
    return None


def enter_own(name: str) -> None:
    """Leave this process, and all that it starts, in a cgroup of its own that is the root to it.

    Runs beside others then share no cgroup, though their containers have the same names. For V2, after mount_cgroups.
    """
    own = namespace.CGROUP_DIR / name
    own.mkdir()
    (own / "cgroup.procs").write_text(str(os.getpid()))
    # Of libc, as os.unshare is there from Python 3.12 on.
    if _libc.unshare(_CLONE_NEWNS | _CLONE_NEWCGROUP):
        raise RigError(f"unshare: {os.strerror(ctypes.get_errno())}")
    unmount_below(namespace.CGROUP_DIR)
    mount("cgroup2", namespace.CGROUP_DIR, "cgroup2", _FLAGS)


def sweep(layout: Layout) -> None:
    """Remove what cases leave in hierarchies that are the host's: the parent that they give their cgroups."""
    if layout is Layout.V1:
        for hierarchy in namespace.CGROUP_DIR.iterdir():
            if (hierarchy / _PARENT).is_dir():
                remove_cgroup(hierarchy / _PARENT)


def mount_cgroups(layout: Layout) -> str:
    """Mount it in the namespace that `rig.namespace.enter` made, where V2 is; in words, with the controllers."""
    if layout is Layout.V2:
        controllers = (namespace.CGROUP_DIR / "cgroup.controllers").read_text().split()
        return f"cgroup v2 with {', '.join(sorted(controllers)) or 'no controllers'}"
    unmount_below(namespace.CGROUP_DIR)
    mount("tmpfs", namespace.CGROUP_DIR, "tmpfs", _FLAGS, "mode=0755")
    named = hierarchies(Path("/proc/cgroups").read_text())
    for name, fstype, options in (
        *((each, "cgroup", each) for each in named),
        ("systemd", "cgroup", "none,name=systemd"),
        ("unified", "cgroup2", ""),
    ):
        directory = namespace.CGROUP_DIR / name
        directory.mkdir()
        mount(fstype, directory, fstype, _FLAGS, options)
    return f"cgroup v1 with {', '.join(named)}"
