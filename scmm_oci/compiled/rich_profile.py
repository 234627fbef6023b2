"""Policy → a seccomp profile in Docker's and podman's form, which depends on the container as the policy does.

Rules stay as they are, in the policy's order, where runtimes understand them as the policy means them; else they are
written as compiled.conditions says. What a container gets of it is what compiled.profiles makes of the policy for
that container.
"""

from __future__ import annotations

from dataclasses import dataclass

from scmm_oci.compiled.buckets import buckets_of, settle
from scmm_oci.compiled.profiles import ACTIONS, floor_denied, left_out, profile_flags
from scmm_oci.compiled.rich_rest import complete
from scmm_oci.compiled.rich_rules import Writer, grouped
from scmm_oci.errors import Finding
from scmm_oci.oci import rich
from scmm_oci.oci.resolve import Engine, unheeded
from scmm_oci.oci.rich import ArchMapping, RichProfile, RichRule
from scmm_oci.policy.answers import Answer, expanded_on, opened
from scmm_oci.policy.model import Action, Policy, Settings, SyscallRule
from scmm_oci.tables.floor import Floor


@dataclass(frozen=True)
class Exported:
    """A profile.

    Attributes:
        program: how many names the policy allows in some container; ``floor``: how many more the runtime needs.
    """

    profile: RichProfile
    program: int
    floor: int
    findings: tuple[Finding, ...]

    @property
    def json(self) -> bytes:
        """The profile as a file for ``--security-opt seccomp=``."""
        return rich.to_json(self.profile)


def to_rich(policy: Policy, *, engine: Engine | None = None, floor: Floor | None = None) -> Exported:
    """The profile that does what the policy says, for every container.

    Args:
        engine: who reads the profile: podman gets the names of errnos beside their numbers, and the findings are
            about what the engine does not read.
        floor: what the runtime needs. With it, the profile has all that compiled.profiles adds to a policy, for the
            containers in which the policy says nothing of a call. Without it, it has the policy's rules alone.

    Raises:
        BadInput: the policy has rules that a profile cannot express as they are meant.
    """
    settings = policy.settings
    writer = Writer(settings, engine)
    rules = _in_order(policy)
    buckets = buckets_of(rules)
    findings = [*left_out(policy)]
    architectures, mappings = _architectures(settings, findings)
    added: list[RichRule] = []
    extra: set[str] = set()
    settle(buckets, settings)
    if floor is not None:
        findings = [*floor.findings, *findings, *floor_denied(policy, floor)]
        added, extra = complete(policy, buckets, floor, writer, findings)
    default = Answer.of(None, settings)
    number, name = writer.errno(default)
    profile = RichProfile(
        default_action=ACTIONS[settings.default_action],
        default_errno_ret=number,
        default_errno_name=name,
        architectures=architectures,
        arch_map=mappings,
        flags=profile_flags(settings),
        listener_path=settings.listener.path if settings.listener is not None else None,
        listener_metadata=settings.listener.metadata if settings.listener is not None else None,
        syscalls=(*grouped(writer.rules(rules, buckets)), *added),
    )
    rich.to_json(profile)
    if engine is not None:
        findings += unheeded(profile, engine)
    allowed = {rule.name for rule in rules if rule.action is Action.ALLOW}
    return Exported(profile, len(allowed), len(extra), tuple(findings))


def _in_order(policy: Policy) -> tuple[SyscallRule, ...]:
    """The policy's rules, and behind them those that its groups come to."""
    own = tuple(rule for rule in policy.syscalls if not rule.is_group)
    if len(own) == len(policy.syscalls):
        return own
    named = {rule.name for rule in own} | opened(policy)
    members = (rule for rule in expanded_on(policy.syscalls, policy.settings.architectures) if rule.name not in named)
    return (*own, *members)


def _architectures(settings: Settings, findings: list[Finding]) -> tuple[tuple[str, ...], tuple[ArchMapping, ...]]:
    if not settings.arch_map:
        return tuple(arch.scmp for arch in settings.architectures), ()
    lines = [ArchMapping(line.architecture, line.sub_architectures) for line in settings.arch_map]
    ours, *beside = settings.architectures
    wanted = ArchMapping(ours.scmp, tuple(arch.scmp for arch in beside))
    known = {arch.scmp for arch in ours.beside}
    position = next((index for index, line in enumerate(lines) if line.architecture == ours.scmp), None)
    if position is None and not beside:
        return (), tuple(lines)
    if position is not None and known.intersection(lines[position].sub_architectures) == set(wanted.sub_architectures):
        return (), tuple(lines)
    message = f"the line of arch_map for {ours} is not what architectures says: the profile has the latter"
    findings.append(Finding("arch-map-changed", message))
    if position is None:
        lines.append(wanted)
    else:
        lines[position] = wanted
    return (), tuple(lines)
