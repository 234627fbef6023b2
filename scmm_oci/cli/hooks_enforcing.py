"""What ``scmm hooks install --enforce`` adds: a precreate hook, in a directory of its own that podman is told of.

A descriptor of that stage keeps `podman build` and CRI-O from working where they find it, as they know no such stage
(measured: podman 4.3.1, "unknown stage"; CRI-O's own source asks for the stages of the runtime-spec). Both look into
the directory that hooks usually go to. So this one goes elsewhere, and a file in containers.conf.d names both
directories, which podman's containers take their hooks from, and its builds do not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scmm_oci.enforcer import launcher, precreate, shim_settings
from scmm_oci.enforcer.registration import parts
from scmm_oci.errors import BadInput, Failure, Finding, Problem
from scmm_oci.recorder import doctor, installation
from scmm_oci.recorder.installation import Layout
from scmm_oci.settings_file import BadSettings

DROP_IN = Path("/etc/containers/containers.conf.d/scmm-hooks.conf")
DESCRIPTOR = "scmm-precreate.json"
SETTINGS = "precreate.json"
_DIRECTORY = "hooks.d"
_AGAIN = "run: scmm hooks install --enforce"
# The settings are of the shim's form, and this hook becomes no runtime.
_NO_RUNTIME = {shim_settings.DEFAULT: "/usr/bin/runc"}
_STARTER = {
    "hook": "scmm_oci/enforcer/precreate.py",
    "says": f"{precreate.NAME}: nothing started",
    "needed": "",
}


@dataclass(frozen=True)
class Enforcing:
    """Where the precreate hook's files are: beside the pair's, and the file that tells podman."""

    layout: Layout
    drop_in: Path = DROP_IN

    @property
    def hooks_dir(self) -> Path:
        return self.layout.libexec_dir / _DIRECTORY

    @property
    def descriptor(self) -> Path:
        return self.hooks_dir / DESCRIPTOR

    @property
    def is_there(self) -> bool:
        """Whether podman would call the hook, or has been told of it."""
        return os.path.lexists(self.descriptor) or self.is_told

    @property
    def is_told(self) -> bool:
        """Whether the drop-in is there and names our directory, and not that of another installation."""
        try:
            return json.dumps(str(self.hooks_dir)) in self.drop_in.read_text(errors="replace")
        except OSError:
            return False


def files(place: Enforcing) -> dict[Path, tuple[bytes, int]]:
    """What is installed, in the order in which it is written: path → (content, mode). Raises BadInput, Failure."""
    libexec = place.layout.libexec_dir
    program = libexec / precreate.NAME
    return {
        libexec / parts.LAUNCHER: (launcher.find(os.uname().machine).read_bytes(), 0o755),
        libexec / SETTINGS: (_settings(place), 0o644),
        program: (installation.starter(libexec / SETTINGS, **_STARTER), 0o755),
        place.descriptor: (installation.descriptor(DESCRIPTOR, program), 0o644),
        place.drop_in: (_drop_in(place), 0o644),
    }


def install(place: Enforcing) -> list[Path]:
    """Write the files, that which tells podman last; their paths. Raises BadInput, Failure."""
    wanted = files(place)
    unsafe = _unsafe(place)
    if unsafe:
        raise Failure(
            "what podman calls as root must be writable by root only: " + "; ".join(unsafe),
            "install scmm-oci where only root can write, for example in a virtual environment below /opt",
        )
    return installation.write(wanted)


def uninstall(place: Enforcing) -> list[Path]:
    """Remove the files, so that podman never calls what is gone; those that were there. Raises Failure."""
    libexec = place.layout.libexec_dir
    paths = [*([place.drop_in] if place.is_told else []), place.descriptor]
    paths += [libexec / precreate.NAME, libexec / SETTINGS]
    if not (libexec / parts.SETTINGS).exists():
        paths.append(libexec / parts.LAUNCHER)  # else scmm-runc's
    removed = installation.remove(paths)
    for directory in (place.hooks_dir, libexec):
        installation.remove_empty(directory)
    return removed


def findings(place: Enforcing) -> list[Finding]:
    """What keeps the hook from enforcing; nothing where it is not installed. Raises BadInput, Failure."""
    return list(_findings(place)) if place.is_there else []


def _findings(place: Enforcing) -> Iterator[Finding]:
    for path, (content, mode) in files(place).items():
        if not path.exists():
            without = " podman starts containers that ask for a policy without one" if path.name in _DECISIVE else ""
            yield Finding("hook-file-missing", f"{path} is missing{':' if without else ''}{without}", _AGAIN)
        elif path.read_bytes() != content:
            what = f"{path} is not what this version, {place.layout.config} and containers.conf say"
            yield Finding("hook-file-stale", what, _AGAIN)
        elif mode & 0o111 and not os.access(path, os.X_OK):
            yield Finding("hook-not-executable", f"{path} cannot be executed", _AGAIN)
    searched = doctor.hooks_directories(place.drop_in.parent.parent)
    if searched is not None and place.hooks_dir not in searched and place.is_told:
        what = f"podman looks for hooks in {', '.join(map(str, searched))} only: another file sets hooks_dir later"
        yield Finding("hook-not-searched", what, f"add {place.hooks_dir} there")
    for each in _unsafe(place):
        yield Finding("hook-unsafe", each, "install where only root can write")


# podman passes over a descriptor whose program is missing, and a directory that is.
_DECISIVE = (precreate.NAME, DESCRIPTOR, DROP_IN.name)


def _unsafe(place: Enforcing) -> list[str]:
    return installation.unsafe([place.layout.libexec_dir, place.hooks_dir, place.drop_in.parent])


def _drop_in(place: Enforcing) -> bytes:
    others = doctor.hooks_directories(place.drop_in.parent.parent, without=place.drop_in)
    searched = [place.layout.hooks_dir] if others is None else others
    names = json.dumps([str(each) for each in dict.fromkeys((*searched, place.hooks_dir))])
    return (
        "# podman's hooks, and beside them the one that enforces policies. Written by `scmm hooks install --enforce`,\n"
        f"# again after a change of hooks_dir elsewhere.\n[engine]\nhooks_dir = {names}\n"
    ).encode()


def _settings(place: Enforcing) -> bytes:
    layout = place.layout
    document = installation.configured_shim(layout.config)
    source = f"{layout.config}: .{installation.SHIM}"
    if not isinstance(document, dict):
        raise BadInput([Problem("", "a mapping of settings expected")], source=source)
    values = {
        "launcher": str(layout.libexec_dir / parts.LAUNCHER),
        "hook": str(layout.libexec_dir / installation.STARTER),
        "watch_hook": str(layout.libexec_dir / installation.WATCH_STARTER),
        **document,
        "runtimes": _NO_RUNTIME,
    }
    try:
        found = shim_settings.check(values).as_dict()
    except BadSettings as error:
        raise BadInput([Problem("", each) for each in error.problems], source=source) from None
    return (json.dumps(found, indent=2, sort_keys=True) + "\n").encode()
