"""podman without --runtime: an annotation enforces, through the precreate hook, or nothing starts; what is left out.

What podman itself makes of hooks that fail is here too, as all that the hook promises stands on it.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import watched_containers as watched
from shims import Shims, make_shims
from small_monitor import WORDS, Asked
from support import Hooks, need
from test_shim_bundles import FREE, HELD, POLICY, SCRIPT

from rig import images, namespace
from rig.mounts import private_dir
from rig.podman import Podman
from rig.process import Completed, wait_until
from scmm_oci.cli import hooks_enforcing
from scmm_oci.cli.hooks_enforcing import Enforcing
from scmm_oci.enforcer import precreate
from scmm_oci.recorder import installation
from scmm_oci.recorder.installation import Layout

SOAK = bool(os.environ.get("SCMM_SOAK"))
READ = ["sh", "-c", "cat /etc/passwd >/dev/null 2>&1 && echo read || echo refused"]


@dataclass
class Ground:
    """podman with the hook, an image, and where the hook's files are."""

    engine: Podman
    image: str
    place: Enforcing
    shims: Shims

    def run(self, *options: str, script: str = SCRIPT) -> Completed:
        return self.engine.run(self.image, "sh", "-c", script, options=options, check=False)

    def copies(self) -> list[str]:
        directory = self.shims.base / "run/precreate"
        return sorted(each.name for each in directory.iterdir()) if directory.is_dir() else []


@pytest.fixture(scope="module")
def installed(inside: namespace.Entered) -> Iterator[tuple[Enforcing, Shims]]:
    need("PODMAN", Podman.available("runc") or images.busybox_unavailable())
    with private_dir("precreate") as base:
        base.chmod(0o711)  # as /run is for others
        shims = make_shims(base / "shims")
        shims.add("files", POLICY)
        places = {name: shims.settings[name] for name in ("policy_dir", "run_dir", "log_file")}
        own = {name: str(base / name) for name in ("run_dir", "capture_dir")}
        own |= {name: f"/sys/fs/bpf/scmm-precreate-{os.getpid()}-{name}" for name in ("pin_dir", "watch_pin_dir")}
        (base / "config.yaml").write_text(json.dumps({**own, "log_file": str(base / "hook.log"), "shim": places}))
        layout = Layout(hooks_dir=base / "usual", libexec_dir=base / "libexec", config=base / "config.yaml")
        place = Enforcing(layout, base / "etc/containers.conf.d/scmm-hooks.conf")
        installation.install(layout)
        hooks_enforcing.install(place)
        yield place, shims


@pytest.fixture(scope="module", params=["runc", "crun"])
def ground(request: pytest.FixtureRequest, installed: tuple[Enforcing, Shims]) -> Iterator[Ground]:
    if request.param == "crun":
        need("CRUN", Podman.available("crun"))
    yield from grounds(request.param, installed)


@pytest.fixture(scope="module")
def over_runc(installed: tuple[Enforcing, Shims]) -> Iterator[Ground]:
    yield from grounds("runc", installed)


def grounds(runtime: str, installed: tuple[Enforcing, Shims]) -> Iterator[Ground]:
    place, shims = installed
    with Podman(runtime=runtime, hooks_dirs=[place.hooks_dir], runtimes={"scmm": shims.runc}) as engine:
        made = Ground(engine, engine.import_image("busybox", images.busybox()), place, shims)
        yield made
        assert made.copies() == []


ASKS = "--annotation=scmm.policy=files"
MAPPED = ("--uidmap=0:100000:5000", "--gidmap=0:100000:5000")


def test_an_annotation_enforces(ground: Ground) -> None:
    outcomes = [(done.returncode, done.stdout.splitlines()) for done in (ground.run(), ground.run(ASKS))]
    assert outcomes == [(7, FREE), (7, HELD)]
    assert ground.copies() == []


@pytest.mark.parametrize("options", [MAPPED, *([("--user=1000",), ("--read-only",)] if SOAK else [])])
def test_whoever_the_program_runs_as(over_runc: Ground, options: tuple[str, ...]) -> None:
    done = over_runc.run(ASKS, *options)
    assert (done.returncode, done.stdout.splitlines()) == (7, HELD), done.stderr
    assert over_runc.run(*options).stdout.splitlines()[0] == "passwd read"  # the control


#: Annotations → what podman tells.
REFUSED = {
    "policy=filesx": "there is no policy filesx",
    f"policy=files@sha256:{'0' * 64}": "was asked for",
    "polcy=files": "did you mean scmm.policy?",
}


@pytest.mark.parametrize("asked", REFUSED if SOAK else list(REFUSED)[::2])
def test_what_cannot_be_enforced_does_not_start_and_podman_says_why(ground: Ground, asked: str) -> None:
    done = ground.run(f"--annotation=scmm.{asked}", script="echo started")
    assert (done.returncode, done.stdout) == (127, "")
    assert "scmm-precreate: not started: " in done.stderr and REFUSED[asked] in done.stderr
    assert ground.copies() == []


