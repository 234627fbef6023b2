"""The rig itself: engines start, serve and leave nothing; raw runtimes run a bundle; the switch decides."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import need

from rig import images, namespace, runc, servers
from rig.cgroup import cgroup_path, child_cgroup, rig_cgroup
from rig.docker import Dockerd
from rig.engine import Engine, image_ref
from rig.leftovers import alive, processes_naming, sweep
from rig.mounts import mounts, private_dir
from rig.podman import Podman
from rig.process import CommandError, Daemon, DeadlineError, RigError, run, wait_until
from rig.switch import Fail, Kind, Run, Skip, decide

Opener = Callable[[], Engine]
ENGINES: list[tuple[Kind, Opener, Callable[[], str | None]]] = [
    ("PODMAN", lambda: Podman(runtime="runc"), lambda: Podman.available("runc")),
    ("CRUN", lambda: Podman(runtime="crun"), lambda: Podman.available("crun")),
    ("DOCKER", Dockerd, Dockerd.available),
]
engines = pytest.mark.parametrize(
    ("kind", "opener", "available"), ENGINES, ids=["podman-runc", "podman-crun", "dockerd"]
)
runtimes = pytest.mark.parametrize("runtime", ["runc", "crun"])


@pytest.fixture
def inside() -> namespace.Entered:
    """In the private namespace."""
    need("KERNEL", namespace.unavailable())
    return namespace.enter()


def cgroups() -> set[Path]:
    """The cgroups of this process's rig; engines that other tests share have theirs."""
    return {path for path in rig_cgroup().glob("*") if path.is_dir()}


def directories() -> set[Path]:
    """The private directories of this process's rig."""
    return set(Path(tempfile.gettempdir()).glob(f"scmm-rig-{os.getpid()}-*"))


@contextmanager
def nothing_left() -> Iterator[list[Path]]:
    """The body appends private directories; afterwards nothing of them is left."""
    bases: list[Path] = []
    before, cgroups_before, directories_before = set(mounts()), cgroups(), directories()
    yield bases
    assert bases
    assert [base for base in bases if base.exists()] == []
    assert [pid for base in bases for pid in processes_naming(base)] == []
    assert set(mounts()) - before == set()
    assert cgroups() - cgroups_before == set()
    assert directories() - directories_before == set()


# --- engines --------------------------------------------------------------------------------------------


@engines
def test_engine_serves_and_leaves_nothing(
    inside: namespace.Entered, kind: Kind, opener: Opener, available: Callable[[], str | None]
) -> None:
    need(kind, available() or images.services_unavailable())
    with nothing_left() as bases:
        with opener() as engine:
            bases.append(engine.base)
            ref = engine.import_image("services", images.services())
            with servers.nginx(engine, ref) as web:
                assert servers.http_get(web.port) == (200, servers.PAGE)
                assert servers.http_get(web.port, "/missing")[0] == 404
                assert "worker" in _commands_below(engine, web.container)
                assert engine.exec(web.container, "cat", "/srv/www/index.html").stdout.encode() == servers.PAGE
                done = servers.wrk(web.port, seconds=1)
                assert done.requests > 100
                assert (done.errors, done.non_2xx) == (0, 0)
            with servers.redis(engine, ref, options=["--security-opt", "no-new-privileges"]) as store:
                assert servers.redis_call(store.port, "SET a b") == "+OK"
                status = engine.exec(store.container, "cat", "/proc/1/status").stdout
                assert "NoNewPrivs:\t1" in status
                assert "Seccomp:\t2" in status
                assert set(servers.redis_benchmark(store.port, requests=2000)) == {"SET", "GET"}
            # Left running on purpose: closing the engine ends it.
            pid = engine.pid(engine.run_detached(ref, "/bin/sleep", "3600"))
            assert alive(pid)
        assert not alive(pid)


@engines
def test_engine_verbs(
    inside: namespace.Entered, kind: Kind, opener: Opener, available: Callable[[], str | None]
) -> None:
    need(kind, available() or images.busybox_unavailable())
    with opener() as engine:
        ref = engine.import_image("busybox", images.busybox())
        assert engine.run(ref, "/bin/true").returncode == 0
        assert engine.run(ref, "/bin/false", check=False).returncode == 1
        with pytest.raises(CommandError, match="exited 3"):
            engine.run(ref, "/bin/sh", "-c", "exit 3")
        assert engine.run(ref, "/bin/cat", input="in and out\n").stdout == "in and out\n"
        name = engine.run_detached(ref, "/bin/sh", "-c", "echo hello; exec sleep 3600", options=["--env", "A=b"])
        assert engine.exec(name, "/bin/sh", "-c", "echo $A").stdout == "b\n"
        host_view = Path(f"/proc/{engine.pid(name)}/cgroup").read_text()
        assert f"0::{cgroup_path(engine.cgroup)}/" in host_view
        wait_until(lambda: "hello" in engine.logs(name), deadline_s=10, what="log line")
        engine.kill(name)
        assert engine.wait(name) == 137
        engine.rm(name)
        assert engine("inspect", name, check=False).returncode != 0


