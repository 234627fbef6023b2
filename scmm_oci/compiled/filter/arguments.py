"""What a call is answered by its arguments → tests of words, each asked at most once on every way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from scmm_oci.compiled.bpf import MAX_INSTRUCTIONS, WORD
from scmm_oci.compiled.filter.cubes import joined
from scmm_oci.compiled.filter.facts import Fact
from scmm_oci.compiled.filter.nodes import Node, Nodes, Op
from scmm_oci.compiled.filter.plan import Decision, Machine
from scmm_oci.compiled.filter.words import Atom, Clause, Conjunction, Literal, clause, offsets
from scmm_oci.errors import BadInput, Problem

# More numbers than these that a word is compared with are halved first.
_CHAIN = 3
# Nested tests beyond this are none that a person wrote.
_DEEPEST = 200

# Clauses that must all hold, and what is returned then.
_Cases = tuple[tuple[tuple[Clause, ...], int], ...]


class Arguments:
    """Builds the part of a filter that looks at arguments, for one machine."""

    def __init__(self, machine: Machine, nodes: Nodes) -> None:
        self._machine = machine
        self._nodes = nodes
        # By cases alone: what was asked before is in them, as far as it matters.
        self._done: dict[_Cases, Node] = {}

    def node(self, decision: Decision) -> Node:
        """The first test of a decision, or what it returns.

        Raises:
            BadInput: it needs more tests than a filter can have.
        """
        order = self._machine.byte_order
        cases = tuple((tuple(clause(test, order) for test in case.tests), case.value) for case in joined(decision))
        if self._machine.bits == 32:
            # The kernel takes the low words only, whatever stands above them.
            for arg in range(6):
                cases = _reduced(cases, Fact(Atom(offsets(arg, order)[1], False, WORD, 0), True))
        return self._build(_reduced(cases, None), 0)

    def _build(self, cases: _Cases, depth: int) -> Node:
        if depth > _DEEPEST or len(self._nodes) > MAX_INSTRUCTIONS:
            raise BadInput([Problem("", f"its constraints need more than {MAX_INSTRUCTIONS} tests")])
        chain: list[tuple[_Cases, Atom, Node]] = []
        while True:
            if not cases[0][0]:
                node: Node = self._nodes.ret(cases[0][1])
                break
            if cases in self._done:
                node = self._done[cases]
                break
            atom = self._next(cases)
            chain.append((cases, atom, self._build(_reduced(cases, Fact(atom, True)), depth + 1)))
            cases = _reduced(cases, Fact(atom, False))
        for key, atom, yes in reversed(chain):
            node = self._done[key] = self._test(atom, yes, node)
        return node

    def _next(self, cases: _Cases) -> Atom:
        """What to ask first: of the first case, what most cases ask; of a word that is compared with much, its half."""
        counts = Counter(atom for clauses, _ in cases for atom in set(_atoms(clauses)))
        # Where nothing else tells, the low word: high words are 0 as a rule.
        low = offsets(0, self._machine.byte_order)[0] % 8
        atom = max(_atoms(cases[0][0]), key=lambda atom: (counts[atom], atom.offset % 8 == low, atom))
        if atom.greater or atom.mask != WORD:
            return atom
        numbers = sorted(
            {one.k for one in counts if one.offset == atom.offset and not one.greater and one.mask == WORD}
        )
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


def _atoms(clauses: tuple[Clause, ...]) -> Iterator[Atom]:
    return (literal.atom for one in clauses for conjunction in one for literal in conjunction)


def _reduced(cases: _Cases, fact: Fact | None) -> _Cases:
    """The cases that can still hold, with what is still to be asked of them."""
    left: list[tuple[tuple[Clause, ...], int]] = []
    for clauses, value in cases:
        rest = _reduced_clauses(clauses, fact)
        if rest is None:
            continue
        left.append((rest, value))
        if not rest:
            break
    # What returns the same as what comes last in any case need not be asked for.
    while len(left) > 1 and left[-2][1] == left[-1][1]:
        del left[-2]
    return tuple(left)


def _reduced_clauses(clauses: tuple[Clause, ...], fact: Fact | None) -> tuple[Clause, ...] | None:
    """What is still to be asked; None if they cannot all hold."""
    rest: dict[Clause, None] = {}
    for one in clauses:
        ways = one if fact is None else _reduced_clause(one, fact)
        if not ways:
            return None
        if () in ways:
            continue
        if len(ways) == 1 and len(ways[0]) > 1:
            # Each of its literals must hold: they are clauses of their own.
            rest.update(dict.fromkeys(((literal,),) for literal in ways[0]))
        else:
            rest[ways] = None
    return tuple(rest)


def _reduced_clause(one: Clause, fact: Fact) -> Clause:
    ways: list[Conjunction] = []
    for conjunction in one:
        left: list[Literal] = []
        for literal in conjunction:
            if literal.atom.offset != fact.offset:
                left.append(literal)
                continue
            found = fact.reduce(literal.atom)
            if found is literal.atom:
                left.append(literal)
            elif not isinstance(found, bool):
                left.append(Literal(found, literal.holds))
            elif found is not literal.holds:
                break
        else:
            ways.append(tuple(left))
    return tuple(ways)
