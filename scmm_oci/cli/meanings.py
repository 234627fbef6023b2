"""Names for the numbers that captures hold, where the tables have them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from scmm_oci.tables import syscalls
from scmm_oci.tables.arguments import Argument, arguments, describe


def call_name(one: dict[str, Any], native: str | None) -> str:
    """The name of the call of an item, with its ABI where that is not the machine's own; else its number.

    Args:
        one: has arch and nr; a word in the place of a number is its own name.
    """
    arch, nr = one["arch"], one["nr"]
    if isinstance(nr, str):
        return nr
    name = one.get("name") or syscalls.name_of(arch, nr) or str(nr)
    return name if arch == native and not name.isdigit() else f"{arch}:{name}"


def meaning(one: dict[str, Any], value: int) -> str:
    """A value of an argument in words, or in hexadecimal."""
    for argument in _arguments(one["arch"]).get(one["name"] or "", ()):
        if tuple(argument.indexes) == tuple(one["indexes"]) and argument.field == one["field"]:
            return describe(argument, value, arch=one["arch"])
    if len(one["indexes"]) == 2:
        return f"{_number(value >> 32)} with {_number(value & 0xFFFFFFFF)}"
    return _number(value)


def flags_of(one: dict[str, Any], native: str | None) -> str:
    """The flags of a use of a path in words: those of open(2) by name, others as a number; none as nothing."""
    if not one["flags"]:
        return ""
    if one["operation"] == "open" and native is not None:
        return meaning({"name": "openat", "indexes": (2,), "field": None, "arch": native}, one["flags"])
    return f"{one['flags']:#o}" if one["operation"] in ("open", "mknod", "access") else _number(one["flags"])


@cache
def _arguments(arch: str) -> Mapping[str, tuple[Argument, ...]]:
    return arguments(arch)


def _number(value: int) -> str:
    return str(value) if value < 10 else f"{value:#x}"
