"""A policy or a compiled policy file → what is enforced of it: filters, and rules for files and ports. Pure.

Called by compiled.verify.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scmm_oci.compiled import machines, needed
from scmm_oci.compiled.bpf import RET, RET_ALLOW, Instruction, Program
from scmm_oci.compiled.filter import build, of_policy
from scmm_oci.compiled.polfile.model import Missing, PolicyFile, PortRule, Ruleset
from scmm_oci.compiled.polfile.paths import to_text
from scmm_oci.errors import BadInput, Problem
from scmm_oci.policy.machine import Machine
from scmm_oci.policy.model import Network, NetworkRule, OnMissing, PathRule, Policy, PortRange, Protocol
from scmm_oci.tables import landlock
from scmm_oci.tables.arch import Arch

_MISSING = {
    Missing.SKIP: OnMissing.SKIP,
    Missing.PRECREATE: OnMissing.PRECREATE,
    Missing.PARENTDIR: OnMissing.PARENTDIR,
}
_NETWORK = {
    ("outbound", Protocol.TCP): landlock.NET_RIGHTS["connect_tcp"],
    ("inbound", Protocol.TCP): landlock.NET_RIGHTS["bind_tcp"],
    ("outbound", Protocol.UDP): landlock.NET_RIGHTS["connect_send_udp"],
    ("inbound", Protocol.UDP): landlock.NET_RIGHTS["bind_udp"],
}


@dataclass(frozen=True)
class Enforced:
    """What is enforced.

    Attributes:
        filters: by the ABI of the kernel that they are for.
        policy: what rules for files and ports there are; of a policy all else that it says too.
        answers: whether ``policy`` speaks of system calls. A compiled filter's rules are not known.
        unhandled: rights on files that are not refused anywhere.
        machines: by ABI; none if there are no transitions.
    """

    filters: Mapping[Arch, Program]
    policy: Policy
    answers: bool
    unhandled: tuple[str, ...] = ()
    machines: Mapping[Arch, Machine] = field(default_factory=dict)

    def filter_for(self, machine: Arch) -> Program:
        """The filter for kernels of an architecture; one that allows everything where there is none at all.

        Raises:
            BadInput: there are filters, but for others only.
        """
        if not self.filters:
            return (Instruction(RET, RET_ALLOW),)
        if machine not in self.filters:
            known = ", ".join(self.filters) or "none"
            message = f"the captures are of {machine}, and there is no filter for that"
            raise BadInput([Problem("", message, f"there is one for: {known}")])
        return self.filters[machine]


def of_a_policy(policy: Policy) -> Enforced:
    """What is enforced of a policy without rules that depend on the container.

    Raises:
        BadInput: there is no filter for it, or it refuses what every program needs.
    """
    needed.check(policy)
    whole, _ = needed.completed(policy)
    found = {
        arch: machine for arch in policy.settings.architectures if (machine := Machine.of(policy, arch)) is not None
    }
    return Enforced({whole.settings.arch: build(of_policy(whole))}, whole, answers=True, machines=found)


def of_a_file(file: PolicyFile) -> Enforced:
    """What is enforced of a compiled policy."""
    filters = {one.arch: one.program for one in file.filters}
    found = {one.arch: one for one in machines.machines(file.transitions, file.watch)}
    if file.ruleset is None:
        return Enforced(filters, Policy(), answers=False, machines=found)
    rules = file.ruleset
    files = _files(rules) if rules.handled_fs else None
    network = _network(rules) if rules.handled_net else None
    unhandled = landlock.fs_names(landlock.ALL_FS & ~rules.handled_fs)
    policy = Policy(filesystem=files, network=network)
    return Enforced(filters, policy, answers=False, unhandled=unhandled, machines=found)


def _files(rules: Ruleset) -> tuple[PathRule, ...]:
    return tuple(
        PathRule(to_text(one.components, one.kind), landlock.fs_names(one.access), _MISSING[one.on_missing])
        for one in rules.paths
    )


def _network(rules: Ruleset) -> Network:
    return Network(
        outbound=tuple(_peers(rules, "outbound", rules.ports)), inbound=tuple(_peers(rules, "inbound", rules.ports))
    )


def _peers(rules: Ruleset, direction: str, ports: Sequence[PortRule]) -> list[NetworkRule]:
    found = []
    for protocol in Protocol:
        right = _NETWORK[direction, protocol]
        if not rules.handled_net & right:
            found.append(NetworkRule(protocol))  # nothing is refused
            continue
        ranges = tuple(PortRange(one.first, one.last) for one in ports if one.access & right)
        if ranges:
            found.append(NetworkRule(protocol, ports=ranges))
    return found
