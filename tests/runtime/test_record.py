"""`scmm record --container` of real containers under Docker and podman, and snapshots of what hooks record."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from recording import Recorder, called, files, losses
from recordings import Ground, await_capture, recorded
from support import Hooks

from rig.docker import Dockerd
from rig.process import Completed, wait_until

#: Does what it is told by a file, as long as it is there; `first` was before any recording.
LOOP = (
    "mkdir /first; echo up; while :; do [ -e /go ] && { ln /etc/passwd /linked; stat /l/x; rm /go; }; sleep 0.05; done"
)


@pytest.fixture
def recorder(shared_hooks: Hooks, tmp_path: Path) -> Recorder:
    return Recorder(shared_hooks, tmp_path)


@pytest.fixture(params=["podman", "docker"])
def ground(request: pytest.FixtureRequest) -> Ground:
    found: Ground = request.getfixturevalue(request.param)
    return found


def where(*grounds: Ground) -> dict[str, str]:
    """The environment in which the engines' own tools find these engines."""
    found: dict[str, str] = {}
    for each in grounds:
        engine = each.engine
        found |= {
            name: value for name, value in engine.environ().items() if name.startswith(("CONTAINERS_", "DOCKER_"))
        }
        if isinstance(engine, Dockerd):
            found["DOCKER_HOST"] = f"unix://{engine.socket}"
    return found


@contextmanager
def running(ground: Ground, name: str, *options: str) -> Iterator[str]:
    """A container that runs LOOP; its id."""
    ground.engine.run_detached(ground.busybox, "sh", "-c", f"ln -s /etc /l; {LOOP}", name=name, options=options)
    try:
        wait_until(lambda: "up" in ground.engine.logs(name), deadline_s=20, what=f"{name} is up")
        yield str(ground.engine.inspect(name)["Id"])
    finally:
        ground.engine.rm(name)


def go(ground: Ground, name: str) -> Completed:
    """Have the loop do it, by a late entrant, and wait until it is done."""
    return ground.engine.exec(name, "sh", "-c", "> /go; while [ -e /go ]; do sleep 0.05; done; rm /linked")


@pytest.mark.parametrize("by", ["name", "id", "prefix"])
def test_running_container(ground: Ground, recorder: Recorder, by: str) -> None:
    kind = ground.engine.kind
    name = f"{kind}-runs-{by}"
    with running(ground, name) as id:
        wanted = {"name": name, "id": id, "prefix": id[:8]}[by]
        with recorder.start("--container", wanted, "--engine", kind, env=where(ground)) as ours:
            recorder.entry()
            go(ground, name)
            ours.send_signal(signal.SIGINT)
            _, said = ours.communicate(timeout=60)
            assert ours.returncode == 0, said
    capture = recorder.capture()
    assert re.search(r"^capture.scmm-cap: \d+ system calls .*; incomplete: (lost-order.*, )?attached$", said)
    assert capture["source"] == "attached" and losses(capture)["attached"] == 1
    assert capture["container"]["id"] == id and capture["runtime"]["name"] == "runc"
    assert capture["container"]["args"][:2] == ["sh", "-c"]
    # A process that was being made when the recording began, or one of the runtime's that starts no program, may be a
    # session of its own.
    main, *others = capture["sessions"]
    [late] = [each for each in others if each["phases"]["setup"] and each["phases"]["app"]]
    assert {call["name"] for call in main["phases"]["app"]} >= {"link", "unlink"}
    assert "mkdir" not in called(capture), "what was before the recording is in it"
    assert {each["kind"] for each in others} == {"exec"}
    assert "unlink" in {call["name"] for call in late["phases"]["app"]}
    # A name that goes through a link of the container's, looked up in its root.
    assert "/etc/x" in {row["path"] for row in capture["files"] if row["operation"] == "stat"}
    assert (
        files(capture, "link-to" if "link-to" in {row["operation"] for row in capture["files"]} else "link").get(
            "/linked"
        )
        == "resolved"
    )


