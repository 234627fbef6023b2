"""``scmm monitor decisions``: answers that a monitor has saved: list them, export them as rules, forget them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from scmm_oci.cli.options import check_outputs
from scmm_oci.cli.output import console, data, plain, say
from scmm_oci.enforcer.monitor.record import timestamp
from scmm_oci.enforcer.monitor.remembered import Entry, Remembered, default_path
from scmm_oci.errors import BadInput, Failure, Problem, short
from scmm_oci.files import atomic_write
from scmm_oci.tables import errnos
from scmm_oci.tables.arch import from_machine

_EXAMPLE = """\b
Example:
  scmm-monitor decisions list --container web
  scmm-monitor decisions export -o monitor.yaml
  scmm-monitor decisions forget 5f2a07c81b9e"""

_HELP = {"help_option_names": ["-h", "--help"]}


def _which(command: click.decorators.FC) -> click.decorators.FC:
    """Options for the file, and for which of the decisions in it."""
    options: tuple[Callable[[click.decorators.FC], click.decorators.FC], ...] = (
        click.option("--call", metavar="NAME", help="Only those about this system call."),
        click.option("--executable", metavar="PATH", help="Only those for this program."),
        click.option("--container", metavar="NAME", help="Only those for the container, or program, of this name."),
        click.option("--decisions", "path", metavar="FILE", help="The file, if the monitor was started with another."),
    )
    for option in options:
        command = option(command)
    return command


@click.group(epilog=_EXAMPLE, context_settings=_HELP)
def decisions() -> None:
    """Look at the answers that scmm-monitor has saved, and forget some.

    A monitor that runs sees at once what is forgotten; answers that it keeps for its own run it keeps.
    """


@decisions.command("list", context_settings=_HELP)
@_which
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON.")
def list_(*, path: str | None, as_json: bool, **which: str | None) -> None:
    """Print what was saved, and the id by which it can be forgotten."""
    with _opened(path) as remembered:
        found = _chosen(remembered, **which)
    if as_json:
        data([_document(entry) for entry in found])
    elif not found:
        say(_none(which))
    else:
        _print(found)


@decisions.command(context_settings=_HELP)
@_which
@click.option("-o", "--output", metavar="FILE", help="Write the rules here.  [default: standard output]")
def export(*, path: str | None, output: str | None, **which: str | None) -> None:
    """Write what was saved as rules for --rules (monitor.yaml).

    A rule fits no more than what was asked about; what rules cannot say is a comment in the file.
    """
    check_outputs([path or default_path()], [output])
    with _opened(path) as remembered:
        found = _chosen(remembered, **which)
        text = remembered.export(arch=from_machine(os.uname().machine), only=found) if remembered is not None else b""
    if not found:
        raise Failure(f"{_none(which)}, so nothing was written")
    if output is None:
        click.echo(text, nl=False)
    else:
        atomic_write(output, text, 0o600)
        say(f"wrote {plain(output)}")


@decisions.command(context_settings=_HELP)
@click.argument("ids", metavar="[ID]...", nargs=-1)
@_which
@click.option("--all", "everything", is_flag=True, help="All of them.")
def forget(*, ids: tuple[str, ...], path: str | None, everything: bool, **which: str | None) -> None:
    """Forget answers, so that it is asked again: those with these ids, or all that the options name."""
    given = [bool(ids), everything, any(value is not None for value in which.values())]
    if sum(given) != 1:
        hint = "give ids (`scmm-monitor decisions list` tells them), or options for which, or --all"
        raise BadInput([Problem("", "it is not clear which to forget" if any(given) else "nothing to forget", hint)])
    with _opened(path) as remembered:
        found = _chosen(remembered, **which)
        if ids:
            hint = "`scmm-monitor decisions list` tells them"
            known = {entry.key.id: entry for entry in found}
            unknown = [
                Problem("", f"{short(one)} is not the id of a decision", hint) for one in ids if one not in known
            ]
            if unknown:
                raise BadInput(unknown)
            found = [known[one] for one in dict.fromkeys(ids)]
        count = remembered.forget(entry.key for entry in found) if remembered is not None else 0
    say(f"forgot {count} decision{'s' * (count != 1)}")


@contextmanager
def _opened(path: str | None) -> Iterator[Remembered | None]:
    """The file; None if it is the usual one, and is not there yet."""
    place = path or default_path()
    if path is None and not os.path.lexists(place):
        yield None
        return
    remembered = Remembered(place, now=time.time, make=False)
    try:
        yield remembered
    finally:
        remembered.close()


def _chosen(
    remembered: Remembered | None, *, container: str | None, executable: str | None, call: str | None
) -> list[Entry]:
    wanted = (container, executable, call)
    return [
        entry
        for entry in (remembered.list() if remembered is not None else ())
        if all(one in (None, its) for one, its in zip(wanted, entry.key, strict=False))
    ]


def _none(which: dict[str, str | None]) -> str:
    return (
        "nothing of that is remembered"
        if any(value is not None for value in which.values())
        else "nothing is remembered"
    )


def _document(entry: Entry) -> dict[str, object]:
    key, decision = entry.key, entry.decision
    return {
        "id": key.id,
        "container": key.name,
        "executable": key.executable or None,
        "call": key.call,
        "detail": key.detail,
        "decision": decision.verdict.value,
        "errno": errnos.name(decision.errno) if decision.verdict == "deny" else None,
        "value": decision.value if decision.verdict == "return" else None,
        "at": timestamp(entry.at),
    }


def _print(found: list[Entry]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("id", "decision", "container", "executable", "what", "at"):
        table.add_column(heading, overflow="fold")
    for entry in found:
        key, verdict = entry.key, entry.decision.verdict
        said = f"deny {errnos.name(entry.decision.errno)}" if verdict == "deny" else verdict.value
        what = "  ".join(map(plain, key.detail.split("\n")))
        cells = (key.id, said, plain(key.name), plain(key.executable or None), what, timestamp(entry.at))
        table.add_row(*map(Text, cells))
    console().print(table)
