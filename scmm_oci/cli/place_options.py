"""Options that say where things are, which several verbs have: the configuration, and where the hooks are installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from scmm_oci.recorder import installation


def place_option(name: str, default: Path, text: str) -> Callable[[click.decorators.FC], click.decorators.FC]:
    """An option that is a path, with its default shown; text: its help."""
    return click.option(name, default=default, show_default=True, type=click.Path(path_type=Path), help=text)


def config_option(command: click.decorators.FC) -> click.decorators.FC:
    """``--config``, of those who need only the hooks' settings."""
    return place_option("--config", installation.CONFIG, "Settings of the hooks (YAML).")(command)


def layout_options(command: click.decorators.FC) -> click.decorators.FC:
    """``--config``, ``--libexec-dir`` and ``--hooks-dir``: the parts of an installation.Layout."""
    for option in (
        config_option,
        place_option("--libexec-dir", installation.LIBEXEC_DIR, "Where the hooks' starter is."),
        place_option("--hooks-dir", installation.HOOKS_DIR, "Where podman looks for hooks."),
    ):
        command = option(command)
    return command
