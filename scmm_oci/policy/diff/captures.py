"""A policy against new recordings: what they need and it refuses, and what it allows and none of them used.

No policy is made of the recordings: one would have other patterns than the policy has, which differ without a reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scmm_oci.capture.model import Capture, Phase
from scmm_oci.policy.admit import Files, refusals
from scmm_oci.policy.answers import Answer, entries
from scmm_oci.policy.diff.words import Difference, Kind, described
from scmm_oci.policy.infer.network import direction_of, is_ip, protocol_of
from scmm_oci.policy.infer.observe import name_of
from scmm_oci.policy.model import NetworkRule, PathRule, Policy
from scmm_oci.policy.paths.exceptions import lowered


def drift(policy: Policy, captures: Sequence[Capture]) -> tuple[Difference, ...]:
    """What the recordings would change, sorted: refused is new, unused is gone.

    Raises:
        BadInput: the policy has constraints that no filter can hold.
    """
    found: set[Difference] = set()
    for capture in captures:
        for one in refusals(policy, capture):
            found.add(Difference(one.section, one.what, Kind.NEW, "–", one.detail or "used", True))
    found.update(_calls(policy, captures))
    found.update(_files(policy.filesystem or (), captures))
    if policy.network is not None:
        for direction, rules in (("outbound", policy.network.outbound), ("inbound", policy.network.inbound)):
            found.update(_network(direction, rules, captures))
    return tuple(sorted(found))


def _calls(policy: Policy, captures: Sequence[Capture]) -> Iterator[Difference]:
    made = {name_of(call) for capture in captures for _, call in capture.calls(Phase.APP) if call.entered}
    for name, entry in entries(policy).items():
        rules = [*entry.constrained, *([entry.plain] if entry.plain is not None else [])]
        allowing = [rule for rule in rules if rule.action.passes]
        if allowing and name not in made:
            yield Difference(
                "syscalls", name, Kind.GONE, described(Answer.of(allowing[0], policy.settings)), "–", False
            )


def _files(rules: Sequence[PathRule], captures: Sequence[Capture]) -> Iterator[Difference]:
    needed: set[str] = set()
    for capture in captures:
        for use in capture.files:
            if use.access:
                needed.add(use.path)
            if use.parent_access:
                needed.add(use.path.rpartition("/")[0] or "/")
    used = Files(rules).used(needed)
    for rule in rules:
        if not any(one.path in used for one in lowered(rule)):
            yield Difference("filesystem", rule.path, Kind.GONE, ", ".join(rule.access), "–", False)


def _network(direction: str, rules: Sequence[NetworkRule], captures: Sequence[Capture]) -> Iterator[Difference]:
    used = {
        (protocol_of(use), use.port)
        for capture in captures
        for use in capture.sockets
        if is_ip(use) and direction_of(use) == direction
    }
    for rule in rules:
        ports = ", ".join(map(str, rule.ports)) or "any"
        mine = [port for protocol, port in used if protocol is rule.protocol and port is not None]
        fits = [port for port in mine if not rule.ports or any(one.first <= port <= one.last for one in rule.ports)]
        if not fits:
            yield Difference("network", f"{direction} {rule.protocol}", Kind.GONE, f"ports {ports}", "–", False)
