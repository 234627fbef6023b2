"""Policy → YAML text that people read: sections in a fixed order, one rule below the other, lists on one line.

The same policy gives the same bytes, and reading them gives the policy back. Called by policy.document.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from scmm_oci.policy.model import Constraint, Network, NetworkRule, OnMissing, PathRule, Policy, SyscallRule

_HEADER = """\
# What a program may do. Check it, edit it, then make a profile of it; docs/formats.md explains every key.
"""


def dump(policy: Policy) -> bytes:
    """The policy as YAML, in UTF-8, with a comment on top. Sections that say nothing are left out."""
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 10**6
    out = io.StringIO()
    yaml.dump(_document(policy), out)
    return (_HEADER + out.getvalue()).encode("utf-8")


def _document(policy: Policy) -> dict[str, Any]:
    settings = policy.settings
    document: dict[str, Any] = {"version": DoubleQuotedScalarString("1.0")}
    metadata = {key: value for key, value in vars(policy.metadata).items() if value}
    if metadata:
        document["metadata"] = metadata
    document["settings"] = {
        "default_action": settings.default_action.value,
        "default_errno": settings.default_errno,
        "log_denials": settings.log_denials,
        "arch": settings.arch.value,
        "architectures": _flow(arch.value for arch in settings.architectures),
    }
    if settings.run_as is not None:
        ids = {key: value for key, value in vars(settings.run_as).items() if value is not None}
        document["settings"]["run_as"] = ids
    document["syscalls"] = [_syscall(rule) for rule in policy.syscalls]
    if policy.capabilities:
        document["capabilities"] = list(policy.capabilities)
    if policy.filesystem is not None:
        document["filesystem"] = {"rules": [_path(rule) for rule in policy.filesystem]}
    if policy.network is not None:
        document["network"] = _network(policy.network)
    return document


def _syscall(rule: SyscallRule) -> dict[str, Any]:
    document: dict[str, Any] = {"name": rule.name, "action": rule.action.value}
    if rule.errno is not None:
        document["errno"] = rule.errno
    if rule.constraints:
        document["constraints"] = [_constraint(constraint) for constraint in rule.constraints]
    if rule.origin is not None:
        origin = CommentedMap()
        origin["phases"] = [phase.value for phase in rule.origin.phases]
        origin["sessions"] = [kind.value for kind in rule.origin.sessions]
        origin["count"] = rule.origin.count
        if rule.origin.denied:
            origin["denied"] = rule.origin.denied
        origin.fa.set_flow_style()
        document["origin"] = origin
    return document


def _constraint(constraint: Constraint) -> dict[str, Any]:
    document: dict[str, Any] = {
        "arg": DoubleQuotedScalarString(str(constraint.arg)),
        "type": constraint.type.value,
    }
    if constraint.match:
        document["match"] = [{"pattern": match.pattern, "type": match.type.value} for match in constraint.match]
    if constraint.allowed:
        document["allowed"] = _flow(constraint.allowed)
    if constraint.denied:
        document["denied"] = _flow(constraint.denied)
    return document


def _path(rule: PathRule) -> dict[str, Any]:
    document: dict[str, Any] = {"path": rule.path, "access": _flow(rule.access)}
    if rule.on_missing is not OnMissing.SKIP:
        document["on_missing"] = rule.on_missing.value
    return document


def _network(network: Network) -> dict[str, Any]:
    document: dict[str, Any] = {"allow_loopback": network.allow_loopback}
    if network.outbound:
        document["outbound"] = [_network_rule(rule) for rule in network.outbound]
    if network.inbound:
        document["inbound"] = [_network_rule(rule) for rule in network.inbound]
    return document


def _network_rule(rule: NetworkRule) -> dict[str, Any]:
    document: dict[str, Any] = {"protocol": rule.protocol.value}
    for key, values in (
        ("addresses", rule.addresses),
        ("ports", rule.ports),
        ("observed_addresses", rule.observed_addresses),
    ):
        if values:
            document[key] = _flow(values)
    return document


def _flow(values: Iterable[Any]) -> CommentedSeq:
    sequence = CommentedSeq(values)
    sequence.fa.set_flow_style()
    return sequence
