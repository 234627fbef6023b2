"""The README's commands, run as they stand there on default paths; what they print is what it shows.

Digits and container ids are not compared. `podman` and `docker` are the rig's, given what this machine needs.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT, need

from rig import images, namespace
from rig.docker import Dockerd
from rig.engine import Engine
from rig.podman import Podman
from rig.process import find_program, wait_until
from scmm_oci.enforcer.registration import engines
from scmm_oci.recorder import installation

OURS = (
    "/etc/scmm",
    "/run/scmm",
    "/var/lib/scmm",
    "/var/log/scmm",
    str(installation.LIBEXEC_DIR),
    str(installation.HOOKS_DIR),
    "/etc/containers",
)

#: Of these, what an engine reads is kept.
KEPT = ("/etc/containers",)


def steps() -> list[tuple[str, list[str]]]:
    """Every command of the README's console blocks, with the lines that follow it."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def pattern(lines: list[str]) -> str:
    """A regular expression for shown output: `…` stands for anything, digits and run lengths of spaces do not count."""
    text = "\n".join(lines).strip()
    parts = [re.escape(re.sub(r"[0-9]+", "0", re.sub(r" +", " ", part))) for part in text.split("…")]
    return "[\\s\\S]*".join(parts)


def normal(output: str) -> str:
    lines = [re.sub(r"[0-9]+", "0", re.sub(r" +", " ", line)).rstrip() for line in output.strip().splitlines()]
    return "\n".join(lines)


def test_pattern_tells_outputs_apart() -> None:
    shown = ["ok  BPF object  for x86_64", "…", "main 0  setup  26"]
    assert re.fullmatch(pattern(shown), normal("ok BPF object   for x86_64\nok y\nmain 0   setup    7 \n"))
    assert not re.fullmatch(pattern(shown), normal("failed BPF object   for x86_64\nok y\nmain 0   setup    7"))
    assert not re.fullmatch(pattern(shown), normal("ok BPF object for x86_64\nok y\nmain 0 runtime 7"))


@pytest.fixture
def default_paths(inside: namespace.Entered) -> Iterator[None]:
    """The paths that commands use by default, empty, in this mount namespace only."""
    need("PODMAN", Podman.available("runc") or images.services_unavailable())
    need("DOCKER", Dockerd.available())
    made = []
    try:
        for path in OURS:
            Path(path).mkdir(parents=True, exist_ok=True)
            there = [(each, each.read_bytes()) for each in Path(path).iterdir() if path in KEPT and each.is_file()]
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", path], check=True)
            made.append(path)
            for each, content in there:
                each.write_bytes(content)
        yield
    finally:
        for path in reversed(made):
            subprocess.run(["umount", path], check=True)


def shim(directory: Path, name: str, engine: Engine) -> None:
    """A command `name` that is the rig's engine; containers get no network, which both engines can do everywhere."""
    program = find_program(engine.command()[0])
    assert program
    words = shlex.join([program, *engine.command()[1:]])
    exports = "".join(
        f"export {key}={shlex.quote(value)}\n" for key, value in engine.environ().items() if key != "PATH"
    )
    placed = shlex.join(["--pull=never", "--network=none", *engine.placement()])
    path = directory / name
    # Options before the verb stay before it.
    path.write_text(
        f"#!/bin/bash\n{exports}before=()\n"
        'while [ $# -gt 0 ]; do case $1 in --runtime) before+=("$1" "$2"); shift 2 ;; *) break ;; esac; done\n'
        f'if [ "$1" = run ]; then shift; exec {words} "${{before[@]}}" run {placed} "$@"; fi\n'
        f'exec {words} "${{before[@]}}" "$@"\n'
    )
    path.chmod(0o755)


def image(engine: Engine) -> None:
    engine.import_image(
        "nginx" if isinstance(engine, Podman) else "nginx:latest",
        images.services(),
        changes=['CMD ["nginx", "-g", "daemon off;"]'],
    )
    if not isinstance(engine, Podman):
        engine("tag", "localhost/nginx:latest", "nginx:latest")


def test_readme_is_true(default_paths: None, tmp_path: Path) -> None:
    del default_paths
    # The rig's engines have configurations of their own: what `scmm install` writes is told them here.
    runtimes = {engines.NAME: installation.LIBEXEC_DIR / "scmm-runc"}
    with Podman(hooks_dirs=[installation.HOOKS_DIR], runtimes=runtimes) as podman, Dockerd() as docker:
        for name, engine in (("podman", podman), ("docker", docker)):
            image(engine)
            shim(tmp_path, name, engine)
        found = steps()
        assert len(found) >= 10
        path = os.pathsep.join([str(tmp_path), str(Path(sys.executable).parent), podman.environ()["PATH"]])
        for command, shown in found:
            capture = re.search(r"-i (\S+)", command)
            if capture:
                wait_until((tmp_path / capture[1]).exists, deadline_s=20, what=f"{capture[1]} written")
            done = subprocess.run(
                ["/bin/sh", "-c", command],
                cwd=tmp_path,
                env={**os.environ, "PATH": path},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=120,
                check=False,
            )
            told = f"$ {command}\n{done.stdout}\n--- shown:\n" + "\n".join(shown)
            assert re.fullmatch(pattern(shown), normal(done.stdout)), told
            assert (done.returncode == 0) == (not any("not permitted" in line or "denied" in line for line in shown)), (
                done.stdout
            )
