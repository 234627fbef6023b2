"""What captures hold, as a table for people or as plain values for ``--json``; called by ``scmm extract``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from scmm_oci.capture.model import Call, Capture, Phase
from scmm_oci.cli.output import console, data, plain
from scmm_oci.policy.infer import name_of

_TOP = 5


def print_stats(captures: Sequence[Capture], *, as_json: bool) -> None:
    """Print what each capture holds, on stdout."""
    if as_json:
        data([_stats(capture) for capture in captures])
        return
    from rich.table import Table
    from rich.text import Text

    out = console()
    for capture in captures:
        for label, value in heading(capture):
            out.print(Text(f"{label + ':':<11}{value}"))
        table = Table("session", "phase", box=None, pad_edge=False)
        table.add_column("names", justify="right")
        table.add_column("calls", justify="right")
        table.add_column("most frequent", overflow="fold")
        table.add_column("refused by the engine's filter", overflow="fold")
        for session in _stats(capture)["sessions"]:
            for phase, found in session["phases"].items():
                cells = [
                    f"{session['kind']} {session['number']}",
                    phase,
                    str(found["names"]),
                    str(found["calls"]),
                    ", ".join(f"{name} {count}" for name, count in found["top"]),
                    ", ".join(f"{name} {errno}" for name, errno in found["denied"]),
                ]
                table.add_row(*(Text(plain(cell)) for cell in cells))
        out.print(table)
        out.print()


def heading(capture: Capture) -> Iterable[tuple[str, str]]:
    yield "capture", plain(capture.name)
    yield "recorded", plain(f"{capture.started_at} – {capture.ended_at}")
    yield "host", plain(f"Linux {capture.host.kernel}, {capture.host.machine}")
    yield "runtime", plain(" ".join(part for part in (capture.runtime.name, capture.runtime.version) if part) or None)
    yield "program", plain(" ".join(capture.container.args) or None)
    yield "complete", "yes" if capture.complete else "no"
    for loss in capture.losses:
        yield "lost", plain(f"{loss.kind} ({loss.count}×): {loss.detail}")
    for note in capture.notes:
        yield "note", plain(f"{note.kind} ({note.count}×): {note.detail}")


def _stats(capture: Capture) -> dict[str, Any]:
    return {
        "name": capture.name,
        "complete": capture.complete,
        "losses": [vars(loss) for loss in capture.losses],
        "notes": [vars(note) for note in capture.notes],
        "runtime": vars(capture.runtime),
        "sessions": [
            {
                "kind": session.kind,
                "number": session.number,
                "phases": {phase.value: _phase(session.calls(phase)) for phase in Phase},
            }
            for session in capture.sessions
        ],
    }


def _phase(calls: Sequence[Call]) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    denied = set()
    for call in calls:
        name = name_of(call) or f"{call.arch}:{call.nr}"
        if call.entered:
            counts[name] += call.entered
        if call.denied:
            denied.add((name, call.denied_errno or "?"))
    return {
        "names": len(counts),
        "calls": counts.total(),
        "top": sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_TOP],
        "denied": sorted(denied),
    }
