"""The calm live view of ``scmm record``: on a terminal, what is new and how much there is; elsewhere nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from scmm_oci.cli.output import plain

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from scmm_oci.recorder.target import Recording

_NEWEST = 8  # lines of what is new
_CALM_S = 0.5
_BUSY = 0.1  # of the time is spent looking, at the most


class NoView:
    """Nothing to see; wakes nobody up."""

    interval_s: float | None = None

    def refresh(self) -> None:
        """Nothing."""


class LiveView:
    """Totals and the newest names; refreshes itself more seldom when looking takes long."""

    def __init__(self, live: Live, running: Recording) -> None:
        self._live = live
        self._running = running
        self._began = time.monotonic()
        self._seen: set[tuple[str, str]] = set()
        self._newest: list[tuple[str, str]] = []
        self.interval_s: float | None = _CALM_S

    def refresh(self) -> None:
        """Read the recording and draw anew."""
        before = time.monotonic()
        found = self._running.glance()
        for item in found.items:
            if item not in self._seen:
                self._seen.add(item)
                self._newest = [*self._newest, item][-_NEWEST:]
        totals = [
            ("calls", found.calls),
            ("system calls", sum(kind == "call" for kind, _ in self._seen)),
            ("files", sum(kind == "file" for kind, _ in self._seen)),
            ("addresses", sum(kind == "address" for kind, _ in self._seen)),
            ("programs", sum(kind == "program" for kind, _ in self._seen)),
        ]
        self._live.update(self._table(totals, found.losses), refresh=True)
        self.interval_s = max(_CALM_S, (time.monotonic() - before) / _BUSY)

    def _table(self, totals: list[tuple[str, int]], losses: dict[str, int]) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
        elapsed = int(time.monotonic() - self._began)
        head = Text(f"recording {elapsed // 60}:{elapsed % 60:02}  ", style="bold")
        head.append(", ".join(f"{count} {what}" for what, count in totals), style="not bold")
        table.add_row(head)
        if losses:
            lost = ", ".join(f"{kind} ×{count}" for kind, count in losses.items())
            table.add_row(Text(f"lost: {plain(lost)}", style="red"))
        for kind, text in self._newest:
            table.add_row(Text(f"  + {kind:<8} {plain(text)}", no_wrap=True, overflow="ellipsis", style="dim"))
        return table


@contextmanager
def live_view(running: Recording, *, quiet: bool) -> Iterator[LiveView | NoView]:
    """A live view on stderr, if that is a terminal and the user wants one. It leaves no trace when it ends."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield NoView()
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True, markup=False, highlight=False, emoji=False)
    with Live(
        console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
    ) as live:
        view = LiveView(live, running)
        view.refresh()
        yield view
