"""The poststop hook that is taken over: it reaches nothing but what it has to write, and ends the recording as ever.

Each attack runs twice: in the hook as a process of its own, and, as the control, called from Python with arguments,
where nothing confines it and all of it succeeds.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import ROOT, Hooks, need
from trial import Trial, calls

from scmm_oci.capture import file as capture_file
from scmm_oci.kernel import landlock

# As the starter does it, with an attack before the first name is looked up.
PLANTED = """
import errno, os, sys
sys.path.append(sys.argv.pop(1))
how, report, targets, *words = sys.argv[1:]
from scmm_oci import quickjson
from scmm_oci.recorder import hook, resolve
targets = quickjson.loads(targets.encode())

def read(): open(targets["secret"]).close()
def list_root(): os.listdir(targets["root"])
def write(): open(targets["written"], "w").close()
def write_into_root(): open(targets["root"] + "/planted", "w").close()
def remove(): os.unlink(targets["removed"])
def set_kernel(): os.close(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY))
def memory(): open(f"/proc/{targets['victim']}/mem", "rb").close()
def environment(): open(f"/proc/{targets['victim']}/environ", "rb").read()
def cgroup(): os.mkdir(targets["group"])
def execute(): os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
def mount(): call("mount", b"none", os.fsencode(targets["root"]), b"tmpfs", 0, None)
def change_ids(): call("setresgid", 0, 0, 1)  # which an id that is not its own takes CAP_SETGID for
def change_root(): call("chroot", b"/")
def kill(): os.kill(targets["victim"], 15)
def connect():
    import _socket
    found = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    found.connect(("127.0.0.1", targets["port"]))
    found.close()
def link_capture(): os.symlink(targets["secret"], targets["captures"] + "/link")
def move_capture():
    open(targets["captures"] + "/mine", "w").close()
    try:
        os.rename(targets["captures"] + "/mine", targets["run"] + "/mine")
        os.unlink(targets["run"] + "/mine")
    except OSError:
        os.unlink(targets["captures"] + "/mine")
        raise

def call(name, *words):
    import ctypes
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*words) != 0:
        raise OSError(ctypes.get_errno(), name)

found = {}
def attack():
    for each in (read, list_root, write, write_into_root, remove, set_kernel, memory, environment, cgroup, execute,
                 mount, change_root, change_ids, kill, connect, link_capture, move_capture):
        try:
            each()
            found[each.__name__] = "done"
        except OSError as error:
            found[each.__name__] = errno.errorcode[error.errno]

before = resolve.Resolver.__init__
def planted(self, *given, **named):
    attack()
    before(self, *given, **named)
