"""What of ours is pinned in the BPF file system while something is recorded.

The first recording loads and pins, the last one removes everything; both hold the lock of
scmm_oci.recorder.ledger. Nothing of ours is in the kernel while nothing is recorded.
"""

from __future__ import annotations

import errno
import os

from scmm_oci.kernel import bpf, prepared
from scmm_oci.recorder import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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


class PinsMissing(OSError):
    """A pin that a running recording needs is not there."""


def is_loaded(directory: str) -> bool:
    # The marker comes last when loading and goes first when unloading; but someone may have removed a pin.
    names = {"complete", *MAPS.values()}
    try:
        return names.issubset(os.listdir(directory))
    except FileNotFoundError:
        return False


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
    parent = os.path.dirname(directory)
    if not bpf.is_bpffs(parent):
        raise PinsMissing(errno.ENODEV, f"{parent} is not a BPF file system; mount it: mount -t bpf bpf {parent}")
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
                "link": os.path.join(directory, "link_"),
            },
        )
        os.mkdir(os.path.join(directory, "complete"), 0o700)  # bpffs holds no plain files
    except BaseException:
        remove(directory)
        raise


def _is_ours(name: str) -> bool:
    return name == "complete" or name in MAPS.values() or name.startswith("link_scmm_")


def remove(directory: str) -> None:
    """Remove every pin and the directory; links first, so that nothing runs on maps that are going away.

    Raises PinsMissing, having removed nothing, for a directory that holds anything but our pins.
    """
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return
    foreign = [name for name in names if not _is_ours(name)]
    if foreign or not bpf.is_bpffs(directory):
        what = f"holds {foreign[0]!r}, which is not ours" if foreign else "is not in a BPF file system"
        raise PinsMissing(errno.EEXIST, f"{directory} {what}: set pin_dir to a directory for scmm-oci alone")
    for name in sorted(names, key=lambda each: (each != "complete", not each.startswith("link_"), each)):
        path = os.path.join(directory, name)
        if name == "complete":
            os.rmdir(path)
        else:
            os.unlink(path)
    os.rmdir(directory)


class Maps:
    """The pinned maps, opened. Use as a context manager."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._open: list[bpf.Map] = []
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

    def _map(self, name: str, key_size: int, value_size: int) -> bpf.Map:
        path = os.path.join(self._directory, name)
        try:
            opened = bpf.Map.pinned(path, key_size=key_size, value_size=value_size)
        except bpf.BpfError as error:
            if error.errno == errno.ENOENT:
                raise PinsMissing(errno.ENOENT, f"the recorder's map {path} is gone") from None
            raise
        self._open.append(opened)
        return opened

    def close(self) -> None:
        for each in self._open:
            each.close()

    def __enter__(self) -> Maps:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
