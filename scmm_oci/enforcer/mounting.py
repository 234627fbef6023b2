"""Which calls of a compiled policy let a program take away what is mounted: the launcher of a container among it."""

from __future__ import annotations

from scmm_oci.compiled import bpf
from scmm_oci.compiled.polfile.model import Filter, PolicyFile
from scmm_oci.compiled.ways import ways
from scmm_oci.errors import BadInput, Failure
from scmm_oci.tables import syscalls

# mount_namespaces(7); fsopen(2) and open_tree(2) come to nothing without move_mount(2).
CALLS = ("mount", "move_mount", "pivot_root", "umount2")
_PASSES = (bpf.RET_ALLOW, bpf.RET_LOG)


def allowed(policy: PolicyFile, *, landlock: bool = True) -> list[str]:
    """Those of CALLS that pass a filter of the policy, with whatever arguments.

    None do under rules for files: Landlock refuses them to all whose files are ruled (landlock(7), "Current
    limitations"). landlock: whether there is one.
    """
    if landlock and policy.ruleset is not None and policy.ruleset.handled_fs:
        return []
    if not policy.filters:
        return list(CALLS)
    return [name for name in CALLS if any(_passes(each, name) for each in policy.filters)]


def _passes(filter_: Filter, name: str) -> bool:
    number = syscalls.number_of(filter_.arch, name)
    if number is None:
        return False
    try:
        found = ways(filter_.program, bpf.Call(number, filter_.arch.audit), {})
    except (BadInput, Failure):
        return True  # not followed, so it cannot be said that none passes
    return any(each.value & bpf.RET_ACTION_FULL in _PASSES for each in found)
