"""What the importer found → the capture, with the losses and notes that belong to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from scmm_oci import __version__
from scmm_oci.capture.facts import PathState
from scmm_oci.capture.model import (
    Capture,
    Container,
    Host,
    Loss,
    LossKind,
    Note,
    NoteKind,
    Recorder,
    Runtime,
    Session,
    SessionKind,
    Source,
)
from scmm_oci.capture.strace.clock import Clock
from scmm_oci.capture.strace.counts import Arguments, Programs
from scmm_oci.capture.strace.naming import Facts
from scmm_oci.capture.strace.order import Order
from scmm_oci.capture.strace.paths import Bases
from scmm_oci.capture.strace.plans import Plans
from scmm_oci.tables.arch import Arch


@dataclass(frozen=True)
class Found:
    """What came of reading a trace."""

    bases: Bases
    facts: Facts
    plans: Plans
    order: Order
    arguments: Arguments
    programs: Programs
    clock: Clock
    argv: tuple[str, ...]
    cut: int
    running: int
    filtered: int
    attached: int
    unfollowed: int
    lost_threads: int


def capture(found: Found, *, name: str, arch: Arch, ended: float) -> Capture:
    """The capture; parameters as of importer.import_logs."""
    plans = found.plans.all()
    files, unplaced = found.facts.files.finish()
    programs = found.programs.finish(found.bases)
    named = sum(use.state is PathState.NAMED for use in files)
    started_at, ended_at = found.clock.span(ended)
    session = Session(
        SessionKind.MAIN,
        0,
        tuple(one.setup.call(one.arch, one.nr, one.name, app=False) for one in plans if one.setup.entered),
        (),
        tuple(one.app.call(one.arch, one.nr, one.name, app=True) for one in plans if one.app.entered),
    )
    return Capture(
        name=name,
        source=Source.STRACE,
        losses=tuple(sorted(_losses(found, unplaced), key=lambda loss: loss.kind)),
        notes=tuple(_notes(found, named)),
        started_at=started_at,
        ended_at=ended_at,
        recorder=Recorder("scmm-oci", __version__),
        host=Host("", arch.value),
        container=Container("", found.argv, None, None, None, None),
        runtime=Runtime(None, None),
        sessions=(session,),
        programs=programs,
        arguments=found.arguments.finish(),
        files=files,
        sockets=found.facts.sockets.finish(),
        order=found.order.edges(),
    )


def _losses(found: Found, unplaced: int) -> Iterator[Loss]:
    facts = found.facts
    kinds: list[tuple[LossKind, list[tuple[int, str]]]] = [
        (LossKind.ATTACHED, [(found.attached, "processes ran already when the trace began")]),
        (LossKind.CUT_SHORT, [(found.cut, "the last line is not whole")]),
        (
            LossKind.FILTERED,
            [(found.filtered, "threads ended without a call that ends them: not all calls were traced")],
        ),
        (LossKind.IO_URING, [(facts.rings, "what is done through io_uring is in no trace of calls")]),
        (LossKind.ARGUMENTS, [(found.arguments.lost, "values were not shown in a form that is known")]),
        (LossKind.CALLS, [(found.plans.switched, "calls are of another ABI than the trace had said until there")]),
        (
            LossKind.FILES,
            [
                (facts.cut, "names were cut by strace"),
                (
                    facts.unplaced + unplaced,
                    "names are too long, or relative to a directory that the trace does not show",
                ),
                (facts.flags, "flags are not known"),
                (facts.roots, "changes of the root directory could not be followed"),
                (facts.files.lost, "uses of paths were too many"),
            ],
        ),
        (LossKind.ORDER, [(found.order.lost, "pairs of calls were too many")]),
        (LossKind.PROGRAMS, [(found.programs.lost, "programs' files are not known")]),
        (
            LossKind.SOCKETS,
            [
                (facts.sockets.lost, "addresses were cut, or too many"),
                (facts.sockets.untyped, "sockets are older than the trace, and their type is not known"),
            ],
        ),
        (LossKind.THREADS, [(found.lost_threads, "lines are of more threads than are followed")]),
        (
            LossKind.UNFOLLOWED,
            [(found.unfollowed, "processes were started that the trace does not follow (strace -f)")],
        ),
    ]
    for kind, reasons in kinds:
        there = [(count, text) for count, text in reasons if count]
        if there:
            detail = "; ".join(f"{count} {text}" if len(there) > 1 else text for count, text in there)
            yield Loss(kind, sum(count for count, _ in there), detail)


def _notes(found: Found, named: int) -> Iterator[Note]:
    nameless = sum(one.app.entered + one.setup.entered for one in found.plans.all() if one.name is None)
    if nameless:
        yield Note(NoteKind.BAD_NUMBERS, nameless, "calls have numbers that are in no table")
    if named:
        detail = "paths are as the program named them; loaders and the interpreters of scripts are in no trace"
        yield Note(NoteKind.NAMED_PATHS, named, detail)
    if found.programs.shared:
        yield Note(NoteKind.PROGRAMS_SHARED, found.programs.shared, "programs share the last number")
    if found.running:
        yield Note(NoteKind.STILL_RUNNING, found.running, "processes still ran when the trace ended")
