"""Policy → the plain document that stands in its YAML text, in a fixed order of keys; what says nothing is left out.

``build`` of policy.document is the way back. Called by policy.document, policy.yaml.edit's callers and tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from scmm_oci.capture.model import Phase, SessionKind
from scmm_oci.policy.model import (
    Action,
    Applies,
    Constraint,
    MatchType,
    Network,
    NetworkRule,
    OnMissing,
    Origin,
    PathRule,
    Policy,
    PortRange,
    Settings,
    SyscallRule,
    Transition,
)
from scmm_oci.policy.yaml.text import Flow, FlowList
from scmm_oci.policy.yaml.text import dump as dump_text
from scmm_oci.schema import Steps

_HEADER = """\
# What a program may do. Check it, edit it, then make a profile of it; docs/formats.md explains every key.
"""


def dump(policy: Policy, *, comments: Mapping[Steps, str] | None = None) -> bytes:
    """The policy as YAML, in UTF-8, with a comment on top. Sections that say nothing are left out.

    Args:
        comments: path in the document → a comment to stand above it (policy.explain).
    """
    return dump_text(to_document(policy), header=_HEADER, comments=comments or {})


def to_document(policy: Policy) -> dict[str, Any]:
    """The policy as mappings, lists and scalars. Lists and mappings that stand on one line are marked so."""
    document: dict[str, Any] = {"version": "1.0"}
    metadata = {key: value for key, value in vars(policy.metadata).items() if value}
    if metadata:
        document["metadata"] = metadata
    document["settings"] = _settings(policy.settings)
    document["syscalls"] = list(_syscalls(policy.syscalls))
    if policy.capabilities is not None:
        document["capabilities"] = FlowList(policy.capabilities)
    if policy.filesystem is not None:
        document["filesystem"] = {"rules": [_path(rule) for rule in policy.filesystem]}
    if policy.network is not None:
        document["network"] = _network(policy.network)
    if policy.scopes is not None:
        document["scopes"] = FlowList(scope.value for scope in policy.scopes)
    if policy.transitions is not None:
        document["transitions"] = _transitions(policy.transitions)
    if policy.serving is not None:
        document["serving"] = {
            "from": FlowList(policy.serving.calls),
            "transitions": _transitions(policy.serving.transitions),
        }
    if policy.watch is not None:
        document["watch"] = policy.watch.value
    return document


def _transitions(given: Iterable[Transition]) -> dict[str, Any]:
    return {one.key: FlowList(one.to) for one in given}


def _settings(settings: Settings) -> dict[str, Any]:
    document: dict[str, Any] = {"default_action": settings.default_action.value}
    document["default_errno"] = settings.default_errno
    if settings.default_message is not None:
        document["default_message"] = settings.default_message
    document["log_denials"] = settings.log_denials
    document["arch"] = settings.arch.value
    document["architectures"] = FlowList(arch.value for arch in settings.architectures)
    if settings.bad_arch_action is not Action.KILL:
        document["bad_arch_action"] = settings.bad_arch_action.value
    if settings.flags is not None:
        document["flags"] = FlowList(flag.value for flag in settings.flags)
    if settings.listener is not None:
        document["listener"] = {key: value for key, value in vars(settings.listener).items() if value is not None}
    if settings.arch_map:
        document["arch_map"] = [
            Flow(architecture=line.architecture, sub_architectures=FlowList(line.sub_architectures))
            if line.sub_architectures
            else Flow(architecture=line.architecture)
            for line in settings.arch_map
        ]
    if settings.run_as is not None:
        document["run_as"] = Flow({key: value for key, value in vars(settings.run_as).items() if value is not None})
    return document


def _syscalls(rules: Sequence[SyscallRule]) -> Iterator[dict[str, Any]]:
    """One item for each rule; neighbours of an imported profile that differ in the name only are one item."""
    start = 0
    while start < len(rules):
        rule = rules[start]
        end = start + 1
        if rule.origin is None and (rule.comment or rule.includes or rule.excludes or rule.constraints):
            while end < len(rules) and replace(rules[end], name=rule.name) == rule:
                end += 1
        names = [one.name for one in rules[start:end]]
        if len(names) > 1 and len(set(names)) == len(names):
            yield _syscall(rule, names)
        else:
            for one in rules[start:end]:
                yield _syscall(one, [one.name])
        start = end


def _syscall(rule: SyscallRule, names: list[str]) -> dict[str, Any]:
    document: dict[str, Any] = {"name": names[0]} if len(names) == 1 else {"names": FlowList(names)}
    document["action"] = rule.action.value
    if rule.errno is not None:
        document["errno"] = rule.errno
    if rule.message is not None:
        document["message"] = rule.message
    if rule.constraints:
        document["constraints"] = [_constraint(constraint) for constraint in rule.constraints]
    for key, applies in (("includes", rule.includes), ("excludes", rule.excludes)):
        if applies is not None:
            document[key] = _applies(applies)
    if rule.comment:
        document["comment"] = rule.comment
    if rule.origin is not None:
        document["origin"] = _origin(rule.origin)
    return document if rule.constraints or len(names) > 1 else Flow(document)


def _constraint(constraint: Constraint) -> dict[str, Any]:
    document = Flow(arg=str(constraint.arg), type=constraint.type.value)
    if constraint.match:
        document["match"] = FlowList(
            Flow(pattern=match.pattern)
            if match.type is MatchType.EXACT
            else Flow(pattern=match.pattern, type=match.type.value)
            for match in constraint.match
        )
    for key, words in (("allowed", constraint.allowed), ("denied", constraint.denied)):
        if words:
            document[key] = FlowList(words)
    if constraint.op is not None:
        document["op"] = constraint.op.value
        for key, value in (("mask", constraint.mask), ("value", constraint.value)):
            if value is not None:
                document[key] = value
    return document


def _applies(applies: Applies) -> dict[str, Any]:
    document = Flow()
    if applies.capabilities:
        document["capabilities"] = FlowList(applies.capabilities)
    if applies.architectures:
        document["architectures"] = FlowList(applies.architectures)
    if applies.min_kernel is not None:
        document["min_kernel"] = applies.min_kernel
    return document


def _origin(origin: Origin) -> dict[str, Any]:
    document = Flow()
    for key, number in (
        ("count", origin.count),
        ("denied", origin.denied),
        ("observed", origin.observed),
        ("recordings", origin.recordings),
    ):
        if number:
            document[key] = number
    if origin.phases != (Phase.APP,):
        document["phases"] = FlowList(phase.value for phase in origin.phases)
    if origin.sessions != (SessionKind.MAIN,):
        document["sessions"] = FlowList(kind.value for kind in origin.sessions)
    if origin.programs:
        document["programs"] = FlowList(origin.programs)
    if origin.reason:
        document["reason"] = origin.reason
    return document


def _path(rule: PathRule) -> dict[str, Any]:
    document = Flow(path=rule.path, access=FlowList(rule.access))
    if rule.excluded:
        document["except"] = FlowList(rule.excluded)
    if rule.on_missing is not OnMissing.SKIP:
        document["on_missing"] = rule.on_missing.value
    if rule.origin is not None:
        document["origin"] = _origin(rule.origin)
    return document


def _network(network: Network) -> dict[str, Any]:
    document: dict[str, Any] = {"allow_loopback": network.allow_loopback}
    for key, rules in (("outbound", network.outbound), ("inbound", network.inbound)):
        if rules:
            document[key] = [_network_rule(rule) for rule in rules]
    return document


def _network_rule(rule: NetworkRule) -> dict[str, Any]:
    document = Flow(protocol=rule.protocol.value)
    if rule.addresses:
        document["addresses"] = FlowList(rule.addresses)
    if rule.ports:
        document["ports"] = FlowList(_ports(rule.ports))
    if rule.observed_addresses:
        document["observed_addresses"] = FlowList(rule.observed_addresses)
    if rule.origin is not None:
        document["origin"] = _origin(rule.origin)
    return document


def _ports(ports: Iterable[PortRange]) -> Iterator[int | str]:
    for one in ports:
        yield one.first if one.first == one.last else str(one)
