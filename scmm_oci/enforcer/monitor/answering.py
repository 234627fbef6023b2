"""A decision becomes the answer to a call: it goes on, fails, returns a value, is made on behalf, or its process ends.

Whether anybody still waits for the answer is the kernel's to say.
"""

from __future__ import annotations

import asyncio
import errno
import os

from scmm_oci.enforcer.monitor import who
from scmm_oci.enforcer.monitor.behalf.deputies import Impossible, Resolution
from scmm_oci.enforcer.monitor.model import By, Decision, Verdict
from scmm_oci.enforcer.monitor.threads import NoThread, Threads
from scmm_oci.kernel import notify
from scmm_oci.kernel.notify import Notification

# What is cancelled while the kernel takes an answer waits so long for it.
GRACE_S = 0.5


def answer(fd: int, call: Notification, decision: Decision) -> bool:
    """Answer by numbers alone: what is allowed goes on. False if nobody waits any more."""
    match decision.verdict:
        case Verdict.ALLOW:
            return notify.let_go_on(fd, call.id)
        case Verdict.RETURN:
            return notify.give(fd, call.id, decision.value)
        case Verdict.KILL:
            killed = who.kill(fd, call)
            # Its threads end by the signal; where there was nobody to send it to, it is denied at least.
            return notify.refuse(fd, call.id, decision.errno) or killed
    return notify.refuse(fd, call.id, decision.errno)


async def make(
    fd: int, call: Notification, decision: Decision, resolution: Resolution, threads: Threads
) -> tuple[bool, Decision, int]:
    """Make an allowed call on behalf, with what was looked at.

    Args:
        threads: for descriptors that are handed over, which waits until the caller's thread runs.

    Returns:
        Whether somebody still waited, what became of the decision (a call that cannot be made is denied), and the
        errno that the call ended with, or 0.
    """
    try:
        done = await resolution.perform(path=decision.path)
    except Impossible as error:
        denied = Decision(Verdict.DENY, By.FAILURE, detail=str(error))
        return notify.refuse(fd, call.id, denied.errno), denied, denied.errno
    if done.fd is not None:
        try:
            return await _hand_over(fd, call, done.fd, threads, close_on_exec=done.close_on_exec), decision, 0
        except NoThread as error:
            denied = Decision(Verdict.DENY, By.FAILURE, detail=f"its descriptor cannot be handed over: {error}")
            return notify.refuse(fd, call.id, denied.errno), denied, denied.errno
        except OSError as error:
            # The caller's table is full; it gets what open(2) would have answered.
            number = error.errno or errno.EMFILE
            return notify.refuse(fd, call.id, number), decision, number
    if done.error:
        return notify.refuse(fd, call.id, done.error), decision, done.error
    return notify.give(fd, call.id, done.value), decision, 0


async def _hand_over(fd: int, call: Notification, source: int, threads: Threads, *, close_on_exec: bool) -> bool:
    """Have the caller get a descriptor, and close ours. Raises OSError, NoThread."""
    listener = -1

    def close() -> None:
        os.close(source)
        if listener >= 0:
            os.close(listener)

    def work() -> bool:
        try:
            return notify.hand_over(listener, call.id, source, close_on_exec=close_on_exec)
        finally:
            close()

    try:
        # Of its own: should the listener be closed meanwhile, its number may be another's.
        listener = os.dup(fd)
    except OSError:
        close()
        raise
    handing = asyncio.ensure_future(threads.run(fd, work, unused=close))
    try:
        return await asyncio.shield(handing)
    except asyncio.CancelledError:
        # The caller may have its descriptor already, and have ended with that: then it was answered.
        await asyncio.wait((handing,), timeout=GRACE_S)
        if handing.done() and not handing.cancelled() and handing.exception() is None:
            return handing.result()
        handing.cancel()
        raise
