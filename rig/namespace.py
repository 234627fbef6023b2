"""The private mount namespace for the engines: only cgroup2, a bpf file system, private engine state.

runc and podman decide by the file system type at /sys/fs/cgroup whether the host has cgroup v2
(podman: `cgroups.IsCgroup2UnifiedMode`), so on a hybrid host the v1 tree is hidden from this process only;
the host keeps it. The directories are those podman 4.3, runc 1.1, crun 1.8 and dockerd 20.10 were seen to
write outside their --root, --runroot, --tmpdir, --data-root and --exec-root.

Facts relied on: unshare(2), mount_namespaces(7), cgroups(7), `find -newer` around each engine.
"""

from __future__ import annotations

import ctypes
import os
import stat
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rig.cgroup import child_cgroup, rig_cgroup
from rig.mounts import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_REC,
    mount,
    mounted_type,
    mounts_below,
    unmount,
    unmount_below,
)
from rig.process import RigError, missing_programs

__all__ = [
    "PRIVATE_DIRS",
    "Entered",
    "capability",
    "child_cgroup",
    "enter",
    "entered",
    "needs_private",
    "rig_cgroup",
    "unavailable",
    "why_not",
]

CGROUP_DIR = Path("/sys/fs/cgroup")
BPF_DIR = Path("/sys/fs/bpf")
PRIVATE_DIRS = tuple(
    map(
        Path,
        (
            "/run/containers",  # podman's default runroot
            "/run/libpod",  # podman's default tmpdir
            "/run/runc",  # runc's default --root; podman makes it whatever it is told
            "/run/crun",
            "/run/docker",  # dockerd: plugins/
            "/run/containerd",  # shim sockets, s/
            "/etc/docker",  # dockerd: key.json
            "/etc/cni/net.d",  # podman: cni.lock
            "/opt/containerd",  # containerd's install plugin
            "/var/lib/containers",  # podman: cache/blob-info-cache
            "/dev/shm",  # podman: libpod_lock
        ),
    )
)
_CLONE_NEWNS = 0x00020000
_CAP_SYS_ADMIN = 21
_libc = ctypes.CDLL(None, use_errno=True)
_entered: Entered | None = None


@dataclass(frozen=True)
class Entered:
    """What enter() did. `created` are mount points that did not exist; they stay on the host, empty."""

    namespace: str
    reason: str | None
    cgroup2_mounted: bool
    bpffs_mounted: bool
    private: tuple[Path, ...]
    created: tuple[Path, ...]


def capability(number: int) -> bool:
    """Whether this process has a capability in effect (capabilities(7) numbers)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False


def needs_private() -> str | None:
    """Why the mounts as they are do not serve an engine and a recorder; None on a plain cgroup v2 host."""
    reasons = []
    here = mounted_type(CGROUP_DIR)
    if here != "cgroup2":
        reasons.append(f"{CGROUP_DIR} is {here or 'not mounted'}, not cgroup2")
    elif any(entry.fstype == "cgroup" for entry in mounts_below(CGROUP_DIR)):
        reasons.append(f"cgroup v1 hierarchies are mounted below {CGROUP_DIR}")
    if mounted_type(BPF_DIR) != "bpf":
        reasons.append(f"no bpf file system on {BPF_DIR}")
    return "; ".join(reasons) or None


def unavailable() -> str | None:
    """Why enter() cannot work here, or None."""
    if not capability(_CAP_SYS_ADMIN):
        return "needs root (CAP_SYS_ADMIN) for a private mount namespace"
    return None


def entered() -> Entered | None:
    """What enter() did in this process, or None before it."""
    return _entered


def enter(*, private: Iterable[Path] = PRIVATE_DIRS, fresh_bpffs: bool = False) -> Entered:
    """Move this process (and what it starts from now on) into the private namespace; a second call only adds.

    Must be called on the main thread: unshare(2) moves one thread, and /proc/self is the main thread's.
    `fresh_bpffs` mounts an empty bpf file system even where the host has one.
    """
    global _entered
    if threading.current_thread() is not threading.main_thread():
        raise RigError("rig.namespace.enter() must be called on the main thread")
    reason = unavailable()
    if reason:
        raise RigError(reason)
    before = _entered
    need = needs_private()
    if before is None:
        if _libc.unshare(_CLONE_NEWNS):
            raise RigError(f"unshare(CLONE_NEWNS): {os.strerror(ctypes.get_errno())}")
        mount("none", Path("/"), None, MS_REC | MS_PRIVATE)
        _null(Path("/dev/shm"))
    cgroup2 = _cgroup2_only()
    bpffs = _bpffs(fresh=fresh_bpffs)
    done = before.private if before else ()
    added, created = _privatise([path for path in dict.fromkeys(private) if path not in done])
    _entered = Entered(
        namespace=os.readlink("/proc/self/ns/mnt"),
        reason=before.reason if before else need,
        cgroup2_mounted=cgroup2 or bool(before and before.cgroup2_mounted),
        bpffs_mounted=bpffs or bool(before and before.bpffs_mounted),
        private=done + added,
        created=(before.created if before else ()) + created,
    )
    return _entered


def _null(directory: Path) -> None:
    """A /dev/null of this namespace's own: runtimes give the standard streams of an exec to the user that it is for."""
    mount("tmpfs", directory, "tmpfs", MS_NOSUID)  # for as long as it takes
    null = directory / "null"
    os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 3))  # Linux Documentation/admin-guide/devices.txt
    null.chmod(0o666)
    mount(str(null), Path(os.devnull), None, MS_BIND)
    unmount(directory)


def _cgroup2_only() -> bool:
    v1 = any(entry.fstype == "cgroup" for entry in mounts_below(CGROUP_DIR))
    if mounted_type(CGROUP_DIR) == "cgroup2" and not v1:
        return False
    unmount_below(CGROUP_DIR)
    mount("cgroup2", CGROUP_DIR, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    return True


def _bpffs(*, fresh: bool) -> bool:
    mounted = mounted_type(BPF_DIR) == "bpf"
    if (mounted and not fresh) or (mounted and _entered and _entered.bpffs_mounted) or not BPF_DIR.is_dir():
        return False
    mount("bpf", BPF_DIR, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700")
    return True


def _privatise(paths: list[Path]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    added, created = [], []
    for path in paths:
        if not path.is_dir():
            path.mkdir(mode=0o700, parents=True)
            created.append(path)
        real = path.resolve()
        mount("tmpfs", real, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0700")
        added.append(path)
    return tuple(added), tuple(created)


def why_not(*programs: str) -> str | None:
    """Why what starts containers with these programs cannot run here, or None. Ask after `enter`."""
    return (
        unavailable()
        or missing_programs(*programs)
        or (None if entered() else "rig.namespace.enter() was not called")
        or (None if mounted_type(CGROUP_DIR) == "cgroup2" else f"{CGROUP_DIR} is not cgroup2")
    )
