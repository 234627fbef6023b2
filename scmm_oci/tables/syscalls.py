"""System call names and numbers for each architecture, from data files made by tools/make_tables.py.

The OCI hooks import this module on every container start, so it loads nothing but ``os``, and one small file per
architecture when that is asked for. Numbers never come from the machine it runs on.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# <asm/unistd.h> on x86: numbers of the x32 ABI are entered with this bit set; the tables hold them without it.
X32_SYSCALL_BIT = 0x40000000

# Values of tables.arch.Arch, written out: importing enum is too dear here. A unit test compares the two.
ARCHES = ("x86_64", "x86", "x32", "aarch64", "arm", "riscv64", "s390x", "s390", "ppc64le")

_DATA = os.path.join(os.path.dirname(__file__), "data")
_tables: dict[str, dict[str, int]] = {}
_reverse: dict[str, dict[int, str]] = {}


def numbers(arch: str) -> Mapping[str, int]:
    """Name → number of every system call of an architecture, x32's without the x32 bit. Not to be changed.

    Raises:
        BadInput: the architecture is not in ``ARCHES``.
    """
    table = _tables.get(arch)
    if table is None:
        if arch not in ARCHES:
            from scmm_oci.errors import BadInput, unknown_value

            raise BadInput([unknown_value("", "an architecture", arch, ARCHES)])
        from scmm_oci import quickjson

        with open(f"{_DATA}/syscalls.{arch}.json", "rb") as file:
            table = quickjson.loads(file.read())["syscalls"]
        _tables[arch] = table
    return table


def name_of(arch: str, nr: int) -> str | None:
    """The name of a number, or None. A number of x32 may have the x32 bit or not.

    Raises:
        BadInput: the architecture is not known.
    """
    names = _reverse.get(arch)
    if names is None:
        names = _reverse[arch] = {number: name for name, number in numbers(arch).items()}
    return names.get(nr & ~X32_SYSCALL_BIT if arch == "x32" else nr)


def number_of(arch: str, name: str) -> int | None:
    """The number that a filter sees in ``seccomp_data.nr`` (so x32's with the x32 bit), or None.

    Raises:
        BadInput: the architecture is not known.
    """
    number = numbers(arch).get(name)
    return number | X32_SYSCALL_BIT if number is not None and arch == "x32" else number


def all_names() -> frozenset[str]:
    """Every name that some architecture has."""
    return frozenset().union(*(numbers(arch) for arch in ARCHES))