resolve.Resolver.__init__ = planted
words = ["--settings", targets["settings"], "poststop"]
sys.argv = ["scmm-hook", *words]
code = hook.main() if how == "own" else hook.main(words)
os.write(int(report), quickjson.dumps(found))
sys.exit(code)
"""

DENIED = {
    **dict.fromkeys(("read", "list_root", "write", "write_into_root", "remove", "set_kernel", "memory"), "EACCES"),
    **dict.fromkeys(("environment", "cgroup", "execute", "connect", "link_capture"), "EACCES"),
    **dict.fromkeys(("mount", "change_root", "change_ids", "kill"), "EPERM"),
    "move_capture": "EXDEV",
}


@pytest.fixture(autouse=True)
def _landlock() -> None:
    found = landlock.abi()
    need("KERNEL", None if found >= 6 else f"Landlock's ABI is {found} here, and the tests need 6")


class Victims:
    """What an attack goes for."""

    def __init__(self, hooks: Hooks, place: Path, group: Path, port: int, victim: subprocess.Popen[bytes]) -> None:
        self.root = place / "root"
        self.root.mkdir()
        os.makedirs(hooks.settings.capture_dir, 0o700)
        (self.root / "there").write_text("x")
        self.process = victim
        self.named: dict[str, Any] = {
            **{name: str(place / name) for name in ("secret", "written", "removed", "root")},
            "group": str(group / "planted"),
            "port": port,
            "victim": victim.pid,
            "captures": hooks.settings.capture_dir,
            "run": hooks.settings.run_dir,
            "settings": str(hooks.layout.libexec_dir / "hook.json"),
        }
        for name in ("secret", "removed"):
            Path(self.named[name]).write_text(name)

    def effects(self) -> dict[str, bool]:
        """What has become of it; ends the process."""
        there = {name: os.path.lexists(self.named[name]) for name in ("written", "removed", "group")}
        there["planted"] = (self.root / "planted").exists()
        there["linked"] = os.path.lexists(self.named["captures"] + "/link")
        assert self.process.stdin is not None
        self.process.stdin.close()
        return {**there, "killed": self.process.wait(30) == -signal.SIGTERM}


@contextmanager
def victims(hooks: Hooks, place: Path, group: Path) -> Iterator[Victims]:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process,
    ):
        yield Victims(hooks, place, group, server.getsockname()[1], process)


def attacked(trial: Trial, named: dict[str, Any], how: str) -> dict[str, str]:
    """What the attack says of itself, on a pipe that it has open."""
    mine, theirs = os.pipe()
    words = [sys.executable, "-I", "-S", "-c", PLANTED, str(ROOT), how, str(theirs), json.dumps(named)]
    done = subprocess.run(words, input=trial.state(), env={}, capture_output=True, timeout=60, pass_fds=(theirs,))
    os.close(theirs)
    with open(mine, "rb") as report:
        said = report.read()
    assert (done.returncode, done.stderr) == (0, b"")
    found: dict[str, str] = json.loads(said)
    return found


def ended(hooks: Hooks, payload: Path, place: Path, how: str) -> tuple[dict[str, str], dict[str, bool]]:
    """(what came of each attack, what became of its victims) in a recording that ends as ever."""
    config = {"root": {"path": str(place / "root")}}
    with Trial(hooks, payload, "true", name="taken", config=config) as trial:
        with victims(hooks, place, trial.cgroup) as found:
            trial.release()
            came = attacked(trial, found.named, how)
            became = found.effects()
        if became["group"]:
            os.rmdir(found.named["group"])
        if how != "own":
            subprocess.run(["umount", found.root], check=True)
            became["planted"] = (found.root / "planted").exists()
    capture = hooks.capture("taken")
    assert capture["complete"], capture["losses"]
    assert calls(capture)["exit_group"]["entered"] == 1
    capture_file.read(hooks.path("taken"))
    assert "not confined" not in hooks.log() and ", complete: " in hooks.log()
    return came, became


def test_hook_that_is_taken_over_gets_nowhere(hooks: Hooks, payload: Path, tmp_path: Path) -> None:
    came, became = ended(hooks, payload, tmp_path, "own")
    assert came == DENIED
    assert became == {**dict.fromkeys(("written", "group", "planted", "linked", "killed"), False), "removed": True}


def test_control_without_confinement_all_of_it_succeeds(hooks: Hooks, payload: Path, tmp_path: Path) -> None:
    came, became = ended(hooks, payload, tmp_path, "called")
    assert came == dict.fromkeys(DENIED, "done")
    assert became == {**dict.fromkeys(("written", "group", "planted", "linked", "killed"), True), "removed": False}


OWNED = """
import os, sys, time
sys.path.append(sys.argv.pop(1))
from scmm_oci.kernel import landlock
from scmm_oci.recorder import confined, resolve, session, settings
place, owner, other = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
chosen = settings.check({
    "capture_dir": place + "/new/captures", "run_dir": place, "log_file": place + "/logs/hook.log",
})
before = session.started(owner)
remote = resolve._remote_mounts()
taken = []
for _ in range(8):
    begin = time.perf_counter()
    confined.confine(chosen, [{"name": "x", "owner": {"pid": owner}}])
    taken.append(time.perf_counter() - begin)
assert before > 0 and session.started(owner) == before
assert session.started(other) == 0
assert resolve._remote_mounts() == remote
print(os.path.isdir(place + "/new/captures"), os.path.isdir(place + "/logs"), min(taken))
"""


def test_what_the_hook_asks_of_procfs_can_be_read(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as owner:
        words = [sys.executable, "-I", "-S", "-c", OWNED, ROOT, tmp_path, str(owner.pid), str(os.getpid())]
        done = subprocess.run(words, env={}, capture_output=True, text=True, timeout=60)
        assert owner.stdin is not None
        owner.stdin.close()
    assert done.stderr == ""
    captures, logs, taken = done.stdout.split()
    assert (captures, logs) == ("True", "True")
    # In the way of every container's end.
    assert float(taken) < 0.001
