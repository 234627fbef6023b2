"""A start by an engine, recorded: the cgroup in which the engine makes the container's is recorded from the beginning.

Docker has no hooks and podman's would have to be installed. So the hook pair is called here, as a runtime would: for a
process in a cgroup of ours, which has ended before the engine makes the container's below it. What is below a recorded
cgroup is of the recording; who comes in from outside begins a session, as with `exec`.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from scmm_oci.errors import Failure
from scmm_oci.kernel import cgroup
from scmm_oci.recorder.engines import Engine
from scmm_oci.recorder.replay import leftovers
from scmm_oci.recorder.replay.engine import Client
from scmm_oci.recorder.replay.starter import Recorder

_PATIENCE = 60.0  # seconds
_CLONE_NEWNS = 0x00020000  # linux/sched.h
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def recorded(client: Client, recorder: Recorder | None, *, name: str, scratch: str) -> Iterator[list[str]]:
    """The options with which an engine starts a container that is recorded; none without a recorder.

    Args:
        name: the cgroup's, which is made and removed here.
        scratch: a directory for the bundle that the hooks read.

    Raises:
        Failure: no cgroup can be made, the engine takes none of ours, or the hooks fail.
    """
    if recorder is None:
        yield []
        return
    driver = client.cgroup_driver()
    if driver != "cgroupfs":
        raise Failure(
            f"{client.engine} makes cgroups by {driver}: what it starts there cannot be recorded from outside"
        )
    bundle = Path(scratch, f"{name}.bundle")
    bundle.mkdir(mode=0o700)
    config = {"ociVersion": "1.0.2", "root": {"path": "/"}, "process": {"args": [name], "cwd": "/"}}
    (bundle / "config.json").write_text(json.dumps(config))
    directory = cgroup.directory(f"/{name}")
    if directory is None:
        raise Failure("no cgroup v2 is mounted here", "what lacks is named where one is")
    try:
        os.mkdir(directory)
        state = {
            "ociVersion": "1.0.2",
            "id": name,
            "status": "created",
            "bundle": str(bundle),
            "annotations": {"scmm.record": "required", "scmm.name": recorder.name},
        }
        with _inside(directory) as pid:
            _hook(recorder, "prestart", {**state, "pid": pid})
        try:
            # conmon is no container's: it stays where podman is.
            yield [f"--cgroup-parent=/{name}", *(["--cgroups=no-conmon"] if client.engine is Engine.PODMAN else [])]
        finally:
            _hook(recorder, "poststop", {**state, "status": "stopped"})
    except OSError as error:
        raise Failure(f"{directory}: {error.strerror}") from None
    finally:
        leftovers.empty(name)


@contextmanager
def _inside(directory: str) -> Iterator[int]:
    """A process in a cgroup, which waits for its input's end.

    It has a mount namespace of its own: of a container that shares the host's, every program would count as its own.
    """
    with subprocess.Popen(
        ["cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: _libc.unshare(_CLONE_NEWNS),
    ) as process:
        try:
            Path(directory, "cgroup.procs").write_text(str(process.pid))
            yield process.pid
        finally:
            assert process.stdin is not None
            with suppress(OSError):
                process.stdin.close()
            process.kill()


def _hook(recorder: Recorder, stage: str, state: dict[str, Any]) -> None:
    """Call a hook of the pair; what it did not do stands in its log. Raises Failure."""
    try:
        subprocess.run(
            [recorder.hook, stage],
            # As runtimes write it: where the package is gone, the starter looks for the words.
            input=json.dumps(state, separators=(",", ":")).encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE,
            check=True,
            start_new_session=True,
        )
    except (OSError, subprocess.SubprocessError):
        raise Failure(f"the {stage} hook fails") from None
