"""Seccomp profiles as Docker and podman have them: linux.seccomp of the runtime-spec, and conditions on the container.

The form is a superset of the runtime-spec's: archMap instead of architectures, includes and excludes of a rule,
comments, an old ``name`` beside ``names``, and (podman) names of error numbers. No runtime reads it; an engine makes
the runtime-spec's form of it when it starts a container (scmm_oci.oci.resolve). What stands in a file is kept, but

- null, "", [] and {} are the same as nothing (both engines write Go's empty values; flags alone differ, see there),
- ``valueTwo`` 0 is the same as none, and is written where the operator looks at it,
- ``name`` is written as ``names``.

Sources: profiles/seccomp of moby (20.10 and github.com/moby/profiles), pkg/seccomp of containers/common (0.50).
"""

from __future__ import annotations

import json
from typing import Any

from scmm_oci.errors import BadInput, Problem
from scmm_oci.oci.richcheck import check, kernel_version
from scmm_oci.oci.richmodel import ArchMapping, Filter, RichProfile, RichRule
from scmm_oci.oci.seccomp import Flag, OciAction, Profile, condition_document, conditions
from scmm_oci.schema import load_json

__all__ = ["ArchMapping", "Filter", "RichProfile", "RichRule", "from_plain", "parse", "plain", "to_json"]


def parse(data: bytes, *, source: str = "") -> RichProfile:
    """The profile in a JSON text, in the engines' form or the runtime-spec's.

    Raises:
        BadInput: it is none, or no engine would take it as it is meant; with everything that is wrong with it.
    """
    document = load_json(data, source=source)
    found = check(document, len(data))
    if found:
        raise BadInput(found, source=source)
    return _build(document)


def to_json(profile: RichProfile) -> bytes:
    """The profile as JSON, in the engines' order of keys, indented, ending in a line end.

    Raises:
        BadInput: :func:`parse` would not read it.
    """
    document = _document(profile)
    data = (json.dumps(document, indent=2) + "\n").encode("ascii")
    found = check(document, len(data))
    if found:
        raise BadInput(found, source="seccomp profile")
    return data


def plain(profile: RichProfile) -> Profile:
    """The same profile in the runtime-spec's form.

    Raises:
        BadInput: it depends on the container or has a comment; with each place. scmm_oci.oci.resolve makes
            a profile for one container of it.
    """
    message = "has no place in a profile of the runtime-spec"
    found = [Problem(where, message, "resolve the profile for a container") for where in profile.more_than_plain]
    if found:
        raise BadInput(found, source="seccomp profile")
    return Profile(
        profile.default_action,
        profile.default_errno_ret,
        profile.architectures,
        profile.flags,
        profile.listener_path,
        profile.listener_metadata,
        tuple(rule.rule for rule in profile.syscalls),
    )


def from_plain(profile: Profile) -> RichProfile:
    """A profile of the runtime-spec's form in the engines'."""
    return RichProfile(
        default_action=profile.default_action,
        default_errno_ret=profile.default_errno_ret,
        architectures=profile.architectures,
        flags=profile.flags,
        listener_path=profile.listener_path,
        listener_metadata=profile.listener_metadata,
        syscalls=tuple(RichRule(rule.names, rule.action, rule.errno_ret, args=rule.args) for rule in profile.syscalls),
    )


def _build(document: dict[str, Any]) -> RichProfile:
    flags = document.get("flags")
    return RichProfile(
        default_action=OciAction(document["defaultAction"]),
        default_errno_ret=document.get("defaultErrnoRet"),
        default_errno_name=document.get("defaultErrno") or "",
        architectures=tuple(document.get("architectures") or ()),
        arch_map=tuple(
            ArchMapping(one["architecture"], tuple(one.get("subArchitectures") or ()))
            for one in document.get("archMap") or ()
        ),
        flags=None if flags is None else tuple(Flag(flag) for flag in flags),
        listener_path=document.get("listenerPath") or None,
        listener_metadata=document.get("listenerMetadata") or None,
        syscalls=tuple(_rule(rule) for rule in document.get("syscalls") or ()),
    )


def _rule(document: dict[str, Any]) -> RichRule:
    return RichRule(
        names=tuple(document.get("names") or [document["name"]]),
        action=OciAction(document["action"]),
        errno_ret=document.get("errnoRet"),
        errno_name=document.get("errno") or "",
        args=conditions(document.get("args") or ()),
        comment=document.get("comment") or "",
        includes=_filter(document.get("includes") or {}),
        excludes=_filter(document.get("excludes") or {}),
    )


def _filter(document: dict[str, Any]) -> Filter:
    kernel = document.get("minKernel")
    return Filter(
        tuple(document.get("caps") or ()),
        tuple(document.get("arches") or ()),
        kernel_version(kernel) if kernel else None,
    )


def _document(profile: RichProfile) -> dict[str, Any]:
    mappings = [
        {"architecture": one.architecture, "subArchitectures": list(one.sub_architectures)} for one in profile.arch_map
    ]
    optional = {
        "defaultErrnoRet": profile.default_errno_ret,
        "defaultErrno": profile.default_errno_name or None,
        "architectures": list(profile.architectures) or None,
        "archMap": mappings or None,
        "flags": None if profile.flags is None else list(profile.flags),
        "listenerPath": profile.listener_path,
        "listenerMetadata": profile.listener_metadata,
    }
    return {
        "defaultAction": profile.default_action,
        **_there(optional),
        "syscalls": [_rule_document(rule) for rule in profile.syscalls],
    }


def _rule_document(rule: RichRule) -> dict[str, Any]:
    optional = {
        "errnoRet": rule.errno_ret,
        "errno": rule.errno_name or None,
        "args": [condition_document(condition) for condition in rule.args] or None,
        "comment": rule.comment or None,
        "includes": _filter_document(rule.includes) or None,
        "excludes": _filter_document(rule.excludes) or None,
    }
    return {"names": list(rule.names), "action": rule.action, **_there(optional)}


def _filter_document(conditions: Filter) -> dict[str, Any]:
    kernel = conditions.min_kernel
    optional = {
        "caps": list(conditions.caps) or None,
        "arches": list(conditions.arches) or None,
        "minKernel": f"{kernel[0]}.{kernel[1]}" if kernel else None,
    }
    return _there(optional)


def _there(members: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in members.items() if value is not None}
