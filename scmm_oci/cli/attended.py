"""A command that is run as if we were not there: the terminal is its own, signals are passed on, its status is told."""

from __future__ import annotations

import select
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scmm_oci.cli import live
from scmm_oci.cli.recording import ENDING, pass_on
from scmm_oci.kernel.signals import Signals
from scmm_oci.recorder.command import Child


@dataclass(frozen=True)
class Limit:
    """After so many seconds, `over` is called, once."""

    seconds: float
    over: Callable[[], None]


def attend(
    words: Sequence[str],
    signals: Signals,
    *,
    ending: Callable[[Sequence[int]], None] | None = None,
    limit: Limit | None = None,
) -> int:
    """Run a command to its end; its exit status, 128 + N if signal N killed it.

    Args:
        signals: blocked here; what comes is passed on as `scmm record` does it.
        ending: called after each signal that ends programs, with the numbers of all until now.
        limit: None for none.

    Raises:
        CannotExecute: it was not executed.
    """
    child = Child(words, user=None, mask=signals.before)
    child.release()
    end = None if limit is None else time.monotonic() + limit.seconds
    poll = select.poll()
    poll.register(child.pidfd, select.POLLIN)
    poll.register(signals.descriptor, select.POLLIN)
    view = live.NoView()
    asked: list[int] = []
    while child.poll() is None:
        left = None if end is None else max(0, int((end - time.monotonic()) * 1000) + 1)
        ready = {descriptor for descriptor, _ in poll.poll(left)}
        if limit is not None and end is not None and time.monotonic() >= end:
            end = None
            limit.over()
        for heard in signals.read() if signals.descriptor in ready else []:
            pass_on(heard, signals, child, view)
            if heard.number in ENDING:
                asked.append(heard.number)
                if ending is not None:
                    ending(asked)
    return child.wait()


def paused(signals: Signals, seconds: float) -> list[signal.Signals]:
    """Wait a while, or until a signal comes that ends programs; those."""
    poll = select.poll()
    poll.register(signals.descriptor, select.POLLIN)
    poll.poll(max(1, int(seconds * 1000)))
    return [signal.Signals(one.number) for one in signals.read() if one.number in ENDING]
