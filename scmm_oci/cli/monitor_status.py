"""``scmm monitor status``: what a monitor that runs is doing."""

from __future__ import annotations

import os
from typing import Any

import click

from scmm_oci.cli.output import console, data, plain
from scmm_oci.enforcer.monitor import control
from scmm_oci.enforcer.monitor.sockets import default_path

# What the table shows of a target: its heading, its key.
_COLUMNS = (
    ("name", "name"),
    ("pid", "pid"),
    ("since", "since"),
    ("calls", "calls"),
    ("allowed", "allowed"),
    ("denied", "denied"),
    ("waiting", "waiting"),
    ("id", "id"),
)
_NUMBERS = frozenset({"pid", "calls", "allowed", "denied", "waiting"})
_MOST_TEXT = 128  # characters of a name in the table


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--socket", "path", metavar="PATH", help="Where the monitor listens, if it was started with another path."
)
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON.")
def status(*, path: str | None, as_json: bool) -> None:
    """Print whose calls a monitor decides about, and what it has decided.

    Asks the monitor at control.sock, beside the socket where it listens. The exit code is 1 where there is none.
    """
    listener = path or default_path(uid=os.geteuid(), runtime_dir=os.environ.get("XDG_RUNTIME_DIR"))
    found = control.ask(control.path_beside(listener))
    if as_json:
        data(found)
    else:
        _print(found)


def _print(found: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    out = console()
    for label, value in _heading(found):
        out.print(Text(f"{label + ':':<11}{value}"))
    targets = found.get("targets", [])
    if not targets:
        out.print(Text("no listener has been handed over, or all have ended"))
        return
    table = Table(box=None, pad_edge=False)
    for heading, _ in _COLUMNS:
        table.add_column(heading, justify="right" if heading in _NUMBERS else "left", overflow="fold")
    for one in targets:
        table.add_row(*(Text(_cut(plain(one.get(key)))) for _, key in _COLUMNS))
    out.print()
    out.print(table)


def _cut(text: str) -> str:
    """Names can be as long as paths, and one should not take the screen from all others."""
    return text if len(text) <= _MOST_TEXT else f"{text[: _MOST_TEXT - 1]}…"


def _heading(found: dict[str, Any]) -> list[tuple[str, str]]:
    monitor = found.get("monitor", {})
    decisions = found.get("decisions", {})
    lines = [
        ("monitor", f"process {plain(monitor.get('pid'))}, since {plain(monitor.get('since'))}"),
        ("decided", _counts(decisions.get("verdicts", {}))),
        ("by", _counts(decisions.get("by", {}))),
        ("questions", f"{plain(found.get('questions'))} open"),
    ]
    learning = found.get("learning")
    if learning:
        lines.append(("learning", f"{plain(learning.get('calls'))} calls, to {plain(learning.get('file'))}"))
    log = found.get("log")
    if log:
        lost = log.get("lost")
        lacks = f", which lacks {plain(lost)} decisions" if lost else ""
        lines.append(("log", f"{plain(log.get('file'))}{lacks}"))
    return lines


def _counts(counts: dict[str, Any]) -> str:
    return ", ".join(f"{plain(count)} {plain(word)}" for word, count in counts.items() if count) or "nothing yet"