@engines
def test_engine_applies_a_seccomp_profile(
    inside: namespace.Entered, kind: Kind, opener: Opener, available: Callable[[], str | None], tmp_path: Path
) -> None:
    need(kind, available() or images.busybox_unavailable())
    profile = tmp_path / "no-mkdir.json"
    deny = '{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}'
    profile.write_text(f'{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{deny}]}}')
    with opener() as engine:
        ref = engine.import_image("busybox", images.busybox())
        done = engine.run(ref, "mkdir", "/x", options=["--security-opt", f"seccomp={profile}"], check=False)
        assert done.returncode == 1
        assert "Permission denied" in done.stderr


def test_failed_server_says_why(inside: namespace.Entered) -> None:
    need("PODMAN", Podman.available() or images.busybox_unavailable())
    with Podman() as engine:
        ref = engine.import_image("busybox", images.busybox())
        with pytest.raises(RigError, match="nginx"), servers.nginx(engine, ref):
            pytest.fail("busybox has no nginx")


def test_docker_runs_a_runtime_of_its_configuration(inside: namespace.Entered, tmp_path: Path) -> None:
    need("DOCKER", Dockerd.available() or images.busybox_unavailable())
    shim, seen = tmp_path / "shim", tmp_path / "seen"
    shim.write_text(f'#!/bin/sh\necho "$@" >>{seen}\nexec runc "$@"\n')
    shim.chmod(0o755)
    with Dockerd(runtimes={"shim": shim}) as engine:
        ref = engine.import_image("busybox", images.busybox())
        engine.run(ref, "/bin/true", options=["--runtime", "shim"])
    assert " create " in seen.read_text()


def test_podman_runs_hooks_of_a_directory(inside: namespace.Entered, tmp_path: Path) -> None:
    need("PODMAN", Podman.available() or images.busybox_unavailable())
    hook, seen = tmp_path / "hook", tmp_path / "seen"
    hook.write_text(f"#!/bin/sh\ncat >{seen}\n")
    hook.chmod(0o755)
    when = '"when": {"annotations": {"^rig.seen$": "^1$"}}, "stages": ["prestart"]'
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "h.json").write_text(f'{{"version": "1.0.0", "hook": {{"path": "{hook}"}}, {when}}}')
    with Podman(hooks_dirs=[tmp_path / "hooks"]) as engine:
        ref = engine.import_image("busybox", images.busybox())
        engine.run(ref, "/bin/true")
        assert not seen.exists()
        engine.run(ref, "/bin/true", options=["--annotation", "rig.seen=1"])
    assert '"ociVersion"' in seen.read_text()


# --- raw bundles ----------------------------------------------------------------------------------------


@runtimes
def test_bundle_runs_true_and_leaves_nothing(inside: namespace.Entered, runtime: str) -> None:
    need("CRUN" if runtime == "crun" else "KERNEL", runc.available(runtime) or images.busybox_unavailable())
    with nothing_left() as bases:
        with runc.Bundle(images.busybox(), runtime=runtime) as bundle:
            bases.append(bundle.base)
            assert bundle.run().returncode == 0
            bundle.config["process"]["args"] = ["/bin/sh", "-c", "touch /new && exit 4"]
            assert bundle.run(check=False).returncode == 4
        # The change went to the overlay, not into the cached root.
        assert not (images.rootfs(images.busybox()) / "new").exists()


