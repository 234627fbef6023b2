"""`scmm logs --container` beside another container: its processes live for a moment, and their records are its own."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT, need

from rig import images, namespace
from rig.podman import Podman

PATIENCE_S = 90
NAMES = {"mkdir": ["mkdir", "mkdirat"], "rmdir": ["rmdir", "unlinkat"]}


@pytest.fixture(scope="module")
def podman(inside: namespace.Entered) -> Iterator[Podman]:
    need("PODMAN", Podman.available("runc"))
    with Podman(runtime="runc") as engine:
        yield engine


def logging(directory: Path, names: list[str]) -> Path:
    """A profile that logs these calls, and allows all."""
    path = directory / f"{names[0]}.json"
    rules = [{"names": names, "action": "SCMP_ACT_LOG"}]
    path.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}))
    return path


def test_only_the_container_that_was_asked_for(podman: Podman, tmp_path: Path) -> None:
    busybox = podman.import_image("busybox", images.busybox())
    script = "while :; do mkdir /d; rmdir /d; sleep 0.1; done"
    for name, calls in NAMES.items():
        options = ["--security-opt", f"seccomp={logging(tmp_path, calls)}"]
        podman.run_detached(busybox, "sh", "-c", script, name=f"logs-{name}", options=options)
    try:
        words = [sys.executable, "-m", "scmm_oci.cli.main", "logs", "--container", "logs-mkdir", "--follow", "--json"]
        env = {**os.environ, **podman.environ(), "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(
            [*words, "--engine", "podman"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as logs:
            assert logs.stdout is not None and logs.stderr is not None
            said = b""
            deadline = time.monotonic() + PATIENCE_S
            while said.count(b"\n") < 3 and time.monotonic() < deadline:
                if select.select([logs.stdout], [], [], 1)[0]:
                    chunk = os.read(logs.stdout.fileno(), 1 << 16)
                    assert chunk, logs.stderr.read()
                    said += chunk
            # It ends with its container.
            podman.kill("logs-mkdir")
            rest, err = logs.communicate(timeout=PATIENCE_S)
    finally:
        for name in NAMES:
            podman.rm(f"logs-{name}")
    *lines, last = (said + rest).splitlines()
    found = [json.loads(line) for line in lines]
    assert len(found) >= 3, err
    assert {one["name"] for one in found} <= set(NAMES["mkdir"])
    assert {one["process"]["exe"] for one in found} == {"/bin/busybox"} and {one["passed"] for one in found} == {True}
    # Each mkdir is a process of its own.
    assert len({one["process"]["pid"] for one in found}) >= 3
    summary = json.loads(last)["summary"]
    assert summary["total"] == len(found)
    # The other container's are there, and are not told.
    assert summary["others"] + summary["unknown"] >= 1
