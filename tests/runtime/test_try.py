"""`scmm try POLICY -- ENGINE run …`: what the policy would refuse, whether it serves, and that nothing stays behind."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from engine_verbs import Verbs
from shims import Shims, make_shims
from support import need

from rig import images, namespace
from rig.docker import Dockerd
from rig.engine import Engine
from rig.mounts import private_dir
from rig.podman import Podman
from scmm_oci import scratch
from scmm_oci.enforcer import trying

CALLS: dict[str, Any] = {
    "version": "1.0",
    "metadata": {"name": "calls"},
    "settings": {"default_action": "allow"},
    "syscalls": [{"names": ["mkdir"], "action": "deny", "errno": "EPROTO"}],
}
FILES = {**CALLS, "filesystem": {"rules": [{"path": "/bin/**", "access": ["execute", "read_file", "read_dir"]}]}}
MAKES = ["sh", "-c", "mkdir /tmp/made && mkdir /tmp/made/more; ls -d /tmp/made/more"]


@dataclass(frozen=True)
class Ground:
    """An engine, over which nothing of ours is installed (podman), or the shim is (Docker)."""

    verbs: Verbs
    shims: Shims

    def verb(self, name: str, *words: str) -> list[str]:
        return ["try", str(self.verbs.directory / f"{name}.scmm.yaml"), *words]

    def left(self) -> list[object]:
        """What is there that was not before: containers, directories, policies."""
        directories = [path for place in trying.PLACES for path in Path(place).glob(f"{trying.PREFIX}*")]
        # Who lives holds a lock: others may try something here meanwhile.
        mine = list(scratch.abandoned((path for path in directories if path.name not in _before), age=0))
        return [*self.verbs.containers(), *mine, *self.shims.store.names(), *self.shims.store.strangers()]


#: Of others who run tests here.
_before = {path.name for place in trying.PLACES for path in Path(place).glob(f"{trying.PREFIX}*")}
ALL = ["podman", "docker"]
on_both = pytest.mark.parametrize("ground", ALL, indirect=True)
on_one = pytest.mark.parametrize("ground", ALL if os.environ.get("SCMM_SOAK") else ALL[:1], indirect=True)


@pytest.fixture(scope="module")
def ground(
    request: pytest.FixtureRequest, inside: namespace.Entered, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ground]:
    need("KERNEL", images.busybox_unavailable())
    directory = tmp_path_factory.mktemp("work")
    for name, policy in (("calls", CALLS), ("files", FILES)):
        (directory / f"{name}.scmm.yaml").write_text(json.dumps(policy))
    with private_dir("shim") as base:
        shims = make_shims(base)
        engine: Engine
        if request.param == "docker":
            need("DOCKER", Dockerd.available())
            engine = Dockerd(runtimes={"scmm": shims.runc})
        else:
            need("PODMAN", Podman.available("runc"))
            engine = Podman()
        with engine:
            made = Ground(Verbs(engine, engine.import_image("busybox", images.busybox()), directory), shims)
            yield made
            assert made.left() == [] == made.shims.kept()


@on_both
def test_what_would_be_refused_is_told_and_then_refused(ground: Ground) -> None:
    done = ground.verbs.run(ground.verb("calls"), MAKES, ["--user=1000", "--name=made"])
    assert done.returncode == 1
    out = done.stdout.splitlines()
    assert out[0] == "/tmp/made/more"  # made in the first run, and told nowhere in the program's own output
    assert done.stderr.count("Protocol error") == 1
    assert any(line.split() == ["2", 'mkdir("/tmp/made",', "0x1ff)", "errno", "71", "EPROTO", "mkdir"] for line in out)
    assert "      - {name: mkdir, action: allow}" in out
    assert "permissive run: ended with 0" in out and "standard run: ended with 1" in out
    assert out[-1] == "does not serve: 1 kind of calls would be refused; the runs end differently: 0 and 1"
    assert ground.left() == []


@on_one
def test_a_policy_that_serves(ground: Ground) -> None:
    text = ground.verbs.directory / "text"
    text.write_text("some text\n")
    with text.open() as file:
        done = ground.verbs.run(ground.verb("calls", "--json"), ["sh", "-c", "cat >&2; exit 3"], ["-i"], stdin=file)
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert value["serves"] is True and value["objections"] == []
    runs = [(run["mode"], run["exit_status"], run["violations"], run["notes"]) for run in value["runs"]]
    assert runs == [("permissive", 3, [], []), ("standard", 3, [], [])]
    assert done.stderr.splitlines().count("some text") == 2
    assert ground.left() == []


@on_one
def test_files_only_the_second_run_refuses(ground: Ground) -> None:
    done = ground.verbs.run(ground.verb("files"), ["cat", "/etc/passwd"])
    assert done.returncode == 1
    assert done.stdout.startswith("root:") and "Permission denied" in done.stderr
    assert "does not serve: the runs end differently: 0 and 1" in done.stdout
    assert "of files and ports, only the second run shows what is refused" in done.stderr


@on_one
def test_one_of_the_runs_alone(ground: Ground) -> None:
    done = ground.verbs.run(ground.verb("calls", "--only", "permissive", "--json"), MAKES, ["--rm"])
    (run,) = json.loads(done.stdout.partition("\n")[2])["runs"]
    assert (done.returncode, run["mode"], run["violations"][0]["count"]) == (1, "permissive", 2)


@on_one
def test_a_server_is_stopped(ground: Ground) -> None:
    text = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
    done = ground.verbs.run(ground.verb("calls", "--duration", "0.5"), ["sh", "-c", text])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-3:] == [
        "permissive run: ended with --duration",
        "standard run: ended with --duration",
        "serves",
    ]


@on_one
def test_what_does_not_begin_is_no_success(ground: Ground) -> None:
    done = ground.verbs.run(ground.verb("calls", "-m", "seccomp"), ["nosuch"])
    assert done.returncode == 1
    assert "not tried: the permissive run did not begin: the engine or the launcher ended with 127" in done.stdout
    assert "seccomp" not in done.stdout


@pytest.mark.parametrize("heeds", [True, False])
@on_one
def test_interrupted(ground: Ground, heeds: bool) -> None:
    """A program that does not heed the first signal is ended by the second."""
    text = f"trap '{'exit 9' if heeds else ':'}' TERM; echo begun; while :; do sleep 0.1; done"
    with ground.verbs.start(ground.verb("calls"), ["sh", "-c", text]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGTERM)
        if not heeds:
            process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=120)
    assert process.returncode in ([143] if heeds else [143, 130])
    assert "permissive run: ended with 9" in out if heeds else "it was stopped" in out
    assert "standard" not in out
    assert ground.left() == []


@on_one
def test_in_a_terminal_both_runs_have_it(ground: Ground) -> None:
    words = ["sh", "-c", "echo asks; read a; test -t 0 && echo got $a; exit 4"]
    status, shown = ground.verbs.typed(ground.verb("calls"), words, ["-it"], after="asks\r\n", keys=b"this\r")
    assert (status, shown.count("got this")) == (0, 2), shown
    assert shown.rstrip().endswith("serves")


@pytest.mark.parametrize("ground", ["docker"], indirect=True)
def test_another_runtime_of_dockers_is_not_taken(ground: Ground) -> None:
    done = ground.verbs.run(ground.verb("calls"), ["true"], ["--runtime=runc"])
    assert done.returncode == 2 and "--runtime 'runc' is not scmm-runc" in done.stderr
    assert ground.verbs.run(ground.verb("calls", "--only=permissive"), ["true"], ["--runtime=scmm"]).returncode == 0


@pytest.mark.parametrize("ground", ["podman"], indirect=True)
def test_podmans_shim_is_over_the_runtime_that_is_named(ground: Ground) -> None:
    """podman that is set to the installed shim is tried over the runtime below that; nothing there is changed."""
    done = ground.verbs.run(ground.verb("calls", "--only=permissive"), MAKES, [f"--runtime={ground.shims.runc}"])
    assert done.returncode == 1 and "1 kind of calls" in done.stdout
    assert (ground.shims.kept(), ground.shims.log()) == ([], "")
