"""What tests of `scmm verify --replay` share: bundles, profiles, the command as a process, and what replays leave."""

from __future__ import annotations

import json
import os
import platform
import sys
from contextlib import suppress
from pathlib import Path

from rig import images
from rig import runc as bundles
from scmm_oci.oci.seccomp import OciAction, Profile, Rule
from scmm_oci.recorder.replay import leftovers
from scmm_oci.tables.arch import from_machine

MACHINE = from_machine(platform.machine())
# `scmm` as a process, followed by its arguments.
SCMM = [sys.executable, "-c", "import sys; from scmm_oci.cli.main import main; sys.exit(main(sys.argv[1:]))"]


def bundle_of(directory: Path, script: str) -> Path:
    """A bundle whose program is a script of busybox's shell."""
    config = bundles.template("busybox-sh")
    config["root"]["path"] = str(images.rootfs(images.busybox()))
    config["process"]["args"] = ["sh", "-c", script]
    (directory / "config.json").write_text(json.dumps(config))
    return directory


def allowing(names: set[str], default: OciAction = OciAction.ERRNO) -> Profile:
    """A profile that allows just these."""
    return Profile(default, None, (MACHINE.scmp,), syscalls=(Rule(tuple(sorted(names)), OciAction.ALLOW),))


def left(replay: int | None = None) -> set[str]:
    """What of replays by a process, or this one, is on this host: directories, mounts, cgroups, pins, processes."""
    tag = f"{leftovers.PREFIX}{os.getpid() if replay is None else replay}-"
    found = {str(path) for place in ("/run", "/sys/fs/cgroup", "/sys/fs/bpf") for path in Path(place).glob(f"{tag}*")}
    found |= {line for line in Path("/proc/self/mountinfo").read_text().splitlines() if tag in line}
    return found | {words for path in Path("/proc").glob("[0-9]*/cmdline") if f"/{tag}" in (words := _read(path))}


def running(replay: int) -> list[str]:
    """The programs that the containers of a replay execute."""
    found = []
    for path in Path("/sys/fs/cgroup").glob(f"{leftovers.PREFIX}{replay}-*/cgroup.procs"):
        with suppress(OSError):
            found += [os.readlink(f"/proc/{pid}/exe") for pid in path.read_text().split()]
    return found


def _read(path: Path) -> str:
    try:
        return path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
