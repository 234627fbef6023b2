"""Run the workloads of benchmarks.policy_workloads in containers, recorded or under a profile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from benchmarks.policy_workloads import Variant, Workload, write_host_root
from rig import images
from rig.engine import Engine
from rig.mounts import private_dir
from rig.process import RigError, wait_until
from scmm_oci.capture import file as capture_file
from scmm_oci.capture.model import Capture


class Running(Protocol):
    """A workload that was started."""

    def pid(self) -> int:
        """A process of it, as this process sees it."""

    def end(self) -> None:
        """Ask it to end (SIGTERM)."""

    def wait(self) -> int:
        """Its exit status, when it has ended."""

    def output(self) -> str:
        """What it has written."""


def job(workload: Workload, variant: Variant, running: Running) -> None:
    """Have a started workload do its job to the end. Raises RigError where it does not."""
    if workload.server:
        try:
            workload.drive(running.pid(), variant)
        except RigError as error:
            raise RigError(f"{error}\n{running.output()}") from None
        running.end()
    status = running.wait()
    if status or not workload.said(running.output()):
        raise RigError(f"{workload.key} ended with {status}:\n{running.output()[-4000:]}")


class Containers:
    """An engine with the two images that the workloads take."""

    def __init__(self, engine: Engine, references: Mapping[str, str]) -> None:
        self.engine, self._references = engine, references

    def perform(self, workload: Workload, variant: Variant, options: Sequence[str] = ()) -> None:
        """One run of the job in a container with no network but loopback. Raises RigError where it fails."""
        with private_dir("files") as base:
            volumes = [f"--volume={path}:{path}:ro" for path in workload.mounts]
            for number, (path, content) in enumerate(workload.files.items()):
                source = base / str(number)
                source.write_text(content)
                source.chmod(0o644)
                volumes.append(f"--volume={source}:{path}:ro")
            name = self.engine.run_detached(
                self._references[workload.image], *workload.words(variant), options=[*volumes, *options]
            )
            try:
                job(workload, variant, _Container(self.engine, name))
            finally:
                self.engine.rm(name)


class _Container:
    def __init__(self, engine: Engine, name: str) -> None:
        self._engine, self._name = engine, name

    def pid(self) -> int:
        found = self._engine.pid(self._name)
        if not found:
            raise RigError(f"{self._name} has ended")
        return found

    def end(self) -> None:
        self._engine.kill(self._name, signal="TERM")

    def wait(self) -> int:
        return self._engine.wait(self._name)

    def output(self) -> str:
        return self._engine.logs(self._name)


@contextmanager
def containers(engine: Engine) -> Iterator[Containers]:
    """The engine with the images imported."""
    with private_dir("images") as base:
        write_host_root(base / "host.tar")
        references = {"host": engine.import_image("host", base / "host.tar")}
    references["services"] = engine.import_image("services", images.services())
    yield Containers(engine, references)


def record(place: Containers, workload: Workload, variant: Variant, directory: Path) -> Capture:
    """The capture of one run by the engine's hooks, which write to `directory`."""
    name = f"{workload.key}-{variant.name}"
    place.perform(workload, variant, ["--annotation", "scmm.record=required", "--annotation", f"scmm.name={name}"])
    path = directory / f"{name}.scmm-cap"
    wait_until(path.exists, deadline_s=20, what=f"{path} is written")
    return capture_file.read(path)
