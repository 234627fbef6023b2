"""Which of podman's containers run over scmm-runc: what its registration is needed for. Called by `scmm install`."""

from __future__ import annotations

import json
from pathlib import Path

from scmm_oci.enforcer.places import Places

# What podman writes into each bundle, and CRI-O with another value (containers/podman, libpod/define/annotations.go).
_MANAGER, _LIBPOD = "io.container.manager", "libpod"


def podmans(run_dir: Path) -> list[str]:
    """The ids of podman's containers that have a directory in run_dir, sorted; those that asked for nothing have none.

    podman needs a container's runtime to stop it; its `rm` without one leaves the program running (seen with 4.3.1).
    """
    places = Places(str(run_dir))
    try:
        places.sweep()
        private = places.bundles()
    except OSError:
        return []  # not as we make it, and so of no container of ours
    found = []
    for directory in private:
        try:
            config = json.loads(Path(directory, "config.json").read_bytes())
            owner = json.loads(Path(directory, "owner.json").read_bytes())
            if config["annotations"].get(_MANAGER) == _LIBPOD:
                found.append(str(owner["id"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # it is being made, or removed
    return sorted(found)
