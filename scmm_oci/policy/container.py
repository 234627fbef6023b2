"""A policy with rules that depend on the container → the policy for one container.

``includes`` and ``excludes`` mean what they do in Docker's and podman's profiles (scmm_oci.oci.resolve).
"""

from __future__ import annotations

from dataclasses import replace

from scmm_oci.errors import BadInput, Problem
from scmm_oci.policy.model import Applies, Policy, SyscallRule
from scmm_oci.policy.scopes import MACHINES
from scmm_oci.tables.arch import Arch

# What a container that asks for nothing has: under podman by the containers.conf that distributions ship
# (containers-common; podman's own default, without that file, is Docker's), and under Docker (moby,
# oci/caps/defaults.go). tests/runtime compares them with the engines.
PODMANS_CAPABILITIES = frozenset(
    {
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_NET_BIND_SERVICE",
        "CAP_SETFCAP",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_SETUID",
        "CAP_SYS_CHROOT",
    }
)
DOCKERS_CAPABILITIES = PODMANS_CAPABILITIES | {"CAP_AUDIT_WRITE", "CAP_MKNOD", "CAP_NET_RAW"}

# What a container has under both engines.
DEFAULT_CAPABILITIES = PODMANS_CAPABILITIES & DOCKERS_CAPABILITIES


def depends(policy: Policy) -> bool:
    """Whether the policy has rules that depend on the container."""
    return any(rule.includes is not None or rule.excludes is not None for rule in policy.syscalls)


def for_container(policy: Policy, *, capabilities: frozenset[str], kernel: tuple[int, int] | None = None) -> Policy:
    """The policy with the rules that hold in a container, and none that depend on one.

    Args:
        capabilities: the container's bounding set, with ``CAP_``.
        kernel: version and major revision of the machine's; None takes every rule for a least kernel.

    Raises:
        BadInput: two rules for one call without constraints hold at once.
    """
    taken = [
        replace(rule, includes=None, excludes=None)
        for rule in policy.syscalls
        if _is_taken(rule, policy.settings.arch, capabilities, kernel)
    ]
    plain: dict[str, SyscallRule] = {}
    found: list[Problem] = []
    kept: list[SyscallRule] = []
    for rule in taken:
        if rule.constraints:
            kept.append(rule)
            continue
        before = plain.setdefault(rule.name, rule)
        if before is rule:
            kept.append(rule)
        elif (before.action, before.errno, before.message) != (rule.action, rule.errno, rule.message):
            message = f"two rules for {rule.name} hold in this container: {before.action} and {rule.action}"
            found.append(Problem("", message, "make them exclude one another"))
    if found:
        raise BadInput(found)
    return replace(policy, syscalls=tuple(dict.fromkeys(kept)))


def _is_taken(rule: SyscallRule, arch: Arch, capabilities: frozenset[str], kernel: tuple[int, int] | None) -> bool:
    asked, refused = rule.includes or Applies(), rule.excludes or Applies()
    machine = MACHINES.get(arch, arch.value)
    return (
        capabilities.issuperset(asked.capabilities)
        and (not asked.architectures or machine in asked.architectures)
        and _is_reached(asked, kernel, otherwise=True)
        and capabilities.isdisjoint(refused.capabilities)
        and machine not in refused.architectures
        and not _is_reached(refused, kernel, otherwise=False)
    )


def _is_reached(applies: Applies, kernel: tuple[int, int] | None, *, otherwise: bool) -> bool:
    if kernel is None or applies.min_kernel is None:
        return otherwise
    major, minor = (int(part) for part in applies.min_kernel.split("."))
    return kernel >= (major, minor)
