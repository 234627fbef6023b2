"""What another policy says differently of the order of calls. Called by policy.diff only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from scmm_oci.policy import order
from scmm_oci.policy.diff.words import Difference, Kind, kind_of, words
from scmm_oci.policy.merge.order import Phases, covers, phases
from scmm_oci.policy.model import AFTER, Policy, WatchAction
from scmm_oci.policy.order import Following, Table
from scmm_oci.tables import states

_NOTHING: Following = frozenset()
_SEVERITY = list(WatchAction)
# What follows one state in the one policy and in the other, where it is not the same.
_Change = tuple[Following, Following]


def order_differences(first: Policy, second: Policy) -> Iterator[Difference]:
    """What is new, gone and changed: by state, and by phase."""
    was, now = phases(first), phases(second)
    yield from _tables("transitions", was.starting, now.starting)
    if was.switches or now.switches:
        yield from _serving(was, now)
    if was.spoken and now.spoken:
        yield from _watch(first.watch or WatchAction.ALERT, second.watch or WatchAction.ALERT)


def _serving(was: Phases, now: Phases) -> Iterator[Difference]:
    if not (was.switches and now.switches):
        # Without it, what holds at the start goes on to hold.
        if covers(was.serving, now.serving) and covers(now.serving, was.serving):
            return
        kind = Kind.NEW if now.switches else Kind.GONE
        texts = [f"from {words(one.switches)}" if one.switches else "–" for one in (was, now)]
        yield Difference("serving", "serving", kind, texts[0], texts[1], not covers(was.serving, now.serving))
        if was.spoken and now.spoken:
            yield from _tables("serving", was.serving, now.serving)
        return
    if was.switches != now.switches:
        # Where one serves already and the other does not yet, the second may allow more.
        sooner = bool(now.switches - was.switches) and not covers(was.starting, now.serving)
        later = bool(was.switches - now.switches) and not covers(was.serving, now.starting)
        yield Difference("serving", "from", Kind.CHANGED, words(was.switches), words(now.switches), sooner or later)
    yield from _tables("serving", was.serving, now.serving)


def _watch(was: WatchAction, now: WatchAction) -> Iterator[Difference]:
    if was is not now:
        milder = _SEVERITY.index(now) < _SEVERITY.index(was)
        yield Difference("watch", "watch", Kind.CHANGED, was.value, now.value, milder)


def _tables(section: str, was: Table | None, now: Table | None) -> Iterator[Difference]:
    if was is None or now is None:
        if was is not now:
            texts = ["–" if one is None else f"after {len(one.rows)} states" for one in (was, now)]
            yield Difference(section, section, kind_of(was, now), texts[0], texts[1], now is None)
        return
    rows = {state: (was.rows.get(state, _NOTHING), now.rows.get(state, _NOTHING)) for state in {*was.rows, *now.rows}}
    for key, change in _joined({state: change for state, change in rows.items() if change[0] != change[1]}):
        yield _changed(section, key, change)
    by_state: defaultdict[str, dict[str, _Change]] = defaultdict(dict)
    for before, state in {*was.deep, *now.deep}:
        change = (was.after(before, state), now.after(before, state))
        own = rows.get(state, (_NOTHING, _NOTHING))
        # A history that has its row's difference is no difference of its own.
        if change[0] != change[1] and _parts(change) != _parts((own[0] - {state}, own[1] - {state})):
            by_state[state][before] = change
    deep: defaultdict[str, dict[str, _Change]] = defaultdict(dict)
    for state, changes in by_state.items():
        for before, change in _joined(changes):
            deep[before][state] = change
    for before, changes in deep.items():
        for state, change in _joined(changes):
            yield _changed(section, f"{before}{AFTER}{state}", change)


def _changed(section: str, what: str, change: _Change) -> Difference:
    was, now = change
    kind = kind_of(was or None, now or None)
    before, after = _words(was, now)
    return Difference(section, what, kind, words(before), words(after), bool(now - was))


def _parts(change: _Change) -> _Change:
    return change[0] - change[1], change[1] - change[0]


def _joined(given: dict[str, _Change]) -> list[tuple[str, _Change]]:
    """One word for states that it stands for and that have changed alike, with what has."""
    alike: defaultdict[_Change, list[str]] = defaultdict(list)
    for state, change in given.items():
        alike[_parts(change)].append(state)
    found = []
    for their in alike.values():
        for word in order.words(their):
            its = [state for state in states.expand(word) if state in given]
            found.append((word, given[its[0]]))
    return sorted(found)


def _words(was: Following, now: Following) -> tuple[Iterable[str], Iterable[str]]:
    """What only the one has and only the other, in words; of a call that keeps some classes, all that each has."""
    kept = {states.call_of(one) for one in was & now}
    split = {states.call_of(one) for one in was ^ now} & kept
    there = {one for one in was | now if states.call_of(one) in split}
    return order.words((was - now) | (was & there)), order.words((now - was) | (now & there))
