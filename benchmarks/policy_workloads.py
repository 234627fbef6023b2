"""Four real programs that do the same job in every run, with other process ids, temporary names and ports each time.

nginx and redis come from the image `services`, sqlite3 and python3 from this machine's /usr, which an image without
anything else has mounted. Each says what its container holds and executes, and puts load on it.
"""

from __future__ import annotations

import io
import os
import tarfile
from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from rig.process import RigError, run, wait_until

# `n` processes come and go before the program, so that it and its children have other numbers.
_LATER = 'n=$1; shift; while [ "$n" -gt 0 ]; do (:); n=$((n-1)); done; exec "$@"'


@dataclass(frozen=True)
class Variant:
    """What differs between runs: `processes` before the program, and how often (`times`) it does things."""

    name: str
    processes: int
    times: int


# Often enough for each of nginx's workers to be asked.
A, A2, B = Variant("a", 3, 12), Variant("a2", 11, 13), Variant("b", 40, 15)


class Workload(ABC):
    """A program and its job.

    Attributes:
        files: path → content, put into the container read-only.
        mounts: paths of this machine that are there read-only.
        vital: a call that it cannot do without; for controls.
    """

    key: str
    image: Literal["services", "host"]
    server = False
    files: ClassVar[Mapping[str, str]] = {}
    mounts: ClassVar[Sequence[str]] = ()
    command: ClassVar[Sequence[str]]
    vital: str

    def words(self, variant: Variant) -> list[str]:
        """What the container executes."""
        return ["/bin/sh", "-c", _LATER, "sh", str(variant.processes), *self.command, str(variant.times)]

    def drive(self, pid: int, variant: Variant) -> None:
        """Put load on a server, from its network namespace (that of process `pid`). Raises RigError."""
        raise RigError(f"{self.key} is no server")

    def said(self, output: str) -> bool:
        """Whether the output is that of a job that was done."""
        return output.splitlines()[-1:] == ["done"]


def _there(pid: int, *words: str, check: bool = True) -> str:
    space = f"/proc/{pid}/ns/net"
    try:
        os.readlink(space)
    except OSError:
        raise RigError("it has ended") from None
    return run(["nsenter", f"--net={space}", *words], timeout=60, check=check).stdout


class Nginx(Workload):
    """A master and two workers: pages, large bodies that go into files, and a cache before a second server."""

    key, image, server, vital = "nginx", "services", True, "listen"
    command = ("/usr/sbin/nginx",)
    files: ClassVar[Mapping[str, str]] = {
        "/etc/nginx/nginx.conf": """\
daemon off;
user www-data;
worker_processes 2;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log warn;
events { worker_connections 256; }
http {
  access_log /var/log/nginx/access.log;
  client_body_buffer_size 8k;
  proxy_cache_path /var/lib/nginx/cache levels=1:2 keys_zone=pages:1m;
  server {
    listen 127.0.0.1:8080;
    location / { root /srv/www; }
    location /behind { proxy_pass http://127.0.0.1:8081; proxy_cache pages; proxy_cache_valid 200 1m; }
  }
  server { listen 127.0.0.1:8081; location /behind { return 200 "$request_uri\\n"; } }
}
""",
        "/srv/www/index.html": "served\n",
    }

    def words(self, variant: Variant) -> list[str]:
        return super().words(variant)[:-1]

    def drive(self, pid: int, variant: Variant) -> None:
        curl = partial(_there, pid, "curl", "--silent", "--fail", "--max-time", "20")
        home = "http://127.0.0.1:8080/"
        # An attempt that comes too early must not use up all of the time.
        ready = partial(curl, "--max-time", "2", home, check=False)
        wait_until(lambda: ready() == "served\n", deadline_s=60, what="nginx answers")
        for number in range(variant.times):
            # The body comes after the header was read: else it is up to timing whether nginx writes with pwritev.
            for words in ([], ["--header", "Expect: 100-continue", "--data-binary", "x" * 100_000]):
                path = f"behind/{variant.name}/{number}"
                if curl(*words, home + path) != f"/{path}\n":
                    raise RigError(f"nginx answers something else to {path}")
        _there(pid, "wrk", "-d1s", "-t1", "-c8", home)

    def said(self, output: str) -> bool:
        return True


class Redis(Workload):
    """A server that writes its data in both forms, by itself and by children."""

    key, image, server, vital = "redis", "services", True, "epoll_wait"
    command = ("/usr/bin/redis-server", "--port", "6379", "--dir", "/var/lib/redis", "--appendonly", "yes")

    def words(self, variant: Variant) -> list[str]:
        return super().words(variant)[:-1]

    def drive(self, pid: int, variant: Variant) -> None:
        def ask(*words: str) -> str:
            return _there(pid, "redis-cli", *words, check=False).strip()

        def idle() -> bool:
            info = ask("INFO", "persistence").replace("\r", "").splitlines()
            return {"rdb_bgsave_in_progress:0", "aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0"} <= {*info}

        wait_until(lambda: ask("PING") == "PONG" and idle(), deadline_s=60, what="redis answers")
        _there(pid, "redis-benchmark", "-n", "500", "-c", "4", "-t", "set,get", "--csv")
        for number in range(variant.times):
            expected = {("SET", f"{variant.name}{number}", "x"): "OK", ("SAVE",): "OK"}
            expected |= {("BGSAVE",): "Background saving started"}
            expected |= {("BGREWRITEAOF",): "Background append only file rewriting started"}
            for words, answer in expected.items():
                wait_until(idle, deadline_s=60, what=f"redis is idle before {words}")
                if ask(*words) != answer:
                    raise RigError(f"redis answers something else than {answer!r} to {words}")
        wait_until(idle, deadline_s=60, what="redis has written everything")

    def said(self, output: str) -> bool:
        return "ready to exit" in output


