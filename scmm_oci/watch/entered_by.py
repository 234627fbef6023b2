"""What is executed before a program in a container that scmm-runc has started: the launcher, mounted into it.

Whoever comes into such a container (`podman exec`) executes it first, and a watch of the program does not judge it.
"""

from __future__ import annotations

import os
from pathlib import Path

from scmm_oci.enforcer import bundle, launcher
from scmm_oci.errors import Failure

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_PLACES = ("", *bundle.TMPFS)


def launcher_of(pid: int, *, proc: str = "/proc") -> tuple[int, int] | None:
    """Device and inode of the launcher in a container, by its first process; None if it has none.

    It is one only if it is mounted where scmm-runc mounts it, and has the bytes of the one that the package carries.
    """
    try:
        lines = Path(f"{proc}/{pid}/mountinfo").read_text(errors="surrogateescape").splitlines()
        ours = launcher.find(os.uname().machine).read_bytes()
    except (OSError, Failure):
        return None
    points = {line.split(" ")[4] for line in lines}
    for place in _PLACES:
        point = f"{place}/{bundle.LAUNCHER}"
        if point not in points:
            continue
        try:
            descriptor = os.open(
                f"{proc}/{pid}/root{point}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            )
        except OSError:
            continue
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if status.st_size == len(ours) and file.read() == ours:
                return status.st_dev, status.st_ino
    return None
