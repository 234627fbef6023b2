"""Podman with private state, over runc or crun.

Configuration follows containers.conf(5), containers-storage.conf(5) and oci-hooks(5). Each setting answers a
refusal seen on a root without CAP_SYS_RESOURCE and without systemd: no default ulimits (they would be
raised), no pids limit (no pids controller in a bare cgroup2), cgroupfs instead of systemd, no journal.

crun on cgroup v2 raises RLIMIT_MEMLOCK before it loads the device filter (`bump_memlock` in its ebpf.c) and
fails where that is not permitted, unless the config denies no device. `--privileged` gets round it but drops
the seccomp profile too, even one given with --security-opt, so the rig edits the config instead, with a
`precreate` hook (`devices_hook.py`).
"""

from __future__ import annotations

import copy
import json
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from rig.engine import Engine
from rig.mounts import overlay_works
from rig.namespace import capability, why_not
from rig.process import RigError, clean_environ, find_program

Runtime = Literal["runc", "crun"]
_CAP_SYS_RESOURCE = 24
_DEVICES_HOOK = Path(__file__).with_name("devices_hook.py")


def crun_needs_help() -> bool:
    """Whether crun would fail to raise its locked-memory limit here."""
    hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    return hard != resource.RLIM_INFINITY and not capability(_CAP_SYS_RESOURCE)


class Podman(Engine):
    """One private podman. `runtimes` adds names for `--runtime` (options) or for `runtime`."""

    kind = "podman"

    def __init__(
        self,
        *,
        runtime: Runtime | str = "runc",
        hooks_dirs: Sequence[Path] = (),
        runtimes: Mapping[str, Path] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.runtime = runtime
        self.hooks_dirs = tuple(hooks_dirs)
        self.runtimes = dict(runtimes or {})
        self._extra_env = dict(environ or {})
        self.storage_driver = "vfs"

    @staticmethod
    def available(runtime: Runtime = "runc") -> str | None:
        """Why podman with this runtime cannot run here, or None. Ask after rig.namespace.enter()."""
        return why_not("podman", "conmon", runtime)

    def over(self, runtime: str) -> Podman:
        """The same podman, whose new containers run over another runtime; it is this one that has to be closed."""
        other = copy.copy(self)
        other.runtime = runtime
        return other

    def command(self) -> tuple[str, ...]:
        """podman with its private directories."""
        words = [f"--{part}={self.base / part}" for part in ("root", "runroot", "tmpdir")]
        return ("podman", *words, f"--storage-driver={self.storage_driver}", f"--runtime={self.runtime}")

    def _start(self) -> None:
        reason = self.available()
        if reason:
            raise RigError(f"podman: {reason}")
        self.storage_driver = "overlay" if overlay_works(self.base) else "vfs"
        for part in ("root", "runroot", "tmpdir", "hooks", "cni", "volumes"):
            (self.base / part).mkdir(mode=0o700)
        if any("crun" in name for name in (self.runtime, *self.runtimes)) and crun_needs_help():
            self._write_devices_hook()
        config, storage = self.base / "containers.conf", self.base / "storage.conf"
        config.write_text(self._config())
        storage.write_text(
            f'[storage]\ndriver = "{self.storage_driver}"\n'
            f'graphroot = "{self.base / "root"}"\nrunroot = "{self.base / "runroot"}"\n'
        )
        self._env = clean_environ(
            "CONTAINER", "PODMAN", "DOCKER", CONTAINERS_CONF=str(config), CONTAINERS_STORAGE_CONF=str(storage)
        )
        self._env |= self._extra_env

    def _config(self) -> str:
        # JSON strings and arrays of strings are TOML too.
        named = {"runc": find_program("runc"), "crun": find_program("crun")}
        paths = {k: v for k, v in named.items() if v} | {k: str(v) for k, v in self.runtimes.items()}
        hooks = [str(self.base / "hooks"), *map(str, self.hooks_dirs)]
        return "\n".join(
            [
                "[containers]",
                "default_ulimits = []",
                "pids_limit = 0",
                'log_driver = "k8s-file"',
                "[network]",
                f"network_config_dir = {json.dumps(str(self.base / 'cni'))}",
                "[engine]",
                'cgroup_manager = "cgroupfs"',
                'events_logger = "none"',
                *self._speaking_json(),
                f"runtime = {json.dumps(self.runtime)}",
                f"hooks_dir = {json.dumps(hooks)}",
                f"volume_path = {json.dumps(str(self.base / 'volumes'))}",
                "[engine.runtimes]",
                *(f"{json.dumps(name)} = {json.dumps([path])}" for name, path in sorted(paths.items())),
                "",
            ]
        )

    def _speaking_json(self) -> list[str]:
        """Of runtimes that it does not know, podman shows errors as they are; the list replaces its own."""
        names = ["crun", "runc", *sorted(self.runtimes)]
        return [f"runtime_supports_json = {json.dumps(names)}"] if self.runtimes else []

    def _write_devices_hook(self) -> None:
        args = ["python3", "-I", "-S", str(_DEVICES_HOOK)]
        hook = {
            "version": "1.0.0",
            "hook": {"path": sys.executable, "args": args, "timeout": 10},
            "when": {"always": True},
            "stages": ["precreate"],
        }
        (self.base / "hooks" / "rig-devices.json").write_text(json.dumps(hook))

    def placement(self) -> Sequence[str]:
        return (f"--cgroup-parent=/{self.cgroup.parent.name}/{self.cgroup.name}",)

    def rm(self, name: str) -> None:
        """Kill and remove a container, without the ten seconds in which it could end by itself."""
        self("rm", "--force", "--time=0", "--volumes", name)

    def _stop(self) -> None:
        self("rm", "--all", "--force", "--time=0", check=False)
