"""What a replay by an engine is made of: probes, options, an engine's words, and the processes of a container."""

from __future__ import annotations

import http.server
import os
import platform
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from rig.process import wait_until
from scmm_oci.cli.main import main
from scmm_oci.errors import BadInput, Failure
from scmm_oci.recorder import engine_answers
from scmm_oci.recorder.engines import Engine
from scmm_oci.recorder.replay import engine, engine_probe, engine_process
from scmm_oci.recorder.replay.cells import Runtime
from scmm_oci.recorder.replay.engine_recording import recorded
from scmm_oci.recorder.replay.starter import Recorder
from scmm_oci.tables.arch import Arch, from_machine


@contextmanager
def web(status: int) -> Iterator[int]:
    """A server on 127.0.0.1 that answers with a status."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/asked?x=1" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("status", "good"), [(200, True), (302, True), (404, False), (500, False)])
def test_http_probes(status: int, good: bool) -> None:
    with web(status) as port:
        probe = engine_probe.parse(f"http://127.0.0.1:{port}/asked?x=1")
        assert probe.answers("name") is good
    assert not probe.answers("name"), "nobody is there any more"


def test_an_answer_that_never_ends_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_probe, "_PATIENCE", 1.0)
    gone = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                while not gone.wait(0.05):
                    connection.sendall(b"x")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        begun = time.monotonic()
        assert not engine_probe.parse(f"http://127.0.0.1:{server.getsockname()[1]}/").answers("name")
        assert time.monotonic() - begun < 30
        gone.set()
        thread.join()


def test_tcp_probes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        probe = engine_probe.parse(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        assert probe.answers("name")
    assert not probe.answers("name")


@pytest.mark.parametrize(("says", "good"), [(b"", False), (b"+OK\r\n", True)])
def test_a_proxy_that_takes_connections_for_nobody_is_no_answer(says: bytes, good: bool) -> None:
    """As docker-proxy does it for a published port: it accepts, finds that nobody listens, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def proxy() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(says)

        thread = threading.Thread(target=proxy)
        thread.start()
        assert engine_probe.parse(f"tcp://127.0.0.1:{server.getsockname()[1]}").answers("name") is good
        thread.join()


def test_a_probe_that_answers_without_a_container_cannot_fail() -> None:
    with web(200) as port:
        probe = engine_probe.parse(f"http://127.0.0.1:{port}/asked?x=1")
        with pytest.raises(BadInput, match="answers already, before there is a container"):
            engine_probe.check(probe)
    engine_probe.check(probe)
    with pytest.raises(BadInput):
        engine_probe.check(engine_probe.parse("true"))
    engine_probe.check(engine_probe.parse("false"))


def test_probes_that_are_commands_know_the_container() -> None:
    assert engine_probe.parse("sh -c '[ \"$SCMM_CONTAINER\" = one ]'").answers("one")
    assert not engine_probe.parse("sh -c '[ \"$SCMM_CONTAINER\" = one ]'").answers("other")


@pytest.mark.parametrize(
    "word", ["", "nosuch-program -x", "tcp://127.0.0.1", "tcp://127.0.0.1:port/", "ftp://127.0.0.1/", "http://", "'"]
)
def test_words_that_are_no_probe(word: str) -> None:
    with pytest.raises(BadInput) as caught:
        engine_probe.parse(word)
    assert [problem.place for problem in caught.value.problems] == ["--probe"]


def test_options_that_would_leave_nothing_to_try() -> None:
    engine.check_options(["--network=host", "-v=/a:/b", "--security-opt=label=disable", "--privileged=false"])
    engine.check_options(["--seccomp-policy=default", "--annotation=run.oci.keep_original_groups=1"])
    bad = ["--privileged", "--name=x", "--security-opt=seccomp=unconfined", "image", "--pid=host", "--rm"]
    bad += ["--seccomp-policy=image", "--annotation=run.oci.seccomp_bpf_data=AAAA"]
    with pytest.raises(BadInput) as caught:
        engine.check_options([*bad, "--network=host"])
    assert len(caught.value.problems) == len(bad)
    for word, problem in zip(bad, caught.value.problems, strict=True):
        assert word.partition("=")[0] in str(problem)


def test_the_runtime_is_told_where_each_engine_takes_it() -> None:
    runtime = Runtime("/usr/bin/crun", "crun", "1.8.1", "")
    podman = engine.Client(Engine.PODMAN, "podman", ((runtime, "/usr/bin/crun"),))
    assert podman.words("rm", ["x"]) == ["podman", "rm", "x"]
    for verb in ("run", "exec"):
        assert podman.words(verb, ["x"], runtime) == ["podman", "--runtime", "/usr/bin/crun", verb, "x"]
    docker = engine.Client(Engine.DOCKER, "docker", ((runtime, "crun"),))
    assert docker.words("create", ["x"], runtime) == ["docker", "create", "--runtime=crun", "x"]
    assert docker.words("exec", ["x"], runtime) == ["docker", "exec", "x"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Error: one\n", "Error: one"),
        ("docker: Error: two\n\nRun 'docker run --help' for more information\n", "docker: Error: two"),
        ("Error from daemon: three\nError: failed to start containers: x\n", "Error from daemon: three"),
        ("Error: failed to start containers: x\n", "Error: failed to start containers: x"),
        ("\x1b[2J\n", "\\x1b[2J"),
        ("", ""),
        ("a" * 1000, "a" * 300),
    ],
)
def test_last_words(text: str, expected: str) -> None:
    assert engine_answers.last_words(text.encode()) == expected


