"""Begin and end what the kernel records for one container: a slot, its call tables, its cgroups."""

from __future__ import annotations

import errno
import struct

from scmm_oci.kernel import bpf
from scmm_oci.kernel.cgroup import V1_CONTROLLERS
from scmm_oci.recorder import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

    from scmm_oci.kernel.cgroup import Place
    from scmm_oci.recorder.pins import Maps

_ZERO = wire.KEY.pack(0)


class SlotsFull(OSError):
    """Every slot is taken, or the host's cgroup layout does not allow another recording."""


def free_slot(taken: Container[int]) -> int:
    """The lowest slot number not in `taken`. Raises SlotsFull."""
    for number in range(wire.SLOTS):
        if number not in taken:
            return number
    raise SlotsFull(
        errno.ENOSPC,
        f"{wire.SLOTS} recordings run already; recordings whose container is gone: scmm record --recover",
    )


def begin(maps: Maps, number: int, *, epoch: int, mntns: int, place: Place) -> None:
    """Make slot `number` live and point the container's cgroup at it; from here on its calls are kept."""
    if place.hierarchy:
        _watch_v1(maps, place)
    key = wire.KEY.pack(number)
    with bpf.Map.array(name="calls", value_size=wire.SET_SIZE, max_entries=wire.SETS) as sets:
        maps.slots.put(key, wire.empty_slot(epoch=epoch, mntns=mntns))
        maps.slot_sets.put(key, struct.pack("=i", sets.fd))
    cgroup = wire.CGROUP_KEY.pack(place.id, place.hierarchy, 0)
    try:
        maps.targets.put(cgroup, wire.TARGET.pack(number, epoch), flags=bpf.BPF_NOEXIST)
    except bpf.BpfError as error:
        if error.errno != errno.EEXIST:
            raise
        slot, other = wire.TARGET.unpack(maps.targets.get(cgroup) or bytes(wire.TARGET.size))
        live = wire.SLOT.unpack(maps.slots.get(wire.KEY.pack(slot)) or bytes(wire.SLOT.size))[0]
        if live and live == other:
            raise SlotsFull(errno.EEXIST, f"cgroup {place.path} is recorded already, in slot {slot}") from None
        maps.targets.put(cgroup, wire.TARGET.pack(number, epoch))


def _watch_v1(maps: Maps, place: Place) -> None:
    wanted = wire.V1.pack(1 + V1_CONTROLLERS.index(place.controller), place.hierarchy)
    present = maps.v1.get(_ZERO)
    if present == wanted:
        return
    # Programs tell tasks apart by one hierarchy at a time, so a change must not blind running recordings.
    if any(True for _ in maps.targets.keys()):
        raise SlotsFull(
            errno.EBUSY,
            f"other recordings run in another cgroup hierarchy than {place.controller}:{place.path}; "
            "record again when they are over",
        )
    maps.v1.put(_ZERO, wanted)


def detach(maps: Maps, number: int) -> None:
    """Stop recording into slot `number`: no cgroup points at it any more. What it holds stays."""
    doomed = []
    for key in maps.targets.keys():
        value = maps.targets.get(key)
        if value is not None and wire.TARGET.unpack(value)[0] == number:
            doomed.append(key)
    for key in doomed:
        maps.targets.delete(key)


def free(maps: Maps, number: int) -> None:
    """Give slot `number` back, with its tables."""
    detach(maps, number)
    key = wire.KEY.pack(number)
    maps.slot_sets.delete(key)
    maps.slots.put(key, bytes(wire.SLOT.size))