def test_a_store_that_others_can_write_and_a_full_disk(over_runc: Ground) -> None:
    store, run = over_runc.shims.base / "store", over_runc.shims.base / "run"
    run.mkdir(exist_ok=True)
    store.chmod(0o777)
    done = over_runc.run(ASKS, script="echo started")
    store.chmod(0o700)
    assert (done.returncode, done.stdout) == (127, "") and "can be written by others" in done.stderr
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,mode=0711", "tmpfs", run], check=True)
    try:
        (run / "full").write_bytes(b"x" * 4096)
        done = over_runc.run(ASKS, script="echo started")
        left = sorted(each.name for each in run.rglob("*"))
    finally:
        subprocess.run(["umount", run], check=True)
    assert (done.returncode, done.stdout) == (127, "") and "No space left on device" in done.stderr
    assert left == ["full", "precreate"]
    assert over_runc.run(ASKS, script="echo started").stdout == "started\n"  # the control


def test_what_is_watched_too(over_runc: Ground, learnt: Path) -> None:
    """The hook tells the watch's of the launcher; what `podman exec` runs is not enforced, and it is watched."""
    shims, engine = over_runc.shims, over_runc.engine
    shims.store.add(watched.NAME, learnt.read_bytes(), replace=True)
    hooks = Hooks(over_runc.place.layout, installation.configured(over_runc.place.layout.config))
    outcomes = {}
    for mode in ("standard", "watch"):
        options = [*watched.asked("kill"), f"--annotation=scmm.mode={mode}"]
        name = watched.started(engine, over_runc.image, *options)
        which = watched.identity(engine, name)
        pid = engine.inspect(name)["State"]["Pid"]
        enforced = "NoNewPrivs:\t1" in Path(f"/proc/{pid}/status").read_text()
        healthy = engine.exec(name, *watched.HEALTH).stdout.partition(":")[0]
        outcomes[mode] = enforced, healthy, engine.exec(name, *watched.WRONG, check=False).returncode
        engine.rm(name)
        assert watched.ended(hooks, which, lines=2)[0].startswith(
            f"watched by {watched.NAME} (kill): 1 violation, 1 kill"
        )
    assert outcomes == {"standard": (True, "root", 137), "watch": (False, "root", 137)}
    assert watched.nothing_is_left(hooks)
    assert over_runc.copies() == []
    done = over_runc.run("--annotation=scmm.watch=kill", script="echo started")
    assert (done.returncode, done.stdout) == (127, "") and "no policy is named" in done.stderr


def test_each_start_has_the_policy_that_is_there_then(over_runc: Ground) -> None:
    name = over_runc.engine.run_detached(over_runc.image, "sh", "-c", f"{SCRIPT.partition('exit')[0]}", options=[ASKS])
    wait_until(lambda: len(over_runc.engine.logs(name).splitlines()) == 3, deadline_s=30, what="the first run")
    over_runc.engine("wait", name)
    over_runc.shims.store.remove("files")
    try:
        done = over_runc.engine("start", "--attach", name, check=False)
    finally:
        over_runc.shims.add("files", POLICY)
    assert done.returncode != 0 and "there is no policy files" in done.stderr
    assert over_runc.engine.logs(name).splitlines() == HELD
    over_runc.engine("start", "--attach", name)
    assert over_runc.engine.logs(name).splitlines() == HELD * 2
    over_runc.engine.rm(name)
    assert over_runc.copies() == []


def test_what_enters_a_container_is_not_held_but_by_the_runtime(over_runc: Ground) -> None:
    options = [ASKS, "--health-cmd=cat /etc/passwd", "--health-interval=disable"]
    text = f"{' '.join(READ[2:])}; exec sleep 1000"
    name = over_runc.engine.run_detached(over_runc.image, "sh", "-c", text, options=options)
    wait_until(lambda: over_runc.engine.logs(name), deadline_s=30, what="output")
    assert over_runc.engine.logs(name) == "refused\n"
    assert over_runc.engine.exec(name, *READ).stdout == "read\n"
    assert over_runc.engine("healthcheck", "run", name, check=False).returncode == 0
    assert len(over_runc.copies()) == 1
    over_runc.engine.rm(name)
    assert over_runc.copies() == []


def test_below_scmm_runc_it_is_done_once_and_what_enters_is_held(over_runc: Ground) -> None:
    over_runc.engine.runtime = "scmm"
    try:
        done = over_runc.run(ASKS)
        assert (done.returncode, done.stdout.splitlines()) == (7, HELD), done.stderr
        text = f"{READ[2]}; exec sleep 1000"
        name = over_runc.engine.run_detached(over_runc.image, "sh", "-c", text, options=[ASKS])
        for start in (1, 2):
            wait_until(lambda n=start: over_runc.engine.logs(name) == "refused\n" * n, deadline_s=30, what="output")
            assert over_runc.engine.exec(name, *READ).stdout == "refused\n"
            if start == 1:
                over_runc.engine("restart", "--time=0", name)
        over_runc.engine.rm(name)
    finally:
        over_runc.engine.runtime = "runc"
    assert over_runc.copies() == over_runc.shims.kept() == []


