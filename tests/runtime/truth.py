"""Have our recorder and strace(1) watch the same execution.

strace is attached from outside while the process waits to execute its program, so that it is not recorded itself.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from recordings import await_capture, recorded
from support import Hooks
from trial import Trial
from truth_names import Names

from rig import servers
from rig.engine import Engine, Network
from rig.process import wait_until
from scmm_oci.capture import file as capture_file
from scmm_oci.capture.model import Capture

#: Everything that strace can say; process ids of containers with those outside.
OPTIONS = ("-f", "--pidns-translation", "-yy", "-v", "-s", "4096")


@dataclass(frozen=True, eq=False)
class Seen:
    """What both have seen of one execution: the recorder's capture, and strace's lines.

    names: looks names up where the program ran. cwd: where it began. contained: in a PID namespace of its own.
    """

    ours: Capture
    lines: list[bytes]
    names: Names
    cwd: str
    contained: bool


@contextmanager
def attached(pid: int, trace: Path) -> Iterator[None]:
    """strace, attached to a process and all that comes of it; it ends with the last of them."""
    strace = subprocess.Popen(
        ["strace", *OPTIONS, "-o", str(trace), "-p", str(pid)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    )

    def traced() -> bool:
        assert strace.poll() is None, strace.communicate()[1]
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return all("TracerPid:\t0\n" not in (task / "status").read_text() for task in tasks)

    try:
        wait_until(traced, deadline_s=10, what="strace is attached")
        yield
        strace.wait(timeout=60)
    finally:
        if strace.poll() is None:
            strace.terminate()
        strace.communicate()


def watch_command(hooks: Hooks, payload: Path, words: Sequence[str], directory: Path, *, name: str) -> Seen:
    """Run the payload with these words in `directory` and in a cgroup of its own before both.

    It is to wait for a byte, and then to execute the program; the pair of hooks records it.
    """
    trace = hooks.layout.config.parent / f"{name}.strace"
    before = os.getcwd()
    os.chdir(directory)
    try:
        with Trial(hooks, payload, *words, name=name, gate=False, config={"root": {"path": "/"}}) as trial:
            try:
                with attached(trial.process.pid, trace):
                    trial.release()
            finally:
                trial.finish()
    finally:
        os.chdir(before)
    # tests/payload/paths.c makes the directory "root" its root.
    names = Names(cwd=str(directory), jail=f"{directory}/root")
    return Seen(capture_file.read(hooks.path(name)), _lines(trace), names, str(directory), False)


def watch_server(hooks: Hooks, engine: Engine, image: str, kind: Literal["nginx", "redis"]) -> Seen:
    """nginx under wrk, or redis under redis-benchmark, in a container with our hooks, before both."""
    name = f"truth-{kind}"
    trace = hooks.layout.config.parent / f"{name}.strace"
    serve = servers.nginx if kind == "nginx" else servers.redis
    with ExitStack() as stack:
        traced: Any = _Traced(engine, trace, stack)
        with serve(traced, image, options=recorded(name)) as server:
            if kind == "nginx":
                assert servers.wrk(server.port, seconds=1).requests
            else:
                assert servers.redis_benchmark(server.port, requests=200)
            engine.kill(server.container, signal="TERM")
            engine.wait(server.container)
    capture = capture_file.read(await_capture(hooks, name))
    names = Names(root=f"/proc/self/fd/{traced.root}")
    os.close(traced.root)
    os.close(traced.mounts)
    return Seen(capture, _lines(trace), names, "/", True)


class _Traced:
    """An engine that has strace attached to a container between its creation and its start, while runc waits."""

    def __init__(self, engine: Engine, trace: Path, stack: ExitStack) -> None:
        self._engine, self._trace, self._stack = engine, trace, stack
        self.root = self.mounts = -1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def run_detached(self, image: str, *args: str, options: Sequence[str], network: Network) -> str:
        name = f"truth-{secrets.token_hex(4)}"
        self._engine("create", *self._engine.run_words(network, name, options), image, *args)
        self._engine("init", name)
        pid = self._engine.pid(name)
        # The namespace is kept, and with it all that is mounted there, so that names can be looked up afterwards.
        self.root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_CLOEXEC)
        self.mounts = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        self._stack.enter_context(attached(pid, self._trace))
        self._engine("start", name)
        return name


def _lines(trace: Path) -> list[bytes]:
    return trace.read_bytes().splitlines(keepends=True)
