"""What a policy allows beyond what captures hold: calls, arguments, rights on files, ports. Pure.

Called by compiled.verify, which knows what the filter does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from scmm_oci.capture.model import Capture
from scmm_oci.policy.infer.network import direction_of, is_ip, protocol_of
from scmm_oci.policy.model import Network, OnMissing, PathRule, Policy
from scmm_oci.policy.paths.exceptions import lowered
from scmm_oci.policy.paths.patterns import Pattern, PatternSet


@dataclass(frozen=True, order=True)
class Open:
    """An argument whose values were recorded, and which may be any: how many values were seen."""

    call: str
    arch: str
    indexes: tuple[int, ...]
    values: int


@dataclass(frozen=True, order=True)
class Wider:
    """A rule for files with rights that nothing used; ``unused``: nothing used the rule at all."""

    path: str
    rights: tuple[str, ...]
    unused: bool


@dataclass(frozen=True)
class Beyond:
    """What is allowed and was not recorded, each sorted.

    Attributes:
        calls: names of calls.
        ports: direction, protocol and ports of what no peer used.
    """

    calls: tuple[str, ...]
    arguments: tuple[Open, ...]
    files: tuple[Wider, ...]
    ports: tuple[str, ...]


def beyond(policy: Policy, captures: Sequence[Capture], *, calls: Iterable[str], opened: Iterable[Open]) -> Beyond:
    """What the policy's rules for files and ports allow beyond the captures, beside calls and arguments."""
    network = () if policy.network is None else _ports(policy.network, captures)
    return Beyond(
        tuple(sorted(calls)),
        tuple(sorted(set(opened))),
        tuple(sorted(_files(policy.filesystem or (), captures))),
        tuple(sorted(set(network))),
    )


def _files(rules: Sequence[PathRule], captures: Sequence[Capture]) -> Iterator[Wider]:
    used: defaultdict[str, set[str]] = defaultdict(set)
    reached = {rule: _patterns(rule) for rule in rules}
    patterns = PatternSet(pattern for some in reached.values() for pattern in some)
    for capture in captures:
        for use in capture.files:
            for path, rights in ((use.path, use.access), (use.path.rpartition("/")[0] or "/", use.parent_access)):
                for pattern in patterns.granting(path) if rights else ():
                    used[pattern.text].update(rights)
    for rule in rules:
        needed = set().union(*(used[pattern.text] for pattern in reached[rule]))
        given = [
            each for right in rule.access for each in (("remove_file", "remove_dir") if right == "remove" else (right,))
        ]
        more = tuple(sorted(set(given) - needed))
        if more:
            yield Wider(rule.path, more, not needed & set(given))


def _patterns(rule: PathRule) -> tuple[Pattern, ...]:
    """What a rule grants its rights on: with ``parentdir`` also on the directory, where nothing is there."""
    if rule.excluded:
        return tuple(Pattern.parse(one.path) for one in lowered(rule))
    own = Pattern.parse(rule.path)
    if rule.on_missing is not OnMissing.PARENTDIR:
        return (own,)
    return own, Pattern.parse(rule.path.removesuffix("/**").rpartition("/")[0] or "/")


def _ports(network: Network, captures: Sequence[Capture]) -> Iterator[str]:
    used = {
        (direction_of(use), protocol_of(use), use.port)
        for capture in captures
        for use in capture.sockets
        if is_ip(use) and use.port is not None
    }
    for direction, rules in (("inbound", network.inbound), ("outbound", network.outbound)):
        for rule in rules:
            mine = {port for way, protocol, port in used if way == direction and protocol is rule.protocol}
            if not rule.ports and not mine:
                yield f"{direction} {rule.protocol} any port"
            for ports in rule.ports:
                if not any(port is not None and ports.first <= port <= ports.last for port in mine):
                    yield f"{direction} {rule.protocol} {ports}"
