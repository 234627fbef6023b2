"""Begin and end what the kernel watches of one container: its record, machines and cgroups; and read what it saw.

The caller holds the lock of the watches' ledger, but for reading. Standard library only (hook).
"""

from __future__ import annotations

import errno
import os
import time

from scmm_oci.kernel import bpf
from scmm_oci.kernel import cgroup as cgroup_module
from scmm_oci.watch import wire
from scmm_oci.watch.wire import Alert, WatchValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from scmm_oci.kernel.cgroup import Place
    from scmm_oci.watch.machines import Machines
    from scmm_oci.watch.pins import Maps

_ZERO = wire.KEY.pack(0)


class SlotsFull(OSError):
    """Every slot is taken, or the host's cgroup layout does not allow another watch."""


class NoRoom(OSError):
    """There is no room for the machines of another policy."""


class Taken(SlotsFull):
    """What is to be watched is watched already: `what`, in slot number `slot`."""

    def __init__(self, what: str, slot: int) -> None:
        super().__init__(errno.EEXIST, f"{what} is watched already, in slot {slot}")
        self.what = what
        self.slot = slot


def free_slot(taken: Container[int]) -> int:
    """The lowest slot number not in `taken`. Raises SlotsFull."""
    for number in range(wire.SLOTS):
        if number not in taken:
            return number
    raise SlotsFull(errno.ENOSPC, f"{wire.SLOTS} watches run already; end one of them: scmm watch --stop CONTAINER")


def value_of(maps: Maps, number: int) -> WatchValue:
    """What slot `number` holds now."""
    key = wire.KEY.pack(number)
    return WatchValue(maps.watches.get(key) or bytes(wire.WATCH.size), maps.live.get(key) or bytes(wire.LIVE.size))


def begin(
    maps: Maps,
    number: int,
    *,
    epoch: int,
    place: Place,
    mntns: int,
    machines: Machines,
    action: str,
    name: str,
    attached: bool,
    launcher: tuple[int, int] | None = None,
) -> None:
    """Watch a cgroup and all below it from here on, in slot `number`.

    Args:
        epoch: another one than any watch had before; not 0.
        mntns: inode of the container's mount namespace, 0 for the host's.
        action: a word of wire.ACTIONS.
        attached: what is in the cgroup already is the program; else it becomes that when it executes something.
        launcher: device and inode (stat(2)) of what is executed before the program, and not judged.

    Raises:
        Taken: the cgroup, one above it or one below it is watched.
        NoRoom: too many different machines.
        SlotsFull: the host's cgroup layout does not allow it, or there are more cgroups below than are watched.
        BpfError: the kernel refuses it. Whatever is raised, nothing of the watch is left.
    """
    below = zip(range(wire.CGROUPS_PER_SLOT + 1), cgroup_module.descendants(place.directory), strict=False)
    cgroups = [place.id, *(child for _, child in below)]
    _refuse_too_many(place, cgroups)
    _refuse_taken(maps, place, cgroups)
    if place.hierarchy:
        _watch_v1(maps, place)
    device, inode = launcher or (0, 0)
    key = wire.KEY.pack(number)
    end(maps, number, busy=True)  # a hook killed at the wrong moment leaves a live slot that nobody has
    record = wire.new_watch(
        epoch=epoch,
        mntns=mntns,
        attached=attached,
        action=action,
        machines=place_machines(maps, machines),
        launcher=(os.major(device) << 20 | os.minor(device), inode),
        name=name,
    )
    try:
        maps.watches.put(key, record)
        maps.live.put(key, wire.LIVE.pack(epoch, 0, wire.NEVER))
        _change_config(maps, more=cgroups)
        target = wire.TARGET.pack(number, epoch)
        for each in cgroups:
            maps.targets.put(wire.CGROUP_KEY.pack(each, place.hierarchy, 0), target)
        # What was made meanwhile; from here on the kernel side adds them.
        for each in cgroup_module.descendants(place.directory):
            if each not in cgroups:
                cgroups.append(each)
                _refuse_too_many(place, cgroups)
                maps.targets.put(wire.CGROUP_KEY.pack(each, place.hierarchy, 0), target)
        _change_config(maps, more=cgroups)
        # What was forked before a fork could be seen began before now.
        maps.live.put(key, wire.LIVE.pack(epoch, 0, time.monotonic_ns()))
    except BaseException:
        end(maps, number, busy=True)
        maps.watches.put(key, bytes(wire.WATCH.size))
        raise


def end(maps: Maps, number: int, *, busy: bool) -> None:
    """End the watch in slot `number`, if there is one. What it has seen stays readable until the slot is used again.

    busy: its container still runs, so that programs may be looking at its machines; they are waited for.
    """
    key = wire.KEY.pack(number)
    live = value_of(maps, number).epoch
    maps.live.put(key, bytes(wire.LIVE.size))
    doomed = [each for each, value in maps.targets.items() if wire.TARGET.unpack(value)[0] == number]
    maps.targets.delete_all(doomed)
    if not live and not doomed:
        return
    _change_config(maps)
    if busy:
        bpf.wait_for_programs()


