"""Socket addresses that were used → network rules by protocol, direction and port. Called by policy.infer.

What a rule can be held to: Landlock knows TCP ports from ABI 4 on and UDP ports from ABI 10; no layer of ours knows
addresses. UNIX sockets are files, and abstract ones are all or nothing (policy.model.LandlockScope).
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scmm_oci.capture.facts import SocketOperation, SocketUse
from scmm_oci.capture.model import Capture
from scmm_oci.errors import Finding, short
from scmm_oci.policy.decisions import Addresses, Decisions
from scmm_oci.policy.infer.observe import program_paths
from scmm_oci.policy.model import LandlockScope, Network, NetworkRule, Origin, PortRange, Protocol

# net.ipv4.ip_local_port_range as the kernel sets it (Documentation/networking/ip-sysctl.rst).
EPHEMERAL = PortRange(32768, 60999)
# So many different ports of that range in one recording are none that someone configured.
_MANY = 8
# Observed addresses beyond these are only counted.
_LISTED = 16

_IP = ("inet", "inet6")
_REFUSED = frozenset({"EACCES", "EPERM", "EAFNOSUPPORT", "EINVAL"})
_MPTCP = 262

_Key = tuple[str, Protocol, int]


@dataclass
class _Gathered:
    """One port as all recordings together have it."""

    addresses: set[str] = field(default_factory=set)
    recordings: set[int] = field(default_factory=set)
    programs: set[str] = field(default_factory=set)
    count: int = 0


def infer_network(
    captures: Sequence[Capture], decisions: Decisions, every: frozenset[str], findings: list[Finding]
) -> Network:
    """The rules for all peers and ports that were used; ``every``: the files of all programs."""
    gathered = _gather(captures, findings)
    for direction, protocol, port in decisions.ports:
        gathered.pop((direction, Protocol(protocol), port), None)
    rules = {
        direction: tuple(
            _rule(protocol, ports, one, reason, direction, decisions, every, len(captures))
            for protocol, ports, one, reason in _joined(direction, gathered, len(captures))
        )
        for direction in ("outbound", "inbound")
    }
    _tell(rules["outbound"], findings)
    return Network(outbound=rules["outbound"], inbound=rules["inbound"])


def scopes(captures: Sequence[Capture]) -> tuple[LandlockScope, ...]:
    """What the programs need not reach outside of their own domain.

    A signal's target is not recorded; only processes that entered later (``exec``) can be outside.
    """
    uses = [use for capture in captures for use in capture.sockets]
    abstract = any(
        use.family == "unix"
        and use.operation in (SocketOperation.CONNECT, SocketOperation.SENDTO)
        and (use.address or "").startswith("@")
        for use in uses
    )
    several = any(len(capture.sessions) > 1 for capture in captures)
    chosen = []
    if not abstract:
        chosen.append(LandlockScope.ABSTRACT_UNIX_SOCKET)
    if not several:
        chosen.append(LandlockScope.SIGNAL)
    return tuple(chosen)


def is_ip(use: SocketUse) -> bool:
    """Whether it is a use of an IP address that a network rule is about: not a refused one, nor a listen."""
    tried = use.succeeded or not set(use.errnos) <= _REFUSED
    return use.family in _IP and use.port is not None and use.operation is not SocketOperation.LISTEN and bool(tried)


def protocol_of(use: SocketUse) -> Protocol | None:
    """The protocol of a use of an IP socket; None for what no rule holds (raw, SCTP, MPTCP …)."""
    if use.type == "stream" and use.protocol in (0, 6):
        return Protocol.TCP
    if use.type == "dgram" and use.protocol in (0, 17):
        return Protocol.UDP
    return None


def direction_of(use: SocketUse) -> str:
    """``inbound`` for a bind, ``outbound`` for a connect or send."""
    return "inbound" if use.operation is SocketOperation.BIND else "outbound"


def _gather(captures: Sequence[Capture], findings: list[Finding]) -> dict[_Key, _Gathered]:
    gathered: dict[_Key, _Gathered] = defaultdict(_Gathered)
    strange: set[str] = set()
    for number, capture in enumerate(captures):
        paths = program_paths(capture)
        for use in capture.sockets:
            if not is_ip(use):
                continue
            protocol = protocol_of(use)
            if protocol is None:
                strange.add("MPTCP" if use.protocol == _MPTCP else f"{use.type} sockets of protocol {use.protocol}")
                continue
            assert use.port is not None
            one = gathered[direction_of(use), protocol, use.port]
            if use.address and _is_address(use.address):
                one.addresses.add(use.address)
            elif use.address:
                # A capture may be made by hand, or damaged; a policy with such a word could not be read.
                message = f"{short(use.address)} is no IP address: port {use.port} has a rule without it"
                findings.append(Finding("strange-address", message))
            one.recordings.add(number)
            one.programs.update(paths[program] for program in use.programs if program in paths)
            one.count += use.succeeded + use.failed
    for what in sorted(strange):
        findings.append(Finding("unheld-protocol", f"{what} were used: no network rule holds them, nor does Landlock"))
    return gathered


def _joined(
    direction: str, gathered: Mapping[_Key, _Gathered], recordings: int
) -> list[tuple[Protocol, tuple[PortRange, ...], _Gathered, str]]:
    """Port by port; ports that the kernel chose, and so others the next time, as one range."""
    result: list[tuple[Protocol, tuple[PortRange, ...], _Gathered, str]] = []
    for protocol in Protocol:
        own = ("inbound", protocol, 0) in gathered
        ports = {port: one for (way, kind, port), one in gathered.items() if way == direction and kind is protocol}
        moving = _moving(ports, recordings, own=own and direction == "outbound")
        for port in sorted(ports.keys() - moving.keys()):
            result.append((protocol, (PortRange(port, port),), ports[port], ""))
        if moving:
            whole = _Gathered()
            for one in moving.values():
                whole.addresses |= one.addresses
                whole.recordings |= one.recordings
                whole.programs |= one.programs
                whole.count += one.count
            words = f"{len(moving)} port{'s' if len(moving) > 1 else ''} of the range from which the kernel chooses"
            reason = f"{words}, not the same in every recording" if recordings > 1 else words
            result.append((protocol, (EPHEMERAL,), whole, reason))
    return result


def _moving(ports: Mapping[int, _Gathered], recordings: int, *, own: bool) -> dict[int, _Gathered]:
    """The ports that are others the next time.

    Args:
        own: the programs let the kernel choose ports for themselves (bind to port 0): peers on this host may be they.
    """
    chosen = {port: one for port, one in ports.items() if EPHEMERAL.first <= port <= EPHEMERAL.last}
    fixed = {port for port, one in chosen.items() if len(one.recordings) == recordings > 1}
    varied = {port: one for port, one in chosen.items() if port not in fixed}
    if recordings > 1 or len(varied) >= _MANY:
        return varied
    return {port: one for port, one in varied.items() if own and one.addresses and all(map(_is_here, one.addresses))}


def _is_here(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _rule(
    protocol: Protocol,
    ports: tuple[PortRange, ...],
    one: _Gathered,
    reason: str,
    direction: str,
    decisions: Decisions,
    every: frozenset[str],
    recordings: int,
) -> NetworkRule:
    observed = sorted(one.addresses, key=_order)
    addresses: tuple[str, ...] = ("any",)
    if decisions.addresses is Addresses.OBSERVED and observed and direction == "outbound":
        addresses = tuple(observed)
    origin = Origin(
        count=one.count,
        programs=tuple(sorted(one.programs)) if one.programs and one.programs != every else (),
        observed=len(observed) if len(observed) > _LISTED else 0,
        recordings=len(one.recordings) if len(one.recordings) < recordings else 0,
        reason=reason,
    )
    listed = tuple(observed[:_LISTED]) if addresses == ("any",) else ()
    return NetworkRule(protocol, addresses, ports, listed, origin)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _order(address: str) -> tuple[int, int, str]:
    parsed = ipaddress.ip_address(address)
    return parsed.version, int(parsed), address


def _tell(outbound: Sequence[NetworkRule], findings: list[Finding]) -> None:
    if any(rule.addresses != ("any",) for rule in outbound):
        message = "no layer here holds addresses: a rule for one port allows every peer on it"
        findings.append(Finding("addresses-not-held", message, "hold them with the container's network"))
