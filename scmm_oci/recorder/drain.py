"""Turn what a slot holds into a capture document: a plain dict, as schemas/capture.schema.json describes it.

Pure but for reading the slot's maps and looking names up in the container's files. Standard library only (hook);
scmm_oci.capture.file reads the result.
"""

from __future__ import annotations

from scmm_oci import __version__
from scmm_oci.recorder import facts as facts_module
from scmm_oci.recorder import slots, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scmm_oci.recorder.facts import Fact
    from scmm_oci.recorder.pins import Maps
    from scmm_oci.recorder.resolve import Resolver

_EMPTY = bytes(wire.CALL.size)

# What the counters mean for whoever reads the capture; those in NOTES lose nothing.
DETAILS = {
    "lost-cgroups": "cgroups made inside the container did not fit into the recorder's table; their calls are missing",
    "lost-threads": "the kernel had no memory for these threads' state; their calls are missing or misplaced",
    "lost-calls": "calls for which no call table was left",
    "left-cgroup": "threads moved out of the container's cgroup; their calls from then on are missing",
    "lost-arguments": "argument values that did not fit into the recorder's table",
    "lost-files": "file names that did not fit into the recorder's tables, are longer than they take, or could not be "
    "read",
    "lost-sockets": "socket addresses that did not fit into the recorder's tables, or could not be read",
    "lost-programs": "executed programs that did not fit into the recorder's tables, or whose loader was not found",
    "lost-order": "calls whose place in the order of calls could not be kept",
    "io-uring": "the program used io_uring: what is done through it is no system call, and not in the capture",
    "attached": "what ran already was recorded from then on: its earlier calls, and who made them, are not known",
    "snapshot": "the recording went on when this was written",
    "filtered": "only calls of some categories were asked for",
    "unfollowed": "threads, or child processes, that were not recorded",
    "bad-numbers": "calls with a number beyond every table, answered ENOSYS (on arm, its private calls are such)",
    "sessions-shared": "processes that entered the container late and share the last exec session",
    "programs-shared": f"programs beyond the {wire.PROGRAMS - 1} that can be told apart share the last number",
    "named-paths": "names of files that could not be looked up any more: they stand as the program said them, and "
    "Landlock may see another path",
    "still-running": "threads that went on when the recording ended",
    "cut-short": "the recording was not ended by the runtime's poststop hook",
    "never-started": "the container's own program was never executed",
    "unknown-phase": "processes that entered the container executed a program outside of its mounts and without a "
    "filter: their calls stand under setup, and are not in the program's",
}
NOTES = ("bad-numbers", "sessions-shared", "programs-shared")
_IO_URING = ("io_uring_setup", "io_uring_enter")


class Slot:
    """What was read of a slot.

    sets: of (session, phase, abi, {number: call}). edges: values of tables of order. triples: keys of that map, None
    where they were not asked for. arguments: of the map's (key, value). threads: that live. started: CLOCK_MONOTONIC,
    ns.
    """

    __slots__ = ("arguments", "counters", "edges", "facts", "sets", "started", "threads", "triples")

    def __init__(
        self,
        *,
        counters: dict[str, int],
        sets: list[tuple[int, int, int, dict[int, tuple[int, ...]]]],
        edges: list[bytes],
        facts: list[Fact],
        arguments: list[tuple[bytes, bytes]],
        threads: int,
        started: int,
        triples: list[bytes] | None = None,
    ) -> None:
        self.counters = counters
        self.sets = sets
        self.edges = edges
        self.facts = facts
        self.arguments = arguments
        self.threads = threads
        self.started = started
        self.triples = triples

    def milliseconds(self, time: int) -> int:
        """From the beginning of the recording to a time of CLOCK_MONOTONIC in ns."""
        return max(0, time - self.started) // 1_000_000


def read_slot(maps: Maps, number: int) -> Slot:
    """Read slot `number`; it stays as it is. Raises BpfError."""
    slot = slots.value_of(maps, number)
    sets = (maps.sets.get(wire.KEY.pack(index)) for index in slot.sets)
    edges = (maps.edges.get(wire.KEY.pack(index)) for index in slot.edges)
    arguments: list[tuple[bytes, bytes]] = []
    if slot.facts:
        arguments = [item for item in maps.arguments.items() if wire.ARGUMENT_KEY.unpack(item[0])[1] == slot.epoch]
    triples = None
    if slot.deep:
        triples = [key for key, _ in maps.triples.items() if wire.TRIPLE_KEY.unpack(key)[0] == slot.epoch]
    return Slot(
        counters=slot.counters,
        sets=[parse_set(value) for value in sets if value is not None],
        edges=[value for value in edges if value is not None],
        facts=_read_facts(maps, slot) if slot.facts else [],
        arguments=arguments,
        threads=slot.threads,
        started=slot.started,
        triples=triples,
    )


def _read_facts(maps: Maps, slot: wire.SlotValue) -> list[Fact]:
    found = []
    for key, value in maps.facts.items():
        a, b, epoch, kind, op, _ = wire.FACT_KEY.unpack(key)
        if epoch != slot.epoch:
            continue
        fact = facts_module.Fact(key, value)
        size = facts_module.size_of(value)
        if size:
            # The short map has only the beginning of its data, but all of its counts.
            whole = (maps.facts_medium, maps.facts_long)[size - 1].get(wire.FACT_KEY.pack(a, b, epoch, kind, op, size))
            if whole is None:
                slot.counters["lost-files"] += 1
                continue
            fact = facts_module.Fact(key, value[: wire.FACT.size] + whole[wire.FACT.size :])
        found.append(fact)
    return sorted(found, key=lambda fact: (fact.first, fact.a))


