"""Lines of numbers that have much in common share tests.

- From 424 on (Linux 5.1) calls have the same numbers on all architectures: what is answered alike there is one tree.
- x32's numbers are x86_64's with a bit set, but for some. So x32 asks for those, clears the bit, and goes on as x86_64.
"""

from __future__ import annotations

from collections.abc import Sequence

from scmm_oci.compiled.bpf import NR_OFFSET, WORD
from scmm_oci.compiled.filter.nodes import Node, Nodes, Op
from scmm_oci.compiled.filter.numbers import Segment, tree
from scmm_oci.tables.probes import UNIFIED_FROM
from scmm_oci.tables.syscalls import X32_SYSCALL_BIT

# The share of all that is still to come, from which on a number is asked for first.
_OFTEN = 0.2

# Numbers with this bit are negative ones.
_SIGN = 1 << 31


class Lines:
    """Builds the trees of all machines of a filter."""

    def __init__(self, nodes: Nodes, *, alone: bool) -> None:
        """``alone``: no other machine's line comes to share anything."""
        self._nodes = nodes
        self._alone = alone
        self._tails: dict[tuple[tuple[int, int], ...], Node] = {}

    def node(self, line: Sequence[Segment]) -> Node:
        """The first test of a machine's number."""
        first, rest = _taken_out(line)
        node = self._rest(line, rest)
        for one in reversed(first):
            node = self._nodes.test(NR_OFFSET, Op.EQ, one.first, one.node, node)
        return node

    def _rest(self, whole: Sequence[Segment], line: Sequence[Segment]) -> Node:
        """The tree for a line less the numbers that were taken out of the whole one."""
        low, high = _halves(line)
        if not _are_alike(low, high):
            return tree(line, self._nodes) if self._alone else self._split(line)
        head, tail = _cut(low, UNIFIED_FROM)
        lower, upper = tree(head, self._nodes), self._tail(tail)
        everything, _ = _halves(whole)
        rest = tree(_differences(everything, low, high, lower, upper), self._nodes)
        x32 = self._nodes.clear(NR_OFFSET, WORD & ~X32_SYSCALL_BIT, rest)
        above = self._nodes.test(NR_OFFSET, Op.GE, X32_SYSCALL_BIT, x32, upper)
        return self._nodes.test(NR_OFFSET, Op.GE, UNIFIED_FROM, above, lower)

    def _split(self, line: Sequence[Segment]) -> Node:
        head, tail = _cut(line, UNIFIED_FROM)
        return self._nodes.test(NR_OFFSET, Op.GE, UNIFIED_FROM, self._tail(tail), tree(head, self._nodes))

    def _tail(self, tail: Sequence[Segment]) -> Node:
        # Weights may differ from machine to machine; the first one's serve.
        key = tuple((one.first, id(one.node)) for one in tail)
        if key not in self._tails:
            self._tails[key] = tree(tail, self._nodes)
        return self._tails[key]


def _taken_out(line: Sequence[Segment]) -> tuple[list[Segment], list[Segment]]:
    """The single numbers that are asked for before anything else, in that order, and the line without them.

    One more test on the way of all others pays for a number that comes so often: its own way is shorter by about
    four.
    """
    rest = list(line)
    first: list[Segment] = []
    total = sum(one.weight for one in line)
    for one in sorted((one for one in line if one.is_one), key=lambda one: (-one.weight, one.first)):
        if one.weight < _OFTEN * total or len(rest) == 1:
            break
        first.append(one)
        rest.remove(one)
        total -= one.weight
    return first, rest


def _halves(line: Sequence[Segment]) -> tuple[list[Segment], list[Segment]]:
    """What is below the bit of x32, and what has it or is above: the latter less that bit."""
    low, high = _cut(line, X32_SYSCALL_BIT)
    shifted = [one._replace(first=one.first - X32_SYSCALL_BIT, last=one.last - X32_SYSCALL_BIT) for one in high]
    return low, shifted


def _cut(line: Sequence[Segment], at: int) -> tuple[list[Segment], list[Segment]]:
    below = [one._replace(last=min(one.last, at - 1)) for one in line if one.first < at]
    above = [one._replace(first=max(one.first, at)) for one in line if one.last >= at]
    return below, above


def _are_alike(low: Sequence[Segment], high: Sequence[Segment]) -> bool:
    """Whether x32 is a variety of x86_64 here, and nothing is lost with the bit: negative numbers go where both end."""
    rest = {id(one.node) for one in high if one.last >= _SIGN - X32_SYSCALL_BIT}
    is_some = len({id(one.node) for one in low}) > 1 and len({id(one.node) for one in high}) > 1
    return is_some and rest == {id(low[-1].node)}


def _differences(
    everything: Sequence[Segment], low: Sequence[Segment], high: Sequence[Segment], lower: Node, upper: Node
) -> list[Segment]:
    """x32's line, with x86_64's trees where both answer alike.

    Args:
        everything: x86_64's line, with the numbers that its trees leave out.
    """
    there = {one.first for one in low}
    bounds = sorted({one.first for one in (*everything, *high)} | {UNIFIED_FROM})
    found = []
    for first, following in zip(bounds, [*bounds[1:], WORD + 1], strict=True):
        one, other = _at(high, first), _at(everything, first)
        size = min(following, one.last + 1) - first
        weight = one.weight * size / (one.last - one.first + 1)
        is_same = one.node is other.node and not (other.is_one and other.first not in there)
        node = (lower if first < UNIFIED_FROM else upper) if is_same else one.node
        found.append(Segment(first, following - 1, node, weight))
    return found


def _at(line: Sequence[Segment], number: int) -> Segment:
    return next((one for one in line if one.first <= number <= one.last), line[-1])
