"""``scmm diff``: what one policy does differently from another, as a table or JSON, and as a gate for CI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import click

from scmm_oci.cli.confine import confine
from scmm_oci.cli.inputs import captures_in, policies_in, read_files
from scmm_oci.cli.output import console, data, plain, say
from scmm_oci.errors import BadInput, Problem
from scmm_oci.policy.diff import Difference, Kind, differences
from scmm_oci.policy.diff.captures import drift

_EXAMPLE = """\b
Examples:
  scmm-diff old.scmm.yaml new.scmm.yaml
  scmm-diff web.scmm.yaml today.scmm-cap --new fail --gone warn"""

_GATES = click.Choice(["fail", "warn", "ignore"])
_COLOURS = {Kind.NEW: "green", Kind.GONE: "red", Kind.CHANGED: "yellow"}


@click.command(epilog=_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("first", metavar="POLICY")
@click.argument("second", metavar="POLICY|CAPTURE")
@click.option(
    "--new", type=_GATES, default="fail", show_default=True, help="What to do about what only the second has."
)
@click.option("--gone", type=_GATES, default="fail", show_default=True, help="… about what only the first has.")
@click.option("--changed", type=_GATES, default="fail", show_default=True, help="… about what both have, differently.")
@click.option("--json", "as_json", is_flag=True, help="Print the differences as JSON on stdout.")
@click.pass_context
def diff(context: click.Context, *, first: str, second: str, new: str, gone: str, changed: str, as_json: bool) -> None:
    """Tell what the second policy does differently, or what a new recording needs.

    Of a recording, what it did and the policy refuses is new; what the policy allows and it never used is gone.

    Meaning is compared, not text: order, groups and their calls, or a rule that another one covers are no difference;
    neither are names, origins and comments. What is marked + may allow more than the first policy does.

    The exit code is 0 if there is nothing, 1 for differences of a kind that is to fail, and 2 for bad input.
    Differences to warn of are told on stderr, and those to ignore not at all.
    """
    confine([first, second])
    before, after = read_files([first, second])
    if before.is_capture:
        hint = "the other way round, or make a policy of it first: `scmm extract`"
        raise BadInput([Problem(first, "is a capture; the first is a policy", hint)])
    policies = policies_in([before] if after.is_capture else [before, after])
    gates = {Kind.NEW: new, Kind.GONE: gone, Kind.CHANGED: changed}
    found = drift(policies[0], captures_in([after])) if after.is_capture else differences(policies[0], policies[1])
    failing = [one for one in found if gates[one.kind] == "fail"]
    warned = [one for one in found if gates[one.kind] == "warn"]
    if as_json:
        data({"differences": [{**asdict(one), "gate": gates[one.kind]} for one in found], "equal": not found})
    elif failing:
        _print(failing)
    for one in warned:
        say(f"warning: {plain(f'{one.section}: {one.what} is {one.kind}: {one.before} → {one.after}')}")
    wider = sum(one.wider for one in found)
    many = f"{len(found)} difference{'s' if len(found) > 1 else ''}"
    say(f"{many}, {wider} of which may allow more" if found else "no differences")
    if failing:
        context.exit(1)


def _print(found: Sequence[Difference]) -> None:
    from rich.table import Table
    from rich.text import Text

    out = console()
    table = Table(box=None, pad_edge=False)
    for title in ("", "section", "what", "", "before", "after"):
        table.add_column(title, overflow="fold")
    for one in found:
        colour = _COLOURS[one.kind]
        mark = Text("+" if one.wider else "", style="bold red")
        words = [Text(plain(word)) for word in (one.section, one.what)]
        table.add_row(mark, *words, Text(one.kind.value, style=colour), Text(plain(one.before)), Text(plain(one.after)))
    out.print(table)
