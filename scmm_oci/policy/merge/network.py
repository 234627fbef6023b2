"""Rules for peers and ports, joined. Rules for the same protocol and addresses become one, with all their ports.

Called by policy.merge and policy.diff.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from itertools import product

from scmm_oci.policy.merge.notes import join_origins
from scmm_oci.policy.model import Network, NetworkRule, PortRange

Rules = tuple[NetworkRule, ...]
Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network


def union(networks: Iterable[Network]) -> Network:
    """What any of them allows."""
    given = tuple(networks)
    return Network(
        any(one.allow_loopback for one in given),
        joined(rule for one in given for rule in one.outbound),
        joined(rule for one in given for rule in one.inbound),
    )


def intersection(first: Network, second: Network) -> Network:
    """What both allow."""
    return Network(
        first.allow_loopback and second.allow_loopback,
        _common(first.outbound, second.outbound),
        _common(first.inbound, second.inbound),
    )


def difference(first: Network, second: Network) -> Network:
    """The rules of the first, less the ports that single rules of the second allow to the same peers."""
    return Network(
        first.allow_loopback and not second.allow_loopback,
        _less(first.outbound, second.outbound),
        _less(first.inbound, second.inbound),
    )


def joined(rules: Iterable[NetworkRule]) -> Rules:
    """The rules, those for the same peers as one, sorted. A rule without ports or addresses is for all of them."""
    found: dict[tuple[str, tuple[str, ...]], list[NetworkRule]] = {}
    for rule in rules:
        found.setdefault((rule.protocol, addresses_of(rule)), []).append(rule)
    return tuple(
        NetworkRule(
            same[0].protocol,
            addresses,
            () if any(not rule.ports for rule in same) else _short(port for rule in same for port in rule.ports),
            tuple(sorted({one for rule in same for one in rule.observed_addresses}, key=_address_key)),
            join_origins(rule.origin for rule in same),
        )
        for (_, addresses), same in sorted(found.items())
    )


@lru_cache(maxsize=1 << 16)
def _network(word: str) -> Subnet:
    return ipaddress.ip_network(word, strict=False)


@lru_cache(maxsize=1 << 14)
def addresses_of(rule: NetworkRule) -> tuple[str, ...]:
    """The rule's networks in one form and order, without those within others; nothing if it is for every peer."""
    if not rule.addresses or "any" in rule.addresses:
        return ()
    return _written(_network(word) for word in rule.addresses)


def ranges(ports: Iterable[PortRange]) -> tuple[PortRange, ...]:
    """The ports as ranges in order, neighbours joined."""
    found: list[PortRange] = []
    for one in sorted(ports):
        if found and one.first <= found[-1].last + 1:
            found[-1] = PortRange(found[-1].first, max(found[-1].last, one.last))
        else:
            found.append(one)
    return tuple(found)


def less(ports: Iterable[PortRange], others: Iterable[PortRange]) -> tuple[PortRange, ...]:
    """The ports that are in none of the others."""
    left = list(ranges(ports))
    for other in others:
        left = [
            piece
            for one in left
            for piece in (
                PortRange(one.first, min(one.last, other.first - 1)),
                PortRange(max(one.first, other.last + 1), one.last),
            )
            if piece.first <= piece.last
        ]
    return tuple(left)


def every(rule: NetworkRule) -> tuple[PortRange, ...]:
    """The rule's ports, also where it is for all of them."""
    return ranges(rule.ports) or (PortRange(0, 65535),)


def within(narrow: tuple[str, ...], wide: tuple[str, ...]) -> bool:
    """Whether every network of the first (as of `addresses_of`) lies in one of the second."""
    if not wide:
        return True
    if not narrow:
        return False
    others = [_network(word) for word in wide]
    return all(any(_inside(_network(word), other) for other in others) for word in narrow)


def _common(first: Rules, second: Rules) -> Rules:
    found = []
    for one, other in product(joined(first), joined(second)):
        if one.protocol is not other.protocol:
            continue
        ports = [
            PortRange(max(a.first, b.first), min(a.last, b.last))
            for a, b in product(every(one), every(other))
            if max(a.first, b.first) <= min(a.last, b.last)
        ]
        if not ports:
            continue
        mine, theirs = addresses_of(one), addresses_of(other)
        if mine and theirs:
            networks = [_network(word) for word in mine]
            others = [_network(word) for word in theirs]
            shared = [a if _inside(a, b) else b for a, b in product(networks, others) if _inside(a, b) or _inside(b, a)]
            if not shared:
                continue
            addresses = _written(shared)
        else:
            addresses = mine or theirs
        origin = join_origins((one.origin, other.origin))
        seen = (*one.observed_addresses, *other.observed_addresses)
        found.append(NetworkRule(one.protocol, addresses, _short(ports), seen, origin))
    return _strongest(joined(found))


def _strongest(rules: Rules) -> Rules:
    """The rules less those that allow only what a single other one does."""
    return tuple(
        rule
        for rule in rules
        if not any(
            other is not rule
            and other.protocol is rule.protocol
            and within(addresses_of(rule), addresses_of(other))
            and not less(every(rule), every(other))
            for other in rules
        )
    )


def _less(first: Rules, second: Rules) -> Rules:
    found = []
    for rule in joined(first):
        left = every(rule)
        for other in second:
            if other.protocol is rule.protocol and within(addresses_of(rule), addresses_of(other)):
                left = less(left, every(other))
        if left:
            found.append(replace(rule, ports=_short(left)))
    return joined(found)


def _short(ports: Iterable[PortRange]) -> tuple[PortRange, ...]:
    found = ranges(ports)
    return () if found == (PortRange(0, 65535),) else found


def _inside(narrow: Subnet, wide: Subnet) -> bool:
    if isinstance(narrow, ipaddress.IPv4Network):
        return isinstance(wide, ipaddress.IPv4Network) and narrow.subnet_of(wide)
    return isinstance(wide, ipaddress.IPv6Network) and narrow.subnet_of(wide)


def _written(networks: Iterable[Subnet]) -> tuple[str, ...]:
    """Networks sorted, as text, without those that lie in others."""
    four, six = set(), set()
    for one in networks:
        if isinstance(one, ipaddress.IPv4Network):
            four.add(one)
        else:
            six.add(one)
    # Networks lie in one another or apart, and a wider one sorts before those in it: looking at the last is enough.
    kept4: list[ipaddress.IPv4Network] = []
    for narrow in sorted(four):
        if not kept4 or not narrow.subnet_of(kept4[-1]):
            kept4.append(narrow)
    kept6: list[ipaddress.IPv6Network] = []
    for longer in sorted(six):
        if not kept6 or not longer.subnet_of(kept6[-1]):
            kept6.append(longer)
    return (*map(str, kept4), *map(str, kept6))


def _address_key(word: str) -> tuple[int, bytes, int, str]:
    """An order of addresses and networks; ``any`` comes first."""
    if word == "any":
        return (0, b"", 0, word)
    one = _network(word)
    return (one.version, one.network_address.packed, one.prefixlen, word)
