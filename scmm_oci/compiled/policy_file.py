"""A policy → all of a compiled policy file: filters for each architecture, ruleset, identity, transitions, watch. Pure.

Called by the command line; compiled.polfile writes the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from scmm_oci import __version__
from scmm_oci.compiled import needed
from scmm_oci.compiled.filter import build, of_policy, permissive
from scmm_oci.compiled.identity import identity
from scmm_oci.compiled.landlock import ruleset
from scmm_oci.compiled.polfile.model import (
    Filter,
    Identity,
    Machine,
    Metadata,
    PolicyFile,
    Ruleset,
    Transitions,
    Watch,
)
from scmm_oci.compiled.retarget import retarget
from scmm_oci.compiled.transitions import never_serving, transitions, watch
from scmm_oci.errors import BadInput, Finding, Problem
from scmm_oci.policy.model import Action, FilterFlag, Policy
from scmm_oci.tables.arch import Arch

# SECCOMP_FILTER_FLAG_* of linux/seccomp.h.
LOG_FLAG = 2
FLAGS = {FilterFlag.TSYNC: 1, FilterFlag.SPEC_ALLOW: 4, FilterFlag.WAIT_KILLABLE_RECV: 32}


def policy_file(
    policy: Policy, *, arches: Sequence[Arch] = (), policy_digest: str = ""
) -> tuple[PolicyFile, list[Finding]]:
    """All that the launcher is to apply, and what of the policy is not held, or otherwise than it says.

    Args:
        arches: the architectures of kernels to make filters for; empty for the policy's own.
        policy_digest: SHA-256 of the policy's text in hexadecimal digits, kept as it is.

    Raises:
        BadInput: the policy cannot be held, or refuses what every program needs; with all problems, those of other
            architectures than its own with their names.
    """
    chosen = sorted(dict.fromkeys(arches), key=_order) or [policy.settings.arch]
    findings: list[Finding] = []
    problems = _no_kernels(chosen)
    filters: list[Filter] = []
    following: dict[Arch, Transitions] = {}
    watched: Watch | None = None
    machines: dict[Arch, Machine] = {}
    flags = _flags(policy, findings)
    added: dict[Finding, list[Arch]] = {}
    try:
        needed.check(policy, asks=True)
    except BadInput as error:
        problems += error.problems
    if needed.allows_none(policy):
        message = "the policy allows no call: no program starts under it but in the launcher's modes ask and permissive"
        findings.append(Finding("allows-nothing", message, "give calls, or groups of them such as @system-service"))
    for arch in chosen if not problems else ():
        try:
            there, told = retarget(policy, arch)
            findings += told
            if arch is not policy.settings.arch:
                needed.check(there, asks=True)
            there, told = needed.completed(there)
            for one in told:
                added.setdefault(one, []).append(arch)
            for edges in transitions(there):
                if following.setdefault(edges.arch, edges) != edges:
                    problems.append(_two_orders(edges.arch, arch))
            watched = watch(there)
            for machine in watched.machines if watched is not None else ():
                if machines.setdefault(machine.arch, machine) != machine:
                    problems.append(_two_orders(machine.arch, arch))
            findings += never_serving(there)
            filters += _filters(there, flags, findings)
        except BadInput as error:
            problems += error.problems if arch is policy.settings.arch else _named(arch, error)
    rules: Ruleset | None = None
    who = Identity()
    try:
        rules, told = ruleset(policy)
        findings += told
    except BadInput as error:
        problems += error.problems
    try:
        who = identity(policy)
    except BadInput as error:
        problems += error.problems
    if problems:
        raise BadInput(list(dict.fromkeys(problems)))
    file = PolicyFile(
        tuple(filters),
        rules,
        who,
        tuple(sorted(following.values(), key=lambda one: _order(one.arch))),
        _metadata(policy, policy_digest),
        None
        if watched is None
        else replace(watched, machines=tuple(machines[one] for one in sorted(machines, key=_order))),
    )
    return file, list(dict.fromkeys([*_where(added, chosen), *findings]))


def _where(found: dict[Finding, list[Arch]], chosen: Sequence[Arch]) -> list[Finding]:
    """The findings, with the architectures that they are about where they are not about all."""
    return [
        Finding(
            one.code, one.message if len(arches) == len(chosen) else f"for {', '.join(arches)}: {one.message}", one.hint
        )
        for one, arches in found.items()
    ]


def _filters(policy: Policy, flags: int | None, findings: list[Finding]) -> list[Filter]:
    """The filter of a policy; none where it would let every call pass unlogged."""
    settings = policy.settings
    actions = {settings.default_action, settings.bad_arch_action, *(rule.action for rule in policy.syscalls)}
    if actions == {Action.ALLOW}:
        message = f"every call is allowed on {settings.arch}: no filter is made for it"
        findings.append(Finding("no-filter", message, "give rules, or refuse by default"))
        return []
    plan = of_policy(policy)
    return [Filter(settings.arch, flags, build(plan), build(permissive(plan)))]


def _flags(policy: Policy, findings: list[Finding]) -> int | None:
    """The filter's flags; None where the policy leaves them to the launcher."""
    settings = policy.settings
    if settings.flags is None and not settings.log_denials:
        return None
    chosen = set(settings.flags or ())
    actions = {settings.default_action, settings.bad_arch_action, *(rule.action for rule in policy.syscalls)}
    if FilterFlag.WAIT_KILLABLE_RECV in chosen and Action.NOTIFY not in actions:
        # EINVAL without SECCOMP_FILTER_FLAG_NEW_LISTENER: seccomp(2).
        message = "the flag wait_killable_recv is left out: no call is answered notify, and kernels refuse it without"
        findings.append(Finding("flag-left-out", message))
        chosen.discard(FilterFlag.WAIT_KILLABLE_RECV)
    return sum(FLAGS[flag] for flag in chosen) | (LOG_FLAG if settings.log_denials else 0)


def _no_kernels(arches: Sequence[Arch]) -> list[Problem]:
    if Arch.X32 not in arches:
        return []
    hint = "compile for x86_64, with x32 among the policy's architectures"
    return [Problem(".settings.arch", "no kernel has x32 as its own", hint)]


def _two_orders(abi: Arch, kernel: Arch) -> Problem:
    """Kernels of two architectures run the ABI, and a file has its transitions once."""
    message = f"the transitions of {abi} are others on kernels of {kernel} than on those of another architecture"
    return Problem(".transitions", message, "compile for one architecture at a time")


def _named(arch: Arch, error: BadInput) -> list[Problem]:
    return [Problem(one.place, f"for {arch}: {one.message}", one.hint) for one in error.problems]


def _order(arch: Arch) -> tuple[int, str]:
    return arch.audit, arch.value


def _metadata(policy: Policy, digest: str) -> Metadata:
    given = policy.metadata
    return Metadata(
        name=given.name,
        description=given.description,
        target_executable=given.target_executable or "",
        generated_from=given.generated_from or "",
        generated_at=given.generated_at or "",
        policy_digest=digest,
        compiler=__version__,
    )
