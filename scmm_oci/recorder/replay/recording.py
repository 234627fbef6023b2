"""A hook pair of the replay's own, in its scratch directory, so that nothing has to be installed on the host.

Recording needs BTF and a BPF file system; where they lack, starts can be counted, and nothing is named.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from scmm_oci.capture import file as capture_file
from scmm_oci.capture.model import Capture
from scmm_oci.errors import Failure, ScmmError
from scmm_oci.files import read_bounded
from scmm_oci.recorder import installation
from scmm_oci.recorder.installation import Layout
from scmm_oci.recorder.replay import leftovers
from scmm_oci.recorder.replay.starter import Recorder

# How a recording that was begun and not ended says why, in lines of the hooks' log.
_LAST_LINES = 3


class Hooks:
    """The pair, installed below a directory that only root can write to."""

    def __init__(self, directory: str) -> None:
        """Install it.

        Raises:
            Failure: it cannot be, with why.
        """
        self._base = Path(directory, "hooks")
        # It is there if nothing could be recorded before.
        self._base.mkdir(mode=0o700, exist_ok=True)
        config = self._base / "config.yaml"
        values = {
            "capture_dir": str(self._base / "captures"),
            "run_dir": str(self._base / "run"),
            "log_file": str(self._base / "log" / "hook.log"),
            # Beside that of the host, and gone with the last recording.
            "pin_dir": f"{leftovers.PINS}/{os.path.basename(directory)}",
            "deadline": 30,
        }
        config.write_text(json.dumps(values))  # JSON is YAML
        layout = Layout(hooks_dir=self._base / "hooks.d", libexec_dir=self._base / "libexec", config=config)
        try:
            installation.install(layout)
        except ScmmError as error:
            raise Failure(f"nothing can be recorded: {error}") from None
        self._starter = str(layout.libexec_dir / installation.STARTER)
        self._count = 0

    def recorder(self) -> Recorder:
        """What the next start is recorded with."""
        self._count += 1
        return Recorder(self._starter, f"replay-{self._count}")

    def capture(self, recorder: Recorder) -> Capture:
        """What a start that is over was recorded as.

        Raises:
            Failure: there is no recording, with the hooks' own words.
        """
        path = self._base / "captures" / f"{recorder.name}.scmm-cap"
        if not path.exists():
            raise Failure(f"there is no recording: {self._said()}")
        captures = capture_file.parse_all(read_bounded(path, capture_file.MAX_BYTES))
        return captures[-1]

    def _said(self) -> str:
        try:
            lines = (self._base / "log" / "hook.log").read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        return "; ".join(lines[-_LAST_LINES:]) or "the hooks have said nothing"
