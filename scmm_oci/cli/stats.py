"""Statistics of captures as tables for people or as plain values for ``--json``; called by ``scmm extract``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from scmm_oci.capture.merge import distinct
from scmm_oci.capture.model import Capture
from scmm_oci.cli.machine_values import curve, numbers_in_short, size_in_short, step_in_short
from scmm_oci.cli.output import console, data, plain
from scmm_oci.cli.stats_values import Item, order, recording, together
from scmm_oci.policy.decisions import Decisions

if TYPE_CHECKING:
    from rich.console import Console

# Rows of a table, and values in a cell; --json has all.
_ROWS = 25
_CELL = 8


def print_stats(captures: Sequence[Capture], decisions: Decisions, *, as_json: bool) -> None:
    """Print what each capture holds, and all of them together, on stdout.

    Args:
        decisions: those about transitions say which machine of calls is shown.

    Raises:
        BadInput: the captures lack what that machine is to be made of.
    """
    chosen = distinct(captures)
    machines = order(chosen, decisions)
    if as_json:
        data({"recordings": [recording(one) for one in chosen], "together": together(chosen), "order": machines})
        return
    from rich.text import Text

    out = console()
    for capture in chosen:
        for label, value in heading(capture):
            out.print(Text(f"{label + ':':<11}{value}"))
        found = recording(capture)
        _phases(out, found["sessions"])
        out.print()
        _facts(out, found)
    if len(chosen) > 1:
        out.print(Text(f"together: {len(chosen)} recordings", style="bold"))
        out.print()
        _facts(out, together(chosen))
    for one in machines:
        _order(out, one)


def _order(out: Console, found: Item) -> None:
    """The machine of one ABI."""
    from rich.text import Text

    out.print(Text(f"order of calls ({found['arch']}): {size_in_short(found)}", style="bold"))
    if found["stages"]:
        out.print(Text(f"by stage: {_counts(found['stages'].items())}"))
    for text in (found["estimate"]["words"], numbers_in_short(found), *found["notes"]):
        if text:
            out.print(Text(plain(text)))
    out.print()
    if len(found["recordings"]) > 1:
        _table(out, ["recording", "#steps", "#new", "#alone", ""], curve(found["recordings"]))
        out.print()
    alone = [[step_in_short(one["step"], serving=one["serving"]), one["recording"]] for one in found["alone"]]
    if alone:
        _section(out, "in one recording only", ["step", "recording"], alone)
    rows = [
        [step_in_short(f"{one['from']} > {one['to']}", serving=one["serving"]), one["recordings"], one["why"]]
        for one in found["likely"]
    ]
    if rows:
        _section(out, "likely, and in no recording", ["step", "#recordings", "why"], rows)


def heading(capture: Capture) -> Iterable[tuple[str, str]]:
    """What is said of a capture before its tables: label and text, safe to print."""
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


def _phases(out: Console, sessions: Sequence[Item]) -> None:
    rows = [
        [
            f"{session['kind']} {session['number']}",
            phase,
            found["names"],
            found["calls"],
            _counts(found["top"]),
            ", ".join(f"{name} {errno}" for name, errno in found["denied"]),
        ]
        for session in sessions
        for phase, found in session["phases"].items()
    ]
    columns = ["session", "phase", "#names", "#calls", "most frequent", "refused by the engine's filter"]
    _table(out, columns, rows)


def _facts(out: Console, found: Item) -> None:
    _section(
        out,
        "calls of the programs",
        ["category", "#names", "#calls", "most frequent"],
        [[one["category"], one["names"], one["calls"], _counts(one["top"])] for one in found["categories"]],
    )
    _section(
        out,
        "files",
        ["directory", "#paths", "#made", "#not there", "rights, and on how many paths"],
        [
            [one["directory"], one["paths"], one["created"], one["missing"], _counts(one["rights"].items())]
            for one in found["files"]
        ],
    )
    _section(
        out,
        "programs",
        ["path", "#times", "#recordings"],
        [[one["path"], one["count"], one["recordings"]] for one in found["programs"]],
    )
    _section(
        out,
        "network",
        ["direction", "protocol", "#port", "#times", "addresses"],
        [
            [one["direction"], one["protocol"], one["port"], one["count"], _list(one["addresses"], ", ")]
            for one in found["network"]
        ],
    )
    _section(
        out,
        "arguments",
        ["call", "argument", "#values", "seen"],
        [
            [
                one["call"],
                "/".join(map(str, one["indexes"])) + (f" → {one['field']}" if one["field"] else ""),
                f"{one['count']}{'+' if one['open_ended'] else ''}",
                _list(one["values"], ", ", one["count"]),
            ]
            for one in found["arguments"]
        ],
    )


def _counts(pairs: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{name} {count}" for name, count in pairs)


def _list(words: Sequence[str], between: str, total: int | None = None) -> str:
    more = (len(words) if total is None else total) - _CELL
    return between.join(words[:_CELL]) + (f" … and {more} more" if more > 0 else "")


def _section(out: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from rich.text import Text

    out.print(Text(f"{title}: {len(rows) or 'none'}", style="bold"))
    if rows:
        _table(out, columns, rows[:_ROWS])
    if len(rows) > _ROWS:
        out.print(Text(f"… and {len(rows) - _ROWS} more (--json has all)"))
    out.print()


def _table(out: Console, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table; columns of numbers, which stand at the right, have "#" before their name."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column.lstrip("#"), justify="right" if column[:1] == "#" else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    out.print(table)
