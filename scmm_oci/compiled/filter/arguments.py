"""What a call is answered by its arguments → tests of words, each asked at most once on every way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import product

from scmm_oci.compiled.bpf import MAX_INSTRUCTIONS, WORD
from scmm_oci.compiled.filter.known import Known
from scmm_oci.compiled.filter.nodes import Node, Nodes, Op
from scmm_oci.compiled.filter.plan import Case, Decision, Machine
from scmm_oci.compiled.filter.words import Atom, Conjunction, Literal, expand, offsets
from scmm_oci.errors import BadInput, Problem

# More numbers than these that a word is compared with are halved first.
_CHAIN = 5
# Nested tests beyond this are none that a person wrote.
_DEEPEST = 200

_Cases = tuple[tuple[Conjunction, int], ...]
_Facts = dict[int, Known]


class Arguments:
    """Builds the part of a filter that looks at arguments, for one machine."""

    def __init__(self, machine: Machine, nodes: Nodes) -> None:
        self._machine = machine
        self._nodes = nodes
        self._done: dict[object, Node] = {}
        self._start: _Facts = {}
        if machine.bits == 32:
            # The kernel zero-extends what a 32-bit program passes.
            self._start = {offsets(arg, machine.byte_order)[1]: Known(0, 0) for arg in range(6)}

    def node(self, decision: Decision) -> Node:
        """The first test of a decision, or what it returns.

        Raises:
            BadInput: it needs more tests than a filter can have.
        """
        cases = tuple((way, case.value) for case in decision for way in self._ways(case))
        return self._build(cases, self._start, 0)

    def _ways(self, case: Case) -> Iterator[Conjunction]:
        parts = [expand(test, self._machine.byte_order) for test in case.tests]
        for chosen in product(*parts):
            yield tuple(literal for conjunction in chosen for literal in conjunction)

    def _build(self, cases: _Cases, facts: _Facts, depth: int) -> Node:
        if depth > _DEEPEST or len(self._nodes) > MAX_INSTRUCTIONS:
            raise BadInput([Problem("", f"its constraints need more than {MAX_INSTRUCTIONS} tests")])
        chain: list[tuple[object, Atom, Node]] = []
        while True:
            cases = _reduced(cases, facts)
            if not cases[0][0]:
                node: Node = self._nodes.ret(cases[0][1])
                break
            used = {literal.atom.offset for conjunction, _ in cases for literal in conjunction}
            key: object = (cases, frozenset((offset, facts[offset]) for offset in used if offset in facts))
            if key in self._done:
                node = self._done[key]
                break
            atom = self._next(cases)
            before = facts.get(atom.offset, Known())
            with_it = self._build(cases, {**facts, atom.offset: before.with_atom(atom, True)}, depth + 1)
            chain.append((key, atom, with_it))
            facts = {**facts, atom.offset: before.with_atom(atom, False)}
        for made, atom, with_it in reversed(chain):
            node = self._done[made] = self._test(atom, with_it, node)
        return node

    def _next(self, cases: _Cases) -> Atom:
        """What to ask first: of the first case, what most cases ask; of a word that is compared with much, its half."""
        counts = Counter(atom for conjunction, _ in cases for atom in {literal.atom for literal in conjunction})
        # Where nothing else tells, the low word: high words are 0 as a rule.
        low = offsets(0, self._machine.byte_order)[0] % 8
        atom = max(
            (literal.atom for literal in cases[0][0]), key=lambda atom: (counts[atom], atom.offset % 8 == low, atom)
        )
        if atom.greater or atom.mask != WORD:
            return atom
        asked = (literal.atom for conjunction, _ in cases for literal in conjunction)
        numbers = sorted({one.k for one in asked if one.offset == atom.offset and not one.greater and one.mask == WORD})
        if len(numbers) <= _CHAIN:
            return atom
        return Atom(atom.offset, True, WORD, numbers[len(numbers) // 2 - 1])

    def _test(self, atom: Atom, yes: Node, no: Node) -> Node:
        if atom.greater:
            return self._nodes.test(atom.offset, Op.GT, atom.k, yes, no)
        if atom.mask == WORD:
            return self._nodes.test(atom.offset, Op.EQ, atom.k, yes, no)
        if atom.k == 0:
            return self._nodes.test(atom.offset, Op.SET, atom.mask, no, yes)
        if atom.k == atom.mask and not atom.mask & (atom.mask - 1):
            return self._nodes.test(atom.offset, Op.SET, atom.mask, yes, no)
        return self._nodes.test(atom.offset, Op.EQ, atom.k, yes, no, mask=atom.mask)


def _reduced(cases: _Cases, facts: _Facts) -> _Cases:
    """The cases that can still hold, with what is still to be asked of them."""
    left: list[tuple[Conjunction, int]] = []
    for conjunction, value in cases:
        rest: dict[Literal, None] | None = {}
        for literal in conjunction:
            known = facts.get(literal.atom.offset)
            found = literal.atom if known is None else known.reduce(literal.atom)
            if isinstance(found, bool):
                if found is not literal.holds:
                    rest = None
                    break
            elif rest is not None:
                rest[Literal(found, literal.holds)] = None
        if rest is None:
            continue
        left.append((tuple(rest), value))
        if not rest:
            break
    # What returns the same as what comes last in any case need not be asked for.
    while len(left) > 1 and left[-2][1] == left[-1][1]:
        del left[-2]
    return tuple(left)
