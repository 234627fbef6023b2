"""Debian's oci-seccomp-bpf-hook as it is meant to be used: installed, given headers, and what it recorded.

It compiles its BPF program with bcc when a container starts, for which it needs the headers of the running kernel
below /lib/modules/RELEASE, and tracefs. Where the kernel has no headers package, Debian's newest stand in for them,
inside the rig's mount namespace only.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rig.mounts import MS_NODEV, MS_NOEXEC, MS_NOSUID, mount, mounted_type
from rig.process import RigError, clean_environ, missing_programs, run

HOOK = Path("/usr/libexec/oci/hooks.d/oci-seccomp-bpf-hook")
MODULES = Path("/lib/modules")
TRACEFS = Path("/sys/kernel/tracing")
ANNOTATION = "io.containers.trace-syscall"


def packages() -> tuple[str, str]:
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    return ("oci-seccomp-bpf-hook", f"linux-headers-{arch}")


def install() -> None:
    """Install the packages that are missing, with apt-get. Raises RigError."""
    if unavailable() is None:
        return
    reason = missing_programs("apt-get") or (None if os.geteuid() == 0 else "installing packages needs root")
    if reason:
        raise RigError(f"{' '.join(packages())}: {reason}")
    env = clean_environ(DEBIAN_FRONTEND="noninteractive")
    run(["apt-get", "update", "-q"], timeout=300, env=env)
    run(["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages()], timeout=900, env=env)


def unavailable() -> str | None:
    """Why it cannot run here, or None."""
    if not HOOK.exists():
        return f"{packages()[0]} is not installed (--install-incumbent does it)"
    if _headers() is None:
        return f"no kernel headers below {MODULES} (--install-incumbent installs {packages()[1]})"
    return None


def prepare() -> None:
    """Mount what it looks for. Call inside the rig's namespace: outside, nothing changes. Raises RigError."""
    if mounted_type(TRACEFS) != "tracefs":
        mount("tracefs", TRACEFS, "tracefs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    found = _headers()
    if found is None:
        raise RigError(unavailable() or "no kernel headers")
    own = MODULES / os.uname().release
    if (own / "build").is_dir():
        return
    mount("tmpfs", MODULES.resolve(), "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
    own.mkdir()
    for name, target in zip(("build", "source"), found, strict=True):
        (own / name).symlink_to(target)


def write_descriptor(hooks_dir: Path) -> None:
    """The descriptor that the package installs for every podman, here for one."""
    descriptor = {
        "version": "1.0.0",
        "hook": {"path": str(HOOK), "args": [HOOK.name, "-s"]},
        "when": {"annotations": {f"^{ANNOTATION.replace('.', '[.]')}$": ".*"}},
        "stages": ["prestart"],
    }
    (hooks_dir / "oci-seccomp-bpf-hook.json").write_text(json.dumps(descriptor))


def take_names(path: Path) -> frozenset[str]:
    """The names in the profile it wrote, which is removed. Raises RigError where it wrote none."""
    try:
        document = json.loads(path.read_bytes())
        path.unlink()
        return frozenset(name for rule in document["syscalls"] for name in rule["names"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RigError(f"no profile in {path.name}: {error}") from None


@dataclass(frozen=True)
class Names:
    """What several recordings of one program came to."""

    runs: int
    fewest: int
    most: int
    different: int  # sets
    in_all: int
    lacking: tuple[tuple[str, int], ...]  # names the program certainly called → runs without them


def compare(recorded: Sequence[frozenset[str]], truth: frozenset[str]) -> Names:
    """How far recordings of one program agree with each other and with `truth`; there must be one at least."""
    counts = [len(names) for names in recorded]
    lacking = Counter(name for names in recorded for name in truth - names)
    in_all = len(frozenset.intersection(*recorded))
    return Names(len(recorded), min(counts), max(counts), len(set(recorded)), in_all, tuple(sorted(lacking.items())))


def _headers() -> tuple[Path, Path] | None:
    """The running kernel's `build` and `source`, else the newest installed."""
    own = MODULES / os.uname().release
    links = sorted(MODULES.glob("*/build"), key=lambda path: (path.parent == own, path.stat().st_mtime))
    for build in reversed(links):
        source = build.with_name("source")
        if build.is_dir():
            return build.resolve(), (source if source.is_dir() else build).resolve()
    return None
