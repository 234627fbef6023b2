"""Whether there is nothing left that a watch watches, and the end of cgroups that were made for one.

Standard library only (hook).
"""

from __future__ import annotations

import os

from scmm_oci.kernel import cgroup
from scmm_oci.recorder.session import started

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from scmm_oci.kernel.cgroup import Mounted


def is_stale(entry: dict[str, Any], *, among: Sequence[Mounted] | None = None) -> bool:
    """Whether there is nothing left to watch: its cgroup is no more. One of ours is gone when nobody is in it.

    among: what cgroup.mounts gave, for who asks of many.
    """
    place = entry["cgroup"]
    found = cgroup.directory(place["path"], controller=place["controller"], among=among)
    try:
        if found is not None and os.stat(found).st_ino == place["id"]:
            return bool(place["made"]) and not _has_owner(entry) and not _is_populated(found)
    except (FileNotFoundError, NotADirectoryError):
        pass
    # Elsewhere the cgroups may be mounted otherwise: its first process, if that lives, is in it.
    return not _is_alive(entry)


def remove_cgroup(path: str) -> bool:
    """Remove a cgroup of ours, and those below it, if nobody is in them; whether it is gone."""
    found = cgroup.directory(path)
    if found is None:
        return True
    try:
        for parent, _, _ in os.walk(found, topdown=False):
            os.rmdir(parent)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _is_alive(entry: dict[str, Any]) -> bool:
    return bool(entry["pid"]) and started(entry["pid"]) == entry["pid_started"] != 0


def _has_owner(entry: dict[str, Any]) -> bool:
    owner = entry.get("owner")
    return owner is not None and started(owner["pid"]) == owner["started"]


def _is_populated(found: str) -> bool:
    with open(os.path.join(found, "cgroup.events"), encoding="ascii") as file:
        return "populated 1" in file.read()
