"""Recordings of what enters a cgroup, one capture for each batch of runs; and the policy that is made of them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rig.cgroup import cgroup_path
from rig.process import RigError
from scmm_oci.capture import file as capture_file
from scmm_oci.capture.facts import Stage
from scmm_oci.capture.model import Capture
from scmm_oci.kernel.cgroup import Place, place_of_container
from scmm_oci.policy.decisions import Decisions
from scmm_oci.policy.infer import infer
from scmm_oci.policy.model import Policy
from scmm_oci.recorder import pins, session, settings, slots, wire
from scmm_oci.recorder.ledger import Ledger
from scmm_oci.recorder.settings import Settings

# Losses that say nothing of the order of calls.
_OTHER = frozenset({"lost-files", "lost-sockets", "lost-arguments", "lost-programs", "facts-full", "deadline"})


def settings_in(base: Path) -> Settings:
    """Settings whose every directory is below `base`, and whose pins are nobody else's."""
    own = f"/sys/fs/bpf/scmm-{os.getpid()}-{base.name}"
    return settings.check(
        {
            "capture_dir": str(base / "captures"),
            "run_dir": str(base / "run"),
            "log_file": str(base / "log"),
            "pin_dir": f"{own}-recorder",
            "watch_pin_dir": f"{own}-watch",
        }
    )


@dataclass(frozen=True)
class Where:
    """What is recorded or watched: a cgroup, and the mount namespace that programs in it have (0: this process's)."""

    place: Place
    mntns: int = 0


def in_cgroup(directory: Path) -> Where:
    """What enters a cgroup of the rig's."""
    path = cgroup_path(directory)
    return Where(Place(hierarchy=0, controller="", path=path, id=directory.stat().st_ino, directory=str(directory)))


def in_container(pid: int) -> Where:
    """The container whose first process this is."""
    return Where(place_of_container(pid), os.stat(f"/proc/{pid}/ns/mnt").st_ino)


class Learning:
    """Records into captures. The recorder stays in the kernel meanwhile: loading it takes longer than a batch."""

    def __init__(self, used: Settings) -> None:
        self._settings = used
        self._number = 0

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the recorder in the kernel."""
        keeper = self._begin(None)
        try:
            yield
        finally:
            with Ledger(self._settings.run_dir) as ledger:
                session.discard(ledger, self._settings, keeper)

    @contextmanager
    def recording(self, where: Where, into: list[Capture], *, deep: bool = False) -> Iterator[None]:
        """Record what enters there, three calls deep if so asked; the capture is added to `into`.

        Raises:
            RigError: something of the order of calls was lost.
        """
        entry = self._begin(where, deep=deep)
        done = False
        try:
            yield
            done = True
        finally:
            with Ledger(self._settings.run_dir) as ledger:
                if not done:
                    session.discard(ledger, self._settings, entry)
        with Ledger(self._settings.run_dir) as ledger:
            _, document = session.finish(
                ledger, self._settings, entry, now=time.time(), shape=_order_only, save=lambda _: ""
            )
        into.append(_parsed(document))

    def _begin(self, where: Where | None, *, deep: bool = False) -> dict[str, Any]:
        self._number += 1
        name, flags = f"batch-{self._number}", wire.DEEP if deep else 0
        nobody: dict[str, Any] = {
            "id": name,
            "args": [],
            **dict.fromkeys(("uid", "gid", "no_new_privileges", "seccomp")),
        }
        entry: dict[str, Any] = {"pid": os.getpid(), "name": name, "bundle": "", "container": nobody}

        def attach(maps: pins.Maps, number: int, epoch: int) -> None:
            slots.make_live(
                maps, number, epoch=epoch, mntns=where.mntns if where else 0, started=time.monotonic_ns(), flags=flags
            )
            if where is not None:
                slots.watch_cgroup(maps, number, epoch=epoch, place=where.place)

        with Ledger(self._settings.run_dir) as ledger:
            session.open_slot(ledger, self._settings, entry, attach, now=time.time())
        return entry


def _order_only(document: dict[str, Any]) -> dict[str, Any]:
    """The document without files and sockets, which are many and are not looked at."""
    return {**document, "files": [], "sockets": [], "arguments": []}


def _parsed(document: dict[str, Any]) -> Capture:
    lost = [each["kind"] for each in document["losses"] if each["kind"] not in _OTHER]
    if lost:
        raise RigError(f"a batch was not recorded whole: {lost}")
    return capture_file.parse(json.dumps(document).encode())


def edges_of(capture: Capture, *, phases: bool = False) -> frozenset[Hashable]:
    """What a recording shows of order: (ABI, state, state); with `phases` those from listen on are others."""
    return frozenset(
        (edges.arch.value, before, after, phases and edges.stage is not Stage.STARTING)
        for edges in capture.order
        for before, after in edges.pairs
    )


def policy_of(captures: Sequence[Capture], **changes: Any) -> Policy:
    """The policy with the captures' transitions, of single classes of calls; `changes` are of its decisions."""
    decisions = Decisions(files=False, network=False, capabilities=False, transitions=True, refine=True)
    return infer(captures, decisions.changed(**changes)).policy
