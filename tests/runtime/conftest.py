"""Real engines with our hooks, and what is recorded in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import crun_here
import pytest
import watched_containers as watched
from recordings import Ground, await_capture, recorded
from support import Hooks, install_hooks, need

from rig import images, namespace, servers
from rig import runc as bundles
from rig.docker import Dockerd
from rig.engine import Engine
from rig.mounts import private_dir
from rig.podman import Podman
from rig.process import find_program


def _ground(engine: Engine) -> Ground:
    return Ground(
        engine, engine.import_image("busybox", images.busybox()), engine.import_image("services", images.services())
    )


@pytest.fixture(scope="session")
def shared_hooks(inside: namespace.Entered, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hooks]:
    made = install_hooks(tmp_path_factory.mktemp("hooks"))
    yield made
    assert not Path(made.settings.pin_dir).exists(), "the recorder is still pinned"
    assert not Path(made.settings.watch_pin_dir).exists(), "a watch is still pinned"


@pytest.fixture(params=["runc", "crun"])
def runtime(request: pytest.FixtureRequest, inside: namespace.Entered) -> str:
    """A runtime for raw bundles, by its name; with each test that asks for it, both."""
    name: str = request.param
    need("CRUN" if name == "crun" else "KERNEL", bundles.available(name) or images.busybox_unavailable())
    return name


@pytest.fixture(scope="session")
def podman(inside: namespace.Entered, shared_hooks: Hooks) -> Iterator[Ground]:
    """podman over runc, with the hook pair in its hooks directory."""
    need("PODMAN", Podman.available("runc") or images.services_unavailable())
    with Podman(runtime="runc", hooks_dirs=[shared_hooks.layout.hooks_dir]) as engine:
        yield _ground(engine)


@pytest.fixture(scope="session")
def podman_crun(inside: namespace.Entered, shared_hooks: Hooks) -> Iterator[Ground]:
    """podman over crun, with the hook pair."""
    need("CRUN", Podman.available("crun") or images.services_unavailable())
    with Podman(runtime="crun", hooks_dirs=[shared_hooks.layout.hooks_dir]) as engine:
        yield _ground(engine)


@pytest.fixture(scope="session")
def docker(inside: namespace.Entered) -> Iterator[Ground]:
    """A real dockerd, which has runc and, where that is here, crun."""
    need("DOCKER", Dockerd.available() or images.services_unavailable())
    path = find_program("crun")
    with private_dir("crun") as base:
        runtimes = {} if path is None else {"crun": crun_here.starter(base, path)}
        with Dockerd(runtimes=runtimes) as engine:
            yield _ground(engine)


@pytest.fixture(scope="session")
def captures(podman: Ground, shared_hooks: Hooks) -> dict[str, Path]:
    """nginx under wrk, redis under redis-benchmark and busybox true, each recorded once under podman and runc."""
    with servers.nginx(podman.engine, podman.services, options=recorded("nginx")) as web:
        assert servers.wrk(web.port, seconds=2).requests > 100
    with servers.redis(podman.engine, podman.services, options=recorded("redis")) as store:
        assert servers.redis_benchmark(store.port, requests=2000)
    podman.engine.run(podman.busybox, "true", options=recorded("true"))
    return {name: await_capture(shared_hooks, name) for name in ("nginx", "redis", "true")}


@pytest.fixture(scope="session")
def learnt(podman: Ground, shared_hooks: Hooks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled policy of watched.WAITS and what is executed in it, which is in the hooks' store as watched.NAME."""
    return watched.learn(podman.engine, podman.busybox, shared_hooks, tmp_path_factory.mktemp("learnt"))
