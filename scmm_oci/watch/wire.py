"""The wire layout of bpf/watch.h, in Python. tests/unit/test_watch_wire.py compares the two. Standard library only."""

from __future__ import annotations

import struct

from scmm_oci.recorder.wire import CGROUP_KEY, CGROUPS_PER_SLOT, HOT_WORDS, KEY, TARGET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["CGROUPS_PER_SLOT", "CGROUP_KEY", "HOT_WORDS", "KEY", "TARGET"]

SLOTS = 256
MACHINES = 128
DEEPS = 16
PHASES = ("startup", "serving")
ABIS = ("native", "compat", "x32")
# Names of the ABIs of each machine in scmm_oci.tables.
ARCHES: Final = {
    "x86_64": ("x86_64", "x86", "x32"),
    "aarch64": ("aarch64", "arm", None),
}
ALERTS = 16
RATE = 16
PLACES = 16384
RECENT = 16
HANDLERS = 8
NAME = 64
PATH = 256
STATES = 576
ANY, NONE = 570, 0xFFFF
STATE_WORDS = STATES // 64
MACHINE_WORDS = STATES * STATES // 64
TRIPLES = 16384
TRIPLE_PROBES = 16
ACTIONS = ("count", "alert", "freeze", "kill")
ATTACHED = 1
COUNTERS = (
    "violations",
    "alerts",
    "kills",
    "freezes",
    "failed",
    "unreported",
    "no_handler",
    "no_machine",
    "left",
    "lost_threads",
    "lost_cgroups",
    "lost_handlers",
    "bad_numbers",
    "entered",
    "serving",
)
KINDS = {1: "edge", 2: "no-handler", 3: "no-machine", 4: "left"}
DONE = ("none", "freeze", "kill", "failed")
PLAN_SIGRETURN, PLAN_RESTART, PLAN_SOCKETCALL = 1, 2, 4

LIVE = struct.Struct("=IIQ")  # epoch, frozen, started
NEVER = 0xFFFFFFFFFFFFFFFF
# epoch, mntns, init, flags, action, cgroups, threads, in_second; machines; launcher_dev, launcher_ino, alerts, second;
# counters; name
WATCH = struct.Struct(f"=IIIIIIII{len(PHASES) * len(ABIS)}IQQQQ{len(COUNTERS)}Q{NAME}s")
_MACHINES = 8
_LAUNCHER = _MACHINES + len(PHASES) * len(ABIS)
_COUNTERS = _LAUNCHER + 4
MACHINE_HEAD = struct.Struct(f"=II{STATE_WORDS}Q")  # deep, switching, switches
MACHINE_SIZE = MACHINE_HEAD.size + MACHINE_WORDS * 8
DEEP_HEAD = struct.Struct("=II")  # multiplier, pad
DEEP_SIZE = DEEP_HEAD.size + MACHINE_WORDS * 8 + TRIPLES * 4
PLAN = struct.Struct("=BBH")  # refined, bits, extra
# seq, at, leader_started, ip, args; epoch, watch, tgid, tid, ns_tgid, made; from2, from, to, path_length; kind, action,
# phase, abi, path_whole, recent_at, pad; recent; comm, path; again
ALERT = struct.Struct(f"=QQQQ6QIIIIIIHHHHBBBBBB2x{RECENT}H16s{PATH}sQ")
CONFIG = struct.Struct(f"=IIII{HOT_WORDS}Q")  # v1_controller, v1_hierarchy, generation, pad, hot
GENERATION = 2  # its place there
STATE = struct.Struct(f"=II{HOT_WORDS}Q")


def new_watch(
    *,
    epoch: int,
    mntns: int,
    attached: bool,
    action: str,
    machines: list[int],
    launcher: tuple[int, int],
    name: str,
) -> bytes:
    """The record of a watch that begins.

    machines: index + 1 of each phase's and ABI's, 0 for none. launcher: device as the kernel has it and inode,
    or zeros.
    """
    return WATCH.pack(
        *(epoch, mntns, 0, ATTACHED if attached else 0, ACTIONS.index(action), 0, 0, 0),
        *machines,
        *(*launcher, 0, 0),
        *[0] * len(COUNTERS),
        cut(name.encode("utf-8", "surrogateescape"), NAME - 1),
    )


