"""Begin and end what the kernel records for one container: a slot, its tables and facts, its cgroups or processes."""

from __future__ import annotations

import errno
import os

from scmm_oci.kernel import bpf
from scmm_oci.kernel import cgroup as cgroup_module
from scmm_oci.recorder import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from scmm_oci.kernel.cgroup import Place
    from scmm_oci.recorder.pins import Maps

_ZERO = wire.KEY.pack(0)


class SlotsFull(OSError):
    """Every slot is taken, or the host's cgroup layout does not allow another recording."""


class Taken(SlotsFull):
    """What is to be recorded is recorded already: `what`, in slot number `slot`."""

    def __init__(self, what: str, slot: int) -> None:
        super().__init__(errno.EEXIST, f"{what} is recorded already, in slot {slot}")
        self.what = what
        self.slot = slot


def free_slot(taken: Container[int]) -> int:
    """The lowest slot number not in `taken`. Raises SlotsFull."""
    for number in range(wire.SLOTS):
        if number not in taken:
            return number
    raise SlotsFull(
        errno.ENOSPC,
        f"{wire.SLOTS} recordings run already; recordings whose container is gone: scmm record --recover",
    )


def value_of(maps: Maps, number: int) -> wire.SlotValue:
    """What slot `number` holds now."""
    return wire.SlotValue(maps.slots.get(wire.KEY.pack(number)) or bytes(wire.SLOT.size))


def depth_flag(depth: int) -> int:
    """What a slot's flags have for a recording of this depth, 2 or 3."""
    return wire.DEPTH_3 if depth == 3 else 0


def make_live(maps: Maps, number: int, *, epoch: int, mntns: int, started: int, flags: int = 0, init: int = 0) -> None:
    """Make slot `number` ready to be recorded into.

    mntns: inode of the container's mount namespace, 0 for the host's. started: CLOCK_MONOTONIC, ns.
    init: with wire.ATTACHED, the first process.
    """
    free(maps, number)  # a hook killed at the wrong moment leaves a live slot that nobody has
    value = wire.new_slot(epoch=epoch, mntns=mntns, flags=flags, started=started, init=init)
    maps.slots.put(wire.KEY.pack(number), value)


def watch_cgroup(maps: Maps, number: int, *, epoch: int, place: Place) -> None:
    """Point the cgroup and those below it at a live slot; from here on the calls made there are kept."""
    if place.hierarchy:
        _watch_v1(maps, place)
    target = wire.TARGET.pack(number, epoch)
    cgroup = wire.CGROUP_KEY.pack(place.id, place.hierarchy, 0)
    # What is made below it from now on, the kernel side adds.
    below = zip(range(wire.CGROUPS_PER_SLOT), cgroup_module.descendants(place.directory), strict=False)
    children = [child for _, child in below]
    _make_hot(maps, [place.id, *children])
    try:
        maps.targets.put(cgroup, target, flags=bpf.BPF_NOEXIST)
    except bpf.BpfError as error:
        if error.errno != errno.EEXIST:
            raise
        slot, other = wire.TARGET.unpack(maps.targets.get(cgroup) or bytes(wire.TARGET.size))
        live = value_of(maps, slot).epoch
        if live and live == other:
            raise Taken(f"cgroup {place.path}", slot) from None
        maps.targets.put(cgroup, target)
    for child in children:
        maps.targets.put(wire.CGROUP_KEY.pack(child, place.hierarchy, 0), target)
    _new_generation(maps)


def _new_generation(maps: Maps) -> None:
    """Have every CPU look anew who is to be recorded: threads that run already may have become such."""
    config = _config(maps)
    config[wire.GENERATION] = (config[wire.GENERATION] + 1) & 0xFFFFFFFF
    maps.config.put(_ZERO, wire.CONFIG.pack(*config))


def _config(maps: Maps) -> list[int]:
    return list(wire.CONFIG.unpack(maps.config.get(_ZERO) or bytes(wire.CONFIG.size)))


