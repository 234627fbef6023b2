"""scmm-runc when something fails at any step: what the runtime is called with is enforced, or it is not called.

The runtime is a script that keeps what it is called with, so that each step takes no container.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shims import make_shims
from support import ROOT, need

from rig import namespace
from rig.mounts import private_dir
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
#: Becomes the shim with one call of `os` failing, or the process killed there: the one with that number.
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
        text = RUNTIME.replace("WORDS", str(base / "words")).replace("CONFIG", str(base / "config"))
        self.script.write_text(text)
        self.script.chmod(0o755)
        settings = {**self.shims.settings, "runtimes": {"default": str(self.script)}}
        (base / "shims/libexec/shim.json").write_text(json.dumps(settings))
        self.shims.add("files", POLICY)
        self.root = base / "root"
        self.bundle = base / "bundle"
        self.bundle.mkdir()

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
        settings = {**self.shims.settings, "runtimes": {"default": str(runtime), "other": str(runtime)}}
        (self.base / "shims/libexec/shim.json").write_text(json.dumps(settings))
        return changed

    def run(self, how: str, number: int, *words: str) -> tuple[int, str, dict[str, Any] | None]:
        """Exit code, the call that failed, and the document by which the runtime was called, if it was."""
        for name in ("words", "config"):
            (self.base / name).unlink(missing_ok=True)
        reading, writing = os.pipe()
        settings = self.base / "shims/libexec/shim.json"
        command = [installation._python(), "-I", "-S", "-c", DRIVER, ROOT, how, number, settings, self.shims.runc]
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
        if not (self.base / "words").exists():
            return done.returncode, failed, None
        found = self.base / "config"
        return done.returncode, failed, json.loads(found.read_text()) if found.exists() else {}

    def create(self, how: str, number: int) -> tuple[int, str, dict[str, Any] | None]:
        return self.run(how, number, f"--root={self.root}", "create", f"--bundle={self.bundle}", "one")


@pytest.fixture
def ground(inside: namespace.Entered) -> Iterator[Ground]:
    need("KERNEL", None)
    with private_dir("faults") as base:
        yield Ground(base)


def is_enforced(config: dict[str, Any] | None) -> bool:
    return bool(config) and config.get("process", config)["args"][0] == "/dev/.scmm-enforce"


def test_without_a_fault(ground: Ground) -> None:
    ground.ask(policy="files")
    code, _, config = ground.create("0", 0)
    assert code == 3 and is_enforced(config)
    ground.ask()
    code, _, config = ground.create("0", 0)
    assert code == 3 and config is not None and not is_enforced(config)  # the control


@pytest.mark.parametrize("how", ["kill", "13"])
def test_a_create_that_fails_anywhere_starts_nothing_unenforced(ground: Ground, how: str) -> None:
    ground.ask(policy="files")
    number, failed, passed = 0, "-", set()
    refused = 0
    while failed:
        number += 1
        code, failed, config = ground.create(how, number)
        if config is None:
            refused += 1
            assert code == (-9 if how == "kill" else 1) or code == 127, (number, failed, ground.said)
        else:
            # What is not needed for it may fail, such as the removal of what others left.
            assert is_enforced(config), (number, failed, config)
            passed.add(failed)
        assert number < 400
    assert refused > 20
    assert ground.create(how, 0)[2] is not None  # nothing is left that would be in the way
    assert len(ground.shims.kept()) == 1


@pytest.mark.parametrize("how", ["28"])
def test_a_recording_that_fails_stops_nothing(ground: Ground, how: str) -> None:
    settings = {**ground.shims.settings, "runtimes": {"default": str(ground.script)}, "hook": str(ground.script)}
    (ground.base / "shims/libexec/shim.json").write_text(json.dumps(settings))
    ends = {}
    for wanted in ("false", "true"):
        ground.ask(record=wanted)
        number, failed, last, hooked = 0, "-", 0, 0
        while failed:
            number += 1
            _, failed, config = ground.create(how, number)
            if config is None and failed != "execve":
                last = number
            hooked += bool(config and "hooks" in config)
        ends[wanted] = last, hooked
    # Nothing more stops it than without: until config.json is read, nobody knows what is asked for.
    assert ends["true"][0] == ends["false"][0] > 0
    assert ends["true"][1] > ends["false"][1] == 0


@pytest.mark.parametrize("how", ["kill", "unexpected"])
def test_an_exec_that_fails_anywhere_lets_nobody_in(ground: Ground, how: str) -> None:
    ground.ask(policy="files")
    assert ground.create("0", 0)[0] == 3
    (key,) = ground.shims.kept()
    (ground.root / "one").mkdir(parents=True)
    (ground.root / "one/state.json").write_text(json.dumps({"bundle": str(ground.shims.bundles / key)}))
    process = ground.base / "process.json"
    process.write_text(json.dumps({"args": ["sh"], "cwd": "/"}))
    number, failed, refused = 0, "-", 0
    while failed:
        number += 1
        words = (f"--root={ground.root}", "exec", f"--process={process}", "one")
        code, failed, config = ground.run(how, number, *words)
        if config is None:
            refused += 1
            assert code == (-9 if how == "kill" else 1) or code == 127, (number, failed, ground.said)
        else:
            assert is_enforced(config), (number, failed, config)
    assert code == 3 and refused > 10


def test_a_runtime_that_is_missing_or_ours(ground: Ground) -> None:
    ground.ask(policy="files")
    for path, message in ((ground.base / "nosuch", "is not there"), (ground.shims.runc, "is scmm-runc itself")):
        text = ground.shims.runc.read_text()
        for real in (ground.shims.settings["runtimes"]["default"], str(ground.base / "nosuch")):
            text = text.replace(f"runtime={real}\n", f"runtime={path}\n")
        ground.shims.runc.write_text(text)
        settings = {**ground.shims.settings, "runtimes": {"default": str(path)}}
        (ground.base / "shims/libexec/shim.json").write_text(json.dumps(settings))
        for words in (["create", f"--bundle={ground.bundle}", "one"], ["kill", "one"], ["state", "one"], ["--version"]):
            done = subprocess.run([ground.shims.runc, *words], capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 127 and message in done.stderr, (words, done)


def test_the_starter_without_its_package(ground: Ground) -> None:
    ground.ask()
    text = ground.shims.runc.read_text()
    ground.shims.runc.write_text(text.replace(f"package={ROOT}\n", "package=/nosuch\n"))
    done = subprocess.run([ground.shims.runc, "create", "one"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "run scmm install again" in done.stderr
    # What makes no process goes on: containers that run can be ended.
    real = ground.shims.settings["runtimes"]["default"]
    ours = subprocess.run([ground.shims.runc, "--version"], capture_output=True, text=True, timeout=60, check=False)
    theirs = subprocess.run([real, "--version"], capture_output=True, text=True, timeout=60, check=False)
    assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout)


def test_words_that_are_not_understood(ground: Ground) -> None:
    ground.ask()
    exec_words = ["exec", "--nosuch", "one", "sh"]
    assert ground.run("0", 0, *exec_words)[0] == 3  # there is no container of ours
    (ground.shims.bundles / "any").mkdir(parents=True)
    for words in (["--nosuch", "create", "one"], ["create", "--nosuch", "x", "one"], exec_words):
        assert ground.run("0", 0, *words)[::2] == (1, None)
        assert "not understood" in ground.said
    for words in (["nosuch", "--option", "one"], ["--nosuch", "kill", "one"], ["create"], ["help"]):
        assert ground.run("0", 0, *words)[0] == 3
        assert (ground.base / "words").read_text().splitlines() == words


def test_a_restored_process_cannot_be_enforced(ground: Ground) -> None:
    words = ("restore", f"--bundle={ground.bundle}", "one")
    for wishes in ({"policy": "files"}, {"record": "required"}):
        ground.ask(**wishes)
        assert ground.run("0", 0, *words)[::2] == (1, None)
        assert "cannot be enforced" in ground.said or "cannot be recorded" in ground.said
    for wishes in ({}, {"record": "true"}):
        ground.ask(**wishes)
        assert ground.run("0", 0, *words)[0] == 3
    assert ground.shims.log().count("not recorded: a restored process") == 1


def test_the_environment_is_passed_on(ground: Ground) -> None:
    """In the locale C, Python would add LC_CTYPE; sh adds PWD, where it is missing, and nothing else."""
    ground.ask()
    ground.script.write_text("#!/bin/sh\nexec env -0\n")
    words = ["state", "one"]
    for given in (
        {"PATH": "/usr/bin:/bin", "PWD": "/"},
        {"PATH": "/usr/bin:/bin", "PWD": "/", "LC_CTYPE": "C", "X": "\n=y"},
    ):
        program = ground.starter_over(ground.script)
        done = subprocess.run([program, *words], env=given, cwd="/", capture_output=True, timeout=60, check=False)
        assert sorted(done.stdout.decode().split("\0")[:-1]) == sorted(f"{key}={value}" for key, value in given.items())
