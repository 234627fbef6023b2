"""`scmm record run -- ENGINE run …`: what the user types is recorded, runs as always, and all ends are told."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from engine_verbs import Verbs
from recording import called
from shims import make_shims
from support import Hooks, install_hooks, need

from rig import images, namespace
from rig.docker import Dockerd
from rig.engine import Engine
from rig.mounts import private_dir
from rig.podman import Podman
from rig.process import wait_until
from scmm_oci.cli.main import main


@dataclass(frozen=True)
class Ground:
    """An engine, and the hooks whose settings the command is given."""

    verbs: Verbs
    hooks: Hooks

    @property
    def verb(self) -> list[str]:
        return ["record", "run", "--config", str(self.hooks.layout.config)]

    def captures(self) -> set[str]:
        return {path.name for path in Path(self.hooks.settings.capture_dir).glob("*.scmm-cap")}


ALL = ["podman", "podman, no hooks installed", "docker"]
#: What is the same for all is tried with all in the long form only.
on_all = pytest.mark.parametrize("ground", ALL, indirect=True)
on_one = pytest.mark.parametrize("ground", ALL if os.environ.get("SCMM_SOAK") else ALL[1:2], indirect=True)


@pytest.fixture(scope="module")
def ground(
    request: pytest.FixtureRequest, inside: namespace.Entered, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ground]:
    need("KERNEL", images.busybox_unavailable())
    hooks = install_hooks(tmp_path_factory.mktemp("hooks"))
    with private_dir("shim") as base:
        engine: Engine
        if request.param == "docker":
            need("DOCKER", Dockerd.available())
            engine = Dockerd(runtimes={"scmm": make_shims(base, hooks=hooks).runc})
        else:
            need("PODMAN", Podman.available("runc"))
            engine = Podman(hooks_dirs=[hooks.layout.hooks_dir] if request.param == "podman" else [])
        with engine:
            image = engine.import_image("busybox", images.busybox())
            yield Ground(Verbs(engine, image, tmp_path_factory.mktemp("work")), hooks)
    assert not Path(hooks.settings.pin_dir).exists(), "something is still recorded"


@on_all
def test_what_it_says_and_where_the_capture_is(ground: Ground) -> None:
    words = ["sh", "-c", "cat; mkdir /made; echo told >&2; exit 3"]
    plain = ground.verbs.engine.run(ground.verbs.image, *words, input="text\n", check=False)
    done = ground.verbs.run(ground.verb, words, ["--rm", "-i", "--name=web"], input="text\n")
    assert (done.returncode, done.stdout) == (plain.returncode, plain.stdout) == (3, "text\n")
    said = done.stderr.splitlines()
    path = ground.hooks.path("web")
    assert said[0] == "told"
    assert said[1].startswith(f"{path}: ") and said[1].endswith("; complete")
    assert said[2] == f"next: scmm extract -i {path} -o web.scmm.yaml"
    capture = ground.hooks.capture("web")
    assert capture["name"] == "web" and called(capture)["mkdir"] == 1
    assert ground.verbs.containers() == []
    # Names of captures are for root alone, whoever made the directory.
    assert Path(ground.hooks.settings.capture_dir).stat().st_mode & 0o777 == 0o700


@on_one
def test_into_a_file_with_json(ground: Ground) -> None:
    before = ground.captures()
    done = ground.verbs.run([*ground.verb, "-q", "--json", "-o", "made.scmm-cap"], ["true"], ["--rm"])
    assert (done.returncode, done.stderr) == (0, "")
    value = json.loads(done.stdout)
    assert (value["path"], value["name"], value["exit_status"], value["complete"]) == ("made.scmm-cap", "made", 0, True)
    assert json.loads((ground.verbs.directory / "made.scmm-cap").read_bytes())["name"] == "made"
    assert ground.captures() == before


@on_one
def test_a_policy_of_the_recording_serves_the_same_container(ground: Ground) -> None:
    words = ["sh", "-c", "mkdir /tmp/a; ls / >/dev/null; wc -l </etc/passwd"]
    made = ground.verbs.directory
    done = ground.verbs.run([*ground.verb, "-o", "round.scmm-cap"], words, ["--rm"])
    assert done.returncode == 0, done.stderr
    policy = str(made / "round.scmm.yaml")
    assert main(["extract", "-i", str(made / "round.scmm-cap"), "-o", policy, "--non-interactive"]) == 0
    done = ground.verbs.run(["try", policy], words)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "serves"), done.stderr
    done = ground.verbs.run(["try", policy, "--only", "permissive"], ["sh", "-c", "rmdir /media; exit 0"])
    assert done.returncode == 1 and "- {name: rmdir, action: allow}" in done.stdout


@on_one
def test_what_does_not_start_is_no_recording_and_keeps_the_earlier_one(ground: Ground) -> None:
    assert ground.verbs.run([*ground.verb, "--name", "kept"], ["true"], ["--rm"]).returncode == 0
    kept, before = ground.hooks.path("kept").read_bytes(), ground.captures()
    done = ground.verbs.run([*ground.verb, "--name", "kept", "--json"], ["nosuch"], ["--rm"])
    assert done.returncode == 127
    assert f"not recorded: {ground.verbs.name} ended with 127 before the container's program began" in done.stderr
    assert json.loads(done.stdout)["path"] is None
    assert (ground.hooks.path("kept").read_bytes(), ground.captures()) == (kept, before)


@on_one
def test_in_the_background(ground: Ground) -> None:
    text = "trap 'mkdir /made; exit 0' TERM; echo begun; while :; do sleep 0.1; done"
    done = ground.verbs.run(ground.verb, ["sh", "-c", text], ["-d", "--rm", "--name=back"])
    assert done.returncode == 0 and len(done.stdout.split()) == 1
    assert f"{ground.verbs.name} stop back" in done.stderr
    assert f"the capture will be {ground.hooks.path('back')};" in done.stderr
    wait_until(lambda: "begun" in ground.verbs.engine.logs("back"), deadline_s=30, what="begun")
    ground.verbs.engine("stop", "--time=30", "back")
    wait_until(ground.hooks.path("back").exists, deadline_s=30, what="capture", detail=ground.hooks.log)
    assert called(ground.hooks.capture("back"))["mkdir"] == 1


@on_one
def test_signals_are_the_containers(ground: Ground) -> None:
    text = "trap 'echo got; exit 9' TERM; echo begun; while :; do sleep 0.1; done"
    with ground.verbs.start([*ground.verb, "--name", "sent"], ["sh", "-c", text], ["--rm"]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (9, "got\n")
    assert str(ground.hooks.path("sent")) in err


@on_one
def test_a_terminal_is_the_containers(ground: Ground) -> None:
    status, shown = ground.verbs.typed(
        [*ground.verb, "--name", "typed"],
        ["sh", "-c", "echo asks; read a; test -t 0 && echo got $a; exit 4"],
        ["--rm", "-it"],
        after="asks",
        keys=b"this\r",
    )
    assert status == 4 and "got this" in shown
    assert str(ground.hooks.path("typed")) in shown


@on_all
def test_who_says_something_else_is_told(ground: Ground) -> None:
    before = ground.captures()
    no = {"docker": "-eSCMM_RECORD=0", "podman": "--annotation=scmm.record=false"}[ground.verbs.name]
    done = ground.verbs.run(ground.verb, ["true"], [no])
    assert done.returncode == 2 and "says that it is not recorded" in done.stderr
    if ground.verbs.name == "docker":
        done = ground.verbs.run(ground.verb, ["true"], ["--runtime=runc"])
        assert done.returncode == 2 and "--runtime 'runc' is not scmm-runc (leave it out, or give scmm)" in done.stderr
    assert (ground.captures(), ground.verbs.containers()) == (before, [])


def test_docker_that_does_not_know_the_shim(
    inside: namespace.Entered, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = tmp_path / "docker"
    client.write_text('#!/bin/sh\necho \'{"runtimes":{"runc":{"path":"runc"}},"default":"runc"}\'\n')
    client.chmod(0o755)
    config = str(tmp_path / "none.yaml")
    assert main(["record", "run", "--config", config, "--", str(client), "run", "image"]) == 1
    said = capsys.readouterr().err
    assert "Docker does not know scmm-runc" in said and "scmm install docker" in said
