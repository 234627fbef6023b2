"""`scmm-watch` of real containers under podman and Docker: begun while they run, followed, stopped, killed, frozen."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from recordings import Ground
from support import Hooks
from test_record import where
from watched import ARCH, Watcher, left

from rig.process import wait_until
from scmm_oci.compiled.polfile import model, writer
from scmm_oci.compiled.policy_file import policy_file
from scmm_oci.policy import document
from scmm_oci.tables import syscalls
from scmm_oci.watch import session

#: Makes a directory when it is told to by a file, and goes on.
LOOP = "echo up; while :; do [ -e /go ] && { mkdir /made; rm /go; }; sleep 0.05; done"


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every call may follow every other, but those that make directories may follow none."""
    text = b'{version: "1.0", settings: {default_action: allow}, syscalls: [{name: ptrace, action: deny}]}'
    made, _ = policy_file(document.parse(text))
    known = syscalls.numbers(ARCH)
    numbers = sorted(number for name, number in known.items() if name not in ("mkdir", "mkdirat"))
    firsts = [*known.values(), model.EXEC, model.FORK, model.THREAD, model.SIGNAL, model.FOREIGN]
    edges = tuple(sorted((before, after) for before in firsts for after in numbers))
    path = tmp_path_factory.mktemp("policy") / "usual.scmm-pol"
    path.write_bytes(writer.write(replace(made, transitions=(model.Transitions(ARCH, edges),))))
    return path


@pytest.fixture
def ground(request: pytest.FixtureRequest) -> Ground:
    found: Ground = request.getfixturevalue(request.param)
    return found


def engines(*few: str) -> pytest.MarkDecorator:
    """The engines that a test is for; in the long form, both."""
    both = ["podman", "docker"]
    return pytest.mark.parametrize("ground", both if os.environ.get("SCMM_SOAK") else few, indirect=True)


@pytest.fixture
def watcher(
    ground: Ground, shared_hooks: Hooks, tmp_path: Path, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Watcher]:
    for name, value in where(ground).items():
        monkeypatch.setenv(name, value)
    yield Watcher(shared_hooks, tmp_path, Path("/bin/busybox"), policy)
    session.prune(shared_hooks.settings, now=1e9)
    assert left(shared_hooks) == []


@contextmanager
def running(ground: Ground, name: str) -> Iterator[str]:
    """A container that runs LOOP, by its id; removed at the end, if it is still there."""
    ground.engine.run_detached(ground.busybox, "sh", "-c", LOOP, name=name)
    try:
        wait_until(lambda: "up" in ground.engine.logs(name), deadline_s=30, what=f"{name} is up")
        yield str(ground.engine.inspect(name)["Id"])
    finally:
        end(ground, name)


def end(ground: Ground, name: str) -> None:
    """Remove a container, if it is there; it takes no notice of SIGTERM, for which podman waits."""
    ground.engine("kill", name, check=False)
    ground.engine("rm", "--force", name, check=False)


def tell(ground: Ground, name: str) -> None:
    """Have the loop do it, by a late entrant."""
    ground.engine.exec(name, "sh", "-c", "> /go")


