"""Which call followed which in captures, asked of the machines that a policy's transitions are. Pure.

A recording does not tell everything: of an older one the classes of calls, how far a process had got or what was before
may be unknown, and of a process that serves it is known only in as far as it listens or accepts. What cannot be told is
refused if it would be whatever it was, allowed if it would be whatever it was, and else nothing is proven of it.

Called by compiled.verify.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from scmm_oci.capture.facts import Edges, Stage, State
from scmm_oci.capture.model import Capture, Phase
from scmm_oci.errors import Finding
from scmm_oci.policy.infer.observe import name_of
from scmm_oci.policy.infer.stages import ACCEPTS, LISTEN
from scmm_oci.policy.machine import SIGNAL_CALL, Machine
from scmm_oci.policy.model import AFTER
from scmm_oci.policy.order import Table, listed
from scmm_oci.tables import states, syscalls
from scmm_oci.tables.arch import Arch

Key = tuple[str, str, str]


@dataclass(frozen=True)
class Proof:
    """What became of all steps from one call to the next that were recorded.

    Attributes:
        refused: (section, state or ``before > state``, call) → in how many captures.
        unused: the steps of the machines that none of the captures has, ``read → write``, sorted.
        findings: what nothing is proven of.
    """

    refused: Mapping[Key, int]
    unused: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


def prove(machines: Mapping[Arch, Machine], captures: Sequence[Capture]) -> Proof:
    """Ask the machines about every step of the captures.

    Args:
        machines: one for each ABI; none at all: nothing is asked for.
    """
    if not machines:
        return Proof({})
    refused: Counter[Key] = Counter()
    unclear: dict[str, None] = {}
    silent: dict[str, None] = {}
    seen: set[tuple[str, str]] = set()
    for capture in captures:
        found: set[Key] = set()
        calls = frozenset(name for _, one in capture.calls(Phase.APP) if one.entered and (name := name_of(one)))
        if not capture.order:
            silent[capture.name] = None
        for edges in capture.order:
            machine = machines.get(edges.arch)
            if machine is None:
                found.add(("transitions", f"a call of {edges.arch}", ""))
                continue
            tables = _tables(machine, edges.stage, calls)
            for before, state, to in _steps(edges, tables):
                seen.update(product(states.expand(state), states.classes_of(to)))
                answers = {section: _answers(table, before, state, to) for section, table in tables}
                every = frozenset[bool]().union(*answers.values())
                if every == {False}:
                    section = next(iter(answers))
                    found.add((section, _key(before, state, tables), to))
                elif False in every:
                    unclear[_arrow(state, to)] = None
        refused.update(found)
    findings = []
    if silent:
        message = f"captures do not tell which call followed which: {listed(silent)}"
        findings.append(Finding("order-unknown", message, "record them anew"))
    if unclear:
        message = f"captures do not tell enough to know whether the policy's transitions have these: {listed(unclear)}"
        hint = "record with this version, and --depth 3 where the policy has a history (A > B)"
        findings.append(Finding("order-not-proven", message, hint))
    return Proof(dict(refused), tuple(sorted(_unused(machines, seen))), tuple(findings))


def _tables(machine: Machine, stage: Stage | None, calls: frozenset[str]) -> list[tuple[str, Table | None]]:
    """What can have held for a process at a stage: sections of the policy and their tables.

    Args:
        calls: those that were made in the capture.
    """
    starting, serving = ("transitions", machine.starting), ("serving", machine.serving)
    if machine.serving is None:
        return [starting]
    began = machine.switches & ({*calls, LISTEN, *ACCEPTS} if "socketcall" in calls else calls)
    listens, accepts = LISTEN in began, bool(began.intersection(ACCEPTS))
    if (listens and stage in (Stage.LISTENING, Stage.ACCEPTING)) or (
        stage is Stage.ACCEPTING and accepts and calls.intersection(ACCEPTS) <= machine.switches
    ):
        return [serving]
    other = began - {LISTEN, *ACCEPTS}
    late = accepts and stage is Stage.ACCEPTING
    if other or late or (stage is None and began):
        return [starting, serving]
    return [starting]


def _steps(edges: Edges, tables: Iterable[tuple[str, Table | None]]) -> Iterator[tuple[str | None, str, str]]:
    """Every step, once for each state that is known to have been before, or can have been where that matters."""
    befores: dict[tuple[State, State], list[State]] = {}
    for before, state, to in edges.triples or ():
        befores.setdefault((state, to), []).append(before)
    deep = {state for _, table in tables if table is not None for _, state in table.deep}
    for state, to in edges.pairs:
        first, second = _word(edges.arch, state), _word(edges.arch, to)
        if first is None or second is None:
            continue
        if isinstance(state, int) and first == states.SIGNAL:
            first = SIGNAL_CALL
        known = befores.get((state, to), ())
        if known:
            yield from ((_word(edges.arch, before), first, second) for before in known)
        elif edges.triples is None and first != second and not deep.isdisjoint(states.expand(first)):
            yield "", first, second
        else:
            yield None, first, second


def _answers(table: Table | None, before: str | None, state: str, to: str) -> frozenset[bool]:
    """What a table says of a step, of all that it can have been; of ``""`` it is not known what was before."""
    if table is None:
        return frozenset({True})
    found: set[bool] = set()
    for first, second in product(states.expand(state), states.classes_of(to)):
        ways: Iterable[str | None] = (None,) if before is None else states.expand(before)
        if before == "":
            ways = (None, *(one for one, call in table.deep if call == first))
        found.update(table.allows(way, first, second) for way in ways)
    return frozenset(found)


def _word(arch: Arch, state: State) -> str | None:
    """The state as a word; None for what has no place in the tables, and is no call to them."""
    if isinstance(state, str):
        return state
    if state >= states.FIRST:
        return None
    name = syscalls.name_of(arch, state)
    return None if name == "restart_syscall" else name or str(state)


def _key(before: str | None, state: str, tables: Iterable[tuple[str, Table | None]]) -> str:
    """The state, with what was before it where a history refuses the step."""
    pairs = product(states.expand(before), states.expand(state)) if before else ()
    deep = any(table is not None and pair in table.deep for pair in pairs for _, table in tables)
    return f"{before}{AFTER}{state}" if deep else state


def _unused(machines: Mapping[Arch, Machine], seen: set[tuple[str, str]]) -> Iterator[str]:
    found = {
        (state, to)
        for machine in machines.values()
        for table in (machine.starting, machine.serving)
        if table is not None
        for state, to in table.edges
    }
    return (_arrow(*step) for step in found - seen)


def _arrow(state: str, to: str) -> str:
    return f"{state} → {to}"
