"""A notification → the call in terms of its ABI, and a call → words for people and logs. Pure.

`decode` is on the way of every call that waits. `words` says no more than what was in registers and what `memory` has:
it does not look for itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache

from scmm_oci.enforcer.monitor.model import OPEN_HOW, Address, Call, Memory, signed
from scmm_oci.errors import printable
from scmm_oci.kernel.notify import Notification
from scmm_oci.tables import arguments, syscalls
from scmm_oci.tables import words as vocabulary
from scmm_oci.tables.arch import NARROW, Arch
from scmm_oci.tables.arguments import Argument
from scmm_oci.tables.operations import NAMED, O_CREAT, O_TMPFILE_BIT, file_call
from scmm_oci.tables.signatures import SIGNATURES
from scmm_oci.tables.syscalls import X32_SYSCALL_BIT

# No more characters of one path, and of all: the log has paths whole.
MOST_PATH, MOST = 256, 1024

_AT_FDCWD = -100
_LOW = 0xFFFF_FFFF
_FULL = (1 << 64) - 1
_BESIDE = (*NARROW, Arch.X32)
# Calls of ABIs of 32 bits whose arguments are those of the call without it.
_SUFFIXES = ("_time64", "64", "32", "2")
# Of these the kernel looks at as many arguments as the first one says: prctl(2), keyctl(2).
_AS_MANY = ("prctl", "keyctl")
_PR_SET_SECCOMP = 22
_SECCOMP_MODES = {1: "SECCOMP_MODE_STRICT", 2: "SECCOMP_MODE_FILTER"}  # linux/seccomp.h


def decode(notification: Notification) -> Call:
    """The call of a notification. Nothing of it is made up: what an ABI does not have has no name."""
    _, _, nr, audit, args = notification
    known = _table(audit).get(nr)
    if known is not None:
        return Call(known[0], audit, known[1], known[2], args if known[0] not in NARROW else _narrow(args))
    arch = _arch(audit, nr)
    if arch in NARROW:
        args = _narrow(args)
    return Call(arch, audit, nr & ~X32_SYSCALL_BIT if arch is Arch.X32 else nr, None, args)


def _narrow(args: tuple[int, int, int, int, int, int]) -> tuple[int, int, int, int, int, int]:
    """What such an ABI's kernel takes: above that a program of 64 bits has what it likes when it says int $0x80."""
    one, two, three, four, five, six = args
    return one & _LOW, two & _LOW, three & _LOW, four & _LOW, five & _LOW, six & _LOW


@cache
def _table(audit: int) -> Mapping[int, tuple[Arch, int, str]]:
    # Of AUDIT_ARCH values a machine has two at most.
    found: dict[int, tuple[Arch, int, str]] = {}
    for arch in Arch:
        if arch.audit == audit:
            bit = X32_SYSCALL_BIT if arch is Arch.X32 else 0
            found |= {nr | bit: (arch, nr, name) for name, nr in syscalls.numbers(arch).items()}
    return found


def _arch(audit: int, nr: int) -> Arch | None:
    """The ABI of a call without a name; -1 (a tracer's word for none) is no call of x32's, though it has the bit."""
    if audit == Arch.X86_64.audit:
        return Arch.X32 if nr & X32_SYSCALL_BIT and nr != _LOW else Arch.X86_64
    return next((arch for arch in Arch if arch.audit == audit), None)


def words(call: Call, memory: Memory | None = None) -> str:
    """A call as C would have it: ``openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC)``; one printable line.

    A call of an ABI that is not the machine's first has it before its name: ``x32 getpid()``. What `memory` does not
    have of names and addresses is a pointer. It is no longer than MOST characters.
    """
    if call.name is None or call.arch is None:
        abi = call.arch or f"{call.audit:#x}"
        return f"{abi} call {call.nr}({', '.join(map(_hexadecimal, call.args))})"
    parts = _Parts(call, memory or Memory())
    text = f"{call.name}({', '.join(parts.all())})"
    return _cut(f"{call.arch} {text}" if call.arch in _BESIDE else text, MOST)


