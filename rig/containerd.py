"""A real containerd with private state on a private socket, and `ctr` that talks to it; no CRI, no Docker.

Flags follow containerd 1.6's `config default` and `ctr --help`. `ctr` has verbs of its own, so what Docker's and
podman's clients have in common is put in its words here: the image is made an OCI layout first (image-spec 1.0), and
output of a container in the background goes to a file.
"""

from __future__ import annotations

import copy
import gzip
import hashlib
import io
import json
import os
import secrets
import tarfile
from collections.abc import Sequence
from pathlib import Path

from rig.engine import Engine, Network, image_ref
from rig.mounts import overlay_works
from rig.namespace import why_not
from rig.process import Completed, Daemon, RigError, clean_environ, run

_CONFIG = """
version = 2
root = {root}
state = {state}
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
address = {socket}
"""
_NAME = "io.containerd.image.name"
_MEDIA = "application/vnd.oci.image."
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class Containerd(Engine):
    """One private containerd. `runtime` is what `--runc-binary` names: a path, or "" for containerd's own choice."""

    kind = "containerd"

    def __init__(self, *, runtime: Path | str = "", start_s: float = 60.0) -> None:
        super().__init__()
        self.runtime = runtime
        self.snapshotter = "native"
        self._start_s = start_s
        self._daemon: Daemon | None = None

    @staticmethod
    def available() -> str | None:
        """Why containerd cannot run here, or None. Ask after rig.namespace.enter()."""
        return why_not("containerd", "ctr", "runc")

    def over(self, runtime: Path | str) -> Containerd:
        """The same containerd, whose new containers run over another runtime; it is this one that has to be closed."""
        other = copy.copy(self)
        other.runtime = runtime
        return other

    @property
    def socket(self) -> Path:
        """The API socket."""
        return self.base / "s"

    def command(self) -> tuple[str, ...]:
        """ctr with the private socket, and a namespace of containerd's."""
        return ("ctr", f"--address={self.socket}", "--namespace=rig")

    def log(self, name: str) -> Path:
        """What a container in the background has written."""
        return self.base / f"log-{name}"

    def import_image(self, name: str, tar: Path, *, changes: Sequence[str] = ()) -> str:
        """Import a root tar as an image of one layer; `changes` are none of ctr's."""
        if changes:
            raise RigError("ctr changes no images")
        ref = image_ref(name)
        layout = self.base / "layout.tar"
        _write_layout(layout, tar, ref)
        self("images", "import", f"--snapshotter={self.snapshotter}", str(layout), timeout=300)
        layout.unlink()
        return ref

    def words(self, name: str, image: str, *args: str, options: Sequence[str] = ()) -> list[str]:
        """`run` with its options, for `command()`."""
        below = [f"--runc-binary={self.runtime}"] if self.runtime else []
        # No shares: where cgroup2 has no controllers, as here, runc cannot set them.
        placed = [f"--cgroup=/{self.cgroup.parent.name}/{self.cgroup.name}/{name}", "--cpu-shares=0"]
        return ["run", f"--snapshotter={self.snapshotter}", *placed, *below, *options, image, name, *args]

    def run(
        self,
        image: str,
        *args: str,
        options: Sequence[str] = (),
        network: Network = "none",
        name: str | None = None,
        input: str | None = None,
        check: bool = True,
        timeout: float = 60.0,
    ) -> Completed:
        """Run a container to its end and remove it. `ctr` gives it a network namespace with nothing in it."""
        words = self.words(name or _new_name(), image, *args, options=["--rm", *options])
        return self(*words, check=check, timeout=timeout, input=input)

    def run_detached(
        self,
        image: str,
        *args: str,
        options: Sequence[str] = (),
        network: Network = "none",
        name: str | None = None,
        timeout: float = 60.0,
    ) -> str:
        name = name or _new_name()
        background = ["--detach", f"--log-uri=file://{self.log(name)}"]
        self(*self.words(name, image, *args, options=[*background, *options]), timeout=timeout)
        return name

    def exec(
        self,
        name: str,
        *args: str,
        options: Sequence[str] = (),
        input: str | None = None,
        check: bool = True,
        timeout: float = 60.0,
    ) -> Completed:
        flags = [f"--exec-id={secrets.token_hex(4)}", *options]
        return self("tasks", "exec", *flags, name, *args, check=check, timeout=timeout, input=input)

    def kill(self, name: str, *, signal: str = "KILL") -> None:
        self("tasks", "kill", f"--signal={signal}", name)

    def rm(self, name: str) -> None:
        """Kill and remove a container."""
        self("tasks", "delete", "--force", name, check=False)
        self("containers", "delete", name)
        self.log(name).unlink(missing_ok=True)

    def logs(self, name: str) -> str:
        return self.log(name).read_text() if self.log(name).exists() else ""

    def pid(self, name: str) -> int:
        """The host's process id of a running container's first process; 0 when it has ended."""
        for line in self("tasks", "list").stdout.splitlines()[1:]:
            found, pid, *_ = line.split()
            if found == name:
                return int(pid)
        return 0

    def _start(self) -> None:
        reason = self.available()
        if reason:
            raise RigError(f"containerd: {reason}")
        self.snapshotter = "overlayfs" if overlay_works(self.base) else "native"
        places = {"root": "data", "state": "state", "socket": "s"}
        quoted = {key: json.dumps(str(self.base / place)) for key, place in places.items()}
        (self.base / "config.toml").write_text(_CONFIG.format(**quoted))
        self._env = clean_environ("CONTAINERD")
        self._daemon = Daemon(
            ["containerd", f"--config={self.base / 'config.toml'}"],
            log=self.base / "containerd.log",
            env=self._env,
            ready=self._answers,
            ready_s=self._start_s,
        ).start()

    def _answers(self) -> bool:
        return self.socket.exists() and run([*self.command(), "version"], env=self._env, check=False).returncode == 0

    def _stop(self) -> None:
        daemon = self._daemon
        if daemon is None:
            return
        if daemon.running:
            for name in self("containers", "list", "--quiet", check=False).stdout.split():
                self("tasks", "delete", "--force", name, check=False)
                self("containers", "delete", name, check=False)
        daemon.stop()


def _new_name() -> str:
    return f"rig-{secrets.token_hex(4)}"


def _write_layout(target: Path, root: Path, ref: str) -> None:
    """An image-layout archive of one layer, which containerd names by the annotation of its index."""
    layer = root.read_bytes()
    packed = gzip.compress(layer, 1, mtime=0)
    config = {
        "architecture": _ARCHITECTURES[os.uname().machine],
        "os": "linux",
        "config": {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    with tarfile.open(target, "w") as archive:

        def add(name: str, data: bytes) -> None:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))

        def blob(data: bytes, kind: str) -> dict[str, object]:
            digest = hashlib.sha256(data).hexdigest()
            add(f"blobs/sha256/{digest}", data)
            return {"mediaType": f"{_MEDIA}{kind}", "digest": f"sha256:{digest}", "size": len(data)}

        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{_MEDIA}manifest.v1+json",
            "config": blob(json.dumps(config).encode(), "config.v1+json"),
            "layers": [blob(packed, "layer.v1.tar+gzip")],
        }
        named = blob(json.dumps(manifest).encode(), "manifest.v1+json") | {"annotations": {_NAME: ref}}
        add("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        add("index.json", json.dumps({"schemaVersion": 2, "manifests": [named]}).encode())
