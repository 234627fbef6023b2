"""The seccomp profiles that engines bring along. They are others' work: tests read them where they lie, or fetch them.

podman's is a file of a package that podman needs. Docker's is compiled into dockerd; the file that it is made of is
in Debian's golang-github-docker-docker-dev, which needs 250 packages more, so only that file is taken out of it, once,
into the rig's cache.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from rig.images import cache_dir
from rig.process import RigError, missing_programs, run

# Debian's golang-github-containers-common.
PODMAN_DEFAULT = Path("/usr/share/containers/seccomp.json")

_PACKAGE = "golang-github-docker-docker-dev"
_MEMBER = "./usr/share/gocode/src/github.com/docker/docker/profiles/seccomp/default.json"


def podman_default_unavailable() -> str | None:
    """Why podman's default profile cannot be read here, or None."""
    return None if PODMAN_DEFAULT.exists() else f"{PODMAN_DEFAULT} is not there (golang-github-containers-common)"


def docker_default_unavailable() -> str | None:
    """Why Docker's default profile cannot be had here, or None. A cached one needs nothing but docker.io."""
    reason = missing_programs("dpkg-query", "dpkg-deb", "apt-get", "tar")
    if reason:
        return reason
    try:
        docker_default()
    except RigError as error:
        return f"Docker's default profile cannot be fetched: {error}"
    return None


def docker_default() -> Path:
    """The file of Docker's default profile, of the version that is installed.

    Raises:
        RigError: Docker is not Debian's, or apt does not get the package.
    """
    # Built again without a change (+b6), a binary package has another version than its source.
    version = run(["dpkg-query", "-W", "-f", "${source:Version}", "docker.io"]).stdout
    target = cache_dir() / f"docker-default-{version}.json"
    if not target.exists():
        scratch = Path(tempfile.mkdtemp(prefix=".docker-default-", dir=cache_dir()))
        try:
            run(["apt-get", "-q", "download", f"{_PACKAGE}={version}"], cwd=scratch, timeout=120)
            (package,) = scratch.glob("*.deb")
            run(["dpkg-deb", "--extract", package, scratch])
            (scratch / _MEMBER).rename(target)
        finally:
            shutil.rmtree(scratch)
    return target
