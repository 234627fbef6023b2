"""Hooks added to an OCI configuration, as parsed JSON and in place: the recorder's pair, and those that tidy up. Pure.

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
    annotations = config.get("annotations")
    if annotations is None:
        annotations = config["annotations"] = {}
    if not isinstance(annotations, dict):
        raise ValueError("config.json: .annotations: not an object")
    annotations[names.RECORD] = "required" if wish.required else "true"
    if wish.name is not None:
        annotations[names.NAME] = wish.name
    else:
        # What is there cannot be used, and the hook has a default.
        annotations.pop(names.NAME, None)
    hooks = config.get("hooks") or {}
    there = [
        one.get("path")
        for stage in ("prestart", "createRuntime")
        for one in (hooks.get(stage) or [] if isinstance(hooks, dict) else [])
        if isinstance(one, dict)
    ]
    if starter not in there:
        add(config, "prestart", starter, ["scmm-hook", "prestart"], timeout=_RECORDERS_TIMEOUT)
    add(config, "poststop", starter, ["scmm-hook", "poststop"], timeout=_RECORDERS_TIMEOUT)


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
