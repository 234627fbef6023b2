"""The seccomp section of an OCI bundle (linux.seccomp of runtime-spec 1.3, config-linux.md) as values and as JSON.

It is also what ``--security-opt seccomp=FILE`` of Docker and podman takes. What engines have beside it in their own
profiles (archMap, includes, excludes) is not part of the runtime-spec: scmm_oci.oci.rich reads that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from scmm_oci.errors import BadInput, Problem
from scmm_oci.oci.contradictions import contradictions
from scmm_oci.schema import load_json, problems, prune
from scmm_oci.tables.errnos import ERRNOS

# KEP-6061 (profiles handed to kubelets): a profile beyond these is refused there.
MAX_RULES = 128
MAX_BYTES = 1 << 20


class OciAction(StrEnum):
    """What happens to a call (seccomp(2), "Return values"). KILL is an old name of KILL_THREAD."""

    KILL = "SCMP_ACT_KILL"
    KILL_PROCESS = "SCMP_ACT_KILL_PROCESS"
    KILL_THREAD = "SCMP_ACT_KILL_THREAD"
    TRAP = "SCMP_ACT_TRAP"
    ERRNO = "SCMP_ACT_ERRNO"
    TRACE = "SCMP_ACT_TRACE"
    ALLOW = "SCMP_ACT_ALLOW"
    LOG = "SCMP_ACT_LOG"
    NOTIFY = "SCMP_ACT_NOTIFY"


class Operator(StrEnum):
    """How an argument is compared; MASKED_EQ is ``(argument & value) == value_two``."""

    NE = "SCMP_CMP_NE"
    LT = "SCMP_CMP_LT"
    LE = "SCMP_CMP_LE"
    EQ = "SCMP_CMP_EQ"
    GE = "SCMP_CMP_GE"
    GT = "SCMP_CMP_GT"
    MASKED_EQ = "SCMP_CMP_MASKED_EQ"


class Flag(StrEnum):
    """Flags of seccomp(2), SECCOMP_SET_MODE_FILTER, that the runtime-spec names."""

    TSYNC = "SECCOMP_FILTER_FLAG_TSYNC"
    LOG = "SECCOMP_FILTER_FLAG_LOG"
    SPEC_ALLOW = "SECCOMP_FILTER_FLAG_SPEC_ALLOW"
    WAIT_KILLABLE_RECV = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"


@dataclass(frozen=True)
class Condition:
    """One comparison of an argument, 64 bits wide. ``index`` counts from 0."""

    index: int
    value: int
    op: Operator
    value_two: int = 0


@dataclass(frozen=True)
class Rule:
    """An action for some calls, if the conditions hold as :meth:`alternatives` says."""

    names: tuple[str, ...]
    action: OciAction
    errno_ret: int | None = None
    args: tuple[Condition, ...] = ()

    @property
    def errno(self) -> int | None:
        """What ERRNO answers, and the message of TRACE; EPERM where the rule says nothing. None for other actions."""
        return _answered(self.action, self.errno_ret)

    def alternatives(self) -> tuple[tuple[Condition, ...], ...]:
        """What runtimes make of the conditions: the rule holds if all conditions of one of these hold.

        Conditions on different arguments must hold together. But as soon as one argument has two, runc
        (libcontainer/seccomp) and crun (seccomp.c) make every condition, those on other arguments too, a rule of
        its own. Without conditions there is one alternative, which is empty and always holds.
        """
        indexes = {condition.index for condition in self.args}
        if len(indexes) < len(self.args):
            return tuple((condition,) for condition in self.args)
        return (self.args,)


@dataclass(frozen=True)
class Profile:
    """A whole profile.

    Attributes:
        default_errno_ret: for ERRNO and TRACE only; :attr:`default_errno` is what it comes to.
        architectures: ``SCMP_ARCH_*``; empty means the runtime's own.
        flags: None lets the runtime choose (runc and crun: SPEC_ALLOW); empty means none.
    """

    default_action: OciAction
    default_errno_ret: int | None = None
    architectures: tuple[str, ...] = ()
    flags: tuple[Flag, ...] | None = None
    listener_path: str | None = None
    listener_metadata: str | None = None
    syscalls: tuple[Rule, ...] = ()

    @property
    def default_errno(self) -> int | None:
        """What the default answers: EPERM where it is ERRNO or TRACE without a number; None for other actions."""
        return _answered(self.default_action, self.default_errno_ret)


def parse(data: bytes, *, source: str = "") -> Profile:
    """The profile in a JSON text.

    Raises:
        BadInput: it is none, or no runtime would take it; with everything that is wrong with it.
    """
    document = load_json(data, source=source)
    found = _check(document, len(data))
    if found:
        raise BadInput(found, source=source)
    return _build(document)


def to_json(profile: Profile) -> bytes:
    """The profile as JSON, in the runtime-spec's order of keys, indented, ending in a line end.

    Raises:
        BadInput: the profile breaks a rule of the runtime-spec or exceeds a limit.
    """
    document = _document(profile)
    data = (json.dumps(document, indent=2) + "\n").encode("ascii")
    found = _check(document, len(data))
    if found:
        raise BadInput(found, source="seccomp profile")
    return data


def _check(document: Any, size: int) -> list[Problem]:
    bad = problems(document, "oci-seccomp")
    found = [one.problem for one in bad]
    rest = prune(document, bad)
    rules = rest.get("syscalls", ())
    if len(rules) > MAX_RULES:
        message = f"has {len(rules)} rules; {MAX_RULES} is the most that is taken everywhere"
        found.append(Problem(".syscalls", message))
    if size > MAX_BYTES:
        message = f"is {size} bytes of JSON; {MAX_BYTES} is the most that is taken everywhere"
        found.append(Problem(".", message))
    return found + contradictions(rest)


def _answered(action: OciAction, errno: int | None) -> int | None:
    # runc (libcontainer/seccomp) and crun (seccomp.c) take EPERM for both actions.
    if action not in (OciAction.ERRNO, OciAction.TRACE):
        return None
    return ERRNOS["EPERM"] if errno is None else errno


def _build(document: dict[str, Any]) -> Profile:
    flags = document.get("flags")
    return Profile(
        default_action=OciAction(document["defaultAction"]),
        default_errno_ret=document.get("defaultErrnoRet"),
        architectures=tuple(document.get("architectures", ())),
        flags=None if flags is None else tuple(Flag(flag) for flag in flags),
        listener_path=document.get("listenerPath"),
        listener_metadata=document.get("listenerMetadata"),
        syscalls=tuple(_rule(rule) for rule in document.get("syscalls", ())),
    )


def _rule(document: dict[str, Any]) -> Rule:
    action = OciAction(document["action"])
    return Rule(tuple(document["names"]), action, document.get("errnoRet"), conditions(document.get("args", ())))


def conditions(documents: Iterable[dict[str, Any]]) -> tuple[Condition, ...]:
    """The conditions of a rule's ``args``, which the schema has found right."""
    return tuple(
        # A null stands for what is not there (Docker's and podman's form).
        Condition(one["index"], one["value"], Operator(one["op"]), one.get("valueTwo") or 0)
        for one in documents
    )


def _document(profile: Profile) -> dict[str, Any]:
    optional = {
        "defaultErrnoRet": profile.default_errno_ret,
        "architectures": list(profile.architectures) or None,
        "flags": None if profile.flags is None else list(profile.flags),
        "listenerPath": profile.listener_path,
        "listenerMetadata": profile.listener_metadata,
    }
    return {
        "defaultAction": profile.default_action,
        **{key: value for key, value in optional.items() if value is not None},
        "syscalls": [_rule_document(rule) for rule in profile.syscalls],
    }


def _rule_document(rule: Rule) -> dict[str, Any]:
    document: dict[str, Any] = {"names": list(rule.names), "action": rule.action}
    if rule.errno_ret is not None:
        document["errnoRet"] = rule.errno_ret
    if rule.args:
        document["args"] = [condition_document(condition) for condition in rule.args]
    return document


def condition_document(condition: Condition) -> dict[str, Any]:
    """A condition as an object of ``args``. A second value that the operator does not look at is kept."""
    document: dict[str, Any] = {"index": condition.index, "value": condition.value, "op": condition.op}
    if condition.op is Operator.MASKED_EQ or condition.value_two:
        document["valueTwo"] = condition.value_two
    return document
