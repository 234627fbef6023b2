"""A line of system call numbers → a tree of comparisons that asks little of the calls that are made often.

Two kinds of test find a piece of the line: ``nr >= k`` halves it, ``nr == k`` takes one number out of it, after which
its neighbours may be one piece. Each step takes the test that leaves least to ask, by the weighted entropy of what is
left. The tree is so short on the whole that a search for the best one gains less than one instruction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log2
from typing import NamedTuple

from scmm_oci.compiled.bpf import NR_OFFSET
from scmm_oci.compiled.filter.nodes import Node, Nodes, Op


class Segment(NamedTuple):
    """Numbers from first to last that lead to one node."""

    first: int
    last: int
    node: Node
    weight: float

    @property
    def is_one(self) -> bool:
        """Whether it is a single number."""
        return self.first == self.last


# What one more test costs beside what is executed, as a share of all weight: filters are to be small as well.
_SIZE = 0.1


def tree(segments: Sequence[Segment], nodes: Nodes) -> Node:
    """The first test for a number that is in one of the segments. What is in none of them cannot come."""
    line = _joined(segments)
    if len(line) == 1:
        return line[0].node
    total = sum(one.weight for one in line)
    floor = _SIZE * total or 1.0
    best = min(_choices(line, floor), key=lambda choice: choice[0])
    _, single, at = best
    if single:
        one = line[at]
        rest = [*line[:at], *line[at + 1 :]]
        return nodes.test(NR_OFFSET, Op.EQ, one.first, one.node, tree(rest, nodes))
    left, right = line[:at], line[at:]
    return nodes.test(NR_OFFSET, Op.GE, right[0].first, tree(right, nodes), tree(left, nodes))


def _joined(segments: Sequence[Segment]) -> list[Segment]:
    """The line with neighbours joined that lead to the same."""
    line: list[Segment] = []
    for one in segments:
        if line and line[-1].node is one.node:
            line[-1] = Segment(line[-1].first, one.last, one.node, line[-1].weight + one.weight)
        else:
            line.append(one)
    return line


def _choices(line: Sequence[Segment], floor: float) -> Iterator[tuple[float, bool, int]]:
    """Tests to begin with: (what is left to ask after it, whether it is for a single number, index)."""
    singles = [index for index, one in enumerate(line) if one.is_one]
    joining = [index for index in singles if _joins(line, index)]
    for some in (singles, joining):
        if some:
            at = max(some, key=lambda index: line[index].weight)
            yield _left(_joined([*line[:at], *line[at + 1 :]]), floor), True, at
    half = sum(one.weight for one in line) / 2
    reached = 0.0
    middle = len(line) - 1
    for index, one in enumerate(line[:-1], start=1):
        reached += one.weight
        if reached >= half:
            middle = index
            break
    for at in sorted({min(max(middle + by, 1), len(line) - 1) for by in (-2, -1, 0, 1, 2)}):
        yield _left(line[:at], floor) + _left(line[at:], floor), False, at


def _joins(line: Sequence[Segment], index: int) -> bool:
    """Whether the line is shorter by more than this piece without it."""
    return 0 < index < len(line) - 1 and line[index - 1].node is line[index + 1].node


def _left(line: Sequence[Segment], floor: float) -> float:
    """What is left to ask: about how many tests the calls in the line have executed for them, by their weights."""
    total = sum(one.weight for one in line)
    spread = sum(one.weight * log2(total / one.weight) for one in line if one.weight > 0) if total else 0.0
    tests = len(line) - 1
    index = 1
    while index < len(line) - 1:
        if line[index].is_one and _joins(line, index):
            tests -= 1
            index += 2
        else:
            index += 1
    return spread + tests * floor
