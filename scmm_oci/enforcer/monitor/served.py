"""A listener that is served: whose it is, what waits on it, and how its calls were answered."""

from __future__ import annotations

import asyncio
import os
import select
from dataclasses import replace

from scmm_oci.enforcer.monitor.model import By, Decision, Target, Verdict
from scmm_oci.enforcer.monitor.remembered import Key
from scmm_oci.enforcer.monitor.rules.decide import Spent
from scmm_oci.enforcer.monitor.stuck import Unstuck
from scmm_oci.kernel import notify
from scmm_oci.kernel.notify import Notification

_MOST_SAID = 4096


class Over(Exception):
    """No process is left that could ask."""


class Shared(Exception):
    """Somebody else reads the same listener: who answers which call cannot be known."""


class Served:
    """One listener.

    Attributes:
        since: when it came, in seconds since 1970.
        pid: of the process that was the first to ask, in our PID namespace; 0 before.
        most_filters: how many seccomp filters who asks first may have; None where that does not matter (any more).
        counts: answers by verdict; gone: calls that were over before they could be answered.
        tasks: of calls that are still considered.
        said: what people answered for all of this run.
    """

    __slots__ = (
        *("_poll", "_unstuck", "counts", "fd", "gone", "most_filters", "pid", "said", "since", "spent", "target"),
        "tasks",
    )

    def __init__(
        self, fd: int, target: Target, *, since: float, unstuck: Unstuck, most_filters: int | None = None
    ) -> None:
        self.fd = fd
        self.target = target
        self.since = since
        self.pid = target.pid
        self.most_filters = most_filters
        self.counts = dict.fromkeys(Verdict, 0)
        self.gone = 0
        self.spent = Spent()
        self.tasks: set[asyncio.Task[None]] = set()
        self.said: dict[Key, Decision] = {}
        self._unstuck = unstuck
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)

    def next(self) -> Notification | None:
        """A call that waits, without waiting for one; None if there is none.

        Raises:
            Over: there will be none.
            Shared: another process has taken the call.
            OSError: the descriptor is no listener.
        """
        found = self._poll.poll(0)
        if not found:
            return None
        if not found[0][1] & select.POLLIN:
            raise Over
        unstuck = self._unstuck
        unstuck.turn += 1
        try:
            found_call = notify.receive(self.fd)
        finally:
            unstuck.turn += 1
        if found_call is None and unstuck.ended == unstuck.turn - 1:
            raise Shared
        return found_call

    def remember(self, key: Key, decision: Decision) -> None:
        """Keep an answer for this run. Of too many the first are asked again."""
        if len(self.said) >= _MOST_SAID:
            del self.said[next(iter(self.said))]
        self.said[key] = replace(decision, by=By.REMEMBERED)

    def count(self, decision: Decision) -> None:
        """Note an answer that was given."""
        self.counts[decision.verdict] += 1

    def close(self) -> None:
        """Serve it no more: what waits, and whatever comes, the kernel answers ENOSYS (seccomp_unotify(2))."""
        for task in self.tasks:
            task.cancel()
        os.close(self.fd)