def points(call: Call) -> bool:
    """Whether the call has names, or an address, that can be read in its program's memory."""
    if call.name is None or call.arch is None:
        return False
    known = file_call(call.arch, call.name)
    return known.kind == "address" or (known.kind in NAMED and bool(known.names))


def like(call: Call, memory: Memory | None = None) -> str:
    """What two calls have in common that are the same to who decides: all numbers but descriptors, and sizes of memory.

    Pointers stand for nothing: what they lead to can change.

    Args:
        memory: what the call will be made with, and nothing else. Its names and address are the caller's to add, by
            what they stand for; the flags of openat2 are in here.
    """
    if call.name is None or call.arch is None:
        return words(call)
    letters = _letters(call.name, narrow=call.arch in NARROW)
    parts = _Parts(call, Memory(how=memory.how if memory is not None else b"")).all()
    if letters is not None:
        for index, letter in enumerate(letters[: len(parts)]):
            # A number of memory's size, behind a pointer, is how much lies there, or where in a file.
            if letter in "dfp" or (letter == "n" and "p" in letters[:index]):
                parts[index] = "…" if parts[index] == words_of(letter, call.args[index]) else parts[index]
    return f"{call.arch} {call.name}({', '.join(parts)})"


def words_of(letter: str, value: int) -> str:
    """An argument by its kind (tables.signatures) alone."""
    return _PRINTED[letter](value)


class _Parts:
    """The arguments of one call as words."""

    def __init__(self, call: Call, memory: Memory) -> None:
        assert call.name is not None and call.arch is not None
        self._call, self._memory, self._arch = call, memory, call.arch
        self._name = call.name
        self._letters = _letters(call.name, narrow=call.arch in NARROW)
        self._known = _arguments(call.arch).get(call.name, ())
        self._file = file_call(call.arch, call.name)

    def all(self) -> list[str]:
        args = self._call.args
        count = 6 if self._letters is None else len(self._letters)
        if self._letters is None or self._name in _AS_MANY:
            while count > 1 and not args[count - 1]:
                count -= 1
        elif self._name in ("open", "openat") and not args[count - 2] & (O_CREAT | O_TMPFILE_BIT):
            count -= 1  # there is no mode then: open(2)
        found: list[str] = []
        while len(found) < count:
            found += self._at(len(found))
        return found

    def _at(self, index: int) -> list[str]:
        """The words of one argument; of two where these are one value."""
        value = self._call.args[index]
        # By name: on some ABIs of 32 bits a word of memory is what the tables have for an argument.
        for argument in self._known:
            if argument.indexes[0] == index and argument.field is None:
                return self._described(argument, index)
        named = self._file.names if self._file.kind in (*NAMED, "address") else ()
        names = [each[1] for each in named]
        if index in names:
            return [self._memorised(names.index(index), value)]
        if index == 0 and self._memory.text is not None:
            return [quoted(os.fsdecode(self._memory.text))]
        if any(index == each[0] for each in named):
            return [_descriptor(value)]
        if self._name == "openat2" and index == 2 and len(self._memory.how) >= OPEN_HOW.size:
            return [self._how()]
        if self._name == "prctl" and index == 1 and self._call.args[0] & _LOW == _PR_SET_SECCOMP:
            return [_SECCOMP_MODES.get(value) or _hexadecimal(value)]
        letter = "h" if self._letters is None else self._letters[index]
        return [_PRINTED[letter](value)]

    def _described(self, argument: Argument, index: int) -> list[str]:
        args = self._call.args
        if len(argument.indexes) == 2:
            pair = (args[argument.indexes[0]] & _LOW) << 32 | args[argument.indexes[1]] & _LOW
            return vocabulary.describe(argument, pair, arch=self._arch).split(", ")
        full = _FULL if argument.wide else _LOW
        value = args[index] & full
        text = vocabulary.describe(argument, value, arch=self._arch)
        rest = value & ~argument.mask
        if not rest:
            return [text]
        letter = self._letters[index] if self._letters is not None else "h"
        rest_words = _PRINTED[letter](rest)
        return [f"{text}|{rest_words}" if value & argument.mask else rest_words]

    def _memorised(self, place: int, value: int) -> str:
        """A name or address: what was read of it, or where it is."""
        if self._file.kind == "address":
            return address_words(self._memory.address) if self._memory.address else _pointer(value)
        paths = self._memory.paths
        path = paths[place] if place < len(paths) else None
        return _pointer(value) if path is None else quoted(os.fsdecode(path))

    def _how(self) -> str:
        flags, mode, resolve = OPEN_HOW.unpack_from(self._memory.how)
        told = {each.field: each for each in self._known}
        parts = [f"flags={vocabulary.describe(told['flags'], flags, arch=self._arch)}"]
        if mode:
            parts.append(f"mode={_mode(mode)}")
        if resolve:
            parts.append(f"resolve={vocabulary.describe(told['resolve'], resolve, arch=self._arch)}")
        return "{" + ", ".join(parts) + "}"


