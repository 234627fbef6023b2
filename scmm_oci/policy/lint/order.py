"""What lint finds in the order of calls: in transitions, serving and what a watch does. Called by policy.lint only."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from itertools import product

from scmm_oci.policy.lint.rules import LintFinding, finding
from scmm_oci.policy.merge import calls
from scmm_oci.policy.merge.order import Phases, covers, phases
from scmm_oci.policy.model import Policy, Transition, WatchAction
from scmm_oci.policy.order import Table, listed, words
from scmm_oci.tables import states, syscalls
from scmm_oci.tables.arch import Arch

# A machine is wide that allows more than this share of the square of its states, and lets more than so many calls
# follow a state in the mean: of a program with twenty calls a tenth of the square is two for each.
_MOST_SHARE, _MOST_FOLLOWING = 0.1, 4
# What an attacker wants to come to, if it can come from more states than these, and more than this share of them.
_WANTED = (
    "execve",
    "execveat",
    "ptrace",
    "process_vm_writev",
    "memfd_create",
    "mprotect:exec",
    "pkey_mprotect:exec",
    "socket",
)
_MOST_BEFORE, _MOST_BEFORE_SHARE = 8, 0.25
# After these a thread makes no call, or none that follows them.
_LAST = frozenset({"exit", "exit_group", "execve", "execveat", "rt_sigreturn", "sigreturn", "restart_syscall"})
_RINGS = ("io_uring_setup", "io_uring_enter", "io_uring_register")
_RETURNS = frozenset({"rt_sigreturn", "sigreturn"})
# So many recordings at least show what varies from one to the next.
_FEW = 3


def order_findings(policy: Policy) -> Iterator[LintFinding]:
    """Everything about transitions, serving and watch."""
    held = phases(policy)
    if not held.spoken:
        return
    given = [("transitions", policy.transitions, held.starting)]
    if policy.serving is not None and held.switches:
        given.append(("serving", policy.serving.transitions, held.serving))
    for section, transitions, table in given:
        if transitions is not None and table is not None:
            serves = section == "serving"
            yield from _width(section, table)
            yield from _reached(section, table, held.switches, serves=serves)
            yield from _handlers(section, table)
            yield from _wanted(section, table)
            yield from _histories(section, table, transitions)
    yield from _serving(held)
    yield from _filter(policy, held)
    yield from _abis(policy, held)
    yield from _watch(policy)


def _width(section: str, table: Table) -> Iterator[LintFinding]:
    if table.share > _MOST_SHARE and len(table.edges) > _MOST_FOLLOWING * len(table.states):
        message = (
            f"{len(table.edges)} steps among {len(table.states)} states: {table.share:.0%} of all that there could be"
        )
        yield finding("wide-machine", section, message)


def _reached(section: str, table: Table, switches: Collection[str], *, serves: bool) -> Iterator[LintFinding]:
    if not serves and table.states and not table.rows.get(states.EXEC):
        yield finding("no-start", section, "no program may make its first call: nothing follows start:exec")
    begins = [state for state in states.BEGINNINGS if table.rows.get(state)]
    # A process that begins to serve goes on from the call by which it does, by the transitions for serving.
    leading = [state for call in sorted(switches) for state in states.classes_of(call)]
    begins += leading if serves else []
    reached = _reachable(table, begins)
    lost = [state for state, following in table.rows.items() if following and state not in reached]
    if lost:
        yield finding("unreached-state", section, f"no way leads from a beginning to {listed(words(lost))}")
    last = _LAST if serves else {*_LAST, *leading}
    ends = [one for one in table.called - last if one in reached and not _following(table, one)]
    if ends:
        yield finding("ending-state", section, f"no call may follow {listed(words(ends))}")


def _following(table: Table, state: str) -> bool:
    return bool(table.rows.get(state)) or any(call == state and to for (_, call), to in table.deep.items())


def _reachable(table: Table, begins: Iterable[str]) -> set[str]:
    """The states that some way leads to, whatever histories say of it."""
    following: dict[str, set[str]] = {}
    for state, to in table.edges:
        following.setdefault(state, set()).add(to)
    found = set(begins)
    waiting = deque(found)
    while waiting:
        new = following.get(waiting.popleft(), set()) - found
        found |= new
        waiting.extend(new)
    return found


def _handlers(section: str, table: Table) -> Iterator[LintFinding]:
    if table.rows.get(states.SIGNAL) and not table.called & _RETURNS:
        yield finding("handler-without-return", section, "signal handlers may run, and none may return")


def _wanted(section: str, table: Table) -> Iterator[LintFinding]:
    sources = {state for state, to in table.edges} or {""}
    for word in _WANTED:
        single = set(states.classes_of(word)) if word in states.REFINED else {word}
        befores = {state for state, to in table.edges if to in single}
        if len(befores) > _MOST_BEFORE and len(befores) > _MOST_BEFORE_SHARE * len(sources):
            message = f"{word} may follow {len(befores)} of {len(sources)} states"
            yield finding("reached-from-everywhere", f"{section}: {word}", message)


def _histories(section: str, table: Table, transitions: Iterable[Transition]) -> Iterator[LintFinding]:
    for one in transitions:
        pairs = product(states.expand(one.before), states.expand(one.call)) if one.before else ()
        if one.before and table.edges.isdisjoint(pairs):
            message = f"{one.call} cannot come right after {one.before}, so that what is said of it then never counts"
            yield finding("never-that-history", f"{section}: {one.key}", message)


def _serving(held: Phases) -> Iterator[LintFinding]:
    if not held.switches:
        return
    calls_ = {one for call in held.switches for one in states.classes_of(call)}
    names = ", ".join(sorted(held.switches))
    if held.starting is not None and not held.starting.called & calls_:
        yield finding("never-serving", "serving: from", f"the transitions of the start lead to none of {names}")
    if held.starting is not None and covers(held.serving, held.starting):
        yield finding("serving-not-narrower", "serving", "a process that serves may do all that it may at its start")


def _filter(policy: Policy, held: Phases) -> Iterator[LintFinding]:
    """Calls that only the one of filter and transitions has."""
    view = calls.view(policy)

    def passes(name: str) -> bool:
        entry = view.entry(name)
        return entry.fallback.action.passes or any(answer.action.passes for _, answer in entry.clauses)

    tables = [one for one in (held.starting, held.serving) if one is not None]
    called = {states.call_of(state) or "" for table in tables for state in table.called}
    refused = sorted(name for name in called if not passes(name) and not view.dependent)
    if refused and policy.syscalls:
        message = f"transitions lead to calls that the filter refuses: {listed(refused)}"
        yield finding("refused-in-transitions", "transitions", message)
    if len(tables) == 2 or not held.switches:
        # What nobody judges may follow.
        never = sorted(name for name in view.entries if passes(name) and name not in called and name not in _LAST)
        if never and held.starting is not None and not view.default.action.passes:
            message = f"the filter allows calls that no transition leads to: {listed(never)}"
            yield finding("allowed-and-never-called", "syscalls", message)
    rings = [name for name in _RINGS if name in called or (name in view.entries and passes(name))]
    if rings:
        message = f"the program may use {', '.join(rings)}, and what a ring does is no call that a watch sees"
        yield finding("watch-blind-to-rings", "transitions", message)


def _abis(policy: Policy, held: Phases) -> Iterator[LintFinding]:
    tables = [one for one in (held.starting, held.serving) if one is not None]
    called = {states.call_of(state) or "" for table in tables for state in table.called}
    for arch in policy.settings.architectures:
        there = _tabled(arch)
        gone = sorted(called - there)
        if gone and called & there:
            message = f"{arch} lacks calls that transitions lead to, and programs make others there: {listed(gone)}"
            yield finding("transitions-of-one-abi", f"settings: {arch}", message)


def _tabled(arch: Arch) -> set[str]:
    return {name for name, number in syscalls.numbers(arch).items() if number < states.FIRST}


def _watch(policy: Policy) -> Iterator[LintFinding]:
    if policy.watch not in (WatchAction.FREEZE, WatchAction.KILL):
        return
    named = policy.metadata.generated_from
    recordings = len(named.split(", ")) if named else 0
    # A rule says so where not all recordings had it.
    some = max((rule.origin.recordings for rule in policy.syscalls if rule.origin is not None), default=0)
    recordings = max(recordings, some + 1 if some else 0)
    if recordings < _FEW:
        what = f"{recordings} recording{'s' if recordings != 1 else ''}" if recordings else "no recording"
        message = f"a step that is new ends in {policy.watch}, and the policy names {what} that it comes from"
        yield finding("watch-on-thin-evidence", "watch", message)
