"""Policy and runtime floor → the seccomp profile that a container runtime loads (OCI runtime-spec, linux.seccomp).

The runtime loads it before its own last steps, so it carries the floor. Actions map one to one; what a profile cannot
express is a finding, or an error where leaving it out would allow more than the policy does.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from scmm_oci.errors import BadInput, Finding, Problem, unknown_value
from scmm_oci.oci.seccomp import Flag, OciAction, Profile, Rule, to_json
from scmm_oci.policy.model import Action, Policy, Settings, SyscallRule
from scmm_oci.tables import errnos, syscalls
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.floor import Floor
from scmm_oci.tables.probes import probes

ENOSYS = errnos.ERRNOS["ENOSYS"]

# What a rule does to a call: an action and, for ERRNO, the number. Rules are written in the order of this tuple.
_Answer = tuple[OciAction, int | None]
_ORDER = (OciAction.ALLOW, OciAction.ERRNO, OciAction.LOG, OciAction.TRAP, OciAction.KILL_PROCESS)
_ACTIONS = {
    Action.ALLOW: OciAction.ALLOW,
    Action.DENY: OciAction.ERRNO,
    Action.LOG: OciAction.LOG,
    Action.TRAP: OciAction.TRAP,
    # The whole process: a thread that vanishes leaves the others waiting for its locks (seccomp(2)).
    Action.KILL: OciAction.KILL_PROCESS,
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
    settings = policy.settings
    _refuse_constraints(policy)
    findings = [*floor.findings, *_left_out(policy)]
    known: set[str] = set().union(*(syscalls.numbers(arch) for arch in settings.architectures))
    default = _answer(settings.default_action, None, settings)
    answers = {rule.name: _answer(rule.action, rule.errno, settings) for rule in policy.syscalls}
    findings += _floor_denied(policy, floor)
    if floor.names and settings.arch not in (Arch.X86_64, Arch.X86):
        message = f"what runtimes need was measured on x86_64, not on {settings.arch}"
        findings.append(Finding("floor-not-measured", message, "try the profile before you rely on it"))
    extra = (floor.names & known) - answers.keys()
    answers |= dict.fromkeys(extra, (OciAction.ALLOW, None))
    if settings.default_action is Action.DENY:
        answers |= dict.fromkeys((probes() & known) - answers.keys(), (OciAction.ERRNO, ENOSYS))
    ruled = {name for name, answer in answers.items() if answer != default}
    profile = Profile(
        default_action=default[0],
        default_errno_ret=default[1],
        architectures=tuple(arch.scmp for arch in settings.architectures),
        flags=(Flag.LOG,) if settings.log_denials else None,
        syscalls=(*_rules(answers, default), *_default_in_full(known - ruled, default)),
    )
    to_json(profile)
    allowed = sum(rule.action is Action.ALLOW for rule in policy.syscalls)
    return Compiled(profile, allowed, len(extra), tuple(findings))


def _answer(action: Action, errno: str | None, settings: Settings) -> _Answer:
    if action is not Action.DENY:
        return _ACTIONS[action], None
    number = errnos.number(errno or settings.default_errno)
    if number is None:
        raise BadInput([unknown_value("", "an error name", errno or settings.default_errno, errnos.known())])
    return _ACTIONS[action], number


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


def _refuse_constraints(policy: Policy) -> None:
    found = [
        Problem(
            f".syscalls[{index}].constraints",
            f"constraints on {rule.name} cannot be written into a profile yet",
            "without them all of its arguments would be allowed",
        )
        for index, rule in enumerate(policy.syscalls)
        if rule.constraints
    ]
    if found:
        raise BadInput(found)


def _left_out(policy: Policy) -> list[Finding]:
    sections = {
        "capabilities": bool(policy.capabilities),
        "filesystem": policy.filesystem is not None,
        "network": policy.network is not None,
        "settings.run_as": policy.settings.run_as is not None,
    }
    findings = [
        Finding("not-in-profile", f"the policy's {section} is not enforced by a seccomp profile")
        for section, there in sections.items()
        if there
    ]
    if policy.settings.log_denials:
        hint = "there, set log_denials to false"
        findings.append(Finding("flags", "log_denials needs a flag that runc before 1.2 refuses", hint))
    return findings


def _floor_denied(policy: Policy, floor: Floor) -> list[Finding]:
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
