"""OCI bundles run by runc or crun directly, without an engine: every field of config.json is the caller's.

Facts relied on: OCI runtime-spec 1.0.2 (config.md, runtime.md), runc(8), crun(1). A bundle's root is an
overlay on the unpacked image where the kernel allows it, else a copy. `resources.devices` is left out of the
templates: crun cannot load a device filter without CAP_SYS_RESOURCE (see `podman`), and ignores the failure
only where no device is denied.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from rig.cgroup import cgroup_path, child_cgroup
from rig.images import rootfs
from rig.mounts import overlay, private_dir
from rig.namespace import why_not
from rig.process import Completed, RigError, find_program, run, wait_until

Runtime = Literal["runc", "crun"]
Config = dict[str, Any]
BUNDLES = Path(__file__).resolve().parents[1] / "examples" / "oci-bundles"


def available(runtime: Runtime | str = "runc") -> str | None:
    """Why raw bundles cannot run here, or None. Ask after rig.namespace.enter()."""
    return why_not(runtime)


def template(name: str) -> Config:
    """The config.json of examples/oci-bundles/NAME."""
    loaded = json.loads((BUNDLES / name / "config.json").read_text())
    if not isinstance(loaded, dict):
        raise RigError(f"{name}/config.json is not an object")
    return loaded


class Bundle:
    """One container id, its bundle directory, private --root and cgroup; a context manager.

    `config` is a plain dictionary, written to config.json by every verb that makes a container; `edit`
    changes it at the start. A runtime given as a path (scmm-runc) is run as it is.
    """

    def __init__(
        self,
        image: Path,
        *,
        example: str = "busybox-true",
        runtime: Runtime | str = "runc",
        args: Sequence[str] | None = None,
        edit: Callable[[Config], object] | None = None,
        global_options: Sequence[str] = (),
        env: dict[str, str] | None = None,
    ) -> None:
        self.image, self.runtime = image, runtime
        self.global_options, self.env = tuple(global_options), env
        self.id = f"rig-{secrets.token_hex(4)}"
        self.config = template(example)
        if args is not None:
            self.config["process"]["args"] = list(args)
        if edit is not None:
            edit(self.config)
        self._stack = ExitStack()
        self.base = Path()
        self.cgroup = Path()

    @property
    def directory(self) -> Path:
        """The bundle: config.json and rootfs/."""
        return self.base / "bundle"

    @property
    def log(self) -> Path:
        """What a container made with create() writes."""
        return self.base / "output"

    def open(self) -> Self:
        """Make the bundle directory with its root file system, the runtime's --root and the cgroup."""
        reason = available(self.runtime)
        if reason:
            raise RigError(f"{self.runtime}: {reason}")
        try:
            self.base = self._stack.enter_context(private_dir("bundle"))
            self.cgroup = self._stack.enter_context(child_cgroup("bundle", empty_s=2.0))
            self._stack.callback(self.delete, force=True, check=False)
            for part in (self.base / "state", self.directory):
                part.mkdir(mode=0o700)
            self._make_root(self.directory / "rootfs")
            # "parent/id": the runtime makes and removes the last part, the rig its parent.
            self.config["linux"].setdefault("cgroupsPath", f"{cgroup_path(self.cgroup)}/{self.id}")
            self.save()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Delete the container by force and remove everything of the bundle."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def save(self) -> None:
        """Write `config` to config.json."""
        (self.directory / "config.json").write_text(json.dumps(self.config, indent=2))

    def __call__(self, *words: str, check: bool = True, timeout: float = 60.0, output: Path | None = None) -> Completed:
        """Any verb of the runtime with the private --root: bundle("ps", bundle.id)."""
        program = find_program(self.runtime) or self.runtime
        cmd = [program, f"--root={self.base / 'state'}", *self.global_options, *words]
        return run(cmd, check=check, timeout=timeout, output=output, env=self.env, cwd=self.directory)

    def run(self, *, options: Sequence[str] = (), check: bool = True, timeout: float = 60.0) -> Completed:
        """`run`: create, start, wait and delete in one; the status is the payload's."""
        self.save()
        words = ["run", f"--bundle={self.directory}", *options, self.id]
        return self(*words, check=check, timeout=timeout)

    def create(self, *, options: Sequence[str] = (), check: bool = True) -> Completed:
        """`create`: the payload waits; what it writes later is in `log`."""
        self.save()
        pid_file = f"--pid-file={self.base / 'pid'}"
        words = ["create", f"--bundle={self.directory}", pid_file, *options, self.id]
        return self(*words, check=check, output=self.log)

    def start(self, *, check: bool = True) -> Completed:
        """`start`: let the payload go."""
        return self("start", self.id, check=check)

    def state(self) -> dict[str, Any]:
        """`state`: the runtime's own record (`status`, `pid`, `bundle`)."""
        found = json.loads(self("state", self.id).stdout)
        if not isinstance(found, dict):
            raise RigError(f"{self.runtime} state {self.id}: not an object")
        return found

    def pid(self) -> int:
        """The host's process id of the container's first process, after create()."""
        return int((self.base / "pid").read_text())

    def wait_stopped(self, *, deadline_s: float = 20.0) -> None:
        """Wait until the runtime says the container has stopped."""

        def stopped() -> bool:
            return bool(self.state()["status"] == "stopped")

        wait_until(stopped, deadline_s=deadline_s, what=f"{self.id} stopped")

    def kill(self, signal: str = "KILL", *, check: bool = True) -> Completed:
        """`kill`: signal the first process."""
        return self("kill", self.id, signal, check=check)

    def exec(self, *args: str, options: Sequence[str] = (), check: bool = True, timeout: float = 60.0) -> Completed:
        """`exec` in its argv form; for the --process form give `options=["--process", FILE]` and no words."""
        return self("exec", *options, self.id, *args, check=check, timeout=timeout)

    def delete(self, *, force: bool = False, check: bool = True) -> Completed:
        """`delete`; with `force` also a running container."""
        return self("delete", *(["--force"] if force else []), self.id, check=check)

    def _make_root(self, root: Path) -> None:
        lower = rootfs(self.image)
        root.mkdir()
        try:
            overlay(root, lower=lower, work=self.base / "layer")
        except RigError:
            shutil.rmtree(self.base / "layer", ignore_errors=True)
            run(["cp", "-a", f"{lower}/.", root], timeout=300)
