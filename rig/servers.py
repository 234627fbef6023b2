"""nginx and redis of the `services` image, answering on a free loopback port, and load on them.

Both run on the host's network and bind 127.0.0.1 only. nginx's configuration and page come from a private
directory mounted read-only. Load is driven from the host with wrk(1) and redis-benchmark(1).

Facts relied on: nginx's core module reference (daemon, master_process, worker_processes), redis.conf.
"""

from __future__ import annotations

import csv
import http.client
import io
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from rig.engine import Engine
from rig.mounts import private_dir
from rig.process import RigError, run, wait_until

PAGE = b"served by the rig\n"
_TRIES = 3
_ADDRESS_IN_USE = "ddress already in use"
_NGINX_CONF = """\
daemon off;
master_process on;
user www-data;
worker_processes {workers};
pid /run/nginx.pid;
error_log /dev/stderr warn;
events {{ worker_connections 256; }}
http {{
  access_log off;
  sendfile on;
  keepalive_requests 1000000;
  server {{
    listen 127.0.0.1:{port};
    root /srv/www;
    location / {{ index index.html; }}
  }}
}}
"""


@dataclass(frozen=True)
class Server:
    """A server that answers: the engine and container it runs in, and its port on 127.0.0.1."""

    engine: Engine
    container: str
    port: int


@dataclass(frozen=True)
class WrkResult:
    """What wrk counted. `errors` are failed connects, reads, writes and timeouts."""

    requests: int
    seconds: float
    per_second: float
    errors: int
    non_2xx: int


def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago (the servers try again if it was taken since)."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    assert isinstance(port, int)
    return port


def http_get(port: int, path: str = "/", *, timeout: float = 5.0) -> tuple[int, bytes]:
    """Status and body of a GET on 127.0.0.1; OSError if nothing listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def redis_call(port: int, command: str, *, timeout: float = 5.0) -> str:
    """The first line of redis's reply to an inline command (PING, SET k v); OSError if nothing listens."""
    with socket.create_connection(("127.0.0.1", port), timeout) as connection:
        connection.sendall(command.encode() + b"\r\n")
        with connection.makefile("rb") as reply:
            return reply.readline().decode().rstrip("\r\n")


def nginx_conf(port: int, *, workers: int = 1) -> str:
    """nginx's configuration: PAGE's directory is /srv/www."""
    return _NGINX_CONF.format(port=port, workers=workers)


@contextmanager
def nginx(
    engine: Engine, image: str, *, options: Sequence[str] = (), workers: int = 2, deadline_s: float = 30.0
) -> Iterator[Server]:
    """nginx, a master and `workers` workers, serving PAGE; `options` go to `run` (--security-opt, …)."""
    with private_dir("nginx") as base:
        (base / "www").mkdir()
        (base / "www").chmod(0o755)  # read by www-data in the container, shut off on the host by `base`
        (base / "www" / "index.html").write_bytes(PAGE)
        (base / "www" / "index.html").chmod(0o644)
        conf = base / "nginx.conf"
        volumes = [f"--volume={conf}:/etc/nginx/nginx.conf:ro", f"--volume={base / 'www'}:/srv/www:ro"]

        def start(port: int) -> str:
            conf.write_text(nginx_conf(port, workers=workers))
            words = [*volumes, *options]
            return engine.run_detached(image, "/usr/sbin/nginx", options=words, network="host")

        def answers(port: int) -> bool:
            return http_get(port) == (200, PAGE)

        yield from _serve(engine, start, answers, deadline_s)


@contextmanager
def redis(engine: Engine, image: str, *, options: Sequence[str] = (), deadline_s: float = 30.0) -> Iterator[Server]:
    """redis-server without persistence; `options` go to `run`."""

    def start(port: int) -> str:
        args = ["--bind", "127.0.0.1", "--port", str(port), "--save", ""]
        return engine.run_detached(image, "/usr/bin/redis-server", *args, options=options, network="host")

    def answers(port: int) -> bool:
        return redis_call(port, "PING") == "+PONG"

    yield from _serve(engine, start, answers, deadline_s)


def wrk(port: int, *, seconds: int = 2, threads: int = 1, connections: int = 8, path: str = "/") -> WrkResult:
    """Load on an HTTP server for whole seconds."""
    url = f"http://127.0.0.1:{port}{path}"
    cmd = ["wrk", f"-d{seconds}s", f"-t{threads}", f"-c{connections}", url]
    return parse_wrk(run(cmd, timeout=seconds + 30).stdout)


def parse_wrk(text: str) -> WrkResult:
    """wrk's summary as numbers."""
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)\b", text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if total is None or rate is None:
        raise RigError(f"wrk wrote no summary:\n{text}")
    unit = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}[total[3]]
    failed = re.search(r"Socket errors: (.*)", text)
    non_2xx = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return WrkResult(
        requests=int(total[1]),
        seconds=float(total[2]) * unit,
        per_second=float(rate[1]),
        errors=sum(map(int, re.findall(r"\d+", failed[1]))) if failed else 0,
        non_2xx=int(non_2xx[1]) if non_2xx else 0,
    )


def redis_benchmark(
    port: int,
    *,
    requests: int = 20000,
    clients: int = 8,
    tests: Sequence[str] = ("set", "get"),
    pipeline: int = 1,
    timeout: float = 120.0,
) -> dict[str, float]:
    """Requests per second for each test, by the name redis-benchmark prints."""
    sizes = ["-n", str(requests), "-c", str(clients), "-P", str(pipeline)]
    cmd = ["redis-benchmark", "-h", "127.0.0.1", "-p", str(port), *sizes, "-t", ",".join(tests), "--csv"]
    done = run(cmd, timeout=timeout)
    found = {row["test"]: float(row["rps"]) for row in csv.DictReader(io.StringIO(done.stdout))}
    if not found:
        raise RigError(f"redis-benchmark wrote no table:\n{done.stdout}{done.stderr}")
    return found


def _serve(
    engine: Engine, start: Callable[[int], str], answers: Callable[[int], bool], deadline_s: float
) -> Iterator[Server]:
    """Start on a free port, wait for an answer, hand the server out, remove the container."""
    for left in reversed(range(_TRIES)):
        port = free_port()
        name = start(port)
        try:
            try:
                wait_until(
                    partial(_ready, engine, name, port, answers),
                    deadline_s=deadline_s,
                    what=f"{name} answers on port {port}",
                    detail=partial(engine.logs, name),
                )
            except RigError as error:
                if left and _ADDRESS_IN_USE in str(error):
                    continue
                raise
            yield Server(engine, name, port)
            return
        finally:
            engine.rm(name)


def _ready(engine: Engine, name: str, port: int, answers: Callable[[int], bool]) -> bool:
    try:
        return answers(port)
    except (OSError, http.client.HTTPException):
        state = engine.inspect(name)["State"]
        if not state["Running"] and state["Status"] in ("exited", "stopped", "dead"):
            status = state["ExitCode"]
            raise RigError(f"{name} ended with {status} before it answered:\n{engine.logs(name)}") from None
        return False
