"""A process that is killed at its n-th step, where a step is a call that can leave something behind."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable

STEPS = ("open", "mkdir", "write", "rename", "unlink", "rmdir", "fchmod", "fchown", "fsync", "close")


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Do `work` in a child that is gone before its step number `step`, from 0; whether it came so far.

    Files are closed and locks freed by the kernel alone, as with SIGKILL. What the work raises is an AssertionError.
    """
    child = os.fork()
    if not child:
        count = 0

        def counted(real):
            def call(*given, **named):
                nonlocal count
                if count == step:
                    os._exit(9)
                count += 1
                return real(*given, **named)

            return call

        try:
            for name in STEPS:
                setattr(os, name, counted(getattr(os, name)))
            fcntl.flock = counted(fcntl.flock)
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9), "the work failed"
    return code == 9
