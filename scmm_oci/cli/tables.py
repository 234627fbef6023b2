"""The tables of ``scmm show``. All text in them comes from files that others wrote: it goes through ``plain``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from scmm_oci.capture.merge import distinct
from scmm_oci.capture.model import Capture
from scmm_oci.cli.meanings import call_name, flags_of, meaning
from scmm_oci.cli.output import console, plain
from scmm_oci.cli.stats import heading
from scmm_oci.errors import BadInput
from scmm_oci.tables.arch import from_machine

if TYPE_CHECKING:
    from rich.console import Console

Item = dict[str, Any]

# Values of one argument, and characters of a program's short name, that are shown.
_VALUES = 12
_LABEL = 32


def print_overview(
    found: dict[str, Any], captures: Sequence[Capture], sections: Sequence[str], *, limit: int, whole_order: bool
) -> None:
    """Print the headings of the captures and the chosen sections of their overview.

    Args:
        limit: rows of each table; 0 for all.
        whole_order: the order as a table, not as counts only.
    """
    from rich.text import Text

    out = console()
    recordings = distinct(captures)
    for capture in recordings[: limit or None]:
        for label, value in heading(capture):
            out.print(Text(f"{label + ':':<11}{value}"))
        out.print()
    if limit and len(recordings) > limit:
        out.print(Text(f"… and {len(recordings) - limit} more recordings (--limit 0 shows all)\n"))
    printer = _Printer(out, found, captures, limit=limit)
    tables: dict[str, Callable[[], None]] = {
        "programs": printer.programs,
        "calls": printer.calls,
        "arguments": printer.arguments,
        "files": printer.files,
        "sockets": printer.sockets,
        "order": printer.edges if whole_order else printer.order,
    }
    for section in sections:
        tables[section]()


class _Printer:
    """Prints the sections of one overview."""

    def __init__(self, out: Console, found: dict[str, Any], captures: Sequence[Capture], *, limit: int) -> None:
        self._out, self._found, self._limit = out, found, limit
        self._many = len(found["recordings"]) > 1
        self._names = _labels(found["programs"])
        self._native = _machine(captures)

    def programs(self) -> None:
        rows = [
            [
                self._names[one["number"]],
                one["path"] if one["path"] is not None else "one of several, or of those that were lost",
                _state(one["state"]),
                one["script"] or "",
                one["loader"] or "",
                one["count"],
                _moment(one["first"]),
                one["recordings"],
            ]
            for one in self._found["programs"]
        ]
        self._table("programs", ["program", "path", "", "script", "loader", "#times", "#first"], rows)

    def calls(self) -> None:
        for (kind, session, phase), group in groupby(
            self._found["calls"], key=lambda one: (one["kind"], one["session"], one["phase"])
        ):
            calls = sorted(group, key=lambda one: (-one["entered"], -one["denied"], call_name(one, self._native)))
            rows = [
                [
                    call_name(one, self._native),
                    one["entered"],
                    " ".join(one["errnos"]),
                    f"{one['denied']} {' '.join(one['denied_errnos'])}" if one["denied"] else "",
                    self._who(one),
                    _moment(one["first"]),
                    one["recordings"],
                ]
                for one in calls
            ]
            columns = ["call", "#times", "errors", "refused by a filter", "programs", "#first"]
            self._table(f"system calls of {kind} {session}, {phase}", columns, rows)

    def arguments(self) -> None:
        rows: list[list[Any]] = []
        for one in sorted(self._found["arguments"], key=lambda one: (call_name(one, self._native), one["indexes"])):
            values = [meaning(one, value) for value in one["values"][:_VALUES]]
            more = len(one["values"]) - len(values)
            values += [f"… {more} more"] if more else []
            values += ["and others that were not kept"] if one["open_ended"] else []
            where = " and ".join(map(str, one["indexes"])) + (f" → {one['field']}" if one["field"] else "")
            rows.append([call_name(one, self._native), where, ", ".join(values), one["recordings"]])
        self._table("arguments", ["call", "argument", "values"], rows)

    def files(self) -> None:
        rows: list[list[Any] | str] = []
        for directory, group in groupby(sorted(self._found["files"], key=_by_directory), key=_directory):
            rows.append(directory or "without a directory")
            for one in group:
                name = one["path"][len(directory) :].lstrip("/") if directory else one["path"]
                rows.append(
                    [
                        f"  {name or '.'}" + (f" ↔ {one['other']}" if one["other"] is not None else ""),
                        " ".join(filter(None, [one["operation"], flags_of(one, self._native)])),
                        " ".join([*one["access"], *(f"dir:{right}" for right in one["parent_access"])]),
                        one["succeeded"],
                        _failed(one),
                        " ".join(filter(None, [_state(one["state"]), "created" if one["created"] else ""])),
                        self._who(one),
                        one["recordings"],
                    ]
                )
        self._table("files", ["path", "operation", "rights", "#done", "failed", "", "programs"], rows)

    def sockets(self) -> None:
        rows = [
            [
                one["operation"],
                f"{one['family']} {one['type']}" + (f" {one['protocol']}" if one["protocol"] else ""),
                plain(one["address"]) + (f" port {one['port']}" if one["port"] is not None else ""),
                one["succeeded"],
                _failed(one),
                self._who(one),
                _moment(one["first"]),
                one["recordings"],
            ]
            for one in self._found["sockets"]
        ]
        self._table("sockets", ["operation", "kind", "address", "#done", "failed", "programs", "#first"], rows)

    def order(self) -> None:
        rows = [
            [one["arch"], one["stage"] or "", one["calls"], one["count"], _length(one["triples"]), ""]
            for one in self._found["order"]
        ]
        self._table("order (--order lists it)", ["ABI", "stage", "#calls", "#pairs of calls", "#triples"], rows)

    def edges(self) -> None:
        for one in self._found["order"]:
            what = f"of the calls of {one['arch']}" + (f", {one['stage']}" if one["stage"] else "")
            self._table(f"order {what}", ["from", "to"], self._order_rows(one["arch"], one["edges"]))
            if one["triples"] is not None:
                rows = self._order_rows(one["arch"], one["triples"])
                self._table(f"three in a row {what}", ["before", "from", "to"], rows)

    def _order_rows(self, arch: str, items: Sequence[Sequence[Any]]) -> list[list[Any]]:
        numbers = {state for *states, _ in items for state in states}
        names = {state: call_name({"arch": arch, "nr": state}, self._native) for state in numbers}
        return [[*(names[state] for state in states), recordings] for *states, recordings in items]

    def _who(self, one: Item) -> str:
        return ", ".join(self._names[number] for number in one["programs"])

    def _table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any] | str]) -> None:
        """Print a table.

        Args:
            columns: their names; numbers, which stand at the right, have "#" before it.
            rows: a cell for each column, and last the number of recordings, which is shown where there are several.
                A single text is a line of its own among them and counts as none.
        """
        from rich.table import Table
        from rich.text import Text

        total = sum(not isinstance(row, str) for row in rows)
        self._out.print(Text(plain(f"{title}: {total}" if total else f"{title}: none"), style="bold"))
        if not total:
            self._out.print()
            return
        table = Table(box=None, pad_edge=False)
        for column in [*columns, *(["#recordings"] if self._many else [])]:
            table.add_column(column.lstrip("#"), justify="right" if column[:1] == "#" else "left", overflow="fold")
        shown = 0
        for row in rows:
            if self._limit and shown == self._limit:
                break
            if isinstance(row, str):
                table.add_row(Text(plain(row), style="bold"))
                continue
            table.add_row(*(Text(plain(cell)) for cell in (row if self._many else row[:-1])))
            shown += 1
        self._out.print(table)
        if total > shown:
            self._out.print(Text(f"… and {total - shown} more (--limit 0 shows all)"))
        self._out.print()


def _labels(programs: Iterable[Item]) -> list[str]:
    """A short name for each program: the last part of argv[0], with its number where others have the same."""
    names = [_last(one["argv0"] or one["path"] or "?")[:_LABEL] for one in programs]
    times = Counter(names)
    return [name if times[name] == 1 else f"{name}#{number}" for number, name in enumerate(names)]


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2] or path


def _machine(captures: Sequence[Capture]) -> str | None:
    """The ABI whose calls need no prefix: the machine's, if the captures have one that we know."""
    machines = {capture.host.machine for capture in captures}
    try:
        return from_machine(machines.pop()).value if len(machines) == 1 else None
    except BadInput:
        return None


def _directory(one: Item) -> str:
    path: str = one["path"]
    return path.rpartition("/")[0] or "/" if path.startswith("/") else ""


def _by_directory(one: Item) -> tuple[str, str]:
    return _directory(one), one["path"]


def _length(items: Sequence[Any] | None) -> int | str:
    return "" if items is None else len(items)


def _state(state: str | None) -> str:
    return "" if state in (None, "resolved") else str(state)


def _failed(one: Item) -> str:
    return f"{one['failed']} {' '.join(one['errnos'])}" if one["failed"] or one["errnos"] else ""


def _moment(first: int | None) -> str:
    return "" if first is None else f"{first // 1000}.{first % 1000:03} s"