class Sqlite(Workload):
    """A database with a journal, one with a write-ahead log in a temporary directory, sorting in temporary files."""

    key, image, vital = "sqlite3", "host", "fdatasync"
    mounts = ("/usr", "/etc/ld.so.cache")
    files: ClassVar[Mapping[str, str]] = {
        "/app/job.sh": """\
set -e
way=$(mktemp -d)
many="with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)"
sqlite3 /data/store.db "pragma temp_store = file; pragma cache_size = 5; create table if not exists t (a, b);
 insert into t $many select i, hex(randomblob(20)) from n; create temp table s as select * from t order by b;
 create index if not exists by_b on t (b); select count(*) from s; vacuum"
for each in $(seq "$1"); do
  sqlite3 "$way/$each.db" "pragma journal_mode = wal; create table t (a); insert into t values (1); select * from t"
  sqlite3 /data/store.db "insert into t values (1, 2)" "delete from t where a = 1"
done
sqlite3 /data/store.db ".backup $way/copy.db"
rm -r "$way"
echo done
"""
    }
    command = ("/bin/sh", "/app/job.sh")


class Python(Workload):
    """Temporary files, modules that it wrote, children, locks in shared memory, ports that the kernel chose."""

    key, image, vital = "python3", "host", "connect"
    mounts = ("/usr", "/etc/ld.so.cache")
    # Without site: its directories hold what this machine happens to have.
    command = ("/usr/bin/python3", "-S", "/app/job.py")
    files: ClassVar[Mapping[str, str]] = {
        "/app/helper.py": "def double(number):\n    return 2 * number\n",
        "/app/job.py": """\
import importlib, multiprocessing, os, shutil, socket, subprocess, sys, tempfile, threading
import helper
for number in range(int(sys.argv[1])):
    handle, path = tempfile.mkstemp(prefix="job-", suffix=".txt")
    os.write(handle, b"text")
    os.close(handle)
    os.rename(path, path + ".done")
    os.unlink(path + ".done")
    with tempfile.TemporaryDirectory() as way, tempfile.TemporaryFile() as unnamed:
        unnamed.write(b"x" * 100000)
        with open(f"{way}/made.py", "w") as file:
            file.write("value = 21")
        sys.path.insert(0, way)
        made = importlib.import_module("made")
        assert helper.double(made.value) == 42
        del sys.modules["made"], sys.path[0]
        done = subprocess.run(["/bin/sh", "-c", "cat made.py; ls"], cwd=way, stdout=subprocess.PIPE, check=True)
        assert b"value = 21" in done.stdout
        shutil.copytree(way, f"/data/kept-{os.getpid()}-{number}")
    with multiprocessing.Lock(), socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=lambda: server.accept()[0].sendall(b"hello"), daemon=True)
        thread.start()
        with socket.create_connection(server.getsockname()) as peer:
            assert peer.recv(5) == b"hello"
        thread.join()
with open("/data/result.txt", "w") as file:
    file.write("done")
with open("/proc/self/status") as file:
    assert "python3" in file.read()
print("done")
""",
    }


WORKLOADS: tuple[Workload, ...] = (Nginx(), Redis(), Sqlite(), Python())


def write_host_root(path: Path) -> None:
    """A tar of a root without programs: links into /usr, and empty directories to mount and write in."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:

        def add(name: str, mode: int, kind: bytes, *, data: bytes = b"", link: str = "") -> None:
            entry = tarfile.TarInfo(name)
            entry.mode, entry.type, entry.linkname, entry.size = mode, kind, link, len(data)
            archive.addfile(entry, io.BytesIO(data))

        for name in ("app", "data", "dev", "etc", "proc", "root", "run", "sys", "usr", "var"):
            add(name, 0o755, tarfile.DIRTYPE)
        for name in ("tmp", "var/tmp"):
            add(name, 0o1777, tarfile.DIRTYPE)
        for name in ("bin", "lib", "lib64", "sbin"):
            add(name, 0o777, tarfile.SYMTYPE, link=f"usr/{name}")
        add("etc/passwd", 0o644, tarfile.REGTYPE, data=b"root:x:0:0:root:/root:/bin/sh\n")
        add("etc/group", 0o644, tarfile.REGTYPE, data=b"root:x:0:\n")
