"""Real servers under load, in containers that are recorded and containers that are not: how much they do a second."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks.ground import Ground, ProductError
from benchmarks.recorded import taken
from rig import servers
from rig.engine import Engine
from rig.process import RigError, wait_until
from rig.servers import Server
from scmm_oci.capture.model import Capture

TITLES = {"nginx": "nginx, requests/s (wrk)", "redis SET": "redis SET/s", "redis GET": "redis GET/s"}


class Application(ABC):
    """A server and its load. `measure` gives `figures`, keys of TITLES, and the requests that they are made of."""

    key: str
    figures: tuple[str, ...]

    @abstractmethod
    def serve(self, engine: Engine, image: str, options: Sequence[str]) -> AbstractContextManager[Server]: ...

    @abstractmethod
    def measure(self, port: int) -> tuple[dict[str, float], int]: ...


class Nginx(Application):
    key, figures = "nginx", ("nginx",)

    def __init__(self, *, seconds: int) -> None:
        self._seconds = seconds

    def serve(self, engine: Engine, image: str, options: Sequence[str]) -> AbstractContextManager[Server]:
        return servers.nginx(engine, image, options=options, workers=1)

    def measure(self, port: int) -> tuple[dict[str, float], int]:
        found = servers.wrk(port, seconds=self._seconds)
        if found.errors or found.non_2xx:
            raise RigError(f"wrk: {found.errors} errors, {found.non_2xx} answers other than 2xx")
        return {"nginx": found.per_second}, found.requests


class Redis(Application):
    key, figures = "redis", ("redis SET", "redis GET")

    def __init__(self, *, requests: int) -> None:
        self._requests = requests

    def serve(self, engine: Engine, image: str, options: Sequence[str]) -> AbstractContextManager[Server]:
        return servers.redis(engine, image, options=options)

    def measure(self, port: int) -> tuple[dict[str, float], int]:
        found = servers.redis_benchmark(port, requests=self._requests)
        return {f"redis {test}": rate for test, rate in found.items()}, self._requests * len(found)


def measure(
    ground: Ground, engine: Engine, image: str, application: Application, number: int, *, recorded: bool
) -> Mapping[str, float]:
    """Requests a second of one container's life, by the keys of TITLES. `engine` has the hooks.

    Raises ProductError where recording lost anything or did not see the load.
    """
    name = f"{application.key}-{number}"
    marks = {"scmm.record": "true", "scmm.name": name} if recorded else {}
    options = [word for key, value in marks.items() for word in ("--annotation", f"{key}={value}")]
    with application.serve(engine, image, options) as server:
        figures, requests = application.measure(server.port)
    pins = Path(ground.settings.pin_dir)
    wait_until(lambda: not pins.exists(), deadline_s=30, what="recording ended", detail=ground.log)
    if recorded:
        problem = difference(taken(ground, name), requests)
        if problem:
            raise ProductError(f"{name}: {problem}")
    elif any(Path(ground.settings.capture_dir).glob("*")):
        raise ProductError(f"{name}: nothing was to be recorded, but there is a capture")
    return figures


def difference(capture: Capture, requests: int) -> str:
    """Why this cannot be the recording of a server that answered so many requests, in words; "" if it can."""
    if not capture.complete:
        return f"not complete: {[loss.kind for loss in capture.losses]}"
    # One call to read a request and one to answer it, at the least.
    seen = sum(call.entered for session in capture.sessions for call in session.app)
    return f"only {seen} calls for {requests} requests" if seen < 2 * requests else ""
