"""Events of watches as ``scmm watch`` shows them: JSON lines, plain lines, or on a terminal with totals below."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TextIO

import click

from scmm_oci.cli.outcome import many
from scmm_oci.errors import printable
from scmm_oci.watch import words
from scmm_oci.watch.words import Event

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

    from scmm_oci.watch.follow import Watched

_CALM_S = 0.5
_GRAVE = {"kill": "bold red", "freeze": "bold red", "failed": "bold red"}


class Shown:
    """Tells nothing."""

    def tell(self, event: Event) -> None:
        """Show one event. Raises OSError."""

    def totals(self, watched: Sequence[Watched]) -> None:
        """Show how it stands."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class Lines(Shown):
    """A line for each event, at once; as_json: of JSON, with sorted keys and ASCII only."""

    def __init__(self, stream: TextIO, *, as_json: bool) -> None:
        self._stream = stream
        self._as_json = as_json

    def tell(self, event: Event) -> None:
        text = json.dumps(event, sort_keys=True) if self._as_json else words.line(event)
        click.echo(text, file=self._stream)
        self._stream.flush()


class Terminal(Shown):
    """Lines in colours that scroll, and below them one that is drawn anew and leaves no trace."""

    def __init__(self, stream: TextIO, *, now: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console: Console = Console(file=stream, markup=False, highlight=False, emoji=False)
        self._live: Live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        self._now = now
        self._drawn = 0.0
        self._live.start()

    def tell(self, event: Event) -> None:
        from rich.text import Text

        text = Text()
        if event["type"] == "alert":
            text.append(f"{words.who(event)} ", "bold")
            text.append(f"{event['time'][11:-1]} ", "dim")
            text.append(printable(words.process(event)))
            text.append(": ")
            text.append(printable(words.what(event)), _GRAVE.get(event["done"], "yellow"))
            text.append(words.done(event), _GRAVE.get(event["done"], ""))
            if event["recent"]:
                text.append(f"\n  {words.trail(event)}", "dim")
        else:
            text.append(words.line(event), "bold red" if event["type"] in ("gap", "frozen") else "dim")
        self._console.print(text, soft_wrap=True)

    def totals(self, watched: Sequence[Watched]) -> None:
        if self._now() - self._drawn < _CALM_S:
            return
        self._drawn = self._now()
        from rich.text import Text

        threads = sum(each.value.threads for each in watched)
        violations = sum(each.value.counters["violations"] for each in watched)
        stopped = sum(each.value.frozen for each in watched)
        text = Text(f"{many(len(watched), 'watch', 'watches')}, {many(threads, 'thread')}", "dim")
        text.append(f", {many(violations, 'violation')}", "yellow" if violations else "dim")
        if stopped:
            text.append(f", {stopped} stopped", "bold red")
        text.truncate(max(1, self._console.width - 1), overflow="ellipsis")
        self._live.update(text, refresh=True)

    def close(self) -> None:
        try:
            self._live.stop()
        except OSError:
            pass  # the terminal is gone


def for_followers(*, as_json: bool) -> Shown:
    """What shows events of watches that are not ours: on stdout, as they are the product."""
    if not as_json and sys.stdout is not None and sys.stdout.isatty():
        return Terminal(sys.stdout)
    return Lines(sys.stdout, as_json=as_json)


class OfCommand(Lines):
    """What is told beside a command's own output: alerts, and no more than that it was watched when it has ended."""

    def __init__(self, stream: TextIO, *, as_json: bool) -> None:
        super().__init__(stream, as_json=as_json)
        self.colours = not as_json and stream.isatty()

    def tell(self, event: Event) -> None:
        if not self._as_json and event["type"] == "watching":
            return
        try:
            if self.colours and event["type"] == "alert":
                text = click.style(words.line(event), fg="red" if event["done"] != "none" else "yellow")
                click.echo(text, file=self._stream, color=True)
            else:
                super().tell(event)
        except OSError:
            pass  # nobody listens any more; the command goes on, and so does its watch


def for_command(*, as_json: bool, quiet: bool) -> Shown:
    """What shows events beside a command: on stderr, as stdout is the command's."""
    return Shown() if quiet or sys.stderr is None else OfCommand(sys.stderr, as_json=as_json)
