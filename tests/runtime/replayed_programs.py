"""The programs that engines replay: what they are started with, how each is recorded, and `scmm verify --engine`."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from recordings import Ground, await_capture, profile, recorded
from support import Hooks

from rig import servers
from rig.engine import Network
from rig.podman import Podman
from rig.process import find_program, wait_until
from scmm_oci.cli.main import main

STATUS = 3
_BUSYBOX = (
    "mkdir /made && echo text | grep -q text && ls -l / > /made/list && [ $(wc -l < /made/list) -gt 3 ] && exit 3"
)
_PYTHON = """
import os, socket, subprocess, tempfile, threading
with tempfile.NamedTemporaryFile('w+') as file:
    file.write('text')
    file.flush()
    assert open(file.name).read() == 'text'
ours, theirs = socket.socketpair()
thread = threading.Thread(target=lambda: theirs.send(b'x'))
thread.start()
assert ours.recv(1) == b'x'
thread.join()
assert subprocess.run(['true'], check=True).returncode == 0
os._exit(3)
"""


@dataclass(frozen=True)
class Program:
    """What a container executes, with the options it takes; probe: how it is asked; status: its exit code.

    executes: the file, where that is a link's.
    """

    name: str
    image: str
    args: tuple[str, ...]
    options: tuple[str, ...] = ()
    probe: str | None = None
    status: int | None = None
    executes: str | None = None

    @property
    def end(self) -> int | str:
        """How it ends where it is well."""
        return self.status if self.status is not None else f"runs {self.executes or self.args[0]} and answers"


def programs(ground: Ground, directory: Path) -> dict[str, Program]:
    """All of them, for one engine: services listen on ports of their own."""
    web, store = servers.free_port(), servers.free_port()
    # As for servers.nginx: the directory is read by www-data in the container.
    for path in (directory, directory / "www"):
        path.mkdir(exist_ok=True)
        path.chmod(0o755)
    (directory / "www/index.html").write_bytes(servers.PAGE)
    (directory / "nginx.conf").write_text(servers._NGINX_CONF.format(port=web, workers=2))
    volumes = (f"--volume={directory}/nginx.conf:/etc/nginx/nginx.conf:ro", f"--volume={directory}/www:/srv/www:ro")
    redis = ("/usr/bin/redis-server", "--bind", "127.0.0.1", "--port", str(store), "--save", "")
    host, none = "--network=host", "--network=none"
    found = [
        Program("nginx", ground.services, ("/usr/sbin/nginx",), (host, *volumes), f"http://127.0.0.1:{web}/"),
        Program(
            "redis",
            ground.services,
            redis,
            (host,),
            f"redis-cli -p {store} ping",
            executes="/usr/bin/redis-check-rdb",
        ),
        Program("python3", ground.services, ("python3", "-c", _PYTHON), (none,), status=STATUS),
        Program("busybox", ground.busybox, ("sh", "-c", _BUSYBOX), (none,), status=STATUS),
    ]
    return {one.name: one for one in found}


def record(podman: Ground, program: Program, hooks: Hooks) -> Path:
    """Record a program as it does what it is for; under podman and runc."""
    engine, name = podman.engine, f"replayed-{program.name}"
    words = [*recorded(name), *program.options[1:]]
    network: Network = "host" if program.options[0] == "--network=host" else "none"
    if program.probe is None:
        done = engine.run(program.image, *program.args, options=words, check=False)
        assert done.returncode == program.status, done
    else:
        container = engine.run_detached(program.image, *program.args, options=words, network=network)
        port = int(program.probe.split(":")[-1].strip("/")) if program.name == "nginx" else int(program.args[4])
        try:
            for _ in range(20):
                wait_until(lambda: _answers(program.name, port), deadline_s=30, what=f"{program.name} answers")
        finally:
            engine.rm(container)
    return await_capture(hooks, name)


def _answers(name: str, port: int) -> bool:
    with suppress(OSError):
        if name == "nginx":
            return servers.http_get(port) == (200, servers.PAGE)
        return servers.redis_call(port, "PING") == "+PONG"
    return False


def profile_of(capture: Path, directory: Path) -> Path:
    """The profile for all runtimes, as containers are to start under each."""
    return profile(capture, directory, "--runtime", "all")


@dataclass(frozen=True)
class Replayed:
    """`scmm verify --replay --engine` over an engine of the rig, whose command is put on PATH for it."""

    ground: Ground
    directory: Path
    runtimes: dict[str, str]

    def __call__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        seccomp: Path,
        program: Program,
        *words: str,
        runtimes: Sequence[str],
    ) -> tuple[int, dict[str, Any]]:
        """Exit code and what it printed."""
        self.on_path(monkeypatch)
        capsys.readouterr()
        status = main(self.words(seccomp, program, *words, runtimes=runtimes))
        out, err = capsys.readouterr()
        assert status in (0, 1), err
        return status, json.loads(out)

    def words(self, seccomp: Path, program: Program, *words: str, runtimes: Sequence[str]) -> list[str]:
        """The words of `scmm`."""
        options = [*program.options, *self.ground.engine.placement()]
        given = ["--replay", "--engine", self.ground.engine.kind, "--image", program.image, "--json"]
        given += [f"--engine-option={option}" for option in options]
        given += [f"--runtime={self.runtimes[name]}" for name in runtimes]
        given += [f"--probe={program.probe}"] if program.probe else []
        return ["verify", str(seccomp), *given, *words, "--", *program.args]

    def on_path(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have the engine's command find this engine."""
        engine = self.ground.engine
        words = [find_program(engine.kind) or engine.kind, *engine.command()[1:]]
        command = self.directory / engine.kind
        command.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        command.chmod(0o755)
        for name, value in engine.environ().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PATH", f"{self.directory}:{os.environ['PATH']}")

    def left(self, pid: int | None = None) -> set[str]:
        """What of replays is there: containers, and a process's cgroups, directories and pins; ours, unless given."""
        names = self.ground.engine("ps", "--all", "--format", "{{.Names}}").stdout.split()
        found = {name for name in names if "scmm-replay" in name}
        for place in ("/run", "/sys/fs/cgroup", "/sys/fs/bpf"):
            found |= {str(path) for path in Path(place).glob(f"scmm-replay-{pid or os.getpid()}-*")}
        return found


def over(ground: Ground, directory: Path, crun: Path) -> Replayed:
    """The two runtimes by what the engine calls them: podman takes a path, Docker knows names."""
    podman = isinstance(ground.engine, Podman)
    return Replayed(ground, directory, {"runc": "runc", "crun": str(crun) if podman else "crun"})
