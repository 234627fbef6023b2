"""The images of examples/, built as their README says, and servers in them that are asked for something."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from support import ROOT

from rig.engine import Engine
from rig.process import RigError, run, wait_until

EXAMPLES = ROOT / "examples"
BODY = "x" * 100_000
PORT = 8080


def build(engine: Engine, name: str, base: str, context: Path, files: Mapping[str, Path]) -> str:
    """The example's image from its Containerfile; `files` join its directory. `base` has the packages already."""
    shutil.copytree(EXAMPLES / name, context)
    for target, source in files.items():
        shutil.copyfile(source, context / target)
        (context / target).chmod(0o644 if target.endswith(".scmm-pol") else 0o755)
    reference = f"localhost/example-{name}:latest"
    # In a container of its own, RUN would need what a container in a container lacks.
    special = ["--isolation=chroot"] if engine.kind == "podman" else []
    words = [*special, f"--build-arg=BASE={base}", f"--tag={reference}", f"--file={context / 'Containerfile'}"]
    engine("build", *words, str(context), timeout=300)
    return reference


@dataclass(frozen=True)
class Service:
    """A server: its image's own command, and what it must answer from within its network."""

    key: str
    command: Sequence[str]
    drive: Callable[[Callable[..., str]], None]


def _nginx(within: Callable[..., str]) -> None:
    curl = partial(within, "curl", "--silent", "--max-time", "20")
    home = f"http://127.0.0.1:{PORT}/"
    wait_until(lambda: curl(home) == "served\n", deadline_s=60, what="nginx answers")
    # Often enough for each worker to be asked.
    for _ in range(12):
        if (
            curl(home) != "served\n"
            or curl("--header", "Expect: 100-continue", "--data-binary", BODY, f"{home}upload") != "taken\n"
        ):
            raise RigError("nginx answers something else")
        if "404 Not Found" not in curl(f"{home}missing"):
            raise RigError("nginx finds what is not there")


def _redis(within: Callable[..., str]) -> None:
    def ask(*words: str) -> str:
        return within("redis-cli", *words).strip()

    def idle() -> bool:
        told = {*ask("INFO", "persistence").replace("\r", "").splitlines()}
        return {"rdb_bgsave_in_progress:0", "aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0"} <= told

    wait_until(lambda: ask("PING") == "PONG" and idle(), deadline_s=60, what="redis answers")
    for number in range(3):
        for words, answer in {
            ("SET", f"key{number}", "x"): "OK",
            ("GET", f"key{number}"): "x",
            ("SAVE",): "OK",
            ("BGSAVE",): "Background saving started",
            ("BGREWRITEAOF",): "Background append only file rewriting started",
        }.items():
            wait_until(idle, deadline_s=60, what=f"redis is idle before {words}")
            if ask(*words) != answer:
                raise RigError(f"redis answers something else than {answer!r} to {words}")
    wait_until(idle, deadline_s=60, what="redis has written everything")


SERVICES = {
    "nginx": Service("nginx", ("/usr/sbin/nginx",), _nginx),
    "redis": Service(
        "redis",
        ("/usr/bin/redis-server", "--dir", "/var/lib/redis", "--appendonly", "yes", "--protected-mode", "no"),
        _redis,
    ),
}


@contextmanager
def serving(engine: Engine, service: Service, image: str, *words: str, options: Sequence[str] = ()) -> Iterator[str]:
    """The container while it runs and has done what was asked; then it is ended by SIGTERM. Raises RigError."""
    name = engine.run_detached(image, *words, options=options)
    try:
        pid = engine.pid(name)
        if not pid:
            raise RigError(f"{name} has ended:\n{engine.logs(name)}")

        def within(*command: str) -> str:
            space = f"/proc/{pid}/ns/net"
            if not os.path.exists(space):
                raise RigError("it has ended")
            return run(["nsenter", f"--net={space}", *command], timeout=60, check=False).stdout

        try:
            service.drive(within)
        except RigError as error:
            raise RigError(f"{error}\n{engine.logs(name)[-4000:]}") from None
        yield name
        engine.kill(name, signal="TERM")
        status = engine.wait(name)
        if status:
            raise RigError(f"{service.key} ended with {status}:\n{engine.logs(name)[-4000:]}")
    finally:
        engine.rm(name)