@runtimes
def test_bundle_create_start_exec_kill(inside: namespace.Entered, runtime: str) -> None:
    need("CRUN" if runtime == "crun" else "KERNEL", runc.available(runtime) or images.busybox_unavailable())
    with nothing_left() as bases:
        with runc.Bundle(images.busybox(), example="busybox-sh", runtime=runtime) as bundle:
            bases.append(bundle.base)
            bundle.create()
            assert bundle.state()["status"] == "created"
            bundle.start()
            wait_until(lambda: "ready" in bundle.log.read_text(), deadline_s=10, what="output")
            assert bundle.exec("/bin/cat", "/proc/1/comm").stdout in ("sleep\n", "sh\n")
            assert f"0::{cgroup_path(bundle.cgroup)}/" in Path(f"/proc/{bundle.pid()}/cgroup").read_text()
            bundle.kill()
            bundle.wait_stopped()
            bundle.delete()
        with runc.Bundle(images.busybox(), example="busybox-sh", runtime=runtime) as bundle:
            bases.append(bundle.base)
            bundle.create()
            bundle.start()
            pid = bundle.pid()
        assert not alive(pid)


@runtimes
def test_bundle_edit_sets_no_new_privileges_and_seccomp(inside: namespace.Entered, runtime: str) -> None:
    need("CRUN" if runtime == "crun" else "KERNEL", runc.available(runtime) or images.busybox_unavailable())

    def edit(config: runc.Config) -> None:
        config["process"]["noNewPrivileges"] = True
        config["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64"],
        }
        config["linux"]["seccomp"]["syscalls"] = [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]

    args = ["/bin/cat", "/proc/self/status"]
    with runc.Bundle(images.busybox(), runtime=runtime, args=args, edit=edit) as bundle:
        status = bundle.run().stdout
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status


# --- namespace and cgroups ------------------------------------------------------------------------------


def test_enter_is_idempotent_and_leaves_the_host_alone(inside: namespace.Entered) -> None:
    script = (
        "import pathlib, threading\n"
        "from rig import namespace as n\n"
        "host = pathlib.Path('/proc/1/mountinfo').read_text()\n"
        "first = n.enter()\n"
        "assert n.enter() == first == n.entered()\n"
        "assert n.needs_private() is None\n"
        "assert pathlib.Path('/proc/1/mountinfo').read_text() == host\n"
        "assert all(p.stat().st_mode & 0o777 == 0o700 for p in first.private)\n"
        "print(first.namespace)\n"
    )
    done = run([sys.executable, "-c", script], cwd=Path(__file__).resolve().parents[2])
    assert done.stdout.strip() != inside.namespace


def test_enter_refuses_a_second_thread(inside: namespace.Entered) -> None:
    caught: list[BaseException] = []

    def body() -> None:
        try:
            namespace.enter()
        except RigError as error:
            caught.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])


def test_child_cgroup_holds_its_processes_and_goes_away(inside: namespace.Entered) -> None:
    with child_cgroup("test") as group:
        assert f"0::{cgroup_path(group)}\n" in run(["cat", "/proc/self/cgroup"], cgroup=group).stdout
    assert not group.exists()


