"""The wire layout of bpf/recorder.h, in Python. tests/unit/test_wire.py compares the two."""

from __future__ import annotations

import struct

NR_MAX = 576
# Calls end below; above are further classes of some, and beginnings: scmm_oci.tables.states.
CALLS = 548
ANY = 570
# How a call's class is found: a kind, the argument's index (shifted), whether the arguments lie in memory.
BY_ACCESS, BY_PROTECTION, BY_FAMILY = 1, 2, 3
REFINED_KIND, REFINED_INDEX, REFINED_MEMORY = 3, 2, 32
# How far a process has got, by the number of its tables of order; None: not known.
STAGES = ("starting", "listening", None, "accepting")
SLOTS = 256
CGROUPS_PER_SLOT = 1024
SESSIONS = 8
PHASES = ("setup", "runtime", "app")
ABIS = ("native", "compat", "x32")
# Names of the ABIs of each machine in scmm_oci.tables.
ARCHES = {
    "x86_64": ("x86_64", "x86", "x32"),
    "aarch64": ("aarch64", "arm", None),
}
SETS = 256
SETS_PER_SLOT = 32
EDGES = 256
EDGE_WORDS = NR_MAX * NR_MAX // 64
TRIPLES = 65536
TRIPLES_PER_SLOT = 16384
FACTS = 131072
SHORT, MEDIUM, LONG = 96, 864, 8192
VALUES = 128
PROGRAMS = 64
HANDLERS = 4
RECENT = 8
THREADS = 16384
SPECS = 4
HOT_WORDS = 64
ERRNO_WORDS = 3
COUNTERS = (
    "lost-cgroups",
    "lost-threads",
    "lost-calls",
    "left-cgroup",
    "bad-numbers",
    "sessions-shared",
    "lost-arguments",
    "lost-files",
    "lost-sockets",
    "lost-programs",
    "lost-order",
    "programs-shared",
    "unfollowed",
)
# Flags of a slot and of a thread.
ATTACHED, NO_FOLLOW, DEPTH_3 = 1, 2, 4
FOLLOWED, NEW, DEEP = 1, 2, 4
# Bits of a plan, and of its specs.
PLAN_ARGUMENTS, PLAN_MEMORY, PLAN_SIGRETURN, PLAN_RESTART, PLAN_FLAGS_MEMORY = 1, 2, 4, 8, 16
PLAN_LISTEN, PLAN_ACCEPT, PLAN_SOCKETCALL = 32, 64, 128
SPEC_WIDE, SPEC_PAIR, SPEC_MEMORY, SPEC_OFFSET = 8, 16, 32, 6
NO_ARGUMENT = 7
# Kinds and states of facts.
FILE, SOCKET, PROGRAM = 1, 2, 3
AS_NAMED, OUTSIDE, DELETED, INTERNAL, CREATED, TOO_DEEP, FOREIGN_MOUNTS = 1, 2, 4, 8, 16, 32, 64
VALUE_COUNT = 0x80

KEY = struct.Struct("=I")
CGROUP_KEY = struct.Struct("=QII")  # id, hierarchy, pad
TARGET = struct.Struct("=II")  # slot, epoch
# epoch, mntns, sessions, sets, init, cgroups, flags, threads, facts, arguments, programs, triples; edges_of; started;
# counters; set_of
SLOT = struct.Struct(f"=IIIIIIIIIIII{len(ABIS) * len(STAGES)}IQ{len(COUNTERS)}Q{SESSIONS * len(PHASES) * len(ABIS)}I")
_EDGES_OF = 12
_STARTED = _EDGES_OF + len(ABIS) * len(STAGES)
_COUNTERS = _STARTED + 1
_SET_OF = _COUNTERS + len(COUNTERS)
# entered, succeeded, errnos, denied, denied_errno, programs, first
CALL = struct.Struct(f"=QQ{ERRNO_WORDS}QIIQQ")
SET_HEAD = struct.Struct("=IHBB")  # epoch, session, phase, abi
SET_SIZE = SET_HEAD.size + NR_MAX * CALL.size
EDGES_HEAD = struct.Struct("=IHH")  # epoch, abi, stage
TRIPLE_KEY = struct.Struct("=IHHHBB")  # epoch, before, from, to, abi, stage
EDGES_SIZE = EDGES_HEAD.size + EDGE_WORDS * 8
# v1_controller (1 + index into kernel.cgroup.V1_CONTROLLERS), v1_hierarchy, sets, edges, facts_per_slot, threads,
# generation, pad, seed, hot
CONFIG = struct.Struct(f"=IIIIIIIIQ{HOT_WORDS}Q")
GENERATION = 6  # its place there
STATE = struct.Struct(f"=IIIIII{HOT_WORDS}Q")
SEAT = struct.Struct("=IIIBBH")  # index, slot, epoch, phase, flags, pad
# bits, kind, ops, dirfds, names, flags, specs, refined, extra, mask, implied, masks
PLAN = struct.Struct(f"=BB2B2B2BB{SPECS}BBHII{SPECS}I")
FACT_KEY = struct.Struct("=QQIBBBx")  # a, b, epoch, kind, op, size
# programs, first, errnos, other, succeeded, failed, detail, info, name_length, base_length, sessions, state, size
FACT = struct.Struct(f"=QQ{ERRNO_WORDS}QQIIIIHHIBB2x4x")
ARGUMENT_KEY = struct.Struct("=QIHBB")  # value, epoch, nr, abi, spec
COUNT = struct.Struct("=Q")


def new_slot(*, epoch: int, mntns: int, flags: int, started: int, init: int = 0) -> bytes:
    """The value that makes a slot live: nothing counted, nothing handed out."""
    fields = [0] * (_SET_OF + SESSIONS * len(PHASES) * len(ABIS))
    fields[0], fields[1], fields[4], fields[6], fields[_STARTED] = epoch, mntns, init, flags, started
    # Session 0 is that of what runs already.
    fields[2] = 1 if flags & ATTACHED else 0
    return SLOT.pack(*fields)


class SlotValue:
    """An unpacked slot: what is kept of a recording but for its tables and facts."""

    __slots__ = ("counters", "deep", "edges", "epoch", "facts", "sets", "started", "threads", "triples")

    def __init__(self, value: bytes) -> None:
        fields = SLOT.unpack(value)
        self.epoch: int = fields[0]
        self.deep = bool(fields[6] & DEPTH_3)
        self.threads: int = fields[7]
        self.facts: int = fields[8] + fields[9]
        self.triples: int = fields[11]
        self.started: int = fields[_STARTED]
        self.counters: dict[str, int] = dict(zip(COUNTERS, fields[_COUNTERS:_SET_OF], strict=True))
        # Indices of its call tables and tables of order.
        self.sets: list[int] = [place - 1 for place in fields[_SET_OF:] if place]
        self.edges: list[int] = [place - 1 for place in fields[_EDGES_OF:_STARTED] if place]


def errnos_of(words: tuple[int, ...]) -> list[int]:
    """The numbers whose bits are set."""
    return [64 * index + bit for index, word in enumerate(words) if word for bit in range(64) if word >> bit & 1]


def bits_of(word: int) -> list[int]:
    """The places of the bits that are set."""
    return errnos_of((word,))
