"""A profile, and a recording of a container that ran under its twin → the calls that the profile refuses. Pure.

The twin allows what the profile leaves to a default that refuses. Rules that refuse otherwise stay, as programs may
live well with their errno (clone3 answered ENOSYS), and take another call then. Only where the twin fails too, all is
open.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from scmm_oci.capture.model import Capture, Phase, Session
from scmm_oci.compiled.bpf import Program
from scmm_oci.compiled.enforced import Enforced
from scmm_oci.compiled.filter import build, of_profile
from scmm_oci.compiled.verify import verify
from scmm_oci.errors import BadInput, Problem
from scmm_oci.oci.seccomp import OciAction, Profile, Rule
from scmm_oci.policy.model import Policy
from scmm_oci.recorder.replay.cells import Missing
from scmm_oci.tables.arch import Arch

_PASSES = (OciAction.ALLOW, OciAction.LOG)
# A filter without rules is not loaded by every runtime, and without a filter there are no phases. Nothing calls it
# (vhangup(2) is login's).
_NEVER = "vhangup"


def check(profile: Profile) -> None:
    """Find out whether a profile can be replayed at all.

    Raises:
        BadInput: it asks somebody else, who is not there.
    """
    asked = [profile.default_action, *(rule.action for rule in profile.syscalls)]
    for action, who in ((OciAction.NOTIFY, "a listener"), (OciAction.TRACE, "a tracer")):
        if action in asked:
            raise BadInput([Problem(".", f"has {action}, which needs {who}: it cannot be replayed without")])


def opened(profile: Profile) -> Profile:
    """A profile for the same ABIs that refuses nothing that anyone calls."""
    rules = (Rule((_NEVER,), OciAction.ERRNO),)
    return replace(profile, default_action=OciAction.ALLOW, default_errno_ret=None, syscalls=rules)


def twin(profile: Profile) -> Profile:
    """The profile, but what its default refuses is allowed."""
    if profile.default_action in _PASSES:
        return profile
    default = profile.default_action, profile.default_errno
    kept = [rule for rule in profile.syscalls if rule.action not in _PASSES and (rule.action, rule.errno) != default]
    never = () if any(_NEVER in rule.names for rule in kept) else opened(profile).syscalls
    return replace(profile, default_action=OciAction.ALLOW, default_errno_ret=None, syscalls=(*kept, *never))


def with_calls(profile: Profile, names: Iterable[str]) -> Profile:
    """The profile, and these calls allowed with any arguments; all other rules for them are taken out."""
    allowed = sorted(set(names))
    if not allowed:
        return profile
    rules = [
        replace(rule, names=left)
        for rule in profile.syscalls
        if (left := tuple(name for name in rule.names if name not in allowed))
    ]
    if profile.default_action is not OciAction.ALLOW:
        rules.append(Rule(tuple(allowed), OciAction.ALLOW))
    return replace(profile, syscalls=tuple(rules))


def filter_of(profile: Profile, machine: Arch) -> Program:
    """The filter that the profile is on a machine.

    Raises:
        BadInput: it cannot be one, with why.
    """
    # libseccomp's filters are for the machine's own ABI, whatever else is added (seccomp_init(3)).
    if machine.scmp not in profile.architectures:
        profile = replace(profile, architectures=(machine.scmp, *profile.architectures))
    return build(of_profile(profile, arch=machine))


def lacking(program: Program, capture: Capture, *, machine: Arch) -> tuple[Missing, ...]:
    """What the filter refuses of what a container called after it had loaded its own, sorted by phase and name.

    Arguments are known of the program only; of the runtime a call is named if it is refused whatever its arguments.
    """
    enforced = Enforced({machine: program}, Policy(), answers=False)
    found = []
    for phase in (Phase.RUNTIME, Phase.APP):
        report = verify(enforced, [_as_app(capture, phase)])
        found += [Missing(phase, one.what, one.detail) for one in report.refused if one.section == "syscalls"]
    return tuple(sorted(found, key=lambda one: ((Phase.RUNTIME, Phase.APP).index(one.phase), one.name, one.detail)))


def denied(capture: Capture) -> tuple[Missing, ...]:
    """What a filter refused while it was recorded."""
    found = {
        Missing(phase, call.name or str(call.nr))
        for phase in (Phase.RUNTIME, Phase.APP)
        for _, call in capture.calls(phase)
        if call.denied
    }
    return tuple(sorted(found))


def runtime_names(captures: Sequence[Capture], *, session: int) -> frozenset[str]:
    """The names that a runtime called between loading the filter and the program, in one session of each capture."""
    return frozenset(
        call.name
        for one in captures
        for call in one.sessions[session].runtime
        if call.name is not None and call.entered
    )


def _as_app(capture: Capture, phase: Phase) -> Capture:
    """A capture in which the calls of a phase are those of the program."""
    if phase is Phase.APP:
        return capture

    def moved(session: Session) -> Session:
        return replace(session, setup=(), runtime=(), app=session.calls(phase))

    sessions = tuple(moved(session) for session in capture.sessions)
    return replace(capture, sessions=sessions, arguments=(), files=(), sockets=(), programs=(), order=())
