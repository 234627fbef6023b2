"""A system call in words → what a filter sees of it: which ABI, which number, and what is known of its arguments. Pure.

Called by ``scmm explain``; compiled.verify makes the same of recorded calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scmm_oci.compiled.bpf import WORD, ByteOrder, Call
from scmm_oci.compiled.ways import Known
from scmm_oci.errors import BadInput, Problem, short, unknown_value
from scmm_oci.policy import constraints
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import NARROW, Arch
from scmm_oci.tables.syscalls import X32_SYSCALL_BIT

_BIG_ENDIAN = (Arch.S390X, Arch.S390)
_MOST_ARGUMENTS = 6
_FULL = (1 << 64) - 1


@dataclass(frozen=True)
class Question:
    """A call that is asked about.

    Attributes:
        nr: as a filter sees it: of x32 with its bit, -1 as 0xFFFFFFFF.
        name: None where the ABI has no such call.
        args: unsigned values by place; None where one is not known. Those beyond the last are not known either.
    """

    arch: Arch
    nr: int
    name: str | None
    args: tuple[int | None, ...] = ()

    @property
    def call(self) -> Call:
        """The call, without its arguments."""
        return bare_call(self.arch, self.nr)

    @property
    def known(self) -> Known:
        """What is known of its arguments."""
        found = {index: (value, _FULL) for index, value in enumerate(self.args) if value is not None}
        return {**high_words(self.arch), **found}


def bare_call(arch: Arch, nr: int) -> Call:
    """A call as a filter sees it, with arguments of 0. nr: with x32's bit."""
    return Call(nr, arch.audit, byte_order=byte_order(arch))


def byte_order(arch: Arch) -> ByteOrder:
    """In which order the kernel of an ABI has the words of arguments."""
    return "big" if arch in _BIG_ENDIAN else "little"


def high_words(arch: Arch) -> Known:
    """What is known of any arguments: on ABIs with registers of 32 bits nothing stands above those."""
    return dict.fromkeys(range(_MOST_ARGUMENTS), (0, _FULL ^ WORD)) if arch in NARROW else {}


def question(word: str, args: Sequence[str], arch: Arch) -> Question:
    """The call that was asked about.

    Args:
        word: its name, or its number in C's notation; x32's may have its bit, and is of x32 on x86_64 if it has.
        args: its arguments in order: numbers in C's notation, words of their vocabularies joined by ``|``, or ``-``
            for one that is not known.
        arch: the ABI.

    Raises:
        BadInput: with all that is wrong.
    """
    found: list[Problem] = []
    arch, nr, name = _call(word, arch, found)
    if len(args) > _MOST_ARGUMENTS:
        found.append(Problem("ARGS", f"{len(args)} arguments were given; a call has {_MOST_ARGUMENTS} at most"))
    values = []
    for index, text in enumerate(args[:_MOST_ARGUMENTS]):
        values.append(None if text == "-" else _value(index, text, name, arch, found))
    if found:
        raise BadInput(found)
    return Question(arch, nr, name, tuple(values))


def number(text: str, bits: int) -> int | None:
    """A number in C's notation (10, 0x1f, 017, -1), or in YAML's octal (0o17); what is negative as C has it in bits."""
    digits = text.removeprefix("-").lower()
    if not digits[:1].isdigit() or not digits.isascii() or "_" in digits or len(digits) > 24:
        return None
    octal = len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()
    try:
        value = int(digits, 8 if octal else 0)
    except ValueError:
        return None
    if text.startswith("-") and value:
        return (1 << bits) - value if value <= 1 << (bits - 1) else None
    return value if value < 1 << bits else None


def _call(word: str, arch: Arch, found: list[Problem]) -> tuple[Arch, int, str | None]:
    nr = number(word, 32)
    if nr is not None:
        if arch is Arch.X86_64 and nr & X32_SYSCALL_BIT and nr != WORD:
            arch = Arch.X32
        elif arch is Arch.X32 and nr != WORD:
            nr |= X32_SYSCALL_BIT
        return arch, nr, syscalls.name_of(arch, nr) if nr != WORD else None
    known = syscalls.number_of(arch, word)
    if known is not None:
        return arch, known, word
    others = [other for other in Arch if word in syscalls.numbers(other)]
    if word.startswith("@"):
        hint = "`scmm groups @GROUP` lists the calls of one"
        found.append(Problem("NAME", f"{short(word)} is a group, and a call is wanted", hint))
    elif number(word, 64) is not None:
        found.append(Problem("NAME", f"{short(word)} has more than the 32 bits of a system call's number"))
    elif others:
        hint = f"--arch {' or '.join(others)} has it"
        found.append(Problem("NAME", f"{short(word)} is not a system call of {arch}", hint))
    else:
        found.append(unknown_value("NAME", f"a system call of {arch}", word, sorted(syscalls.numbers(arch))))
    return arch, 0, None


def _value(index: int, text: str, name: str | None, arch: Arch, found: list[Problem]) -> int | None:
    place = f"argument {index}"
    wide = 32 if arch in NARROW else 64
    argument = constraints.argument_of(name, index, arch) if name is not None else None
    pair = constraints.is_pair(name, index, arch) if name is not None else None
    # Of an int that is negative, C sets the low half: that is what a filter sees where nothing extends it.
    bits = 32 if pair is not None or (argument is not None and not argument.wide) else wide
    value = number(text, bits if text.startswith("-") else wide)
    if value is None and name is not None:
        value = constraints.value_of(name, index, text, arch)
    if value is not None and value < 1 << wide:
        return value
    known = constraints.known_words(name, index, arch) if name is not None else []
    if number(text, 64) is not None or value is not None:
        found.append(Problem(place, f"{short(text)} has more than the {wide} bits of a register of {arch}"))
    elif name is not None and not known:
        hint = "no words are known for it; a filter does not see what an address points to, and - stands for any value"
        found.append(Problem(place, f"{short(text)} is not a number", hint))
    else:
        what = f"a value of argument {index} of {name or 'that call'}, nor a number"
        found.append(unknown_value(place, what, text, known))
    return None
