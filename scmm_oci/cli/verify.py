"""``scmm verify``: a policy proven against captures or by starts, as tables or JSON, and as a gate for CI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import click

from scmm_oci.cli import replayed
from scmm_oci.cli.confine import confine
from scmm_oci.cli.filters import read_subject
from scmm_oci.cli.output import console, data, plain, say, tell
from scmm_oci.cli.recordings import read_captures
from scmm_oci.compiled import enforced
from scmm_oci.compiled.needed import NEEDED
from scmm_oci.compiled.verify import Cost, Report
from scmm_oci.compiled.verify import verify as prove
from scmm_oci.errors import BadInput, Problem

if TYPE_CHECKING:
    from rich.console import Console

_EXAMPLE = """\b
Examples:
  scmm-verify nginx.scmm.yaml --against nginx.scmm-cap
  scmm-verify nginx.scmm-pol --against monday.scmm-cap tuesday.scmm-cap
  scmm-verify seccomp.json --replay --bundle nginx/
  scmm-verify seccomp.json --replay --engine podman --image alpine -- sh -c 'ls /'"""

# Rows of a table, and names in a line; --json has all.
_ROWS = 12
_REFUSED = 200
_NAMES = 12


@click.command(epilog=_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("path", metavar="POLICY")
@click.argument("more", nargs=-1, metavar="[CAPTURE]... | -- [ARG]...")
@click.option("--against", multiple=True, metavar="CAPTURE...", help="Captures, or sets of them.")
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON on stdout.")
@replayed.options
def verify(
    *, path: str, more: Sequence[str], against: Sequence[str], as_json: bool, asked: replayed.Asked | None
) -> None:
    """Prove that a policy allows what was recorded; tell what it allows beyond that, and what its filter costs.

    POLICY is a policy, which is compiled for this, or a compiled policy (.scmm-pol). Every recorded call of the program
    is run through the filter, with each value that its arguments were recorded with; files and ports are asked of the
    rules, and which call followed which of the transitions.

    The exit code is 0 if all is allowed, 1 if something that was recorded would be refused, and 2 for bad input.

    With --replay POLICY may be a seccomp profile too. A bundle's program is started under it, or under what `scmm
    compile --oci` makes of a policy: by each runtime, with no-new-privileges off and on, and by run, create and start,
    and exec. The exit code is 0 if it always ends as it does without a profile, and 1 if not; what lacks is named, with
    who calls it. Containers are started AS ROOT ON THIS HOST, with the mounts, hooks and namespaces that the bundle
    says, a root of the runtime's and cgroups of their own, and a layer over the bundle's files that is thrown away.
    With --engine and --image podman or Docker starts them, with its own configuration, and the program's arguments
    stand behind --.
    """
    if asked is not None:
        if against or (more and asked.engine is None):
            raise click.UsageError("--replay and captures are two questions: ask one at a time.")
        # Not confined: whoever starts containers needs what containers need.
        if not replayed.run(read_subject(path), asked, as_json=as_json):
            click.get_current_context().exit(1)
        return
    if not against:
        raise click.UsageError("Missing option '--against'.")
    confine([path, *against, *more])
    subject = read_subject(path)
    if subject.profile is not None:
        hint = "make a policy of it first: `scmm import-profile`"
        raise BadInput([Problem(path, "is a seccomp profile, not a policy", hint)])
    captures = read_captures([*against, *more])
    tell(subject.findings)
    if subject.compiled is not None:
        what = enforced.of_a_file(subject.compiled)
    else:
        assert subject.policy is not None
        try:
            what = enforced.of_a_policy(subject.policy)
        except BadInput as error:
            raise BadInput(error.problems, source=error.source or path) from error
    report = prove(what, captures)
    tell(report.findings)
    if as_json:
        data(_as_json(report))
    else:
        _print(report)
    say(f"{plain(path)}: {_summary(report)}")
    if report.refused:
        click.get_current_context().exit(1)


def _summary(report: Report) -> str:
    if report.refused:
        many = len(report.refused)
        return f"{'1 thing that was' if many == 1 else f'{many} things that were'} recorded would be refused"
    return "allows all that was recorded"


def _print(report: Report) -> None:
    out = console()
    rows: list[list[object]] = [[one.section, one.what, one.detail, one.count] for one in report.refused]
    if rows:
        _table(out, "recorded, and refused", ["section", "what", "detail", "#times"], rows, limit=_REFUSED)
    beyond = report.beyond
    _list(out, "calls allowed, and never recorded", [name for name in beyond.calls if name not in NEEDED])
    _list(out, "… and because every program needs them", [name for name in beyond.calls if name in NEEDED])
    opened = [f"{one.call}:{'/'.join(map(str, one.indexes))}" for one in beyond.arguments]
    _list(out, "arguments recorded, and not checked", list(dict.fromkeys(opened)))
    unused = [one.path for one in beyond.files if one.unused]
    _list(out, "file rules that nothing used", unused)
    wider = [[one.path, ", ".join(one.rights)] for one in beyond.files if not one.unused]
    _table(out, "file rules with rights that nothing used", ["path", "rights"], wider, limit=_ROWS)
    _list(out, "ports allowed, and never used", beyond.ports)
    if report.steps:
        _list(out, "steps from one call to the next allowed, and never recorded", report.steps)
    costs = report.costs
    rows = [[one.name, one.arch, one.count, _span(one), _number(one.total)] for one in costs.calls]
    _table(
        out,
        "calls that the filter runs for",
        ["call", "ABI", "#times", "#instructions", "#together"],
        rows,
        limit=_ROWS,
    )
    out.print(
        f"instructions executed: {_number(costs.total)} in {costs.running} calls, {_number(costs.mean)} in the mean and"
        f" {costs.worst} at most; {costs.cached} calls without the filter"
    )


def _span(one: Cost) -> str:
    return str(one.least) if one.least == one.most else f"{one.least} to {one.most}"


def _number(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.1f}"


def _list(out: Console, title: str, words: Sequence[str]) -> None:
    from rich.text import Text

    shown = ", ".join(map(plain, words[:_NAMES]))
    more = f" … and {len(words) - _NAMES} more" if len(words) > _NAMES else ""
    out.print(Text(f"{title}: {len(words) or 'none'}", style="bold"))
    if words:
        out.print(Text(f"  {shown}{more}"))


def _table(out: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, limit: int) -> None:
    """Print a table; columns of numbers, which stand at the right, have "#" before their name."""
    from rich.table import Table
    from rich.text import Text

    out.print(Text(f"{title}: {len(rows) or 'none'}", style="bold"))
    if not rows:
        return
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column.lstrip("#"), justify="right" if column[:1] == "#" else "left", overflow="fold")
    for row in rows[:limit]:
        table.add_row(*(Text(plain(cell)) for cell in row))
    out.print(table)
    if len(rows) > limit:
        out.print(Text(f"… and {len(rows) - limit} more (--json has all)"))


def _as_json(report: Report) -> dict[str, Any]:
    costs = report.costs
    return {
        "allowed": not report.refused,
        "refused": [asdict(one) for one in report.refused],
        "findings": [{"code": one.code, "message": one.message, "hint": one.hint} for one in report.findings],
        "beyond": {
            "calls": list(report.beyond.calls),
            "arguments": [asdict(one) for one in report.beyond.arguments],
            "files": [asdict(one) for one in report.beyond.files],
            "ports": list(report.beyond.ports),
            "steps": list(report.steps),
        },
        "cost": {
            "calls": [
                {
                    "name": one.name,
                    "arch": one.arch,
                    "count": one.count,
                    "least": one.least,
                    "most": one.most,
                    "mean": float(one.mean),
                    "total": float(one.total),
                }
                for one in costs.calls
            ],
            "running": costs.running,
            "cached": costs.cached,
            "mean": float(costs.mean),
            "worst": costs.worst,
            "total": float(costs.total),
        },
    }