def test_sweep_removes_what_a_killed_rig_left(inside: namespace.Entered) -> None:
    need("PODMAN", Podman.available() or images.busybox_unavailable())
    script = (
        "import os, signal\n"
        "from rig import images, namespace\n"
        "from rig.podman import Podman\n"
        "namespace.enter()\n"
        "engine = Podman().open()\n"
        "name = engine.run_detached(engine.import_image('busybox', images.busybox()), 'sleep', '3600')\n"
        "print(engine.base, engine.cgroup, engine.pid(name), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    cwd = Path(__file__).resolve().parents[2]
    done = run([sys.executable, "-c", script], check=False, cwd=cwd)
    assert done.returncode == -9, done.stderr
    base, cgroup, pid = done.stdout.split()
    assert alive(int(pid))
    assert Path(base) in sweep()
    assert not alive(int(pid))
    assert not Path(base).exists()
    assert not Path(cgroup).parent.exists()


def test_child_cgroup_kills_what_stays(inside: namespace.Entered, tmp_path: Path) -> None:
    with child_cgroup("test", empty_s=0.1) as group:
        (group / "nested").mkdir()
        sleeper = Daemon(["sleep", "3600"], log=tmp_path / "log", cgroup=group / "nested").start()
    assert not group.exists()
    sleeper.stop()


# --- process --------------------------------------------------------------------------------------------


def test_run_shows_command_and_stderr() -> None:
    with pytest.raises(CommandError, match=r"(?s)sh -c .*exited 7.*stderr: broken"):
        run(["sh", "-c", "echo broken >&2; exit 7"])


def test_run_kills_at_the_deadline() -> None:
    began = time.monotonic()
    with pytest.raises(DeadlineError, match="sleep 60"):
        run(["sleep", "60"], timeout=0.2)
    assert time.monotonic() - began < 10


def test_run_is_not_held_by_a_grandchild_with_open_output(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    began = time.monotonic()
    assert run(["sh", "-c", 'echo out; (read _ <"$0") & echo $!', fifo]).stdout.startswith("out\n")
    assert time.monotonic() - began < 10
    fifo.write_text("go\n")


def test_wait_until_gives_up_with_the_reason() -> None:
    with pytest.raises(DeadlineError, match=r"(?s)never true.*the detail"):
        wait_until(lambda: False, deadline_s=0.01, what="never true", detail=lambda: "the detail")


def test_daemon_that_ends_early_shows_its_log(tmp_path: Path) -> None:
    with pytest.raises(RigError, match="no such option"):
        Daemon(["sh", "-c", "echo no such option; exit 1"], log=tmp_path / "log", ready=lambda: False).start()


def test_daemon_that_ignores_term_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    cmd = ["sh", "-c", "trap '' TERM; sleep 3600 & echo $!; while :; do wait; done"]
    with Daemon(cmd, log=log, ready=lambda: log.read_text().endswith("\n"), stop_s=0.2) as daemon:
        pids = [daemon.pid, int(log.read_text())]
    wait_until(lambda: not any(map(alive, pids)), deadline_s=5, what="shell and its child ended")


def test_private_dir_is_private_and_removed() -> None:
    with private_dir("test") as path:
        assert path.stat().st_mode & 0o777 == 0o700
        (path / "a").mkdir()
    assert not path.exists()


# --- images, servers, switch ----------------------------------------------------------------------------


def test_busybox_is_reproducible_and_built_once(tmp_path: Path) -> None:
    need("KERNEL", images.busybox_unavailable())
    script = "from rig import images; print(images.busybox())"
    found = set()
    for cache in ("one", "two", "one"):
        env = os.environ | {"SCMM_RIG_CACHE": str(tmp_path / cache)}
        done = run([sys.executable, "-c", script], env=env, cwd=Path(__file__).resolve().parents[2])
        found.add(Path(done.stdout.strip()))
    assert len(found) == 2
    one, two = found
    assert one.name == two.name
    assert one.read_bytes() == two.read_bytes()
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o700


def test_failed_build_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCMM_RIG_CACHE", str(tmp_path))
    monkeypatch.setattr(images, "SUITE", "no-such-suite")
    need("KERNEL", images.services_unavailable())
    with pytest.raises(RigError, match="no apt source for no-such-suite"):
        images.services()
    assert [path.name for path in tmp_path.iterdir()] == [".services.lock"]


@pytest.mark.parametrize(
    ("name", "ref"),
    [
        ("busybox", "localhost/busybox:latest"),
        ("busybox:1", "localhost/busybox:1"),
        ("localhost:5000/x", "localhost:5000/x:latest"),
    ],
)
def test_image_ref(name: str, ref: str) -> None:
    assert image_ref(name) == ref


def test_parse_wrk() -> None:
    text = (
        "  1234 requests in 1.10s, 2.00MB read\n"
        "  Socket errors: connect 0, read 1, write 2, timeout 3\n"
        "  Non-2xx or 3xx responses: 5\n"
        "Requests/sec:   1121.82\n"
    )
    assert servers.parse_wrk(text) == servers.WrkResult(1234, 1.1, 1121.82, 6, 5)
    with pytest.raises(RigError, match="unable to connect"):
        servers.parse_wrk("unable to connect to 127.0.0.1:1\n")


@pytest.mark.parametrize(
    ("value", "reason", "decision"),
    [
        (None, None, Run()),
        (None, "no podman", Skip("no podman")),
        ("1", None, Run()),
        ("1", "no podman", Fail("SCMM_TEST_PODMAN=1, but no podman")),
        ("0", None, Skip("off: SCMM_TEST_PODMAN=0")),
        ("0", "no podman", Skip("off: SCMM_TEST_PODMAN=0")),
        ("yes", None, Fail("SCMM_TEST_PODMAN='yes' is neither 0 nor 1")),
    ],
)
def test_switch(value: str | None, reason: str | None, decision: Run | Skip | Fail) -> None:
    environ = {} if value is None else {"SCMM_TEST_PODMAN": value}
    assert decide("PODMAN", reason, environ) == decision


def _commands_below(engine: Engine, container: str) -> str:
    """Command lines of the children of a container's first process."""
    pid = engine.pid(container)
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return " ".join(Path(f"/proc/{child}/cmdline").read_text() for child in children)
