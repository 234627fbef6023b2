"""Watches as they go on: their alerts since the last look, which of them are new, and which are over.

Nothing is taken out: any number of followers see the same, and the kernel's side waits for none of them. A follower
that sees a watch stopped by a violation freezes its cgroup. Called by `scmm watch`, some times a second.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scmm_oci.kernel import cgroup
from scmm_oci.recorder.session import timestamp
from scmm_oci.recorder.settings import Settings
from scmm_oci.watch import freezing, pins, session, slots, summaries, words
from scmm_oci.watch.wire import WatchValue
from scmm_oci.watch.words import Event

# So often it is looked whether cgroups are gone that nobody ends the watch of, and for what a clock too coarse hides.
_THOROUGH_S = 1.0


@dataclass(slots=True)
class Watched:
    """A watch that is followed: `seen`, the number of its last alert that was told; `value`, as it was last."""

    entry: dict[str, Any]
    maps: pins.Maps
    value: WatchValue
    seen: int = 0
    frozen: bool = False


class Follower:
    """Follows watches: those that `wanted` says yes to, given their entry in the ledger. Close it at the end."""

    def __init__(
        self,
        settings: Settings,
        *,
        wanted: Callable[[dict[str, Any]], bool],
        clock: Callable[[], int],
        monotonic: Callable[[], int],
    ) -> None:
        """clock: the time since 1970, monotonic: CLOCK_MONOTONIC; both in nanoseconds."""
        self._settings = settings
        self._wanted = wanted
        self._clock = clock
        self._monotonic = monotonic
        self._watched: dict[int, Watched] = {}
        self._maps: dict[tuple[int, int], pins.Maps] = {}
        self._stamp: object = None
        self._stale: set[int] = set()
        self._looked_at = -(10**12)
        self._over = {each["epoch"] for each in session.ended(settings)}

    @property
    def watched(self) -> list[Watched]:
        """What is followed now, by slot."""
        return sorted(self._watched.values(), key=lambda each: int(each.entry["slot"]))

    def close(self) -> None:
        """Follow none any more."""
        for each in self._maps.values():
            each.close()
        self._maps.clear()
        self._watched.clear()

    def poll(self) -> list[Event]:
        """What there is to tell since the last time. Raises OSError."""
        told: list[Event] = []
        thorough = self._monotonic() - self._looked_at >= _THOROUGH_S * 1e9
        stamp = self._changed()
        if stamp != self._stamp or thorough:
            told += self._look(thorough=thorough)
            self._stamp = stamp
        for each in self.watched:
            told += self._news(each)
        return told

    def _changed(self) -> object:
        """Something that is another when watches have begun or ended."""
        where = Path(session.directory(self._settings))
        try:
            return [each.stat().st_mtime_ns for each in (where, where / summaries.ENDED) if each.exists()]
        except FileNotFoundError:
            return None

    def _look(self, *, thorough: bool) -> list[Event]:
        """Whom there is to follow now."""
        told: list[Event] = []
        there = [each for each in session.entries(self._settings) if each.get("live")]
        if thorough:
            self._looked_at = self._monotonic()
            mounted = cgroup.mounts()
            stale = {each["epoch"] for each in there if session.is_stale(each, among=mounted)}
            # Not at once: a container's poststop hook, which comes a moment later, says more.
            if stale & self._stale:
                session.prune(self._settings, now=self._clock() / 1e9)
            self._stale = stale
            if stale:
                there = [each for each in session.entries(self._settings) if each.get("live")]
        for entry in there:
            if entry["epoch"] not in self._watched and self._wanted(entry):
                told += self._begin(entry)
        live = {each["epoch"] for each in there}
        done = [each for each in session.ended(self._settings) if each["epoch"] not in self._over]
        summaries = {each["epoch"]: each for each in done}
        for each in [each for epoch, each in self._watched.items() if epoch not in live]:
            told += self._finish(each, summaries.pop(each.entry["epoch"], None))
        for summary in summaries.values():
            # One that had begun and ended since the last look.
            if summary["epoch"] not in live and self._wanted(summary):
                self._over.add(summary["epoch"])
                told += [words.begun(summary), *summary["events"], words.over(summary)]
        self._close_maps()
        return told

    def _begin(self, entry: dict[str, Any]) -> list[Event]:
        try:
            maps = self._opened(entry["pin_dir"])
            value = slots.value_of(maps, entry["slot"])
        except pins.PinsMissing:
            return []  # ended at this moment, or somebody removed the pins: then whoever prunes tells
        if value.epoch != entry["epoch"]:
            return []
        self._watched[entry["epoch"]] = Watched(entry, maps, value)
        return [words.begun(entry)]

    def _opened(self, directory: str) -> pins.Maps:
        """The maps of a directory as it is now: a later load has others."""
        try:
            status = Path(directory).stat()
        except FileNotFoundError:
            raise pins.PinsMissing(2, f"{directory} is gone") from None
        key = (status.st_dev, status.st_ino)
        if key not in self._maps:
            self._maps[key] = pins.Maps(directory)
        return self._maps[key]

    def _close_maps(self) -> None:
        used: Collection[int] = {id(each.maps) for each in self._watched.values()}
        for key in [key for key, maps in self._maps.items() if id(maps) not in used]:
            self._maps.pop(key).close()

    def _news(self, one: Watched) -> list[Event]:
        """A watch's alerts since the last look; where it is to freeze, it is frozen."""
        value = slots.value_of(one.maps, one.entry["slot"])
        if one.entry["epoch"] not in (value.epoch, value.ended):
            return []  # its slot is another's; what it had is in its summary
        one.value = value
        told: list[Event] = []
        if value.seq > one.seen:
            told = self._alerts(one)
        if not value.frozen:
            one.frozen = False
        elif not one.frozen:
            one.frozen = True
            told.append(words.froze(one.entry, self._freeze(one.entry)))
        return told

    def _freeze(self, entry: dict[str, Any]) -> str | None:
        try:
            return freezing.freeze(self._settings, entry)
        except OSError as error:
            return error.strerror or str(error)

    def _alerts(self, one: Watched) -> list[Event]:
        found, missed = slots.alerts_since(one.maps, one.entry["slot"], epoch=one.entry["epoch"], after=one.seen)
        offset = self._clock() - self._monotonic()
        told = [words.gap(one.entry, missed)] if missed else []
        told += [words.event(each, one.entry, offset=offset) for each in found]
        one.seen = max([one.seen, *(each.seq for each in found)])
        return told

    def _finish(self, one: Watched, summary: dict[str, Any] | None) -> list[Event]:
        del self._watched[one.entry["epoch"]]
        self._over.add(one.entry["epoch"])
        told = self._news(one)
        if summary is None:
            now = timestamp(self._clock() / 1e9)
            summary = {**one.entry, "ended_at": now, "why": session.UNKNOWN, "counters": dict(one.value.counters)}
        elif summary["counters"] is None:
            summary = {**summary, "counters": dict(one.value.counters)}
        else:
            # Of a slot that has another watch already.
            told += [each for each in summary["events"] if each["type"] == "alert" and each["seq"] > one.seen]
        return [*told, words.over(summary)]
