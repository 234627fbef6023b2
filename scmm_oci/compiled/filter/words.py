"""Comparisons of 64-bit arguments, in terms of the 32-bit words that a filter can load."""

from __future__ import annotations

from typing import NamedTuple

from scmm_oci.compiled.bpf import ARGS_OFFSET, WORD, ByteOrder
from scmm_oci.policy.constraints import Test
from scmm_oci.policy.model import Operator


class Atom(NamedTuple):
    """``(word & mask) == k``; or, if ``greater``, ``word > k``."""

    offset: int
    greater: bool
    mask: int
    k: int


class Literal(NamedTuple):
    """An atom that must hold, or must not."""

    atom: Atom
    holds: bool


# All must hold.
Conjunction = tuple[Literal, ...]
# One must hold: what one comparison of an argument comes to.
Clause = tuple[Conjunction, ...]


def offsets(arg: int, byte_order: ByteOrder) -> tuple[int, int]:
    """Where the low and the high word of an argument are in struct seccomp_data."""
    first = ARGS_OFFSET + 8 * arg
    return (first, first + 4) if byte_order == "little" else (first + 4, first)


def clause(test: Test, byte_order: ByteOrder) -> Clause:
    """The ways in which a comparison can hold. No way: it never does; an empty one: it always does."""
    low, high = offsets(test.arg, byte_order)
    value = test.value
    match test.op:
        case Operator.EQ | Operator.MASKED_EQ:
            return _equal(low, high, value, test.mask)
        case Operator.NE:
            return _unequal(low, high, value, test.mask)
        case Operator.GT:
            return _greater(low, high, value)
        case Operator.GE:
            return _greater(low, high, value - 1) if value else ((),)
        case Operator.LE:
            return _at_most(low, high, value)
    return _at_most(low, high, value - 1) if value else ()


def _words(low: int, high: int, value: int, mask: int) -> list[Atom]:
    atoms = []
    if mask >> 32:
        atoms.append(Atom(high, False, mask >> 32, value >> 32))
    if mask & WORD:
        atoms.append(Atom(low, False, mask & WORD, value & WORD))
    return atoms


def _equal(low: int, high: int, value: int, mask: int) -> Clause:
    if value & ~mask:
        return ()
    return (tuple(Literal(atom, True) for atom in _words(low, high, value, mask)),)


def _unequal(low: int, high: int, value: int, mask: int) -> Clause:
    if value & ~mask:
        return ((),)
    atoms = _words(low, high, value, mask)
    before = [Literal(atom, True) for atom in atoms]
    return tuple((*before[:index], Literal(atom, False)) for index, atom in enumerate(atoms))


def _greater(low: int, high: int, value: int) -> Clause:
    top, rest = value >> 32, value & WORD
    same = Literal(Atom(high, False, WORD, top), True)
    above: Clause = ((Literal(Atom(high, True, WORD, top), True),),) if top < WORD else ()
    # No word is greater than the greatest.
    return (*above, (same, Literal(Atom(low, True, WORD, rest), True))) if rest < WORD else above


def _at_most(low: int, high: int, value: int) -> Clause:
    top, rest = value >> 32, value & WORD
    if rest == WORD:
        return ((Literal(Atom(high, True, WORD, top), False),),) if top < WORD else ((),)
    same = Literal(Atom(high, False, WORD, top), True)
    equal = (same, Literal(Atom(low, True, WORD, rest), False))
    return ((Literal(Atom(high, True, WORD, top - 1), False),), equal) if top else (equal,)