def test_descriptors_are_not_handed_on(over_runc: Ground) -> None:
    words = [*over_runc.engine.command(), "run", "--rm", "--preserve-fds=1", "--pull=never", "--network=none"]
    words += over_runc.engine.placement()
    found = []
    for options in ([], [ASKS]):
        done = subprocess.run(
            ["bash", "-c", 'exec "$@" 3<<<text', "bash", *words, *options, over_runc.image, "sh", "-c", "cat <&3"],
            env=over_runc.engine._env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        found.append((done.returncode == 0, done.stdout))
    assert found == [(True, "text\n"), (False, "")]


# What podman makes of hooks

#: A hook's script → what podman tells; the first passes the configuration on.
SCRIPTS = {
    "exec cat": None,
    "cat; kill -9 $$": "signal: killed",
    "cat >/dev/null": "unexpected end of JSON input",
    **({"cat; exit 1": "exit status 1", "head -c 300": "unexpected end of JSON input"} if SOAK else {}),
    "cat; exec sleep 60": "deadline exceeded",
}


def test_podman_starts_nothing_where_a_hook_fails(over_runc: Ground, tmp_path: Path) -> None:
    script, hooks = tmp_path / "hook", tmp_path / "hooks.d"
    hooks.mkdir()
    descriptor = json.loads(over_runc.place.descriptor.read_text())
    with Podman(runtime="runc", hooks_dirs=[hooks]) as engine:
        image = engine.import_image("busybox", images.busybox())
        for text, reason in SCRIPTS.items():
            script.write_text(f"#!/bin/sh\n{text}\n")
            script.chmod(0o755)
            descriptor["hook"] |= {"path": str(script), "timeout": 1 if "sleep" in text else 60}
            (hooks / "hook.json").write_text(json.dumps(descriptor))
            done = engine.run(image, "echo", "started", options=[ASKS], check=False)
            if reason is None:
                assert (done.returncode, done.stdout) == (0, "started\n")
            else:
                assert (done.returncode, done.stdout) == (126, ""), text
                assert reason in done.stderr
        # Not so where there is none: `scmm hooks status` and `scmm doctor` find that.
        script.unlink()
        assert engine.run(image, "echo", "started", options=[ASKS]).stdout == "started\n"


def test_builds_do_not_find_the_stage_that_they_do_not_know(over_runc: Ground, tmp_path: Path) -> None:
    (tmp_path / "Containerfile").write_text(f"FROM {over_runc.image}\nRUN true\n")
    words = ["build", "--no-cache", "--network=none", "--pull=never", f"--tag={over_runc.image}-built"]
    assert over_runc.engine(*words, str(tmp_path), check=False).returncode == 0
    # The control, and why the descriptor has a directory of its own.
    found = over_runc.engine(*words, f"--hooks-dir={over_runc.place.hooks_dir}", str(tmp_path), check=False)
    assert found.returncode != 0 and 'unknown stage "precreate"' in found.stderr


def test_what_asks_a_monitor_takes_the_shim(over_runc: Ground) -> None:
    """The hook says so where podman runs another runtime; scmm-runc takes that back."""
    over_runc.shims.add("asking", {**POLICY, "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "notify"}]})
    asks = "--annotation=scmm.policy=asking"
    done = over_runc.run(asks, script="echo started")
    assert (done.returncode, done.stdout) == (127, "") and "podman --runtime scmm does" in done.stderr
    over = over_runc.engine.over("scmm")
    with Asked(over_runc.shims.monitor) as monitor:
        done = over.run(over_runc.image, "sh", "-c", "mkdir /x; exit 5", options=[asks], check=False)
        assert (done.returncode, WORDS in done.stderr, monitor.calls) == (5, True, 1), done.stderr
    assert over_runc.copies() == []


NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
ROOTLESS = [*NOBODY, "unshare", "--user", "--map-root-user"]


def test_a_rootless_container_is_told_that_it_cannot_have_a_policy(over_runc: Ground) -> None:
    config = {"process": {"args": ["true"]}, "annotations": {"scmm.policy": "files"}, "hooks": {}}
    starter = over_runc.place.layout.libexec_dir / "scmm-precreate"
    readable = subprocess.run([*NOBODY, "test", "-r", precreate.__file__], check=False).returncode == 0
    need("PODMAN", None if readable else "the package cannot be read by other users")
    found = []
    for words in ([], ROOTLESS):
        done = subprocess.run(
            [*words, starter, "precreate"],
            env={"PATH": os.environ["PATH"]} if words else {},
            input=json.dumps(config),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout)["process"]["args"])
    assert found[0][0] == "/.scmm-enforce"
    assert "rootless containers cannot have one" in found[1][0] and len(found[1]) == 1
    # Who called the first hook is here still, so that its copy is not swept.
    (name,) = over_runc.copies()
    subprocess.run([starter, "poststop", name], check=True, stdin=subprocess.DEVNULL)
    assert over_runc.copies() == []
