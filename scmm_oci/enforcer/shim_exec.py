"""scmm-runc's exec: launcher and policy before every process that comes into an enforced container.

Health checks and `docker exec` come this way, past whatever stands before the container's own program. Standard library
only (scmm-runc).
"""

from __future__ import annotations

import os

from scmm_oci.enforcer import bundle, enforcing, runtime_root, wishes
from scmm_oci.enforcer.place import MAX_STATE, STATES, Lost
from scmm_oci.enforcer.places import Places
from scmm_oci.oci import config_json, runtime_argv

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scmm_oci.enforcer.place import Place
    from scmm_oci.enforcer.shim_settings import Settings
    from scmm_oci.oci.runtime_argv import CommandLine

MAX_PROCESS = 1 << 20  # bytes


def words(settings: Settings, line: CommandLine, inherited: dict[int, int] | None = None) -> list[str]:
    """The words for the runtime: those given, or with the launcher before what is to run.

    inherited: gets the descriptors that the runtime has to hand on (passing.become).

    Raises OSError and ValueError where the container is enforced, and the process cannot be.
    """
    given = list(line.words)
    if line.id is None:
        return given  # the runtime says what is missing
    root = runtime_root.of(line)
    place = Places(settings.run_dir).find(root, line.id)
    if place is None:
        if _names(os.path.join(root, line.id), settings.run_dir):
            raise Lost(f"the container was made from a bundle in {settings.run_dir}, and it is not known from which")
        return given
    with place:
        decided = place.plan()
        plan = _plan(decided)
        named = line.options.get("process")
        if plan is None:
            return _only_stripped(line, place, named) if named else given
        place.check_policy(decided.get("sha256"))
        if not named and not line.command:
            return given
        plan.preserve_fds = line.preserve_fds + enforcing.listening(line)
        if "asks" in decided:
            line = _asking(settings, line, plan, decided, inherited)
        if named:
            process = _process(named, pipe=True)
            wishes.strip(process)
            bundle.exec_process(process, plan)
            return line.with_option("process", place.write_process(config_json.dumps(process)))
    return line.with_command([*bundle.words(plan), *line.command])


def _asking(
    settings: Settings, line: CommandLine, plan: bundle.Plan, decided: dict[str, Any], inherited: dict[int, int] | None
) -> CommandLine:
    """The command line that hands a connection to the monitor on, of which the plan tells the launcher.

    Raises ValueError where nobody is there to be asked, or nothing can be handed on; Lost for what is no state.
    """
    from scmm_oci.enforcer import handing

    told, name = decided["asks"], decided.get("name")
    if not (isinstance(told, dict) and isinstance(name, str)):
        raise Lost("what the monitor is to be told of the container is not known any more")
    if inherited is None:
        raise ValueError("no descriptor can be handed on")
    plan.listener_fd = handing.place(line)
    plan.name, plan.state = name, handing.word({**told, "status": "running"})
    try:
        inherited[plan.listener_fd] = handing.connected(settings.monitor)
    except ValueError as error:
        raise ValueError(f"calls in this container are asked about, and {error}") from None
    return runtime_argv.parse(line.with_option("preserve-fds", str(line.preserve_fds + 1)), dialect=line.dialect)


def _process(path: str, *, pipe: bool) -> dict[str, Any]:
    try:
        return config_json.read(path, limit=MAX_PROCESS, pipe=pipe)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _only_stripped(line: CommandLine, place: Place, named: str) -> list[str]:
    """The words for a process in a container that is only recorded: it sees no variable that the first one did not.

    Engines give it the container's environment, as it was before. Whatever goes wrong, it starts.
    """
    try:
        process = _process(named, pipe=False)  # what is read of a pipe, the runtime could not read any more
        if wishes.strip(process):
            return line.with_option("process", place.write_process(config_json.dumps(process)))
    except (OSError, ValueError):
        pass  # the runtime has its own words for it
    return list(line.words)


def _names(directory: str, run: str) -> bool:
    """Whether a runtime's state has a bundle of ours, whichever. Raises OSError where that cannot be told.

    Asked again where no place was found: whatever failed on the way there lets nobody in.
    """
    for each in STATES:
        try:
            descriptor = os.open(os.path.join(directory, each), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            text = b""
            while len(text) <= MAX_STATE and (more := os.read(descriptor, MAX_STATE)):
                text += more
        finally:
            os.close(descriptor)
        if len(text) > MAX_STATE or f"{run}/".encode() in text:
            return True
    return False


def _plan(decided: dict[str, Any]) -> bundle.Plan | None:
    """What is enforced; None where nothing is. Raises Lost."""
    if "policy" not in decided:
        return None
    found = [decided.get(each) for each in ("launcher", "policy", "mode")]
    launcher, policy, mode = found
    if not (isinstance(launcher, str) and isinstance(policy, str) and isinstance(mode, str)):
        raise Lost("how the container is enforced is not known any more: its plan lacks launcher, policy or mode")
    return bundle.Plan(launcher_source="", policy_source="", mode=mode, launcher=launcher, policy=policy)
