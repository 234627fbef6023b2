"""The main job from beginning to end, on real engines: record nginx, make its profile, run it under that.

`make demo` runs this. It brings its own podman and dockerd with private state, so it changes nothing on the host
and works beside engines that run already. What it makes stays in out/demo.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from rig import images, namespace, servers
from rig.docker import Dockerd
from rig.engine import Engine
from rig.podman import Podman
from rig.process import RigError, wait_until
from scmm_oci.cli.main import main as scmm
from scmm_oci.recorder import doctor, installation
from scmm_oci.recorder.doctor import Verdict
from scmm_oci.recorder.installation import Layout
from scmm_oci.tables.syscalls import number_of

OUTPUT = Path(__file__).resolve().parent.parent / "out" / "demo"
#: Where Debian's containers-common keeps podman's default profile, derived from Docker's.
ENGINE_DEFAULT = Path("/usr/share/containers/seccomp.json")
ROUNDS = 7

console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)


@contextmanager
def step(words: str) -> Iterator[None]:
    """Say what is done, and how long it took."""
    began = time.monotonic()
    with console.status(words) if console.is_terminal else _quiet():
        yield
    console.print(f"[green]✓[/green] {words} [dim]({time.monotonic() - began:.1f} s)[/dim]")


@contextmanager
def _quiet() -> Iterator[None]:
    yield


def allowed(profile: dict[str, Any]) -> set[str]:
    """Names that a profile allows, under whatever condition, as far as this machine has them."""
    return {
        name
        for rule in profile["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW"
        for name in rule["names"]
        if number_of(os.uname().machine, name) is not None
    }


def settings(directory: Path) -> Layout:
    """The hook pair, installed below the demo's own directory instead of the host's."""
    config = directory / "config.yaml"
    values = {
        "capture_dir": directory / "captures",
        "run_dir": directory / "run",
        "log_file": directory / "log" / "hook.log",
        "pin_dir": "/sys/fs/bpf/scmm-demo",
    }
    config.write_text("".join(f"{name}: {json.dumps(str(value))}\n" for name, value in values.items()))
    layout = Layout(hooks_dir=directory / "hooks.d", libexec_dir=directory / "libexec", config=config)
    installation.install(layout)
    return layout


def seconds(engine: Engine, image: str, options: list[str]) -> float:
    return engine.run(image, "true", options=options).seconds


def start_cost(engine: Engine, image: str) -> tuple[float, float]:
    """Medians of `podman run … true`, without and with recording, in milliseconds; measured by turns."""
    plain, recorded = [], []
    for number in range(ROUNDS):
        plain.append(seconds(engine, image, []))
        options = ["--annotation", "scmm.record=required", "--annotation", f"scmm.name=cost-{number}"]
        recorded.append(seconds(engine, image, options))
    return tuple(sorted(each)[ROUNDS // 2] * 1000 for each in (plain, recorded))  # type: ignore[return-value]


def serves(engine: Engine, image: str, options: list[str]) -> servers.WrkResult:
    """Requests served by nginx under `options`. Raises RigError if it does not serve."""
    with servers.nginx(engine, image, options=options) as web:
        result = servers.wrk(web.port, seconds=2)
    if result.errors or result.non_2xx:
        raise RigError(f"nginx under the profile: {result}")
    return result


def main() -> int:
    namespace.enter()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    OUTPUT.chmod(0o700)
    layout = settings(OUTPUT)
    failed = [each for each in doctor.examine(layout) if each.verdict is Verdict.FAILED]
    if failed:
        for each in failed:
            console.print(f"[red]✗[/red] {each.name}: {each.detail}\n  → {each.remedy}")
        return 1
    with step("make an image with nginx from Debian's packages (once; then it is kept)"):
        services, busybox = images.services(), images.busybox()
    capture, profile = OUTPUT / "captures" / "nginx.scmm-cap", OUTPUT / "seccomp.json"
    capture.unlink(missing_ok=True)
    under = ["--security-opt", f"seccomp={profile}"]
    with Podman(hooks_dirs=[layout.hooks_dir]) as podman, Dockerd() as docker:
        with step("import the image into podman and Docker"):
            image = podman.import_image("services", services)
            small = podman.import_image("busybox", busybox)
            docker.import_image("services", services)
        console.print("[bold]$ podman run --annotation scmm.record=true --annotation scmm.name=nginx … nginx[/bold]")
        with step("record nginx under load"):
            options = ["--annotation", "scmm.record=true", "--annotation", "scmm.name=nginx"]
            base = serves(podman, image, options)
            wait_until(capture.exists, deadline_s=10, what="the capture is written")
        words = ["extract", "-i", str(capture), "-o", str(OUTPUT / "nginx.scmm.yaml"), "--oci", str(profile)]
        console.print("[bold]$ scmm-extract -i nginx.scmm-cap -o nginx.scmm.yaml --oci seccomp.json[/bold]")
        if scmm([*words, "--non-interactive"]) or scmm(["extract", "-i", str(capture), "--stats-only"]):
            return 1
        console.print("[bold]$ podman run --security-opt seccomp=seccomp.json … nginx[/bold]")
        with step("nginx serves under its own profile in podman"):
            in_podman = serves(podman, image, under)
        console.print("[bold]$ docker run --security-opt seccomp=seccomp.json … nginx[/bold]")
        with step("nginx serves under its own profile in Docker"):
            in_docker = serves(docker, image, under)
        with step("the control: without listen(2) in the profile it does not serve"):
            control = refuses(podman, image, profile)
        with step("measure what recording adds to a container start"):
            plain, recorded = start_cost(podman, small)
    report(profile, base, in_podman, in_docker, plain, recorded)
    if not control:
        console.print("[red]✗ nginx served without listen(2): the profile is not enforced[/red]")
        return 1
    return 0


def refuses(engine: Engine, image: str, profile: Path) -> bool:
    """Whether nginx fails under the profile without listen."""
    document = json.loads(profile.read_text())
    for rule in document["syscalls"]:
        rule["names"] = [name for name in rule["names"] if name != "listen"]
    crippled = OUTPUT / "without-listen.json"
    crippled.write_text(json.dumps(document))
    try:
        serves(engine, image, ["--security-opt", f"seccomp={crippled}"])
    except RigError:
        return True
    return False


def report(
    profile: Path,
    base: servers.WrkResult,
    in_podman: servers.WrkResult,
    in_docker: servers.WrkResult,
    plain: float,
    recorded: float,
) -> None:
    """What came of it, as a table."""
    ours = allowed(json.loads(profile.read_text()))
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    if ENGINE_DEFAULT.exists():
        default = allowed(json.loads(ENGINE_DEFAULT.read_text()))
        table.add_row("system calls allowed", f"{len(ours)}, beside {len(default)} in the engines' default profile")
        table.add_row("no longer to be had", ", ".join(sorted(default - ours)[:12]) + ", …")
    table.add_row("requests per second", f"{base.per_second:,.0f} while recording")
    table.add_row("", f"{in_podman.per_second:,.0f} under the profile in podman, {in_docker.per_second:,.0f} in Docker")
    table.add_row("start of a container", f"{plain:.0f} ms, {recorded:.0f} ms when recorded")
    table.add_row("made", f"{OUTPUT}/nginx.scmm.yaml (read and edit it), seccomp.json, captures/")
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
