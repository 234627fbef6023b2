"""The example of docs/watch.md, run as it stands there; what it prints is what it shows, but for digits."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from recording import Recorder, as_from_a_shell
from support import ROOT, Hooks
from test_record_docs import is_shown

PAGE = (ROOT / "docs/watch.md").read_text()


def commands() -> list[tuple[str, str]]:
    """(command, what it prints) of the console blocks."""
    block = "".join(re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
    return [(each.partition("\n")[0], each.partition("\n")[2]) for each in re.split(r"^\$ ", block, flags=re.M)[1:]]


def test_a_script_that_does_something_else_is_killed(hooks: Hooks, tmp_path: Path) -> None:
    recorder = Recorder(hooks, tmp_path)
    programs = tmp_path / "bin"
    programs.mkdir()
    words = recorder.words()
    own = {
        "record": words[1:],
        "extract": ["-m", "scmm_oci.cli.main", "extract"],
        "merge": ["-m", "scmm_oci.cli.main", "merge"],
        "watch": ["-m", "scmm_oci.cli.main", "watch", "--config", str(hooks.layout.config)],
    }
    for name, more in own.items():
        path = programs / f"scmm-{name}"
        path.write_text(f'#!/bin/sh\nexec {words[0]} {" ".join(map(str, more))} "$@"\n')
        path.chmod(0o755)
    env = recorder.environ(PATH=f"{programs}:/usr/bin:/bin")
    for command, shown in commands():
        done = subprocess.run(
            ["bash", "-c", f"exec 2>&1 </dev/null; {command}"],
            cwd=tmp_path,
            env=env,
            stdout=subprocess.PIPE,
            preexec_fn=as_from_a_shell,
            text=True,
            timeout=120,
            check=False,
        )
        assert is_shown(shown, done.stdout), f"{command}\n{done.stdout}"
    assert (tmp_path / "notes").exists()
    # Not watched, the same input does what it says.
    subprocess.run(["./greet", "you; rm notes"], cwd=tmp_path, env=env, capture_output=True, check=True, timeout=60)
    assert not (tmp_path / "notes").exists()


@pytest.mark.parametrize(
    "option",
    ["--action", "--follow", "--list", "--stop", "--thaw", "--metrics", "--json", "--user", "--learn", "--events"],
)
def test_options_are_described(option: str) -> None:
    assert option in PAGE
