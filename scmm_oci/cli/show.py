"""``scmm show``: what captures hold, or a compiled policy, as tables for people or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from scmm_oci.capture.model import Phase
from scmm_oci.capture.overview import SECTIONS, overview
from scmm_oci.cli.confine import confine
from scmm_oci.cli.inputs import Given, captures_in, read_files
from scmm_oci.cli.output import data
from scmm_oci.compiled.polfile.layout import is_compiled
from scmm_oci.errors import BadInput, Problem

_EXAMPLE = """\b
Examples:
  scmm-show nginx.scmm-cap
  scmm-show nginx.scmm-cap --files --limit 0
  scmm-show monday.scmm-cap tuesday.scmm-cap --json | jq '.files[].path'
  scmm-show nginx.scmm-pol"""


@click.command(epilog=_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("inputs", nargs=-1, required=True, metavar="FILE...")
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
    """Print what captures hold, or a compiled policy.

    Several captures, or a set that `scmm merge` made, are shown together: counts are sums, and each row says in how
    many recordings it is. Options that name a section choose it; without them, all are shown.

    Of a compiled policy (.scmm-pol) all is shown: filters, Landlock rules, ids, capabilities and transitions.
    """
    confine(inputs)
    given = _read(inputs)
    if any(is_compiled(one.data) for one in given):
        options = [f"--{section}" for section in SECTIONS if sections[section]]
        _show_compiled(given, options + ["--phase"] * (phase is not None), limit=limit, as_json=as_json)
        return
    captures = captures_in(given)
    chosen = [section for section in SECTIONS if sections[section]] or list(SECTIONS)
    found = overview(captures)
    if phase is not None:
        found["calls"] = [call for call in found["calls"] if call["phase"] == phase]
    if as_json:
        data(_chosen(found, chosen, whole_order=sections["order"]))
        return
    from scmm_oci.cli.tables import print_overview

    print_overview(found, captures, chosen, limit=limit, whole_order=sections["order"])


def _read(inputs: Sequence[str]) -> list[Given]:
    """The files' bytes. Raises BadInput with what is wrong with all of them, unreadable ones and bad captures."""
    given: list[Given] = []
    found: list[Problem] = []
    for path in inputs:
        try:
            given += read_files([path])
        except BadInput as error:
            found += error.problems
    if found:
        try:
            captures_in([one for one in given if not is_compiled(one.data)])
        except BadInput as error:
            found += error.problems
        raise BadInput(found)
    return given


def _show_compiled(given: Sequence[Given], options: Sequence[str], *, limit: int, as_json: bool) -> None:
    from scmm_oci.cli.show_compiled import described, print_compiled
    from scmm_oci.compiled.polfile import read

    found = [Problem(option, "is for captures, and a compiled policy is shown whole") for option in options]
    if len(given) > 1:
        hint = "show them one by one"
        found += [
            Problem(one.path, "is a compiled policy, and is not shown together with other files", hint)
            for one in given
            if is_compiled(one.data)
        ]
    if found:
        raise BadInput(found)
    file = read(given[0].data, source=given[0].path)
    if as_json:
        data(described(file))
    else:
        print_compiled(file, limit=limit)


def _chosen(found: dict[str, Any], sections: Sequence[str], *, whole_order: bool) -> dict[str, Any]:
    result = {"recordings": found["recordings"], **{section: found[section] for section in sections}}
    # Numbers of programs are of no use without the programs.
    result["programs"] = found["programs"]
    if "order" in result and not whole_order:
        result["order"] = [{key: one[key] for key in ("arch", "stage", "calls", "count")} for one in found["order"]]
    return result
