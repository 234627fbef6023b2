"""nginx and redis in containers of runc's, which stand created until somebody records or watches them, and their load.

Their load differs from run to run with what `random` says: connections, threads, sizes, kinds of requests.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from random import Random

from rig import images, servers
from rig.process import RigError, wait_until
from rig.runc import Bundle, Config

DEADLINE_S = 60.0
_QUIT_S = 30.0


class Server(ABC):
    """A server in a container: `serving` hands out its port while it runs."""

    key: str

    @abstractmethod
    def args(self, port: int) -> list[str]: ...

    def files(self, base: Path, port: int) -> dict[Path, str]:
        """Files on the host → where the container has them."""
        return {}

    @abstractmethod
    def answers(self, port: int) -> bool: ...

    @abstractmethod
    def load(self, port: int, random: Random) -> None:
        """A second or less of work of all kinds that it knows."""

    @abstractmethod
    def measure(self, port: int, seconds: int) -> dict[str, float]:
        """What it does a second, by kind of request."""

    @contextmanager
    def serving(self, created: Callable[[int], AbstractContextManager[object]]) -> Iterator[int]:
        """Run it; `created` is entered with its first process's id before it executes anything, and left when it has
        ended. Raises RigError when it does not answer, or does not end well."""
        port = servers.free_port()

        def edit(config: Config) -> None:
            config["linux"]["namespaces"] = [one for one in config["linux"]["namespaces"] if one["type"] != "network"]

        with Bundle(images.services(), args=self.args(port), edit=edit) as bundle:
            for source, target in self.files(bundle.base, port).items():
                mount = {"destination": target, "type": "none", "source": str(source), "options": ["bind", "ro"]}
                bundle.config["mounts"].append(mount)
            bundle.create()
            with created(bundle.pid()):
                bundle.start()
                wait_until(lambda: self._is_up(port), deadline_s=DEADLINE_S, what=f"{self.key} answers")
                yield port
                bundle.kill("TERM")
                bundle.wait_stopped(deadline_s=_QUIT_S)

    def _is_up(self, port: int) -> bool:
        try:
            return self.answers(port)
        except OSError:
            return False


class Nginx(Server):
    key = "nginx"

    def args(self, port: int) -> list[str]:
        return ["/usr/sbin/nginx"]

    def files(self, base: Path, port: int) -> dict[Path, str]:
        www, conf = base / "www", base / "nginx.conf"
        www.mkdir()
        www.chmod(0o755)
        for name, content in (("index.html", servers.PAGE), ("large", bytes(500_000)), ("empty", b"")):
            (www / name).write_bytes(content)
            (www / name).chmod(0o644)
        conf.write_text(servers.nginx_conf(port))
        return {conf: "/etc/nginx/nginx.conf", www: "/srv/www"}

    def answers(self, port: int) -> bool:
        return servers.http_get(port) == (200, servers.PAGE)

    def load(self, port: int, random: Random) -> None:
        for _ in range(random.randint(3, 9)):
            path = random.choice(("/", "/large", "/empty", "/nosuch", "/nosuch/x"))
            status, _ = servers.http_get(port, path)
            if status != (404 if "nosuch" in path else 200):
                raise RigError(f"nginx: {path} is answered {status}")
        for path in ("/", random.choice(("/", "/large", "/empty"))):
            servers.wrk(port, seconds=1, connections=random.randint(1, 40), path=path)

    def measure(self, port: int, seconds: int) -> dict[str, float]:
        found = servers.wrk(port, seconds=seconds)
        if found.errors or found.non_2xx:
            raise RigError(f"wrk: {found.errors} errors, {found.non_2xx} answers other than 2xx")
        return {"nginx": found.per_second}


class Redis(Server):
    key = "redis"

    def args(self, port: int) -> list[str]:
        return ["/usr/bin/redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", ""]

    def answers(self, port: int) -> bool:
        return servers.redis_call(port, "PING") == "+PONG"

    def load(self, port: int, random: Random) -> None:
        for command in random.sample(("SET a 1", "GET a", "INCR n", "LPUSH l x", "DEL a", "NOSUCH", "PING"), 5):
            servers.redis_call(port, command)
        tests = random.sample(("set", "get", "incr", "lpush", "lpop", "sadd", "hset", "mset"), 3)
        servers.redis_benchmark(
            port,
            requests=random.randint(2_000, 20_000),
            clients=random.randint(1, 40),
            tests=tests,
            pipeline=random.choice((1, 1, 4, 16)),
        )

    def measure(self, port: int, seconds: int) -> dict[str, float]:
        found = servers.redis_benchmark(port, requests=40_000 * seconds)
        return {f"redis {test}": rate for test, rate in found.items()}


EVERY: tuple[Server, ...] = (Nginx(), Redis())
