"""A filter as a graph of tests without instructions: what is the same is there once.

Tests look at 32-bit words of ``struct seccomp_data``, as the instructions of classic BPF do.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from scmm_oci.compiled import bpf


class Op(IntEnum):
    """A comparison of a word with a number: the code of the jump that makes it."""

    EQ = bpf.JEQ
    GT = bpf.JGT
    GE = bpf.JGE
    SET = bpf.JSET


@dataclass(frozen=True, slots=True, eq=False)
class Return:
    """The end: what the filter returns."""

    value: int


@dataclass(frozen=True, slots=True, eq=False)
class Test:
    """``(word & mask) op k``, and where to go. ``mask`` None takes the word as it is.

    Attributes:
        offset: of the word in struct seccomp_data.
    """

    offset: int
    mask: int | None
    op: Op
    k: int
    yes: Node
    no: Node


@dataclass(frozen=True, slots=True, eq=False)
class Clear:
    """Only the bits of ``mask`` of a word that the accumulator holds, for tests of that word that follow."""

    offset: int
    mask: int
    next: Test


Node = Return | Test | Clear


class Nodes:
    """Makes nodes, one for each that differs; a test whose branches are the same is no test."""

    def __init__(self) -> None:
        self._returns: dict[int, Return] = {}
        self._tests: dict[tuple[int, int | None, Op, int, int, int], Test] = {}
        self._clears: dict[tuple[int, int, int], Clear] = {}

    def __len__(self) -> int:
        return len(self._tests)

    def ret(self, value: int) -> Return:
        """The end that returns a value."""
        return self._returns.setdefault(value, Return(value))

    def test(self, offset: int, op: Op, k: int, yes: Node, no: Node, *, mask: int | None = None) -> Node:
        """A test, or where both of its branches go."""
        if yes is no:
            return yes
        key = (offset, mask, op, k, id(yes), id(no))
        found = self._tests.get(key)
        if found is None:
            found = self._tests[key] = Test(offset, mask, op, k, yes, no)
        return found

    def clear(self, offset: int, mask: int, following: Node) -> Node:
        """Tests of a word less some of its bits; the word is loaded where this is entered."""
        if not isinstance(following, Test):
            return following
        return self._clears.setdefault((offset, mask, id(following)), Clear(offset, mask, following))
