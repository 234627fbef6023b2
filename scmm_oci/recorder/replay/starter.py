"""What starts a replay's containers, whoever does: raw bundles (replay.start), or an engine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from scmm_oci.recorder.replay.bundle import Config
from scmm_oci.recorder.replay.cells import Cell, Ran
from scmm_oci.recorder.replay.ground import Ground


@dataclass(frozen=True)
class Recorder:
    """The starter of a hook pair, and the name under which it records."""

    hook: str
    name: str


class Starter(Protocol):
    """Starts containers, one after the other."""

    def start(self, cell: Cell, *, seccomp: Config | None, seconds: float, recorder: Recorder | None = None) -> Ran:
        """Start the program once; whatever that has made is gone when this returns or raises.

        Args:
            seccomp: the profile, as linux.seccomp; None for none.
            seconds: a program that runs longer is well, and ended.
            recorder: what the start is recorded with; the capture is there when this returns.

        Raises:
            Failure: containers cannot be started at all. What a runtime says is no such failure: it is in Ran.
        """
        ...


# Makes a starter for one replay. What it leaves beside its containers is removed when the context ends.
Opener = Callable[[Ground], AbstractContextManager[Starter]]
