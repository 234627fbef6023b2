"""The bytes of a .scmm-pol file of version 2: sizes, types of sections and ids. docs/formats.md says it in words."""

from __future__ import annotations

import struct
from enum import IntEnum

from scmm_oci.tables.arch import Arch

MAGIC = b"SCMMPOL\0"
VERSION = 2

# The launcher maps the file and holds nothing else of it: these bound what it may meet.
MAX_BYTES = 64 << 20
MAX_PATHS = 1 << 18
MAX_PORT_RULES = 65535
# On the ABI with the most calls, every pair of them has room.
MAX_EDGES = 1 << 19
# More than the table that the kernel looks them up in has room for.
MAX_TRIPLES = 1 << 16
# No ABI has as many calls.
MAX_CALLS = 1 << 10

# Of offsets of sections and of the whole.
ALIGNMENT = 8


class Section(IntEnum):
    """What a section holds. Their order is the order in the file."""

    FILTER = 1
    PERMISSIVE = 2
    RULESET = 3
    PATH_RULES = 4
    PATHS = 5
    PORT_RULES = 6
    IDENTITY = 7
    TRANSITIONS = 8
    METADATA = 9
    WATCH = 10


# magic, version, size of the header, count of sections, size of the file, reserved, SHA-256 of what follows.
HEADER = struct.Struct("<8sHHIQQ32s")
# type, id, offset, length
ENTRY = struct.Struct("<IIQQ")
# flags, whether they are given, count of instructions, reserved
FILTER_HEAD = struct.Struct("<IIII")
# handled_fs, handled_net, scoped, abi, reserved
RULESET = struct.Struct("<QQQII")
# access, number of the path, on_missing, abi, plain_from
PATH_RULE = struct.Struct("<QIIII")
# count, reserved; offsets of the paths follow
PATHS_HEAD = struct.Struct("<II")
# kind, count of components
PATH_HEAD = struct.Struct("<HH")
# kind, reserved, length; the bytes follow, and zeros to a multiple of 4
COMPONENT_HEAD = struct.Struct("<BBH")
# access, first, last, abi
PORT_RULE = struct.Struct("<QHHI")
# what is given, uid, gid, reserved, capabilities
IDENTITY = struct.Struct("<IIIIQ")
# count, reserved; pairs follow
TRANSITIONS_HEAD = struct.Struct("<II")
EDGE = struct.Struct("<II")
# action, count of machines; these follow
WATCH_HEAD = struct.Struct("<II")
# id of the ABI, whether it has a serving phase, and how many serving calls, serving edges, triples and serving triples
# follow, in this order
MACHINE_HEAD = struct.Struct("<IIIIII")
SERVING_CALL = struct.Struct("<I")
TRIPLE = struct.Struct("<III")

# Words of policy.model.WatchAction; where one is, is its number.
ACTIONS = ("count", "alert", "freeze", "kill")

# Bits of what an identity gives.
HAS_UID, HAS_GID, HAS_CAPABILITIES = 1, 2, 4

# Tokens of a glob.
ANY_NUMBER, ONE, ONE_OF = 0, 1, 2
SET_BYTES = 32

# Kernels' own ABIs, by AUDIT_ARCH. No kernel's own is x32: it shares a filter with x86_64.
FILTER_IDS = {arch.audit: arch for arch in Arch if arch is not Arch.X32}

# ABIs of transitions. x32 gets what linux/audit.h would make of its machine (62), little endian (1 << 30), 32 bits.
X32_ID = 0x4000003E
TRANSITION_IDS = FILTER_IDS | {X32_ID: Arch.X32}


def transitions_id(arch: Arch) -> int:
    """The id of the section with the transitions of an ABI."""
    return X32_ID if arch is Arch.X32 else arch.audit


def padding(length: int, alignment: int = ALIGNMENT) -> int:
    """How many zero bytes follow that many bytes."""
    return -length % alignment


def is_compiled(data: bytes) -> bool:
    """Whether the bytes are a compiled policy's, of any version, good or bad: they begin with its magic."""
    return data.startswith(MAGIC)
