"""scmm-runc below podman and Docker: what they start and let in is enforced, and all else is as over runc."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import watched_containers as watched
from scenarios import LOOP, said
from shims import Shims, make_shims
from support import Hooks, need
from test_shim_bundles import FREE, HELD, POLICY, PROBE, SCRIPT

from rig import images, namespace
from rig.docker import Dockerd
from rig.engine import Engine
from rig.mounts import MS_BIND, mount, private_dir, unmount_below
from rig.podman import Podman
from rig.process import wait_until
from scmm_oci.watch import session


@dataclass
class Ground:
    """An engine that knows the shim as a runtime, and an image."""

    engine: Engine
    image: str
    shims: Shims

    def options(self, *, over: str) -> list[str]:
        """Options for a container over runc or over scmm, which ask for the policy in both."""
        if isinstance(self.engine, Podman):
            self.engine.runtime = over
            return ["--annotation=scmm.policy=files"]
        return [f"--runtime={over}", "--env=SCMM_POLICY=files"]


@pytest.fixture(scope="module")
def shims(inside: namespace.Entered, shared_hooks: Hooks) -> Iterator[Shims]:
    need("KERNEL", images.busybox_unavailable())
    with private_dir("shim") as base:
        made = make_shims(base, hooks=shared_hooks)
        made.add("files", POLICY)
        yield made
        assert made.kept() == []


@pytest.fixture(scope="module", params=["podman", "docker"])
def ground(request: pytest.FixtureRequest, shims: Shims) -> Iterator[Ground]:
    engine: Engine
    if request.param == "podman":
        need("PODMAN", Podman.available("runc"))
        engine = Podman(runtime="runc", runtimes={"scmm": shims.runc})
    else:
        need("DOCKER", Dockerd.available())
        engine = Dockerd(runtimes={"scmm": shims.runc})
    with engine:
        yield Ground(engine, engine.import_image("busybox", images.busybox()), shims)


#: Docker without annotations takes the variable, which the shim alone removes.
UNSET = SCRIPT.replace("${SCMM_POLICY-unset}", "unset")


def test_run(ground: Ground) -> None:
    outcomes = {}
    for over in ("runc", "scmm"):
        options = ground.options(over=over)
        outcomes[over] = said(ground.engine.run(ground.image, "sh", "-c", UNSET, options=options, check=False))
    assert outcomes == {"runc": (7, FREE, []), "scmm": (7, HELD, [])}
    assert ground.shims.kept() == []


def test_exec_before_and_after_a_restart(ground: Ground) -> None:
    """No word of the launcher's either, though this kernel may not hold all of the policy."""
    outcomes = {}
    words = ["sh", "-c", f"{PROBE.partition(';')[0]}; exit 5"]
    for over in ("runc", "scmm"):
        name = ground.engine.run_detached(ground.image, "sh", "-c", LOOP, options=ground.options(over=over))
        wait_until(lambda name=name: "begun" in ground.engine.logs(name), deadline_s=30, what="begun")
        found = [
            said(ground.engine.exec(name, *words, options=options, check=False))
            for options in ([], ["-t"], ["-u", "65534"])
        ]
        ground.engine("restart", "--time=30", name)
        found.append(said(ground.engine.exec(name, *words, check=False)))
        ground.engine("stop", "--time=30", name)
        outcomes[over] = found, ground.engine.logs(name).splitlines(), ground.engine.inspect(name)["State"]["ExitCode"]
        ground.engine.rm(name)
    told = (["begun", "ended"] * 2, 9)
    assert outcomes["runc"] == ([(5, ["read"], [])] * 4, *told)
    assert outcomes["scmm"] == ([(5, ["refused"], [])] * 4, *told)
    assert ground.shims.kept() == []


def test_watched_and_enforced(ground: Ground, shared_hooks: Hooks, learnt: Path) -> None:
    """Docker has no hooks of its own, and may have no annotations: the shim adds the ones, and takes variables."""
    ground.shims.store.add(watched.NAME, learnt.read_bytes(), replace=True)
    outcomes = {}
    for watch in ("kill", ""):
        asked = {"POLICY": watched.NAME, **({"WATCH": watch} if watch else {})}
        options = ground.options(over="scmm")[:1] if ground.engine.kind == "docker" else []
        if ground.engine.kind == "docker":
            options += [f"--env=SCMM_{name}={value}" for name, value in asked.items()]
        else:
            options += [f"--annotation=scmm.{name.lower()}={value}" for name, value in asked.items()]
            ground.options(over="scmm")
        name = watched.started(ground.engine, ground.image, *options)
        which = watched.identity(ground.engine, name)
        healthy = ground.engine.exec(name, *watched.HEALTH).stdout.partition(":")[0]
        wrong = ground.engine.exec(name, *watched.WRONG, check=False).returncode
        outcomes[watch] = healthy, wrong, watched.made(ground.engine, name), len(session.entries(shared_hooks.settings))
        ground.engine.rm(name)
        if watch:
            told = watched.ended(shared_hooks, which, lines=2)
            assert told[0].startswith(f"watched by {watched.NAME} (kill): 1 violation, 1 kill")
    assert outcomes == {"kill": ("root", 137, "", 1), "": ("root", 0, "made", 0)}
    assert watched.nothing_is_left(shared_hooks)
    assert ground.shims.kept() == []