def parse_set(value: bytes) -> tuple[int, int, int, dict[int, tuple[int, ...]]]:
    """(session, phase, abi, {number: (entered, succeeded, errno words…, denied, denied errno, programs, first)})."""
    _, session, phase, abi = wire.SET_HEAD.unpack_from(value)
    calls = {}
    size = wire.CALL.size
    for number in range(wire.NR_MAX):
        start = wire.SET_HEAD.size + number * size
        if value[start : start + size] != _EMPTY:
            calls[number] = wire.CALL.unpack_from(value, start)
    return session, phase, abi, calls


def sessions_of(slot: Slot, *, machine: str) -> list[dict[str, Any]]:
    """The sessions of a capture document, numbered from 0: the container's own process first."""
    from scmm_oci.tables.syscalls import name_of

    errno_name = facts_module.errno_name
    arches = wire.ARCHES[machine]
    merged: dict[int, dict[int, dict[tuple[str, int], list[Any]]]] = {}
    for session, phase, abi, calls in slot.sets:
        if not calls:
            continue
        arch = arches[abi]
        if arch is None:
            raise ValueError(f"{machine} has no ABI number {abi}")
        table = merged.setdefault(session, {}).setdefault(phase, {})
        for nr, (entered, succeeded, *words, denied, denied_errno, programs, first) in calls.items():
            sum_ = table.setdefault((arch, nr), [0, 0, set(), 0, 0, 0, None])
            sum_[0] += entered
            sum_[1] += succeeded
            sum_[2].update(wire.errnos_of(tuple(words)))
            sum_[3] += denied
            sum_[4] = denied_errno or sum_[4]
            sum_[5] |= programs
            if first:
                sum_[6] = min(first, sum_[6] or first)
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
                    "errnos": sorted(map(errno_name, errnos)),
                    "denied": denied,
                    "denied_errno": errno_name(denied_errno) if denied_errno else None,
                    "programs": wire.bits_of(programs),
                    "first": slot.milliseconds(first) if first else None,
                }
                for (arch, nr), (entered, succeeded, errnos, denied, denied_errno, programs, first) in sorted(
                    table.items()
                )
            ]
        result.append({"kind": "exec" if number else "main", "number": number, "phases": phases})
    return result


def document(
    slot: Slot,
    entry: dict[str, Any],
    *,
    resolver: Resolver,
    files: facts_module.Files,
    ended_at: str,
    kernel: str,
    machine: str,
    losses: dict[str, str | None] | None = None,
) -> dict[str, Any]:
    """The capture of one recording.

    entry: its file in scmm_oci.recorder.ledger. losses: kind → detail (None: the usual one) of what the caller knows
    to be missing. ended_at: UTC, as RFC 3339 with seconds.
    """
    from scmm_oci.recorder import addresses, order

    sessions = sessions_of(slot, machine=machine)
    rows, programs = files.rows(resolver)
    found = [_item(kind, slot.counters[kind]) for kind in wire.COUNTERS if kind not in NOTES and slot.counters[kind]]
    rings = sum(call["succeeded"] for call in _app_calls(sessions) if call["name"] in _IO_URING)
    if rings:
        found.append(_item("io-uring", rings))
    if entry.get("source") != "attached" and (not sessions or not sessions[0]["phases"]["app"]):
        found.append(_item("never-started", 1))
    misplaced = sum(1 for each in sessions[1:] if not each["phases"]["app"] and _executes(each["phases"]["setup"]))
    if misplaced:
        found.append(_item("unknown-phase", misplaced))
    known: dict[str, Any] = {**entry.get("losses", {}), **(losses or {})}
    for kind, detail in known.items():
        # A number says how many, a text what happened.
        count = detail if isinstance(detail, int) else 1
        text = detail if isinstance(detail, str) else DETAILS[kind]
        found.append({"kind": kind, "count": count, "detail": text})
    notes = [_item(kind, slot.counters[kind]) for kind in NOTES if slot.counters[kind]]
    if files.named:
        notes.append(_item("named-paths", files.named))
    if slot.threads and entry.get("source", "container") == "command":
        notes.append(_item("still-running", slot.threads))
    return {
        "format": "scmm-capture",
        "version": 2,
        "name": entry["name"],
        "source": entry.get("source", "container"),
        "complete": not found,
        "losses": found,
        "notes": notes,
        "started_at": entry["started_at"],
        "ended_at": ended_at,
        "recorder": {"name": "scmm-oci", "version": __version__},
        "host": {"kernel": kernel, "machine": machine},
        "container": entry["container"],
        "runtime": entry["runtime"],
        "sessions": sessions,
        "programs": facts_module.programs_of(slot.facts, programs, milliseconds=slot.milliseconds),
        "arguments": facts_module.arguments_of(slot.arguments, machine=machine),
        "files": rows,
        "sockets": addresses.sockets_of(slot.facts, milliseconds=slot.milliseconds),
        "order": order.order_of(slot.edges, slot.triples, machine=machine),
    }


def _app_calls(sessions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [call for session in sessions for call in session["phases"]["app"]]


def _executes(calls: list[dict[str, Any]]) -> bool:
    return any(call["name"] in ("execve", "execveat") and call["succeeded"] for call in calls)


def _item(kind: str, count: int) -> dict[str, Any]:
    return {"kind": kind, "count": count, "detail": DETAILS[kind]}
