"""A seccomp profile → a SeccompProfile object of security-profiles-operator, as YAML for ``kubectl apply``.

Facts from the operator's repository (deploy/base-crds/crds/seccompprofile.yaml and api/seccompprofile/v1beta1): the
object has no defaultErrnoRet, numbers of conditions are signed 64-bit integers that are not negative, and an errnoRet
of 0 is one that is not there. ``disabled`` came and went between versions; it is left out, which every version takes.
The namespace is left to kubectl: later versions of the object are the whole cluster's. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from scmm_oci.errors import BadInput, Finding, Problem, short
from scmm_oci.oci.seccomp import Condition, OciAction, Operator, Profile, Rule
from scmm_oci.policy.yaml.text import FlowList, dump
from scmm_oci.schema import problems

API_VERSION = "security-profiles-operator.x-k8s.io/v1beta1"
KIND = "SeccompProfile"

# The largest number of a condition: int64 in the custom resource's schema.
_MOST = (1 << 63) - 1
_EPERM = 1
# Names of objects are DNS subdomains (RFC 1123, as Kubernetes has them): at most so long.
_NAME_LENGTH = 253
# v1 of the object takes sockets of the operator's own directory only.
_LISTENER = re.compile(r"/var/run/security-profiles-operator/[a-zA-Z0-9_.-]+")


@dataclass(frozen=True)
class Object:
    """A SeccompProfile object: its name, its text, and what it cannot hold."""

    name: str
    yaml: bytes
    findings: tuple[Finding, ...]


def seccomp_profile(profile: Profile, *, name: str) -> Object:
    """The object that has the operator write the profile to every node.

    Args:
        profile: with the runtime floor.
        name: what the object should be called; a name that Kubernetes does not take is changed, with a finding.

    Raises:
        BadInput: a condition has a number that the object cannot hold; with all of these.
    """
    called = object_name(name)
    findings = []
    if called != name:
        message = f"the SeccompProfile is called {called}, as {short(name)} is no name of a Kubernetes object"
        findings.append(Finding("renamed", message))
    findings += _default(profile)
    freed: set[str] = set()
    found: list[Problem] = []
    rules = [_rule(rule, freed, found, findings) for rule in profile.syscalls]
    if found:
        raise BadInput(list(dict.fromkeys(found)), source="SeccompProfile")
    if freed:
        message = (
            f"numbers of a SeccompProfile end at 2^63 - 1: it does not look at the highest bit of arguments of "
            f"{', '.join(sorted(freed))}"
        )
        findings.append(Finding("high-bit-not-held", message, "hand the node the profile of --oci where that matters"))
    path = profile.listener_path
    if path is not None and not _LISTENER.fullmatch(path):
        message = f"version 1 of SeccompProfile refuses the listener {short(path)}"
        findings.append(Finding("listener-path", message, "put it into /var/run/security-profiles-operator"))
    spec: dict[str, Any] = {"defaultAction": profile.default_action.value}
    if profile.architectures:
        spec["architectures"] = FlowList(profile.architectures)
    if profile.flags is not None:
        spec["flags"] = FlowList(flag.value for flag in profile.flags)
    if path is not None:
        spec["listenerPath"] = path
    if profile.listener_metadata is not None:
        spec["listenerMetadata"] = profile.listener_metadata
    spec["syscalls"] = rules
    document = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": called}, "spec": spec}
    bad = problems(document, "spo-seccompprofile")
    if bad:
        raise BadInput([one.problem for one in bad], source="SeccompProfile")
    return Object(called, dump(document), tuple(findings))


def object_name(text: str) -> str:
    """A DNS subdomain made of any text: itself if it is one. Never empty."""
    low = re.sub(r"[^a-z0-9.-]+", "-", text.lower())
    parts = (part.strip("-") for part in low.split("."))
    joined = ".".join(part for part in parts if part)
    return joined[:_NAME_LENGTH].rstrip(".-") or "policy"


def _default(profile: Profile) -> list[Finding]:
    number = profile.default_errno
    if number in (None, _EPERM):
        return []
    if profile.default_action is OciAction.ERRNO:
        message = f"a SeccompProfile cannot say that the default answers {number}: calls that no rule names get EPERM"
    else:
        message = f"a SeccompProfile cannot say the default's message {number}: a tracer gets 1"
    return [Finding("default-number-not-held", message)]


def _rule(rule: Rule, freed: set[str], found: list[Problem], findings: list[Finding]) -> dict[str, Any]:
    document: dict[str, Any] = {"names": FlowList(rule.names), "action": rule.action.value}
    if rule.errno_ret == 0:
        message = f"a SeccompProfile cannot say the number 0 for {', '.join(rule.names)}: a tracer gets 1"
        findings.append(Finding("number-not-held", message))
    elif rule.errno_ret is not None:
        document["errnoRet"] = rule.errno_ret
    if rule.args:
        document["args"] = [_condition(one, rule, freed, found) for one in rule.args]
    return document


def _condition(one: Condition, rule: Rule, freed: set[str], found: list[Problem]) -> dict[str, Any]:
    masked = one.op is Operator.MASKED_EQ
    value, second = one.value, one.value_two if masked else 0
    if masked and value > _MOST >= second:
        # A mask without bit 63: two rules that excluded one another still do, as the bit was 0 in both.
        value &= _MOST
        freed.update(rule.names)
    elif max(value, second) > _MOST:
        message = f"compares argument {one.index} of {', '.join(rule.names)} with {max(value, second)}"
        found.append(Problem("", message, f"{_MOST} is the most that the object holds"))
    document: dict[str, Any] = {"index": one.index, "value": value, "op": one.op.value}
    if masked:
        document["valueTwo"] = second
    return document
