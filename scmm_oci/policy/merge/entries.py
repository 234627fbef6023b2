"""What a policy answers to one name, as a value, and the least and the most restrictive of two such values.

An entry is a fallback and clauses: constraints that all must hold, with an answer. Clauses below the fallback permit,
those above it restrict, as in policy.answers. Joining two entries takes one answer for each call, the lesser (union)
or the greater (intersection), and an entry cannot hold every such choice. What it cannot hold is answered with less
than both in a union, and with more than both in an intersection; `is_exact` says where that may be.

Both are associative, commutative and idempotent. That is why clauses that an entry has on the far side are left aside
where it has some on the near side, even if two of them happen to fit. Called by policy.merge only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from scmm_oci.errors import BadInput, Problem
from scmm_oci.policy.answers import Answer
from scmm_oci.policy.merge.notes import Note, join
from scmm_oci.policy.model import Constraint

Conditions = frozenset[Constraint]
Clause = tuple[Conditions, Answer]

ALWAYS: Conditions = frozenset()
# Of one name. Beyond it nobody wrote them, and no filter has room.
MOST_CLAUSES = 4096


class Side(Enum):
    """Which of two answers is taken."""

    LEAST = "least"
    MOST = "most"

    def pick(self, answers: Iterable[Answer]) -> Answer:
        """The one of all answers."""
        return min(answers) if self is Side.LEAST else max(answers)

    def nearer(self, answer: Answer, other: Answer) -> bool:
        """Whether the answer is on this side of the other, and not the same."""
        return answer < other if self is Side.LEAST else answer > other


@dataclass(frozen=True)
class Entry:
    """What is answered to one name.

    Attributes:
        plain: the note of the rule without constraints; None where the default is the fallback.
        clauses: none has the fallback's answer, and none says only what another one says.
    """

    fallback: Answer
    plain: Note | None = None
    clauses: Mapping[Clause, Note] = field(default_factory=dict)

    def same(self, other: Entry) -> bool:
        """Whether both answer alike, clause by clause."""
        return self.fallback == other.fallback and self.clauses.keys() == other.clauses.keys()

    def on(self, side: Side, of: Answer | None = None) -> list[Clause]:
        """The clauses on one side of the fallback, or of another answer."""
        limit = self.fallback if of is None else of
        return [clause for clause in self.clauses if side.nearer(clause[1], limit)]


def entry(fallback: Answer, plain: Note | None, clauses: Iterable[tuple[Clause, Note]]) -> Entry:
    """An entry of clauses as they are given: those that never decide are left out, equal ones joined."""
    notes: dict[Clause, list[Note]] = {}
    for clause, note in clauses:
        notes.setdefault(clause, []).append(note)
    near = _strongest([one for one in notes if one[1] < fallback], Side.LEAST)
    far = _strongest([one for one in notes if one[1] > fallback], Side.MOST)
    return Entry(fallback, plain, {clause: join(notes[clause]) for clause in (*near, *far)})


def joined(first: Entry, second: Entry, side: Side) -> Entry:
    """The entry that answers as the one of both that the side picks; never on the other side of that.

    Raises:
        BadInput: it would have more clauses than MOST_CLAUSES.
    """
    both = (first, second)
    fallback = side.pick(one.fallback for one in both)
    plains = [one.plain for one in both if one.plain is not None and one.fallback == fallback]
    plain = join(plains) if plains else None
    if first.same(second):
        return Entry(fallback, plain, {one: join((note, second.clauses[one])) for one, note in first.clauses.items()})
    away = Side.MOST if side is Side.LEAST else Side.LEAST
    near = _strongest({clause for one in both for clause in one.on(side, fallback)}, side)
    far = _strongest((clause for clause in _products(first, second, side) if away.nearer(clause[1], fallback)), away)
    # A far clause keeps the notes of those whose own it is; the others only let it stand.
    owners = {clause: [one for one in both if clause in one.clauses] for clause in near}
    owners |= {clause: [one for one in both if clause in one.clauses and not one.on(side)] for clause in far}
    return Entry(
        fallback, plain, {clause: join(one.clauses[clause] for one in their) for clause, their in owners.items()}
    )


def is_exact(entries: Sequence[Entry], result: Entry, side: Side) -> bool:
    """Whether the joined entry answers to every call just what the side picks of all answers. A yes is always right."""
    if any(result.same(one) for one in entries):
        return True
    away = Side.MOST if side is Side.LEAST else Side.LEAST
    # Clauses that restrict come before those that permit: alone, the restricting one of an entry would hide its other.
    if side is Side.LEAST and any(one.on(side, result.fallback) and one.on(away) for one in entries):
        return False
    everywhere = all(one.fallback != result.fallback or one.on(away) for one in entries)
    return not (everywhere and any(one.on(side) for one in entries))


def _products(first: Entry, second: Entry, side: Side) -> set[Clause]:
    """Under which conditions both answer at least so far away from the side."""
    mine, theirs = _levels(first, side), _levels(second, side)
    if len(mine) * len(theirs) > MOST_CLAUSES:
        message = f"joining the constraints takes {len(mine) * len(theirs)} rules; {MOST_CLAUSES} at most"
        raise BadInput([Problem("", message)])
    return {(one | other, side.pick((this, that))) for one, this in mine for other, that in theirs}


def _levels(one: Entry, side: Side) -> list[Clause]:
    away = Side.MOST if side is Side.LEAST else Side.LEAST
    near = one.on(side)
    if near:
        return [(ALWAYS, side.pick(answer for _, answer in near))]
    return [(ALWAYS, one.fallback), *one.on(away)]


def _strongest(clauses: Iterable[Clause], side: Side) -> list[Clause]:
    """The clauses less those for which another one holds as well and is as far on the side."""
    found: list[Clause] = []
    for clause in sorted(set(clauses), key=lambda one: len(one[0])):
        conditions, answer = clause
        if not any(other != clause and other[0] <= conditions and not side.nearer(answer, other[1]) for other in found):
            found = [other for other in found if not (conditions <= other[0] and not side.nearer(other[1], answer))]
            found.append(clause)
    return found
