"""Begin and end what the kernel records for one container: a slot, its call tables, its cgroups."""

from __future__ import annotations

import errno

from scmm_oci.kernel import bpf
from scmm_oci.kernel import cgroup as cgroup_module
from scmm_oci.recorder import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

    from scmm_oci.kernel.cgroup import Place
    from scmm_oci.recorder.pins import Maps

_ZERO = wire.KEY.pack(0)
_MAX_DESCENDANTS = 1024  # as SCMM_CGROUPS_PER_SLOT in bpf/recorder.h


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
    """Make slot `number` live and point the container's cgroups at it; from here on its calls are kept."""
    if place.hierarchy:
        _watch_v1(maps, place)
    free(maps, number)  # a hook killed at the wrong moment leaves a live slot that nobody has
    key = wire.KEY.pack(number)
    maps.slots.put(key, wire.empty_slot(epoch=epoch, mntns=mntns))
    target = wire.TARGET.pack(number, epoch)
    cgroup = wire.CGROUP_KEY.pack(place.id, place.hierarchy, 0)
    try:
        maps.targets.put(cgroup, target, flags=bpf.BPF_NOEXIST)
    except bpf.BpfError as error:
        if error.errno != errno.EEXIST:
            raise
        slot, other = wire.TARGET.unpack(maps.targets.get(cgroup) or bytes(wire.TARGET.size))
        live = wire.SLOT.unpack(maps.slots.get(wire.KEY.pack(slot)) or bytes(wire.SLOT.size))[0]
        if live and live == other:
            raise SlotsFull(errno.EEXIST, f"cgroup {place.path} is recorded already, in slot {slot}") from None
        maps.targets.put(cgroup, target)
    # What is made below it from now on, the kernel side adds.
    for _, child in zip(range(_MAX_DESCENDANTS), cgroup_module.descendants(place.directory), strict=False):
        maps.targets.put(wire.CGROUP_KEY.pack(child, place.hierarchy, 0), target)


def _watch_v1(maps: Maps, place: Place) -> None:
    controller, hierarchy, sets, fresh = wire.CONFIG.unpack(maps.config.get(_ZERO) or bytes(wire.CONFIG.size))
    wanted = (1 + cgroup_module.V1_CONTROLLERS.index(place.controller), place.hierarchy)
    if (controller, hierarchy) == wanted:
        return
    # Programs look at cgroup v2 and one v1 hierarchy, so a change must not blind running recordings.
    if any(wire.CGROUP_KEY.unpack(key)[1] for key in maps.targets):
        raise SlotsFull(
            errno.EBUSY,
            f"other recordings run in another cgroup v1 hierarchy than {place.controller}:{place.path}; "
            "record again when they are over",
        )
    maps.config.put(_ZERO, wire.CONFIG.pack(*wanted, sets, fresh))


def detach(maps: Maps, number: int) -> None:
    """Stop recording into slot `number`: no cgroup points at it any more. What it holds stays."""
    doomed = []
    for key in maps.targets:
        value = maps.targets.get(key)
        if value is not None and wire.TARGET.unpack(value)[0] == number:
            doomed.append(key)
    for key in doomed:
        maps.targets.delete(key)


def tables(maps: Maps, number: int) -> list[int]:
    """The call tables that slot `number` has, as indices into the sets."""
    return wire.sets_of(wire.SLOT.unpack(maps.slots.get(wire.KEY.pack(number)) or bytes(wire.SLOT.size)))


def free(maps: Maps, number: int, *, busy: bool = False) -> None:
    """Give slot `number` back, with its tables.

    busy: its container still runs, so programs may be at work on the tables; they are waited for.
    """
    detach(maps, number)
    indices = tables(maps, number)
    maps.slots.put(wire.KEY.pack(number), bytes(wire.SLOT.size))
    if busy:
        bpf.wait_for_programs()
    for index in indices:
        key = wire.KEY.pack(index)
        maps.sets.put(key, bytes(wire.SET_SIZE))
        maps.free_sets.push(key)
