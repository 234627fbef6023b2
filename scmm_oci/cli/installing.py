"""What ``scmm install`` writes beside an engine's configuration, and what of it goes when the last engine is undone.

The one place where the hooks' files (recorder) and the shim's (enforcer) come together.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scmm_oci.cli.collected import placed
from scmm_oci.cli.hooks_enforcing import Enforcing
from scmm_oci.enforcer import launcher, shim_settings
from scmm_oci.enforcer.registration import engines, parts
from scmm_oci.errors import BadInput, Failure, Problem
from scmm_oci.recorder import installation
from scmm_oci.recorder.installation import DESCRIPTORS, Layout
from scmm_oci.settings_file import BadSettings

# Where scmm-runc is called by the name of another runtime, without any that was set.
_USUAL = (shim_settings.DEFAULT, "crun")


@dataclass(frozen=True)
class Wanted:
    """All that is to be written, starters last, and what engines are told: the name of each runtime → its starter."""

    files: dict[Path, tuple[bytes, int]]
    names: dict[str, str]


def wanted(layout: Layout, given: Mapping[str, Path], *, monitor: str | None = None) -> tuple[Wanted, list[Problem]]:
    """What is to be written, as far as it can be told, and all that is wrong.

    Args:
        given: runtimes that were named in the command; they go before those of the configuration, these before those
            that were installed the last time, and PATH's come last.
        monitor: a socket that was named there; it goes before those of the configuration and the last time, too.
    """
    problems: list[Problem] = []
    document: object = {}
    result: dict[Path, tuple[bytes, int]] = {}
    try:
        document = installation.configured_shim(layout.config)
        result |= installation.starter_files(layout)
    except BadInput as error:
        problems += placed(error)
    runtimes, unfit = parts.found({**_earlier(layout), **_configured(document), **given})
    problems += unfit
    settings = _settings(layout, document, runtimes, monitor, problems)
    try:
        program = launcher.find(os.uname().machine).read_bytes()
    except Failure as error:
        problems.append(Problem("", error.message, error.hint))
        program = b""
    unsafe = installation.unsafe([layout.libexec_dir, *runtimes.values()])
    hint = "what engines run as root must be writable by root only"
    problems += [Problem("", each, hint) for each in unsafe]
    origin = installation.origin()
    result |= parts.files(
        libexec=layout.libexec_dir,
        template=(origin.templates / parts.TEMPLATE).read_text(),
        python=origin.python,
        package=origin.package,
        settings=settings,
        launcher=program,
        runtimes=runtimes,
    )
    return Wanted(result, engines.names(layout.libexec_dir, runtimes)), problems


def installed(layout: Layout) -> tuple[dict[str, str], Path | None]:
    """What engines may have been told of, and where the shim keeps its containers, if that can be told."""
    settings = _before(layout)
    if settings is None:
        return engines.names(layout.libexec_dir, _USUAL), None
    return engines.names(layout.libexec_dir, dict.fromkeys((*_USUAL, *settings.runtimes))), Path(settings.run_dir)


def stale(layout: Layout) -> list[Problem]:
    """What is installed otherwise than this version and the configuration say, or could be changed by others."""
    needed, problems = wanted(layout, {})
    again = "run scmm install again"
    for path, (content, _) in needed.files.items():
        # What is missing, and what keeps the rest from working, is told by `registration.standing`.
        if path.exists() and path.read_bytes() != content:
            problems.append(Problem("", f"{path} is not what this version and {layout.config} say", again))
    return problems


def removable(layout: Layout) -> list[Path]:
    """What no engine calls any more, starters first; the hooks' starter stays where podman calls it by itself."""
    names, _ = installed(layout)
    paths = [*map(Path, names.values()), layout.libexec_dir / parts.SETTINGS]
    if not Enforcing(layout).is_there:
        paths.append(layout.libexec_dir / parts.LAUNCHER)  # else the precreate hook's
    if not any(os.path.lexists(layout.hooks_dir / name) for name in DESCRIPTORS):
        paths += [layout.libexec_dir / name for name in (*installation.STARTERS, installation.SETTINGS)]
    return [path for path in paths if os.path.lexists(path)]


def _configured(document: object) -> dict[str, Path]:
    named = document.get("runtimes") if isinstance(document, dict) else None
    # What is no path is told by who checks the settings.
    return (
        {name: Path(path) for name, path in named.items() if isinstance(path, str)} if isinstance(named, dict) else {}
    )


def _earlier(layout: Layout) -> dict[str, Path]:
    """Who installs for a second engine means the runtimes of the first."""
    settings = _before(layout)
    runtimes = {} if settings is None else settings.runtimes
    return {name: Path(runtimes[name]) for name in _USUAL if os.access(runtimes.get(name, ""), os.X_OK)}


def _before(layout: Layout) -> shim_settings.Settings | None:
    try:
        return shim_settings.read(str(layout.libexec_dir / parts.SETTINGS))
    except (BadSettings, OSError):
        return None


def _settings(
    layout: Layout, document: object, runtimes: Mapping[str, Path], monitor: str | None, problems: list[Problem]
) -> bytes:
    if not isinstance(document, dict):
        problems.append(Problem(f"{layout.config}: .{installation.SHIM}", "a mapping of settings expected"))
        return b""
    before = _before(layout)
    values = {
        "launcher": str(layout.libexec_dir / parts.LAUNCHER),
        "hook": str(layout.libexec_dir / installation.STARTER),
        "watch_hook": str(layout.libexec_dir / installation.WATCH_STARTER),
        "monitor": shim_settings.MONITOR if before is None else before.monitor,
        **document,
        **({} if monitor is None else {"monitor": monitor}),
        "runtimes": {name: str(path) for name, path in runtimes.items()},
    }
    try:
        found = shim_settings.check(values).as_dict()
    except BadSettings as error:
        # That there is no default has been told, by the option it would come from.
        lacks = shim_settings.DEFAULT not in runtimes
        told = [each for each in error.problems if not (lacks and each.startswith(".runtimes:"))]
        for each in told:
            named = monitor is not None and each.startswith(".monitor:")
            place = "--monitor" if named else f"{layout.config}: .{installation.SHIM}"
            problems.append(Problem(place, each.removeprefix(".monitor: ") if named else each))
        return b""
    return (json.dumps(found, indent=2, sort_keys=True) + "\n").encode()
