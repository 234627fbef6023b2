"""nginx learnt from a policy that allows nothing: what the monitor writes is all that it needs, and asks no more."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import enforce
import pytest
from asking_containers import log
from monitored import Monitor, monitoring
from recordings import Ground
from shims import make_shims
from support import need

from rig import images, namespace, servers
from rig.mounts import private_dir
from rig.podman import Podman
from scmm_oci.cli.main import main
from scmm_oci.policy import document
from scmm_oci.policy.model import Action

SOAK = bool(os.environ.get("SCMM_SOAK"))
EMPTY = {"version": "1.0", "metadata": {"name": "nginx"}, "settings": {"default_action": "deny"}}
LAUNCHER, POLICY, SOCKETS = "/scmm-enforce", "/nginx.scmm-pol", "/monitor"


@pytest.fixture
def base(inside: namespace.Entered) -> Iterator[Path]:
    enforce.needed()
    with private_dir("learning") as made:
        yield made


def compiled(source: Path) -> Path:
    target = source.with_suffix("").with_suffix(".scmm-pol")
    assert main(["compile", "-i", str(source), "-o", str(target)]) == 0
    target.chmod(0o644)
    return target


def merged(base: Path, delta: Path, target: Path) -> Path:
    """The policy with what was learnt, which still refuses all else."""
    assert main(["merge", str(base), str(delta), "-o", str(target)]) == 0
    assert document.parse(target.read_bytes()).settings.default_action is Action.DENY
    return target


@contextmanager
def learning(base: Path, *options: str, default: str) -> Iterator[Monitor]:
    """scmm-monitor without any rule, and with a log."""

    def change(rules: dict[str, Any]) -> None:
        rules.clear()
        rules.update(version="1.0", default=default)

    base.mkdir(exist_ok=True)
    with monitoring(base, "--log", str(base / "log"), *options, change=change) as monitor:
        yield monitor


def options(policy: Path, mode: str, sockets: Path | None = None) -> Sequence[str]:
    """Of a container whose entrypoint is the launcher; the runtime loads no filter, so that this is the only one."""
    there = {enforce.launcher(): LAUNCHER, policy: POLICY, **({sockets: SOCKETS} if sockets else {})}
    listener = ["--listener", f"{SOCKETS}/notify.sock"] if sockets else []
    entrypoint = [LAUNCHER, "-p", POLICY, "--mode", mode, *listener, "--"]
    volumes = [f"--volume={source}:{target}" for source, target in there.items()]
    return [*volumes, f"--entrypoint={json.dumps(entrypoint)}", "--security-opt=seccomp=unconfined"]


def served(ground: Ground, given: Sequence[str]) -> None:
    """nginx answers under these options; in the long form to many at a time."""
    with servers.nginx(ground.engine, ground.services, options=given) as web:
        for _ in range(20):
            assert servers.http_get(web.port) == (200, servers.PAGE)
        assert servers.http_get(web.port, "/not-there")[0] == 404
        if SOAK:
            found = servers.wrk(web.port, seconds=5)
            assert (found.requests > 100, found.errors, found.non_2xx) == (True, 0, 0)


def test_nginx_is_learnt_from_an_empty_policy(base: Path, podman: Ground) -> None:
    empty, delta, learnt = (base / f"{name}.scmm.yaml" for name in ("empty", "delta", "learnt"))
    empty.write_text(json.dumps(EMPTY))
    nothing = compiled(empty)
    with learning(base / "learns", "--learn", str(delta), default="deny") as monitor:
        served(podman, options(nothing, "ask", monitor.socket.parent))
    lines = log(base / "learns/log")
    assert {line["verdict"] for line in lines} == {"allow"}
    assert {"openat", "accept4", "sendfile", "epoll_wait"} <= {line["call"] for line in lines}

    allowing = compiled(merged(empty, delta, learnt))

    # It asks nothing any more, also of a monitor that would deny it.
    with learning(base / "denies", default="deny") as monitor:
        served(podman, options(allowing, "ask", monitor.socket.parent))
    assert "nginx: served" in monitor.told
    assert log(base / "denies/log") == []
    # The control: under the empty policy it is asked, and denied.
    with learning(base / "control", default="deny") as monitor:
        words = options(nothing, "ask", monitor.socket.parent)
        done = podman.engine.run(podman.services, "/usr/sbin/nginx", "-v", options=words, check=False)
    assert (done.returncode != 0, "nginx version" in done.stdout + done.stderr) == (True, False)
    assert {line["verdict"] for line in log(base / "control/log")} == {"deny"}
    # Nor does it need one.
    served(podman, options(allowing, "standard"))


def test_nginx_is_learnt_in_a_container_of_scmm_runc(base: Path) -> None:
    need("PODMAN", Podman.available("runc") or images.services_unavailable())
    place = base / "monitor"
    delta, learnt = (base / f"{name}.scmm.yaml" for name in ("delta", "learnt"))
    shims = make_shims(base / "shims", monitor=str(place / "run/notify.sock"))
    shims.add("nginx", EMPTY)
    with Podman(runtime="scmm-runc", runtimes={"scmm-runc": shims.runc}) as engine:
        ground = Ground(engine, "", engine.import_image("services", images.services()))
        enforced = ["--annotation=scmm.policy=nginx"]
        asks = [*enforced, "--annotation=scmm.mode=ask"]
        with learning(place, "--learn", str(delta), default="deny"):
            served(ground, asks)
        assert {line["verdict"] for line in log(place / "log")} == {"allow"}
        (place / "log").unlink()

        allowing = compiled(merged(base / "shims/nginx.scmm.yaml", delta, learnt))
        shims.store.add("nginx", allowing.read_bytes(), replace=True)
        with learning(place, default="deny") as monitor:
            served(ground, asks)
        assert "nginx: served" in monitor.told
        assert log(place / "log") == []
        served(ground, enforced)
    assert shims.kept() == []
