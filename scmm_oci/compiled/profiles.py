"""Policy and runtime floor → the seccomp profile that a container runtime loads (OCI runtime-spec, linux.seccomp).

The runtime loads it before its own last steps, so it carries the floor. Actions map one to one; what a profile cannot
express is a finding, or an error where leaving it out would allow more than the policy does.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from scmm_oci.compiled import multiplexed
from scmm_oci.compiled.conditions import conditional, floor_conditions
from scmm_oci.errors import BadInput, Finding, Problem
from scmm_oci.oci.seccomp import Condition, Flag, OciAction, Profile, Rule, to_json
from scmm_oci.policy.answers import Answer, Entry, entries
from scmm_oci.policy.constraints import Alternative
from scmm_oci.policy.container import depends
from scmm_oci.policy.model import Action, FilterFlag, Policy, Settings, SyscallRule
from scmm_oci.tables import errnos, syscalls
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.floor import Floor
from scmm_oci.tables.probes import probes

ENOSYS = errnos.ERRNOS["ENOSYS"]

# What a rule does to a call: an action and, for ERRNO and TRACE, the number. Rules are written in the order of this.
_Answer = tuple[OciAction, int | None]
_ORDER = (
    OciAction.ALLOW,
    OciAction.ERRNO,
    OciAction.LOG,
    OciAction.TRACE,
    OciAction.NOTIFY,
    OciAction.TRAP,
    OciAction.KILL_THREAD,
    OciAction.KILL_PROCESS,
)
ACTIONS = {
    Action.ALLOW: OciAction.ALLOW,
    Action.DENY: OciAction.ERRNO,
    Action.LOG: OciAction.LOG,
    Action.TRACE: OciAction.TRACE,
    Action.NOTIFY: OciAction.NOTIFY,
    Action.TRAP: OciAction.TRAP,
    Action.KILL_THREAD: OciAction.KILL_THREAD,
    # The whole process: a thread that vanishes leaves the others waiting for its locks (seccomp(2)).
    Action.KILL: OciAction.KILL_PROCESS,
}
FLAGS = {
    FilterFlag.SPEC_ALLOW: Flag.SPEC_ALLOW,
    FilterFlag.TSYNC: Flag.TSYNC,
    FilterFlag.WAIT_KILLABLE_RECV: Flag.WAIT_KILLABLE_RECV,
}


@dataclass(frozen=True)
class Compiled:
    """A profile.

    Attributes:
        program: how many names the policy allows; ``floor``: how many more the runtime needs.
    """

    profile: Profile
    program: int
    floor: int
    findings: tuple[Finding, ...]

    @property
    def json(self) -> bytes:
        """The profile as a file for ``--security-opt seccomp=``."""
        return to_json(self.profile)


def oci_profile(policy: Policy, floor: Floor) -> Compiled:
    """The profile that does what the policy says, and lets the runtime get as far as the program.

    A rule of the policy always wins over the floor. Where the default is to answer an errno, calls that programs
    only try (tables.probes) are answered ENOSYS unless the policy or the floor says otherwise.

    Raises:
        BadInput: the policy has rules that a profile cannot express, and leaving them out would allow more.
    """
    if depends(policy):
        message = "has rules that depend on the container"
        raise BadInput([Problem(".syscalls", message, "choose one with policy.container")])
    settings = policy.settings
    findings = [*floor.findings, *left_out(policy)]
    known: set[str] = set().union(*(syscalls.numbers(arch) for arch in settings.architectures))
    default = _written(Answer.of(None, settings))
    spoken = {name: entry for name, entry in entries(policy).items() if name in known}
    answers = {
        name: _written(Answer.of(entry.plain, settings)) for name, entry in spoken.items() if not entry.constrained
    }
    limited = _conditional(spoken, settings, floor, findings)
    findings += floor_denied(policy, floor)
    if floor.names and settings.arch not in (Arch.X86_64, Arch.X86):
        message = f"what runtimes need was measured on x86_64, not on {settings.arch}"
        findings.append(Finding("floor-not-measured", message, "try the profile before you rely on it"))
    extra = (floor.names & known) - spoken.keys()
    answers |= dict.fromkeys(extra, (OciAction.ALLOW, None))
    if settings.default_action is Action.DENY:
        answers |= dict.fromkeys((probes() & known) - spoken.keys() - extra, (OciAction.ERRNO, ENOSYS))
    ruled = {name for name, answer in answers.items() if answer != default} | {rule.names[0] for rule in limited}
    profile = Profile(
        default_action=default[0],
        default_errno_ret=default[1],
        architectures=tuple(arch.scmp for arch in settings.architectures),
        flags=profile_flags(settings),
        listener_path=settings.listener.path if settings.listener is not None else None,
        listener_metadata=settings.listener.metadata if settings.listener is not None else None,
        syscalls=(*_rules(answers, default), *limited, *_default_in_full(known - ruled, default)),
    )
    to_json(profile)
    allowed = {name for name, entry in spoken.items() if _allows(entry)}
    return Compiled(profile, len(allowed), len(extra), tuple(findings))


def profile_flags(settings: Settings) -> tuple[Flag, ...] | None:
    """The filter's flags; None where the policy leaves them to the runtime."""
    if settings.flags is None and not settings.log_denials:
        return None
    chosen = [FLAGS[flag] for flag in settings.flags or ()]
    return (Flag.LOG, *chosen) if settings.log_denials else tuple(chosen)


