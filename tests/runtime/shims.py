"""scmm-runc installed in a directory of the test's own: starters, settings, store, policies; with a log to read."""

from __future__ import annotations

import json
import os
import select
import shlex
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from support import ROOT, Hooks

from rig.process import find_program
from rig.runc import Bundle
from scmm_oci.cli.main import main
from scmm_oci.enforcer import launcher
from scmm_oci.enforcer.store import Store
from scmm_oci.recorder import installation


@dataclass(frozen=True)
class Shims:
    """One installation: `runc` and `crun` are the starters."""

    base: Path
    settings: Mapping[str, Any]

    @property
    def runc(self) -> Path:
        return self.base / "libexec/scmm-runc"

    @property
    def crun(self) -> Path:
        return self.base / "libexec/scmm-crun"

    @property
    def bundles(self) -> Path:
        """The directory with bundles of running containers."""
        return self.base / "run/containers"

    @property
    def monitor(self) -> Path:
        """The socket at which a monitor has to listen."""
        return Path(self.settings["monitor"])

    @property
    def store(self) -> Store:
        return Store(str(self.base / "store"))

    def add(self, name: str, policy: Mapping[str, Any]) -> str:
        """Compile a policy and put it into the store; its digest."""
        source, target = self.base / f"{name}.scmm.yaml", self.base / f"{name}.scmm-pol"
        source.write_text(json.dumps(policy))
        assert main(["compile", "-i", str(source), "-o", str(target)]) == 0
        return self.store.add(name, target.read_bytes(), replace=True)

    def log(self) -> str:
        try:
            return (self.base / "shim.log").read_text()
        except FileNotFoundError:
            return ""

    def kept(self) -> list[str]:
        """What lies in the directory of private bundles."""
        return sorted(path.name for path in self.bundles.iterdir()) if self.bundles.is_dir() else []


def make_shims(base: Path, *, hooks: Hooks | None = None, **changes: Any) -> Shims:
    """Install below a directory that only root can write. hooks: what records and watches; changes: other settings."""
    base.mkdir(exist_ok=True)
    base.chmod(0o711)  # as /run is for others: root of a user namespace goes through
    libexec = base / "libexec"
    libexec.mkdir(mode=0o755)
    shutil.copy2(launcher.find(os.uname().machine), libexec / "scmm-enforce")
    found = {name: find_program(name) for name in ("runc", "crun")}
    settings = {
        "runtimes": {"default": found["runc"] or "/missing/runc", "crun": found["crun"] or "/missing/crun"},
        "images": [],
        "launcher": str(libexec / "scmm-enforce"),
        "hook": str(hooks.starter if hooks else libexec / "scmm-hook"),
        "watch_hook": str((hooks.layout.libexec_dir if hooks else libexec) / installation.WATCH_STARTER),
        "policy_dir": str(base / "store"),
        "run_dir": str(base / "run/containers"),
        "log_file": str(base / "shim.log"),
        "monitor": str(base / "notify.sock"),
        **changes,
    }
    (libexec / "shim.json").write_text(json.dumps(settings))
    template = (ROOT / "hooks/scmm-runc.in").read_text()
    for name, key in (("scmm-runc", "default"), ("scmm-crun", "crun")):
        text = template
        values = {
            "PYTHON": installation.python(),
            "PACKAGE": ROOT,
            "SETTINGS": libexec / "shim.json",
            "RUNTIME": settings["runtimes"][key],
        }
        for place, value in values.items():
            text = text.replace(f"@{place}@", shlex.quote(str(value)))
        (libexec / name).write_text(text)
        (libexec / name).chmod(0o755)
    return Shims(base, settings)


class Streams:
    """Files with a text each, for descriptors 3, 4, … of a command; a context manager."""

    def __init__(self, *texts: str) -> None:
        self._texts = texts
        self._files: list[IO[bytes]] = []

    def __enter__(self) -> Self:
        for text in self._texts:
            file = tempfile.TemporaryFile()
            file.write(text.encode())
            file.flush()
            self._files.append(file)
        return self

    def __exit__(self, *exc: object) -> None:
        for file in self._files:
            file.close()

    def run(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Exit code and standard output. LISTEN_PID=own is that of the process."""
        for file in self._files:
            file.seek(0)
        numbers = range(3, 3 + len(self._files))
        # sh has the redirections; descriptors that Python passes keep their numbers.
        words = "".join(f" {number}<&{file.fileno()}" for number, file in zip(numbers, self._files, strict=True))
        own = '[ -z "$LISTEN_PID" ] || export LISTEN_PID=$$; '
        done = subprocess.run(
            ["bash", "-c", f'{own}exec "$@"{words}', "sh", *command],
            env={**os.environ, **(environment or {})},
            pass_fds=[file.fileno() for file in self._files],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout


def said_on_terminal(one: Bundle, ends: Callable[[bytes], bool], *, place: str = "") -> list[str]:
    """Create and start a bundle that has a terminal; the lines that come there, until `ends` of all is true.

    place: of the console's socket, for the runtime; else its absolute path.
    """
    one.save()
    path = one.directory / "console"
    with socket.socket(socket.AF_UNIX) as console:
        console.bind(str(path))
        console.listen()
        console.settimeout(30)
        # Runtimes write to stderr of the caller's, so that must not be a pipe which the container keeps open.
        one("create", "--console-socket", place or str(path), one.id, output=one.log)
        with console.accept()[0] as peer:
            _, (master,), _, _ = socket.recv_fds(peer, 4096, 1)
    one.start()
    told = b""
    while not ends(told):
        assert select.select([master], [], [], 30)[0], told
        told += os.read(master, 4096)
    os.close(master)
    return told.decode().split("\r\n")
