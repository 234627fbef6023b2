"""The watch's poststop hook gives up what it will not need, before it reads what a container did (hook).

It runs as root, and what it makes words of (names of programs, arguments) a container chose. See recorder.confined.
"""

from __future__ import annotations

import os

from scmm_oci.kernel import capabilities, landlock
from scmm_oci.recorder import confined
from scmm_oci.watch import session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from scmm_oci.recorder.settings import Settings

# Maps are opened and read by bpf(2), which older kernels have for CAP_SYS_ADMIN alone.
_CAPABLE = (capabilities.SYS_ADMIN, capabilities.PERFMON, capabilities.BPF)


def confine(settings: Settings, entries: list[dict[str, Any]]) -> int:
    """Keep, for good, the rights that ending these watches takes, and none on other files; no TCP, no signals.

    entries: as the ledger has them. Returns Landlock's ABI, 0 where there is none. Raises OSError.
    """
    made = {os.path.dirname(settings.log_file): False}
    return confined.apply(_rules(settings, entries), keeping=_CAPABLE, made=made)


def _rules(settings: Settings, entries: list[dict[str, Any]]) -> Iterator[tuple[str | int, int]]:
    yield os.path.dirname(settings.log_file), landlock.REPLACE
    # The ledger, and what watches saw that are over.
    yield session.directory(settings), landlock.READ | landlock.REPLACE | landlock.MAKE_DIR
    # Where cgroups are mounted, and whether a container's first process is still there.
    yield from confined.held("/proc/self/mountinfo")
    for entry in entries:
        yield from confined.pinned(str(entry.get("pin_dir", settings.watch_pin_dir)))
        yield from confined.held(f"/proc/{entry.get('pid', 0)}/stat")