def cut(text: bytes, size: int) -> bytes:
    """At most `size` bytes of UTF-8, without half a character at the end."""
    if len(text) <= size:
        return text
    while size and text[size] & 0xC0 == 0x80:
        size -= 1
    return text[:size]


class WatchValue:
    """A watch as it is now, or as it was when it ended.

    `epoch`: of the watch that lives, else 0; `ended`: of the one that is over and whose record is still here, else 0;
    `machines`: indices + 1, by phase and ABI; `seq`: number of its last alert; `counters` by the names in COUNTERS.
    """

    __slots__ = (
        *("action", "attached", "counters", "ended", "epoch", "frozen", "machines", "name", "seq", "started"),
        "threads",
    )

    def __init__(self, value: bytes, live: bytes) -> None:
        fields = WATCH.unpack(value)
        self.epoch, frozen, self.started = LIVE.unpack(live)
        self.ended: int = 0 if self.epoch else fields[0]
        self.frozen = bool(frozen)
        self.attached = bool(fields[3] & ATTACHED)
        self.action: str = ACTIONS[fields[4]] if fields[4] < len(ACTIONS) else str(fields[4])
        self.threads: int = fields[6]
        self.machines: tuple[int, ...] = fields[_MACHINES:_LAUNCHER]
        self.seq: int = fields[_LAUNCHER + 2]
        self.counters: dict[str, int] = dict(zip(COUNTERS, fields[_COUNTERS : _COUNTERS + len(COUNTERS)], strict=True))
        self.name: str = fields[-1].rstrip(b"\0").decode("utf-8", "replace")


class Alert:
    """What a watch has to tell of one call, or of a thread that moved out.

    `kind` and `action` are words of KINDS and DONE; `at` and `leader_started`: CLOCK_MONOTONIC, ns; `serving`: whether
    the process did; `abi`: index into ARCHES. `before`, `state`, `to` and `recent` (the oldest first) are numbers of
    tables.states; None where there is none. `tgid`, `tid`: in the initial pid namespace, `ns_tgid` in its own.
    `path`: of the executable, in its mount namespace, with `…` for a beginning that did not fit; None: not known.
    """

    __slots__ = (
        *("abi", "action", "args", "at", "before", "comm", "epoch", "ip", "kind", "leader_started", "ns_tgid", "path"),
        *("recent", "seq", "serving", "slot", "state", "tgid", "tid", "to"),
    )

    def __init__(self, value: bytes) -> None:
        fields = ALERT.unpack(value)
        self.seq, self.at, self.leader_started, self.ip = fields[:4]
        self.args: tuple[int, ...] = fields[4:10]
        self.epoch, self.slot, self.tgid, self.tid, self.ns_tgid, made = fields[10:16]
        before, state, to, length = fields[16:20]
        kind, action, phase, abi, whole, at = fields[20:26]
        recent = fields[26 : 26 + RECENT]
        comm, path, again = fields[26 + RECENT :]
        if again != self.seq:
            self.seq = 0
        self.kind: str = KINDS.get(kind, str(kind))
        self.action: str = DONE[action] if action < len(DONE) else str(action)
        self.serving = phase == 1
        self.abi: int = abi
        self.before, self.state, self.to = (None if each == NONE else each for each in (before, state, to))
        count = min(made, RECENT)
        self.recent: tuple[int, ...] = tuple(recent[(at - count + index) % RECENT] for index in range(count))
        self.comm: str = comm.partition(b"\0")[0].decode("utf-8", "backslashreplace")
        self.path: str | None = path_of(path[: min(length, PATH)], whole=bool(whole))


def path_of(data: bytes, *, whole: bool) -> str | None:
    """A path from its components, the last one first and each with a slash after it.

    whole: the first component is the last of them; else something before it is missing. None for no data at all.
    """
    if not data:
        return "/" if whole else None
    parts = data.split(b"/")
    # What is after the last slash did not fit: a component of which the end is missing.
    parts = [part for part in parts[:-1] if part] if data.endswith(b"/") else parts[:-1]
    text = "/".join(part.decode("utf-8", "backslashreplace") for part in reversed(parts))
    return f"/{text}" if whole else f"…/{text}"
