"""A starter of containers by podman or Docker: one in one way, and how it ended.

`run` is the engine's run, `create` its create and start, `exec` its exec in a container whose own program only waits
and makes no call. In each the engine has the runtime create and start the container; both are under the profile.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO

from scmm_oci.errors import Failure
from scmm_oci.oci.seccomp import OciAction
from scmm_oci.recorder.engine_answers import last_words
from scmm_oci.recorder.engines import Engine
from scmm_oci.recorder.replay import engine_process as processes
from scmm_oci.recorder.replay import reaping
from scmm_oci.recorder.replay.bundle import Config
from scmm_oci.recorder.replay.cells import RUNS, Cell, Ran
from scmm_oci.recorder.replay.engine import LABEL, Client, State
from scmm_oci.recorder.replay.engine_probe import Probe
from scmm_oci.recorder.replay.engine_recording import recorded
from scmm_oci.recorder.replay.ground import Ground
from scmm_oci.recorder.replay.starter import Opener, Recorder
from scmm_oci.recorder.replay.stopping import Stop
from scmm_oci.tables.arch import from_machine
from scmm_oci.tables.floor import Verb

# Where the program that waits is, in containers of the way exec.
_IDLE = "/.scmm-idle"
# What a busy machine's engine is given beyond the program's time, and for what a container has to become.
_GRACE, _PATIENCE = 30.0, 60.0
# Between two looks at a container, and two questions of a probe.
_SLICE = 0.05
_MOST_TAIL = 1 << 12
# Exit codes of the engines' own errors: podman-run(1), podman-exec(1), docker run.
_OWN_ERRORS = (125, 126, 127, 255)


@dataclass(frozen=True)
class Job:
    """What is started.

    Attributes:
        options: of `run` and `create`, the user's.
        args: behind the image; ``command``: what these come to with the image's own words.
        probe: how a service is asked whether it is well; None: one that runs is.
    """

    client: Client
    image: str
    args: tuple[str, ...]
    command: tuple[str, ...]
    options: tuple[str, ...] = ()
    probe: Probe | None = None


def containers(job: Job) -> Opener:
    """What opens a starter of this job."""

    @contextmanager
    def opened(ground: Ground) -> Iterator[Containers]:
        job.client.sweep()
        known = reaping.children()
        try:
            yield Containers(ground, job)
        finally:
            # What podman leaves, conmon and its clean-up, has become our child, and ends by itself.
            last = time.monotonic() + _PATIENCE
            while reaping.children() - known and time.monotonic() < last:
                _collect(known)
                time.sleep(_SLICE)
            reaping.finish(known=known)

    return opened


def _collect(known: frozenset[int]) -> None:
    for one in reaping.children() - known:
        with suppress(ChildProcessError):
            os.waitpid(one, os.WNOHANG)


class Containers:
    """A starter.Starter: each start is of a new container of the image, by the engine."""

    def __init__(self, ground: Ground, job: Job) -> None:
        self._scratch, self._stop = ground.directory, ground.stop
        self._job = job
        self._count = 0
        self._known = reaping.children()
        self._idle = Path(self._scratch, "idle")
        self._idle.write_bytes(processes.idle(from_machine(platform.machine())))
        self._idle.chmod(0o755)

    def start(self, cell: Cell, *, seccomp: Config | None, seconds: float, recorder: Recorder | None = None) -> Ran:
        """See starter.Starter.start."""
        self._count += 1
        name = f"{Path(self._scratch).name}-e{self._count}"
        profile = Path(self._scratch, f"{name}.json")
        if seccomp is not None:
            profile.write_text(json.dumps(seccomp))
        options = [f"--security-opt=seccomp={profile if seccomp is not None else 'unconfined'}"]
        if cell.no_new_privileges or self._job.client.engine is Engine.DOCKER:
            # A daemon may have it on by default.
            off = "" if cell.no_new_privileges else ":false"
            options.append(f"--security-opt=no-new-privileges{off}")
        try:
            with recorded(self._job.client, recorder, name=name, scratch=self._scratch) as more:
                words = [*options, *self._job.options, *more]
                one = _Container(self._job, cell, name, words, idle=self._idle, stop=self._stop, seccomp=seccomp)
                try:
                    return one.perform(seconds)
                except _GaveUp as error:
                    return error.ran
                finally:
                    self._job.client.remove(name)
        finally:
            profile.unlink(missing_ok=True)
            _collect(self._known)


class _GaveUp(Exception):
    """The engine or its runtime failed in a step."""

    def __init__(self, step: str, message: str) -> None:
        super().__init__(step)
        self.ran = Ran(None, step, message)


class _Container:
    def __init__(
        self,
        job: Job,
        cell: Cell,
        name: str,
        options: Sequence[str],
        *,
        idle: Path,
        stop: Stop,
        seccomp: Config | None,
    ) -> None:
        self._job, self._cell, self._name, self._idle, self._stop = job, cell, name, idle, stop
        self._seccomp = seccomp
        # Runtimes load nothing for a profile that refuses nothing.
        self._filtered = seccomp is not None and (
            seccomp["defaultAction"] != OciAction.ALLOW or bool(seccomp.get("syscalls"))
        )
        # Nothing is kept of what the program writes, however much that is.
        self._options = [f"--name={name}", "--pull=never", "--log-driver=none", f"--label={LABEL}", *options]

    def perform(self, seconds: float) -> Ran:
        job, verb = self._job, self._cell.verb
        whole = [*self._options, job.image, *job.args]
        if verb is Verb.RUN:
            return self._foreground("run", whole, seconds)
        if verb is Verb.CREATE:
            self._brief("create", whole)
            self._brief("start", [self._name])
            return self._foreground("wait", [self._name], seconds)
        mounted = [f"--volume={self._idle}:{_IDLE}:ro", f"--entrypoint={_IDLE}"]
        self._brief("run", ["--detach", *self._options, *mounted, job.image])
        first = self._held()
        self._confined(first)
        return self._foreground("exec", [self._name, *job.command], seconds, first=first)

    def _words(self, verb: str, rest: Sequence[str]) -> list[str]:
        return self._job.client.words(verb, rest, self._cell.runtime)

    def _brief(self, verb: str, rest: Sequence[str]) -> None:
        try:
            self._job.client.ask(verb, *rest, runtime=self._cell.runtime)
        except Failure as error:
            raise _GaveUp(verb, error.message) from None

    def _state(self) -> State:
        return self._job.client.state(self._name, self._cell.runtime)

    def _held(self) -> int:
        """The process of the container's own program, once that waits. It is stopped: waiting takes a processor."""
        last = time.monotonic() + _PATIENCE
        while time.monotonic() < last:
            self._stop.check()
            state = self._state()
            if not state.running:
                raise _GaveUp("start", f"the container's program ended with {state.status}")
            if processes.program_of(state.pid) == _IDLE:
                processes.hold(state.pid)
                return state.pid
            time.sleep(_SLICE)
        raise _GaveUp("start", "the container's program was not executed in time")

    def _foreground(self, verb: str, rest: Sequence[str], seconds: float, *, first: int = 0) -> Ran:
        """A verb that ends with the program. ``first``: the container's process, where the program is another."""
        step = "start" if verb == "wait" else verb
        process = subprocess.Popen(
            self._words(verb, rest),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stderr is not None
        tail = _Tail(process.stderr)
        try:
            runs = self._while_it_runs(step, process, seconds, first=first)
        finally:
            if process.poll() is None:
                # The verb ends with the container; the program of an exec does too.
                with suppress(Failure):
                    self._job.client.remove(self._name)
                process.kill()
                process.wait()
            message = tail.end()
        if runs is not None:
            return Ran(runs)
        end = self._ended(step, process.returncode, message)
        if self._job.probe is not None and self._seccomp is None:
            raise _GaveUp("probe", f"the program ended with {end} before it answered")
        return Ran(end)

    def _while_it_runs(self, step: str, process: subprocess.Popen[bytes], seconds: float, *, first: int) -> str | None:
        """What a program that does not end comes to; None if it has ended."""
        probe = self._job.probe
        enough = time.monotonic() + seconds
        last = enough + _GRACE
        while True:
            self._stop.check()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_SLICE)
                return None
            answers = probe is not None and probe.answers(self._name)
            now = time.monotonic()
            if not answers and now < enough:
                continue
            pid = processes.entered(first) if first else self._state().pid
            program = processes.program_of(pid)
            if program and process.poll() is None:
                self._confined(pid)
                if probe is not None and not answers and self._seccomp is None:
                    raise _GaveUp("probe", f"{program} runs and does not answer {probe.word}")
                how = "" if probe is None else " and answers" if answers else " and does not answer"
                return f"{RUNS} {program}{how}"
            if now > last:
                raise _GaveUp(step, "the program was not executed in time")

    def _ended(self, step: str, status: int, message: str) -> int:
        if step == "exec":
            if status in _OWN_ERRORS and message.startswith(("Error", "OCI runtime")):
                raise _GaveUp(step, message)
            return status
        last = time.monotonic() + _PATIENCE
        while (state := self._state()).running and time.monotonic() < last:
            time.sleep(_SLICE)
        if not state.started or state.running:
            raise _GaveUp(step, message or f"the engine ended with status {status}")
        return state.status

    def _confined(self, pid: int) -> None:
        """Make sure that what is tried is in force. Raises Failure."""
        found = processes.confinement(pid)
        if found is None or (found[0] >= self._filtered and found[1] is self._cell.no_new_privileges):
            return
        state = f"seccomp {'on' if found[0] else 'off'}, no-new-privileges {'on' if found[1] else 'off'}"
        raise Failure(
            f"{self._job.client.engine} starts containers otherwise than it was asked to: {state}",
            "an option of the engine's, or its configuration, has the last word",
        )


class _Tail:
    """The end of what is written into a pipe, which is emptied whatever comes."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe, self._kept = pipe, b""
        self._thread = Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with suppress(OSError, ValueError):
            while some := self._pipe.read1(_MOST_TAIL):  # type: ignore[attr-defined]
                self._kept = (self._kept + some)[-_MOST_TAIL:]

    def end(self) -> str:
        """Its last words. Who has ended may have left the pipe to others: they are not waited for."""
        self._thread.join(timeout=1.0)
        if not self._thread.is_alive():
            self._pipe.close()
        return last_words(self._kept)
