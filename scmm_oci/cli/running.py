"""What ``scmm record`` does with recordings that there are already: list them, save what was left."""

from __future__ import annotations

import time
from pathlib import Path

from scmm_oci.cli.output import console, data, plain, say
from scmm_oci.errors import Failure
from scmm_oci.recorder import recover as recovery
from scmm_oci.recorder import session
from scmm_oci.recorder.ledger import Ledger
from scmm_oci.recorder.settings import Settings


def look_after(settings: Settings, *, recover: bool, everything: bool, as_json: bool) -> int:
    """List the recordings that run, or (recover) save those that nobody will end; the exit code.

    everything: save those that still run, too. Raises Failure.
    """
    try:
        if not recover:
            return _list(Path(settings.run_dir), as_json=as_json)
        results = recovery.recover(settings, now=time.time(), everything=everything)
    except OSError as error:
        raise Failure(error.strerror or str(error)) from None
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
            "source": entry.get("source", "container"),
            "container": entry.get("container", {}).get("id") or None,
            "pid": entry.get("pid"),
            "started_at": entry.get("started_at"),
            "state": _state(entry),
        }
        for entry in entries
    ]
    if as_json:
        data(rows)
        return 0
    if not rows:
        say("nothing is recorded")
        return 0
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for head in rows[0]:
        table.add_column(head.replace("_at", ""), overflow="fold")
    for row in rows:
        container = row["container"]
        table.add_row(*(plain(value) for value in {**row, "container": container and str(container)[:12]}.values()))
    console().print(table)
    return 0


def _state(entry: dict[str, object]) -> str:
    if not session.is_gone(entry):
        return "recording"
    return "scmm record was killed" if "owner" in entry else "container gone"
