"""Hooks added to an OCI configuration, as parsed JSON and in place: the recorder's pair, the watch's, and those that
tidy up. Pure.

Standard library only, and little of it: stands on every container start (scmm_oci.enforcer.shim).
"""

from __future__ import annotations

from scmm_oci.enforcer.bundle import member
from scmm_oci.oci import annotations as names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from scmm_oci.enforcer.wishes import Wish

_TIMEOUT = 10  # seconds
# A runtime that kills a hook starts no container. The recorder's give up by themselves before, whatever their deadline
# is: it is 60 seconds at most (recorder.settings), and those who install descriptors add two.
_RECORDERS_TIMEOUT = 62


def record(config: dict[str, Any], starter: str, wish: Wish) -> None:
    """Have the recorder's hooks called, by the path of their starter, and say in annotations what they look for.

    Hooks that are there already (an engine's hooks directory adds the same) are not added twice.

    Raises:
        ValueError: hooks or annotations are malformed.
    """
    annotations = _annotations(config)
    annotations[names.RECORD] = "required" if wish.required else "true"
    for key, value in ((names.NAME, wish.name), (names.DEPTH, wish.depth)):
        if value is not None:
            annotations[key] = value
        else:
            # What is there cannot be used, and the hook has a default.
            annotations.pop(key, None)
    if not _called(config, starter):
        add(config, "prestart", starter, ["scmm-hook", "prestart"], timeout=_RECORDERS_TIMEOUT)
    add(config, "poststop", starter, ["scmm-hook", "poststop"], timeout=_RECORDERS_TIMEOUT)


def watch(config: dict[str, Any], starter: str, *, action: str, policy: str, launcher: str | None) -> None:
    """Have the watch's hooks called, by the path of their starter, and say in annotations what they look for.

    Those that are there already are told what we know: an engine's hooks directory does not know of a launcher.

    Args:
        action: of oci.annotations.ACTIONS; policy: NAME@sha256:HEX, so that what is watched by is what was looked at.
        launcher: the file, on the host, that a container's first program is; None where it is no launcher.

    Raises:
        ValueError: hooks or annotations are malformed.
    """
    _annotations(config).update({names.WATCH: action, names.POLICY: policy})
    more = [] if launcher is None else ["--launcher", launcher]
    there = _called(config, starter)
    for each in there:
        words = each.get("args")
        each["args"] = [*(words[:2] if isinstance(words, list) else ["scmm-watch-hook", "prestart"]), *more]
    if not there:
        add(config, "prestart", starter, ["scmm-watch-hook", "prestart", *more], timeout=_RECORDERS_TIMEOUT)
    add(config, "poststop", starter, ["scmm-watch-hook", "poststop"], timeout=_RECORDERS_TIMEOUT)


def _annotations(config: dict[str, Any]) -> dict[str, str]:
    found = config.get("annotations")
    if found is None:
        found = config["annotations"] = {}
    if not isinstance(found, dict):
        raise ValueError("config.json: .annotations: not an object")
    return found


def _called(config: dict[str, Any], starter: str) -> list[dict[str, Any]]:
    """The hooks of that path that come before a container starts."""
    hooks = config.get("hooks")
    return [
        one
        for stage in ("prestart", "createRuntime")
        for one in (hooks.get(stage) or [] if isinstance(hooks, dict) else [])
        if isinstance(one, dict) and one.get("path") == starter
    ]


def add(config: dict[str, Any], stage: str, path: str, args: Sequence[str], *, timeout: int = _TIMEOUT) -> None:
    """Append a hook (runtime-spec, "POSIX-platform Hooks") unless one of that path and arguments is there.

    Args:
        stage: prestart, poststop, …; path: absolute, on the host; args: with the name, argv[0]; timeout: seconds.

    Raises:
        ValueError: the hooks are malformed.
    """
    hooks = member(config, "hooks")
    if hooks is None:
        hooks = config["hooks"] = {}
    stages = hooks.get(stage)
    if stages is None:
        stages = hooks[stage] = []
    if not isinstance(stages, list):
        raise ValueError(f"config.json: .hooks.{stage}: not a list")
    wanted = {"path": path, "args": list(args), "timeout": timeout}
    same = ("path", "args")
    if not any(isinstance(one, dict) and all(one.get(key) == wanted[key] for key in same) for one in stages):
        stages.append(wanted)
