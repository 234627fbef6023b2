"""A policy's transitions by word → codes of states for each ABI, and what a watch is to do. Pure.

Called by compiled.policy_file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scmm_oci.compiled.polfile.codes import called_code, code_of
from scmm_oci.compiled.polfile.model import NOTHING, Machine, Transitions, Watch
from scmm_oci.errors import Finding
from scmm_oci.policy.model import Policy, Transition, WatchAction
from scmm_oci.tables import groups
from scmm_oci.tables.arch import Arch


def transitions(policy: Policy) -> tuple[Transitions, ...]:
    """Which call may follow which, for each ABI that the policy is for, in their order.

    Groups are taken apart, and a name that an ABI lacks is left out there. A policy that does not speak of transitions
    has none; one that lists none has an empty list for each ABI, by which no call may follow another. Those that ask
    for what was before are in the machines of `watch`.
    """
    given = policy.transitions
    if given is None:
        return ()
    return tuple(Transitions(arch, tuple(sorted(_edges(given, arch)))) for arch in policy.settings.architectures)


def watch(policy: Policy) -> Watch | None:
    """What a watch is to do, and what ABIs have beyond plain transitions; None where the policy has nothing of it."""
    machines = [_machine(policy, arch) for arch in policy.settings.architectures]
    machines = [one for one in machines if one != Machine(one.arch)]
    if policy.watch is None and not machines:
        return None
    return Watch((policy.watch or WatchAction.ALERT).value, tuple(machines))


def never_serving(policy: Policy) -> list[Finding]:
    """Told of ABIs that lack every call with which a process goes over to the serving transitions."""
    if policy.serving is None:
        return []
    names = ", ".join(policy.serving.calls) or "the calls that lead over"
    return [
        Finding("never-serving", f"{arch} has none of {names}: its calls lead nobody over to the serving transitions")
        for arch in policy.settings.architectures
        if not _codes(policy.serving.calls, arch)
    ]


def _machine(policy: Policy, arch: Arch) -> Machine:
    deep = tuple(sorted(_triples(policy.transitions or (), arch)))
    serving = policy.serving
    if serving is None:
        return Machine(arch, deep=deep)
    return Machine(
        arch,
        tuple(sorted(_codes(serving.calls, arch))),
        tuple(sorted(_edges(serving.transitions, arch))),
        deep,
        tuple(sorted(_triples(serving.transitions, arch))),
    )


def _edges(given: Iterable[Transition], arch: Arch) -> set[tuple[int, int]]:
    """The pairs on one ABI, of transitions that do not ask for what was before."""
    edges: set[tuple[int, int]] = set()
    for one in given:
        if not one.before:
            after = _codes(one.to, arch)
            edges.update((before, following) for before in _beginnings(one.call, arch) for following in after)
    return edges


def _triples(given: Sequence[Transition], arch: Arch) -> set[tuple[int, int, int]]:
    """The triples on one ABI, of transitions that do ask. A pair of which no following call is there has NOTHING."""
    following: dict[tuple[int, int], set[int]] = {}
    for one in given:
        if one.before:
            after = _codes(one.to, arch)
            for first in _beginnings(one.before, arch):
                for before in _codes((one.call,), arch):
                    following.setdefault((first, before), set()).update(after)
    return {(*pair, after) for pair, codes in following.items() for after in codes or {NOTHING}}


def _beginnings(word: str, arch: Arch) -> set[int]:
    """The codes of what transitions lead from: a beginning, or calls."""
    if word.startswith("@"):
        return _codes((word,), arch)
    code = code_of(word, arch)
    return set() if code is None else {code}


def _codes(words: Iterable[str], arch: Arch) -> set[int]:
    """The codes of calls, classes and groups that an ABI has."""
    names: list[str] = []
    for word in words:
        names += [member.name for member in groups.expand(word)] if word.startswith("@") else [word]
    return {code for name in names if (code := called_code(name, arch)) is not None}