def _make_hot(maps: Maps, more: Iterable[int]) -> None:
    config = _config(maps)
    hot = [0] * wire.HOT_WORDS
    for id in (*(wire.CGROUP_KEY.unpack(key)[0] for key in maps.targets), *more):
        hot[id // 64 % wire.HOT_WORDS] |= 1 << id % 64
    maps.config.put(_ZERO, wire.CONFIG.pack(*config[: -wire.HOT_WORDS], *hot))


def _watch_v1(maps: Maps, place: Place) -> None:
    config = _config(maps)
    wanted = [1 + cgroup_module.V1_CONTROLLERS.index(place.controller), place.hierarchy]
    if config[:2] == wanted:
        return
    # Programs look at cgroup v2 and one v1 hierarchy, so a change must not blind running recordings.
    if any(wire.CGROUP_KEY.unpack(key)[1] for key in maps.targets):
        raise SlotsFull(
            errno.EBUSY,
            f"other recordings run in another cgroup v1 hierarchy than {place.controller}:{place.path}; "
            "record again when they are over",
        )
    maps.config.put(_ZERO, wire.CONFIG.pack(*wanted, *config[2:]))


def follow_process(maps: Maps, number: int, *, epoch: int, pidfd: int, phase: str) -> None:
    """Record the thread of a pidfd into a live slot, wherever it goes, and what it starts.

    phase: "setup" for a process that is yet to execute the program, "app" for one that runs it.
    Raises BpfError: EBADF or ENOENT when it is gone.
    """
    flags = wire.FOLLOWED | (wire.NEW if phase == "app" else 0)
    key = wire.KEY.pack(pidfd)
    # What an earlier recording left, the kernel side gives back.
    index, slot, other = wire.SEAT.unpack(maps.seats.get(key) or bytes(wire.SEAT.size))[:3]
    if other == epoch:
        return
    if other and value_of(maps, slot).epoch == other:
        raise Taken("the process", slot)
    maps.seats.put(key, wire.SEAT.pack(index, number, epoch, wire.PHASES.index(phase), flags, 0))
    _new_generation(maps)


def follow_threads(maps: Maps, number: int, *, epoch: int, pid: int) -> int:
    """Record every thread of a process that runs already, and what they start. How many could not be followed.

    Threads that come meanwhile inherit from those that are followed, or are found in the next round.
    """
    done: set[int] = set()
    missed: set[int] = set()
    while True:
        found = {int(name) for name in os.listdir(f"/proc/{pid}/task")} - done - missed
        if not found:
            return len(missed)
        for thread in sorted(found):
            try:
                pidfd = os.pidfd_open(thread, 0 if thread == pid else _PIDFD_THREAD)
            except OSError:
                (missed if os.path.exists(f"/proc/{pid}/task/{thread}") else done).add(thread)
                continue
            try:
                follow_process(maps, number, epoch=epoch, pidfd=pidfd, phase="app")
                done.add(thread)
            except bpf.BpfError as error:
                if error.errno not in (errno.EBADF, errno.ENOENT, errno.ESRCH):
                    raise
                (missed if os.path.exists(f"/proc/{pid}/task/{thread}") else done).add(thread)
            finally:
                os.close(pidfd)


_PIDFD_THREAD = os.O_EXCL  # pidfd_open(2), Linux 6.9


def detach(maps: Maps, number: int) -> None:
    """Stop recording into slot `number`: no cgroup points at it any more. What it holds stays."""
    doomed = []
    for key in maps.targets:
        value = maps.targets.get(key)
        if value is not None and wire.TARGET.unpack(value)[0] == number:
            doomed.append(key)
    for key in doomed:
        maps.targets.delete(key)


def free(maps: Maps, number: int, *, busy: bool = False) -> None:
    """Give slot `number` back, with its tables and facts.

    busy: its container still runs, so programs may be at work on the tables; they are waited for.
    """
    detach(maps, number)
    slot = value_of(maps, number)
    maps.slots.put(wire.KEY.pack(number), bytes(wire.SLOT.size))
    if busy:
        bpf.wait_for_programs()
    for index in slot.sets:
        maps.sets.put(wire.KEY.pack(index), bytes(wire.SET_SIZE))
        maps.free_sets.push(wire.KEY.pack(index))
    for index in slot.edges:
        maps.edges.put(wire.KEY.pack(index), bytes(wire.EDGES_SIZE))
        maps.free_edges.push(wire.KEY.pack(index))
    if slot.epoch and (slot.facts or busy):
        _forget_facts(maps, slot.epoch)
    if slot.epoch and slot.deep:
        maps.triples.delete_all(
            [key for key, _ in maps.triples.items() if wire.TRIPLE_KEY.unpack(key)[0] == slot.epoch]
        )


def _forget_facts(maps: Maps, epoch: int) -> None:
    for each in (maps.facts, maps.facts_medium, maps.facts_long):
        each.delete_all([key for key, _ in each.items() if wire.FACT_KEY.unpack(key)[2] == epoch])
    keys = [key for key, _ in maps.arguments.items() if wire.ARGUMENT_KEY.unpack(key)[1] == epoch]
    maps.arguments.delete_all(keys)
