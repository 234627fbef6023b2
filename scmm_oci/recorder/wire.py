"""The wire layout of bpf/recorder.h, in Python. tests/unit/test_wire.py compares the two."""

from __future__ import annotations

import struct

NR_MAX = 576
SLOTS = 256
SESSIONS = 8
PHASES = ("setup", "runtime", "app")
ABIS = ("native", "compat", "x32")
SETS = 256
SETS_PER_SLOT = 32
ERRNO_WORDS = 3
COUNTERS = (
    "lost-cgroups",
    "lost-threads",
    "lost-calls",
    "left-cgroup",
    "bad-numbers",
    "sessions-shared",
)

KEY = struct.Struct("=I")
CGROUP_KEY = struct.Struct("=QII")  # id, hierarchy, pad
TARGET = struct.Struct("=II")  # slot, epoch
# epoch, mntns, sessions, sets, init, cgroups; counters; set_of
SLOT = struct.Struct(f"=IIIIII{len(COUNTERS)}Q{SESSIONS * len(PHASES) * len(ABIS)}I")
CALL = struct.Struct(f"=QQ{ERRNO_WORDS}QII")  # entered, succeeded, errnos, denied, denied_errno
SET_HEAD = struct.Struct("=IHBB")  # epoch, session, phase, abi
SET_SIZE = SET_HEAD.size + NR_MAX * CALL.size
# v1_controller (1 + index into kernel.cgroup.V1_CONTROLLERS), v1_hierarchy, sets, fresh
CONFIG = struct.Struct("=IIII")


def empty_slot(*, epoch: int, mntns: int) -> bytes:
    """The value that makes a slot live: nothing counted, nothing handed out."""
    return SLOT.pack(epoch, mntns, *([0] * (4 + len(COUNTERS) + SESSIONS * len(PHASES) * len(ABIS))))


def counters_of(slot: tuple[int, ...]) -> dict[str, int]:
    """The counters of an unpacked SLOT, by name."""
    return dict(zip(COUNTERS, slot[6:], strict=False))


def sets_of(slot: tuple[int, ...]) -> list[int]:
    """The call tables of an unpacked SLOT, as indices."""
    return [place - 1 for place in slot[6 + len(COUNTERS) :] if place]


def errnos_of(words: tuple[int, ...]) -> list[int]:
    """The numbers whose bits are set."""
    return [64 * index + bit for index, word in enumerate(words) if word for bit in range(64) if word >> bit & 1]
