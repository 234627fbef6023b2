"""``scmm record``: running recordings, and saving those whose hooks died."""

from __future__ import annotations

import time
from pathlib import Path

import click

from scmm_oci.cli.output import data, plain, say
from scmm_oci.errors import Failure
from scmm_oci.recorder import installation, session
from scmm_oci.recorder import recover as recovery
from scmm_oci.recorder.ledger import Ledger

_EXAMPLE = """\b
Example:
  scmm record --list
  scmm record --recover

\b
Containers are recorded by annotation, see `scmm hooks --help`:
  podman run --annotation scmm.record=true …"""


@click.command(epilog=_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--list", "listing", is_flag=True, help="Print the recordings that run.")
@click.option("--recover", is_flag=True, help="Save what recordings hold whose container is gone.")
@click.option("--all", "everything", is_flag=True, help="With --recover: end recordings of running containers too.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
@click.option(
    "--config",
    default=installation.CONFIG,
    show_default=True,
    type=click.Path(path_type=Path),
    help="Settings of the hooks (YAML).",
)
def record(*, listing: bool, recover: bool, everything: bool, as_json: bool, config: Path) -> int:
    """List running recordings, or save what is left of those whose hooks were killed."""
    if listing == recover:
        raise click.UsageError("Give either --list or --recover.")
    if everything and not recover:
        raise click.UsageError("--all goes with --recover.")
    settings = installation.configured(config)
    try:
        if listing:
            return _list(Path(settings.run_dir), as_json=as_json)
        results = recovery.recover(settings, now=time.time(), everything=everything)
    except OSError as error:
        raise Failure(error.strerror or str(error), "recordings belong to root") from None
    if as_json:
        data([{"name": each.name, "path": each.path, "problem": each.problem} for each in results])
    for each in results:
        say(f"{plain(each.name)}: {plain(each.path) if each.path else 'not saved: ' + plain(each.problem)}")
    if not results:
        say("nothing to recover")
    return 1 if any(each.path is None for each in results) else 0


def _list(run_dir: Path, *, as_json: bool) -> int:
    entries = []
    if run_dir.is_dir():
        with Ledger(str(run_dir)) as ledger:
            entries = ledger.entries()
    rows = [
        {
            "name": entry.get("name"),
            "container": entry.get("container", {}).get("id"),
            "pid": entry.get("pid"),
            "started_at": entry.get("started_at"),
            "state": "container gone" if session.is_gone(entry) else "recording",
        }
        for entry in entries
    ]
    if as_json:
        data(rows)
    else:
        for row in rows:
            click.echo("  ".join(plain(value) for value in row.values()))
        if not rows:
            say("nothing is recorded")
    return 0
