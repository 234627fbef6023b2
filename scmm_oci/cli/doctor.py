"""``scmm doctor``: what recording needs, what of it is here, and how to mend the rest."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from scmm_oci.cli.hooks import layout_options
from scmm_oci.cli.output import console, data, plain
from scmm_oci.recorder import doctor as checks
from scmm_oci.recorder.doctor import Verdict
from scmm_oci.recorder.installation import Layout

_EXAMPLE = """\b
Example:
  scmm doctor
  scmm doctor --json | jq '.[] | select(.verdict == "failed")'"""

_COLOURS = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAILED: "red"}


@click.command(epilog=_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@layout_options
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
def doctor(*, hooks_dir: Path, libexec_dir: Path, config: Path, as_json: bool) -> int:
    """Check all that recording needs on this host. Exits with 1 if something that is needed is missing."""
    report = checks.examine(Layout(hooks_dir=hooks_dir, libexec_dir=libexec_dir, config=config))
    if as_json:
        data([dataclasses.asdict(each) for each in report])
    else:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for each in report:
            detail = Text(plain(each.detail))
            if each.remedy:
                detail.append(f"\n→ {plain(each.remedy)}", style="bold")
            table.add_row(Text(each.verdict.value, style=_COLOURS[each.verdict]), Text(each.name), detail)
        console().print(table)
    return 1 if any(each.verdict is Verdict.FAILED for each in report) else 0
