"""Watches of a measurement's own: begun for a cgroup by a policy, looked at and ended, without hooks and ledgers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.learning import Where
from scmm_oci.compiled.polfile.model import PolicyFile
from scmm_oci.recorder.ledger import private_directory
from scmm_oci.recorder.settings import Settings
from scmm_oci.watch import machine, pins, slots, wire, words
from scmm_oci.watch.machines import Machines
from scmm_oci.watch.wire import Alert, WatchValue

#: What a watch counts besides violations where it could not judge.
BLIND = ("no_machine", "lost_threads", "lost_cgroups", "lost_handlers", "left", "failed")


def machines_of(file: PolicyFile) -> Machines:
    """What a policy asks of this machine's kernel. Raises BadInput."""
    return machine.machines_of(file, machine=os.uname().machine)


class Watch:
    """A watch that runs, or has run: what it holds now."""

    def __init__(self, maps: pins.Maps, number: int, epoch: int) -> None:
        self._maps, self.number, self.epoch = maps, number, epoch

    def value(self) -> WatchValue:
        return slots.value_of(self._maps, self.number)

    def violations(self) -> int:
        return self.value().counters["violations"]

    def alerts(self) -> list[Alert]:
        """Those that it still has, oldest first."""
        return slots.alerts_since(self._maps, self.number, epoch=self.epoch, after=0)[0]

    def blind(self) -> dict[str, int]:
        """What it could not judge, by the names of BLIND; only what there is."""
        counters = self.value().counters
        return {name: counters[name] for name in BLIND if counters[name]}


class Watcher:
    """Has the watch in the kernel, pinned where the settings say, from the beginning of the context to its end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._epoch = 0

    @contextmanager
    def loaded(self) -> Iterator[pins.Maps]:
        private_directory(self._settings.run_dir)
        pins.load(self._settings.watch_pin_dir, run_dir=self._settings.run_dir, machines=self._settings.watch_machines)
        try:
            with pins.Maps(self._settings.watch_pin_dir) as maps:
                yield maps
        finally:
            pins.remove(self._settings.watch_pin_dir)

    @contextmanager
    def watching(
        self, maps: pins.Maps, where: Where, machines: Machines, *, action: str = "count", attached: bool = False
    ) -> Iterator[Watch]:
        """Watch what is there: what enters is judged from the program on that it executes there."""
        self._epoch += 1
        number = self._epoch % wire.SLOTS
        slots.begin(
            maps,
            number,
            epoch=self._epoch,
            place=where.place,
            mntns=where.mntns,
            machines=machines,
            action=action,
            name=os.path.basename(where.place.path),
            attached=attached,
        )
        try:
            yield Watch(maps, number, self._epoch)
        finally:
            slots.end(maps, number, busy=True)


def edge_of(alert: Alert) -> str:
    """The edge that an alert is for, in words; with what was before, where that counted."""
    arch = words.arch_of(alert.abi)
    steps = (alert.before, alert.state, alert.to)
    return " > ".join(words.word_of(arch, step) for step in steps if step is not None)
