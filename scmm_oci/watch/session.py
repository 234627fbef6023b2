"""Begin and end the watch of one container: pins, slot, ledger and the cgroup in the right order.

Used by the hook, by scmm-runc and by `scmm watch`. What a crash leaves, whoever comes next prunes: a begin that was
killed is in the ledger without `live`, an end that was killed without a slot of its epoch, and a container that nobody
ended is known by its cgroup, which is gone. Standard library only.
"""

from __future__ import annotations

import errno
import os
import time

from scmm_oci.kernel import cgroup
from scmm_oci.recorder.ledger import Ledger, entries_in, private_directory
from scmm_oci.recorder.session import is_of, mount_namespace, started, timestamp
from scmm_oci.watch import summaries
from scmm_oci.watch.stale import is_stale as is_stale
from scmm_oci.watch.stale import remove_cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from scmm_oci.compiled.polfile.model import PolicyFile
    from scmm_oci.kernel.cgroup import Mounted
    from scmm_oci.recorder.settings import Settings
    from scmm_oci.watch import pins
    from scmm_oci.watch.machines import Machines
    from scmm_oci.watch.wire import WatchValue

GONE = "its cgroup is gone"
LEFT = "what began it was killed at work"
UNLOADED = "what was pinned is gone: the BPF file system was unmounted, or someone removed it"
POSTSTOP = "the container has ended"
STOPPED = "it was stopped"
OVER = "the command has ended"
UNKNOWN = "it is not known why"


class Held(OSError):
    """The container is watched already: by `entry`."""

    def __init__(self, entry: dict[str, Any]) -> None:
        self.entry = entry
        text = f"{called(entry)} is watched already, with the policy {entry['policy']['name']!r}"
        super().__init__(errno.EEXIST, f"{text}, since {entry['started_at']} ({entry['action']})")


def directory(settings: Settings) -> str:
    """Where the ledger of watches is."""
    return os.path.join(settings.run_dir, "watch")


def called(entry: dict[str, Any]) -> str:
    """What a watch's container is called: its name, or the beginning of its id."""
    container = entry.get("container", {})
    return str(container.get("name") or str(container.get("id") or f"slot {entry['slot']}")[:12])


def open_ledger(settings: Settings) -> Ledger:
    """The ledger of watches, locked. Raises OSError."""
    private_directory(settings.run_dir)
    return Ledger(directory(settings))


def entries(settings: Settings) -> list[dict[str, Any]]:
    """The watches there are, without waiting for the lock: one that is just begun may have no `live` yet."""
    try:
        return entries_in(directory(settings))
    except FileNotFoundError:
        return []


