"""Signals as things to read: blocked while a piece of work lasts, and taken from a signalfd(2) between its steps.

Used by `scmm record`, so that no signal comes between the beginning of a recording and its end.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from collections.abc import Collection
from dataclasses import dataclass
from types import TracebackType
from typing import Self

SI_USER = 0  # sigaction(2), si_code: sent by kill(2); more than that: by the kernel, as for keys of a terminal
_SIZE = 128  # struct signalfd_siginfo


@dataclass(frozen=True)
class Heard:
    """A signal that came: its number, whether the kernel sent it (a terminal does), and the sender's process id."""

    number: int
    by_kernel: bool
    sender: int


class Signals:
    """These signals wait to be read; use as a context manager, which blocks them.

    Those that this process ignores stay ignored: the kernel keeps them for whoever blocks them, so they are left alone.
    At the end the ones that came and were not read are dropped, and the mask is what it was (`before`).
    """

    def __init__(self, numbers: Collection[signal.Signals]) -> None:
        self._numbers = frozenset(each for each in numbers if signal.getsignal(each) != signal.SIG_IGN)
        self.before: set[int] = set()
        self.descriptor = -1

    def __enter__(self) -> Self:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._numbers)
        self.before = {int(number) for number in before}
        try:
            self.descriptor = _signalfd(self._numbers)
        except BaseException:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.read()
        os.close(self.descriptor)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.before)

    def read(self) -> list[Heard]:
        """What came since the last time; does not wait."""
        heard: list[Heard] = []
        while True:
            try:
                said = os.read(self.descriptor, _SIZE)
            except BlockingIOError:
                return heard
            # ssi_signo, ssi_errno, ssi_code, ssi_pid
            number, _, code, sender = struct.unpack_from("=IiiI", said)
            heard.append(Heard(number, code > SI_USER, sender))

    def let(self, number: signal.Signals) -> None:
        """Have one of them do here and now what it does when it is not blocked."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
        signal.pthread_sigmask(signal.SIG_BLOCK, {number})


def _signalfd(numbers: Collection[int]) -> int:
    mask = 0
    for number in numbers:
        mask |= 1 << (number - 1)
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor: int = libc.signalfd(-1, struct.pack("=Q120x", mask), os.O_CLOEXEC | os.O_NONBLOCK)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), f"signalfd: {os.strerror(ctypes.get_errno())}")
    return descriptor
