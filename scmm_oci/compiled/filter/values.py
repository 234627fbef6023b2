"""What a filter returns for an answer of a policy, or for an action of a profile."""

from __future__ import annotations

from scmm_oci.compiled import bpf
from scmm_oci.oci.seccomp import OciAction
from scmm_oci.policy.answers import Answer
from scmm_oci.policy.model import Action

# What the permissive twin returns for a call that would be refused: the kernel ignores the data of LOG, and the
# launcher knows by it which LOG is a violation and which the policy's own.
VIOLATION = bpf.RET_LOG | 1

_ACTIONS = {
    Action.ALLOW: bpf.RET_ALLOW,
    Action.LOG: bpf.RET_LOG,
    Action.TRACE: bpf.RET_TRACE,
    Action.NOTIFY: bpf.RET_USER_NOTIF,
    Action.DENY: bpf.RET_ERRNO,
    Action.TRAP: bpf.RET_TRAP,
    Action.KILL_THREAD: bpf.RET_KILL_THREAD,
    Action.KILL: bpf.RET_KILL_PROCESS,
}
_OCI_ACTIONS = {
    OciAction.ALLOW: bpf.RET_ALLOW,
    OciAction.LOG: bpf.RET_LOG,
    OciAction.TRACE: bpf.RET_TRACE,
    OciAction.NOTIFY: bpf.RET_USER_NOTIF,
    OciAction.ERRNO: bpf.RET_ERRNO,
    OciAction.TRAP: bpf.RET_TRAP,
    OciAction.KILL_THREAD: bpf.RET_KILL_THREAD,
    OciAction.KILL: bpf.RET_KILL_THREAD,
    OciAction.KILL_PROCESS: bpf.RET_KILL_PROCESS,
}


def returned(answer: Answer) -> int:
    """The return value for an answer: the action, with the errno of deny and the message of trace as data."""
    return _ACTIONS[answer.action] | (answer.number & bpf.RET_DATA)


def returned_by(action: OciAction, errno: int | None) -> int:
    """The return value for an action of a profile; ``errno`` goes with ERRNO and TRACE."""
    return _OCI_ACTIONS[action] | ((errno or 0) & bpf.RET_DATA)


def passes(value: int) -> bool:
    """Whether the call is made without asking anyone."""
    return value & bpf.RET_ACTION_FULL in (bpf.RET_ALLOW, bpf.RET_LOG)


def is_cached(value: int) -> bool:
    """Whether the kernel does not run the filter again where it always returns this (seccomp_cache_prepare, 5.11)."""
    return value & bpf.RET_ACTION_FULL == bpf.RET_ALLOW