def begin(
    settings: Settings,
    *,
    policy: PolicyFile | None,
    policy_name: str,
    digest: str,
    action: str,
    pid: int,
    container: dict[str, Any],
    now: float,
    attached: bool,
    bundle: str = "",
    launcher: tuple[int, int] | None = None,
    place: cgroup.Place | None = None,
    machines: Machines | None = None,
) -> dict[str, Any]:
    """Watch the container whose first process is `pid` from here on; its entry in the ledger.

    Args:
        policy: compiled. machines: what machine.machines_of has made of it already; then `policy` is not asked.
        digest: of the policy, hexadecimal digits. action: a word of policy.model.WatchAction.
        container: {"id", "name", "engine"}; engine "command" for a command that runs in a cgroup of our own.
        now: seconds since the epoch.
        attached: it runs its program already.
        launcher: device and inode of what the container's runtime executes before the program.
        place: the cgroup, made by us for a command: removed when the watch ends. None: the container's.

    On failure nothing of this watch is left. One that is there already with the same policy is left as it is.

    Raises:
        BadInput: the policy cannot be watched here.
        Held: the container is watched already, otherwise.
        OSError: it cannot be watched.
    """
    from scmm_oci.watch import pins, slots

    if machines is None:
        from scmm_oci.watch import machine

        assert policy is not None
        machines = machine.machines_of(policy, machine=os.uname().machine)
    made = place is not None
    with open_ledger(settings) as ledger:
        _prune(ledger, settings, now=now)
        if place is None:
            place = cgroup.place_of_container(pid)
        there = ledger.entries()
        for entry in there:
            if _place_of(entry) != (place.hierarchy, place.id):
                continue
            if (entry["pid"], entry["policy"]["digest"], entry["action"]) == (pid, digest, action):
                return entry
            raise Held(entry)
        entry = {
            "slot": slots.free_slot({each["slot"] for each in there}),
            "epoch": _epoch(there, now),
            "live": False,
            "container": container,
            "bundle": bundle,
            "pid": pid,
            "pid_started": started(pid),
            "cgroup": {
                "path": place.path,
                "hierarchy": place.hierarchy,
                "controller": place.controller,
                "id": place.id,
                "made": made,
            },
            "policy": {"name": policy_name, "digest": digest},
            "action": action,
            "started_at": timestamp(now),
            "pin_dir": settings.watch_pin_dir,
        }
        if made:
            # Who waits for its end; when that is gone, whoever comes next ends it.
            entry["owner"] = {"pid": os.getpid(), "started": started(os.getpid())}
        if not pins.is_loaded(settings.watch_pin_dir):
            pins.load(settings.watch_pin_dir, run_dir=ledger.directory, machines=settings.watch_machines)
        try:
            ledger.write(entry)
            with pins.Maps(settings.watch_pin_dir) as maps:
                slots.begin(
                    maps,
                    entry["slot"],
                    epoch=entry["epoch"],
                    place=place,
                    mntns=0 if made else mount_namespace(pid),
                    machines=machines,
                    action=action,
                    name=called(entry),
                    attached=attached,
                    launcher=launcher,
                )
            entry["live"] = True
            ledger.write(entry)
        except slots.Taken as error:
            _discard(ledger, entry)
            raise _holder(there, error) from None
        except BaseException:
            _discard(ledger, entry)
            raise
    return entry


def end(
    settings: Settings, *, container_id: str, bundle: str, now: float, why: str = POSTSTOP
) -> dict[str, Any] | None:
    """End the watch of a container; its summary (see `end_entry`), or None if it has none. Raises OSError."""
    if not os.path.isdir(directory(settings)):
        return None
    with open_ledger(settings) as ledger:
        for entry in ledger.entries():
            if is_of(entry, container_id, bundle):
                return end_entry(ledger, entry, now=now, why=why)
    return None


def finish(settings: Settings, entry: dict[str, Any], *, now: float, why: str) -> dict[str, Any] | None:
    """End a watch by its entry; its summary (see `end_entry`), or None if somebody has ended it. Raises OSError."""
    with open_ledger(settings) as ledger:
        for each in ledger.entries():
            if (each["slot"], each.get("epoch")) == (entry["slot"], entry["epoch"]):
                return end_entry(ledger, each, now=now, why=why)
    return None


def end_entry(ledger: Ledger, entry: dict[str, Any], *, now: float, why: str) -> dict[str, Any]:
    """End a watch that is in the ledger, and keep what it saw.

    The summary is the entry with `ended_at`, `why`, `counters` (name → number; None where the kernel has nothing of it
    any more) and `events`, its last alerts as scmm_oci.watch.words has them. Raises OSError.
    """
    from scmm_oci.watch import pins, slots

    summary = {**entry, "ended_at": timestamp(now), "why": why, "counters": None, "events": []}
    try:
        with pins.Maps(entry["pin_dir"]) as maps:
            value = slots.value_of(maps, entry["slot"])
            if value.epoch and (value.epoch == entry["epoch"] or entry.get("broken")):
                slots.end(maps, entry["slot"], busy=why not in (POSTSTOP, GONE))
                value = slots.value_of(maps, entry["slot"])
            if entry["live"] and value.ended == entry["epoch"]:
                summary["counters"] = dict(value.counters)
                summary["events"] = events_of(maps, entry, value)
    except pins.PinsMissing:
        pass  # what it held is gone with the maps
    if entry["live"]:
        summaries.keep(ledger.directory, summary, now)
    _forget(ledger, entry)
    return summary


def events_of(maps: pins.Maps, entry: dict[str, Any], value: WatchValue) -> list[dict[str, Any]]:
    """The last alerts of a watch as scmm_oci.watch.words has them, after how many are gone. Raises OSError."""
    from scmm_oci.watch import slots

    if not value.seq:
        return []
    from scmm_oci.watch import words

    found, missed = slots.alerts_since(maps, entry["slot"], epoch=entry["epoch"], after=0)
    offset = time.time_ns() - time.monotonic_ns()
    gap = [words.gap(entry, missed)] if missed else []
    return [*gap, *(words.event(each, entry, offset=offset) for each in found)]


