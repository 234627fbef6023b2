"""What engines are made to call: a starter for each runtime, its settings and the launcher. Pure, but for looking.

Whose files these are and that only root can change them is looked at by whoever writes them (cli.install).
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from scmm_oci.enforcer import shim_settings
from scmm_oci.errors import Problem

SETTINGS = "shim.json"
LAUNCHER = "scmm-enforce"
TEMPLATE = "scmm-runc.in"
# Programs that are looked for in PATH, and what the settings call them; there has to be a default.
_PROGRAMS = {shim_settings.DEFAULT: "runc", "crun": "crun"}


def starter(runtime: str) -> str:
    """The name of a runtime's starter, which is what tells the shim what runtime is meant."""
    return f"scmm-{_PROGRAMS[runtime] if runtime == shim_settings.DEFAULT else runtime}"


def found(given: Mapping[str, Path]) -> tuple[dict[str, Path], list[Problem]]:
    """The real runtimes: those that were given, and runc and crun where PATH has them; with what is wrong with them."""
    there = {name: shutil.which(program) for name, program in _PROGRAMS.items()}
    result = {name: Path(path) for name, path in there.items() if path} | dict(given)
    problems = []
    if shim_settings.DEFAULT not in result:
        problems.append(Problem("--runc", "there is no runc in PATH", "name the runtime: --runc PATH"))
    for name, path in result.items():
        problem = _unfit(path)
        if problem is not None:
            place = f"--{_PROGRAMS[name]}" if name in _PROGRAMS else f"shim.runtimes.{name}"
            problems.append(Problem(place, f"{path} {problem}", "name the runtime that does the work"))
    return result, problems


def files(
    *,
    libexec: Path,
    template: str,
    python: Path,
    package: Path,
    settings: bytes,
    launcher: bytes,
    runtimes: Mapping[str, Path],
) -> dict[Path, tuple[bytes, int]]:
    """What is installed, starters last: path → (content, mode).

    Args:
        libexec: the directory for all of it.
        template: the starter's text (hooks/scmm-runc.in), with @PYTHON@, @PACKAGE@, @SETTINGS@ and @RUNTIME@.
        python, package: the interpreter, and the directory that the package is in.
        runtimes: of `found`.
    """
    result = {libexec / SETTINGS: (settings, 0o644), libexec / LAUNCHER: (launcher, 0o755)}
    for name, runtime in runtimes.items():
        text = template
        places = {"PYTHON": python, "PACKAGE": package, "SETTINGS": libexec / SETTINGS, "RUNTIME": runtime}
        for word, value in places.items():
            text = text.replace(f"@{word}@", shlex.quote(str(value)))
        result[libexec / starter(name)] = (text.encode(), 0o755)
    return result


def _unfit(path: Path) -> str | None:
    if not path.is_absolute():
        return "is no absolute path"
    if not path.is_file():
        return "is not there"
    if not os.access(path, os.X_OK):
        return "cannot be executed"
    try:
        with path.open("rb") as file:
            head = file.read(shim_settings.BEGINNING)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    # The shim over itself would never end.
    if shim_settings.is_starter(head):
        return "is the shim itself"
    return None
