"""A policy against captures: is all allowed that was recorded, what is allowed beyond it, and what calls cost. Pure.

Calls are asked of the filter itself, run on what it would see: each call of the phase app with each value that its
arguments were seen with. A recording does not say which values came together, nor has it every argument. So a value is
combined with the recorded values of the call's other arguments, and what was not recorded may be anything: a value is
refused if every combination that it is in is. The policy is asked as well where it is known (policy.admit); either
refusal counts. Files, peers and ports are asked of the policy's rules, and of its transitions every step from one call
to the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from scmm_oci.capture.merge import distinct
from scmm_oci.capture.model import Capture, Phase
from scmm_oci.compiled import recorded_order
from scmm_oci.compiled.beyond import Beyond, Open, beyond
from scmm_oci.compiled.bpf import Program
from scmm_oci.compiled.enforced import Enforced
from scmm_oci.compiled.filter import passes
from scmm_oci.compiled.recorded import Place, RecordedCall, machines_of, names_on, recorded_calls
from scmm_oci.compiled.ways import Way, runs_never, ways
from scmm_oci.errors import Finding
from scmm_oci.policy.admit import refusals
from scmm_oci.policy.infer.network import direction_of, protocol_of
from scmm_oci.policy.infer.observe import losses, name_of
from scmm_oci.policy.model import PathRule
from scmm_oci.tables.arch import Arch


@dataclass(frozen=True, order=True)
class Refused:
    """Something that was recorded and would be refused; the fields are those of policy.admit.Refusal.

    Attributes:
        count: how often it was recorded; of an argument's value, how often the call was made with any, and of a step
            from one call to the next, in how many captures it is.
    """

    section: str
    what: str
    detail: str
    count: int


@dataclass(frozen=True)
class Cost:
    """What the filter costs for a call that it runs for.

    Attributes:
        count: how often the call was recorded.
        least, most, mean: executed instructions, over the ways that its recorded arguments can take; each counts alike,
            as recordings do not say how often each was taken.
    """

    name: str
    arch: str
    count: int
    least: int
    most: int
    mean: Fraction

    @property
    def total(self) -> Fraction:
        """Executed instructions of all calls together."""
        return self.mean * self.count


@dataclass(frozen=True)
class Costs:
    """What filters cost for everything that was recorded.

    Attributes:
        calls: those that the filter runs for, the dearest together first.
        running: how often it ran; ``cached``: how often the kernel allowed a call without it (since Linux 5.11).
    """

    calls: tuple[Cost, ...]
    running: int
    cached: int

    @property
    def total(self) -> Fraction:
        """Executed instructions."""
        return sum((one.total for one in self.calls), Fraction(0))

    @property
    def mean(self) -> Fraction:
        """Executed instructions of a call for which the filter runs; 0 if it never does."""
        return self.total / self.running if self.running else Fraction(0)

    @property
    def worst(self) -> int:
        """The most that one call can cost."""
        return max((one.most for one in self.calls), default=0)


@dataclass(frozen=True)
class Report:
    """The proof, or what is in its way.

    Attributes:
        findings: what the captures do not hold, so that nothing is proven of it.
        steps: from one call to the next, which the policy's transitions have and no capture: ``read → write``.
    """

    refused: tuple[Refused, ...]
    beyond: Beyond
    costs: Costs
    findings: tuple[Finding, ...] = ()
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Asked:
    """What the filter does with a recorded call: ways, the values that it refuses, and whether it refuses all."""

    ways: tuple[Way, ...]
    refused: frozenset[tuple[Place, int]]
    looks: frozenset[int]

    @property
    def allowed(self) -> bool:
        return any(passes(way.value) for way in self.ways)


def verify(enforced: Enforced, captures: Sequence[Capture]) -> Report:
    """Ask about everything in the captures. One that is given twice counts once.

    Raises:
        BadInput: captures are of machines that there is no filter for.
        Failure: a filter has too many ways through it to be followed.
    """
    chosen = distinct(captures)
    machines = sorted(set(machines_of(chosen)))
    calls = recorded_calls(chosen)
    filters = {machine: enforced.filter_for(machine) for machine in machines}
    asked = [(call, _ask(filters[call.machine], call)) for call in calls]
    refused: Counter[tuple[str, str, str]] = Counter()
    for call, found in asked:
        for detail in _refusals(enforced, call, found):
            refused["syscalls", call.title, detail] += call.count
    for key, count in _admitted(enforced, chosen).items():
        refused.setdefault(key, count)
    order = recorded_order.prove(enforced.machines, chosen)
    refused.update(order.refused)
    opened = [one for call, found in asked if found.allowed for one in _opened(call, found)]
    made = {call.title for call in calls}
    unmade = sorted({name for machine in machines for name in _unmade(filters[machine], machine) if name not in made})
    return Report(
        tuple(sorted(Refused(*key, count) for key, count in refused.items())),
        beyond(enforced.policy, chosen, calls=unmade, opened=opened),
        _costs(filters, asked),
        (*losses(chosen, [], accept=True), *_not_recorded(filters, asked), *order.findings),
        order.unused,
    )


def _not_recorded(filters: dict[Arch, Program], asked: Sequence[tuple[RecordedCall, _Asked]]) -> Iterator[Finding]:
    """Arguments that decide whether a call is refused, and of which not all values were recorded."""
    names: dict[str, None] = {}
    for call, found in asked:
        known = {index for place, one in call.arguments.items() if one.values and not one.open_ended for index in place}
        unknown = sorted(found.looks - known)
        every = ways(filters[call.machine], call.call, call.known(())) if found.allowed and unknown else []
        if not all(passes(way.value) for way in every):
            names |= dict.fromkeys(f"{call.title}:{index}" for index in unknown)
    if names:
        message = f"not every value was recorded of arguments that the filter decides by: {', '.join(names)}"
        yield Finding("values-unknown", message, "calls with other values than the recorded ones may be refused")


def _ask(program: Program, call: RecordedCall) -> _Asked:
    every = ways(program, call.call, call.known(()))
    looks = frozenset(index for way in every for index in way.looks)
    values = {(place, value) for place, one in call.arguments.items() if looks & {*place} for value in one.values}
    if not values:
        return _Asked(tuple(every), frozenset(), looks)
    taken: set[Way] = set()
    good: set[tuple[Place, int]] = set()
    for combination in call.combinations(looks):
        found = ways(program, call.call, call.known(combination))
        passing = [way for way in found if passes(way.value)]
        taken.update(passing or found)
        if passing:
            good.update(combination)
    passing = [way for way in taken if passes(way.value)]
    if passing:
        return _Asked(tuple(passing), frozenset(values - good), looks)
    # Every combination is refused. To blame are the values that are so whatever stands beside them.
    alone = {one for one in values if not _can_pass(program, call, [one])}
    return _Asked(tuple(taken), frozenset(alone), looks)


def _can_pass(program: Program, call: RecordedCall, values: Sequence[tuple[Place, int]]) -> bool:
    return any(passes(way.value) for way in ways(program, call.call, call.known(values)))


def _refusals(enforced: Enforced, call: RecordedCall, found: _Asked) -> Iterator[str]:
    """What of a call the filter refuses, in the words of policy.admit."""
    if found.allowed or found.refused:
        yield from (call.described(place, value) for place, value in sorted(found.refused))
    elif enforced.answers and call.arch not in enforced.policy.settings.architectures:
        yield f"a call of {call.arch}"
    elif call.name is None:
        yield f"a call of {call.arch} without a name"
    else:
        yield ""


def _admitted(enforced: Enforced, captures: Sequence[Capture]) -> Counter[tuple[str, str, str]]:
    """What the policy's own rules refuse, and how often it was recorded."""
    found: Counter[tuple[str, str, str]] = Counter()
    policy = enforced.policy
    if policy.filesystem is not None and enforced.unhandled:
        policy = replace(policy, filesystem=(*policy.filesystem, PathRule("/**", enforced.unhandled)))
    for capture in captures:
        times = _times(capture)
        for one in refusals(policy, capture):
            if one.section != "syscalls" or enforced.answers:
                # A path's detail is the rights that lack and, in brackets, the operation.
                detail = one.detail.rpartition("(")[2] if one.section == "filesystem" else one.detail
                key = (one.section, one.what, "" if one.section == "syscalls" else detail)
                found[one.section, one.what, one.detail] += times[key]
    return found


