"""nginx learnt from a policy that allows nothing: what the monitor writes is all that it needs, and asks no more."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import enforce
import pytest
from asking_containers import log
from monitored import Monitor, monitoring
from recordings import Ground

from rig import namespace, servers
from rig.mounts import private_dir
from scmm_oci.cli.main import main
from scmm_oci.policy import document

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
    """nginx answers under these options, to some at a time."""
    with servers.nginx(ground.engine, ground.services, options=given) as web:
        assert servers.http_get(web.port) == (200, servers.PAGE)
        assert servers.http_get(web.port, "/not-there")[0] == 404
        assert servers.wrk(web.port, seconds=1).requests > 20


def test_nginx_is_learnt_from_an_empty_policy(base: Path, podman: Ground) -> None:
    empty, delta, learnt = (base / f"{name}.scmm.yaml" for name in ("empty", "delta", "learnt"))
    empty.write_text(json.dumps(EMPTY))
    nothing = compiled(empty)
    with learning(base / "learns", "--learn", str(delta), default="deny") as monitor:
        served(podman, options(nothing, "ask", monitor.socket.parent))
    lines = log(base / "learns/log")
    assert {line["verdict"] for line in lines} == {"allow"}
    assert {"openat", "accept4", "sendfile", "epoll_wait"} <= {line["call"] for line in lines}

    assert main(["merge", str(empty), str(delta), "-o", str(learnt)]) == 0
    policy = document.parse(learnt.read_bytes())
    assert policy.settings.default_action.value == "deny"
    allowing = compiled(learnt)

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
