"""What is wrong with a seccomp profile though each of its values is right, in the runtime-spec's form and the engines'.

Called by their checks, scmm_oci.oci.seccomp and scmm_oci.oci.richcheck, with documents that the schema has seen.
"""

from __future__ import annotations

from typing import Any

from scmm_oci.errors import Problem
from scmm_oci.schema import Steps, place

# crun keeps the conditions of a rule in an array of six, and leaves out what is behind (its seccomp.c, 1.29).
MAX_CONDITIONS = 6

# The actions that an errno goes with: runtimes must refuse it beside others (runtime-spec, config-linux.md).
ANSWERING = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")

_NOTIFY = "SCMP_ACT_NOTIFY"


def contradictions(document: dict[str, Any]) -> list[Problem]:
    """What no runtime takes, or runtimes take differently, though each value is right; in both forms of profiles.

    Args:
        document: without its bad parts (:func:`scmm_oci.schema.prune`).
    """
    found = []
    if document.get("defaultAction") == _NOTIFY:
        found.append(Problem(".defaultAction", "SCMP_ACT_NOTIFY cannot be the default: runc refuses it"))
    if document.get("listenerMetadata") is not None and not document.get("listenerPath"):
        found.append(Problem(".listenerMetadata", "has no meaning without listenerPath"))
    found += _errno_misplaced(document, "defaultAction", "defaultErrnoRet", ())
    for index, rule in enumerate(document.get("syscalls") or ()):
        if rule:
            found += _errno_misplaced(rule, "action", "errnoRet", ("syscalls", index))
            key = "names" if rule.get("names") else "name"
            if rule.get("action") == _NOTIFY and "write" in (rule.get("names") or [rule.get("name")]):
                where = place(("syscalls", index, key))
                found.append(Problem(where, "SCMP_ACT_NOTIFY cannot be for write: runc refuses it"))
            conditions = len(rule.get("args") or ())
            if conditions > MAX_CONDITIONS:
                message = f"has {conditions} conditions; crun reads the first {MAX_CONDITIONS} only"
                hint = "write the rule once for each alternative"
                found.append(Problem(place(("syscalls", index, "args")), message, hint))
    return found


def _errno_misplaced(holder: dict[str, Any], action: str, errno: str, path: Steps) -> list[Problem]:
    if holder.get(errno) is None or holder.get(action) in (*ANSWERING, None):
        return []
    message = f"goes with SCMP_ACT_ERRNO and SCMP_ACT_TRACE only, not {holder[action]}"
    return [Problem(place((*path, errno)), message)]
