"""A configuration that is enforced already: what was put there is taken out, before it is enforced anew. Pure.

podman's precreate hook comes before scmm-runc, and twice where two directories of hooks have it. Who put the launcher
before the launcher would have it start itself, which no policy allows. Standard library only (precreate hook).
"""

from __future__ import annotations

import os

from scmm_oci.enforcer import bundle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Where a hook could not enforce what scmm-runc can: this, why, and "/", before what the container was to start.
NOT_STARTED = "scmm-precreate: not started: "

_OURS = (bundle.LAUNCHER, bundle.POLICY, bundle.REPORT)


def take_back(config: dict[str, Any]) -> bool:
    """Take out mounts and words of `bundle.enforce`, or the word that left it to scmm-runc; whether they were there.

    No-new-privileges stays, and so does what was admitted to the seccomp section.

    Raises ValueError: the mounts are there, and the program is not behind the launcher.
    """
    mounts, process = config.get("mounts"), config.get("process")
    if isinstance(process, dict) and _is_left(process):
        while _is_left(process):
            del process["args"][0]
        return True
    if not isinstance(mounts, list) or not isinstance(process, dict):
        return False
    ours = {name: each["destination"] for each in mounts if (name := _ours(each))}
    if bundle.LAUNCHER not in ours or bundle.POLICY not in ours:
        return False
    words = process.get("args")
    if not isinstance(words, list) or words[:1] != [ours[bundle.LAUNCHER]] or "--" not in words:
        raise ValueError(f"config.json: {ours[bundle.LAUNCHER]} is a mount, and not what the container starts")
    process["args"] = words[words.index("--") + 1 :]
    config["mounts"] = [each for each in mounts if not _ours(each)]
    return True


def _is_left(process: dict[str, Any]) -> bool:
    words = process.get("args")
    return (
        isinstance(words, list)
        and len(words) > 1
        and isinstance(words[0], str)
        and words[0].startswith(NOT_STARTED)
        and words[0].endswith("/")
    )


def _ours(mount: object) -> str:
    """Which of our names the mount is at, or ""."""
    place = mount.get("destination") if isinstance(mount, dict) else None
    name = os.path.basename(place) if isinstance(place, str) else ""
    return name if name in _OURS else ""
