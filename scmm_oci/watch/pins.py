"""What of the watch is pinned in the BPF file system while something is watched.

The first watch loads and pins, the last one removes everything; both hold the lock of the watches' ledger. Nobody
has to run for pinned programs to go on deciding. Standard library only (hook).
"""

from __future__ import annotations

import errno
import os

from scmm_oci.kernel import pinned, prepared
from scmm_oci.kernel.pinned import PinsMissing
from scmm_oci.watch import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Maps", "PinsMissing", "is_loaded", "load", "remove"]

# Map in the object → file name of its pin.
MAPS = {
    name: name.rpartition(".")[2]
    for name in ("targets", "watches", "live", "machines", "deeps", "alerts", "members", "places", ".data.config")
}
PREPARED = "watch.prepared"
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OBJECT = os.path.join(_PACKAGE, "data", f"watch.{os.uname().machine}.bpf.o")


def is_loaded(directory: str) -> bool:
    return pinned.is_whole(directory, MAPS.values())


def read_or_make(run_dir: str) -> dict[str, Any]:
    """The watch's form for this kernel, with its plans; kept in `run_dir` until the next boot."""

    def plans() -> str:
        from scmm_oci.watch import plans

        return plans.plans(os.uname().machine).hex()

    sources = [os.path.join(_PACKAGE, "tables", "states.py")]
    return prepared.read_or_make(OBJECT, cache=os.path.join(run_dir, PREPARED), sources=sources, more={"plans": plans})


def load(directory: str, *, run_dir: str, machines: int = wire.MACHINES) -> None:
    """Load, attach and pin the watch below `directory`, which must lie on a mounted bpffs.

    run_dir: where its form for this kernel is kept until the next boot. machines: how many different ones there may be
    for all watches together. Raises OSError (libbpf missing, kernel refuses, bpffs not mounted), having removed what it
    made.
    """
    pinned.require(directory)
    if not os.path.exists(OBJECT):
        raise PinsMissing(errno.ENOENT, f"{OBJECT} is missing: the package was built without its BPF object")
    remove(directory)
    os.mkdir(directory, 0o700)
    try:
        form = read_or_make(run_dir)
        prepared.load_and_pin(
            form,
            entries={"machines": machines},
            values={".data.plans": bytes.fromhex(form["plans"])},
            pins={
                **{name: os.path.join(directory, file_name) for name, file_name in MAPS.items()},
                "link": os.path.join(directory, pinned.LINK),
            },
        )
        pinned.mark(directory)
    except BaseException:
        remove(directory)
        raise


def remove(directory: str) -> None:
    """Remove every pin and the directory. Raises PinsMissing for one that holds anything but our pins."""
    pinned.remove(directory, MAPS.values(), setting="watch_pin_dir")


class Maps(pinned.Opened):
    """The pinned maps, opened. Use as a context manager."""

    def __init__(self, directory: str) -> None:
        super().__init__(directory, "the watch's")
        try:
            self.targets = self._map("targets", wire.CGROUP_KEY.size, wire.TARGET.size)
            self.watches = self._map("watches", wire.KEY.size, wire.WATCH.size)
            self.live = self._map("live", wire.KEY.size, wire.LIVE.size)
            self.machines = self._map("machines", wire.KEY.size, wire.MACHINE_SIZE)
            self.deeps = self._map("deeps", wire.KEY.size, wire.DEEP_SIZE)
            self.alerts = self._map("alerts", wire.KEY.size, wire.ALERT.size)
            self.config = self._map("config", wire.KEY.size, wire.CONFIG.size)
        except BaseException:
            self.close()
            raise
