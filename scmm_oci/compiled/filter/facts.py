"""What the outcome of one test tells about others of the same word."""

from __future__ import annotations

from scmm_oci.compiled.bpf import WORD
from scmm_oci.compiled.filter.words import Atom


class Fact:
    """An atom that was found to hold, or not to."""

    __slots__ = ("_bits", "_first", "_last", "_never", "_values", "offset")

    def __init__(self, atom: Atom, holds: bool) -> None:
        self.offset = atom.offset
        # The word is from first to last; these bits of it are known; it is not this under that mask.
        self._first, self._last = 0, WORD
        self._bits, self._values = 0, 0
        self._never: tuple[int, int] | None = None
        if atom.greater:
            if holds:
                self._first = atom.k + 1
            else:
                self._last = atom.k
        elif holds:
            self._bits, self._values = atom.mask, atom.k
        elif not atom.mask & (atom.mask - 1):
            # A bit that is not this is the other.
            self._bits, self._values = atom.mask, atom.k ^ atom.mask
        else:
            self._never = (atom.mask, atom.k)
        if self._first == self._last:
            self._bits, self._values = WORD, self._first
        if self._bits:
            self._first = max(self._first, self._values)
            self._last = min(self._last, self._values | (WORD & ~self._bits))

    def reduce(self, atom: Atom) -> Atom | bool:
        """What is left to ask of an atom of the same word: nothing if the fact decides it."""
        if atom.greater:
            if self._first > atom.k:
                return True
            return False if self._last <= atom.k else atom
        mask, k = atom.mask, atom.k
        if (self._values ^ k) & self._bits & mask:
            return False
        rest = mask & ~self._bits
        if not rest:
            return True
        if self._never is not None and not self._never[0] & ~mask and k & self._never[0] == self._never[1]:
            return False
        if mask == WORD:
            # Asked whole even where some bits are known: that takes no AND.
            return atom if self._first <= k <= self._last else False
        return atom if rest == mask else Atom(atom.offset, False, rest, k & rest)
