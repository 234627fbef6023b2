"""What containers are started over for benchmarks.shim, each in every way: here runc and crun, with a bundle.

A host starts one container, or one more process in a container that runs, and says how long that took. What is there to
be enforced or recorded is looked at each time.
"""

from __future__ import annotations

import json
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.ground import PROGRAM, ProductError, Start, timed
from benchmarks.shim_report import ENFORCED, HOOKED, PLAIN, PRECREATE, RECORDED, UNASKED
from rig import images
from rig.process import run, wait_until
from rig.runc import Bundle, Config
from scmm_oci.recorder import installation

_SCMM = Path(sys.executable).with_name("scmm")
#: Calls stay open and some files are refused, which is what is looked at.
_POLICY = {
    "version": "1.0",
    "settings": {"default_action": "allow"},
    "filesystem": {
        "rules": [
            {"path": "/bin", "access": ["execute", "read_file"]},
            {"path": "/dev/null", "access": ["read_file", "write_file"]},
            {"path": "/proc", "access": ["read_file", "read_dir"]},
        ]
    },
}
DENIED = ("cat", "/etc/passwd")
IDLE = ("/bin/sleep", "100000")


@dataclass(frozen=True)
class Installed:
    """scmm-runc and the hook pair, installed below `base` as users do it."""

    base: Path
    hook: Path
    hooks_dir: Path  # with the pair that records
    enforcing_dir: Path  # with the precreate hook, which enforces
    shims: Mapping[str, Path]  # runtime → starter

    @property
    def kept(self) -> list[Path]:
        """What is kept of containers that run."""
        directory = self.base / "run/containers"
        return list(directory.iterdir()) if directory.is_dir() else []

    def take_capture(self, name: str) -> None:
        """Check that there is a capture, and remove it. Raises DeadlineError."""
        path = self.base / f"captures/{name}.scmm-cap"
        wait_until(path.exists, deadline_s=30, what=f"capture {name}", detail=self._log)
        path.unlink()

    def _log(self) -> str:
        path = self.base / "hook.log"
        return path.read_text()[-2000:] if path.exists() else ""


def install(base: Path, *, pin_dir: str) -> Installed:
    """Install both, and put the policy `bench` into the store. Raises RigError."""
    libexec, hooks, config = base / "libexec", base / "hooks.d", base / "config.yaml"
    shim = {"policy_dir": str(base / "store"), "run_dir": str(base / "run/containers"), "log_file": str(base / "log")}
    recorder = {"capture_dir": str(base / "captures"), "run_dir": str(base / "recorder"), "pin_dir": pin_dir}
    config.write_text(json.dumps({**recorder, "log_file": str(base / "hook.log"), "shim": shim}))  # JSON is YAML
    places: list[str | Path] = ["--hooks-dir", hooks, "--libexec-dir", libexec, "--config", config]
    run([_SCMM, "hooks", "install", "--enforce", "--drop-in", base / "hooks.conf", *places])
    engine: list[str | Path] = ["--file", base / "containers.conf", "--records-dir", base / "records"]
    run([_SCMM, "install", "podman", *engine, *places])
    (base / "bench.scmm.yaml").write_text(json.dumps(_POLICY))
    run([_SCMM, "compile", "-i", base / "bench.scmm.yaml", "-o", base / "bench.scmm-pol"])
    run([_SCMM, "policy", "add", "bench", base / "bench.scmm-pol", "--config", config])
    starters = {name: libexec / f"scmm-{name}" for name in ("runc", "crun")}
    return Installed(base, libexec / installation.STARTER, hooks, libexec / "hooks.d", starters)


class Host(ABC):
    """One runtime or engine, and a container that runs in each way; a context manager."""

    name: str
    ways: Sequence[str] = (PLAIN, UNASKED, ENFORCED, HOOKED, RECORDED)

    def __init__(self, installed: Installed) -> None:
        self.installed = installed
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._open()
            for way in self.ways:
                self._run_idle(way)
                self._check(way)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def start(self, way: str, number: int) -> Start:
        """Time one container from its start to its end. Raises RigError, also where it did not leave what it has to."""
        name = f"{self.name}-{way}-{number}"
        found = self._start(way, name)
        if way in (HOOKED, RECORDED):
            self.installed.take_capture(name)
        return found

    @abstractmethod
    def exec(self, way: str) -> Start:
        """Time one process in the container that runs in that way."""

    @abstractmethod
    def _open(self) -> None: ...

    @abstractmethod
    def _run_idle(self, way: str) -> None: ...

    @abstractmethod
    def _start(self, way: str, name: str) -> Start: ...

    @abstractmethod
    def _exec_words(self, way: str, words: Sequence[str]) -> list[str]: ...

    def _check(self, way: str) -> None:
        """Raise ProductError where an exec is not held by the policy, or is without having to be."""
        done = run(self._exec_words(way, DENIED), env=self._environ(), check=False)
        if (done.returncode != 0) != (way == ENFORCED):
            raise ProductError(f"{self.name}, {way}: {' '.join(DENIED)} ended with {done.returncode}: {done.stderr}")

    def _environ(self) -> dict[str, str] | None:
        return None

    def _annotations(self, way: str, name: str) -> dict[str, str]:
        if way in (ENFORCED, PRECREATE):
            return {"scmm.policy": "bench"}
        return {"scmm.record": "true", "scmm.name": name} if way in (HOOKED, RECORDED) else {}


class Raw(Host):
    """runc or crun, with a bundle for each way."""

    def __init__(self, installed: Installed, runtime: str) -> None:
        super().__init__(installed)
        self.name = runtime

    def _open(self) -> None:
        self._idle: dict[str, Bundle] = {}
        self._bundles = {way: self._bundle(way, PROGRAM) for way in self.ways}

    def _bundle(self, way: str, args: Sequence[str]) -> Bundle:
        shim = way in (UNASKED, ENFORCED, RECORDED)
        made = Bundle(
            images.busybox(), runtime=str(self.installed.shims[self.name]) if shim else self.name, args=list(args)
        )
        return self._stack.enter_context(made)

    def _ask(self, bundle: Bundle, way: str, name: str) -> None:
        config: Config = bundle.config
        config["annotations"] = self._annotations(way, name)
        if way == HOOKED:
            stages = ("prestart", "poststop")
            config["hooks"] = {
                stage: [{"path": str(self.installed.hook), "args": ["scmm-hook", stage], "timeout": 10}]
                for stage in stages
            }
        bundle.save()

    def _run_idle(self, way: str) -> None:
        bundle = self._idle[way] = self._bundle(way, IDLE)
        self._ask(bundle, way, f"{self.name}-{way}-idle")
        bundle.create()
        bundle.start()

    def _words(self, bundle: Bundle, *words: str) -> list[str]:
        return [shutil.which(bundle.runtime) or bundle.runtime, f"--root={bundle.base / 'state'}", *words]

    def _start(self, way: str, name: str) -> Start:
        bundle = self._bundles[way]
        self._ask(bundle, way, name)
        return timed(self._words(bundle, "run", f"--bundle={bundle.directory}", bundle.id))

    def _exec_words(self, way: str, words: Sequence[str]) -> list[str]:
        return self._words(self._idle[way], "exec", self._idle[way].id, *words)

    def exec(self, way: str) -> Start:
        return timed(self._exec_words(way, PROGRAM))
