"""What a policy that was just inferred holds, took and left: plain values for ``--json``, lines for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scmm_oci.cli.decided import command_line
from scmm_oci.cli.machine_values import machine_values, size_in_short
from scmm_oci.errors import printable
from scmm_oci.policy.choices import Choices, taken
from scmm_oci.policy.infer import Inference
from scmm_oci.policy.model import NetworkRule, PathRule, Policy
from scmm_oci.policy.paths.patterns import Kind, Pattern
from scmm_oci.policy.paths.proposals import Proposal, counted

# Entries of each list that people are shown.
MOST = 8

_KINDS = {
    Kind.EXACT: ("exact path", "exact paths"),
    Kind.FILES: ("pattern of files", "patterns of files"),
    Kind.BENEATH: ("whole directory", "whole directories"),
}


_WILD = frozenset("*?[\\")


def made(inference: Inference, choices: Choices) -> dict[str, Any]:
    """The policy in numbers, and every proposal with what became of it."""
    policy = inference.policy
    rules = {rule.path: rule for rule in policy.filesystem or ()}
    proposals = {one.pattern.text: one for one in reversed(inference.seen.proposals)}
    chosen: Mapping[str, str] = {}
    waiting: Sequence[Proposal] = ()
    if choices.decisions.files:
        chosen, waiting = taken(inference.seen.proposals, choices.decisions)
    unasked = {one.pattern.text for one in waiting}
    return {
        "calls": dict(
            Counter(str(action) for _, action in sorted({(one.name, one.action) for one in policy.syscalls}))
        ),
        "checked_calls": sorted({one.name for one in policy.syscalls if one.constraints}),
        "files": None if policy.filesystem is None else _files(policy),
        "patterns": [
            {
                "pattern": text,
                "access": list(rules[text].access),
                "observed": _observed(rules[text]),
                "reason": reason,
                "allows": proposals[text].allows if text in proposals else _allows(rules[text]),
            }
            for text, reason in sorted(chosen.items())
            if text in rules
        ],
        "waiting": [{**_proposal(one), "protected": one.protected} for one in waiting],
        "proposals": [
            {**_proposal(one), "automatic": one.automatic, "confidence": one.confidence, "protected": one.protected}
            for text, one in sorted(proposals.items())
            if text not in chosen and text not in unasked
        ],
        "network": None if policy.network is None else [*_network(policy)],
        "capabilities": None if policy.capabilities is None else list(policy.capabilities),
        "order": None if inference.machine is None else machine_values(inference.machine),
    }


def _files(policy: Policy) -> dict[str, Any]:
    rules = policy.filesystem or ()
    kinds = Counter(_kind(rule.path).value for rule in rules)
    return {"rules": len(rules), "kinds": dict(sorted(kinds.items()))}


def _kind(text: str) -> Kind:
    # Most of a hundred thousand have no wildcard, and need no reading to tell.
    return Kind.EXACT if text.isascii() and not _WILD.intersection(text) else Pattern.parse(text).kind


def _observed(rule: PathRule) -> int:
    return (rule.origin.observed or 1) if rule.origin is not None else 0


def _allows(rule: PathRule) -> str:
    return f"{', '.join(rule.access)} for all that {rule.path} stands for"


def _proposal(one: Proposal) -> dict[str, Any]:
    return {
        "pattern": one.pattern.text,
        "access": sorted(one.access),
        "observed": len(one.needs),
        "reason": one.reason,
        "allows": one.allows,
    }


def _network(policy: Policy) -> Iterator[dict[str, Any]]:
    assert policy.network is not None
    for direction, rules in (("inbound", policy.network.inbound), ("outbound", policy.network.outbound)):
        for rule in rules:
            yield {"direction": direction, **_rule(rule)}


def _rule(rule: NetworkRule) -> dict[str, Any]:
    return {
        "protocol": rule.protocol.value,
        "ports": [str(one) for one in rule.ports],
        "addresses": list(rule.addresses),
        "observed_addresses": list(rule.observed_addresses),
    }


def in_short(found: Mapping[str, Any]) -> list[str]:
    """The numbers of :func:`made` as lines, safe to print: calls, arguments, files, network, order."""
    calls = ", ".join(f"{count} {action}" for action, count in sorted(found["calls"].items())) or "none"
    lines = [f"calls: {calls}", f"calls whose arguments are checked: {len(found['checked_calls'])}"]
    if found["files"] is None:
        lines.append("files: the policy does not speak of them")
    else:
        kinds = [counted(found["files"]["kinds"].get(kind, 0), *words) for kind, words in _KINDS.items()]
        kinds = [text for text in kinds if not text.startswith("0 ")]
        lines.append(f"file rules: {', '.join(kinds) or 'none'}")
    if found["network"] is None:
        lines.append("network: the policy does not speak of it")
    else:
        lines.append(
            f"network rules: {', '.join(map(_peer, found['network'][:MOST])) or 'none'}{_more(found['network'])}"
        )
    if found["order"] is not None:
        lines.append(f"order of calls: {size_in_short(found['order'])}")
    return [printable(line) for line in lines]


def patterns_in_short(found: Mapping[str, Any]) -> list[str]:
    """The patterns of :func:`made` as lines, safe to print: those taken and why, and those that wait for a yes."""
    lines = []
    if found["patterns"]:
        lines.append("patterns taken, with what they newly allow:")
        for one in found["patterns"][:MOST]:
            lines.append(f"  {one['pattern']}: {one['allows']} ({one['reason']})")
        lines += _rest(found["patterns"], "in the policy")
    if found["waiting"]:
        lines.append("patterns not taken, as they would open a protected place:")
        for one in found["waiting"][:MOST]:
            yes = command_line(["--accept", one["pattern"]])
            lines.append(f"  {yes}: {one['allows']}; opens {one['protected']} ({one['reason']})")
        lines += _rest(found["waiting"], "with --json")
    return [printable(line) for line in lines]


def _peer(rule: Mapping[str, Any]) -> str:
    return f"{rule['direction']} {rule['protocol']} {', '.join(rule['ports'])}"


def _more(items: Sequence[object]) -> str:
    return f" and {len(items) - MOST} more" if len(items) > MOST else ""


def _rest(items: Sequence[object], where: str) -> list[str]:
    return [f"  … and {len(items) - MOST} more, {where}"] if len(items) > MOST else []
