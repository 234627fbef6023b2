"""Differences between two policies' rules for files and for peers. Called by policy.diff only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scmm_oci.policy.diff.words import Difference, Kind, kind_of
from scmm_oci.policy.merge import files, network
from scmm_oci.policy.model import Network, NetworkRule, OnMissing, PathRule

_Key = tuple[str, tuple[str, ...]]


def file_differences(first: Sequence[PathRule] | None, second: Sequence[PathRule] | None) -> Iterator[Difference]:
    """By pattern: rights that are granted there by no rule before, or by none after; and what is done when it lacks."""
    if first is None or second is None:
        if first is not second:
            texts = ["–" if one is None else f"{len(one)} rules" for one in (first, second)]
            yield Difference("filesystem", "filesystem", kind_of(first, second), texts[0], texts[1], second is None)
        return
    old, new = files.union(first), files.union(second)
    more, less = _by_path(files.difference(new, old)), _by_path(files.difference(old, new))
    before, after = _by_path(old), _by_path(new)
    made, makes = ({rule.path for rule in one if rule.on_missing is OnMissing.PRECREATE} for one in (old, new))
    for path in sorted(more.keys() | less.keys() | (made ^ makes)):
        kind = kind_of(before.get(path), after.get(path))
        wider = path in more or path in makes - made
        yield Difference("filesystem", path, kind, _words(before.get(path)), _words(after.get(path)), wider)


def network_differences(first: Network | None, second: Network | None) -> Iterator[Difference]:
    """By direction, protocol and addresses: ports that no rule allows before, or none after."""
    if first is None or second is None:
        if first is not second:
            texts = ["–" if one is None else _count(one) for one in (first, second)]
            yield Difference("network", "network", kind_of(first, second), texts[0], texts[1], second is None)
        return
    if first.allow_loopback != second.allow_loopback:
        texts = [str(one.allow_loopback) for one in (first, second)]
        yield Difference("network", "allow_loopback", Kind.CHANGED, texts[0], texts[1], second.allow_loopback)
    more, less = network.difference(second, first), network.difference(first, second)
    old, new = network.union([first]), network.union([second])
    for direction in ("outbound", "inbound"):
        changed, gone, before, after = (_by_peer(getattr(one, direction)) for one in (more, less, old, new))
        for key in sorted(changed.keys() | gone.keys()):
            protocol, addresses = key
            what = f"{direction} {protocol} {', '.join(addresses) or 'any'}"
            kind = kind_of(before.get(key), after.get(key))
            texts = [_ports(one.get(key)) for one in (before, after)]
            yield Difference("network", what, kind, texts[0], texts[1], key in changed)


def _by_path(rules: Sequence[PathRule]) -> dict[str, list[PathRule]]:
    found: dict[str, list[PathRule]] = {}
    for rule in rules:
        found.setdefault(rule.path, []).append(rule)
    return found


def _words(rules: Sequence[PathRule] | None) -> str:
    if not rules:
        return "–"
    return "; ".join(
        ", ".join(rule.access)
        + (f" ({rule.on_missing})" if rule.on_missing is not OnMissing.SKIP else "")
        + (f" except {', '.join(rule.excluded)}" if rule.excluded else "")
        for rule in rules
    )


def _by_peer(rules: Sequence[NetworkRule]) -> dict[_Key, NetworkRule]:
    return {(rule.protocol.value, rule.addresses): rule for rule in rules}


def _ports(rule: NetworkRule | None) -> str:
    if rule is None:
        return "–"
    return f"ports {', '.join(map(str, rule.ports))}" if rule.ports else "all ports"


def _count(one: Network) -> str:
    return f"{len(one.outbound) + len(one.inbound)} rules"
