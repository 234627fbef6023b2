"""A graph of tests → instructions.

Jumps of classic BPF go forward only, and conditional ones by 255 instructions at most. So the program is written from
its end: what a test leads to is there before the test is. A return that is too far away is written again, a test that
is gets a jump (JA) to it, which costs one instruction more on that way.

A word is loaded only where the accumulator does not hold it: a test can be entered before its load, before its AND, or
at its comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from scmm_oci.compiled import bpf
from scmm_oci.compiled.bpf import Instruction, Program
from scmm_oci.compiled.filter.nodes import Clear, Node, Return, Test

_FARTHEST = 255

_Inner = Test | Clear


class _Entry(IntEnum):
    """Where a test is entered, by what the accumulator holds: its word under its mask, the word, or anything else."""

    COMPARE = 0
    AND = 1
    LOAD = 2


def assemble(root: Node) -> Program:
    """The instructions, of which there may be more than a kernel takes."""
    return _Assembler(root).program()


@dataclass
class _Assembler:
    root: Node
    # From the last instruction to the first.
    _code: list[Instruction] = field(default_factory=list)
    # Where a test is entered, and where a return is, by the index in that.
    _places: dict[tuple[Node, _Entry], int] = field(default_factory=dict)
    _entered: dict[Node, set[_Entry]] = field(default_factory=dict)

    def program(self) -> Program:
        order = self._order()
        self._entered.setdefault(self.root, set()).add(_Entry.LOAD)
        for node in order:
            if not isinstance(node, Return):
                for child in _children(node):
                    self._entered.setdefault(child, set()).add(_entry(node, child))
        for node in order:
            self._write(node)
        return tuple(reversed(self._code))

    def _order(self) -> list[Node]:
        """Every node after all that it leads to; of two branches the larger first, so that the smaller is near."""
        sizes: dict[Node, int] = {}
        for node in _postorder(self.root, _children):
            sizes[node] = 1 + sum(sizes[child] for child in _children(node))
        return _postorder(self.root, lambda node: sorted(_children(node), key=lambda child: -sizes[child]))

    def _write(self, node: Node) -> None:
        if isinstance(node, Return):
            self._put(Instruction(bpf.RET, node.value))
            self._places[node, _Entry.COMPARE] = len(self._code) - 1
            return
        if isinstance(node, Clear):
            self._write_clear(node)
            return
        # The far ones first: each takes a place, and may push the other too far away.
        while not all(self._is_near(node, child) for child in (node.yes, node.no)):
            for child in (node.yes, node.no):
                if not self._is_near(node, child):
                    self._bring_near(node, child)
        here = len(self._code)
        distances = [here - self._place(node, child) - 1 for child in (node.yes, node.no)]
        self._put(Instruction(node.op, node.k, *distances))
        entries = self._entered[node]
        self._places[node, _Entry.COMPARE] = here
        if node.mask is not None and entries - {_Entry.COMPARE}:
            self._put(Instruction(bpf.AND, node.mask))
            self._places[node, _Entry.AND] = len(self._code) - 1
        self._write_load(node)

    def _write_clear(self, node: Clear) -> None:
        # What follows an AND is the next instruction: a jump there, unless it is that anyway.
        place = self._place(node, node.next)
        if place != len(self._code) - 1:
            self._put(Instruction(bpf.JA, len(self._code) - place - 1))
        self._put(Instruction(bpf.AND, node.mask))
        self._places[node, _Entry.COMPARE] = len(self._code) - 1
        self._write_load(node)

    def _write_load(self, node: _Inner) -> None:
        if _Entry.LOAD in self._entered[node]:
            self._put(Instruction(bpf.LOAD, node.offset))
            self._places[node, _Entry.LOAD] = len(self._code) - 1

    def _place(self, node: _Inner, child: Node) -> int:
        return self._places[child, _entry(node, child)]

    def _is_near(self, node: _Inner, child: Node) -> bool:
        return len(self._code) - self._place(node, child) - 1 <= _FARTHEST

    def _bring_near(self, node: _Inner, child: Node) -> None:
        place = self._place(node, child)
        here = len(self._code)
        again = isinstance(child, Return)
        self._put(self._code[place] if again else Instruction(bpf.JA, here - place - 1))
        self._places[child, _entry(node, child)] = here

    def _put(self, instruction: Instruction) -> None:
        self._code.append(instruction)


def _children(node: Node) -> tuple[Node, ...]:
    if isinstance(node, Test):
        return node.yes, node.no
    return (node.next,) if isinstance(node, Clear) else ()


def _entry(node: _Inner, child: Node) -> _Entry:
    if isinstance(child, Return):
        return _Entry.COMPARE
    if isinstance(node, Clear):
        # What is left of the word counts as the word from here on.
        return _Entry.COMPARE
    if child.offset != node.offset:
        return _Entry.LOAD
    if isinstance(child, Clear):
        return _Entry.COMPARE if node.mask is None else _Entry.LOAD
    if child.mask == node.mask:
        return _Entry.COMPARE
    return _Entry.AND if node.mask is None else _Entry.LOAD


def _postorder(root: Node, children: Callable[[Node], Sequence[Node]]) -> list[Node]:
    order: dict[Node, None] = {}
    stack: list[tuple[Node, bool]] = [(root, False)]
    while stack:
        node, done = stack.pop()
        if node in order:
            continue
        if done:
            order[node] = None
            continue
        stack.append((node, True))
        # What is put last is taken first.
        stack += [(child, False) for child in reversed(children(node)) if child not in order]
    return list(order)
