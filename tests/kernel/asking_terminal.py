"""A terminal on which scmm-monitor asks, and what its tests look at there."""

from __future__ import annotations

import os
import termios

from terminal import Terminal


class Window(Terminal):
    """A terminal, and more of what there is to see of it."""

    @property
    def is_foreground(self) -> bool:
        """Whether the job has the terminal."""
        return os.tcgetpgrp(self.master) == self.job

    def flow(self, *, goes: bool) -> None:
        """As ctrl-s and ctrl-q do it."""
        termios.tcflow(self._slave, termios.TCOON if goes else termios.TCOOFF)

    def rows_of(self, *texts: str) -> list[int]:
        """In which lines these texts are."""
        return [next(row for row, line in enumerate(self._screen.display) if text in line) for text in texts]

    def is_reverse(self, text: str) -> bool:
        """Whether each character that is so is shown in reverse, and there is one."""
        found = [one for row in self._screen.buffer.values() for one in row.values() if one.data == text]
        return bool(found) and all(one.reverse for one in found)

    def await_keys(self, *texts: str) -> str:
        """Wait until a question with these texts is up, and keys count: they are bold then."""
        return self.await_screen(
            lambda screen: all(text in screen for text in (*texts, " d deny")) and self._keys_are_bold(), f"{texts!r}"
        )

    def _keys_are_bold(self) -> bool:
        (row,) = self.rows_of(" d deny")
        return bool(self._screen.buffer[row][1].bold)