def address_words(address: Address) -> str:
    """``10.0.0.1:80``, ``[::1]:80``, ``unix "/run/x.sock"``, ``unix "@name"``; of other families what is known."""
    if address.family in ("inet", "inet6") and address.text is not None:
        host = f"[{address.text}]" if address.family == "inet6" else address.text
        return printable(host if address.port is None else f"{host}:{address.port}")
    text = f"{address.family} {quoted(address.text)}" if address.text is not None else f"{address.family} address"
    return text if address.port is None else f"{text}:{address.port}"


def quoted(text: str) -> str:
    """The text between quotes, in which no quote, backslash or control character stands as itself.

    Of a long one the middle is left out, and it is said how much: ``"/usr/…[3000 more]…/bin"``.
    """
    if len(text) > MOST_PATH:
        kept = MOST_PATH // 2
        left = len(text) - 2 * kept
        return f"{_escaped(text[:kept])[:-1]}…[{left} more]…{_escaped(text[-kept:])[1:]}"
    return _escaped(text)


def _escaped(text: str) -> str:
    plain = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{printable(plain)}"'


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 2]}…)"


@cache
def _letters(name: str, *, narrow: bool) -> str | None:
    letters = SIGNATURES.get(name)
    for suffix in _SUFFIXES:
        if letters is None and name.endswith(suffix):
            letters = SIGNATURES.get(name.removesuffix(suffix))
    # A long takes two registers of 32 bits, and all that follows is elsewhere.
    return None if narrow and letters is not None and "l" in letters else letters


@cache
def _arguments(arch: Arch) -> Mapping[str, tuple[Argument, ...]]:
    return arguments.arguments(arch)


def _hexadecimal(value: int) -> str:
    return f"{value:#x}" if value else "0"


def _pointer(value: int) -> str:
    return f"{value:#x}" if value else "NULL"


def _mode(value: int) -> str:
    return f"0{value & _LOW:03o}"


def _descriptor(value: int) -> str:
    number = signed(value, 32)
    return "AT_FDCWD" if number == _AT_FDCWD else str(number)


# By the letters of tables.signatures.
_PRINTED: Mapping[str, Callable[[int], str]] = {
    "d": _descriptor,
    "f": lambda value: str(signed(value, 32)),
    "i": lambda value: str(signed(value, 32)),
    "u": lambda value: str(value & _LOW),
    "x": lambda value: _hexadecimal(value & _LOW),
    "m": _mode,
    "l": lambda value: str(signed(value, 64)),
    "n": str,
    "h": _hexadecimal,
    "p": _pointer,
}
