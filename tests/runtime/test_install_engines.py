"""`scmm install` for real engines: they take what it writes, run containers over the shim, and forget it again."""

from __future__ import annotations

import os
import signal
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recordings import Ground
from support import need

from rig import images, namespace
from rig.docker import Dockerd
from rig.podman import Podman
from rig.process import find_program, missing_programs, wait_until
from scmm_oci.cli.main import main
from scmm_oci.enforcer.registration import containerd

Install = Callable[..., int]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """`scmm install` with directories of the test's own; the log of the shim is in tmp_path / "shim.log"."""
    config = tmp_path / "config.yaml"
    config.write_text(f'{{"shim": {{"run_dir": "{tmp_path}/run", "log_file": "{tmp_path}/shim.log"}}}}')
    own = [
        *("--libexec-dir", str(tmp_path / "libexec"), "--hooks-dir", str(tmp_path / "hooks.d")),
        *("--config", str(config), "--records-dir", str(tmp_path / "records")),
    ]
    return lambda *words: main(["install", *map(str, words), *own])


def test_dockerd_takes_it_while_it_runs(docker: Ground, install: Install) -> None:
    assert isinstance(docker.engine, Dockerd)
    engine = docker.engine
    config = engine.base / "daemon.json"
    before = config.read_bytes()

    def reload() -> None:
        done = engine.daemon.log.read_text().count("Reloaded configuration")
        os.kill(engine.daemon.pid, signal.SIGHUP)
        wait_until(
            lambda: engine.daemon.log.read_text().count("Reloaded configuration") > done,
            deadline_s=60,
            what="dockerd to have read its configuration anew",
        )

    def attempt() -> tuple[int, str]:
        done = engine("run", "--rm", "--network=none", "--runtime=scmm", docker.busybox, "echo", "here", check=False)
        return done.returncode, done.stdout

    assert attempt() == (125, ""), "the control: nobody knows that runtime yet"
    assert install("docker", "--file", config) == 0
    reload()
    assert attempt() == (0, "here\n")
    assert install("docker", "--undo") == 0
    assert config.read_bytes() == before
    reload()
    assert attempt() == (125, "")
    try:
        # Where nothing is left of `runtimes`, a reload is not enough, as we tell. The program is gone all the same.
        config.write_text("{}")
        assert install("docker", "--file", config) == 0
        reload()
        assert attempt() == (0, "here\n")
        assert install("docker", "--undo") == 0 and config.read_text() == "{}"
        reload()
        assert "scmm" in engine("info", "--format", "{{json .Runtimes}}").stdout
        assert attempt()[0] in (125, 127)
    finally:
        # Others have this dockerd too.
        config.write_bytes(before)
        reload()


def test_podman_takes_it_and_shows_errors_as_runcs(inside: namespace.Entered, install: Install) -> None:
    need("PODMAN", Podman.available("runc"))
    with Podman(runtime="runc") as engine:
        busybox = engine.import_image("busybox", images.busybox())
        config = engine.base / "containers.conf"
        before = config.read_bytes()

        def attempt(runtime: str, *words: str) -> tuple[int, str, str]:
            options = ("run", "--rm", "--network=none", busybox, *words)
            # The last --runtime counts.
            done = engine(f"--runtime={runtime}", *options, check=False)
            if words[0] == "echo" and (done.returncode, done.stdout) == (0, ""):
                # Once in some 700 starts podman 4.3 prints nothing of a container that ends at once (docs/shim.md).
                done = engine(f"--runtime={runtime}", *options, check=False)
            return done.returncode, done.stdout, done.stderr.replace(f"Error: {runtime}: ", "Error: ")

        plain = {words: attempt("runc", *words) for words in (("echo", "here"), ("no-such",), ("/etc",))}
        assert plain["echo", "here"][:2] == (0, "here\n")
        assert plain[("no-such",)][0] == 127 and plain[("/etc",)][0] == 126
        assert attempt("scmm", "true")[0] == 125, "the control: nobody knows that runtime yet"
        assert install("podman", "--file", config) == 0
        assert {words: attempt("scmm", *words) for words in plain} == plain
        assert install("podman", "--undo") == 0
        assert config.read_bytes() == before
        assert attempt("scmm", "true")[0] == 125


def test_podman_that_takes_no_json_of_it_shows_something_else(inside: namespace.Entered, install: Install) -> None:
    """The control for `runtime_supports_json`."""
    need("PODMAN", Podman.available("runc"))
    with Podman(runtime="runc") as engine:
        busybox = engine.import_image("busybox", images.busybox())
        config = engine.base / "containers.conf"
        config.write_text(config.read_text().replace("[engine]\n", '[engine]\nruntime_supports_json = ["runc"]\n'))
        assert install("podman", "--file", config) == 0
        done = engine("--runtime=scmm", "run", "--rm", "--network=none", busybox, "/etc", check=False)
        assert done.returncode == 126
        assert "level=error" in done.stderr


@pytest.mark.parametrize(
    "text", ["version = 2\n", 'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\n  sandbox_image = "x"\n']
)
def test_containerd_reads_what_was_written(text: str, tmp_path: Path, install: Install) -> None:
    need("DOCKER", missing_programs("containerd"))
    config = tmp_path / "config.toml"
    config.write_text(text)

    def runtimes() -> dict[str, dict[str, Any]]:
        command = [find_program("containerd") or "", "--config", config, "config", "dump"]
        dumped = tomllib.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)
        found: dict[str, dict[str, Any]] = dumped["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]["runtimes"]
        for each in found.values():
            # Whether an option is left out or is what it would be anyhow.
            each["options"] = {name: value for name, value in each["options"].items() if value}
        return found

    before = runtimes()
    assert set(before) == {"runc"}
    assert install("containerd", "--file", config) == 0
    found = runtimes()
    assert found["runc"] == before["runc"], "the default is what it was"
    scmm = found["scmm"]
    assert scmm["options"]["BinaryName"] == str(tmp_path / "libexec/scmm-runc")
    assert scmm["pod_annotations"] == scmm["container_annotations"] == ["scmm.*"]
    assert scmm["runtime_type"] == found["runc"]["runtime_type"]
    assert install("containerd", "--undo") == 0
    assert config.read_text() == text
    assert containerd.entries(text, {"scmm": ""}) == []
