"""Times at the beginning of lines (-t, -tt, -ttt, -r) → milliseconds from the beginning; and the date."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_DAY = 86400_000_000

# 9999-12-31, what datetime can hold.
_MOST = 253402300799_000_000


def microseconds(word: str) -> int:
    """The time a line shows, in µs: since midnight, since 1970, or (-r) since the line before."""
    whole, _, fraction = word.partition(".")
    if ":" in whole:
        hours, minutes, seconds = whole.split(":")
        total = (int(hours) * 60 + int(minutes)) * 60 + int(seconds)
    else:
        total = int(whole)
    return total * 1_000_000 + int(fraction[:6].ljust(6, "0"))


def is_relative(word: str) -> bool:
    """Whether it is what -r prints: neither a time of day nor one that could be a date."""
    return ":" not in word and len(word.partition(".")[0]) < 9


class Clock:
    """The times of a trace, line by line. ``seen``: whether there are any."""

    def __init__(self) -> None:
        self.seen = False
        self._first = 0
        self._last = 0
        self._latest = 0
        self._dated = False
        self._days = 0

    def at(self, word: str) -> int:
        """Milliseconds from the beginning at a line with this time; never negative."""
        value = microseconds(word)
        if is_relative(word):
            value = self._last + value if self.seen else 0
        elif ":" in word:
            # Midnight has passed when the clock jumps back by half a day.
            if self.seen and value + self._days + _DAY // 2 < self._last:
                self._days += _DAY
            value += self._days
        else:
            self._dated = True
            value = min(value, _MOST)
        if not self.seen:
            self.seen = True
            self._first = value
        self._last = value
        self._latest = max(self._latest, value)
        return max(0, value - self._first) // 1000

    def span(self, ended: float) -> tuple[str, str]:
        """When the trace began and ended, as RFC 3339 in UTC.

        Args:
            ended: when it ended, in seconds since 1970, for a trace without dates.
        """
        length = max(0, self._latest - self._first)
        end = self._latest if self._dated else min(max(0, round(ended * 1_000_000)), _MOST)
        return _stamp(max(0, end - length)), _stamp(end)


def _stamp(value: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=value)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S").zfill(19)
    return f"{text}.{moment.microsecond:06}Z" if moment.microsecond else f"{text}Z"
