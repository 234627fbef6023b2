"""What a replay came to: as a table for people, and as plain values (docs/formats.md). Called by cli.replayed."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from scmm_oci.cli.output import console, plain
from scmm_oci.errors import Finding
from scmm_oci.tables.measured import Measured

if TYPE_CHECKING:
    from scmm_oci.recorder.replay.cells import Missing, Replay, Runtime, Tried

# Of a phase, as many calls are named in a table.
_NAMES = 12


def print_replay(replayed: Replay) -> None:
    """Print it for people, on stdout: a row for each way, and how those failed that did."""
    from rich.table import Table
    from rich.text import Text

    out = console()
    table = Table(box=None, pad_edge=False)
    for column in ("runtime", "version", "nnp", "way", "served", "ends", "failed in", "lacks"):
        table.add_column(column, overflow="fold")
    for one in replayed.cells:
        runtime = one.cell.runtime
        served = f"{one.passed} of {one.times}"
        words = (runtime.name, runtime.version, "on" if one.cell.no_new_privileges else "off", one.cell.verb, served)
        row = [*words, _end(one.expected.end), one.phase if not one.good else "", _lacks(one.missing)]
        table.add_row(*(Text(plain(cell)) for cell in row))
    out.print(table)
    for one in replayed.cells:
        # What has no control is told by a finding, with the same words.
        if one.failure is not None and one.expected.end is not None:
            out.print(Text(plain(f"{one.cell.title}: {_how(one)}")))


def _end(end: int | str | None) -> str:
    return f"status {end}" if isinstance(end, int) else end or "–"


def _lacks(missing: Sequence[Missing]) -> str:
    """The names by phase: those that are needed, or all where that is not known."""
    words = []
    for phase in dict.fromkeys(one.phase for one in missing):
        found = [one for one in missing if one.phase is phase and one.needed is not False]
        names = list(dict.fromkeys(f"{one.name} ({one.detail})" if one.detail else one.name for one in found))
        more = f" … and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        if names:
            words.append(f"{phase}: {', '.join(names[:_NAMES])}{more}")
    return "; ".join(words)


def _how(one: Tried) -> str:
    """How a cell failed, in words."""
    assert one.failure is not None
    ran = one.failure
    how = f"the runtime gave up in {ran.step}: {ran.message}" if ran.end is None else f"ended with {_end(ran.end)}"
    if one.expected.end is not None:
        how += f", without the profile with {_end(one.expected.end)}"
    if one.enough is not None:
        how += "; with what lacks it serves" if one.enough else "; with what lacks it still fails"
    return how


def as_json(replayed: Replay, measured: Sequence[Measured], findings: Sequence[Finding]) -> dict[str, Any]:
    """The same as plain values, with the floors that were measured and all findings."""
    return {
        "serves": replayed.good,
        "machine": platform.machine(),
        "ways": [_cell(one) for one in replayed.cells],
        "measured": [{"sha256": one.digest, "runtime": one.runtime, "version": one.version} for one in measured],
        "findings": [{"code": one.code, "message": one.message, "hint": one.hint} for one in findings],
    }


def _cell(one: Tried) -> dict[str, Any]:
    failure = one.failure
    return {
        "runtime": _runtime(one.cell.runtime),
        "no_new_privileges": one.cell.no_new_privileges,
        "way": one.cell.verb,
        "times": one.times,
        "served": one.passed,
        "expected": one.expected.end,
        "failure": None
        if failure is None
        else {"end": failure.end, "step": failure.step or None, "message": failure.message or None},
        "phase": one.phase,
        "missing": [
            {"phase": each.phase, "name": each.name, "detail": each.detail, "needed": each.needed}
            for each in one.missing
        ],
        "enough": one.enough,
    }


def _runtime(runtime: Runtime) -> dict[str, Any]:
    return {"name": runtime.name, "version": runtime.version, "path": runtime.path, "sha256": runtime.digest}
