"""Where engines' own seccomp profiles lie on this machine. They are others' work, so tests read them in place."""

from __future__ import annotations

import os
from pathlib import Path

# Debian's golang-github-containers-common, which podman needs.
PODMAN_DEFAULT = Path("/usr/share/containers/seccomp.json")

# Debian's golang-github-docker-docker-dev, of docker.io's source; in the variable, a file of another version.
DOCKER_DEFAULT = Path(
    os.environ.get("SCMM_DOCKER_PROFILE")
    or "/usr/share/gocode/src/github.com/docker/docker/profiles/seccomp/default.json"
)
