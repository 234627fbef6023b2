"""A command that is run as if we were not there: the terminal is its own, signals are passed on, its status is told."""

from __future__ import annotations

import select
import signal
from collections.abc import Callable, Sequence

from scmm_oci.cli import live
from scmm_oci.cli.recording import ENDING, pass_on
from scmm_oci.kernel.signals import Signals
from scmm_oci.recorder.command import Child


def attend(words: Sequence[str], signals: Signals, *, ending: Callable[[int], None] | None = None) -> int:
    """Run a command to its end; its exit status, 128 + N if signal N killed it.

    Args:
        signals: blocked here; what comes is passed on as `scmm record` does it.
        ending: called with how many signals that end programs have come until now, after each.

    Raises:
        CannotExecute: it was not executed.
    """
    child = Child(words, user=None, mask=signals.before)
    child.release()
    poll = select.poll()
    poll.register(child.pidfd, select.POLLIN)
    poll.register(signals.descriptor, select.POLLIN)
    view = live.NoView()
    asked = 0
    while child.poll() is None:
        ready = {descriptor for descriptor, _ in poll.poll()}
        for heard in signals.read() if signals.descriptor in ready else []:
            pass_on(heard, signals, child, view)
            if heard.number in ENDING:
                asked += 1
                if ending is not None:
                    ending(asked)
    return child.wait()


def paused(signals: Signals, seconds: float) -> list[signal.Signals]:
    """Wait a while, or until a signal comes that ends programs; those."""
    poll = select.poll()
    poll.register(signals.descriptor, select.POLLIN)
    poll.poll(max(1, int(seconds * 1000)))
    return [signal.Signals(one.number) for one in signals.read() if one.number in ENDING]
