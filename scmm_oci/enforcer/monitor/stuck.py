"""A reader of listeners that does not get stuck for good.

Where another process keeps a copy of a listener and takes a call that poll(2) has promised us, the kernel lets us wait
for the next one, whatever flags the descriptor has (seccomp_notify_recv in the kernel's kernel/seccomp.c). A thread
looks now and then whether we have come back, and sends us a signal if not: then the call ends with EINTR.
"""

from __future__ import annotations

import signal
import threading

_LOOK_S = 0.5
_SIGNAL = signal.SIGURG  # ignored by default, so that nobody is ended by one that comes late


class Unstuck:
    """Watches one thread, the main one, which makes it.

    Attributes:
        turn: to be increased by whoever begins to receive, and again when that is over: odd while it may be stuck.
        ended: the turn that was ended by a signal, the last of those; odd.
    """

    __slots__ = ("_over", "_reader", "_thread", "ended", "turn")

    def __init__(self) -> None:
        self.turn = 0
        self.ended = -1
        self._over = threading.Event()
        self._reader = threading.get_ident()
        signal.signal(_SIGNAL, lambda *_: None)  # with no handler, the call would not be interrupted
        self._thread = threading.Thread(target=self._watch, name="unstuck", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Watch no more."""
        self._over.set()
        self._thread.join()
        signal.signal(_SIGNAL, signal.SIG_DFL)

    def _watch(self) -> None:
        last = -1
        while not self._over.wait(_LOOK_S):
            turn = self.turn
            if turn & 1 and turn == last:
                self.ended = turn
                signal.pthread_kill(self._reader, _SIGNAL)
            last = turn
