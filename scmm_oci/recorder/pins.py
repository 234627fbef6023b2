"""What of ours is pinned in the BPF file system while something is recorded.

The first recording loads and pins, the last one removes everything; both hold the lock of
scmm_oci.recorder.ledger. Nothing of ours is in the kernel while nothing is recorded.
"""

from __future__ import annotations

import errno
import os

from scmm_oci.kernel import bpf
from scmm_oci.recorder import wire

MAPS = {"targets": "targets", "slots": "slots", "slot_sets": "slot_sets", ".data.v1": "v1"}
OBJECT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data", "recorder.bpf.o")


class PinsMissing(OSError):
    """A pin that a running recording needs is not there."""


def is_loaded(directory: str) -> bool:
    # The marker comes last when loading and goes first when unloading: with it, all the others are there.
    return os.path.lexists(os.path.join(directory, "complete"))


def load(directory: str) -> None:
    """Load, attach and pin the recorder below `directory`, which must lie on a mounted bpffs.

    Raises OSError (libbpf missing, kernel refuses, bpffs not mounted), having removed what it made.
    """
    from scmm_oci.kernel import libbpf

    parent = os.path.dirname(directory)
    if not bpf.is_bpffs(parent):
        raise PinsMissing(
            errno.ENODEV, f"{parent} is not a BPF file system; mount it: mount -t bpf bpf {parent}"
        )
    if not os.path.exists(OBJECT):
        raise PinsMissing(errno.ENOENT, f"{OBJECT} is missing: the package was built without its BPF object")
    remove(directory)
    os.mkdir(directory, 0o700)
    try:
        libbpf.load_and_pin(OBJECT, maps=MAPS, directory=directory)
        os.mkdir(os.path.join(directory, "complete"), 0o700)  # bpffs holds no plain files
    except BaseException:
        remove(directory)
        raise


def remove(directory: str) -> None:
    """Remove every pin and the directory; links first, so that nothing runs on maps that are going away."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return
    for name in sorted(names, key=lambda each: (each != "complete", not each.startswith("link_"), each)):
        path = os.path.join(directory, name)
        if name == "complete":
            os.rmdir(path)
        else:
            os.unlink(path)
    os.rmdir(directory)


def stop(directory: str) -> None:
    """Detach every program and keep the maps: what was recorded stays readable, nothing costs anything."""
    for name in os.listdir(directory):
        if name == "complete":
            os.rmdir(os.path.join(directory, name))
        elif name.startswith("link_"):
            os.unlink(os.path.join(directory, name))


class Maps:
    """The pinned maps, opened. Use as a context manager."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._open: list[bpf.Map] = []
        try:
            self.targets = self._map("targets", wire.CGROUP_KEY.size, wire.TARGET.size)
            self.slots = self._map("slots", wire.KEY.size, wire.SLOT.size)
            self.slot_sets = self._map("slot_sets", wire.KEY.size, 4)
            self.v1 = self._map("v1", wire.KEY.size, wire.V1.size)
        except BaseException:
            self.close()
            raise

    def _map(self, name: str, key_size: int, value_size: int) -> bpf.Map:
        path = os.path.join(self._directory, name)
        try:
            opened = bpf.Map.pinned(path, key_size=key_size, value_size=value_size)
        except bpf.BpfError as error:
            if error.errno == errno.ENOENT:
                raise PinsMissing(errno.ENOENT, f"the recorder's map {path} is gone") from None
            raise
        self._open.append(opened)
        return opened

    def close(self) -> None:
        for each in self._open:
            each.close()

    def __enter__(self) -> Maps:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
