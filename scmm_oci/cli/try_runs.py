"""The runs of ``scmm try``: the user's container, each time with another mode, and removed after each."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from scmm_oci.cli.attended import Limit, attend
from scmm_oci.cli.docker_shim import docker_shim
from scmm_oci.cli.output import plain, say
from scmm_oci.cli.recording import WAITED
from scmm_oci.enforcer import installed, launcher, reports, trying
from scmm_oci.enforcer.registration import parts
from scmm_oci.enforcer.reports import Report
from scmm_oci.enforcer.trying import Trial
from scmm_oci.errors import Failure
from scmm_oci.kernel.signals import Signals
from scmm_oci.recorder import engine_answers, installation
from scmm_oci.recorder.engine_command import EngineCommand
from scmm_oci.recorder.engines import Engine

PERMISSIVE = "permissive"
_LABEL = "scmm.try"
_STOP_S = 10  # what a container has to end in before it is killed: engines' own
# What the launcher ends with where it runs nothing, and engines where they cannot start a container.
NOT_BEGUN = 125
_UNDECIDED = "try it with an image for which nothing else decides"


@dataclass(frozen=True)
class Run:
    """One run. report: of a permissive one, None where no container began; is_stopped: by --duration."""

    mode: str
    status: int
    report: Report | None = None
    is_stopped: bool = False

    @property
    def end(self) -> str:
        """How it ended, in words. What is stopped ends as it can: only the first process of a container is spared."""
        return "--duration" if self.is_stopped else str(self.status)

    @property
    def has_begun(self) -> bool:
        """Whether the program was reached, as far as that can be told."""
        return self.report is not None if self.mode == PERMISSIVE else self.status != NOT_BEGUN


def run_all(
    command: EngineCommand, data: bytes, modes: Sequence[str], *, duration: float | None
) -> tuple[list[Run], int]:
    """Run the container in each mode, until one does not begin or a signal ends it.

    Args:
        data: the compiled policy.
        duration: seconds after which a container is stopped, or None.

    Returns:
        The runs, and the number of the signal that ended it, or 0.

    Raises:
        CannotExecute: there is no engine. Failure: it cannot be tried.
    """
    runs: list[Run] = []
    with Signals(WAITED) as signals, _ground(command, data) as ground:
        stdin = _Input(is_wanted=command.is_set("interactive"))
        for number, mode in enumerate(modes):
            if number:
                stdin.again()
            say(f"scmm try: {mode}: {'nothing is refused' if mode == PERMISSIVE else 'the policy holds'}")
            run, heard = _run(ground, mode, signals, duration=duration)
            runs.append(run)
            if heard or not run.has_begun:
                return runs, heard
    return runs, 0


@dataclass(frozen=True)
class _Ground:
    """options: what tells the engine of our runtime."""

    command: EngineCommand
    trial: Trial
    options: tuple[str, ...]

    def words(self, mode: str) -> list[str]:
        """The user's words, with ours behind the options."""
        # Not by annotation: podman's precreate hook would look for the policy in the host's store.
        told = (f"--env=SCMM_POLICY={self.trial.reference}", f"--env=SCMM_MODE={mode}")
        return self.command.with_last_options([*self.options, *told, f"--label={self.label}", "--rm"])

    @property
    def label(self) -> str:
        """What our containers have, and no others."""
        return f"{_LABEL}={self.trial.name}"

    def stop(self) -> None:
        """Have what runs end, as `docker stop` does."""
        for each in engine_answers.labelled(self.command.client, self.label):
            with suppress(Failure):  # it has ended by itself
                engine_answers.asked([*self.command.client, "stop", f"--time={_STOP_S}", each])

    def remove(self) -> None:
        """Remove what is left, running or not."""
        for each in engine_answers.labelled(self.command.client, self.label):
            with suppress(Failure):
                engine_answers.asked([*self.command.client, "rm", "--force", "--volumes", each])
        left = engine_answers.labelled(self.command.client, self.label)
        if left:
            what = f"the container {left[0][:12]} cannot be removed"
            raise Failure(what, f"{self.command.engine} rm --force {left[0][:12]}")


@contextmanager
def _ground(command: EngineCommand, data: bytes) -> Iterator[_Ground]:
    if command.engine is Engine.DOCKER:
        shim = docker_shim(command)
        with trying.for_docker(data, shim.settings.policy_dir, shim.settings.log_file) as trial:
            yield _Ground(command, trial, shim.options)
        return
    origin = installation.origin()
    made = trying.Parts(
        template=(origin.templates / parts.TEMPLATE).read_text(),
        python=origin.python,
        package=origin.package,
        launcher=launcher.find(os.uname().machine).read_bytes(),
        hook=installation.LIBEXEC_DIR / installation.STARTER,
        runtime=installed.real_runtime(engine_answers.podman_runtime(command.client)),
    )
    with trying.for_podman(data, made) as trial:
        yield _Ground(command, trial, (f"--runtime={trial.starter}",))


def _run(ground: _Ground, mode: str, signals: Signals, *, duration: float | None) -> tuple[Run, int]:
    """One run, and the signal that ended it or 0."""
    came: list[int] = []
    stopped: list[float] = []

    def over() -> None:
        stopped.append(duration or 0)
        ground.stop()

    def ending(heard: Sequence[int]) -> None:
        came[:] = heard
        if len(heard) > 1:
            ground.remove()  # the program does not heed the first

    if mode == PERMISSIVE:
        ground.trial.expect_report()
    try:
        limit = None if duration is None else Limit(duration, over)
        status = attend(ground.words(mode), signals, ending=ending, limit=limit)
    finally:
        ground.remove()
    if (why := ground.trial.overridden()) is not None:
        raise Failure(f"it was not this policy that held in the {mode} run: {plain(why)}", _UNDECIDED)
    text = ground.trial.report() if mode == PERMISSIVE else None
    report = None if text is None else reports.parse(text)
    return Run(mode, status, report, bool(stopped)), came[0] if came else 0


class _Input:
    """Standard input for more than one run: a terminal is for all of them, a file is opened again.

    is_wanted: the container reads it.
    """

    def __init__(self, *, is_wanted: bool) -> None:
        self._is_wanted = is_wanted
        self._begin: int | None = None
        self._is_used_up = False
        try:
            status = os.fstat(0)
        except OSError:
            return  # there is none
        if stat.S_ISREG(status.st_mode):
            self._begin = os.lseek(0, 0, os.SEEK_CUR)
        elif not os.isatty(0) and not os.path.samestat(status, Path(os.devnull).stat()):
            self._is_used_up = True

    def again(self) -> None:
        """Have it for another run, from where it began."""
        if self._begin is None and not self._is_used_up:
            return
        if self._is_used_up and self._is_wanted:
            say("note: standard input is no file that could be read twice: this run gets none")
        try:
            new = os.open("/proc/self/fd/0" if self._begin is not None else os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise Failure(f"standard input cannot be opened again: {error.strerror}") from None
        os.lseek(new, self._begin or 0, os.SEEK_SET)
        os.dup2(new, 0)
        os.close(new)
