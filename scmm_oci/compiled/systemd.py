"""Policy → a drop-in for a systemd service (``UNIT.service.d/50-scmm.conf``): its calls, user and capabilities.

What systemd 252 does with a unit (systemd.exec(5), src/shared/seccomp-util.c): the first SystemCallFilter= that is not
empty decides whether calls without an entry are refused (a list of allowed calls; then all of its group @default is
allowed too, until ``~`` takes it out) or pass. An entry ``~name:ERRNO`` or ``~name:kill`` answers one call otherwise,
in either kind of list. Arguments cannot be compared, but for the family of socket(2).

The drop-in replaces what the unit says of the same settings. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from scmm_oci.compiled import multiplexed
from scmm_oci.compiled.systemd_calls import Calls, calls_of, families_of
from scmm_oci.errors import BadInput, Finding, Problem
from scmm_oci.policy.container import depends
from scmm_oci.policy.model import Action, Policy
from scmm_oci.tables import errnos, groups, syscalls, words
from scmm_oci.tables.arch import Arch

# ConditionArchitecture= of systemd.unit(5), and x32.
ARCHITECTURES = {
    Arch.X86_64: "x86-64",
    Arch.X86: "x86",
    Arch.X32: "x32",
    Arch.AARCH64: "arm64",
    Arch.ARM: "arm",
    Arch.RISCV64: "riscv64",
    Arch.S390X: "s390x",
    Arch.S390: "s390",
    Arch.PPC64LE: "ppc64-le",
}
# Where RestrictAddressFamilies= has an effect: ABIs without socketcall(2).
_FAMILIES = frozenset({Arch.X86_64, Arch.X32, Arch.AARCH64, Arch.ARM, Arch.RISCV64})

# What systemd does under the filter (exec_child of src/core/execute.c): memory for the command line, a byte to the
# manager where Type=exec, execve.
LAST_STEPS = frozenset({"brk", "execve", "mmap", "mmap2", "munmap", "write"})

_WIDTH = 100


@dataclass(frozen=True)
class DropIn:
    """A drop-in.

    Attributes:
        program: how many names the policy allows; ``floor``: how many more systemd needs.
    """

    text: bytes
    program: int
    floor: int
    findings: tuple[Finding, ...]


def drop_in(policy: Policy) -> DropIn:
    """The drop-in that does what the policy says, as far as systemd can.

    Raises:
        BadInput: the policy has rules that no filter can hold, or rules that depend on the container.
    """
    if depends(policy):
        message = "has rules that depend on the container"
        raise BadInput([Problem(".syscalls", message, "choose one with policy.container")])
    settings = policy.settings
    families = families_of(policy) if settings.arch in _FAMILIES else None
    if families is not None and any(_family(number) is None for number in families.numbers):
        # An empty list would be every family.
        families = None
    held = families is not None and families.exact and _FAMILIES.issuperset(settings.architectures)
    calls = calls_of(policy, held=frozenset({"socket"}) if held else frozenset())
    findings = [*calls.findings, *multiplexed.not_held(policy, conditions=False), *_left_out(policy)]
    if families is not None and families.instead is not None:
        message = f"systemd answers EAFNOSUPPORT to socket of other families: not the policy's {families.instead}"
        findings.append(Finding("action-not-held", message))
    steps = LAST_STEPS & syscalls.numbers(settings.arch).keys()
    needed = frozenset() if calls.open else steps & calls.unspoken
    lines = ["# Made by scmm compile. It replaces what the unit says of these settings.", "[Service]"]
    if policy.settings.run_as is not None:
        lines += _identity(policy)
    if policy.capabilities is not None:
        lines += _capabilities(policy)
    lines += _setting("SystemCallArchitectures", [ARCHITECTURES[arch] for arch in settings.architectures])
    lines += _filter(calls, needed)
    lines += _log(calls, findings)
    if families is not None:
        named = [_family(number) for number in sorted(families.numbers)]
        lines += _setting("RestrictAddressFamilies", [name for name in named if name is not None])
    if needed:
        message = f"the drop-in allows {', '.join(sorted(needed))}, which systemd needs to start the program"
        findings.append(Finding("launcher-needs", message))
    refused = sorted(name for name in steps - needed if not calls.answers[name].passes)
    if refused:
        message = f"the policy refuses {', '.join(refused)}, which systemd needs to start the program"
        findings.append(Finding("floor-denied", message, "if the service does not start, take these rules out"))
    text = "".join(f"{line}\n" for line in lines).encode("ascii")
    return DropIn(text, len(calls.passing), len(needed), tuple(findings))


def _filter(calls: Calls, needed: frozenset[str]) -> list[str]:
    """The lines of SystemCallFilter= and SystemCallErrorNumber=."""
    other = sorted(
        f"{name}:{'kill' if answer.errno is None else errnos.name(answer.errno)}"
        for name, answer in calls.answers.items()
        if answer != calls.default and not answer.passes and name not in needed
    )
    if calls.open:
        return _setting("SystemCallFilter", other, "~")
    passing = calls.passing | needed
    if not passing:
        # The first list would be one of refusals, and systemd would allow all that is not in it.
        raise BadInput([Problem(".syscalls", "allows no call, which a drop-in cannot say", "allow what is needed")])
    lines = _setting("SystemCallFilter", sorted(passing))
    if other:
        lines += _setting("SystemCallFilter", other, "~")[1:]
    # libseccomp refuses an entry that does what the default does: these are taken out, without an answer of their own.
    implied = {one.name for one in groups.expand("@default")} & calls.answers.keys()
    taken = sorted(name for name in implied - passing if calls.answers[name] == calls.default)
    if taken:
        lines += _setting("SystemCallFilter", taken, "~")[1:]
    # Without a number the default kills.
    lines.append(f"SystemCallErrorNumber={'' if calls.default.errno is None else errnos.name(calls.default.errno)}")
    return lines


def _log(calls: Calls, findings: list[Finding]) -> list[str]:
    """SystemCallLog=: one filter more, which logs what passes."""
    if calls.default.log:
        quiet = sorted(name for name in calls.passing if not calls.answers[name].log)
        if not quiet:
            findings.append(Finding("action-not-held", "systemd cannot log every call: the drop-in logs none"))
        return _setting("SystemCallLog", quiet, "~")
    logged = sorted(name for name in calls.passing if calls.answers[name].log)
    return _setting("SystemCallLog", logged) if logged else []


def _identity(policy: Policy) -> list[str]:
    run_as = policy.settings.run_as
    lines = []
    if run_as is not None and run_as.uid is not None:
        lines.append(f"User={run_as.uid}")
    if run_as is not None and run_as.gid is not None:
        lines.append(f"Group={run_as.gid}")
    if run_as is not None and run_as.uid:
        # systemd does so anyway for a filter of another user's service (systemd.exec(5)).
        lines.append("NoNewPrivileges=yes")
    return lines


def _capabilities(policy: Policy) -> list[str]:
    names = sorted(policy.capabilities or ())
    lines = _setting("CapabilityBoundingSet", names)
    run_as = policy.settings.run_as
    if run_as is not None and run_as.uid:
        # A user who is not root has none of the bounding set unless they are ambient (capabilities(7)).
        lines += _setting("AmbientCapabilities", names)
    return lines


def _setting(name: str, values: list[str], invert: str = "") -> list[str]:
    """An empty assignment, which forgets the unit's own values, and lines with these, of a length that people read."""
    lines = [f"{name}="]
    row = ""
    for value in values:
        if row and len(name) + len(row) + len(value) + 3 > _WIDTH:
            lines.append(f"{name}={invert}{row}")
            row = ""
        row = f"{row} {value}" if row else value
    return [*lines, f"{name}={invert}{row}"] if row else lines


def _family(number: int) -> str | None:
    known = words.names("address_families").items()
    return next((name for name, value in known if value == number and name.startswith("AF_")), None)


def _left_out(policy: Policy) -> list[Finding]:
    sections = {
        "filesystem": policy.filesystem is not None,
        "network": policy.network is not None,
        "scopes": bool(policy.scopes),
        "transitions": policy.transitions is not None,
        "serving": policy.serving is not None,
        "watch": policy.watch is not None,
    }
    left = ", ".join(name for name, there in sections.items() if there)
    settings = policy.settings
    findings = []
    if left:
        findings.append(Finding("not-in-unit", f"the drop-in does not hold the policy's {left}"))
    if settings.log_denials or settings.flags:
        message = "systemd chooses the flags of seccomp(2) itself: not the policy's log_denials and flags"
        findings.append(Finding("flags-not-held", message))
    if settings.bad_arch_action not in (Action.KILL, Action.KILL_THREAD):
        message = f"systemd ends a program that makes calls of other ABIs: not the policy's {settings.bad_arch_action}"
        findings.append(Finding("bad-arch-not-held", message))
    return findings
