"""Which call followed which in the recordings → the machine of a policy: what may follow what. Called by policy.infer.

What a recording shows are steps: two states, or three where histories were recorded, in the process's start-up or while
it serves. In words of scmm_oci.tables.states: calls and ``start`` as a rule; with ``refine`` classes and the three
beginnings. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from scmm_oci.capture.facts import Edges, State
from scmm_oci.capture.model import Capture, Phase
from scmm_oci.errors import Finding
from scmm_oci.policy.decisions import Decisions
from scmm_oci.policy.infer.completeness import Completeness, completeness, in_words
from scmm_oci.policy.infer.likely import Likely, propose
from scmm_oci.policy.infer.stages import serves
from scmm_oci.policy.model import Serving, Transition
from scmm_oci.policy.order import Pair, Table
from scmm_oci.policy.order import transitions as in_rules
from scmm_oci.policy.paths.proposals import counted
from scmm_oci.schema import Steps
from scmm_oci.tables import states, syscalls
from scmm_oci.tables.arch import Arch

# Whether the process serves, and two states, or three.
Step = tuple[bool, tuple[str, ...]]

# Names in one finding.
_MOST = 10


@dataclass(frozen=True)
class Machine:
    """What the recordings show of the order, and what is made of it.

    Attributes:
        names: of the recordings, in their one order; ``steps``: what each shows.
        starting, serving: what may follow what, before and after a process makes a call of ``calls``; ``serving`` is
            None where there are none.
        found: what can be said about further recordings.
        likely: steps that no recording shows but something speaks for; ``accepted``: those that are in the tables.
    """

    names: tuple[str, ...]
    steps: tuple[frozenset[Step], ...]
    starting: Table
    serving: Table | None
    calls: tuple[str, ...]
    found: Completeness
    likely: tuple[Likely, ...]
    accepted: tuple[Likely, ...]

    @property
    def transitions(self) -> tuple[Transition, ...]:
        """The rules for start-up, or for all the time: beginnings first, then by name."""
        return _rules(self.starting)

    @property
    def serving_rules(self) -> Serving | None:
        """The rules for the time after."""
        return None if self.serving is None else Serving(self.calls, _rules(self.serving))

    def comments(self) -> Mapping[Steps, str]:
        """Path in the policy's document → which of the calls in that list no recording has."""
        found: dict[Steps, list[str]] = defaultdict(list)
        serving = self.serving_rules
        for one in self.accepted:
            rules = serving.transitions if one.serving and serving is not None else self.transitions
            above: Steps = ("serving", "transitions") if one.serving else ("transitions",)
            for rule in rules:
                # Lists of histories have it as well; one list can be for several states.
                if not rule.before and not set(states.expand(one.call)).isdisjoint(states.expand(rule.call)):
                    found[*above, rule.key].append(one.to)
        return {path: f"Likely, and in no recording: {', '.join(sorted(to))}." for path, to in found.items()}


def machine(captures: Sequence[Capture], arch: Arch, decisions: Decisions, findings: list[Finding]) -> Machine:
    """The machine of one ABI that allows what the recordings show, and what is accepted beside.

    Args:
        captures: as stages.check lets pass them.
        findings: what a reader should know is added.
    """
    reader = _Reader(arch, refine=decisions.refine, depth=decisions.depth, calls=decisions.serving_from)
    steps = tuple(frozenset(reader.steps(capture)) for capture in captures)
    findings += reader.findings()
    likely = propose(steps)
    accepted = tuple(one for one in likely if decisions.likely and one.recordings >= decisions.likely)
    starting, serving = (_table(steps, accepted, phase) for phase in (False, True))
    result = Machine(
        names=tuple(capture.name for capture in captures),
        steps=steps,
        starting=starting,
        serving=serving if decisions.serving_from else None,
        calls=decisions.serving_from,
        found=completeness(steps),
        likely=likely,
        accepted=accepted,
    )
    findings += _told(result)
    if decisions.portable:
        message = "transitions have the calls that were recorded, not those that other systems make for the same job"
        findings.append(Finding("order-not-portable", message, "record on those systems too"))
    return result


