"""Captures → policy: allow what the program was seen to call, and say where each rule comes from.

Pure, and without regard to the order of the captures or to one being given twice. What a policy cannot hold, or what
a reader of it should know, comes back as findings beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from scmm_oci.capture.merge import distinct
from scmm_oci.capture.model import Call, Capture, Loss, LossKind, Phase, Session, SessionKind
from scmm_oci.errors import BadInput, Finding, Problem, printable
from scmm_oci.policy.model import Action, Metadata, Origin, Policy, Settings, SyscallRule
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch, from_machine

_IO_URING = frozenset({"io_uring_setup", "io_uring_enter", "io_uring_register"})


@dataclass(frozen=True)
class Inference:
    """A policy, and what is to be said about how it came about."""

    policy: Policy
    findings: tuple[Finding, ...]


@dataclass
class _Tally:
    """What all sessions together did with one name."""

    entered: int = 0
    denied: int = 0
    errnos: set[str] = field(default_factory=set)
    sessions: set[SessionKind] = field(default_factory=set)


def infer(
    captures: Sequence[Capture],
    *,
    name: str | None = None,
    default_errno: str = "EPERM",
    accept_incomplete: bool = False,
    needed: frozenset[str] = frozenset(),
) -> Inference:
    """The policy that allows what the programs in the captures called (the app phase of every session), and no more.

    A call that the engine's own filter always refused is not allowed. Where that filter's answer was the default
    errno the policy leaves the call out; for another answer (ENOSYS as a rule: programs then take an older call)
    it has a rule that gives the same answer.

    Args:
        name: the policy's; by default the captures' names.
        default_errno: the name of the error that calls outside the policy will get.
        accept_incomplete: use captures that lost something, with a finding for each.
        needed: names that a profile must allow anyhow, for the runtime's sake: they get no rule that refuses them.

    Raises:
        BadInput: a capture is incomplete, holds calls that have no name, or does not fit the others; or none holds
            any call of a program. All of it at once.
    """
    chosen = distinct(captures)
    found: list[Problem] = []
    findings = [*_losses(chosen, found, accept=accept_incomplete), *_notes(chosen), *_strange_runtime(chosen)]
    arch, seen = _architectures(chosen, found)
    tallies = _tally(chosen, found, findings)
    if not tallies and not found:
        found.append(Problem("", "no capture holds a call of the program", "was it started while recording?"))
    if found:
        raise BadInput(found)
    if len(seen) > 1:
        findings.append(
            Finding(
                "many-architectures",
                f"the program made calls of {', '.join(seen)}; each allowed name is allowed on all of them",
            )
        )
    rules = [_rule(call, tally, default_errno, needed, findings) for call, tally in sorted(tallies.items())]
    metadata = Metadata(
        name=printable(name if name is not None else "+".join(sorted({one.name for one in chosen}))),
        generated_from=printable(", ".join(sorted({one.name for one in chosen}))),
        target_executable=_executable(chosen),
        generated_at=max(one.ended_at for one in chosen),
    )
    settings = Settings(default_errno=default_errno, arch=arch, architectures=seen)
    policy = Policy(metadata, settings, tuple(rule for rule in rules if rule is not None))
    return Inference(policy, tuple(dict.fromkeys(findings)))


def runtime_names(captures: Iterable[Capture]) -> frozenset[str]:
    """The names that the runtime was seen to call between loading the filter and starting the program.

    Only calls of the machine's own ABI: a runtime of another one is none that we know.
    """
    return frozenset(
        name
        for capture in captures
        for _, call in capture.calls(Phase.RUNTIME)
        if call.entered and call.arch == _native(capture) and (name := name_of(call)) is not None
    )


def name_of(call: Call) -> str | None:
    """The call's name: the recorder's, or else ours, which may be the newer table."""
    return call.name if call.name is not None else syscalls.name_of(call.arch, call.nr)


def _losses(captures: Sequence[Capture], found: list[Problem], *, accept: bool) -> Iterator[Finding]:
    for capture in captures:
        for loss in capture.losses:
            text = f"{loss.kind} ({loss.count}×): {loss.detail}"
            if accept:
                hint = "the policy may lack what the program needs"
                yield Finding("incomplete", f"capture {capture.name!r} is incomplete: {text}", hint)
            else:
                hint = f"{_way_out(loss)}, or take it as it is with --accept-incomplete"
                found.append(Problem(f"capture {capture.name!r}", f"is incomplete: {text}", hint))


def _way_out(loss: Loss) -> str:
    if loss.kind is LossKind.IO_URING:
        # io_uring_setup(2) then answers EPERM, and programs do without (sysctl kernel.io_uring_disabled, Linux 6.6).
        return "record again with kernel.io_uring_disabled=2"
    if loss.kind is LossKind.SNAPSHOT:
        return "take it when the recording has ended"
    if loss.kind is LossKind.ATTACHED:
        return "record from the program's start"
    return "record again"


def _notes(captures: Sequence[Capture]) -> Iterator[Finding]:
    for capture in captures:
        for note in capture.notes:
            yield Finding(note.kind.value, f"capture {capture.name!r}: {note.detail} ({note.count}×)")


def _native(capture: Capture) -> Arch | None:
    try:
        return from_machine(capture.host.machine)
    except BadInput:
        return None  # _architectures tells


def _strange_runtime(captures: Sequence[Capture]) -> Iterator[Finding]:
    for capture in captures:
        for _, call in capture.calls(Phase.RUNTIME):
            name = name_of(call)
            if call.entered and (name is None or call.arch != _native(capture)):
                what = f"the runtime was seen to make system call {name or call.nr} of {call.arch}: it is not allowed"
                hint = "try the profile before you rely on it"
                yield Finding("strange-runtime-call", f"capture {capture.name!r}: {what}", hint)


def _architectures(captures: Sequence[Capture], found: list[Problem]) -> tuple[Arch, tuple[Arch, ...]]:
    machines: list[tuple[str, Arch]] = []
    for capture in captures:
        try:
            machines.append((capture.name, from_machine(capture.host.machine)))
        except BadInput as error:
            found += [Problem(f"capture {capture.name!r}", one.message, one.hint) for one in error.problems]
    if len({arch for _, arch in machines}) > 1:
        kinds = ", ".join(f"{name!r}: {arch}" for name, arch in machines)
        found.append(Problem("", f"the captures are of different machines ({kinds})", "make a policy of each"))
    arch = machines[0][1] if machines else Arch.X86_64
    seen = {call.arch for capture in captures for _, call in capture.calls(Phase.APP)}
    if machines and not seen <= {arch, *arch.beside}:
        strange = ", ".join(sorted(seen - {arch, *arch.beside}))
        found.append(Problem("", f"there are calls of {strange}, which a kernel of {arch} does not run"))
    return arch, (arch, *(other for other in arch.beside if other in seen))


def _tally(captures: Sequence[Capture], found: list[Problem], findings: list[Finding]) -> dict[str, _Tally]:
    tallies: dict[str, _Tally] = {}
    for capture in captures:
        for session, call in capture.calls(Phase.APP):
            name = name_of(call)
            if name is None:
                _unnamed(capture, session, call, found, findings)
            elif call.entered or call.denied:
                tally = tallies.setdefault(name, _Tally())
                tally.entered += call.entered
                tally.denied += call.denied
                tally.sessions.add(session.kind)
                if call.denied_errno is not None:
                    tally.errnos.add(call.denied_errno)
    return tallies


def _unnamed(capture: Capture, session: Session, call: Call, found: list[Problem], findings: list[Finding]) -> None:
    what = f"system call {call.nr} of {call.arch}"
    if call.entered and (call.succeeded or set(call.errnos) != {"ENOSYS"}):
        where = f"capture {capture.name!r}, session {session.number}"
        hint = "a newer scmm-oci may know its name; without one no profile can allow it"
        found.append(Problem(where, f"{what} has no name in our tables", hint))
    else:
        # The kernel does not have it, or a filter refused it: the program went on without it.
        findings.append(Finding("unnamed-call", f"{what}, which has no name, was tried and refused"))


def _rule(
    name: str, tally: _Tally, default_errno: str, needed: frozenset[str], findings: list[Finding]
) -> SyscallRule | None:
    kinds = tuple(kind for kind in SessionKind if kind in tally.sessions)
    origin = Origin((Phase.APP,), kinds, tally.entered, tally.denied)
    if name in _IO_URING and tally.entered:
        findings.append(
            Finding(
                "io-uring",
                f"the program uses {name}: what it does through io_uring no seccomp filter sees",
                "leave it out if the program can do without it",
            )
        )
    if tally.entered:
        if tally.denied:
            message = f"a filter of the engine refused {name} ({tally.denied}×) and let it pass otherwise"
            hint = "that filter looks at its arguments, which this policy does not"
            findings.append(Finding("partly-denied", message, hint))
        return SyscallRule(name, Action.ALLOW, origin=origin)
    errno = "ENOSYS" if "ENOSYS" in tally.errnos else min(tally.errnos, default=default_errno)
    if errno != "ENOSYS":
        outcome = "the profile allows it, as the runtime needs it" if name in needed else "it is not allowed"
        findings.append(
            Finding(
                "denied-by-engine",
                f"a filter that was there already refused {name} ({errno}, {tally.denied}×): {outcome}",
                "" if name in needed else "to allow it, record with --security-opt seccomp=unconfined",
            )
        )
    if errno == default_errno or name in needed:
        return None
    return SyscallRule(name, Action.DENY, errno=errno, origin=origin)


def _executable(captures: Sequence[Capture]) -> str | None:
    names = sorted({name[:4096] for capture in captures for name in capture.container.args[:1] if name})
    return printable(", ".join(names))[:4096] if names else None
