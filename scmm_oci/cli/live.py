"""What ``scmm record`` shows while it records: what is new, how much there is, and what was lost.

Two forms, both on stderr: a small picture that is drawn anew, for a terminal that nobody else writes to, and lines
that are only ever added, which leave a command's own output and cursor alone.
"""

from __future__ import annotations

import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING

from scmm_oci.cli.outcome import many
from scmm_oci.cli.output import plain, say

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from scmm_oci.recorder.owned import Glance, Recording

_NEWEST = 8  # lines of what is new
_LONGEST = 400  # characters of a line
_CALM_S = 0.5
_BUSY = 0.1  # of the time is spent looking, at the most
_KIND_WIDTH = 8
_ECHO = 4  # columns kept free for keys that the terminal shows
_KINDS = {"call": ("system call",), "file": ("file",), "address": ("address", "addresses"), "program": ("program",)}


class Form(StrEnum):
    """How it is shown."""

    NONE = "none"
    PICTURE = "picture"
    LINES = "lines"


def form_of(*, wanted: bool | None, command: bool) -> Form:
    """The form that suits. wanted: the user's word, None: as it comes. command: one runs that has our terminal."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    if wanted is False or (wanted is None and (command or not terminal)):
        return Form.NONE
    return Form.PICTURE if terminal and not command else Form.LINES


class NoView:
    """Nothing to see; wakes nobody up."""

    interval_s: float | None = None

    def refresh(self) -> None:
        """Show what there is now. Raises OSError if it cannot be read or written."""

    def hide(self) -> None:
        """Give the terminal back until the next refresh."""


class _View(NoView, ABC):
    """Knows what is new since it looked last; looks more seldom when looking takes long."""

    def __init__(self, running: Recording) -> None:
        self._running = running
        self._began = time.monotonic()
        self._seen: set[tuple[str, str]] = set()
        self._counts = dict.fromkeys(_KINDS, 0)
        self.interval_s = _CALM_S

    def refresh(self) -> None:
        before = time.monotonic()
        found = self._running.glance()
        fresh = [item for item in dict.fromkeys(found.items) if item not in self._seen]
        self._seen.update(fresh)
        for kind, _ in fresh:
            self._counts[kind] += 1
        self._tell(found, fresh)
        self.interval_s = max(_CALM_S, (time.monotonic() - before) / _BUSY)

    @abstractmethod
    def _tell(self, found: Glance, fresh: list[tuple[str, str]]) -> None:
        """Show what there is, and of it what is new."""

    def _clock(self) -> str:
        elapsed = int(time.monotonic() - self._began)
        return f"{elapsed // 60}:{elapsed % 60:02}"

    def _totals(self) -> str:
        return ", ".join(many(count, *_KINDS[kind]) for kind, count in self._counts.items())


def _item(kind: str, text: str, *, width: int = _LONGEST) -> str:
    """One line; of what is too long, the end is shown: that tells files apart."""
    room = max(8, width - len("+ ") - _KIND_WIDTH - 1)
    text = plain(text[-_LONGEST:])
    return f"+ {kind:<{_KIND_WIDTH}} {text if len(text) <= room else '…' + text[1 - room :]}"


def _lost(losses: dict[str, int]) -> str:
    return plain("lost: " + ", ".join(f"{kind} ×{count}" for kind, count in losses.items()))


class _Picture(_View):
    """Totals, losses and the newest names, redrawn in place; nothing is left of it at the end."""

    def __init__(self, running: Recording, live: Live) -> None:
        super().__init__(running)
        self._live = live
        self._newest: list[tuple[str, str]] = []

    def refresh(self) -> None:
        # In the background, the terminal is another's.
        if os.tcgetpgrp(sys.stderr.fileno()) == os.getpgrp():
            if not self._live.is_started:
                self._live.start()
            super().refresh()

    def _tell(self, found: Glance, fresh: list[tuple[str, str]]) -> None:
        self._newest = [*self._newest, *fresh][-_NEWEST:]
        self._live.update(self._table(found), refresh=True)

    def _table(self, found: Glance) -> Table:
        from rich.table import Table
        from rich.text import Text

        # A terminal shows keys (^C) where the cursor is; at the end of a full line that would begin another one.
        width = max(1, self._live.console.width - _ECHO)
        table = Table(box=None, show_header=False, show_edge=False, padding=0)
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=width)
        table.add_row(Text.assemble((f"recording {self._clock()}", "bold"), f"  {many(found.calls, 'call')}"))
        table.add_row(self._totals())
        if found.losses:
            table.add_row(Text(_lost(found.losses), style="red"))
        for kind, text in self._newest:
            table.add_row(Text(f"  {_item(kind, text, width=width - 2)}", style="dim"))
        return table

    def hide(self) -> None:
        self._live.stop()


class _Lines(_View):
    """What is new, one line for each thing, the first few of many."""

    def __init__(self, running: Recording) -> None:
        super().__init__(running)
        self._losses: dict[str, int] = {}

    def _tell(self, found: Glance, fresh: list[tuple[str, str]]) -> None:
        clock = self._clock()
        for kind, text in fresh[:_NEWEST]:
            say(f"{clock} {_item(kind, text)}")
        if len(fresh) > _NEWEST:
            say(f"{clock} + {len(fresh) - _NEWEST} more: {self._totals()}")
        if found.losses != self._losses:
            say(f"{clock} {_lost(found.losses)}")
            self._losses = found.losses


@contextmanager
def live_view(running: Recording, form: Form) -> Iterator[NoView]:
    """The view, for as long as the recording runs. A picture leaves no trace when it ends. Raises OSError."""
    if form is Form.NONE:
        yield NoView()
        return
    if form is Form.LINES:
        yield _Lines(running)
        return
    from rich.console import Console
    from rich.live import Live

    terminal = Console(stderr=True, markup=False, highlight=False, emoji=False)
    live = Live(
        console=terminal,
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        vertical_overflow="crop",
    )
    view = _Picture(running, live)
    try:
        view.refresh()
        yield view
    finally:
        try:
            live.stop()
        except OSError:
            pass  # the terminal is gone