class _Reader:
    """Reads what captures hold of one ABI, and gathers what of it cannot be in a machine."""

    def __init__(self, arch: Arch, *, refine: bool, depth: int, calls: tuple[str, ...]) -> None:
        self._arch, self._refine, self._depth, self._calls = arch, refine, depth, calls
        self._others: set[Arch] = set()
        self._unnamed: set[int] = set()
        self._vague: dict[str, set[str]] = defaultdict(set)
        self._empty: list[str] = []

    def steps(self, capture: Capture) -> Iterator[Step]:
        """What one capture shows; a word for several states stands for all of them where classes are kept apart."""
        some = False
        for edges in capture.order:
            if edges.arch is not self._arch:
                self._others.add(edges.arch)
                continue
            serving = serves(edges.stage, self._calls, capture)
            for walk in _walks(edges, self._depth):
                some = True
                words = [self._words(state, capture.name, last=place == 0) for place, state in enumerate(walk[::-1])]
                for one in product(*words[::-1]):
                    # No history has the same state twice: classes of one call, where they are not told apart, can.
                    if len(one) == 2 or not self._refine or (one[0] != one[1] and one[1] != one[2]):
                        yield serving, one
        if not some and any(call.entered for _, call in capture.calls(Phase.APP)):
            self._empty.append(capture.name)

    def _words(self, state: State, name: str, *, last: bool) -> tuple[str, ...]:
        """What a state is in the machine: one word as a rule, none if it has no name."""
        word = state if isinstance(state, str) else syscalls.name_of(self._arch, state)
        # Where there is a call of the name (x86), it is no handler.
        if word is None or (isinstance(state, int) and word == states.SIGNAL and not last):
            self._unnamed.update([state] if isinstance(state, int) else [])
            return ()
        if not self._refine:
            return (states.START if word in states.STARTS else states.call_of(word) or word,)
        every = states.expand(word)
        if len(every) > 1:
            self._vague[word].add(name)
        return every

    def findings(self) -> Iterator[Finding]:
        """What was left out, and what is vague."""
        for other in sorted(self._others):
            yield Finding("transitions-left-out", f"transitions of {other} calls are not in the policy")
        if self._unnamed:
            numbers = ", ".join(map(str, sorted(self._unnamed)[:_MOST]))
            yield Finding("transitions-left-out", f"transitions with calls that have no name: {numbers}")
        if self._empty:
            message = f"no order of calls was recorded in {_list(self._empty)}"
            yield Finding("no-order", message, "transitions come from the other recordings alone")
        if self._vague:
            words = ", ".join(sorted(self._vague))
            names = sorted(set().union(*self._vague.values()))
            message = (
                f"classes of {words} were not recorded in {_list(names)}: what followed one may follow all of them"
            )
            yield Finding("class-not-known", message, "record it again with this version")


def _walks(edges: Edges, depth: int) -> Iterable[tuple[State, ...]]:
    yield from edges.pairs
    if depth > 2:
        yield from edges.triples or ()


def _table(steps: Iterable[frozenset[Step]], accepted: Iterable[Likely], serving: bool) -> Table:
    """The table of one phase, by single states."""
    rows: defaultdict[str, set[str]] = defaultdict(set)
    deep: defaultdict[Pair, set[str]] = defaultdict(set)
    for phase, words in frozenset().union(*steps):
        if phase is not serving:
            continue
        for walk in product(*map(states.expand, words)):
            *before, state, to = walk
            if not before:
                rows[state].add(to)
            elif before[0] != state and state != to:
                deep[before[0], state].add(to)
    # What is likely is so whatever came before.
    histories: defaultdict[str, list[Pair]] = defaultdict(list)
    for pair in deep:
        histories[pair[1]].append(pair)
    for one in accepted:
        if one.serving is serving:
            for state, to in product(states.expand(one.call), states.expand(one.to)):
                rows[state].add(to)
                for pair in histories[state] if state != to else ():
                    deep[pair].add(to)
    return Table(
        {state: frozenset(to) for state, to in rows.items()}, {pair: frozenset(to) for pair, to in deep.items()}
    )


def _rules(table: Table) -> tuple[Transition, ...]:
    first = [*states.STARTS, states.START, states.SIGNAL, states.FOREIGN]
    order = {word: number for number, word in enumerate(first)}
    return tuple(sorted(in_rules(table), key=lambda one: (order.get(one.call, len(order)), one.call, one.before)))


def _told(made: Machine) -> Iterator[Finding]:
    yield Finding("order-estimate", in_words(made.found))
    for one in made.accepted:
        yield Finding("likely-accepted", f"no recording has {one}, and it is allowed: {one.why}")
    left = [one for one in made.likely if one not in made.accepted]
    if left:
        first = max(left, key=lambda one: one.recordings)
        message = f"{counted(len(left), 'step is', 'steps are')} likely though no recording has them, such as {first}"
        hint = f"--likely {first.recordings} takes those that so many recordings speak for; --stats-only lists them"
        yield Finding("likely-left-out", message, hint)


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(map(repr, names[:_MOST])) + more
