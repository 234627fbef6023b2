"""What became of one call, for whoever keeps that: journal, metrics, learning.

A named tuple, since one is made for every call: a frozen dataclass takes four times as long.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from scmm_oci.enforcer.monitor.model import Address, Call, Decision, Memory, Process, Target


class Decided(NamedTuple):
    """A call that was answered.

    Attributes:
        at: when, in seconds since 1970.
        process: None where nobody asked who it was.
        words: the call as people read it, safe to print; None leaves that to whoever needs it.
        memory: what its pointers led to, where that was looked at; None also where `words` has it.
        paths, address: what was looked at, and decided about.
        waited_s: from the notification to the answer.
        result: the errno that the call ended with, 0 for none; None where the kernel makes it, and only it knows.
        on_behalf: the monitor made the call itself.
    """

    at: float
    target: Target
    call: Call
    decision: Decision
    process: Process | None = None
    words: str | None = None
    memory: Memory | None = None
    paths: tuple[str, ...] | None = None
    address: Address | None = None
    waited_s: float = 0.0
    result: int | None = None
    on_behalf: bool = False


def timestamp(seconds: float) -> str:
    """UTC as RFC 3339, to the second: how all that is kept and told says when."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
