"""Landlock's rights, scopes and flags: names, bits, and the ABI that each came with (linux/landlock.h).

Everything is written out: headers of build machines stop at the ABI of their kernel. Which ABI a kernel has is asked
of it (landlock_create_ruleset(2)), never derived from its version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from scmm_oci.errors import BadInput, unknown_value
from scmm_oci.tables.vocabulary import ACCESS_RIGHTS

NEWEST_ABI = 11

# The first release with each ABI, for messages only: vendors take more into older kernels.
_KERNELS = MappingProxyType(
    {
        1: "5.13",
        2: "5.19",
        3: "6.2",
        4: "6.7",
        5: "6.10",
        6: "6.12",
        7: "6.15",
        8: "7.0",
        9: "7.1",
        10: "7.2",
        11: "7.3",
    }
)

# LANDLOCK_ACCESS_FS_*, by bit: name → (bit, the first ABI that has it).
_FS = {
    "execute": (1 << 0, 1),
    "write_file": (1 << 1, 1),
    "read_file": (1 << 2, 1),
    "read_dir": (1 << 3, 1),
    "remove_dir": (1 << 4, 1),
    "remove_file": (1 << 5, 1),
    "make_char": (1 << 6, 1),
    "make_dir": (1 << 7, 1),
    "make_reg": (1 << 8, 1),
    "make_sock": (1 << 9, 1),
    "make_fifo": (1 << 10, 1),
    "make_block": (1 << 11, 1),
    "make_sym": (1 << 12, 1),
    "refer": (1 << 13, 2),
    "truncate": (1 << 14, 3),
    "ioctl_dev": (1 << 15, 5),
    "resolve_unix": (1 << 16, 9),
}
# LANDLOCK_ACCESS_NET_*
_NET = {
    "bind_tcp": (1 << 0, 4),
    "connect_tcp": (1 << 1, 4),
    "bind_udp": (1 << 2, 10),
    "connect_send_udp": (1 << 3, 10),
}
# LANDLOCK_SCOPE_*
_SCOPES = {"abstract_unix_socket": (1 << 0, 6), "signal": (1 << 1, 6)}
# LANDLOCK_RESTRICT_SELF_*
_RESTRICT = {
    "log_same_exec_off": (1 << 0, 7),
    "log_new_exec_on": (1 << 1, 7),
    "log_subdomains_off": (1 << 2, 7),
    "tsync": (1 << 3, 8),
    "no_new_privs": (1 << 4, 11),
}


def _bits(table: Mapping[str, tuple[int, int]]) -> Mapping[str, int]:
    return MappingProxyType({name: bit for name, (bit, _) in table.items()})


# Name → bit, in the order of the bits.
FS_RIGHTS: Mapping[str, int] = _bits(_FS)
NET_RIGHTS: Mapping[str, int] = _bits(_NET)
SCOPES: Mapping[str, int] = _bits(_SCOPES)
RESTRICT_FLAGS: Mapping[str, int] = _bits(_RESTRICT)

ALL_FS = sum(FS_RIGHTS.values())
ALL_NET = sum(NET_RIGHTS.values())
ALL_SCOPES = sum(SCOPES.values())
ALL_RESTRICT = sum(RESTRICT_FLAGS.values())

# A word of policies that stands for two rights.
_BOTH = ("remove_dir", "remove_file")


def fs_mask(names: Iterable[str]) -> int:
    """The bits of rights by the names of policies (tables.vocabulary.ACCESS_RIGHTS); ``remove`` is two of them.

    Raises:
        BadInput: a name is no right; with all that are none.
    """
    mask, bad = 0, []
    for name in names:
        if name == "remove":
            mask |= sum(FS_RIGHTS[one] for one in _BOTH)
        elif name in FS_RIGHTS:
            mask |= FS_RIGHTS[name]
        else:
            bad.append(unknown_value("", "an access right", name, ACCESS_RIGHTS))
    if bad:
        raise BadInput(bad)
    return mask


# Those that a rule for anything but a directory may have: ACCESS_FILE of security/landlock/fs.c.
FILE_RIGHTS = fs_mask(("execute", "write_file", "read_file", "truncate", "ioctl_dev", "resolve_unix"))
DIRECTORY_RIGHTS = ALL_FS & ~FILE_RIGHTS


def fs_names(mask: int) -> tuple[str, ...]:
    """The names of rights on files, in the order of their bits. Bits that are none are left out."""
    return _names(FS_RIGHTS, mask)


def net_names(mask: int) -> tuple[str, ...]:
    """The names of rights on ports, in the order of their bits. Bits that are none are left out."""
    return _names(NET_RIGHTS, mask)


def scope_names(mask: int) -> tuple[str, ...]:
    """The names of scopes, in the order of their bits. Bits that are none are left out."""
    return _names(SCOPES, mask)


def abi_of_fs(mask: int) -> int:
    """The first ABI that has all of these rights on files; 0 for none of them.

    Raises:
        ValueError: a bit is no right that we know.
    """
    return _abi(_FS, mask)


def abi_of_net(mask: int) -> int:
    """The first ABI that has all of these rights on ports; 0 for none of them.

    Raises:
        ValueError: a bit is no right that we know.
    """
    return _abi(_NET, mask)


def abi_of_scopes(mask: int) -> int:
    """The first ABI that has all of these scopes; 0 for none of them.

    Raises:
        ValueError: a bit is no scope that we know.
    """
    return _abi(_SCOPES, mask)


def fs_of_abi(abi: int) -> int:
    """All rights on files that an ABI has."""
    return _of_abi(_FS, abi)


def net_of_abi(abi: int) -> int:
    """All rights on ports that an ABI has."""
    return _of_abi(_NET, abi)


def scopes_of_abi(abi: int) -> int:
    """All scopes that an ABI has."""
    return _of_abi(_SCOPES, abi)


def restrict_of_abi(abi: int) -> int:
    """All flags of landlock_restrict_self(2) that an ABI has."""
    return _of_abi(_RESTRICT, abi)


def kernel_of(abi: int) -> str:
    """The release that brought an ABI, for messages: "Linux 6.7".

    Raises:
        KeyError: there is no such ABI, or it is newer than `NEWEST_ABI`.
    """
    return f"Linux {_KERNELS[abi]}"


def _names(table: Mapping[str, int], mask: int) -> tuple[str, ...]:
    return tuple(name for name, bit in table.items() if mask & bit)


def _abi(table: Mapping[str, tuple[int, int]], mask: int) -> int:
    rest = mask & ~sum(bit for bit, _ in table.values())
    if rest:
        raise ValueError(f"{rest:#x} is none of {', '.join(table)}")
    return max((abi for bit, abi in table.values() if mask & bit), default=0)


def _of_abi(table: Mapping[str, tuple[int, int]], abi: int) -> int:
    return sum(bit for bit, first in table.values() if first <= abi)
