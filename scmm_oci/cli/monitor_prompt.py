"""scmm-monitor's terminal: one screen while somebody is asked, one quiet line while nobody is.

The terminal is another's while this process is in the background: then nobody is asked there.

Facts relied on: xterm's control sequences 1049 (the other screen), 7 (lines go on below), 25 (cursor) and 2004 (what is
pasted comes between marks).
"""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from scmm_oci.cli import monitor_screen
from scmm_oci.cli.monitor_screen import KEYS, Window
from scmm_oci.cli.monitor_text import Line, drawn
from scmm_oci.cli.monitor_tty import Tty
from scmm_oci.enforcer.monitor.questions import Answer, Shown

_GUARD_S = 0.3  # keys that come earlier were meant for something else
# After an answer, for the next question: a key that is held down begins to repeat before (X waits 0.66 s).
_GUARD_NEXT_S = 0.75
_ESCAPE_S = 0.1  # what follows an escape belongs to it
_TICK_S = 0.25
_QUIET_TICK_S = 1.0
_LINGER_S = 0.6  # the screen stays: often another question comes at once
_MOST_TOLD = 200  # lines kept while they cannot be written

_ENTER = "\x1b[?1049h\x1b[?7l\x1b[?25l\x1b[?2004h"
_LEAVE = "\x1b[?2004l\x1b[H\x1b[2J\x1b[?25h\x1b[?7h\x1b[?1049l"
_ERASE = "\r\x1b[2K"
_OWN_SIGNALS = (signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT)


def open_prompt(counts: Callable[[], tuple[int, int]], now: Callable[[], float]) -> Prompt | None:
    """The terminal that this process was started from, or None where it is not used by a person.

    Args:
        counts: how many targets there are, and how many decisions there were.
        now: the clock of the questions' deadlines, in seconds.
    """
    streams = (sys.stdin, sys.stderr)
    if any(one is None or not one.isatty() for one in streams) or os.environ.get("TERM", "dumb") in ("", "dumb"):
        return None
    try:
        # A description of our own: that it does not block is nobody else's business.
        fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    return Prompt(fd, counts, now, encoding=sys.stderr.encoding or "ascii", colours=not os.environ.get("NO_COLOR"))


