"""docs/enforce.md: its examples run as they stand there, and its tables say what is so.

Digits and lengths of white space are not compared; `…` stands for anything.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scmm_oci.cli.enforce import enforce
from scmm_oci.enforcer import launcher
from scmm_oci.tables import landlock

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/enforce.md").read_text()


def blocks(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def examples():
    """(command, what it prints) of every console block."""
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            yield command, shown


def normal(text):
    return re.sub(r"\d+", "0", " ".join(text.split()))


def is_shown(shown, printed):
    parts = [re.escape(normal(part)) for part in shown.split("…")]
    return re.fullmatch(r"\s*.*\s*".join(parts), normal(printed), re.DOTALL) is not None


@pytest.fixture
def environment(tmp_path):
    """Where the examples run, with the commands that they use."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for verb in ("enforce", "compile"):
        path = commands / f"scmm-{verb}"
        path.write_text(f'#!/bin/sh\nexec {sys.executable} -m scmm_oci.cli.main {verb} "$@"\n')
        path.chmod(0o755)
    (policy,) = blocks("yaml")
    assert "`notes.scmm.yaml`:" in TEXT
    (tmp_path / "notes.scmm.yaml").write_text(policy)
    (tmp_path / "notes.scmm.yaml").chmod(0o644)
    return {**os.environ, "PATH": f"{commands}:/usr/bin:/bin", "LC_ALL": "C", "COLUMNS": "120"}


def test_examples(environment, tmp_path):
    ran = list(examples())
    assert len(ran) >= 6
    for command, shown in ran:
        done = subprocess.run(
            ["bash", "-c", f"exec 2>&1; {command}"],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert is_shown(shown, done.stdout), f"{command}\n{done.stdout}"


def test_outputs_are_told_apart():
    assert is_shown("a\n…\nstatus 1\n", "a\nb c\nstatus 2\n")
    assert not is_shown("a\n…\nstatus 1\n", "a\nb c\n")
    assert not is_shown("", "error")


def table(title):
    section = TEXT.partition(f"## {title}\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def test_every_option_is_in_the_table():
    told = {word for row in table("Options") for word in re.findall(r"`(--?[a-z-]+)", row[0])}
    ours = {option for one in enforce.params for option in one.opts if option.startswith("-")} - {"-h", "--help"}
    path = launcher.find(os.uname().machine)
    usage = subprocess.run([path, "--help"], capture_output=True, text=True, check=True).stdout
    of_launcher = set(re.findall(r"^ +(?:(?:-\w), )?(--[a-z-]+)", usage, re.MULTILINE)) - {"--help"}
    assert "--policy-fd" in of_launcher
    assert told == ours | of_launcher
    only_package = {
        word for row in table("Options") if "*package*:" in row[1] for word in re.findall(r"`(--[a-z-]+)", row[0])
    } - {"--policy"}
    assert only_package == {one for one in ours if one.startswith("--")} - of_launcher


def test_every_right_is_in_the_table_with_its_abi():
    rows = {int(row[0]): row for row in table("What is held since when") if row[0].isdigit()}
    told = {word: abi for abi, row in rows.items() for word in re.findall(r"\b[a-z]+(?:_[a-z]+)*\b", row[2])}
    rights = {**landlock._FS, **landlock._NET, **landlock._SCOPES}
    assert {name: told.get(name) for name in rights} == {name: abi for name, (_, abi) in rights.items()}
    assert {abi: row[1] for abi, row in rows.items()} == {abi: landlock._KERNELS[abi] for abi in rows}
