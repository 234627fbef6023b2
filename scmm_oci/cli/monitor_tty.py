"""A terminal that is ours now and then: nothing here waits for it, and nothing fails when it goes away.

Facts relied on: termios(3); job control as in credentials(7) and tcsetpgrp(3); what has hung up reads as ended, and
answers every ioctl(2) with an error.
"""

from __future__ import annotations

import asyncio
import os
import termios
from collections.abc import Callable
from typing import Any, TypeVar

_T = TypeVar("_T")


class Tty:
    """A terminal by a descriptor of its own, which does not block.

    Args:
        heard: gets what was typed, or nothing where the terminal may have gone or become another's.
        drained: called when it has taken all that was sent, after it had not for a while.
        gone: called once, when it is not there any more.
    """

    def __init__(
        self,
        fd: int,
        encoding: str,
        *,
        heard: Callable[[bytes], None],
        drained: Callable[[], None],
        gone: Callable[[], None],
    ) -> None:
        self._fd, self._encoding = fd, encoding
        self._heard, self._drained, self._gone = heard, drained, gone
        self._loop: asyncio.AbstractEventLoop | None = None
        self._modes: list[Any] | None = None  # the terminal's own, while we have others
        self._out = b""
        self._reads = self._writes = False

    @property
    def is_there(self) -> bool:
        """Whether it has not been closed, nor gone."""
        return self._fd >= 0

    @property
    def is_mine(self) -> bool:
        """Whether this process is in its foreground."""
        return self._fd >= 0 and self._try(lambda: os.tcgetpgrp(self._fd)) == os.getpgrp()

    @property
    def has_keys(self) -> bool:
        """Whether each key is heard as it is pressed."""
        return self._modes is not None

    @property
    def is_behind(self) -> bool:
        """Whether it has not yet taken all that was sent: its output may be stopped (ctrl-s)."""
        return bool(self._out)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows; a terminal that does not know them is 80 × 24."""
        columns, rows = self._try(lambda: os.get_terminal_size(self._fd)) or (0, 0)
        return columns or 80, rows or 24

    def begin(self) -> None:
        """Begin to write. On the event loop."""
        self._loop = asyncio.get_running_loop()

    def listen(self, listens: bool) -> None:
        """Hear what is typed, or leave it to others."""
        self._watch(reads=listens)

    def send(self, text: str) -> None:
        """Write, now or as soon as there is room."""
        self._out += text.encode(self._encoding, "backslashreplace")
        self._write()

    def take_keys(self) -> bool:
        """Hear keys one by one, none of those from before, and show none; ctrl-c and ctrl-z still end and stop us."""
        modes = self._try(lambda: termios.tcgetattr(self._fd))
        if modes is None:
            return False
        ours: list[Any] = [*modes[:6], list(modes[6])]
        ours[3] &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN)
        ours[6][termios.VMIN], ours[6][termios.VTIME] = 1, 0
        self._set(ours)
        self._modes = modes if self.is_there else None
        return self.has_keys

    def give_keys_back(self) -> None:
        """Set the terminal's own modes again."""
        modes, self._modes = self._modes, None
        if modes is not None:
            self._set(modes)

    def lose_keys(self) -> None:
        """Somebody else has set modes of theirs."""
        self._modes = None

    def drop_typed(self) -> None:
        """Forget what was typed and not heard yet."""
        self._try(lambda: termios.tcflush(self._fd, termios.TCIFLUSH))

    def let_go(self) -> None:
        """Have it take what was sent even where somebody has stopped its output."""
        if self._out:
            self._try(lambda: termios.tcflow(self._fd, termios.TCOON))
            self._write()

    def close(self) -> None:
        """Let go of it, as it is."""
        if self._fd < 0:
            return
        self._out = b""
        self._watch(reads=False)
        fd, self._fd = self._fd, -1
        self._modes = None
        os.close(fd)
        self._gone()

    def _set(self, modes: list[Any]) -> None:
        # At once: to wait until all is written could take for ever.
        self.drop_typed()
        self._try(lambda: termios.tcsetattr(self._fd, termios.TCSANOW, modes))

    def _try(self, action: Callable[[], _T]) -> _T | None:
        """Do something with it; None where it is gone."""
        if self._fd < 0:
            return None
        try:
            return action()
        except (OSError, termios.error):
            self.close()
            return None

    def _write(self) -> None:
        while self._out and self._fd >= 0:
            try:
                self._out = self._out[os.write(self._fd, self._out) :]
            except BlockingIOError:
                break
            except OSError:
                self.close()
        self._watch(reads=self._reads)

    def _writable(self) -> None:
        self._write()
        if not self._out:
            self._drained()

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, 4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # gone, or another's: whoever is ignorant of SIGTTIN gets EIO
        self._heard(data)

    def _watch(self, *, reads: bool) -> None:
        """Be told of keys where they are wanted, and of room while there is something to write."""
        loop, writes = self._loop, bool(self._out)
        if loop is None or self._fd < 0 or loop.is_closed():
            return
        if reads != self._reads:
            self._reads = reads
            if reads:
                loop.add_reader(self._fd, self._readable)
            else:
                loop.remove_reader(self._fd)
        if writes != self._writes:
            self._writes = writes
            if writes:
                loop.add_writer(self._fd, self._writable)
            else:
                loop.remove_writer(self._fd)
