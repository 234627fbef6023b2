"""Names of argument values: a number to what a person writes, and back. From data/vocabulary.json.

A vocabulary is an enumeration, or a word of flags, some of whose bits may be a number of their own (the access mode of
open, the signal of clone). tools/make_vocabulary.py makes the data.
"""

from __future__ import annotations

import os

from scmm_oci import quickjson
from scmm_oci.tables.syscalls import ARCHES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from scmm_oci.tables.arguments import Argument

_LEVELS = "option_levels"
_DIGITS = {10: "0123456789", 8: "01234567", 16: "0123456789abcdef"}
# The bits of MAP_HUGE_SHIFT and its kin (asm-generic/hugetlb_encode.h), and of _IOC() (asm-generic/ioctl.h).
_HUGE_SHIFT = 26
_DIRECTIONS = {"_IOC_NONE": 0, "_IOC_WRITE": 1, "_IOC_READ": 2, "_IOC_READ|_IOC_WRITE": 3, "_IOC_WRITE|_IOC_READ": 3}

_documents: list[dict[str, Any]] = []
_cache: dict[tuple[str, str], _Words] = {}


class _Words:
    """A vocabulary on one architecture.

    Attributes:
        values: every name → value.
        names: value → the name that is printed.
        fields: masks of the bits that are numbers.
        last: whether those are printed after the flags.
        flags: (bits, name) of what is printed outside of fields, those of many bits first.
    """

    __slots__ = ("fields", "flags", "last", "names", "values")

    def __init__(self, values: dict[str, int], *, fields: tuple[int, ...], last: bool) -> None:
        self.values = values
        self.fields = fields
        self.last = last
        self.names: dict[int, str] = {}
        for name, value in values.items():
            self.names.setdefault(value, name)
        single = 0
        for value in self.names:
            if value.bit_count() == 1 or any(value & ~mask == 0 for mask in fields):
                single |= value
        # Names for several flags that have names of their own (IN_CLOSE) are understood, not printed.
        self.flags = [
            (value, name)
            for value, name in self.names.items()
            if not any(value & ~mask == 0 for mask in fields) and (value.bit_count() == 1 or value & ~single)
        ]
        self.flags.sort(key=lambda item: (-item[0].bit_count(), item[0]))


def check_arch(arch: str) -> None:
    """Raises BadInput if the architecture is not known."""
    if arch not in ARCHES:
        from scmm_oci.errors import BadInput, unknown_value

        raise BadInput([unknown_value("", "an architecture", arch, ARCHES)])


def _document() -> dict[str, Any]:
    if not _documents:
        with open(os.path.join(os.path.dirname(__file__), "data", "vocabulary.json"), "rb") as file:
            _documents.append(quickjson.loads(file.read()))
    return _documents[0]


def _words(vocabulary: str, arch: str) -> _Words:
    words = _cache.get((vocabulary, arch))
    if words is None:
        check_arch(arch)
        entry = _document()["vocabularies"][vocabulary]
        values: dict[str, int] = dict(entry["values"])
        for name, value in entry.get("arches", {}).get(arch, {}).items():
            if name == "*":
                values.clear()
            elif value is None:
                values.pop(name, None)
            else:
                values[name] = value
        words = _cache[vocabulary, arch] = _Words(
            values, fields=tuple(entry.get("fields", ())), last=entry.get("last", False)
        )
    return words


def names(vocabulary: str, *, arch: str = "x86_64") -> Mapping[str, int]:
    """Name → value of a vocabulary. Several names may have one value. Not to be changed.

    Raises:
        KeyError: there is no such vocabulary. Pairs have none; see `options`.
        BadInput: the architecture is not known.
    """
    return _words(vocabulary, arch).values


def fields(vocabulary: str, *, arch: str) -> tuple[int, ...]:
    """The masks of the bits that are numbers of their own among the flags of a vocabulary.

    Raises:
        KeyError: there is no such vocabulary.
        BadInput: the architecture is not known.
    """
    return _words(vocabulary, arch).fields


def options(vocabulary: str, level: int, *, arch: str) -> Mapping[str, int]:
    """Name → value of the socket options of a level, by the vocabulary of a pair. Empty for a level without names.

    Raises:
        KeyError: no pair has such a vocabulary.
        BadInput: the architecture is not known.
    """
    found: dict[str, int] = {}
    for part in _document()["pairs"][vocabulary].get(str(level), ()):
        found.update(_words(part, arch).values)
    return found


