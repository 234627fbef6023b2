"""The example of docs/monitor.md, run as it stands there; what it prints is what it shows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from support import ROOT
from test_record_docs import is_shown

from rig.process import wait_until

PAGE = ROOT / "docs/monitor.md"


def commands() -> list[tuple[str, str]]:
    """(command, what it prints) of the console block."""
    (block,) = [part.split("```")[0] for part in PAGE.read_text().split("```console\n")[1:]]
    return [(each.partition("\n")[0], each.partition("\n")[2]) for each in block.split("$ ")[1:]]


def test_a_rule_by_path_allows_what_is_beneath_and_nothing_else(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for verb in ("monitor", "enforce"):
        path = programs / f"scmm-{verb}"
        path.write_text(
            f'#!/bin/sh\nexec {sys.executable} -c "from scmm_oci.cli.main import {verb}; exit({verb}())" "$@"\n'
        )
        path.chmod(0o755)
    # The page's directories are the host's, and these are ours.
    served, elsewhere = tmp_path / "srv/notes", tmp_path / "srv/elsewhere"
    served.mkdir(parents=True)
    env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "LC_ALL": "C"}
    monitor = None
    try:
        for command, shown in commands():
            here = command.replace("/srv/", f"{tmp_path}/srv/")
            if here.endswith("&"):
                monitor = subprocess.Popen(
                    ["bash", "-c", f"exec {here[:-1]}"], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True
                )
                wait_until((tmp_path / "run/notify.sock").exists, deadline_s=60, what="the monitor listens")
                continue
            done = subprocess.run(
                ["bash", "-c", here], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, umask=0o022
            )
            printed = (done.stdout + done.stderr).replace(f"{tmp_path}/srv/", "/srv/")
            assert is_shown(shown, printed), f"{command}:\n{printed}"
        assert not elsewhere.exists()
        allowed = here.replace(str(elsewhere), f"{served}/made")
        subprocess.run(["bash", "-c", allowed], cwd=tmp_path, env=env, check=True, timeout=60)
        assert (served / "made").is_dir()
    finally:
        if monitor is not None:
            monitor.send_signal(signal.SIGTERM)
            assert monitor.wait(60) == 0
            monitor.communicate()