def test_recording_ends_with_the_container_or_its_time(ground: Ground, recorder: Recorder) -> None:
    kind = ground.engine.kind
    with running(ground, f"{kind}-ends") as id:
        done = recorder.run("--container", id, "--duration", "0.3", "--json", env=where(ground))
        assert done.returncode == 0 and json.loads(done.stdout)["exit_status"] is None, done.stderr
        with recorder.start("--container", id, "-q", env=where(ground)) as ours:
            recorder.entry()
            ground.engine.kill(f"{kind}-ends")
            out, err = ours.communicate(timeout=60)
            assert (ours.returncode, out, err) == (0, "", "")
        done = recorder.run("--container", id, env=where(ground))
        assert done.returncode == 1 and f"error: the container '{id}' does not run (start it" in done.stderr


def test_both_engines_are_asked(podman: Ground, docker: Ground, recorder: Recorder) -> None:
    env = where(podman, docker)
    short = ("--duration", "0.1")
    with running(podman, "both") as one, running(docker, "both") as two, running(docker, "docker-only"):
        done = recorder.run("--container", "both", *short, env=env)
        assert done.returncode == 1
        assert done.stderr == (
            f"error: docker ({two[:12]}) and podman ({one[:12]}) both have a container 'both' "
            "(choose with --engine, or give an id)\n"
        )
        for engine, id in (("docker", two), ("podman", one)):
            assert recorder.run("--container", "both", "--engine", engine, *short, env=env).returncode == 0
            assert recorder.capture()["container"]["id"] == id
        assert recorder.run("--container", "docker-only", *short, env=env).returncode == 0
        done = recorder.run("--container", "docker-onl", *short, env=env)
        assert (done.returncode, done.stderr) == (
            1,
            "error: no engine has a container 'docker-onl' (did you mean 'docker-only'?)\n",
        )
        docker.engine.kill("both")
        docker.engine.wait("both")
        # One that does not run cannot be meant.
        assert recorder.run("--container", "both", *short, env=env).returncode == 0
        assert recorder.capture()["container"]["id"] == one


def test_container_that_is_recorded_already(podman: Ground, recorder: Recorder) -> None:
    env = where(podman)
    with running(podman, "twice", *recorded("twice-cap")) as id:
        done = recorder.run("--container", "twice", "--engine", "podman", env=env)
        assert done.returncode == 1
        assert f"libpod-{id}" in done.stderr and "is recorded already, as 'twice-cap' (what that has" in done.stderr
        assert not recorder.path().exists()
        go(podman, "twice")
        for wanted in ("twice-cap", id, id[:6], "twice"):
            done = recorder.run("--snapshot", wanted, "-o", "now.scmm-cap", env=env)
            assert done.returncode == 0, done.stderr
            capture = recorder.capture("now")
            assert losses(capture) == {"snapshot": 1} and called(capture)["mkdir"] == 1
            assert "/etc/x" in {row["path"] for row in capture["files"] if row["operation"] == "stat"}
    whole = json.loads(await_capture(recorder.hooks, "twice-cap").read_bytes())
    assert whole["complete"], whole["losses"]
    assert called(whole).keys() >= called(capture).keys()


def test_process_of_a_container(ground: Ground, recorder: Recorder) -> None:
    """By its process id here: names are the container's, and late entrants are not of it."""
    name = f"{ground.engine.kind}-pid"
    with running(ground, name), recorder.start("-p", str(ground.engine.pid(name))) as ours:
        recorder.entry()
        go(ground, name)
        ours.send_signal(signal.SIGTERM)
        assert ours.wait(60) == 0
    capture = recorder.capture()
    assert [session["kind"] for session in capture["sessions"]] == ["main"]
    assert called(capture, "setup") == {} and called(capture)["link"] == 1
    assert "/etc/x" in {row["path"] for row in capture["files"] if row["operation"] == "stat"}
    assert {each["path"] for each in capture["programs"]} == {"/bin/busybox"}
    assert {each["state"] for each in capture["programs"]} == {"resolved"}