class Prompt:
    """A surface (monitor.questions) on a terminal. `attach` and all that follows happens on one event loop, and
    `close` after it, too."""

    def __init__(
        self,
        fd: int,
        counts: Callable[[], tuple[int, int]],
        now: Callable[[], float],
        *,
        encoding: str = "utf-8",
        colours: bool = True,
    ) -> None:
        self._tty = Tty(fd, encoding, heard=self._heard, drained=self._drained, gone=self._gone)
        self._counts, self._now, self._colours = counts, now, colours
        self._ascii = not encoding.lower().replace("-", "").startswith("utf")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed: Callable[[], None] = lambda: None
        self._was_open = False
        self._timer: asyncio.TimerHandle | None = None
        self._ignored: list[tuple[signal.Signals, Any]] = []
        # What is to be seen.
        self._shown: Shown | None = None
        self._last: Shown | None = None  # stays for a while when nothing is up any more
        self._said = ""
        self._stays_until = 0.0
        self._told: deque[str] = deque(maxlen=_MOST_TOLD)
        # What is to be seen there already; None where that is not known.
        self._lines: list[Line] | None = None
        self._window: Window | None = None
        self._quiet = ""
        # From when on keys count, and for which question.
        self._visible = 0
        self._deaf_until = 0.0
        self._guard_s = _GUARD_S
        self._answering: Answer | None = None

    # What Asking wants.

    @property
    def is_open(self) -> bool:
        """Whether the terminal is there, and ours."""
        return self._tty.is_mine

    def attach(self, changed: Callable[[], None]) -> None:
        """Begin. In the main thread: signals that stop processes of a terminal are handled from now on."""
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._tty.begin()
        for number in _OWN_SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._loop.add_signal_handler(number, self._signalled, number)
        # Ignored, reading fails with EIO in the background, and does not stop us between looking and reading.
        self._ignored = [(one, signal.signal(one, signal.SIG_IGN)) for one in (signal.SIGTTIN, signal.SIGTTOU)]
        atexit.register(self.close)
        self._was_open = self.is_open
        self._sync()

    def show(self, shown: Shown | None) -> None:
        """Show a question, or none."""
        if shown is None:
            if self._shown is not None:
                self._said = _told_of(self._answering) or "no longer asked"
                self._last, self._stays_until = self._shown, self._now() + _LINGER_S
        else:
            self._said = ""
            if self._shown is not None and shown.number == self._shown.number and self._tty.has_keys:
                self._shown = shown  # numbers that change can wait for the next tick
                return
            self._guard_s = _GUARD_S if self._answering is None else _GUARD_NEXT_S
        self._shown = shown
        self._sync()

    def tell(self, line: str) -> None:
        """Write a line for people, as it is, above the quiet line; while somebody is asked, afterwards."""
        self._told.append(line)
        self._sync()

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._tty.is_mine:
            self._leave()
            self._tty.send(_ERASE)
            self._write_told()
            self._tty.let_go()
        self._tty.close()

    # What is written.

    def _sync(self) -> None:
        """Make the terminal show what is to be seen, as far as it takes anything now."""
        if self._loop is None or not self._tty.is_there:
            return
        mine = self.is_open
        self._tty.listen(mine)
        if not mine:
            # Whoever has the terminal has set it up anew.
            self._tty.lose_keys()
            self._lines, self._quiet, self._last = None, "", None
        elif not self._tty.is_behind:
            self._draw()
        if self._tty.is_there and self._was_open != mine:
            self._was_open = mine
            self._loop.call_soon(self._changed)
        self._set_timer()

    def _draw(self) -> None:
        shown = self._shown
        if shown is None and self._last is not None and self._now() < self._stays_until:
            shown = self._last
        if shown is None:
            self._last = None
            self._leave()
            self._write_told()
            self._draw_quiet()
            return
        if not self._tty.has_keys and not self._enter():
            return
        window = self._size()
        if window != self._window:
            self._window, self._lines = window, None
        left = shown.question.deadline - self._now()
        listens = self._visible == shown.number and self._now() >= self._deaf_until
        lines = monitor_screen.question(shown, window, left_s=left, listens=listens, said=self._said)
        self._tty.send(drawn(lines, self._lines, colours=self._colours))
        self._lines = lines
        self._note_visible()

    def _note_visible(self) -> None:
        """From when it is on the screen, and not from when it was to be there, keys are about a question."""
        if self._shown is None or self._tty.is_behind or self._lines is None or self._visible == self._shown.number:
            return
        self._visible = self._shown.number
        self._deaf_until = self._now() + self._guard_s
        self._tty.drop_typed()

    def _draw_quiet(self) -> None:
        line = monitor_screen.quiet(*self._counts(), self._size().columns)
        if line != self._quiet:
            self._tty.send(_ERASE + line)
            self._quiet = line

    def _write_told(self) -> None:
        if self._told:
            self._tty.send(_ERASE + "".join(f"{line}\r\n" for line in self._told))
            self._told.clear()
            self._quiet = ""

    def _enter(self) -> bool:
        if not self._tty.take_keys():
            return False
        self._lines = None
        self._tty.send(_ENTER)
        return True

    def _leave(self) -> None:
        if self._tty.has_keys:
            # The line from before is there again, but on a console that has one screen only.
            self._lines, self._quiet = None, ""
            self._tty.send(_LEAVE)
            self._tty.give_keys_back()

    def _drained(self) -> None:
        self._note_visible()
        self._sync()

    def _size(self) -> Window:
        columns, rows = self._tty.size
        return Window(columns, rows, self._ascii)

    # What comes from there.

    def _heard(self, data: bytes) -> None:
        if data:
            self._typed(data)
        else:
            self._sync()  # it is gone, or another's, or somebody has pressed ctrl-d

    def _typed(self, data: bytes) -> None:
        shown, now = self._shown, self._now()
        if shown is None or not self._tty.has_keys or self._visible != shown.number:
            return
        if now < self._deaf_until:
            # Whoever types on means something else.
            self._deaf_until = max(self._deaf_until, now + _GUARD_S)
            return
        if len(data) > 1 or data == b"\x1b":
            # Arrow keys, which end in a letter; what is pasted.
            self._deaf_until = now + _ESCAPE_S
            return
        answer = KEYS.get(data.decode("latin-1"), (None,))[0]
        if answer is None or (answer is not Answer.DENY and not monitor_screen.is_enough(shown, self._size())):
            return
        self._answering = answer
        try:
            shown.reply(answer)
        finally:
            self._answering = None

    def _signalled(self, number: signal.Signals) -> None:
        if number is signal.SIGTSTP and self._loop is not None:
            if self.is_open:
                self._leave()
                self._tty.send(_ERASE)
            self._quiet = ""
            # As if it were not handled: nothing in a group without a shell that could have it go on.
            self._loop.remove_signal_handler(signal.SIGTSTP)
            os.kill(os.getpid(), signal.SIGTSTP)
            self._loop.add_signal_handler(signal.SIGTSTP, self._signalled, signal.SIGTSTP)
        # Stopped by SIGSTOP, we do not know what is on the screen.
        self._lines, self._window = None, None
        self._sync()

    def _gone(self) -> None:
        """The terminal is not there any more, or was closed."""
        loop = self._loop
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if loop is not None and not loop.is_closed():
            for number in _OWN_SIGNALS:
                loop.remove_signal_handler(number)
            if self._was_open:
                self._was_open = False
                loop.call_soon(self._changed)
        for one, before in self._ignored:
            signal.signal(one, before)
        atexit.unregister(self.close)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._loop is not None and self._tty.is_there:
            delay = _TICK_S if self._tty.has_keys else _QUIET_TICK_S
            deaf_s = self._deaf_until - self._now()
            if 0 < deaf_s < delay:
                delay = deaf_s
            self._timer = self._loop.call_later(delay, self._sync)


def _told_of(answer: Answer | None) -> str:
    return next((said for one, _, said in KEYS.values() if one is answer), "")
