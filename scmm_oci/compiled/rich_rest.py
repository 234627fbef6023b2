"""What a profile in Docker's and podman's form has beside the policy's rules, as compiled.profiles has it.

The runtime's needs, ENOSYS for calls that programs only try, and the default once more for engines that forget its
errno: for the containers in which the policy says nothing of a call.
"""

from __future__ import annotations

from scmm_oci.compiled.buckets import Bucket, Buckets
from scmm_oci.compiled.conditions import conditional, floor_conditions
from scmm_oci.compiled.profiles import ENOSYS
from scmm_oci.compiled.rich_rules import Writer, grouped
from scmm_oci.errors import Finding
from scmm_oci.oci.resolve import Engine
from scmm_oci.oci.rich import RichRule
from scmm_oci.policy.answers import Answer
from scmm_oci.policy.container import depends
from scmm_oci.policy.model import Action, Policy, Settings
from scmm_oci.policy.scopes import MACHINES, Scope
from scmm_oci.tables import errnos, syscalls
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.floor import Floor
from scmm_oci.tables.probes import probes

_EPERM = errnos.ERRNOS["EPERM"]


def complete(
    policy: Policy, buckets: Buckets, floor: Floor, writer: Writer, findings: list[Finding]
) -> tuple[list[RichRule], set[str]]:
    """Rules for the runtime, for calls that programs only try, and for engines that forget the default's errno."""
    settings = policy.settings
    known: set[str] = set().union(*(syscalls.numbers(arch) for arch in settings.architectures))
    default = Answer.of(None, settings)
    if floor.names and settings.arch not in (Arch.X86_64, Arch.X86):
        message = f"what runtimes need was measured on x86_64, not on {settings.arch}"
        findings.append(Finding("floor-not-measured", message, "try the profile before you rely on it"))
    freed = [
        name
        for name in sorted(floor.names & buckets.keys())
        if sum(_freed(bucket, settings) for bucket in buckets[name].values())
    ]
    if freed:
        message = f"the runtime needs {', '.join(freed)} with other arguments too: the profile allows any"
        findings.append(Finding("floor-unconstrained", message))
    rest = {name: Scope().without(bucket.scope for bucket in buckets.get(name, {}).values()) for name in sorted(known)}
    allow = Answer(Action.ALLOW.rank, 0, Action.ALLOW)
    extra = {name for name in floor.names & known if any(_is_here(scope, settings) for scope in rest[name])}
    answers = {} if default == allow else dict.fromkeys(sorted(extra), allow)
    if settings.default_action is Action.DENY and default.number != ENOSYS:
        tried = sorted(name for name in (probes() & known) - extra if rest[name])
        answers |= dict.fromkeys(tried, Answer(Action.DENY.rank, ENOSYS, Action.DENY))
        if tried and (settings.arch_map or depends(policy)):
            message = f"{len(tried)} calls that programs only try are answered ENOSYS where the policy says nothing"
            findings.append(Finding("probes-answered", message, "give them rules to have it otherwise"))
    if default.action is Action.DENY and default.number != _EPERM and writer.engine is not Engine.PODMAN:
        # Docker before 23 forgets the default's errno (compiled.profiles).
        forgotten = (name for name in sorted(known - answers.keys()) if rest[name])
        answers |= dict.fromkeys(forgotten, default)
    pieces = (
        writer.rule((name,), answer, (), scope.includes, scope.excludes)
        for name, answer in answers.items()
        for scope in rest[name]
        if answer != allow or _is_here(scope, settings)
    )
    return list(grouped(pieces)), extra - buckets.keys()


def _is_here(scope: Scope, settings: Settings) -> bool:
    return MACHINES.get(settings.arch, settings.arch.value) in scope.machines


def _freed(bucket: Bucket, settings: Settings) -> bool:
    """Have a call that the runtime needs allowed where conditions may refuse it; whether with any arguments."""
    entry = bucket.entry(settings)
    if not entry.constrained or not _is_here(bucket.scope, settings):
        return False
    if Answer.of(entry.plain, settings).action.passes:
        return False
    more = floor_conditions(bucket.name, settings.architectures)
    if more == ((),):
        bucket.instead = [(Answer(Action.ALLOW.rank, 0, Action.ALLOW), ())]
        return True
    written = conditional(bucket.name, entry, settings, more)
    if set(written) != set(conditional(bucket.name, entry, settings)):
        bucket.instead = written
    return False
