"""Transitions taken apart: which call may follow which, by single states, and the way back to words. Pure.

A policy's words stand for several states: ``openat`` for all its classes, ``start`` for every beginning of a thread,
``@basic-io`` for all its calls. What several keys say of one state adds up. This is what policy.machine runs, and what
policies are merged, compared and judged by.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from scmm_oci.policy.model import Transition
from scmm_oci.tables import groups, states

Pair = tuple[str, str]
Triple = tuple[str, str, str]
Following = frozenset[str]

_NOTHING: Following = frozenset()
# Word for several → the states that it stands for; the first that is wholly there is taken.
_WHOLE: dict[str, tuple[str, ...]] = {
    states.START: states.STARTS,
    **{call: states.classes_of(call) for call in states.REFINED},
}
_PART_OF = {one: whole for whole, parts in _WHOLE.items() for one in parts}


@dataclass(frozen=True)
class Table:
    """What may follow what, by single states: classes of calls, calls without classes, beginnings.

    Attributes:
        rows: a state → what may follow it; nothing may follow one that is not there.
        deep: (before, state) → what alone may follow the state where it came after that one. No pair has the same
            state twice, and none leads to its own state: repetitions are a matter of the rows.
    """

    rows: Mapping[str, Following] = field(default_factory=dict)
    deep: Mapping[Pair, Following] = field(default_factory=dict)

    def after(self, before: str | None, state: str) -> Following:
        """What may follow a state that came after another (None: not known), but for the state itself."""
        known = self.deep.get((before, state)) if before is not None else None
        return self.rows.get(state, _NOTHING) - {state} if known is None else known

    def allows(self, before: str | None, state: str, to: str) -> bool:
        """Whether a call may be made after a state that came after another; None: that is not known."""
        if before is not None and to != state:
            known = self.deep.get((before, state))
            if known is not None:
                return to in known
        return to in self.rows.get(state, _NOTHING)

    @cached_property
    def called(self) -> Following:
        """Every call that the table leads to."""
        return frozenset().union(*self.rows.values(), *self.deep.values())

    @cached_property
    def states(self) -> Following:
        """Every state that the table leads from or to."""
        return frozenset(self.rows) | self.called | {one for pair in self.deep for one in pair}

    @cached_property
    def edges(self) -> frozenset[Pair]:
        """All (state, call) that can be, whatever came before."""
        plain = {(state, to) for state, following in self.rows.items() for to in following}
        return frozenset(plain | {(state, to) for (_, state), following in self.deep.items() for to in following})

    @property
    def share(self) -> float:
        """How much of the square of its states the table allows: 0 to 1."""
        return len(self.edges) / len(self.states) ** 2 if self.states else 0.0


def table(transitions: Iterable[Transition], known: frozenset[str] | None = None) -> Table:
    """The table that transitions are.

    Args:
        known: the calls that there are; others are left out. None: all of them are.
    """
    rows: defaultdict[str, set[str]] = defaultdict(set)
    deep: defaultdict[Pair, set[str]] = defaultdict(set)
    for one in transitions:
        following = {to for word in one.to for to in calls(word, known)}
        for state in _from(one.call, known):
            if not one.before:
                rows[state] |= following
                continue
            for before in _from(one.before, known):
                if before != state:
                    deep[before, state] |= following - {state}
    return Table(
        {state: frozenset(to) for state, to in rows.items() if to}, {pair: frozenset(to) for pair, to in deep.items()}
    )


def calls(word: str, known: frozenset[str] | None = None) -> Iterator[str]:
    """The single states that a word in a list stands for: of a call, its classes; of a group, all of all its calls."""
    names = [member.name for member in groups.expand(word)] if word.startswith("@") else [word]
    for name in names:
        if known is None or name.partition(":")[0] in known:
            yield from states.classes_of(name)


def _from(word: str, known: frozenset[str] | None) -> Iterator[str]:
    # Some ABIs have a call of the name signal: what a key means is the handler all the same.
    if word == states.START or word in states.BEGINNINGS:
        yield from states.expand(word)
    else:
        yield from calls(word, known)


def transitions(given: Table) -> tuple[Transition, ...]:
    """The table in as few words as there are for it, in one order: the way back from :func:`table`.

    Histories that change nothing are left out.
    """
    rows = _joined({state: following for state, following in given.rows.items() if following})
    found = [Transition(state, words(following)) for state, following in rows.items()]
    by_state: defaultdict[str, dict[str, Following]] = defaultdict(dict)
    for (before, state), following in given.deep.items():
        if following != given.rows.get(state, _NOTHING) - {state}:
            by_state[state][before] = following
    deep: defaultdict[str, dict[str, Following]] = defaultdict(dict)
    for state, befores in by_state.items():
        for before, following in _joined(befores).items():
            deep[before][state] = following
    for before, their in deep.items():
        found += [Transition(state, words(following), before) for state, following in _joined(their).items()]
    return tuple(sorted(found, key=lambda one: (one.call, one.before)))


def words(given: Iterable[str]) -> tuple[str, ...]:
    """Single states in as few words as there are for them, sorted."""
    return tuple(sorted(_joined(dict.fromkeys(given, _NOTHING))))


def listed(given: Iterable[str], most: int = 10) -> str:
    """Words for a message, sorted: the first of them, and how many more there are."""
    names = sorted(given)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _joined(given: Mapping[str, Following]) -> dict[str, Following]:
    """The same with one word for all states that it stands for, where all are there and say the same."""
    found = dict(given)
    for whole in {_PART_OF[one] for one in given if one in _PART_OF}:
        parts = _WHOLE[whole]
        first = given.get(parts[0])
        if first is not None and all(given.get(one) == first for one in parts):
            for one in parts:
                del found[one]
            found[whole] = first
    return found
