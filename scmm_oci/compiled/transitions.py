"""A policy's transitions by name → pairs of numbers for each ABI. Pure. Called by compiled.policy_file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from scmm_oci.compiled.polfile.model import SIGNAL, START, Transitions
from scmm_oci.errors import Finding
from scmm_oci.policy.model import Policy, Transition
from scmm_oci.tables import groups, syscalls
from scmm_oci.tables.arch import Arch

_STATES = {"start": START, "signal": SIGNAL}


def transitions(policy: Policy) -> tuple[tuple[Transitions, ...], list[Finding]]:
    """Which call may follow which, for each ABI that the policy is for, in their order.

    Groups are taken apart, and a name that an ABI lacks is left out there. A policy that does not speak of transitions
    has none; one that lists none has an empty list for each ABI, by which no call may follow another.
    """
    if policy.transitions is None:
        return (), []
    found, findings = [], []
    for arch in policy.settings.architectures:
        edges, beyond = _edges(policy.transitions, arch)
        found.append(Transitions(arch, tuple(sorted(edges))))
        if beyond:
            names = ", ".join(sorted(beyond))
            message = f"numbers of {arch} calls that have more than 16 bits are in no transition: {names}"
            findings.append(Finding("transitions-left-out", message))
    return tuple(found), findings


def _edges(given: Iterable[Transition], arch: Arch) -> tuple[set[tuple[int, int]], set[str]]:
    """The pairs on one ABI, and the calls that cannot be in any: ARM's own begin at 0xF0000 (asm/unistd.h)."""
    known = syscalls.numbers(arch)
    edges: set[tuple[int, int]] = set()
    beyond: set[str] = set()
    for one in given:
        # Some ABIs have a call of the name signal: what begins is the handler all the same.
        state = _STATES.get(one.call)
        first = [state] if state is not None else _held(_names((one.call,)), known, beyond)
        after = _held(_names(one.to), known, beyond)
        edges.update((before, following) for before in first for following in after)
    return edges, beyond


def _names(words: Iterable[str]) -> list[str]:
    names: list[str] = []
    for word in words:
        names += [member.name for member in groups.expand(word)] if word.startswith("@") else [word]
    return names


def _held(names: Iterable[str], known: Mapping[str, int], beyond: set[str]) -> list[int]:
    """The numbers of those that the ABI has; what is too large goes to `beyond`."""
    numbers = []
    for name in names:
        number = known.get(name)
        if number is not None and number >= SIGNAL:
            beyond.add(name)
        elif number is not None:
            numbers.append(number)
    return numbers
