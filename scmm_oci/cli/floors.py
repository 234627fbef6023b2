"""What profiles allow for the runtime's sake, as the options of `scmm compile` and `scmm extract` choose it."""

from __future__ import annotations

from collections.abc import Collection

import click

from scmm_oci.cli.output import plain, say
from scmm_oci.errors import Finding
from scmm_oci.kernel.landlock import READ
from scmm_oci.tables import measured
from scmm_oci.tables.floor import Floor, floor, runtimes
from scmm_oci.tables.measured import Measured

_DIGITS = 12


def floor_options(command: click.decorators.FC) -> click.decorators.FC:
    """``--runtime``, ``--no-new-privileges`` and ``--measured-floor``."""
    command = click.option(
        "--measured-floor",
        is_flag=False,
        flag_value=measured.DIRECTORY,
        metavar="[DIR]",
        help="Cover what `scmm verify --replay --measure-floor` found the runtimes of this host to need, beside what "
        f"is known of these versions; by default what it kept in {measured.DIRECTORY}.",
    )(command)
    command = click.option(
        "--no-new-privileges",
        is_flag=True,
        help="The container runs with no-new-privileges; its runtime then needs less. Such a profile fails without it.",
    )(command)
    return click.option(
        "--runtime",
        type=click.Choice([*runtimes(), "all"]),
        help="Whose needs the profile covers: every version of one, or all; by default the recorded one, else all.",
    )(command)


def reads(directory: str | None) -> list[tuple[str | int, int]]:
    """What `confine` has to leave readable for `--measured-floor`."""
    return [(directory, READ)] if directory is not None else []


def needs(runtime: str | None, version: str | None, no_new_privileges: bool, *, directory: str | None) -> Floor:
    """What the runtime needs: by the table or, with a directory, by what was measured too.

    Args:
        runtime: its name; None for all. ``version``: None for every one; what was measured has its own.

    Raises:
        BadInput: nothing was measured of it, or a measurement cannot be read; with all that is wrong.
    """
    if directory is None:
        return floor(runtime, version, no_new_privileges)
    found = measured.of_runtime(measured.read_all(directory), runtime, directory=directory)
    for one in found:
        say(f"floor: {_described(one)}")
    return measured.together(found, no_new_privileges)


def beyond(more: Collection[str], base: Floor) -> list[Finding]:
    """A finding if a recording saw the runtime call what its floor lacks."""
    names = sorted(set(more) - base.names)
    if not names:
        return []
    message = f"the runtime was seen to call {', '.join(names)}, which our table of its needs lacks: allowed too"
    return [Finding("recorded-floor", message, "is that what a runtime does?")]


def _described(one: Measured) -> str:
    ways = ", ".join(f"{row.verb} {'nnp ' if row.no_new_privileges else ''}{row.starts}×" for row in one.rows)
    return f"{plain(one.runtime)} {plain(one.version)}, measured ({one.digest[:_DIGITS]}): {ways or 'in no way'}"
