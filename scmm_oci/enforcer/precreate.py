"""podman's precreate hook: a container that asks for a policy by annotation runs under it, without --runtime.

podman gives the hook the configuration that it will have the runtime create, and takes what the hook prints instead
(oci-hooks(5)). It is called at each start. Enforcing fails closed: where the hook fails, is killed, exceeds its time or
prints no whole configuration, podman starts nothing (measured: 4.3.1, over runc and crun). podman throws away what a
hook writes to standard error, so that a container that may not start gets a program that cannot be, whose name is the
reason: runtimes tell that. What `podman exec` and health checks run is not changed; scmm-runc is for that.

Standard library only, and little of it: stands on every start of such a container.
"""

from __future__ import annotations

import os
import sys
import time

from scmm_oci.enforcer import (
    added_hooks,
    again,
    bundle,
    copies,
    enforcing,
    runtime_root,
    shim_settings,
    telling,
    wishes,
)
from scmm_oci.enforcer.shim import text_of
from scmm_oci.oci import annotations as names
from scmm_oci.oci import config_json, runtime_argv
from scmm_oci.oci.state import MAX_CONFIG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from scmm_oci.enforcer.shim_settings import Settings
    from scmm_oci.enforcer.wishes import Wish

NAME = "scmm-precreate"
PRECREATE, POSTSTOP = "precreate", "poststop"
USAGE = f"usage: {NAME} --settings FILE {PRECREATE} < config.json, or {POSTSTOP} PLACE"
_MAX_REASON = 500  # characters


def main(argv: Sequence[str] | None = None) -> int:
    """Run the hook: 0, or 1 where podman may not start the container, 2 for usage. argv: None takes the process's."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] != ["--settings"] or (given[2:] != [PRECREATE] and (given[2:3] != [POSTSTOP] or len(given) != 4)):
        sys.stderr.write(USAGE + "\n")
        return 2
    path, stage, *rest = given[1:]
    try:
        settings = shim_settings.read(path)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{NAME}: {error}; run scmm hooks install again\n")
        return int(stage == PRECREATE)
    try:
        if stage == POSTSTOP:
            copies.remove(copies.directory(settings), rest[0])
            return 0
        starter = os.path.join(os.path.dirname(os.path.abspath(path)), NAME)
        _printed(answer(sys.stdin.buffer.read(MAX_CONFIG + 1), settings, starter))
        return 0
    except Exception as error:
        # Also a defect of ours: podman starts nothing, and the log has what is needed to mend it.
        import traceback

        known = isinstance(error, (OSError, ValueError))
        text = text_of(error) if known else "".join(traceback.format_exception(error))
        telling.note(settings.log_file, f"{NAME} {stage}: {text}", now=time.time())
        sys.stderr.write(f"{NAME}: {telling.printable(text)}\n")
        return 1


def answer(data: bytes, settings: Settings, starter: str) -> bytes:
    """What podman is to create instead of the configuration in `data`: the same, enforced; or what cannot start.

    starter: the program that a poststop hook calls.

    Raises ValueError: it is no configuration, or has no process to refuse.
    """
    if len(data) > MAX_CONFIG:
        raise ValueError(f"config.json: larger than {MAX_CONFIG} bytes")
    config = config_json.loads(data)
    if not isinstance(config, dict):
        raise ValueError("config.json: an object expected")
    container = copies.container_of(config)
    try:
        return _enforced(data, config, settings, starter, container)
    except Exception as error:
        if not isinstance(error, (OSError, ValueError)):
            import traceback

            _note(settings, container, "".join(traceback.format_exception(error)))
        reason = text_of(error) + _of_users()
        _note(settings, container, f"not started: {reason}")
        # What was half changed is not what to refuse by.
        left = isinstance(error, enforcing.ForShim)
        return config_json.dumps(_refused(config_json.loads(data), reason, left=left))


def _enforced(data: bytes, config: dict[str, Any], settings: Settings, starter: str, container: str) -> bytes:
    """The configuration under the policy that it asks for; `data` where it asks for none."""
    wish = wishes.read(config, settings, container=container or None, named=lambda: _image(config, container))
    _recording(config, wish)
    for each in wish.notes:
        _note(settings, container, each)
    if wish.problems:
        raise ValueError("; ".join(wish.problems))
    if not wish.policy:
        return data
    line = runtime_argv.parse(["create", container or "unknown"])
    if not wish.is_enforced:
        enforcing.watched(settings, line, config, wish, digest=wish.digest)
        return config_json.dumps(config)
    again.take_back(config)
    # podman's own paths are absolute; another hook's may not be, and nobody says where they would begin.
    bundle.absolute(config, "/")
    with copies.claim(copies.directory(settings), container) as copy:
        decided: dict[str, Any] = {}
        policy = enforcing.enforced(settings, line, config, wish, copy, decided)
        added_hooks.add(config, POSTSTOP, starter, [NAME, POSTSTOP, copy.key])
        result = config_json.dumps(config)
        mapped = enforcing.outside(config)
        copy.write(config=result, plan=decided, policy=policy, owner=mapped, reachable=mapped is not None)
        copies.keep(copy)
        return result


def _image(config: dict[str, Any], container: str) -> tuple[str, ...]:
    """The image's names as podman has them, where it says where that is."""
    from scmm_oci.enforcer import images

    problem = None
    for place in copies.userdata_of(config):
        try:
            if found := images.names(place, place, container):
                return found
        except ValueError as error:
            problem = error  # one is below --runroot, and podman's records are below --root
    if problem is not None:
        raise problem
    return ()


def _recording(config: dict[str, Any], wish: Wish) -> None:
    """podman has looked for the recording's hooks before, by annotation: the environment comes too late."""
    if not wish.record or names.RECORD in wishes.annotations_of(config):
        return
    message = f"SCMM_RECORD is for scmm-runc; podman's hooks record by the annotation {names.RECORD}"
    (wish.problems if wish.required else wish.notes).append(f"not recorded: {message}")


def _refused(config: dict[str, Any], reason: str, *, left: bool) -> dict[str, Any]:
    """The configuration with a program that cannot be, by the name of the reason; nothing is set up for it.

    A path that ends with a slash is a directory's or nobody's: execve(2) has EACCES, ENOTDIR or ENOENT for it.

    left: to scmm-runc, which takes this back if it is the runtime; so all else stays.

    Raises ValueError where it has no process.
    """
    process = config.get("process")
    if not isinstance(process, dict):
        raise ValueError(reason)
    word = f"{again.NOT_STARTED}{telling.printable(reason)[:_MAX_REASON]}/"
    arguments = process.get("args")
    if left and isinstance(arguments, list):
        process["args"] = [word, *arguments]
        return config
    process["args"] = [word]
    config["hooks"] = {}
    return config


def _of_users() -> str:
    """What else is to be known where it is not root who failed: rootless podman calls hooks in its user namespace."""
    if os.geteuid() == 0 and not runtime_root.in_user_namespace():
        return ""
    return " (policies are root's: rootless containers cannot have one)"


def _printed(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def _note(settings: Settings, container: str, message: str) -> None:
    telling.note(settings.log_file, f"{NAME}: container {container[:64] or 'unknown'}: {message}", now=time.time())
