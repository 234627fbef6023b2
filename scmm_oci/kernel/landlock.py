"""Landlock: what this process will not need is given up for good, before it reads what others wrote.

A domain is for ever and for all that the process starts from then on. Standard library only, and little of it: the
poststop hook confines itself too. Bits and numbers are those of linux/landlock.h; a unit test compares them with
scmm_oci.tables.landlock.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# LANDLOCK_ACCESS_FS_*, those that somebody here grants.
WRITE_FILE = 1 << 1
READ_FILE = 1 << 2
READ_DIR = 1 << 3
REMOVE_DIR = 1 << 4
REMOVE_FILE = 1 << 5
MAKE_DIR = 1 << 7
MAKE_REG = 1 << 8
TRUNCATE = 1 << 14

# What making an entry takes, and renaming one, by the type bits of its mode (inode(7)).
MAKES = {
    0o020000: 1 << 6,
    0o040000: MAKE_DIR,
    0o100000: MAKE_REG,
    0o140000: 1 << 9,
    0o010000: 1 << 10,
    0o060000: 1 << 11,
    0o120000: 1 << 12,
}

READ = READ_FILE | READ_DIR
# A new file under a temporary name, renamed over another in the same directory (to another one takes REFER).
REPLACE = WRITE_FILE | TRUNCATE | MAKE_REG | REMOVE_FILE

# What an ABI has beyond the one before: (ABI, rights on files, rights on ports, scopes).
_GROWTH = (
    (1, (1 << 13) - 1, 0, 0),
    (2, 1 << 13, 0, 0),
    (3, 1 << 14, 0, 0),
    (4, 0, 0b11, 0),
    (5, 1 << 15, 0, 0),
    (6, 0, 0, 0b11),
    (9, 1 << 16, 0, 0),
    (10, 0, 0b1100, 0),
)
# ACCESS_FILE of security/landlock/fs.c: what a rule for anything but a directory may have.
_OF_FILES = 1 << 0 | WRITE_FILE | READ_FILE | TRUNCATE | 1 << 15 | 1 << 16

# The same on every machine (include/uapi/asm-generic/unistd.h; x86_64 has them from the common part of its table).
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def abi() -> int:
    """Landlock's ABI of this kernel; 0 where it has none, or was started without it (landlock_create_ruleset(2))."""
    try:
        return _call(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    except OSError:
        return 0


def handled(version: int) -> tuple[int, int, int]:
    """All rights on files, rights on ports and scopes that an ABI has, as far as we know them."""
    known = [row for row in _GROWTH if row[0] <= version]
    return sum(row[1] for row in known), sum(row[2] for row in known), sum(row[3] for row in known)


def confine(rules: Iterable[tuple[str | int, int]]) -> int:
    """Leave this process, for good, with these rights on files and none on others; without TCP, and in all scopes.

    What the kernel's ABI has is given up whole: also ports, UDP's where the ABI has them, signals to processes
    outside, and abstract sockets of theirs. What is open stays open. No new privileges are had from then on.

    rules: pairs of a path and the rights on it and all that is beneath it. A path may be an open descriptor instead;
    in procfs, where files are made anew as they are looked up, that one must stay open. Links are followed. Paths that
    cannot be opened are left out, and rights that their kind of file or the ABI does not know.

    Returns the ABI, or 0 where the kernel has no Landlock: then nothing has changed. Raises OSError where it has it
    and refuses, E2BIG for one after 16 others that this process is in already.
    """
    version = abi()
    if not version:
        return 0
    rights, ports, scopes = handled(version)
    # A kernel that knows less takes what is longer as long as the rest is zero.
    attributes = struct.pack("=QQQ", rights, ports, scopes)
    ruleset = _call(_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for place, wanted in rules:
            _allow(ruleset, place, wanted & rights)
        if _libc.prctl(_PR_SET_NO_NEW_PRIVS, *(ctypes.c_ulong(word) for word in (1, 0, 0, 0))) != 0:
            raise _error("prctl(PR_SET_NO_NEW_PRIVS)")
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return version


def _allow(ruleset: int, place: str | int, rights: int) -> None:
    try:
        descriptor = place if isinstance(place, int) else os.open(place, os.O_PATH | os.O_CLOEXEC)
    except (OSError, ValueError):
        return
    try:
        if os.fstat(descriptor).st_mode & 0o170000 != 0o040000:
            rights &= _OF_FILES
        if rights:
            # struct landlock_path_beneath_attr is packed.
            _call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
    except OSError as error:
        # Pipes, memfds and the like are on no mounted file system: the kernel takes no rules for them, and asks none.
        if error.errno != errno.EBADFD:
            raise
    finally:
        if descriptor is not place:
            os.close(descriptor)


def _call(number: int, *words: int | bytes | None) -> int:
    result: int = _libc.syscall(
        ctypes.c_long(number), *(ctypes.c_long(word) if isinstance(word, int) else word for word in words)
    )
    if result < 0:
        raise _error("Landlock")
    return result


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
