"""``scmm show``: what captures hold, as tables for people or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from scmm_oci.capture.model import Phase
from scmm_oci.capture.overview import SECTIONS, overview
from scmm_oci.cli.output import data
from scmm_oci.cli.recordings import read_captures

_EXAMPLE = """\b
Example:
  scmm-show nginx.scmm-cap
  scmm-show nginx.scmm-cap --files --limit 0
  scmm-show monday.scmm-cap tuesday.scmm-cap --json | jq '.files[].path'"""


@click.command(epilog=_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("inputs", nargs=-1, required=True, metavar="CAPTURE...")
@click.option("--calls", is_flag=True, help="System calls by session and phase.")
@click.option("--programs", is_flag=True, help="What was executed.")
@click.option("--files", is_flag=True, help="What was done with paths.")
@click.option("--arguments", is_flag=True, help="Values of arguments.")
@click.option("--sockets", is_flag=True, help="What was done with socket addresses.")
@click.option("--order", is_flag=True, help="Which call followed which, all of it.")
@click.option(
    "--phase", type=click.Choice([phase.value for phase in Phase]), help="Only system calls of this phase; else of all."
)
@click.option(
    "--limit", type=click.IntRange(min=0), default=40, show_default=True, help="Rows of each table; 0: all of them."
)
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON on stdout.")
def show(*, inputs: Sequence[str], phase: str | None, limit: int, as_json: bool, **sections: bool) -> None:
    """Print what captures hold.

    Several captures, or a set that `scmm merge` made, are shown together: counts are sums, and each row says in how
    many recordings it is. Options that name a section choose it; without them, all are shown.
    """
    captures = read_captures(inputs)
    chosen = [section for section in SECTIONS if sections[section]] or list(SECTIONS)
    found = overview(captures)
    if phase is not None:
        found["calls"] = [call for call in found["calls"] if call["phase"] == phase]
    if as_json:
        data(_chosen(found, chosen, whole_order=sections["order"]))
        return
    from scmm_oci.cli.tables import print_overview

    print_overview(found, captures, chosen, limit=limit, whole_order=sections["order"])


def _chosen(found: dict[str, Any], sections: Sequence[str], *, whole_order: bool) -> dict[str, Any]:
    result = {"recordings": found["recordings"], **{section: found[section] for section in sections}}
    # Numbers of programs are of no use without the programs.
    result["programs"] = found["programs"]
    if "order" in result and not whole_order:
        result["order"] = [{key: one[key] for key in ("arch", "calls", "count")} for one in found["order"]]
    return result
