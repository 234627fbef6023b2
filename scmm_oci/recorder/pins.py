"""What of ours is pinned in the BPF file system while something is recorded.

The first recording loads and pins, the last one removes everything; both hold the lock of
scmm_oci.recorder.ledger. Nothing of ours is in the kernel while nothing is recorded.
"""

from __future__ import annotations

import errno
import os

from scmm_oci.kernel import pinned, prepared
from scmm_oci.kernel.pinned import PinsMissing
from scmm_oci.recorder import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Maps", "PinsMissing", "is_loaded", "load", "read_or_make", "remove"]

# Map in the object → file name of its pin.
MAPS = {
    name: name.rpartition(".")[2]
    for name in (
        *("targets", "slots", "sets", "free_sets", "edges", "free_edges", "triples", "seats"),
        *("facts", "facts_medium", "facts_long", "arguments", ".data.config"),
    )
}
PREPARED = "recorder.prepared"
OBJECT = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data", f"recorder.{os.uname().machine}.bpf.o"
)


def is_loaded(directory: str) -> bool:
    return pinned.is_whole(directory, MAPS.values())


def read_or_make(run_dir: str) -> dict[str, Any]:
    """The recorder's form for this kernel, with its plans; kept in `run_dir` until the next boot."""

    def plans() -> str:
        from scmm_oci.recorder import plans

        return plans.plans(os.uname().machine).hex()

    tables = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tables")
    sources = [
        os.path.join(tables, name)
        for name in (
            "operations.py",
            "states.py",
            *(["arguments.py"] if os.path.exists(os.path.join(tables, "arguments.py")) else []),
        )
    ]
    return prepared.read_or_make(OBJECT, cache=os.path.join(run_dir, PREPARED), sources=sources, more={"plans": plans})


def load(directory: str, *, run_dir: str, call_tables: int, facts: int, seed: int) -> None:
    """Load, attach and pin the recorder below `directory`, which must lie on a mounted bpffs.

    run_dir: where its form for this kernel is kept until the next boot. call_tables, facts: how many there may be
    for all recordings together. seed: a random number of 64 bits that the programs hash with.
    Raises OSError (libbpf missing, kernel refuses, bpffs not mounted), having removed what it made.
    """
    pinned.require(directory)
    if not os.path.exists(OBJECT):
        raise PinsMissing(errno.ENOENT, f"{OBJECT} is missing: the package was built without its BPF object")
    remove(directory)
    os.mkdir(directory, 0o700)
    try:
        form = read_or_make(run_dir)
        edges = max(8, call_tables)
        config = wire.CONFIG.pack(
            *(0, 0, call_tables, edges, facts // 2, wire.THREADS, 0, 0, seed), *[0] * wire.HOT_WORDS
        )
        prepared.load_and_pin(
            form,
            entries={
                **dict.fromkeys(("sets", "free_sets"), call_tables),
                **dict.fromkeys(("edges", "free_edges"), edges),
                "facts": facts,
                "facts_medium": facts // 2,
                "facts_long": facts // 128,
                "arguments": facts // 2,
            },
            values={".data.config": config, ".data.plans": bytes.fromhex(form["plans"])},
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
    pinned.remove(directory, MAPS.values(), setting="pin_dir")


class Maps(pinned.Opened):
    """The pinned maps, opened. Use as a context manager."""

    def __init__(self, directory: str) -> None:
        super().__init__(directory, "the recorder's")
        try:
            self.targets = self._map("targets", wire.CGROUP_KEY.size, wire.TARGET.size)
            self.slots = self._map("slots", wire.KEY.size, wire.SLOT.size)
            self.sets = self._map("sets", wire.KEY.size, wire.SET_SIZE)
            self.free_sets = self._map("free_sets", 0, wire.KEY.size)
            self.edges = self._map("edges", wire.KEY.size, wire.EDGES_SIZE)
            self.free_edges = self._map("free_edges", 0, wire.KEY.size)
            self.triples = self._map("triples", wire.TRIPLE_KEY.size, wire.KEY.size)
            self.seats = self._map("seats", wire.KEY.size, wire.SEAT.size)
            self.facts = self._map("facts", wire.FACT_KEY.size, wire.FACT.size + wire.SHORT)
            self.facts_medium = self._map("facts_medium", wire.FACT_KEY.size, wire.FACT.size + wire.MEDIUM)
            self.facts_long = self._map("facts_long", wire.FACT_KEY.size, wire.FACT.size + wire.LONG)
            self.arguments = self._map("arguments", wire.ARGUMENT_KEY.size, wire.COUNT.size)
            self.config = self._map("config", wire.KEY.size, wire.CONFIG.size)
        except BaseException:
            self.close()
            raise
