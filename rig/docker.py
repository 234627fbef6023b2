"""A real dockerd with private state on a private socket, and the client that talks to it.

Flags follow dockerd(8). No bridge and no iptables, so the host's network is left alone; cgroupfs, because
there is no systemd. dockerd starts its own containerd below --exec-root; both are ended by closing. A
daemon.json of the rig's own keeps the host's from being read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rig.engine import Engine
from rig.mounts import overlay_works
from rig.namespace import why_not
from rig.process import Daemon, RigError, clean_environ, run


class Dockerd(Engine):
    """One private Docker engine. `runtimes` become entries of daemon.json, for `--runtime NAME`.

    `remap`, "USER:GROUP" with ranges in /etc/subuid and /etc/subgid, gives containers a user namespace, whose root has
    to get through the directories.
    """

    kind = "docker"

    def __init__(
        self,
        *,
        runtimes: Mapping[str, Path] | None = None,
        default_runtime: str | None = None,
        flags: Sequence[str] = (),
        remap: str | None = None,
        environ: Mapping[str, str] | None = None,
        start_s: float = 60.0,
    ) -> None:
        super().__init__()
        self.runtimes = dict(runtimes or {})
        self.default_runtime = default_runtime
        self.flags = (*flags, *([f"--userns-remap={remap}"] if remap else []))
        self._mode = 0o711 if remap else 0o700
        self._extra_env = dict(environ or {})
        self._start_s = start_s
        self._daemon: Daemon | None = None

    @staticmethod
    def available() -> str | None:
        """Why dockerd cannot run here, or None. Ask after rig.namespace.enter()."""
        return why_not("dockerd", "docker", "containerd", "runc")

    @property
    def socket(self) -> Path:
        """The API socket."""
        return self.base / "s"

    @property
    def daemon(self) -> Daemon:
        """The running dockerd (its pid, its log)."""
        if self._daemon is None:
            raise RigError("dockerd is not started")
        return self._daemon

    def command(self) -> tuple[str, ...]:
        """The client with the private socket."""
        return ("docker", "-H", f"unix://{self.socket}")

    def _start(self) -> None:
        reason = self.available()
        if reason:
            raise RigError(f"docker: {reason}")
        self.base.chmod(self._mode)
        for part in ("client", "data", "exec"):
            (self.base / part).mkdir(mode=self._mode)
        config: dict[str, object] = {"runtimes": {k: {"path": str(v)} for k, v in self.runtimes.items()}}
        if self.default_runtime:
            config["default-runtime"] = self.default_runtime
        (self.base / "daemon.json").write_text(json.dumps(config))
        self._env = clean_environ("DOCKER", DOCKER_CONFIG=str(self.base / "client"))
        self._daemon = Daemon(
            [
                "dockerd",
                f"--config-file={self.base / 'daemon.json'}",
                f"--data-root={self.base / 'data'}",
                f"--exec-root={self.base / 'exec'}",
                f"--pidfile={self.base / 'pid'}",
                f"--host=unix://{self.socket}",
                f"--cgroup-parent=/{self.cgroup.parent.name}/{self.cgroup.name}",
                f"--storage-driver={'overlay2' if overlay_works(self.base) else 'vfs'}",
                "--exec-opt=native.cgroupdriver=cgroupfs",
                "--bridge=none",
                "--iptables=false",
                "--ip6tables=false",
                *self.flags,
            ],
            log=self.base / "dockerd.log",
            env=self._env | self._extra_env,
            ready=self._answers,
            ready_s=self._start_s,
        ).start()

    def _answers(self) -> bool:
        if not self.socket.exists():
            return False
        cmd = [*self.command(), "version", "--format", "{{.Server.Version}}"]
        return run(cmd, env=self._env, check=False, timeout=20).returncode == 0

    def _stop(self) -> None:
        daemon = self._daemon
        if daemon is None:
            return
        if daemon.running:
            names = self("ps", "--all", "--quiet", "--no-trunc").stdout.split()
            if names:
                self("rm", "--force", "--volumes", *names, check=False)
        daemon.stop()
