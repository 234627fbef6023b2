"""What tests of every kind use: the three-state switch, and the hook pair installed in private directories."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rig.switch import Fail, Kind, Skip, decide
from scmm_oci.recorder import installation
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


def install_hooks(directory: Path, **changes: object) -> Hooks:
    """Install the hook pair below a directory, with settings of its own."""
    directory.chmod(0o700)
    config = directory / "config.yaml"
    values = {
        "capture_dir": str(directory / "captures"),
        "run_dir": str(directory / "run"),
        "log_file": str(directory / "log" / "hook.log"),
        # Other workers, and others who run tests here, have directories of the same name.
        "pin_dir": f"/sys/fs/bpf/scmm-{os.getpid()}-{directory.name}",
        "watch_pin_dir": f"/sys/fs/bpf/scmm-watch-{os.getpid()}-{directory.name}",
        "shim": {"policy_dir": str(directory / "policies")},
        **changes,
    }
    config.write_text(json.dumps(values))  # JSON is YAML
    layout = Layout(hooks_dir=directory / "hooks.d", libexec_dir=directory / "libexec", config=config)
    installation.install(layout)
    return Hooks(layout, installation.configured(config))
