"""Engines with images, recordings made in them, and profiles made of those."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from support import Hooks

from rig.engine import Engine
from rig.process import wait_until
from scmm_oci.cli.main import main

#: How often a proof is repeated; the long form is `make soak`.
REPEATS = 20 if os.environ.get("SCMM_SOAK") else 3


@dataclass(frozen=True)
class Ground:
    """An engine and the references of its images."""

    engine: Engine
    busybox: str
    services: str


def recorded(name: str) -> list[str]:
    """Options of `podman run` that record the container under `name`."""
    return ["--annotation", "scmm.record=required", "--annotation", f"scmm.name={name}"]


def await_capture(hooks: Hooks, name: str) -> Path:
    """The capture of a detached container; its poststop hook runs after the container's end."""
    path = hooks.path(name)
    wait_until(path.exists, deadline_s=20, what=f"{path} written", detail=hooks.log)
    return path


def profile(capture: Path, directory: Path, *words: str) -> Path:
    """The OCI profile that scmm-extract makes of a capture."""
    output = directory / f"{capture.name}.seccomp.json"
    policy = directory / f"{capture.name}.scmm.yaml"
    assert (
        main(["extract", "-i", str(capture), "-o", str(policy), "--oci", str(output), "--non-interactive", *words]) == 0
    )
    return output