def test_health_checks(ground: Ground) -> None:
    outcomes = {}
    health = ["--health-cmd=cat /etc/passwd", "--health-interval=1s", "--health-retries=1"]
    for over in ("runc", "scmm"):
        options = [*ground.options(over=over), *(health if ground.engine.kind == "docker" else health[:1])]
        if ground.engine.kind == "podman":
            options.append("--health-interval=disable")  # no systemd to make timers
        name = ground.engine.run_detached(ground.image, "sleep", "1000", options=options)
        if ground.engine.kind == "podman":
            failed = ground.engine("healthcheck", "run", name, check=False).returncode
            outcomes[over] = "unhealthy" if failed else "healthy"
        else:
            outcomes[over] = wait_until(
                lambda name=name: health_of(ground.engine, name), deadline_s=40, what="a health check"
            )
        ground.engine.rm(name)
    assert outcomes == {"runc": "healthy", "scmm": "unhealthy"}


def health_of(engine: Engine, name: str) -> str | None:
    status = str(engine.inspect(name)["State"]["Health"]["Status"])
    return None if status == "starting" else status


def test_recording_by_environment(ground: Ground, shared_hooks: Hooks) -> None:
    name = f"shim-{ground.engine.kind}"
    ground.options(over="scmm")
    options = ["--env=SCMM_RECORD=required", f"--env=SCMM_NAME={name}"]
    if ground.engine.kind == "docker":
        options.append("--runtime=scmm")
    text = "mkdir /made; echo ${SCMM_RECORD-unset}; exec sleep 1000"
    container = ground.engine.run_detached(ground.image, "sh", "-c", text, options=options)
    wait_until(lambda: ground.engine.logs(container), deadline_s=30, what="output")
    assert ground.engine.logs(container) == "unset\n"
    # Engines give an exec the container's own environment.
    assert ground.engine.exec(container, "sh", "-c", "echo ${SCMM_NAME-unset}").stdout == "unset\n"
    ground.engine.rm(container)
    capture = wait_until(
        lambda: shared_hooks.capture(name) if shared_hooks.path(name).exists() else None, deadline_s=30, what="capture"
    )
    assert "mkdir" in {call["name"] for call in capture["sessions"][0]["phases"]["app"]}


def test_what_cannot_be_enforced_is_told(ground: Ground) -> None:
    options = ground.options(over="scmm")
    options[-1] += "x"
    done = ground.engine.run(ground.image, "echo", "started", options=options, check=False)
    assert done.returncode in (125, 126, 127, 1) and done.stdout == ""
    assert "there is no policy filesx" in done.stderr


def test_containers_outlive_dockerd(shims: Shims) -> None:
    """With live-restore; what comes into them afterwards is enforced, and so is what an image asks for by itself."""
    need("DOCKER", Dockerd.available())
    runtimes = {"scmm": shims.runc}
    with Dockerd(runtimes=runtimes, default_runtime="scmm", flags=["--live-restore"]) as engine:
        image = engine.import_image("busybox", images.busybox())
        asking = engine.import_image("asking", images.busybox(), changes=["ENV SCMM_POLICY=files"])
        name = engine.run_detached(asking, "sh", "-c", LOOP)
        free = engine.run_detached(image, "sh", "-c", LOOP)
        before = engine.pid(name)
        engine.daemon.stop()
        engine.daemon.start()
        assert engine.pid(name) == before
        assert [engine.exec(each, "sh", "-c", PROBE).stdout.split()[0] for each in (name, free)] == ["refused", "read"]
        assert len(shims.kept()) == 1
        engine.daemon.stop()
        os.kill(before, signal.SIGKILL)  # ended while nobody looks
        engine.daemon.start()
        wait_until(lambda: not engine.pid(name), deadline_s=30, what="dockerd knows of its end")
        engine("start", name)
        assert engine.exec(name, "sh", "-c", PROBE).stdout.split() == ["refused", "unset"]
        engine.rm(name)
    assert shims.kept() == []


@pytest.fixture
def ranges(inside: namespace.Entered, tmp_path: Path) -> Iterator[None]:
    """Ids for user namespaces of nobody's, in the files where dockerd looks; nobody else sees them."""
    places = [Path("/etc/subuid"), Path("/etc/subgid")]
    need("DOCKER", None if all(each.exists() for each in places) else "there is no /etc/subuid or /etc/subgid")
    for place in places:
        own = tmp_path / place.name
        own.write_text("nobody:200000:65536\n")
        mount(str(own), place, None, MS_BIND)
    yield
    for place in places:
        unmount_below(place)


def test_a_daemon_with_user_namespaces(shims: Shims, ranges: None) -> None:
    need("DOCKER", Dockerd.available())
    outcomes = {}
    with Dockerd(runtimes={"scmm": shims.runc}, remap="nobody:nogroup") as engine:
        image = engine.import_image("busybox", images.busybox())
        for over in ("runc", "scmm"):
            options = [f"--runtime={over}", "--env=SCMM_POLICY=files"]
            name = engine.run_detached(image, "sh", "-c", f"cat /proc/self/uid_map; {LOOP}", options=options)
            wait_until(lambda name=name: "begun" in engine.logs(name), deadline_s=30, what="begun")
            inside = engine.exec(name, "sh", "-c", PROBE.partition(";")[0]).stdout
            outcomes[over] = engine.logs(name).split(), inside
            engine.rm(name)
    mapped = ["0", "200000", "65536", "begun"]
    assert outcomes == {"runc": (mapped, "read\n"), "scmm": (mapped, "refused\n")}
    assert shims.kept() == []
