"""Where a container's mounts come to lie: runtimes follow links on the way to a mount point. Only reads.

The links are the image's, or another container's in a volume: an image in which /data leads to /dev has a volume for
/data mounted over /dev. Standard library only: stands on every start of an enforced container (scmm_oci.enforcer.shim).
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_MOST_LINKS = 40  # path_resolution(7)


def resolved(rootfs: str, mounts: Iterable[tuple[str, str | None]]) -> list[str]:
    """For each mount, in order, the path in the container at which it comes to lie, without links.

    Args:
        rootfs: the root file system on the host.
        mounts: destinations, and the host's directory that is seen there; None for what has no links to follow.

    Raises:
        ValueError: more links than the kernel would follow.
    """
    seen: dict[str, str | None] = {}
    found = []
    for destination, source in mounts:
        place = _followed(rootfs, seen, destination)
        # What lay below is hidden.
        seen = {each: value for each, value in seen.items() if not covers(place, each)}
        seen[place] = source
        found.append(place)
    return found


def covers(place: str, other: str) -> bool:
    """Whether a mount at `place` hides what is at `other`; both without links."""
    return other == place or place == "/" or other.startswith(f"{place}/")


def _followed(rootfs: str, seen: Mapping[str, str | None], path: str) -> str:
    left = path.split("/")[::-1]
    place, links = "/", 0
    while left:
        name = left.pop()
        if name == "..":
            place = os.path.dirname(place)  # of the root, the root: nothing leads out
        elif name not in ("", "."):
            here = os.path.join(place, name)
            target = _link(rootfs, seen, here)
            if target is None:
                place = here
                continue
            links += 1
            if links > _MOST_LINKS:
                raise ValueError(f"too many symbolic links in the container on the way to the mount point {path}")
            left += target.split("/")[::-1]
            if target.startswith("/"):
                place = "/"
    return place


def _link(rootfs: str, seen: Mapping[str, str | None], path: str) -> str | None:
    """What the link at a path in the container says; None where there is none."""
    if path in seen:
        return None  # the root of a mount
    above = max((each for each in seen if covers(each, path)), key=len, default=None)
    base = rootfs if above is None else seen[above]
    if base is None:
        return None
    try:
        return os.readlink(os.path.join(base, os.path.relpath(path, above or "/")))
    except OSError:
        return None