def _allows(entry: Entry) -> bool:
    rules = [*entry.constrained, *([entry.plain] if entry.plain is not None else [])]
    return any(rule.action is Action.ALLOW for rule in rules)


def _written(answer: Answer) -> _Answer:
    return ACTIONS[answer.action], answer.number if answer.action in (Action.DENY, Action.TRACE) else None


def _conditional(
    spoken: dict[str, Entry], settings: Settings, floor: Floor, findings: list[Finding]
) -> tuple[Rule, ...]:
    """The rules with conditions, by name; all that cannot be written is told at once."""
    rules: list[Rule] = []
    found: list[Problem] = []
    freed: list[str] = []
    for name, entry in sorted(spoken.items()):
        if not entry.constrained:
            continue
        more: tuple[Alternative, ...] = ()
        if name in floor.names and not Answer.of(entry.plain, settings).action.passes:
            more = floor_conditions(name, settings.architectures)
            if more == ((),):
                freed.append(name)
                rules.append(Rule((name,), OciAction.ALLOW))
                continue
        try:
            for answer, conditions in conditional(name, entry, settings, more):
                rules.append(Rule((name,), *_written(answer), conditions))
        except BadInput as error:
            found += [Problem(f"rules for {name}", one.message, one.hint) for one in error.problems]
    if found:
        raise BadInput(found)
    if freed:
        message = f"the runtime needs {', '.join(freed)} with other arguments too: the profile allows any"
        findings.append(Finding("floor-unconstrained", message))
    return _grouped(rules)


def _grouped(rules: list[Rule]) -> tuple[Rule, ...]:
    """Rules that differ in their names only are one."""
    names: dict[tuple[OciAction, int | None, tuple[Condition, ...]], list[str]] = {}
    for rule in rules:
        names.setdefault((rule.action, rule.errno_ret, rule.args), []).append(rule.names[0])
    return tuple(Rule(tuple(dict.fromkeys(these)), *key) for key, these in names.items())


def _rules(answers: dict[str, _Answer], default: _Answer) -> tuple[Rule, ...]:
    names: dict[_Answer, list[str]] = defaultdict(list)
    for name, answer in answers.items():
        # libseccomp refuses rules that do what the default does anyway.
        if answer != default:
            names[answer].append(name)
    answered = sorted(names, key=lambda answer: (_ORDER.index(answer[0]), answer[1] or 0))
    return tuple(Rule(tuple(sorted(names[answer])), answer[0], answer[1]) for answer in answered)


def _default_in_full(rest: set[str], default: _Answer) -> tuple[Rule, ...]:
    """The default once more as a rule, where it is an errno that engines may forget.

    Docker before 23 drops defaultErrnoRet (its types.Seccomp had no such field), and the runtime then answers EPERM.
    Runtimes skip a rule that repeats the default.
    """
    if default[0] is not OciAction.ERRNO or default[1] == errnos.ERRNOS["EPERM"] or not rest:
        return ()
    return (Rule(tuple(sorted(rest)), *default),)


def left_out(policy: Policy) -> list[Finding]:
    """What a profile that libseccomp makes a filter of does not hold of a policy."""
    sections = {
        # An empty list is a word too: none.
        "capabilities": policy.capabilities is not None,
        "filesystem": policy.filesystem is not None,
        "network": policy.network is not None,
        "run_as": policy.settings.run_as is not None,
        "scopes": bool(policy.scopes),
        "transitions": policy.transitions is not None,
        "serving": policy.serving is not None,
        "watch": policy.watch is not None,
    }
    left = ", ".join(name for name, there in sections.items() if there)
    findings: list[Finding] = []
    if left:
        findings.append(Finding("not-in-profile", f"a seccomp profile holds calls only: not the policy's {left}"))
    if policy.settings.log_denials:
        hint = "there, set log_denials to false"
        findings.append(Finding("flags", "log_denials needs a flag that runc before 1.2 refuses", hint))
    return [*findings, *of_libseccomp(policy)]


def of_libseccomp(policy: Policy) -> list[Finding]:
    """What is not held because libseccomp makes the filter; compiled.crun makes another."""
    findings = multiplexed.not_held(policy, conditions=True)
    bad_arch = policy.settings.bad_arch_action
    if bad_arch not in (Action.KILL, Action.KILL_THREAD):
        message = f"runtimes end a program that makes calls of other ABIs: not the policy's {bad_arch}"
        findings.append(Finding("bad-arch-not-held", message))
    return findings


def floor_denied(policy: Policy, floor: Floor) -> list[Finding]:
    def refused(rule: SyscallRule) -> bool:
        return rule.action not in (Action.ALLOW, Action.LOG) and rule.name in floor.names

    return [
        Finding(
            "floor-denied",
            f"the policy's rule for {rule.name} ({rule.action}) holds for the runtime too, which may need the call",
            "if the container does not start, take that rule out",
        )
        for rule in sorted(policy.syscalls, key=lambda rule: rule.name)
        if refused(rule)
    ]
