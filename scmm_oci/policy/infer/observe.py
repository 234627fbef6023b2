"""Captures → what they show together, as far as a policy is made of it: calls by name, and which programs made them.

Pure, and without regard to the order of the captures or to one being given twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from scmm_oci.capture.model import Call, Capture, Loss, LossKind, Phase, Session, SessionKind
from scmm_oci.errors import BadInput, Finding, Problem, printable
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch, from_machine


@dataclass
class Tally:
    """What all sessions of all captures together did with one name in the phase app.

    Attributes:
        entered: how often it was made; ``succeeded``: how often without an error.
        denied: how often a filter of the engine refused it; ``errnos``: with what.
    """

    entered: int = 0
    succeeded: int = 0
    denied: int = 0
    errnos: set[str] = field(default_factory=set)
    sessions: set[SessionKind] = field(default_factory=set)
    programs: set[str] = field(default_factory=set)


def name_of(call: Call) -> str | None:
    """The call's name: the recorder's, or else ours, which may be the newer table."""
    return call.name if call.name is not None else syscalls.name_of(call.arch, call.nr)


def runtime_names(captures: Iterable[Capture]) -> frozenset[str]:
    """The names that the runtime was seen to call between loading the filter and starting the program.

    Only calls of the machine's own ABI: a runtime of another one is none that we know.
    """
    return frozenset(
        name
        for capture in captures
        for _, call in capture.calls(Phase.RUNTIME)
        if call.entered and call.arch == native(capture) and (name := name_of(call)) is not None
    )


def native(capture: Capture) -> Arch | None:
    """The ABI of the machine that a capture is of; None for a machine that is none of ours."""
    try:
        return from_machine(capture.host.machine)
    except BadInput:
        return None  # architectures() tells


def tally(captures: Sequence[Capture], found: list[Problem], findings: list[Finding]) -> dict[str, Tally]:
    """The calls of the phase app by name. What has no name is a problem where the program may need it."""
    tallies: dict[str, Tally] = {}
    for capture in captures:
        paths = program_paths(capture)
        for session, call in capture.calls(Phase.APP):
            name = name_of(call)
            if name is None:
                _unnamed(capture, session, call, found, findings)
            elif call.entered or call.denied:
                one = tallies.setdefault(name, Tally())
                one.entered += call.entered
                one.succeeded += call.succeeded
                one.denied += call.denied
                one.sessions.add(session.kind)
                one.programs.update(paths[number] for number in call.programs if number in paths)
                if call.denied_errno is not None:
                    one.errnos.add(call.denied_errno)
    return tallies


def losses(captures: Sequence[Capture], found: list[Problem], *, accept: bool) -> Iterator[Finding]:
    """What the captures lack: a problem each, or a finding where that is accepted."""
    for capture in captures:
        for loss in capture.losses:
            text = f"{loss.kind} ({loss.count}×): {loss.detail}"
            if accept:
                hint = "the policy may lack what the program needs"
                yield Finding("incomplete", f"capture {capture.name!r} is incomplete: {text}", hint)
            else:
                hint = f"{_way_out(loss)}, or take it as it is with --accept-incomplete"
                found.append(Problem(f"capture {capture.name!r}", f"is incomplete: {text}", hint))


def notes(captures: Sequence[Capture]) -> Iterator[Finding]:
    """What the captures note, and calls of the runtime that are none of a runtime."""
    for capture in captures:
        for note in capture.notes:
            yield Finding(note.kind.value, f"capture {capture.name!r}: {note.detail} ({note.count}×)")
    for capture in captures:
        for _, call in capture.calls(Phase.RUNTIME):
            name = name_of(call)
            if call.entered and (name is None or call.arch != native(capture)):
                what = f"the runtime was seen to make system call {name or call.nr} of {call.arch}: it is not allowed"
                hint = "try the profile before you rely on it"
                yield Finding("strange-runtime-call", f"capture {capture.name!r}: {what}", hint)


def architectures(captures: Sequence[Capture], found: list[Problem]) -> tuple[Arch, tuple[Arch, ...]]:
    """The machines' ABI, and it with those beside it that calls were made of."""
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


def programs_of(captures: Sequence[Capture]) -> frozenset[str]:
    """The files of all programs that were executed."""
    return frozenset(path for capture in captures for path in program_paths(capture).values())


def program_paths(capture: Capture) -> dict[int, str]:
    """The files of a capture's programs by number, as a policy can tell them: bytes that are not UTF-8 as escapes."""
    return {one.number: one.path if _is_text(one.path) else printable(one.path) for one in capture.programs}


def _is_text(path: str) -> bool:
    return path.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in path)


def _way_out(loss: Loss) -> str:
    if loss.kind is LossKind.IO_URING:
        # io_uring_setup(2) then answers EPERM, and programs do without (sysctl kernel.io_uring_disabled, Linux 6.6).
        return "record again with kernel.io_uring_disabled=2"
    if loss.kind is LossKind.SNAPSHOT:
        return "take it when the recording has ended"
    if loss.kind is LossKind.ATTACHED:
        return "record from the program's start"
    return "record again"


def _unnamed(capture: Capture, session: Session, call: Call, found: list[Problem], findings: list[Finding]) -> None:
    what = f"system call {call.nr} of {call.arch}"
    if call.entered and (call.succeeded or set(call.errnos) != {"ENOSYS"}):
        where = f"capture {capture.name!r}, session {session.number}"
        hint = "a newer scmm-oci may know its name; without one no profile can allow it"
        found.append(Problem(where, f"{what} has no name in our tables", hint))
    else:
        # The kernel does not have it, or a filter refused it: the program went on without it.
        findings.append(Finding("unnamed-call", f"{what}, which has no name, was tried and refused"))
