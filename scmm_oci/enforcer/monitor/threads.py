"""What may wait for a target for ever, done beside the loop by threads: few for each listener, and one for each in any
case.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


class NoThread(Exception):
    """No thread can be had."""


class Threads:
    """Threads that work. Each is made when it is needed, and none keeps the process from ending."""

    def __init__(self, *, most: int, each: int) -> None:
        """
        Args:
            most: how many there can be; beyond that, one more for a listener for which nobody works.
            each: how many work for one listener at a time.
        """
        self._most, self._each = most, each
        self._lock = threading.Condition()
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()
        self._working: Counter[int] = Counter()
        self._threads = self._idle = 0

    @property
    def busy(self) -> int:
        """How many threads work at this moment."""
        return self._working.total()

    def busy_for(self, fd: int) -> int:
        """How many of them for one listener."""
        return self._working[fd]

    async def run(self, fd: int, work: Callable[[], _T], *, unused: Callable[[], None] | None = None) -> _T:
        """What `work` returns or raises, for a listener. Who waits no more leaves it to itself.

        Args:
            unused: called if it was never begun.

        Raises:
            NoThread: targets may have taken all threads that there can be.
        """
        loop = asyncio.get_running_loop()
        result: asyncio.Future[_T] = loop.create_future()

        def settle(set_it: Callable[[], None]) -> None:
            if not result.done():
                set_it()

        def job() -> None:
            try:
                found = work()
            except BaseException as error:
                problem = error
                done = lambda: result.set_exception(problem)  # noqa: E731 - it has to outlive the clause
            else:
                done = lambda: result.set_result(found)  # noqa: E731
            try:
                loop.call_soon_threadsafe(settle, done)
            except RuntimeError:
                pass  # the loop has ended meanwhile

        try:
            self._give(fd, job)
            return await result
        finally:
            with self._lock:
                is_left = (fd, job) in self._waiting
                if is_left:
                    self._waiting.remove((fd, job))
            if is_left and unused is not None:
                unused()

    def _give(self, fd: int, job: Callable[[], None]) -> None:
        with self._lock:
            self._waiting.append((fd, job))
            if len(self._waiting) > self._idle and (self._threads < self._most or self._waits_for_first() > self._idle):
                try:
                    threading.Thread(target=self._run, name="scmm-wait", daemon=True).start()
                except RuntimeError as error:
                    if not self._threads:
                        raise NoThread(str(error)) from error
                else:
                    self._threads += 1
                    self._idle += 1  # as long as it has taken nothing
            self._lock.notify()

    def _run(self) -> None:
        while True:
            with self._lock:
                while (taken := self._take()) is None:
                    self._lock.wait()
                self._idle -= 1
            fd, job = taken
            try:
                job()
            finally:
                with self._lock:
                    self._idle += 1
                    self._working[fd] -= 1
                    if not self._working[fd]:
                        del self._working[fd]
                    self._lock.notify()

    def _waits_for_first(self) -> int:
        """Listeners that wait, and for which nobody works."""
        return len({fd for fd, _ in self._waiting if not self._working[fd]})

    def _take(self) -> tuple[int, Callable[[], None]] | None:
        # First for whom nobody works: what others' programs hold up does not keep it waiting.
        for most in (1, self._each):
            for one in self._waiting:
                if self._working[one[0]] < most:
                    self._waiting.remove(one)
                    self._working[one[0]] += 1
                    return one
        return None
