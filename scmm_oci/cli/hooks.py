"""``scmm hooks``: install, remove and inspect the OCI hooks that record podman's containers, and that enforce."""

from __future__ import annotations

from pathlib import Path

import click

from scmm_oci.cli import hooks_enforcing
from scmm_oci.cli.hooks_enforcing import Enforcing
from scmm_oci.cli.output import data, plain, say
from scmm_oci.cli.place_options import layout_options, place_option
from scmm_oci.recorder import installation
from scmm_oci.recorder.installation import Layout

_EXAMPLE = """\b
Example:
  scmm hooks install
  podman run --annotation scmm.record=true --annotation scmm.name=web nginx
  scmm hooks install --enforce
  podman run --annotation scmm.policy=web nginx"""

_HELP = {"help_option_names": ["-h", "--help"]}


def _drop_in_option(command: click.decorators.FC) -> click.decorators.FC:
    text = "The file that tells podman of the hook that enforces."
    return place_option("--drop-in", hooks_enforcing.DROP_IN, text)(command)


@click.group(epilog=_EXAMPLE, context_settings=_HELP)
def hooks() -> None:
    """Record podman's containers through OCI hooks, and enforce policies: install, remove, inspect."""


@hooks.command(context_settings=_HELP)
@layout_options
@_drop_in_option
@click.option(
    "--enforce",
    is_flag=True,
    help="Also the hook that enforces what scmm.policy names, where containers start without --runtime.",
)
def install(*, hooks_dir: Path, libexec_dir: Path, config: Path, drop_in: Path, enforce: bool) -> None:
    """Write the hook descriptors, their starter and its settings. Run it again when the settings change.

    What was installed with --enforce is written anew without it, too. It enforces neither in `podman exec` nor in
    health checks: scmm-runc does (scmm install podman).
    """
    layout = Layout(hooks_dir=hooks_dir, libexec_dir=libexec_dir, config=config)
    place = Enforcing(layout, drop_in)
    written = installation.install(layout)
    if enforce or place.is_there:
        written += hooks_enforcing.install(place)
    for path in written:
        say(f"wrote {plain(path)}")


@hooks.command(context_settings=_HELP)
@layout_options
@_drop_in_option
def uninstall(*, hooks_dir: Path, libexec_dir: Path, config: Path, drop_in: Path) -> None:
    """Remove what install wrote. Captures and policies stay."""
    layout = Layout(hooks_dir=hooks_dir, libexec_dir=libexec_dir, config=config)
    removed = [*hooks_enforcing.uninstall(Enforcing(layout, drop_in)), *installation.uninstall(layout)]
    for path in removed:
        say(f"removed {plain(path)}")
    if not removed:
        say("nothing was installed")


@hooks.command(context_settings=_HELP)
@layout_options
@_drop_in_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
def status(*, hooks_dir: Path, libexec_dir: Path, config: Path, drop_in: Path, as_json: bool) -> int:
    """Tell whether the hooks are installed and current, and what they logged last."""
    layout = Layout(hooks_dir=hooks_dir, libexec_dir=libexec_dir, config=config)
    place = Enforcing(layout, drop_in)
    findings = [*installation.findings(layout), *hooks_enforcing.findings(place)]
    settings = installation.configured(config)
    last = _last_lines(Path(settings.log_file))
    if as_json:
        found = [{"code": each.code, "message": each.message, "hint": each.hint} for each in findings]
        report = {"installed": not findings, "enforcing": place.is_there and not findings, "findings": found}
        data({**report, "settings": settings.as_dict(), "log": last})
    else:
        for finding in findings:
            click.echo(str(finding))
        if not findings:
            click.echo(f"installed in {plain(hooks_dir)}; captures go to {plain(settings.capture_dir)}")
            if place.is_there:
                click.echo(f"policies are enforced from {plain(place.hooks_dir)}, but in exec and health checks")
        for line in last:
            click.echo(f"  {plain(line)}")
    return 1 if findings else 0


def _last_lines(path: Path, count: int = 5) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()[-count:]
    except OSError:
        return []
