"""``scmm doctor``: what recording needs, what of it is here, and how to mend the rest."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click

from scmm_oci.cli import hooks_enforcing
from scmm_oci.cli.hooks_enforcing import Enforcing
from scmm_oci.cli.installing import stale
from scmm_oci.cli.output import console, data, plain
from scmm_oci.cli.place_options import layout_options
from scmm_oci.enforcer import installed
from scmm_oci.enforcer.registration.engines import ENGINES, Kind
from scmm_oci.enforcer.registration.standing import SHIM, standings
from scmm_oci.errors import BadInput, Failure, Problem
from scmm_oci.recorder import doctor as checks
from scmm_oci.recorder import engine_answers, installation
from scmm_oci.recorder.doctor import Check, Verdict
from scmm_oci.recorder.installation import Layout
from scmm_oci.watch import doctor as watch_checks

_EXAMPLE = """\b
Example:
  scmm doctor
  scmm doctor --json | jq '.[] | select(.verdict == "failed")'"""

_COLOURS = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAILED: "red"}


@click.command(epilog=_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@layout_options
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
def doctor(*, hooks_dir: Path, libexec_dir: Path, config: Path, as_json: bool) -> int:
    """Check all that recording needs on this host, and the runtime scmm-runc where that is installed.

    Exits with 1 if something that is needed is missing.
    """
    layout = Layout(hooks_dir=hooks_dir, libexec_dir=libexec_dir, config=config)
    shim = list(registered(layout, {kind: engine.config for kind, engine in ENGINES.items()}))
    over = any(each.name == Kind.PODMAN and each.verdict is Verdict.OK for each in shim)
    if any(each.name == Kind.DOCKER and each.verdict is Verdict.OK for each in shim):
        shim += unnoticed(["docker"])
    report = [*checks.examine(layout), *watching(layout), *enforcing(Enforcing(layout), shim=over), *shim]
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


def watching(layout: Layout) -> Iterator[Check]:
    """Whether containers can be watched; nothing where the settings cannot be read, which has been told."""
    try:
        settings = installation.configured(layout.config)
    except (BadInput, PermissionError):
        return
    yield from watch_checks.checks(settings)


def registered(layout: Layout, configs: Mapping[Kind, Path]) -> Iterator[Check]:
    """The shim, and the engines that know it: these need each other, and whoever has neither needs neither."""
    try:
        found = list(standings(layout.libexec_dir, configs))
        # Of what is broken it need not be told that it is old.
        whole = bool(found) and found[0].name == SHIM and not found[0].findings
        old = stale(layout) if whole else []
    except PermissionError as error:
        yield Check(SHIM, Verdict.WARNING, f"{error.filename} cannot be looked into without root", "run as root")
        return
    if not found:
        yield Check(SHIM, Verdict.OK, "not installed; Docker's containers, and `exec`, need it: scmm install")
    for standing in found:
        for finding in standing.findings:
            yield Check(standing.name, Verdict.FAILED, finding.message, finding.hint)
        if not standing.findings:
            yield Check(standing.name, Verdict.OK, standing.detail)
    for problem in old:
        yield Check(SHIM, Verdict.FAILED, str(Problem(problem.place, problem.message)), problem.hint)


def unnoticed(client: Sequence[str]) -> Iterator[Check]:
    """Whether dockerd has not read yet that it is told of scmm-runc; nothing where it does not run."""
    try:
        runtimes = engine_answers.docker_runtimes(client)
    except Failure:
        return
    if not any(installed.is_starter(path) for path in runtimes.paths.values()):
        detail = "dockerd has not read its configuration since then, and does not know scmm-runc"
        yield Check(Kind.DOCKER, Verdict.WARNING, detail, ENGINES[Kind.DOCKER].reload)


def enforcing(place: Enforcing, *, shim: bool) -> Iterator[Check]:
    """The hook that enforces podman's containers, and what it leaves out. shim: whether podman knows scmm-runc."""
    name = "precreate hook"
    if not place.is_there:
        detail = "not installed; podman enforces no policy without --runtime: scmm hooks install --enforce"
        yield Check(name, Verdict.OK, detail)
        return
    try:
        found = hooks_enforcing.findings(place)
    except (BadInput, Failure) as error:
        yield Check(name, Verdict.FAILED, str(error))
        return
    except PermissionError as error:
        yield Check(name, Verdict.WARNING, f"{error.filename} cannot be looked into without root", "run as root")
        return
    for finding in found:
        yield Check(name, Verdict.FAILED, finding.message, finding.hint)
    if found:
        return
    detail = (
        f"installed in {place.hooks_dir}; without --runtime scmm, `podman exec` and health checks run without the "
        "policy, and no descriptors are handed on"
    )
    if shim:
        yield Check(name, Verdict.OK, detail)
    else:
        yield Check(name, Verdict.WARNING, detail, "scmm install podman, and podman --runtime scmm")
