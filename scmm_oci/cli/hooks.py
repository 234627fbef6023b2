"""``scmm hooks``: install, remove and inspect the OCI hook pair that records podman's containers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from scmm_oci.cli.output import data, plain, say
from scmm_oci.recorder import installation
from scmm_oci.recorder.installation import Layout

_EXAMPLE = """\b
Example:
  scmm hooks install
  podman run --annotation scmm.record=true --annotation scmm.name=web nginx"""

_HELP = {"help_option_names": ["-h", "--help"]}


def _path(name: str, default: Path, text: str) -> Callable[[click.decorators.FC], click.decorators.FC]:
    return click.option(name, default=default, show_default=True, type=click.Path(path_type=Path), help=text)


def layout_options(command: click.decorators.FC) -> click.decorators.FC:
    """The options that say where the hooks are, for every verb that asks."""
    for option in (
        _path("--config", installation.CONFIG, "Settings of the hooks (YAML)."),
        _path("--libexec-dir", installation.LIBEXEC_DIR, "Where the hooks' starter is."),
        _path("--hooks-dir", installation.HOOKS_DIR, "Where podman looks for hooks."),
    ):
        command = option(command)
    return command


@click.group(epilog=_EXAMPLE, context_settings=_HELP)
def hooks() -> None:
    """Record podman's containers through OCI hooks: install, remove, inspect."""


@hooks.command(context_settings=_HELP)
@layout_options
def install(*, hooks_dir: Path, libexec_dir: Path, config: Path) -> None:
    """Write the hook descriptors, their starter and its settings. Run it again when the settings change."""
    for path in installation.install(Layout(hooks_dir=hooks_dir, libexec_dir=libexec_dir, config=config)):
        say(f"wrote {plain(path)}")


@hooks.command(context_settings=_HELP)
@layout_options
def uninstall(*, hooks_dir: Path, libexec_dir: Path, config: Path) -> None:
    """Remove what install wrote. Captures stay."""
    removed = installation.uninstall(Layout(hooks_dir=hooks_dir, libexec_dir=libexec_dir, config=config))
    for path in removed:
        say(f"removed {plain(path)}")
    if not removed:
        say("nothing was installed")


@hooks.command(context_settings=_HELP)
@layout_options
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
def status(*, hooks_dir: Path, libexec_dir: Path, config: Path, as_json: bool) -> int:
    """Tell whether the hooks are installed and current, and what they logged last."""
    layout = Layout(hooks_dir=hooks_dir, libexec_dir=libexec_dir, config=config)
    findings = installation.findings(layout)
    settings = installation.configured(config)
    last = _last_lines(Path(settings.log_file))
    if as_json:
        found = [{"code": each.code, "message": each.message, "hint": each.hint} for each in findings]
        data({"installed": not findings, "findings": found, "settings": settings.as_dict(), "log": last})
    else:
        for finding in findings:
            click.echo(str(finding))
        if not findings:
            click.echo(f"installed in {plain(hooks_dir)}; captures go to {plain(settings.capture_dir)}")
        for line in last:
            click.echo(f"  {plain(line)}")
    return 1 if findings else 0


def _last_lines(path: Path, count: int = 5) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()[-count:]
    except OSError:
        return []
