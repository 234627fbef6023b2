"""A policy's files, peers and scopes → one Landlock ruleset in raw bits, and what Landlock cannot hold of them.

Rights are not cut to what some kernel has: the launcher does that, by the ABI that it finds and by the type of each
target. Pure. Called by compiled.policy_file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from scmm_oci.compiled.polfile.model import Component, Missing, PathKind, PathRule, PortRule, Ruleset
from scmm_oci.compiled.polfile.paths import from_pattern, to_text
from scmm_oci.errors import BadInput, Finding, Problem
from scmm_oci.policy.model import Network, NetworkRule, OnMissing, Policy, PortRange, Protocol
from scmm_oci.policy.model import PathRule as PolicyPathRule
from scmm_oci.policy.paths.exceptions import lowered, place_of
from scmm_oci.policy.paths.patterns import Pattern
from scmm_oci.tables import landlock

# Every port is a rule of its own to the kernel, and so a call of the launcher: about 1 ms for so many.
MANY_PORTS = 4096

_MISSING = {
    OnMissing.SKIP: Missing.SKIP,
    OnMissing.PRECREATE: Missing.PRECREATE,
    OnMissing.PARENTDIR: Missing.PARENTDIR,
}
_RIGHTS = {
    ("outbound", Protocol.TCP): landlock.NET_RIGHTS["connect_tcp"],
    ("inbound", Protocol.TCP): landlock.NET_RIGHTS["bind_tcp"],
    ("outbound", Protocol.UDP): landlock.NET_RIGHTS["connect_send_udp"],
    ("inbound", Protocol.UDP): landlock.NET_RIGHTS["bind_udp"],
}
_LAST_PORT = 65535


# The text of a path, what is done where it is missing, and from where on it has no links.
_Key = tuple[str, Missing, int]


@dataclass
class _Rule:
    """Rules for one path on their way to one: how the first writes it, and the rights of all."""

    path: str
    components: tuple[Component, ...]
    kind: PathKind
    access: int = 0


def ruleset(policy: Policy) -> tuple[Ruleset | None, list[Finding]]:
    """The ruleset that the policy asks for, and what is not held of what it says.

    A policy that speaks of files has all rights on files handled, one that speaks of the network all on ports but
    those that it leaves open for every port. None if nothing is left to handle.

    Raises:
        BadInput: a pattern or a right is none that can be; with all that are wrong.
    """
    findings: list[Finding] = []
    paths = _paths(policy.filesystem or (), findings)
    handled_fs = 0
    if policy.filesystem is not None:
        free = _free(paths)
        handled_fs = landlock.ALL_FS & ~free
        paths = _without(free, paths)
    handled_net, ports = _network(policy.network, findings) if policy.network is not None else (0, ())
    scoped = 0
    for scope in policy.scopes or ():
        scoped |= landlock.SCOPES[scope]
    if scoped:
        findings.append(
            Finding("scopes-need-abi-6", "scopes hold from Landlock's ABI 6 (Linux 6.12) on", "check with scmm doctor")
        )
    peers = policy.network.outbound + policy.network.inbound if policy.network is not None else ()
    has_addresses = any(map(_has_addresses, peers))
    if not (handled_fs or handled_net or scoped or has_addresses):
        return None, findings
    abi = max(landlock.abi_of_fs(handled_fs), landlock.abi_of_net(handled_net), landlock.abi_of_scopes(scoped))
    return Ruleset(handled_fs, handled_net, scoped, abi, paths, ports, has_addresses), findings


def _paths(rules: Sequence[PolicyPathRule], findings: list[Finding]) -> tuple[PathRule, ...]:
    """The rules, those for the same path as one; in the order of their texts."""
    problems: list[Problem] = []
    # By the text that only this path has, and from where on it has no links.
    found: dict[_Key, _Rule] = {}
    for index, plain_from, rule in (
        (index, _plain_from(whole), one) for index, whole in enumerate(rules) for one in lowered(whole)
    ):
        place = f".filesystem.rules[{index}].path"
        try:
            pattern = Pattern.parse(rule.path, place=place)
            components, kind = from_pattern(pattern, place=place)
        except BadInput as error:
            problems += error.problems
            continue
        try:
            access = _fs_mask(rule.access)
        except BadInput as error:
            place = f".filesystem.rules[{index}].access"
            problems += [Problem(place, one.message, one.hint) for one in error.problems]
            continue
        text = rule.path if pattern.literal == rule.path else to_text(components, kind)
        key = (text, _missing(rule, kind, findings), plain_from)
        if key not in found:
            found[key] = _Rule(rule.path, components, kind)
        found[key].access |= access
    if problems:
        raise BadInput(problems)
    _make_once(found)
    # By bytes, as patterns may hold any character.
    ordered = sorted(found, key=lambda key: (key[0].encode("utf-8", "surrogateescape"), *key[1:]))
    return tuple(
        PathRule(rule.components, rule.kind, rule.access, missing, _abi_of_fs(rule.access), plain_from)
        for missing, plain_from, rule in ((*key[1:], found[key]) for key in ordered)
        if _has_effect(rule, missing, findings)
    )


def _free(rules: Sequence[PathRule]) -> int:
    """Rights of newer kernels that a rule for the root directory gives on every file.

    They are not handled, so that older kernels hold the whole of the policy, too. Without refer: unless it is handled,
    Landlock refuses it (landlock(7)).
    """
    everywhere = 0
    for rule in rules:
        if not rule.components and rule.kind is not PathKind.FILES:
            everywhere |= rule.access
    refer = landlock.FS_RIGHTS["refer"]
    return everywhere & ~landlock.fs_of_abi(1) & ~refer


def _without(rights: int, rules: Sequence[PathRule]) -> tuple[PathRule, ...]:
    kept = (replace(one, access=one.access & ~rights, abi=_abi_of_fs(one.access & ~rights)) for one in rules)
    return tuple(one for one in kept if one.access) if rights else tuple(rules)


def _plain_from(rule: PolicyPathRule) -> int:
    """A link in the directory of exceptions could lead to what is excepted; and ``/**`` itself follows none either."""
    return len(place_of(rule.path)) + 1 if rule.excluded else 0


# There are few different lists of rights.
_fs_mask = lru_cache(maxsize=1 << 12)(landlock.fs_mask)
_abi_of_fs = lru_cache(maxsize=1 << 12)(landlock.abi_of_fs)


def _missing(rule: PolicyPathRule, kind: PathKind, findings: list[Finding]) -> Missing:
    if kind is PathKind.FILES and rule.on_missing is OnMissing.PRECREATE:
        message = f"{rule.path} stands for no single file, so none is made where it is missing"
        findings.append(Finding("not-precreated", message, "name the file, or use parentdir"))
        return Missing.SKIP
    return _MISSING[rule.on_missing]


def _make_once(found: dict[_Key, _Rule]) -> None:
    """What one rule makes is there for another that would skip it: the two are one."""
    for key in [key for key in found if key[1] is Missing.PRECREATE]:
        other = found.pop((key[0], Missing.SKIP, key[2]), None)
        if other is not None:
            found[key].access |= other.access


def _has_effect(rule: _Rule, missing: Missing, findings: list[Finding]) -> bool:
    """Whether the rule can grant anything: a pattern for files grants no right that only directories have.

    Where its path is missing, ``parentdir`` gives the rights to a directory.
    """
    if rule.kind is not PathKind.FILES or rule.access & landlock.FILE_RIGHTS or missing is Missing.PARENTDIR:
        return bool(rule.access)
    rights = ", ".join(landlock.fs_names(rule.access))
    message = f"{rule.path} stands for files, and {rights} can be granted on directories only: the rule does nothing"
    findings.append(Finding("no-right-on-files", message, "name the directory"))
    return False


def _network(network: Network, findings: list[Finding]) -> tuple[int, tuple[PortRule, ...]]:
    """The rights that are handled, and the ports that have some of them."""
    handled = landlock.ALL_NET
    ports: dict[int, list[PortRange]] = {}
    for direction, rules in (("outbound", network.outbound), ("inbound", network.inbound)):
        for protocol in Protocol:
            right = _RIGHTS[direction, protocol]
            chosen = _union([rule for rule in rules if rule.protocol is protocol])
            if _is_open(chosen, direction):
                handled &= ~right
            else:
                ports[right] = chosen
        _tell(direction, rules, handled, findings)
    if network.allow_loopback and handled:
        message = "Landlock cannot tell loopback: its ports are refused as any others that have no rule"
        findings.append(Finding("loopback-not-held", message, "give rules for the ports"))
    found = _disjoint(ports)
    count = sum(rule.last - rule.first + 1 for rule in found)
    if count > MANY_PORTS:
        message = f"the rules for ports come to {count} ports, each a rule for the kernel: every start takes longer"
        findings.append(Finding("many-ports", message, "name fewer ports, or every port"))
    return handled, found


def _has_addresses(rule: NetworkRule) -> bool:
    return bool(rule.addresses) and "any" not in rule.addresses


def _tell(direction: str, rules: Sequence[NetworkRule], handled: int, findings: list[Finding]) -> None:
    if any(map(_has_addresses, rules)):
        message = f"Landlock holds no addresses: {direction} rules for one peer's port allow every peer on it"
        findings.append(Finding("addresses-not-held", message, "hold them with the container's network"))
    if any(rule.protocol is Protocol.UDP for rule in rules) and handled & _RIGHTS[direction, Protocol.UDP]:
        message = f"{direction} rules for UDP hold from Landlock's ABI 10 ({landlock.kernel_of(10)}) on"
        findings.append(Finding("udp-needs-abi-10", message, "below that, any UDP port is reachable"))


def _union(rules: Sequence[NetworkRule]) -> list[PortRange]:
    """The ports of the rules as ranges in order, neighbours joined. A rule without ports is for all of them."""
    given = sorted(one for rule in rules for one in rule.ports or (PortRange(0, _LAST_PORT),))
    found: list[PortRange] = []
    for one in given:
        if found and one.first <= found[-1].last + 1:
            found[-1] = PortRange(found[-1].first, max(found[-1].last, one.last))
        else:
            found.append(one)
    return found


def _is_open(ports: Sequence[PortRange], direction: str) -> bool:
    """Whether every port is allowed. Port 0 is one that the kernel chooses, and no peer has it."""
    first = 0 if direction == "inbound" else 1
    return len(ports) == 1 and ports[0].first <= first and ports[0].last == _LAST_PORT


def _disjoint(ports: dict[int, list[PortRange]]) -> tuple[PortRule, ...]:
    """Rules for ranges of which no two have a port in common, as few as there can be."""
    changes: dict[int, int] = {}
    for right, ranges in ports.items():
        for one in ranges:
            # A right begins or ends; the ranges of one right are apart, so its changes do not meet.
            changes[one.first] = changes.get(one.first, 0) ^ right
            changes[one.last + 1] = changes.get(one.last + 1, 0) ^ right
    found: list[PortRule] = []
    access, begin = 0, 0
    for port, change in sorted(changes.items()):
        if access and change:
            found.append(PortRule(begin, port - 1, access, landlock.abi_of_net(access)))
        if change:
            access ^= change
            begin = port
    return tuple(found)
