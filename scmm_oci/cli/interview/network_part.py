"""The part about the network: which of the observed ports get a rule, and whether rules name their peers."""

from __future__ import annotations

from scmm_oci.cli.interview.questions import Asking, Kind, Option, Part, Question
from scmm_oci.cli.interview.world import World
from scmm_oci.policy.choices import Choices
from scmm_oci.policy.decisions import Addresses
from scmm_oci.policy.infer import network as infer_network
from scmm_oci.policy.infer.network import direction_of, is_ip, protocol_of
from scmm_oci.policy.model import NetworkRule

_Port = tuple[str, str, int]


def network_part(world: World, choices: Choices) -> Asking:
    """Which rules there are, and for which peers."""
    if not choices.decisions.network:
        return choices
    used = _used(world)
    every = choices.changed(ports=frozenset(), addresses=Addresses.ANY).decisions
    network = infer_network.infer_network(world.captures, every, world.every, [])
    rules = [("inbound", rule) for rule in network.inbound] + [("outbound", rule) for rule in network.outbound]
    if not rules:
        return choices
    options = tuple(Option(_key(way, rule), _label(way, rule), _about(rule)) for way, rule in rules)
    held = {_key(way, rule): _ports(way, rule, used) for way, rule in rules}
    answer = yield Question(
        id=f"{Part.NETWORK}/rules",
        title="Which of these may the program use?",
        kind=Kind.MANY,
        options=options,
        default=tuple(one.key for one in options if not held[one.key] <= choices.decisions.ports),
        help="Landlock holds TCP ports from Linux 6.7 on; UDP ports and addresses are for the container's network.",
    )
    out = {port for key, ports in held.items() if key not in answer for port in ports}
    # Ports of a kept rule that flags left out stay so.
    kept = {port for key, ports in held.items() if key in answer for port in ports} & choices.decisions.ports
    kept -= {port for key in answer if held[key] <= choices.decisions.ports for port in held[key]}
    unknown = choices.decisions.ports - set().union(*held.values())
    choices = choices.changed(ports=frozenset(out | kept | unknown))
    known = [address for way, rule in rules if way == "outbound" and _key(way, rule) in answer
             for address in rule.observed_addresses]  # fmt: skip
    if not known:
        return choices
    answer = yield Question(
        id=f"{Part.NETWORK}/addresses",
        title="Which peers do outbound rules name?",
        kind=Kind.ONE,
        options=(
            Option(Addresses.ANY, "any, with those that were seen as a note"),
            Option(Addresses.OBSERVED, "only those that were seen", tuple(dict.fromkeys(known))),
        ),
        default=choices.decisions.addresses,
        help="No layer here holds addresses: a rule for one port allows every peer on it. The list is for other tools.",
    )
    return choices.changed(addresses=Addresses(str(answer)))


def _used(world: World) -> frozenset[_Port]:
    found = set()
    for capture in world.captures:
        for use in capture.sockets:
            protocol = protocol_of(use)
            if is_ip(use) and protocol is not None and use.port is not None:
                found.add((direction_of(use), protocol.value, use.port))
    return frozenset(found)


def _ports(way: str, rule: NetworkRule, used: frozenset[_Port]) -> frozenset[_Port]:
    """The observed ports that a rule is made of."""
    return frozenset(
        one
        for one in used
        if one[:2] == (way, rule.protocol.value) and any(span.first <= one[2] <= span.last for span in rule.ports)
    )


def _key(way: str, rule: NetworkRule) -> str:
    return f"{way}/{rule.protocol}/{','.join(map(str, rule.ports))}"


def _label(way: str, rule: NetworkRule) -> str:
    verb = "listen on" if way == "inbound" else "connect to"
    ports = ", ".join("any port" if span.first == span.last == 0 else f"port {span}" for span in rule.ports)
    count = f"  {rule.origin.count}×" if rule.origin is not None else ""
    return f"{verb} {rule.protocol} {ports}{count}"


def _about(rule: NetworkRule) -> tuple[str, ...]:
    lines = [f"address {one}" for one in rule.observed_addresses]
    if rule.origin is not None:
        lines += [f"by {program}" for program in rule.origin.programs]
        lines += [rule.origin.reason] if rule.origin.reason else []
    return tuple(lines)
