"""Copies of policies for containers that podman is about to create. Standard library only (precreate hook).

A copy has to be there from the precreate hook until the runtime has mounted it; from then on the mount keeps it. podman
waits for the runtime to have created the container. So where podman is gone, nobody needs the copy any more. Its
directory has the name

    PODMAN.HOOK.CONTAINER

of two generations (enforcer.living) and the container's id, and so begins its life with all that a sweep asks for. The
container's poststop hook removes it; what is left over, the next precreate hook.
"""

from __future__ import annotations

import os

from scmm_oci.enforcer import living, private
from scmm_oci.enforcer.place import Place, clear

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from scmm_oci.enforcer.shim_settings import Settings

NAME = "precreate"
_UNKNOWN = "unknown"
_ID_LENGTH = 64  # of podman's ids, in hexadecimal digits
_HEXADECIMAL = frozenset("0123456789abcdef")
_DIGITS = frozenset("0123456789-")
# As many directories does one hook look at, 50 µs each.
_SWEPT = 256


def directory(settings: Settings) -> str:
    """Where copies are: beside the directory of scmm-runc's containers."""
    return os.path.join(os.path.dirname(settings.run_dir), NAME)


def container_of(config: Mapping[str, Any]) -> str:
    """The id of podman's container, from the places where its configuration has it; "" if it has it nowhere.

    podman 4.3.1: linux.cgroupsPath ends in libpod-ID (cgroupfs) or libpod:ID (systemd), and mounts such as that of
    /run/.containerenv have sources in .../ID/userdata.
    """
    linux = config.get("linux")
    group = linux.get("cgroupsPath") if isinstance(linux, dict) else None
    found = [group.rpartition("/")[2].rpartition("libpod")[2][1:]] if isinstance(group, str) else []
    found += [os.path.basename(os.path.dirname(each)) for each in userdata_of(config)]
    return next((each for each in found if _is_id(each)), "")


def userdata_of(config: Mapping[str, Any]) -> list[str]:
    """podman's own directories of the container, .../ID/userdata, as far as something of them is mounted."""
    mounts = config.get("mounts")
    sources = [each.get("source") for each in (mounts if isinstance(mounts, list) else []) if isinstance(each, dict)]
    places = [os.path.dirname(each) for each in sources if isinstance(each, str)]
    return [each for each in dict.fromkeys(places) if os.path.basename(each) == "userdata"]


def claim(path: str, container: str) -> Place:
    """A directory of its own for a container's policy, below the directory at `path`, which is made if it is missing.

    What earlier hooks of this container, or of a podman that is gone, left there is removed.

    Raises OSError: the directory is not ours alone, or cannot be written.
    """
    mine = living.generation()
    caller = _generation_of(os.getppid(), mine)
    name = f"{caller}.{mine}.{container or _UNKNOWN}"
    run = private.open_directory(path, make=True)
    try:
        _sweep(run, container)
        os.mkdir(name, 0o700, dir_fd=run)
        descriptor = private.open_below(run, name, os.path.join(path, name))
    except BaseException:
        os.close(run)
        raise
    return Place(run, descriptor, path=os.path.join(path, name), generation=mine, claimed=True)


def keep(copy: Place) -> None:
    """Say that the copy outlives this process. Raises OSError where podman is gone, and nobody would need it."""
    caller = copy.key.partition(".")[0]
    if not living.is_alive(caller) or caller.partition("-")[0] != str(os.getppid()):
        raise ProcessLookupError(3, "podman, which called this hook, is gone")


def remove(path: str, name: str) -> bool:
    """Remove a directory of that name; whether it was there. Raises OSError, and ValueError for another name."""
    if not _is_copy(name):
        raise ValueError(f"{name!r} is no copy's name: it is the runtime that calls this, as a poststop hook")
    try:
        run = private.open_directory(path)
    except FileNotFoundError:
        return False
    try:
        return _removed(run, name)
    finally:
        os.close(run)


def _sweep(run: int, container: str) -> None:
    """Remove what is of no use: of a podman that is gone, or of this container, which podman makes anew."""
    for name in sorted(filter(_is_copy, os.listdir(run)))[:_SWEPT]:
        caller, _, of = name.split(".")
        if (container and of == container) or not living.is_alive(caller):
            try:
                _removed(run, name)
            except OSError:
                pass  # what is left of it, the next one removes


def _removed(run: int, name: str) -> bool:
    try:
        descriptor = private.open_below(run, name, name)
    except FileNotFoundError:
        return False
    try:
        clear(descriptor)
        os.rmdir(name, dir_fd=run)
    except FileNotFoundError:
        return False  # by another hook meanwhile
    finally:
        os.close(descriptor)
    return True


def _is_copy(name: str) -> bool:
    parts = name.split(".")
    if len(parts) != 3 or not all(each.count("-") == 2 and _DIGITS.issuperset(each) for each in parts[:2]):
        return False
    return parts[2] == _UNKNOWN or _is_id(parts[2])


def _is_id(text: str) -> bool:
    return len(text) == _ID_LENGTH and _HEXADECIMAL.issuperset(text)


def _generation_of(pid: int, mine: str) -> str:
    """The generation of another process of our process namespace. mine: that of this one."""
    start = living.start_of(pid)
    if start is None:
        raise ProcessLookupError(3, "podman, which called this hook, is gone")
    return f"{pid}-{start}-{mine.rpartition('-')[2]}"
