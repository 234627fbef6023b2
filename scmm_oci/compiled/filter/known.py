"""What tests on the way to a place in a filter have shown of the words that they looked at."""

from __future__ import annotations

from dataclasses import dataclass, replace

from scmm_oci.compiled.bpf import WORD
from scmm_oci.compiled.filter.words import Atom


@dataclass(frozen=True, slots=True)
class Known:
    """Of one word: it is from ``first`` to ``last``, and the bits of ``mask`` are those of ``value``.

    Attributes:
        never: (mask, value) pairs that were found not to hold.
    """

    first: int = 0
    last: int = WORD
    mask: int = 0
    value: int = 0
    never: frozenset[tuple[int, int]] = frozenset()

    def reduce(self, atom: Atom) -> Atom | bool:
        """What is left to ask of an atom: nothing if what is known decides it."""
        if atom.greater:
            if self.first > atom.k:
                return True
            return False if self.last <= atom.k else atom
        if self.first == self.last:
            return self.first & atom.mask == atom.k
        if (self.value ^ atom.k) & self.mask & atom.mask:
            return False
        if atom.mask == WORD:
            # Asked whole even where some bits are known: that takes no AND.
            outside = not self.first <= atom.k <= self.last
            return False if outside or self._excluded(atom) else atom
        rest = atom.mask & ~self.mask
        if not rest:
            return True
        if self._excluded(atom):
            return False
        return Atom(atom.offset, False, rest, atom.k & rest)

    def _excluded(self, atom: Atom) -> bool:
        return any(not mask & ~atom.mask and atom.k & mask == value for mask, value in self.never)

    def with_atom(self, atom: Atom, holds: bool) -> Known:
        """What is known once the atom was found to hold, or not to."""
        if atom.greater:
            return replace(self, first=max(self.first, atom.k + 1)) if holds else replace(self, last=atom.k)
        if holds:
            if atom.mask == WORD:
                return Known(atom.k, atom.k)
            return replace(self, mask=self.mask | atom.mask, value=self.value & ~atom.mask | atom.k)
        if atom.mask == WORD and atom.k == self.first:
            return replace(self, first=self.first + 1)
        if atom.mask == WORD and atom.k == self.last:
            return replace(self, last=self.last - 1)
        bit = atom.mask & -atom.mask
        if bit == atom.mask:
            # One bit that is not this is the other.
            return replace(self, mask=self.mask | bit, value=self.value & ~bit | (bit ^ atom.k))
        return replace(self, never=self.never | {(atom.mask, atom.k)})
