"""The engines that can be told of the shim: where each has its configuration, how that is edited, what comes next.

A table and nothing else; called by cli.install and `registration.standing`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from scmm_oci.enforcer import shim_settings
from scmm_oci.enforcer.registration import containerd, docker, parts, podman
from scmm_oci.errors import Finding

# What engines call the shim over the default runtime; the name is that of the RuntimeClass's handler too.
NAME = "scmm"


def names(libexec: Path, runtimes: Iterable[str]) -> dict[str, str]:
    """What engines are told: the name of each runtime with them, the default first → the starter's path."""
    return {
        NAME if each == shim_settings.DEFAULT else f"{NAME}-{each}": str(libexec / parts.starter(each))
        for each in sorted(runtimes, key=lambda each: (each != shim_settings.DEFAULT, each))
    }


class Kind(StrEnum):
    DOCKER = "docker"
    PODMAN = "podman"
    CONTAINERD = "containerd"


@dataclass(frozen=True)
class Engine:
    """One engine.

    config: its configuration, of which other places may exist.
    edited: the text of the file (None: there is none) and runtimes (name → absolute path of the program) → the text
        with these in it, the same text if they are. Raises BadInput, with every problem.
    entries: the text of the file and names of runtimes → those of them that it has, whatever they are.
    notes: the text of the edited file and runtimes → what it will not do, or what else to look at.
    reload, unload, trial: commands: how the engine takes notice, of what is gone too, and how to see that it works.
    """

    config: Path
    edited: Callable[[str | None, Mapping[str, str]], str]
    entries: Callable[[str | None, Mapping[str, str]], list[str]]
    notes: Callable[[str, Mapping[str, str]], list[Finding]]
    reload: str
    unload: str
    trial: str


_PODMAN_READS = "there is nothing to do: it reads that each time; restart its service, if there is one (podman.socket)"
_CONTAINERD_READS = "systemctl restart containerd; containers go on running"

ENGINES: Mapping[Kind, Engine] = {
    Kind.DOCKER: Engine(
        Path("/etc/docker/daemon.json"),
        docker.edited,
        docker.entries,
        docker.notes,
        # dockerd(8): runtimes are among what is read anew at SIGHUP.
        "systemctl reload docker, or send dockerd a SIGHUP",
        # At SIGHUP a file without `runtimes` leaves those that it knows (seen with 20.10).
        "systemctl reload docker; systemctl restart docker where daemon.json has no `runtimes` any more",
        f"docker run --rm --runtime {NAME} -e SCMM_RECORD=1 IMAGE",
    ),
    Kind.PODMAN: Engine(
        Path("/etc/containers/containers.conf"),
        podman.edited,
        podman.entries,
        podman.notes,
        _PODMAN_READS,
        _PODMAN_READS,
        f"podman --runtime {NAME} run --rm --annotation scmm.record=true IMAGE",
    ),
    Kind.CONTAINERD: Engine(
        Path("/etc/containerd/config.toml"),
        containerd.edited,
        containerd.entries,
        containerd.notes,
        _CONTAINERD_READS,
        _CONTAINERD_READS,
        f"a RuntimeClass with handler {NAME} (deploy/kubernetes), or ctr run --runc-binary PROGRAM …",
    ),
}
