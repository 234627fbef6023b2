"""Whether what was looked at (paths, an address) fits a rule. Pure. Called by rules.decide.

strict: of rules that do not allow. What is not known fits those, and one path or address of several is enough; a rule
that allows fits only what is known, and all of it.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from scmm_oci.enforcer.images import matches
from scmm_oci.enforcer.monitor.model import Address
from scmm_oci.enforcer.monitor.rules.check_address import family as family_of
from scmm_oci.enforcer.monitor.rules.model import Peers
from scmm_oci.policy.paths.patterns import Pattern


def paths_fit(patterns: tuple[Pattern, ...], paths: tuple[str, ...] | None, *, strict: bool) -> bool:
    """Whether the paths of a call are those of a rule. A call that has none fits no rule for paths."""
    if paths is None:
        return strict
    if not paths:
        return False
    for path in paths:
        for pattern in patterns:
            if pattern.grants(path):
                if strict:
                    return True
                break
        else:
            if not strict:
                return False
    return not strict


def peer_fits(
    peers: Peers, address: Address | None, paths: tuple[str, ...] | None, *, bind: bool, strict: bool
) -> bool:
    """Whether a socket's address is one of a rule's.

    Args:
        paths: where a socket that is a file lies, as it was found; None if that was not looked at.
        bind: of bind(2), which takes an address without a family for one of IPv4.
    """
    if address is None:
        return strict
    if peers.paths or peers.names:
        return _unix_fits(peers, address, paths, strict=strict)
    ip = _ip(address.text) if address.family in ("inet", "inet6") and address.text is not None else None
    open_to_all = strict and ip is not None and ip.is_unspecified
    family = family_of(address.family)
    if ip is not None:
        family = "inet" if ip.version == 4 else "inet6"
    elif family == "unspec" and bind and strict:
        # net/ipv4/af_inet.c, __inet_bind: AF_UNSPEC with INADDR_ANY is taken for AF_INET.
        family, open_to_all = "inet", True
    if peers.family is not None and family != peers.family:
        # [::] also gets what comes for IPv4 (ipv6(7)), and connects to this machine by either.
        return open_to_all and family == "inet6" and peers.family == "inet" and _port_fits(peers, address, strict)
    if (peers.networks or peers.ports) and family not in ("inet", "inet6"):
        return False
    if not _port_fits(peers, address, strict):
        return False
    if not peers.networks:
        return True
    if open_to_all:
        return any(family == "inet6" or network.version == 4 for network in peers.networks)
    if ip is None:
        return strict
    return any(ip in network for network in peers.networks)


def _port_fits(peers: Peers, address: Address, strict: bool) -> bool:
    if not peers.ports:
        return True
    port = address.port
    if port is None:
        return strict
    return any(ports.first <= port <= ports.last for ports in peers.ports)


def _unix_fits(peers: Peers, address: Address, paths: tuple[str, ...] | None, *, strict: bool) -> bool:
    if address.family != "unix":
        return False
    text = address.text
    if text is None:
        return strict
    if text.startswith("@"):
        return any(matches(glob, text[1:]) for glob in peers.names)
    # An address without a name has no file (unix(7), "unnamed" and autobind).
    return bool(text and peers.paths) and paths_fit(peers.paths, paths, strict=strict)


@lru_cache(maxsize=4096)
def _ip(text: str) -> IPv4Address | IPv6Address | None:
    """An address; one of IPv4 in the form of IPv6 reaches what that of IPv4 does."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped if mapped is not None else found
