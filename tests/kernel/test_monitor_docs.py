"""The example of docs/monitor.md, run as it stands there; what it prints is what it shows."""

from __future__ import annotations

import json
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


def test_the_program_that_decides_answers_the_question_that_is_shown(tmp_path: Path) -> None:
    page = PAGE.read_text()
    (program,) = [part.split("```")[0] for part in page.split("```python\n")[1:]]
    (tmp_path / "decide").write_text(program)
    shown, _ = json.JSONDecoder().raw_decode(page.split("← ")[1])
    questions = [shown, {**shown, "id": 8, "paths": ["/srv/elsewhere"]}, {**shown, "id": 9, "paths": None}]
    done = subprocess.run(
        [sys.executable, str(tmp_path / "decide")],
        input="".join(json.dumps(one) + "\n" for one in questions),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert answers == [
        {"id": 7, "decision": "allow"},
        {"id": 8, "decision": "deny"},
        {"id": 9, "decision": "deny"},
    ]