@engines("podman", "docker")
def test_a_container_is_watched_to_its_end(ground: Ground, watcher: Watcher, capfd: pytest.CaptureFixture[str]) -> None:
    name = f"watched-{ground.engine.kind}"
    with running(ground, name) as id:
        engine = ["--engine", ground.engine.kind]
        assert watcher.here("-p", str(watcher.policy), *engine, name) == 0
        err = capfd.readouterr().err
        assert f"{name} is watched, with the policy usual: alert\n" in err and f"scmm-watch --stop {name}" in err
        assert watcher.here("-p", str(watcher.policy), *engine, "--action", "kill", name) == 1
        assert f"{name} is watched already, with the policy 'usual', since " in capfd.readouterr().err
        with watcher.start("--follow", "--json", id[:12]) as follower:
            assert json.loads(follower.stdout.readline())["type"] == "watching"
            tell(ground, name)
            alert = json.loads(follower.stdout.readline())
            assert alert["container"] == {"id": id, "name": name, "engine": ground.engine.kind}
            assert (alert["edge"]["to"], alert["done"]) == ("mkdir", "none")
            process = alert["process"]
            assert process["executable"].startswith("/bin/") and process["pid"] != process["pid_inside"]
            # Who comes in later is watched as well.
            ground.engine.exec(name, "mkdir", "/other")
            late = json.loads(follower.stdout.readline())
            assert late["edge"]["to"] == "mkdir" and late["process"]["pid"] != process["pid"]
            end(ground, name)
            ended = json.loads(follower.stdout.readline())
            assert (ended["type"], ended["why"]) == ("ended", session.GONE)
            assert ended["counters"]["violations"] == 2
            assert follower.wait(30) == 0


@engines("docker")
def test_stop_ends_the_watch_alone(ground: Ground, watcher: Watcher, capfd: pytest.CaptureFixture[str]) -> None:
    name = f"stopped-{ground.engine.kind}"
    with running(ground, name) as id:
        options = ["--engine", ground.engine.kind, "--action", "kill"]
        assert watcher.here("-p", str(watcher.policy), *options, id[:12]) == 0
        assert watcher.here("--list", "--json") == 0
        (row,) = json.loads(capfd.readouterr().out)
        assert (row["container"]["name"], row["action"], row["state"]) == (name, "kill", "watching")
        assert watcher.here("--stop", name) == 0
        assert f"{name}: the watch is over: it was stopped; no violation\n" in capfd.readouterr().err
        tell(ground, name)
        wait_until(lambda: ground.engine.exec(name, "ls", "/").stdout.count("made"), deadline_s=30, what="/made")


@engines("podman")
def test_kill_needs_nobody_who_runs(ground: Ground, watcher: Watcher, capfd: pytest.CaptureFixture[str]) -> None:
    name = f"killed-{ground.engine.kind}"
    with running(ground, name):
        options = ["--engine", ground.engine.kind, "--action", "kill"]
        assert watcher.here("-p", str(watcher.policy), *options, name) == 0
        assert ground.engine.exec(name, "ls", "/etc/passwd").returncode == 0, "the control"
        assert ground.engine.exec(name, "mkdir", "/other", check=False).returncode == 128 + 9
        assert watcher.here("--list", "--json") == 0
        (row,) = json.loads(capfd.readouterr().out)
        assert (row["counters"]["violations"], row["counters"]["kills"]) == (1, 1)


@engines("podman")
def test_freeze_stops_the_container_until_it_is_let(
    ground: Ground, watcher: Watcher, capfd: pytest.CaptureFixture[str]
) -> None:
    name = f"frozen-{ground.engine.kind}"
    with running(ground, name), ThreadPoolExecutor(1) as helper:
        with watcher.start("-p", str(watcher.policy), "--action", "freeze", "--follow", "--json", name) as follower:
            assert json.loads(follower.stdout.readline())["type"] == "watching"
            # It may be frozen with the rest.
            told = helper.submit(tell, ground, name)
            types = [json.loads(follower.stdout.readline())["type"] for _ in range(2)]
            assert types == ["alert", "frozen"]
            control = watcher.directory_of(watcher.entry()) / "cgroup.freeze"
            assert control.read_text() == "1\n"
            assert watcher.here("--thaw", name) == 0
            assert control.read_text() == "0\n" and "still watched" in capfd.readouterr().err
            told.result(60)
            follower.terminate()
            assert follower.wait(30) == 0
            assert f"{name} is watched still; end that: scmm-watch --stop {name}\n" in follower.stderr.read()
        done = "while [ -e /go ]; do sleep 0.05; done; echo done"
        assert ground.engine.exec(name, "sh", "-c", done).stdout == "done\n"
