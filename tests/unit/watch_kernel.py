"""A kernel for watches that is none: maps in memory, cgroups that are directories, and acts that can be the last.

Everything above it is real: the ledger, the slots and what is in the maps.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from watch_events import packed

from scmm_oci.compiled.polfile.model import EXEC, Identity, Metadata, PolicyFile, Transitions, Watch
from scmm_oci.kernel import bpf, cgroup
from scmm_oci.recorder import settings as settings_module
from scmm_oci.recorder.ledger import Ledger
from scmm_oci.recorder.settings import Settings
from scmm_oci.tables.arch import Arch, from_machine
from scmm_oci.watch import pins, session, wire

# Places in a watch's record (scmm_oci.watch.wire.WATCH): the number of its last alert, and the first of its counters.
SEQ = 8 + len(wire.PHASES) * len(wire.ABIS) + 2
NATIVE = from_machine(os.uname().machine)
NOW = 1_700_000_000.0
US = os.getpid()


_RMDIR = os.rmdir  # which tests count


class Killed(BaseException):
    """What SIGKILL would have ended: nothing that comes after it is done either."""


@dataclass
class Acts:
    """Counts what changes something outside of the process; dies instead of the one with the number `last`."""

    last: int | None = None
    count: int = 0

    def act(self) -> None:
        self.count += 1
        if self.last is not None and self.count >= self.last:
            raise Killed

    def live(self, last: int | None = None) -> None:
        self.last, self.count = last, 0


class Table:
    """A map in memory, with the methods of bpf.Map that slots use."""

    def __init__(self, acts: Acts, entries: int) -> None:
        self.acts, self.entries, self.values = acts, entries, {}

    def get(self, key: bytes) -> bytes | None:
        return self.values.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        self.acts.act()
        self.values[key] = value

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(list(self.values.items()))

    def delete_all(self, keys: list[bytes]) -> None:
        for key in keys:
            self.acts.act()
            self.values.pop(key, None)

    def max_entries(self) -> int:
        return self.entries


@dataclass
class Kernel:
    """What pins and slots find: directories of pins with their maps, and cgroups that are directories."""

    acts: Acts
    root: Path
    loaded: dict[str, dict[str, Table]] = field(default_factory=dict)
    loads: int = 0

    def load(self, directory: str, *, run_dir: str, machines: int) -> None:
        self.acts.act()
        self.loads += 1
        Path(directory).mkdir()
        names = ("targets", "watches", "live", "deeps", "alerts", "config")
        tables = {name: Table(self.acts, 16) for name in names}
        self.loaded[directory] = {**tables, "machines": Table(self.acts, machines)}

    def remove(self, directory: str) -> None:
        if directory in self.loaded:
            self.acts.act()
            _RMDIR(directory)
            del self.loaded[directory]

    def unload(self) -> None:
        """What somebody does who unmounts the BPF file system."""
        for directory in self.loaded:
            _RMDIR(directory)
        self.loaded.clear()

    def maps(self, directory: str) -> Any:
        if directory not in self.loaded:
            raise pins.PinsMissing(2, f"{directory} is gone")
        return _Opened(self.loaded[directory])

    def place(self, name: str) -> cgroup.Place:
        path = self.root / name
        path.mkdir(parents=True, exist_ok=True)
        return cgroup.Place(hierarchy=0, controller="", path=f"/{name}", id=path.stat().st_ino, directory=str(path))

    def violate(self, entry: dict[str, Any], count: int = 1, *, frozen: bool = False, **fields: Any) -> None:
        """Have a watch see so many violations, each with an alert."""
        tables = self.loaded[entry["pin_dir"]]
        key = wire.KEY.pack(entry["slot"])
        record = list(wire.WATCH.unpack(tables["watches"].values[key]))
        seq, violations = SEQ, SEQ + 2
        for _ in range(count):
            record[seq] += 1
            record[violations] += 1
            place = entry["slot"] * wire.ALERTS + record[seq] % wire.ALERTS
            tables["alerts"].values[wire.KEY.pack(place)] = packed(seq=record[seq], epoch=entry["epoch"], **fields)
        tables["watches"].values[key] = wire.WATCH.pack(*record)
        if frozen:
            live = list(wire.LIVE.unpack(tables["live"].values[key]))
            live[1] = 1
            tables["live"].values[key] = wire.LIVE.pack(*live)

    def live(self) -> list[int]:
        """The epochs that the kernel's side watches for."""
        found = []
        for tables in self.loaded.values():
            found += [wire.LIVE.unpack(value)[0] for value in tables["live"].values.values()]
        return [each for each in found if each]

    def targets(self) -> int:
        return sum(len(tables["targets"].values) for tables in self.loaded.values())


class _Opened:
    def __init__(self, tables: dict[str, Table]) -> None:
        for name, table in tables.items():
            setattr(self, name, table)

    def close(self) -> None:
        pass

    def __enter__(self) -> _Opened:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """Have pins and cgroups be those of such a kernel."""
    made = Kernel(Acts(), tmp_path / "cgroups")
    monkeypatch.setattr(pins, "load", made.load)
    monkeypatch.setattr(pins, "remove", made.remove)
    monkeypatch.setattr(pins, "Maps", made.maps)
    monkeypatch.setattr(pins, "is_loaded", lambda directory: directory in made.loaded)
    monkeypatch.setattr(bpf, "wait_for_programs", lambda: None)

    def directory(path: str, *, controller: str = "", among: object = None) -> str | None:
        return str(made.root / path[1:]) if made.root.exists() else None

    monkeypatch.setattr(cgroup, "directory", directory)
    for name in ("write", "remove"):
        monkeypatch.setattr(Ledger, name, _counted(made.acts, getattr(Ledger, name)))
    for name in ("rename", "rmdir"):
        monkeypatch.setattr(os, name, _counted(made.acts, getattr(os, name)))
    return made


def _counted(acts: Acts, real: Callable[..., Any]) -> Callable[..., Any]:
    def counted(*words: Any, **options: Any) -> Any:
        acts.act()
        return real(*words, **options)

    return counted


def settings_in(tmp_path: Path) -> Settings:
    """Settings below a directory of the test's."""
    tmp_path.chmod(0o700)
    return settings_module.check({"run_dir": str(tmp_path / "run"), "watch_pin_dir": str(tmp_path / "pins")})


def policy(*edges: tuple[int, int], arch: Arch = NATIVE) -> PolicyFile:
    """A policy with these transitions, on one ABI."""
    given = (Transitions(arch, edges or ((EXEC, 0), (0, 1))),)
    return PolicyFile((), None, Identity(), given, Metadata(name="p"), Watch("alert"))


def begin(settings: Settings, kernel: Kernel, name: str = "web", **more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "policy": policy(),
        "policy_name": "p",
        "digest": "d" * 64,
        "action": "alert",
        "pid": US,
        "container": {"id": f"{name}-id", "name": name, "engine": "podman"},
        "now": NOW,
        "attached": True,
    }
    if "place" not in more:
        place = kernel.place(name)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cgroup, "place_of_container", lambda pid: place)
            patch.setattr(session, "mount_namespace", lambda pid: 0)  # of processes that are none
            return session.begin(settings, **{**given, **more})
    return session.begin(settings, **{**given, **more})