def describe(argument: Argument, value: int, *, arch: str) -> str:
    """A value as C would have it: ``AF_INET``, ``O_RDONLY|O_CLOEXEC|0x40000000``, ``SOL_SOCKET, SO_REUSEADDR``.

    What has no name is hexadecimal. Bits outside of the argument's mask are left out.

    Raises:
        BadInput: the architecture is not known.
    """
    value &= argument.mask
    if len(argument.indexes) == 2:
        level, option = value >> 32, value & 0xFFFF_FFFF
        first = _words(_LEVELS, arch).names.get(level)
        second = next((n for n, v in options(argument.vocabulary, level, arch=arch).items() if v == option), None)
        return f"{first or _number(level)}, {second or _number(option)}"
    words = _words(argument.vocabulary, arch)
    if argument.kind == "enum":
        return words.names.get(value) or _number(value)
    # personality(2): this asks what there is, and sets nothing.
    if value == 0xFFFF_FFFF and not argument.wide:
        return _number(value)
    return _flags(words, value)


def _flags(words: _Words, value: int) -> str:
    if not value:
        return words.names.get(0, "0")
    parts, rest = [], value
    for mask in words.fields:
        name = words.names.get(value & mask)
        # The name for zero belongs to the first field: O_RDONLY.
        if name and (value & mask or mask == words.fields[0]):
            parts.append(name)
            rest &= ~mask
    flags = []
    for bits, name in words.flags:
        if bits and rest & bits == bits:
            flags.append((bits, name))
            rest &= ~bits
    named = [name for _, name in sorted(flags)]
    parts = [*named, *parts] if words.last else [*parts, *named]
    if rest:
        parts.append(_number(rest))
    return "|".join(parts)


def _number(value: int) -> str:
    return f"{value:#x}" if value else "0"


def value_of(argument: Argument, text: str, *, arch: str) -> int | None:
    """The value that `describe` or strace(1) writes so, or None. Bits outside of the argument's mask are left out.

    Of strace's forms it knows names and numbers joined by ``|``, ``QCMD(…)``, ``_IOC(…)``, ``21<<MAP_HUGE_SHIFT``
    and ``A or B``. Its comments (``/* … */``) are for the caller to strip.

    Raises:
        BadInput: the architecture is not known.
    """
    if len(argument.indexes) == 2:
        first, comma, second = text.partition(",")
        level = _sum(first, _words(_LEVELS, arch).values, 32)
        if level is None or not comma:
            return None
        option = _sum(second, options(argument.vocabulary, level, arch=arch), 32)
        return None if option is None else level << 32 | option
    text = text.strip()
    if text.startswith("QCMD(") and text.endswith(")"):
        text = text[5:-1].replace(",", "|")
    known = _words(argument.vocabulary, arch).values
    bits = 64 if argument.wide else 32
    value = _control(text, arch) if text.startswith("_IOC(") else _sum(text, known, bits)
    return None if value is None else value & argument.mask


def _sum(text: str, known: Mapping[str, int], bits: int) -> int | None:
    total = 0
    for part in text.split("|"):
        found = [number for word in part.split(" or ") if (number := _word(word.strip(), known, bits)) is not None]
        if not found:
            return None
        total |= found[0]
    return total


def _word(word: str, known: Mapping[str, int], bits: int) -> int | None:
    if word in known:
        return known[word]
    if word == "O_ACCMODE" and "O_RDWR" in known:
        return 3  # strace's word for it, which in C is a mask
    number, shift, by = word.partition("<<")
    if shift:
        value = _integer(number, bits)
        return value << _HUGE_SHIFT if value is not None and value < 64 and by.endswith("_HUGE_SHIFT") else None
    return _integer(word, bits)


def _integer(word: str, bits: int) -> int | None:
    # C's notation; int() would also take 1_000, other scripts' digits and spaces.
    digits = word.removeprefix("-").lower()
    base = 16 if digits.startswith("0x") else 8 if digits.startswith("0") and len(digits) > 1 else 10
    digits = digits.removeprefix("0x") if base == 16 else digits
    if not digits or len(digits) > 24 or digits.strip(_DIGITS[base]):
        return None
    value = int(digits, base)
    if word.startswith("-"):
        return (1 << bits) - value if 0 < value <= 1 << (bits - 1) else None if value else 0
    return value if value < 1 << bits else None


def _control(text: str, arch: str) -> int | None:
    # powerpc has other bits for directions and sizes.
    parts = [part.strip() for part in text.removeprefix("_IOC(").removesuffix(")").split(",")]
    if len(parts) != 4 or parts[0] not in _DIRECTIONS or arch == "ppc64le":
        return None
    kind, number, size = (_integer(part, 14) for part in parts[1:])
    if kind is None or number is None or size is None or kind > 0xFF or number > 0xFF:
        return None
    return _DIRECTIONS[parts[0]] << 30 | size << 16 | kind << 8 | number
