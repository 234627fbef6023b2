"""The shim over a script in the place of the runtime: what each step ends in takes no container.

The script keeps what it is called with. `Ground.run` makes one call of Python's `os` fail, or does something else just
before it; `shim_traced` does so to system calls of the real starter.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from shims import make_shims
from support import ROOT

from scmm_oci.enforcer.places import Places
from scmm_oci.recorder import installation

#: Keeps its words, and the config.json or process that it would go by.
RUNTIME = r"""#!/bin/sh
printf '%s\n' "$@" > WORDS
for word; do
	case $word in
	--bundle=*) cat "${word#--bundle=}/config.json" > CONFIG ;;
	--process=*) cat "${word#--process=}" > CONFIG ;;
	esac
done
echo called
exit 3
"""
#: Becomes the shim; at the call of `os` with that number it fails, is killed, or has a command run first.
DRIVER = r"""
import os, signal, sys
sys.path.append(sys.argv[1])
how, number = sys.argv[2], int(sys.argv[3])
del sys.argv[1:4]
count = 0
def faulty(name, call):
    def instead(*args, **more):
        global count
        count += 1
        if count == number:
            os.write(3, name.encode())
            if how.startswith("do:"):
                os.system(how[3:])
                return call(*args, **more)
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if how == "unexpected":
                raise RuntimeError("unexpected")
            raise OSError(int(how), os.strerror(int(how)))
        return call(*args, **more)
    return instead
import fcntl
from scmm_oci.enforcer import shim, shim_exec, shim_start
NAMES = "open read mkdir stat lstat fstat rename fchmod unlink listdir readlink access rmdir execve fchown close"
for name in NAMES.split():
    setattr(os, name, faulty(name, getattr(os, name)))
def written(descriptor, data, call=os.write):
    global count
    if descriptor not in (2, 3):
        count += 1
        if count == number:
            call(3, b"write")
            if how.startswith("do:"):
                os.system(how[3:])
                return call(descriptor, data)
            if how == "kill":
                call(descriptor, bytes(data)[: len(data) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(28, "No space left on device")
    return call(descriptor, data)
os.write = written
fcntl.flock = faulty("flock", fcntl.flock)
code = shim.main(sys.argv[1:])
sys.stderr.flush()
os._exit(code)
"""
CONFIG: dict[str, Any] = {
    "ociVersion": "1.0.2",
    "process": {"args": ["sh"], "env": ["PATH=/bin"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
    "root": {"path": "rootfs"},
    "mounts": [{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"]}],
}
POLICY = {"version": "1.0", "settings": {"default_action": "allow"}, "filesystem": {"rules": []}}


class Ground:
    """The shim over the script, and a bundle."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.shims = make_shims(base / "shims")
        self.script = base / "runtime"
        self.use_script(RUNTIME)
        self.settings()
        self.shims.add("files", POLICY)
        self.root = base / "root"
        self.bundle = base / "bundle"
        self.bundle.mkdir()
        self.starter = self.starter_over(self.script)

    def use_script(self, text: str) -> None:
        """Have this in the runtime's place; WORDS and CONFIG are where it keeps them."""
        text = text.replace("WORDS", str(self.base / "words")).replace("CONFIG", str(self.base / "config"))
        self.script.write_text(text)
        self.script.chmod(0o755)

    def settings(self, **changes: Any) -> None:
        """Write the shim's settings, with the script as runtime and these changes."""
        names = ("default", "other")
        settings = {**self.shims.settings, "runtimes": dict.fromkeys(names, str(self.script)), **changes}
        (self.base / "shims/libexec/shim.json").write_text(json.dumps(settings))

    def ask(self, **annotations: str) -> None:
        wishes = {f"scmm.{key}": value for key, value in annotations.items()}
        (self.bundle / "config.json").write_text(json.dumps({**CONFIG, "annotations": wishes}))

    def starter_over(self, runtime: Path) -> Path:
        """The starter, for a runtime."""
        text = self.shims.runc.read_text()
        changed = self.base / "shims/libexec/scmm-other"
        changed.write_text(
            text.replace(f"runtime={self.shims.settings['runtimes']['default']}\n", f"runtime={runtime}\n")
        )
        changed.chmod(0o755)
        return changed

    def forget(self) -> None:
        """Forget what the runtime was called with."""
        for name in ("words", "config"):
            (self.base / name).unlink(missing_ok=True)

    def given(self) -> dict[str, Any] | None:
        """The document by which the runtime was called: empty where there is none; None where it was not called."""
        if not (self.base / "words").exists():
            return None
        try:
            text = (self.base / "config").read_bytes()
        except FileNotFoundError:
            return {}
        found: dict[str, Any] = json.loads(text) if text else {}
        return found

    def run(self, how: str, number: int, *words: str) -> tuple[int, str, dict[str, Any] | None]:
        """Exit code, the call that failed, and the document by which the runtime was called, if it was."""
        self.forget()
        reading, writing = os.pipe()
        settings = self.base / "shims/libexec/shim.json"
        command = [installation.python(), "-I", "-S", "-c", DRIVER, ROOT, how, number, settings, self.shims.runc]
        with open(reading, "rb") as told:
            done = subprocess.run(
                ["bash", "-c", f'exec "$@" 3>&{writing}', "sh", *map(str, command), *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=60,
                pass_fds=[writing],
                check=False,
            )
            os.close(writing)
            failed = told.read().decode()
        self.said = done.stderr.decode()
        return done.returncode, failed, self.given()

    def running(self) -> Path:
        """A container that is enforced and runs, as the runtime would have made it; our directory of it."""
        self.ask(policy="files")
        assert is_enforced(self.create("0", 0)[2])
        (key,) = self.shims.kept()
        path = self.shims.bundles / key
        (self.root / "one").mkdir(parents=True)
        (self.root / "one/state.json").write_text(json.dumps({"bundle": str(path)}))
        return path

    def create(self, how: str, number: int) -> tuple[int, str, dict[str, Any] | None]:
        return self.run(how, number, f"--root={self.root}", "create", f"--bundle={self.bundle}", "one")


def is_enforced(config: dict[str, Any] | None) -> bool:
    return bool(config) and config.get("process", config)["args"][0] == "/dev/.scmm-enforce"


def contents(directory: Path, *, but: Sequence[Path] = ()) -> dict[str, tuple[int, bytes]]:
    """Modes and contents of all below a directory, but for some files and what is below some directories."""
    return dict(_contents(directory, frozenset(map(str, but))))


def _contents(directory: Path, but: frozenset[str]) -> Iterator[tuple[str, tuple[int, bytes]]]:
    for entry in os.scandir(directory):
        if entry.path in but:
            continue
        status = entry.stat(follow_symlinks=False)
        if entry.is_dir(follow_symlinks=False):
            yield entry.path, (status.st_mode, b"")
            yield from _contents(Path(entry.path), but)
        elif entry.is_symlink():
            yield entry.path, (status.st_mode, os.fsencode(os.readlink(entry.path)))
        else:
            yield entry.path, (status.st_mode, Path(entry.path).read_bytes())


def swept(ground: Ground) -> list[str]:
    """What is left of containers after the next one has been made."""
    Places(str(ground.shims.bundles)).sweep()
    return ground.shims.kept()
