"""The poststop hook gives up what it will not need before it looks at what a container did. Standard library only.

It runs as root, and reads names that a container chose. Looking names up needs no right under Landlock (O_PATH,
readlink and stat are not asked about), nor do maps that bpf(2) opens. What is left is what is written, and modules.
"""

from __future__ import annotations

import os
import sys

from scmm_oci.kernel import capabilities, landlock
from scmm_oci.recorder import store
from scmm_oci.recorder.ledger import private_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from scmm_oci.recorder.settings import Settings

# Files of a container are its users', and maps are read by bpf(2), which older kernels have for CAP_SYS_ADMIN alone.
_CAPABLE = (
    *(capabilities.CHOWN, capabilities.DAC_OVERRIDE, capabilities.DAC_READ_SEARCH, capabilities.FOWNER),
    *(capabilities.FSETID, capabilities.SYS_RESOURCE, capabilities.SYS_ADMIN, capabilities.PERFMON, capabilities.BPF),
)
_MODULES = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def confine(settings: Settings, entries: list[dict[str, Any]]) -> int:
    """Keep, for good, the rights that ending these recordings takes, and none on other files; no TCP, no signals.

    Of capabilities those for files and maps are kept. The directories of captures and of the log are made if they are
    not there: afterwards they could not be.

    entries: the recordings as the ledger has them. Returns Landlock's ABI, 0 where there is none. Raises OSError.
    """
    made = {settings.capture_dir: True, os.path.dirname(settings.log_file): False}
    return apply(_rules(settings, entries), keeping=_CAPABLE, made=made)


def apply(rules: Iterable[tuple[str | int, int]], *, keeping: Sequence[int], made: Mapping[str, bool]) -> int:
    """Confine this process for good: modules can be read, and besides there is what `rules` allow (kernel.landlock).

    keeping: capabilities. made: directories that are made first → whether others must not be able to replace them.
    Returns Landlock's ABI, 0 where there is none. Raises OSError.
    """
    for directory, above in made.items():
        try:
            private_directory(directory, above=above)
        except OSError:
            pass  # whoever writes there tells why
    sys.dont_write_bytecode = True
    try:
        return landlock.confine((*_modules(), *rules))
    finally:
        capabilities.keep(keeping)


def _modules() -> Iterator[tuple[str | int, int]]:
    for place in sys.path:
        if place.startswith("/"):
            yield (_MODULES if place == os.path.dirname(_MODULES) else place), landlock.READ


def pinned(directory: str) -> Iterator[tuple[str | int, int]]:
    """What it takes to remove pins of ours, with their directory."""
    yield directory, landlock.READ_DIR | landlock.REMOVE_FILE | landlock.REMOVE_DIR
    yield os.path.dirname(directory), landlock.REMOVE_DIR


def _rules(settings: Settings, entries: list[dict[str, Any]]) -> Iterator[tuple[str | int, int]]:
    rights = landlock.REPLACE
    for entry in entries:
        rights |= _renamed(os.path.join(settings.capture_dir, f"{entry.get('name')}{store.SUFFIX}"))
    yield settings.capture_dir, rights
    yield os.path.dirname(settings.log_file), landlock.REPLACE
    # Recordings, and captures that the capture directory did not take.
    yield settings.run_dir, landlock.READ | landlock.REPLACE | landlock.MAKE_DIR
    for directory in {str(entry.get("pin_dir", settings.pin_dir)) for entry in entries}:
        yield from pinned(directory)
    # Which file systems are remote, and whether the process that began a recording is still there. In procfs, rules
    # hold for as long as the file is held open.
    yield from held("/proc/self/mountinfo")
    for entry in entries:
        if isinstance(entry.get("owner"), dict):
            yield from held(f"/proc/{entry['owner'].get('pid', 0)}/stat")


def _renamed(path: str) -> int:
    """What it takes to keep what an administrator has put in the place of a capture under another name."""
    try:
        kind = os.lstat(path).st_mode & 0o170000
    except OSError:
        return 0
    return landlock.MAKES.get(kind, 0) | (landlock.REMOVE_DIR if kind == 0o040000 else 0)


def held(path: str) -> Iterator[tuple[int, int]]:
    """One file to be read, which is opened now; none where it is not there."""
    try:
        yield os.open(path, os.O_PATH | os.O_CLOEXEC), landlock.READ_FILE
    except OSError:
        pass