def _times(capture: Capture) -> Counter[tuple[str, str, str]]:
    """How often what a refusal names was recorded: by section, name, and operation or address."""
    found: Counter[tuple[str, str, str]] = Counter()
    for _, call in capture.calls(Phase.APP):
        found["syscalls", name_of(call) or str(call.nr), ""] += call.entered
    for use in capture.files:
        for path in {use.path, use.path.rpartition("/")[0] or "/"}:
            found["filesystem", path, f"{use.operation})"] += use.succeeded
    for peer in capture.sockets:
        what = f"{direction_of(peer)} {protocol_of(peer)} {peer.port}"
        found["network", what, peer.address or ""] += peer.succeeded + peer.failed
    return found


def _opened(call: RecordedCall, found: _Asked) -> Iterator[Open]:
    """Arguments whose values were recorded, and which the filter does not look at."""
    for place, values in sorted(call.arguments.items()):
        if not found.looks & set(place):
            yield Open(call.title, str(call.arch), place, len(values.values))


def _unmade(program: Program, machine: Arch) -> Iterator[str]:
    """The names of all calls that the filter can allow."""
    for arch in (machine, *machine.beside):
        for call in names_on(arch):
            if _can_pass(program, call, ()):
                yield call.title


def _costs(filters: dict[Arch, Program], asked: Sequence[tuple[RecordedCall, _Asked]]) -> Costs:
    found: list[Cost] = []
    cached = 0
    for call, one in asked:
        if runs_never(filters[call.machine], call.call):
            cached += call.count
            continue
        executed = [way.executed for way in one.ways]
        mean = Fraction(sum(executed), len(executed))
        found.append(Cost(call.title, str(call.arch), call.count, min(executed), max(executed), mean))
    found.sort(key=lambda cost: (-cost.total, cost.name, cost.arch))
    return Costs(tuple(found), sum(cost.count for cost in found), cached)
