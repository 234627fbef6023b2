"""Which events of the audit system were read, each once, and how many between them were not. Pure.

The kernel numbers its audit events. A number that is nowhere is an event that was lost on the way: the kernel prints at
most `printk_ratelimit_burst` messages in `printk_ratelimit` seconds, 10 in 5 as a rule, and its log is a ring.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

from scmm_oci.enforcer.logs.records import Record

_Key = TypeVar("_Key")

_MOST_REMEMBERED = 1 << 16
# Events may overtake one another a little; one far behind, or with a smaller number much later, is of another boot.
_FAR = 1 << 16
_LATER_MS = 60_000


class Events:
    """The events that have been read.

    Attributes:
        read: how many records.
    """

    def __init__(self) -> None:
        self.read = 0
        self._recent: OrderedDict[tuple[int, int, int, int], None] = OrderedDict()
        self._serials: OrderedDict[int, None] = OrderedDict()
        self._low: int | None = None
        self._high = 0
        self._high_at = 0
        self._here = 0
        self._before = 0

    def take(self, record: Record) -> bool:
        """Whether the record is a new one: several sources may have it."""
        # One event can have several records of a type: a rename is denied by both directories.
        key = (record.type, record.at, record.serial, hash(frozenset(record.fields.items())))
        if key in self._recent:
            return False
        _remember(self._recent, key)
        self.read += 1
        self._count(record.serial, record.at)
        return True

    @property
    def missing(self) -> int:
        """How many events between the first and the last were not read, whoever's they were."""
        return self._before + (0 if self._low is None else self._high - self._low + 1 - self._here)

    def _count(self, serial: int, at: int) -> None:
        anew = serial < self._high - _FAR or (serial < self._high and at > self._high_at + _LATER_MS)
        if self._low is None or anew:
            self._before = self.missing
            self._serials.clear()
            self._low = self._high = serial
            self._high_at = at
            self._here = 0
        if serial in self._serials:
            return
        _remember(self._serials, serial)
        self._here += 1
        self._low = min(self._low, serial)
        if serial > self._high:
            self._high, self._high_at = serial, at


def _remember(known: OrderedDict[_Key, None], key: _Key) -> None:
    known[key] = None
    if len(known) > _MOST_REMEMBERED:
        known.popitem(last=False)
