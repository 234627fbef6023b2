"""``scmm merge``: several captures → one file that keeps them apart."""

from __future__ import annotations

from collections.abc import Sequence

import click

from scmm_oci.capture import file as capture_file
from scmm_oci.capture.merge import merge as merge_captures
from scmm_oci.cli.options import check_outputs
from scmm_oci.cli.output import data, plain, say
from scmm_oci.cli.recordings import read_captures

_EXAMPLE = """\b
Example:
  scmm-merge monday.scmm-cap tuesday.scmm-cap -o web.scmm-cap
  scmm-extract -i web.scmm-cap -o web.scmm.yaml"""


@click.command(epilog=_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("inputs", nargs=-1, required=True, metavar="CAPTURE...")
@click.option("-o", "--output", required=True, metavar="FILE", help="Write the merged captures here (.scmm-cap).")
@click.option("--json", "as_json", is_flag=True, help="Print what was merged as JSON on stdout.")
def merge(*, inputs: Sequence[str], output: str, as_json: bool) -> None:
    """Put captures, and sets of them, into one file.

    Nothing is added up: the file holds each different recording once, so that what varied between them can still be
    seen. The order of the inputs does not matter.
    """
    check_outputs(inputs, [output])
    given = read_captures(inputs)
    merged = merge_captures(given)
    capture_file.write_all(output, merged)
    if as_json:
        recordings = [
            {
                "name": one.name,
                "started_at": one.started_at,
                "complete": one.complete,
                "losses": [vars(loss) for loss in one.losses],
            }
            for one in merged
        ]
        data({"output": output, "given": len(given), "recordings": recordings})
    again = len(given) - len(merged)
    twice = f"; {again} given twice" if again else ""
    say(f"{plain(output)}: {len(merged)} recording{'s' if len(merged) != 1 else ''}{twice}")
    lost = sum(not one.complete for one in merged)
    if lost:
        say(f"{lost} of them incomplete: `scmm show {plain(output)}` says why")