def stand_in(directory: Path, name: str, script: str) -> None:
    """A program of an engine's name."""
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_an_engine_that_is_not_there_or_not_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match="there is no program podman"):
        engine.find(Engine.PODMAN, [])
    stand_in(tmp_path, "podman", "echo no containers here >&2; exit 125")
    with pytest.raises(BadInput, match="no containers here"):
        engine.find(Engine.PODMAN, ["runc"])
    with pytest.raises(BadInput, match="podman has none of"):
        engine.find(Engine.PODMAN, [])
    for answer in ("text", "[]", "7", "null", ""):
        stand_in(tmp_path, "docker", f"echo '{answer}'")
        with pytest.raises(Failure, match="not understood"):
            engine.find(Engine.DOCKER, ["runc"])
    stand_in(tmp_path, "docker", """echo '{"other": {"path": "/other"}}'""")
    with pytest.raises(BadInput, match="docker has no runtime 'runc'; it has other"):
        engine.find(Engine.DOCKER, ["runc"])


def test_what_a_container_of_an_image_executes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    client = engine.Client(Engine.DOCKER, str(tmp_path / "docker"))

    def says(config: str) -> None:
        stand_in(tmp_path, "docker", f"echo '[{{\"Config\": {config}}}]'")

    says('{"Entrypoint": ["/in"], "Cmd": ["a", "b"]}')
    assert engine.command_of(client, "x", []) == ("/in", "a", "b")
    assert engine.command_of(client, "x", ["c"]) == ("/in", "c")
    says('{"Entrypoint": null, "Cmd": ["a"]}')
    assert engine.command_of(client, "x", []) == ("a",)
    says("null")
    assert engine.command_of(client, "x", ["c"]) == ("c",)
    with pytest.raises(BadInput, match="does not say which program"):
        engine.command_of(client, "x", [])


def test_states_of_containers(tmp_path: Path) -> None:
    client = engine.Client(Engine.DOCKER, str(tmp_path / "docker"))
    runtime = Runtime("/usr/bin/runc", "runc", None, "")

    def state(text: str) -> engine.State:
        stand_in(tmp_path, "docker", f"echo '[{{\"State\": {text}}}]'")
        return client.state("x", runtime)

    never = '{"Status": "created", "StartedAt": "0001-01-01T00:00:00Z", "ExitCode": 128}'
    assert state(never) == engine.State(False, False, 0, 128)
    running = '{"Status": "running", "StartedAt": "2026-01-01T00:00:00Z", "Pid": 7}'
    assert state(running) == engine.State(True, True, 7, 0)
    assert state(running.replace("running", "exited")) == engine.State(True, False, 7, 0)
    with pytest.raises(Failure, match="without a State"):
        state("7")


def test_an_engine_whose_cgroups_systemd_makes_is_not_recorded(tmp_path: Path) -> None:
    client = engine.Client(Engine.DOCKER, str(tmp_path / "docker"))
    stand_in(tmp_path, "docker", "[ $2 = --format={{.CgroupDriver}} ] && echo systemd")
    recorder = Recorder("/nosuch", "name")
    with (
        pytest.raises(Failure, match="docker makes cgroups by systemd"),
        recorded(client, recorder, name="scmm-replay-x", scratch=str(tmp_path)),
    ):
        pass
    assert os.listdir(tmp_path) == ["docker"]
    with recorded(client, None, name="scmm-replay-x", scratch=str(tmp_path)) as options:
        assert options == []


def test_the_program_that_waits_makes_no_call(tmp_path: Path) -> None:
    machine = from_machine(platform.machine())
    path = tmp_path / "idle"
    path.write_bytes(engine_process.idle(machine))
    path.chmod(0o755)
    # A process that is in a call, or waits in one, is not "running" there (proc_pid_syscall(5)).
    with subprocess.Popen([path]) as process:
        try:
            wait_until(lambda: os.readlink(f"/proc/{process.pid}/exe") == str(path), deadline_s=30, what="executed")
            assert Path(f"/proc/{process.pid}/syscall").read_text() == "running\n"
            assert engine_process.program_of(process.pid) == "", "it is in no container's root"
            assert engine_process.entered(process.pid) != process.pid
            assert engine_process.confinement(process.pid) == (False, False)
            engine_process.hold(process.pid)
            assert os.waitpid(process.pid, os.WUNTRACED)[1] & 0xFF == 0x7F
        finally:
            process.kill()
    assert process.returncode == -signal.SIGKILL
    engine_process.hold(process.pid)
    assert engine_process.confinement(process.pid) is None
    assert engine_process.program_of(process.pid) == ""
    other = engine_process.idle(Arch.AARCH64 if machine is Arch.X86_64 else Arch.X86_64)
    assert len(other) in (122, 124) and other[:4] == b"\x7fELF"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--engine", "podman"], "--engine needs --image"),
        (["--image", "x"], "--image: only with --engine"),
        (["--probe", "true", "--bundle", "x"], "--probe: only with --engine"),
        (["--engine", "docker", "--image", "x", "--bundle", "y"], "an engine makes its own"),
        (["--engine", "docker", "--image", "x", "--measure-floor"], "floors are measured with bundles"),
        (["--engine", "dockr", "--image", "x"], "'dockr' is not one of"),
        (["--", "sh"], "--replay and captures are two questions"),
    ],
)
def test_options_that_do_not_go_together(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "x.json", "--replay", *words]) == 2
    assert told in " ".join(capsys.readouterr().err.split())
