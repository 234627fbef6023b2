"""Turn what a slot holds into a capture document: a plain dict, as schemas/capture.schema.json describes it.

Pure but for reading the slot's maps. Standard library only (hook); scmm_oci.capture.model reads the result.
"""

from __future__ import annotations

from scmm_oci import __version__
from scmm_oci.recorder import slots, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scmm_oci.recorder.pins import Maps

# One set as read: (session, phase, abi, calls by number).
_EMPTY = bytes(wire.CALL.size)

# Names of the ABIs of each machine in scmm_oci.tables, by wire.ABIS.
ARCHES = {
    "x86_64": ("x86_64", "x86", "x32"),
    "aarch64": ("aarch64", "arm", None),
}

# What the counters mean for whoever reads the capture; those in NOTES lose nothing.
DETAILS = {
    "lost-cgroups": "cgroups made inside the container did not fit into the recorder's table; their calls are missing",
    "lost-threads": "the kernel had no memory for these threads' state; their calls are missing or misplaced",
    "lost-calls": "calls for which no call table was left",
    "left-cgroup": "threads moved out of the container's cgroup; their calls from then on are missing",
    "bad-numbers": "calls with a number beyond every table, answered ENOSYS (on arm, its private calls are such)",
    "sessions-shared": "processes that entered the container late and share the last exec session",
    "cut-short": "the recording was not ended by the runtime's poststop hook",
    "never-started": "the container's own program was never executed",
    "unknown-phase": "processes that entered the container executed a program outside of its mounts and without a "
    "filter: their calls stand under setup, and are not in the program's",
}
NOTES = ("bad-numbers", "sessions-shared")


class Slot:
    """What was read of a slot: `counters` by name, and `sets` of (session, phase, abi, {number: call})."""

    __slots__ = ("counters", "sets")

    def __init__(
        self, *, counters: dict[str, int], sets: list[tuple[int, int, int, dict[int, tuple[int, ...]]]]
    ) -> None:
        self.counters = counters
        self.sets = sets


def read_slot(maps: Maps, number: int) -> Slot:
    """Read slot `number`; it stays as it is. Raises BpfError."""
    key = wire.KEY.pack(number)
    fields = wire.SLOT.unpack(maps.slots.get(key) or bytes(wire.SLOT.size))
    counters = wire.counters_of(fields)
    read = (maps.sets.get(wire.KEY.pack(index)) for index in slots.tables(maps, number))
    return Slot(counters=counters, sets=[parse_set(value) for value in read if value is not None])


def parse_set(value: bytes) -> tuple[int, int, int, dict[int, tuple[int, ...]]]:
    """(session, phase, abi, {number: (entered, succeeded, errno words…, denied, denied errno)})."""
    _, session, phase, abi = wire.SET_HEAD.unpack_from(value)
    calls = {}
    size = wire.CALL.size
    for number in range(wire.NR_MAX):
        start = wire.SET_HEAD.size + number * size
        if value[start : start + size] != _EMPTY:
            calls[number] = wire.CALL.unpack_from(value, start)
    return session, phase, abi, calls


def _errno_name(number: int) -> str:
    import errno

    return errno.errorcode.get(number, str(number))


def sessions_of(slot: Slot, *, machine: str) -> list[dict[str, Any]]:
    """The sessions of a capture document, numbered from 0: the container's own process first."""
    from scmm_oci.tables.syscalls import name_of

    arches = ARCHES[machine]
    merged: dict[int, dict[int, dict[tuple[str, int], list[Any]]]] = {}
    for session, phase, abi, calls in slot.sets:
        if not calls:
            continue
        arch = arches[abi]
        if arch is None:
            raise ValueError(f"{machine} has no ABI number {abi}")
        table = merged.setdefault(session, {}).setdefault(phase, {})
        for nr, (entered, succeeded, *words, denied, denied_errno) in calls.items():
            sum_ = table.setdefault((arch, nr), [0, 0, set(), 0, 0])
            sum_[0] += entered
            sum_[1] += succeeded
            sum_[2].update(wire.errnos_of(tuple(words)))
            sum_[3] += denied
            sum_[4] = denied_errno or sum_[4]
    result = []
    for number, session in enumerate(sorted(merged)):
        phases: dict[str, list[dict[str, Any]]] = {name: [] for name in wire.PHASES}
        for phase, table in merged[session].items():
            phases[wire.PHASES[phase]] = [
                {
                    "arch": arch,
                    "nr": nr,
                    "name": name_of(arch, nr),
                    "entered": entered,
                    "succeeded": succeeded,
                    "errnos": sorted(map(_errno_name, errnos)),
                    "denied": denied,
                    "denied_errno": _errno_name(denied_errno) if denied_errno else None,
                }
                for (arch, nr), (entered, succeeded, errnos, denied, denied_errno) in sorted(table.items())
            ]
        result.append({"kind": "exec" if number else "main", "number": number, "phases": phases})
    return result


def document(
    slot: Slot,
    entry: dict[str, Any],
    *,
    ended_at: str,
    kernel: str,
    machine: str,
    cut_short: str | None = None,
) -> dict[str, Any]:
    """The capture of one recording.

    entry: its file in scmm_oci.recorder.ledger. cut_short: why, if the poststop hook did not end it.
    ended_at: UTC, as RFC 3339 with seconds.
    """
    sessions = sessions_of(slot, machine=machine)
    losses = [_item(kind, slot.counters[kind]) for kind in wire.COUNTERS if kind not in NOTES and slot.counters[kind]]
    if not sessions or not sessions[0]["phases"]["app"]:
        losses.append(_item("never-started", 1))
    misplaced = sum(1 for each in sessions[1:] if not each["phases"]["app"] and _executes(each["phases"]["setup"]))
    if misplaced:
        losses.append(_item("unknown-phase", misplaced))
    if cut_short is not None:
        losses.append({"kind": "cut-short", "count": 1, "detail": cut_short})
    return {
        "format": "scmm-capture",
        "version": 1,
        "name": entry["name"],
        "complete": not losses,
        "losses": losses,
        "notes": [_item(kind, slot.counters[kind]) for kind in NOTES if slot.counters[kind]],
        "started_at": entry["started_at"],
        "ended_at": ended_at,
        "recorder": {"name": "scmm-oci", "version": __version__},
        "host": {"kernel": kernel, "machine": machine},
        "container": entry["container"],
        "runtime": entry["runtime"],
        "sessions": sessions,
    }


def _executes(calls: list[dict[str, Any]]) -> bool:
    return any(call["name"] in ("execve", "execveat") and call["succeeded"] for call in calls)


def _item(kind: str, count: int) -> dict[str, Any]:
    return {"kind": kind, "count": count, "detail": DETAILS[kind]}
