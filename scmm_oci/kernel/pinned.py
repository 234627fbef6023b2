"""A directory of a BPF file system with the pins of one object: whether it is whole, removed, opened.

A marker comes last when pinning and goes first when removing. Standard library only (hook).
"""

from __future__ import annotations

import errno
import os

from scmm_oci.kernel import bpf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Self

COMPLETE = "complete"
LINK = "link_"


class PinsMissing(OSError):
    """A pin that is needed is not there, or a directory is not for pins of ours."""


def is_whole(directory: str, maps: Collection[str]) -> bool:
    """Whether the marker and all of these maps are there; someone may have removed one."""
    try:
        return {COMPLETE, *maps}.issubset(os.listdir(directory))
    except FileNotFoundError:
        return False


def require(directory: str) -> None:
    """Raises PinsMissing where the directory would be in no BPF file system."""
    parent = os.path.dirname(directory)
    if not bpf.is_bpffs(parent):
        raise PinsMissing(errno.ENODEV, f"{parent} is not a BPF file system; mount it: mount -t bpf bpf {parent}")


def mark(directory: str) -> None:
    """All is pinned."""
    os.mkdir(os.path.join(directory, COMPLETE), 0o700)  # bpffs holds no plain files


def remove(directory: str, maps: Collection[str], *, setting: str) -> None:
    """Remove every pin and the directory; links first, so that nothing runs on maps that are going away.

    setting: what says where the directory is, for messages. Raises PinsMissing, having removed nothing, for a
    directory that holds anything but these pins.
    """
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return
    foreign = [name for name in names if name != COMPLETE and name not in maps and not name.startswith(f"{LINK}scmm_")]
    if foreign or not bpf.is_bpffs(directory):
        what = f"holds {foreign[0]!r}, which is not ours" if foreign else "is not in a BPF file system"
        raise PinsMissing(errno.EEXIST, f"{directory} {what}: set {setting} to a directory for scmm-oci alone")
    for name in sorted(names, key=lambda each: (each != COMPLETE, not each.startswith(LINK), each)):
        path = os.path.join(directory, name)
        if name == COMPLETE:
            os.rmdir(path)
        else:
            os.unlink(path)
    os.rmdir(directory)


class Opened:
    """Pinned maps, opened by a subclass. Use as a context manager."""

    def __init__(self, directory: str, what: str) -> None:
        self._directory, self._what = directory, what
        self._open: list[bpf.Map] = []

    def _map(self, name: str, key_size: int, value_size: int) -> bpf.Map:
        path = os.path.join(self._directory, name)
        try:
            opened = bpf.Map.pinned(path, key_size=key_size, value_size=value_size)
        except bpf.BpfError as error:
            if error.errno == errno.ENOENT:
                raise PinsMissing(errno.ENOENT, f"{self._what} map {path} is gone") from None
            raise
        self._open.append(opened)
        return opened

    def close(self) -> None:
        for each in self._open:
            each.close()
        self._open.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
