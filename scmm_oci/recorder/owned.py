"""A recording that `scmm record` has begun and will end: to look at while it runs, to finish, or to discard."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scmm_oci.errors import Failure
from scmm_oci.recorder import addresses, drain, facts, pins, session, wire
from scmm_oci.recorder.ledger import Ledger
from scmm_oci.recorder.settings import Settings
from scmm_oci.tables import syscalls

Shape = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Glance:
    """A look at a running recording: (kind, name) of what there is, in the order in which it was first there, number
    of calls made, losses until now.
    """

    items: list[tuple[str, str]]
    calls: int
    losses: dict[str, int]


class Recording:
    """A running recording of ours. `root` is kept open: the files' names are looked up through it at the end."""

    def __init__(self, settings: Settings, entry: dict[str, Any], root: int | None) -> None:
        self._settings = settings
        self.entry = entry
        self._root = root

    def look(self) -> dict[str, Any]:
        """The document as it stands, as a snapshot; the recording goes on. Raises OSError."""
        with pins.Maps(self._settings.pin_dir) as maps:
            return session.capture(
                maps,
                self.entry,
                self._settings,
                ended_at=session.timestamp(time.time()),
                losses={"snapshot": None},
            )

    def glance(self) -> Glance:
        """What there is to see of it now, in the kernel's words. Raises OSError."""
        with pins.Maps(self._settings.pin_dir) as maps:
            slot = drain.read_slot(maps, self.entry["slot"])
        arches = wire.ARCHES[os.uname().machine]
        app = [(abi, calls) for _, phase, abi, calls in slot.sets if wire.PHASES[phase] == "app"]
        items = [
            (call[-1], "call", syscalls.name_of(arches[abi] or "", nr) or str(nr))
            for abi, calls in app
            for nr, call in calls.items()
        ]
        items += [(fact.first, *_item(fact)) for fact in slot.facts]
        return Glance(
            items=[item[1:] for item in sorted(items)],
            calls=sum(call[0] for _, calls in app for call in calls.values()),
            losses={kind: count for kind, count in slot.counters.items() if count and kind not in drain.NOTES},
        )

    def finish(self, *, shape: Shape, save: Callable[[dict[str, Any]], str]) -> tuple[str, dict[str, Any]]:
        """End it; see scmm_oci.recorder.session.finish.

        Raises:
            Failure: someone else has ended it.
        """
        with Ledger(self._settings.run_dir) as ledger:
            self._check_ours(ledger)
            result = session.finish(ledger, self._settings, self.entry, now=time.time(), shape=shape, save=save)
        self._close()
        return result

    def discard(self) -> None:
        """End it and keep nothing. Raises OSError."""
        with Ledger(self._settings.run_dir) as ledger:
            self._check_ours(ledger)
            session.discard(ledger, self._settings, self.entry)
        self._close()

    def _check_ours(self, ledger: Ledger) -> None:
        mine = (self.entry["slot"], self.entry["epoch"])
        # Notes that a crash cut short have no epoch; the slot is ours all the same, as nobody else frees it.
        if not any((each["slot"], each.get("epoch", mine[1])) == mine for each in ledger.entries()):
            self._close()
            raise Failure(
                "someone else has ended this recording",
                f"scmm record --recover --all does; then its capture is in {self._settings.capture_dir}",
            )

    def _close(self) -> None:
        if self._root is not None:
            os.close(self._root)
            self._root = None


def _item(fact: facts.Fact) -> tuple[str, str]:
    if fact.kind == wire.SOCKET:
        return "address", " ".join(str(each) for each in addresses.parse(fact.name) if each)
    if fact.kind == wire.PROGRAM:
        return "program", facts.own(fact.base)
    name = os.fsdecode(fact.name)
    return "file", facts.own(name if name.startswith("/") else f"{fact.base}/{name}".rstrip("/"))
