"""Mounts and private directories: what is mounted where, mounting, and removal that cannot follow a mount.

Facts relied on: mount(2), umount2(2), proc(5) `/proc/PID/mountinfo` (octal escapes in paths).
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rig.process import RigError

MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 1 << 12, 1 << 14, 1 << 18
MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo: where, of what type, with which per-superblock options."""

    point: Path
    fstype: str
    options: str


def mounts() -> tuple[Mount, ...]:
    """Every mount this process sees, in the order they were made."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines():
        left, _, right = line.partition(" - ")
        fstype, _, options = right.split(" ", 2)
        point = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), left.split(" ")[4])
        found.append(Mount(Path(point), fstype, options))
    return tuple(found)


def mounts_below(path: Path) -> tuple[Mount, ...]:
    """Mounts at or below a path."""
    return tuple(mount for mount in mounts() if mount.point == path or path in mount.point.parents)


def mounted_type(path: Path) -> str | None:
    """File system type of the topmost mount exactly at `path`, or None."""
    types = [mount.fstype for mount in mounts() if mount.point == path]
    return types[-1] if types else None


def mount(source: str, target: Path, fstype: str | None, flags: int = 0, data: str = "") -> None:
    """mount(2); RigError with the kernel's reason."""
    kind = None if fstype is None else fstype.encode()
    if _libc.mount(source.encode(), os.fsencode(target), kind, ctypes.c_ulong(flags), os.fsencode(data)):
        reason = os.strerror(ctypes.get_errno())
        raise RigError(f"cannot mount {fstype or source} on {target} ({data or 'no options'}): {reason}")


def unmount(path: Path) -> None:
    """Unmount what was mounted there last; detach it if it is busy."""
    target = os.fsencode(path)
    if _libc.umount2(target, 0) and _libc.umount2(target, MNT_DETACH):
        raise RigError(f"cannot unmount {path}: {os.strerror(ctypes.get_errno())}")


def unmount_below(path: Path) -> None:
    """Unmount everything at or below a path, newest first."""
    for entry in reversed(mounts_below(path)):
        unmount(entry.point)


def overlay(target: Path, *, lower: Path, work: Path) -> None:
    """Mount a writable overlay of `lower` on `target`; upper and work directories are made below `work`."""
    if any(mark in f"{lower}{work}" for mark in ",:\\"):
        raise RigError(f"overlay options cannot hold this path: {lower} or {work}")
    (work / "upper").mkdir(parents=True)
    (work / "work").mkdir()
    # The upper directory becomes the root's mode and owner as the container sees it.
    shutil.copystat(lower, work / "upper")
    mount("overlay", target, "overlay", 0, f"lowerdir={lower},upperdir={work}/upper,workdir={work}/work")


def overlay_works(directory: Path) -> bool:
    """Whether the kernel mounts an overlay with its layers in `directory` (not if that is an overlay)."""
    with tempfile.TemporaryDirectory(dir=directory) as name:
        probe = Path(name)
        for part in ("lower", "merged"):
            (probe / part).mkdir()
        try:
            overlay(probe / "merged", lower=probe / "lower", work=probe)
        except RigError:
            return False
        unmount_below(probe / "merged")
        return True


def remove_tree(path: Path) -> None:
    """Unmount what is mounted below `path`, then remove it; never descends into a mount."""
    unmount_below(path)
    left = mounts_below(path)
    if left:
        raise RigError(f"still mounted, not removing {path}: {[str(entry.point) for entry in left]}")
    shutil.rmtree(path)


@contextmanager
def private_dir(tag: str) -> Iterator[Path]:
    """A new directory of mode 0700 in the system's temporary directory, removed at the end."""
    path = Path(tempfile.mkdtemp(prefix=f"scmm-rig-{os.getpid()}-{tag}-")).resolve()
    try:
        yield path
    finally:
        remove_tree(path)
