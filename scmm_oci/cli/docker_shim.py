"""Which of Docker's runtimes is scmm-runc, for a `docker run` that is to be recorded or tried."""

from __future__ import annotations

from dataclasses import dataclass

from scmm_oci.enforcer import installed
from scmm_oci.enforcer.registration import engines
from scmm_oci.enforcer.shim_settings import Settings
from scmm_oci.errors import BadInput, Failure, Problem, short
from scmm_oci.recorder import engine_answers
from scmm_oci.recorder.engine_command import PLACE, EngineCommand


@dataclass(frozen=True)
class Shim:
    """A runtime of Docker's that is ours. options: what the command lacks to be run by it."""

    options: tuple[str, ...]
    settings: Settings


def docker_shim(command: EngineCommand) -> Shim:
    """The runtime of ours that the command names, else Docker's default if that is ours, else the usual one.

    Raises:
        BadInput: the command names another one. Failure: there is none, or Docker does not answer.
    """
    runtimes = engine_answers.docker_runtimes(command.client)
    ours = {name: path for name, path in runtimes.paths.items() if installed.is_starter(path)}
    if not ours:
        # Docker has it from when it read its configuration last.
        notice = engines.ENGINES[engines.Kind.DOCKER].reload
        hint = f"scmm install docker makes it known; where that was done: {notice}"
        raise Failure("Docker does not know scmm-runc, without which nothing can be done to its containers", hint)
    chosen = command.last("runtime")
    if chosen is not None and chosen not in ours:
        hint = f"leave it out, or give {' or '.join(sorted(ours))}"
        raise BadInput([Problem(PLACE, f"--runtime {short(chosen)} is not scmm-runc", hint)])
    name = chosen or min(ours, key=lambda each: (each != runtimes.default, each != engines.NAME, each))
    return Shim(() if chosen else (f"--runtime={name}",), installed.settings_of(ours[name]))
