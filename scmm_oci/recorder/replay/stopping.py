"""Signals that ask to end, kept until whoever works is at a point where it can end and leave nothing.

An exception out of a handler can come between any two steps: after a mount, and before it is known that there is one;
in a wait of the `subprocess` module; while everything is taken away. Here a handler raises nothing. Waits are woken,
and whoever works asks in between (`check`). They are not blocked, as kernel.signals does it for a recording: all that
is started would have them blocked too, the containers' programs among it.

Facts relied on: signal(7), and `signal.set_wakeup_fd`, which writes from the handler in C, before anything can wait.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """A context manager: while it lasts, signals that ask to end are kept; at its end the first of them takes effect.

    A signal that is ignored stays so: that is how shells start what is in the background, and nohup. In a thread that
    is not the main one nothing is changed, as signals do not come to it.

    Attributes:
        handle: becomes readable when a signal comes; -1 if none can.
    """

    def __init__(self) -> None:
        self.handle = -1
        self._other = -1
        self._asked = False
        self._wakeup: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether a signal has come."""
        return self._asked

    def check(self) -> None:
        """Raise KeyboardInterrupt if a signal has come."""
        with suppress(BlockingIOError):
            while self.handle >= 0 and os.read(self.handle, 4096):
                pass
        if self._asked:
            raise KeyboardInterrupt

    def __enter__(self) -> Self:
        try:
            self._begin()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        if self._asked and kind is None:
            raise KeyboardInterrupt

    def _begin(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        self.handle, self._other = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._wakeup = signal.set_wakeup_fd(self._other, warn_on_full_buffer=False)
        for number in _SIGNALS:
            before = signal.getsignal(number)
            # None: somebody's that is not Python's.
            if before not in (signal.SIG_IGN, None):
                self._before[number] = before
                signal.signal(number, self._keep)

    def _end(self) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        if self._wakeup is not None:
            signal.set_wakeup_fd(self._wakeup)
        for handle in (self.handle, self._other):
            if handle >= 0:
                os.close(handle)
        self._before, self._wakeup, self.handle, self._other = {}, None, -1, -1

    def _keep(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
