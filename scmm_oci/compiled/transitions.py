"""A policy's transitions by name → pairs of numbers for each ABI. Pure. Called by compiled.policy_file."""

from __future__ import annotations

from collections.abc import Iterable

from scmm_oci.compiled.polfile.model import SIGNAL, START, Transitions
from scmm_oci.policy.model import Policy, Transition
from scmm_oci.tables import groups, syscalls
from scmm_oci.tables.arch import Arch

_STATES = {"start": START, "signal": SIGNAL}


def transitions(policy: Policy) -> tuple[Transitions, ...]:
    """Which call may follow which, for each ABI that the policy is for, in their order.

    Groups are taken apart, and a name that an ABI lacks is left out there. A policy that does not speak of transitions
    has none; one that lists none has an empty list for each ABI, by which no call may follow another.
    """
    given = policy.transitions
    if given is None:
        return ()
    return tuple(Transitions(arch, tuple(sorted(_edges(given, arch)))) for arch in policy.settings.architectures)


def _edges(given: Iterable[Transition], arch: Arch) -> set[tuple[int, int]]:
    """The pairs on one ABI."""
    known = syscalls.numbers(arch)
    edges: set[tuple[int, int]] = set()
    for one in given:
        # Some ABIs have a call of the name signal: what begins is the handler all the same.
        state = _STATES.get(one.call)
        first = [state] if state is not None else [known[name] for name in _names((one.call,)) if name in known]
        after = [known[name] for name in _names(one.to) if name in known]
        edges.update((before, following) for before in first for following in after)
    return edges


def _names(words: Iterable[str]) -> list[str]:
    names: list[str] = []
    for word in words:
        names += [member.name for member in groups.expand(word)] if word.startswith("@") else [word]
    return names
