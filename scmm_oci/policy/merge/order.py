"""Transitions, serving and what a watch does, joined; what diff and lint compare them by.

A policy without `serving` is one that serves by any call, and then goes on as before. One that serves later than the
joined policy may still be at its start when that one serves: what it allows (union) or refuses (intersection) at its
start counts there, too. So no run that a policy allows is refused by a union, and none that a policy refuses is allowed
by an intersection; where policies serve by different calls that is more, or less, than any of them says, and is told.
Histories (`A > B`) are joined exactly: who has none for a pair says of it what its row says.

All of it is associative, commutative and idempotent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scmm_oci.errors import Finding
from scmm_oci.policy import order
from scmm_oci.policy.merge.entries import Side
from scmm_oci.policy.model import Policy, Serving, Settings, Transition, WatchAction
from scmm_oci.policy.order import Following, Table
from scmm_oci.tables import states, syscalls

_NOTHING: Following = frozenset()
_SEVERITY = {action: rank for rank, action in enumerate(WatchAction)}


@dataclass(frozen=True)
class Joined:
    """What the sections of a policy become."""

    transitions: tuple[Transition, ...] | None = None
    serving: Serving | None = None
    watch: WatchAction | None = None


@dataclass(frozen=True)
class Phases:
    """The sections of one policy, taken apart.

    Attributes:
        starting: holds until a process makes one of ``switches``; None: everything is allowed.
        serving: holds from then on; the same as ``starting`` where there are no switches.
    """

    starting: Table | None
    switches: Following
    serving: Table | None

    @property
    def spoken(self) -> bool:
        """Whether anything is asked for."""
        return self.starting is not None or self.serving is not None


def phases(policy: Policy) -> Phases:
    """What a policy says of the order of calls."""
    known = known_calls(policy.settings)
    starting = None if policy.transitions is None else order.table(policy.transitions, known)
    found = [one for word in policy.serving.calls for one in order.calls(word, known)] if policy.serving else []
    switches = frozenset(states.call_of(one) or one for one in found)
    if policy.serving is None or not switches:
        return Phases(starting, _NOTHING, starting)
    return Phases(starting, switches, order.table(policy.serving.transitions, known))


def known_calls(settings: Settings) -> Following | None:
    """The calls of the ABIs that a policy is for; None: of all, as an imported profile is for many machines."""
    if settings.arch_map:
        return None
    return frozenset().union(*(syscalls.numbers(arch) for arch in settings.architectures))


def joined(policies: Sequence[Policy], settings: Settings, side: Side, findings: list[Finding]) -> Joined:
    """What any of the policies allows, or only what all of them do.

    Args:
        settings: those of the joined policy.
    """
    given = [phases(one) for one in policies]
    switches = frozenset[str]().union(*(one.switches for one in given))
    starting = _picked([one.starting for one in given], side)
    late = [one.starting for one in given if one.switches != switches]
    serving = _picked([*(one.serving for one in given), *late], side)
    if starting is None and serving is None:
        return Joined()
    if len({one.switches for one in given if one.switches}) > 1:
        findings.append(_different(switches, side))
    known = known_calls(settings)
    switches = switches if known is None else switches & known
    return Joined(
        None if starting is None else _written(starting, known),
        Serving(tuple(sorted(switches)), _written(serving, known)) if serving is not None and switches else None,
        _watch([one for one, its in zip(policies, given, strict=True) if its.spoken], side),
    )


def difference(first: Policy, second: Policy, findings: list[Finding]) -> Joined:
    """What may follow by the first policy and not by the second; serving is compared with serving."""
    mine, theirs = phases(first), phases(second)
    if mine.switches != theirs.switches and mine.switches and theirs.switches:
        calls = ", ".join(sorted(mine.switches))
        findings.append(Finding("serving-differs", f"by the first policy processes serve from other calls on: {calls}"))
    if mine.spoken and theirs.spoken and _severity(first) < _severity(second):
        message = f"by the first policy a watch does {_action(first)} instead of {_action(second)}"
        findings.append(Finding("watch-milder", message))
    known = known_calls(second.settings)
    starting = _less(mine.starting, theirs.starting, known)
    switches = mine.switches or theirs.switches
    serving = _less(mine.serving, theirs.serving, known) if switches else None
    return Joined(starting, Serving(tuple(sorted(switches)), serving) if serving else None)


def less(first: Table, second: Table) -> Table:
    """What the first table has and the second has not."""
    rows = {state: following - second.rows.get(state, _NOTHING) for state, following in first.rows.items()}
    pairs = first.deep.keys() | second.deep.keys()
    return Table(rows, {pair: first.after(*pair) - second.after(*pair) for pair in pairs})


def covers(first: Table | None, second: Table | None) -> bool:
    """Whether the first table has all that the second has. No table has everything."""
    if first is None or second is None:
        return first is None
    pairs = first.deep.keys() | second.deep.keys()
    return all(following <= first.rows.get(state, _NOTHING) for state, following in second.rows.items()) and all(
        second.after(*pair) <= first.after(*pair) for pair in pairs
    )


def _less(first: Table | None, second: Table | None, known: Following | None) -> tuple[Transition, ...] | None:
    if first is None or second is None:
        return None
    return tuple(one for one in _written(less(first, second), known) if one.to or one.before) or None


def _picked(given: Sequence[Table | None], side: Side) -> Table | None:
    tables = [one for one in given if one is not None]
    if not tables or (side is Side.LEAST and len(tables) < len(given)):
        return None
    names = frozenset[str]().union(*(one.rows for one in tables))
    pairs = frozenset[tuple[str, str]]().union(*(one.deep for one in tables))
    return Table(
        {name: _one((one.rows.get(name, _NOTHING) for one in tables), side) for name in names},
        {pair: _one((one.after(*pair) for one in tables), side) for pair in pairs},
    )


def _one(sets: Iterable[Following], side: Side) -> Following:
    first, *rest = sets
    return first.union(*rest) if side is Side.LEAST else first.intersection(*rest)


def _written(given: Table, known: Following | None) -> tuple[Transition, ...]:
    """The table in words, less what the ABIs of the result lack."""
    if known is not None:
        given = Table(
            {state: _there(following, known) for state, following in given.rows.items() if _is_known(state, known)},
            {
                pair: _there(following, known)
                for pair, following in given.deep.items()
                if all(_is_known(state, known) for state in pair)
            },
        )
    return order.transitions(given)


def _there(following: Following, known: Following) -> Following:
    return frozenset(one for one in following if _is_known(one, known))


def _is_known(state: str, known: Following) -> bool:
    call = states.call_of(state)
    return call is None or call in known or state in known


def _different(switches: Following, side: Side) -> Finding:
    calls = ", ".join(sorted(switches))
    message = f"the policies begin to serve by different calls; the joined one does by any of them ({calls})"
    if side is Side.LEAST:
        hint = "then each call may follow that does by a policy that is still at its start"
        return Finding("serving-wider", message, hint)
    return Finding("serving-narrower", message, "then only those calls may follow that do at the start, too")


def _action(policy: Policy) -> WatchAction:
    return policy.watch or WatchAction.ALERT


def _severity(policy: Policy) -> int:
    return _SEVERITY[_action(policy)]


def _watch(policies: Sequence[Policy], side: Side) -> WatchAction | None:
    """The mildest action, or the most severe. It is written where one of the policies that have it writes it."""
    pick = min if side is Side.LEAST else max
    rank = pick(_severity(one) for one in policies)
    return next((one.watch for one in policies if one.watch is not None and _severity(one) == rank), None)