def thaw(maps: Maps, number: int, *, epoch: int) -> None:
    """Have the threads of a frozen watch no longer stopped by what they do. Nothing happens if it is over.

    Needs no lock: threads that were stopped look anew at their next call.
    """
    key = wire.KEY.pack(number)
    there, _, started = wire.LIVE.unpack(maps.live.get(key) or bytes(wire.LIVE.size))
    if there == epoch:
        maps.live.put(key, wire.LIVE.pack(epoch, 0, started))


def alerts_since(maps: Maps, number: int, *, epoch: int, after: int) -> tuple[list[Alert], int]:
    """The alerts of the watch with this epoch whose numbers are above `after`, in order, and how many are gone.

    One that is being written just now comes next time, and so do all after it.
    """
    value = value_of(maps, number)
    if epoch not in (value.epoch, value.ended):
        return [], 0
    found: list[Alert] = []
    last = after
    for seq in range(max(after + 1, value.seq - wire.ALERTS + 1), value.seq + 1):
        place = wire.KEY.pack(number * wire.ALERTS + seq % wire.ALERTS)
        alert = Alert(maps.alerts.get(place) or bytes(wire.ALERT.size))
        if alert.epoch == epoch and alert.seq == seq:
            found.append(alert)
            last = seq
        elif alert.seq == 0 or alert.seq < seq or alert.epoch != epoch:
            break
    return found, last - after - len(found)


def place_machines(maps: Maps, machines: Machines) -> list[int]:
    """Have the machines in the maps, those that are there already once: index + 1 for each phase and ABI, 0 for none.

    Raises NoRoom.
    """
    used: set[int] = set()
    for key, live in maps.live.items():
        if wire.LIVE.unpack(live)[0]:
            value = value_of(maps, wire.KEY.unpack(key)[0])
            used |= {index - 1 for index in value.machines if index}
    there = {index: maps.machines.get(wire.KEY.pack(index)) or b"" for index in sorted(used)}
    deep_of = {index: wire.MACHINE_HEAD.unpack_from(value)[0] - 1 for index, value in there.items()}
    deeps = {index: maps.deeps.get(wire.KEY.pack(index)) or b"" for index in sorted({*deep_of.values()} - {-1})}
    result = []
    for image in machines.images:
        if image is None:
            result.append(0)
            continue
        deep = 0
        if image.deep:
            deep = 1 + _place(maps.deeps, deeps, image.deep, "depths")
        result.append(1 + _place(maps.machines, there, image.with_deep(deep), "machines"))
    return result


def _place(into: bpf.Map, there: dict[int, bytes], value: bytes, what: str) -> int:
    for index, other in there.items():
        if other == value:
            return index
    for index in range(into.max_entries()):
        if index not in there:
            into.put(wire.KEY.pack(index), value)
            there[index] = value
            return index
    raise NoRoom(
        errno.ENOSPC,
        f"watches have {len(there)} different {what} already, and there is no room for more: end one of them (scmm "
        "watch --stop CONTAINER), or set watch_machines and begin all of them anew",
    )


def _refuse_taken(maps: Maps, place: Place, cgroups: Iterable[int]) -> None:
    for each in cgroups:
        value = maps.targets.get(wire.CGROUP_KEY.pack(each, place.hierarchy, 0))
        if value is None:
            continue
        slot, epoch = wire.TARGET.unpack(value)
        if epoch and value_of(maps, slot).epoch == epoch:
            raise Taken(f"cgroup {place.path}" if each == place.id else f"a cgroup below {place.path}", slot)


def _refuse_too_many(place: Place, cgroups: list[int]) -> None:
    if len(cgroups) > 1 + wire.CGROUPS_PER_SLOT:
        why = f"more than {wire.CGROUPS_PER_SLOT} cgroups are below {place.path}"
        raise SlotsFull(errno.ENOSPC, f"{why}, and no watch begins that would not have all of them")


def _change_config(maps: Maps, *, more: Iterable[int] = ()) -> None:
    """Have the filter on cgroup ids hold those that are targets, and every thread looked up anew."""
    config = list(wire.CONFIG.unpack(maps.config.get(_ZERO) or bytes(wire.CONFIG.size)))
    config[wire.GENERATION] = (config[wire.GENERATION] + 1) & 0xFFFFFFFF
    hot = [0] * wire.HOT_WORDS
    for id in (*(wire.CGROUP_KEY.unpack(key)[0] for key, _ in maps.targets.items()), *more):
        hot[id // 64 % wire.HOT_WORDS] |= 1 << id % 64
    maps.config.put(_ZERO, wire.CONFIG.pack(*config[: -wire.HOT_WORDS], *hot))


def _watch_v1(maps: Maps, place: Place) -> None:
    config = wire.CONFIG.unpack(maps.config.get(_ZERO) or bytes(wire.CONFIG.size))
    wanted = (1 + cgroup_module.V1_CONTROLLERS.index(place.controller), place.hierarchy)
    if config[:2] == wanted:
        return
    # Programs look at cgroup v2 and one v1 hierarchy, so a change must not blind watches that run.
    if any(wire.CGROUP_KEY.unpack(key)[1] for key, _ in maps.targets.items()):
        raise SlotsFull(
            errno.EBUSY,
            f"other watches run in another cgroup v1 hierarchy than {place.controller}:{place.path}; "
            "watch again when they are over",
        )
    maps.config.put(_ZERO, wire.CONFIG.pack(*wanted, *config[2:]))
