"""What tests share: the private namespace, the static payload, settings in a private directory, engines with hooks."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rig import namespace
from rig.switch import Fail, Kind, Skip, decide

from scmm_oci.recorder import installation, settings
from scmm_oci.recorder.installation import Layout
from scmm_oci.recorder.settings import Settings

ROOT = Path(__file__).resolve().parent.parent


def need(kind: Kind, reason: str | None) -> None:
    """Skip or fail as the three-state switch says; `reason` is why this machine cannot, or None."""
    decision = decide(kind, reason)
    if isinstance(decision, Skip):
        pytest.skip(decision.reason)
    if isinstance(decision, Fail):
        pytest.fail(decision.reason)


@pytest.fixture(scope="session")
def inside() -> namespace.Entered:
    """In the private mount namespace: cgroup2 only, a BPF file system of our own."""
    need("KERNEL", namespace.unavailable())
    return namespace.enter()


@pytest.fixture(scope="session")
def payload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tests/payload/payload.c, compiled and static."""
    path = tmp_path_factory.mktemp("payload") / "payload"
    source = ROOT / "tests/payload/payload.c"
    subprocess.run(
        ["gcc", "-O2", "-static", "-Wall", "-Wextra", "-Wno-unused-parameter", "-pthread", "-o", path, source], check=True
    )
    return path


@dataclass(frozen=True)
class Hooks:
    """An installed hook pair with its own directories; captures by name."""

    layout: Layout
    settings: Settings

    @property
    def starter(self) -> Path:
        return self.layout.libexec_dir / installation.STARTER

    def path(self, name: str) -> Path:
        return Path(self.settings.capture_dir) / f"{name}.scmm-cap"

    def capture(self, name: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.path(name).read_bytes())
        return document

    def log(self) -> str:
        try:
            return Path(self.settings.log_file).read_text()
        except FileNotFoundError:
            return ""


@pytest.fixture
def make_hooks(inside: namespace.Entered, tmp_path: Path) -> Callable[..., Hooks]:
    """Install the hook pair below the test's directory, with settings of the test's own."""

    def make(**changes: object) -> Hooks:
        tmp_path.chmod(0o700)
        config = tmp_path / "config.yaml"
        values = {
            "capture_dir": str(tmp_path / "captures"),
            "run_dir": str(tmp_path / "run"),
            "log_file": str(tmp_path / "log" / "hook.log"),
            "pin_dir": f"/sys/fs/bpf/scmm-{tmp_path.name}",
            **changes,
        }
        config.write_text(json.dumps(values))  # JSON is YAML
        layout = Layout(hooks_dir=tmp_path / "hooks.d", libexec_dir=tmp_path / "libexec", config=config)
        installation.install(layout)
        return Hooks(layout, settings.check(values))

    return make


@pytest.fixture
def hooks(make_hooks: Callable[..., Hooks]) -> Iterator[Hooks]:
    made = make_hooks()
    yield made
    assert not Path(made.settings.pin_dir).exists(), "the recorder is still pinned"
