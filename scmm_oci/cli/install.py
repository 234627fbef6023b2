"""``scmm install``: make scmm-runc known to Docker, podman or containerd, and take that back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from scmm_oci.cli.collected import placed
from scmm_oci.cli.installing import Wanted, installed, removable, wanted
from scmm_oci.cli.outcome import many
from scmm_oci.cli.output import plain, say, tell
from scmm_oci.cli.place_options import layout_options
from scmm_oci.enforcer import shim_settings
from scmm_oci.enforcer.registration import files, in_use
from scmm_oci.enforcer.registration.engines import ENGINES, Engine, Kind
from scmm_oci.errors import BadInput, Failure
from scmm_oci.recorder import installation
from scmm_oci.recorder.installation import Layout

_EXAMPLE = """\b
Example:
  scmm install docker --dry-run
  scmm install docker
  docker run --rm --runtime scmm -e SCMM_POLICY=web nginx
  scmm install docker --undo"""

_PATH = click.Path(path_type=Path)


@click.command(epilog=_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("engine", type=click.Choice([kind.value for kind in Kind]))
@click.option("--dry-run", is_flag=True, help="Print what would be changed, on stdout, and change nothing.")
@click.option("--undo", is_flag=True, help="Put the engine's configuration back to what it was.")
@click.option("--file", "config_file", type=_PATH, help="The engine's configuration, if it is not in the usual place.")
@click.option("--runc", type=_PATH, help="The runtime below scmm-runc; else runc in PATH.")
@click.option("--crun", type=_PATH, help="The runtime below scmm-crun; else crun in PATH.")
@click.option(
    "--monitor",
    metavar="[SOCKET]",
    is_flag=False,
    flag_value=shim_settings.MONITOR,
    help=f"Where scmm-monitor listens; without SOCKET {shim_settings.MONITOR}, as if it was never said.",
)
@layout_options
@click.option(
    "--records-dir", default=files.RECORDS, show_default=True, type=_PATH, help="Where it is kept what was changed."
)
def install(
    *,
    engine: str,
    dry_run: bool,
    undo: bool,
    config_file: Path | None,
    runc: Path | None,
    crun: Path | None,
    monitor: str | None,
    hooks_dir: Path,
    libexec_dir: Path,
    config: Path,
    records_dir: Path,
) -> int:
    """Make scmm-runc known to ENGINE as the runtime "scmm", in its configuration, with a backup beside that.

    No container is changed, and no default: whoever wants the shim names it. Run it again after an update, or when
    the settings change.
    """
    kind = Kind(engine)
    layout = Layout(hooks_dir=hooks_dir, libexec_dir=libexec_dir.absolute(), config=config)
    if undo:
        with files.records(records_dir, make=False) as records:
            return _undo(records, kind, layout, dry_run=dry_run)
    given = {name: path for name, path in ((shim_settings.DEFAULT, runc), ("crun", crun)) if path is not None}
    known = ENGINES[kind]
    needed, problems = wanted(layout, given, monitor=monitor)
    with files.records(records_dir, make=not dry_run) as records:
        try:
            path = (config_file or known.config).absolute()
            change = records.change(kind, path, lambda text: known.edited(text, needed.names))
        except BadInput as error:
            raise BadInput([*problems, *placed(error)]) from None
        if problems:
            raise BadInput(problems)
        if dry_run:
            _preview(change, writes=[*needed.files], removes=[])
            return 0
        new = [path for path in needed.files if not os.path.lexists(path)]
        try:
            for written in installation.write(needed.files):
                say(f"wrote {plain(written)}")
            record = records.apply(kind, change)
        except Failure:
            # Nobody calls them, and there is no registration whose undoing would take them away.
            _remove(new, layout)
            raise
        _told(record, kind, change, known, needed)
    return 0


def _remove(paths: Sequence[Path], layout: Layout) -> None:
    for path in installation.remove(paths):
        say(f"removed {plain(path)}")
    if paths:
        installation.remove_empty(layout.libexec_dir)


def _told(record: files.Record | None, kind: Kind, change: files.Change, known: Engine, needed: Wanted) -> None:
    names = " and ".join(needed.names)
    if record is None:
        say(f"{names}: in {plain(change.path)} already")
    else:
        say(f"registered {names} in {plain(change.path)}")
        if record.before is not None:
            say(f"what it was before is in {plain(record.backup)}")
        say(f"for {kind} to take notice: {known.reload}")
    say(f"to try it: {known.trial}")
    assert change.after is not None
    tell(known.notes(change.after, needed.names))


def _undo(records: files.Records, kind: Kind, layout: Layout, *, dry_run: bool) -> int:
    known = ENGINES[kind]
    names, run_dir = installed(layout)
    change = records.reverted(kind, lambda text: bool(known.entries(text, names)))
    others = [each for each in records if each != kind]
    used = run_dir is not None and run_dir.is_dir() and any(run_dir.iterdir())
    removes = [] if others or used or change is None else removable(layout)
    if change is None:
        say(f"nothing was registered with {kind}")
        return 0
    if kind is Kind.PODMAN and run_dir is not None and (running := in_use.podmans(run_dir)):
        which = f"{many(len(running), 'container')} over scmm-runc: {', '.join(one[:12] for one in running)}"
        raise Failure(f"podman could stop and remove no more {which}", "podman rm --force them, and undo then")
    if dry_run:
        _preview(change, writes=[], removes=removes)
        return 0
    if change.is_done:
        say(f"{plain(change.path)} has nothing of it any more, and stays as it is")
    records.revert(kind, change)
    if not change.is_done:
        say(f"removed {plain(change.path)}" if change.after is None else f"put back {plain(change.path)}")
        say(f"for {kind} to take notice: {known.unload}")
        say(f"containers that were made with {' or '.join(names)} cannot be started any more")
        if kind is Kind.PODMAN:
            say("those that run podman can neither stop nor end with `rm`, until scmm is installed again")
    _remove(removes, layout)
    if others:
        say(f"scmm-runc stays for {' and '.join(others)}")
    elif used:
        say(f"scmm-runc stays for containers that run; their traces are in {plain(run_dir)}")
    return 0


def _preview(change: files.Change, *, writes: list[Path], removes: list[Path]) -> None:
    for path in writes:
        click.echo(f"would write {plain(path)}")
    for path in removes:
        click.echo(f"would remove {plain(path)}")
    if change.is_done:
        click.echo(f"{plain(change.path)} stays as it is")
    for line in change.diff():
        click.echo(plain(line))
