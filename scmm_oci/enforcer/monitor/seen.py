"""What was looked at of a call before it is decided: what an answer is for, what the program still can change. Pure."""

from __future__ import annotations

import os
from dataclasses import dataclass

from scmm_oci.enforcer.monitor import calls
from scmm_oci.enforcer.monitor.model import Address, Call, Memory


@dataclass(frozen=True, slots=True)
class Seen:
    """What was looked at of a call.

    Attributes:
        memory: what its pointers led to; None where that was not looked at, or could not be.
        paths: what its names stand for, where that is held.
        is_held: an allowed call is made by us, with just this.
    """

    memory: Memory | None = None
    paths: tuple[str, ...] | None = None
    is_held: bool = False

    @property
    def address(self) -> Address | None:
        """The socket address that was read; it is held with `is_held` only."""
        return self.memory.address if self.memory is not None else None

    @property
    def claimed(self) -> tuple[str, ...]:
        """What the program names and can still change before it counts."""
        if self.memory is None or self.is_held:
            return ()
        named = [os.fsdecode(one) for one in self.memory.paths if one is not None]
        return (*named, *([calls.address_words(self.address)] if self.address is not None else []))

    def detail(self, what: Call) -> str:
        """What of a call an answer is kept for. Of what the program can still change, nothing."""
        parts = [calls.like(what, self.memory if self.is_held else None)]
        if self.is_held and self.memory is not None:
            parts += [] if self.memory.text is None else [os.fsdecode(self.memory.text)]
            parts += self.paths or ()
            parts += [calls.address_words(self.address)] if self.address is not None else []
        # Names hold line ends where their owner likes; two names are never taken for two others.
        return "\n".join(one.replace("\\", "\\\\").replace("\n", "\\n") for one in parts)
