"""Whether a suite that needs something special runs: by itself, must, or not at all.

`SCMM_TEST_<KIND>` unset: run where it can, else skip and say why. `1`: not being able to is a failure (CI
uses this, so that a broken engine never looks like a green run). `0`: off.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["KERNEL", "PODMAN", "DOCKER", "CRUN", "INCUMBENT"]


@dataclass(frozen=True)
class Run:
    """Go ahead."""


@dataclass(frozen=True)
class Skip:
    """Do not run, and say why."""

    reason: str


@dataclass(frozen=True)
class Fail:
    """It was demanded and cannot run."""

    reason: str


def decide(kind: Kind, reason_unavailable: str | None, environ: Mapping[str, str] = os.environ) -> Run | Skip | Fail:
    """The decision for one kind, given why it cannot run here (None when it can)."""
    name = f"SCMM_TEST_{kind}"
    value = environ.get(name, "")
    if value == "0":
        return Skip(f"off: {name}=0")
    if value not in ("", "1"):
        return Fail(f"{name}={value!r} is neither 0 nor 1")
    if reason_unavailable is None:
        return Run()
    return Fail(f"{name}=1, but {reason_unavailable}") if value else Skip(reason_unavailable)