def prune(settings: Settings, *, now: float) -> list[dict[str, Any]]:
    """End every watch that nobody will end any more; their summaries. Raises OSError."""
    if not os.path.isdir(directory(settings)):
        return []
    with open_ledger(settings) as ledger:
        return _prune(ledger, settings, now=now)


def ended(settings: Settings) -> list[dict[str, Any]]:
    """The summaries of the last watches that are over, the oldest first."""
    return summaries.kept(directory(settings))


def _prune(ledger: Ledger, settings: Settings, *, now: float) -> list[dict[str, Any]]:
    from scmm_oci.watch import pins

    there = [_whole(each, settings) for each in ledger.entries()]
    doomed = []
    mounted = cgroup.mounts()
    for where in sorted({entry["pin_dir"] for entry in there}):
        those = [entry for entry in there if entry["pin_dir"] == where]
        try:
            with pins.Maps(where) as maps:
                doomed += [(entry, _why_over(maps, entry, mounted)) for entry in those]
        except pins.PinsMissing:
            doomed += [(entry, UNLOADED) for entry in those]
    done = [end_entry(ledger, entry, now=now, why=why) for entry, why in doomed if why is not None]
    if not there:
        pins.remove(settings.watch_pin_dir)  # a crash between the last two steps of an end
    return done


def _whole(entry: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """An entry that has all that ending it takes, whatever became of its file."""
    if not entry.get("broken"):
        return entry
    return {"slot": entry["slot"], "epoch": 0, "pin_dir": settings.watch_pin_dir, "live": False, "broken": True}


def _why_over(maps: pins.Maps, entry: dict[str, Any], mounted: Sequence[Mounted]) -> str | None:
    """Why nobody will end a watch, or None for one that goes on. Its ledger is locked, so nobody is beginning it."""
    from scmm_oci.watch import slots

    value = slots.value_of(maps, entry["slot"])
    if entry.get("broken"):
        # Whose it was nobody knows any more; it stays while it has somebody to watch.
        return None if value.epoch and value.threads else LEFT
    if not entry["live"] or value.epoch != entry["epoch"]:
        return LEFT
    return GONE if is_stale(entry, among=mounted) else None


def _discard(ledger: Ledger, entry: dict[str, Any]) -> None:
    """Take back a begin that failed."""
    from scmm_oci.watch import pins, slots

    try:
        with pins.Maps(entry["pin_dir"]) as maps:
            slots.end(maps, entry["slot"], busy=True)
    except pins.PinsMissing:
        pass
    _forget(ledger, {**entry, "cgroup": {**entry["cgroup"], "made": False}})


def _forget(ledger: Ledger, entry: dict[str, Any]) -> None:
    """Take a watch that is over out of the ledger; with the last one, all that is pinned goes."""
    from scmm_oci.watch import pins

    place = entry.get("cgroup")
    if place is not None and place["made"]:
        remove_cgroup(place["path"])
    # In this order: a slot that has ended but is in the ledger is pruned.
    ledger.remove(entry["slot"])
    if not ledger.entries():
        pins.remove(entry["pin_dir"])


def _epoch(there: list[dict[str, Any]], now: float) -> int:
    """A number that no watch has now and none had lately; never 0, which is no watch."""
    taken = {each.get("epoch") for each in there}
    epoch = int(now * 1_000_000)
    while not epoch & 0xFFFFFFFF or epoch & 0xFFFFFFFF in taken:
        epoch += 1
    return epoch & 0xFFFFFFFF


def _place_of(entry: dict[str, Any]) -> tuple[int, int] | None:
    place = entry.get("cgroup")
    return None if place is None else (place["hierarchy"], place["id"])


def _holder(there: list[dict[str, Any]], error: Any) -> OSError:
    """Who has what a watch wanted: it may be one whose cgroup is above or below."""
    for entry in there:
        if entry["slot"] == error.slot and "policy" in entry:
            return Held(entry)
    return OSError(errno.EEXIST, error.strerror)
