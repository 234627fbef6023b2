"""A profile in Docker's and podman's form, for one container → the runtime-spec's form that the runtime is given.

It does what profiles/seccomp/seccomp_linux.go of moby and pkg/seccomp/seccomp_linux.go of containers/common do; a test
compares it with both engines. What an engine does not look at, :func:`unheeded` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from scmm_oci.errors import BadInput, Finding, unknown_value
from scmm_oci.oci.richmodel import Filter, RichProfile, RichRule
from scmm_oci.oci.seccomp import Profile, Rule
from scmm_oci.schema import place
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.vocabulary import CAPABILITIES

# libseccomp's names of machines, where they are not ours. Both engines look for the one that they run on.
_MACHINES = {Arch.X86_64: "amd64", Arch.AARCH64: "arm64"}


class Engine(StrEnum):
    """Who reads the profile."""

    DOCKER = "docker"
    PODMAN = "podman"


def resolve(
    profile: RichProfile, *, arch: Arch, capabilities: frozenset[str], kernel: tuple[int, int] | None
) -> Profile:
    """The profile that an engine gives the runtime for one container.

    Rules keep their order and are not joined. ``archMap`` gives the architectures of its first entry for the
    machine, and none (the runtime then takes its own) where there is no entry. Empty ``flags`` vanish, because both
    engines write no empty lists: the runtime then chooses. A name that a rule has twice stands there once.

    Args:
        arch: the machine.
        capabilities: the container's bounding set, with ``CAP_``.
        kernel: version and major revision of the machine's kernel; None for an engine that does not look at
            ``minKernel``, which is podman (containers/common has no such field).

    Raises:
        BadInput: one of ``capabilities`` is not a capability.
    """
    known = [f"CAP_{name}" for name in CAPABILITIES]
    wrong = [unknown_value("", "a capability", word, known) for word in sorted(capabilities - set(known))]
    if wrong:
        raise BadInput(wrong)
    machine = _MACHINES.get(arch, arch.value)
    return Profile(
        default_action=profile.default_action,
        default_errno_ret=profile.default_errno_number,
        architectures=_architectures(profile, arch),
        flags=profile.flags or None,
        listener_path=profile.listener_path,
        listener_metadata=profile.listener_metadata,
        syscalls=tuple(_once(rule.rule) for rule in profile.syscalls if _is_taken(rule, machine, capabilities, kernel)),
    )


def unheeded(profile: RichProfile, engine: Engine) -> tuple[Finding, ...]:
    """What the profile says and the engine does not read, each with what the engine does instead."""
    return tuple(_by_docker(profile) if engine is Engine.DOCKER else _by_podman(profile))


def _is_taken(rule: RichRule, machine: str, capabilities: frozenset[str], kernel: tuple[int, int] | None) -> bool:
    asked, refused = rule.includes, rule.excludes
    return (
        capabilities.issuperset(asked.caps)
        and (not asked.arches or machine in asked.arches)
        and _is_reached(asked, kernel, otherwise=True)
        and capabilities.isdisjoint(refused.caps)
        and machine not in refused.arches
        and not _is_reached(refused, kernel, otherwise=False)
    )


def _is_reached(conditions: Filter, kernel: tuple[int, int] | None, *, otherwise: bool) -> bool:
    if kernel is None or conditions.min_kernel is None:
        return otherwise
    return kernel >= conditions.min_kernel


def _architectures(profile: RichProfile, arch: Arch) -> tuple[str, ...]:
    for mapping in profile.arch_map:
        if mapping.architecture == arch.scmp:
            return (mapping.architecture, *mapping.sub_architectures)
    return profile.architectures


def _once(rule: Rule) -> Rule:
    return Rule(tuple(dict.fromkeys(rule.names)), rule.action, rule.errno_ret, rule.args)


def _by_docker(profile: RichProfile) -> Iterator[Finding]:
    named = [".defaultErrno"] if profile.default_errno_name and profile.default_errno_ret is None else []
    named += [
        place(("syscalls", index, "errno"))
        for index, rule in enumerate(profile.syscalls)
        if rule.errno_name and rule.errno_ret is None
    ]
    for where in named:
        message = f"{where}: Docker does not read names of error numbers, and answers EPERM"
        yield Finding("docker-ignores", message, "add the number as errnoRet or defaultErrnoRet")
    # Its Seccomp type had none of these fields (20.10, profiles/seccomp/seccomp.go).
    late = {
        ".defaultErrnoRet": profile.default_errno_ret not in (None, 1) and "the default answers EPERM",
        ".flags": bool(profile.flags) and "the runtime chooses",
        ".listenerPath": profile.listener_path is not None and "there is no listener",
    }
    for where, instead in late.items():
        if instead:
            yield Finding("docker-ignores", f"{where}: Docker before 23 does not read it, and {instead}")


def _by_podman(profile: RichProfile) -> Iterator[Finding]:
    for index, rule in enumerate(profile.syscalls):
        if rule.includes.min_kernel or rule.excludes.min_kernel:
            where = place(("syscalls", index))
            message = f"{where}: podman does not read minKernel, so the rule holds on every kernel"
            yield Finding("podman-ignores", message)
