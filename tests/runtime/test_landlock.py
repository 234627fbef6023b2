"""The paths and rights of a capture are those that Landlock checks: rules made of them alone run the program again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import ROOT, Hooks, need

from rig import namespace
from rig.mounts import overlay_works
from scmm_oci.cli.main import main

PROGRAM = """
import os, socket, sqlite3, subprocess, sys
base = sys.argv[1]
os.chdir(base + "/way")                                # a link to real/inner
with open("../data.txt") as file:                      # real/data.txt, through a link's parent
    assert file.read() == "data"
here = os.open(base + "/bound", os.O_RDONLY)           # a bind mount of real
os.stat("data.txt", dir_fd=here)
os.close(os.open("inner/deep.txt", os.O_RDWR, dir_fd=here))
with open(base + "/over/lower.txt", "r+") as file:     # copied up by overlay
    file.write("x")
os.mkdir(base + "/out/new")
with open(base + "/out/new/file", "w") as file:
    file.write("1")
os.truncate(base + "/out/new/file", 0)
os.link(base + "/out/new/file", base + "/out/linked")  # across directories
os.rename(base + "/out/new/file", base + "/out/moved")
os.symlink("moved", base + "/out/link")
os.mkfifo(base + "/out/fifo")
unix = socket.socket(socket.AF_UNIX)
unix.bind(base + "/out/socket")
unix.listen()
peer = socket.socket(socket.AF_UNIX)
peer.connect(base + "/out/socket")
for name in ("link", "moved", "linked", "fifo", "socket"):
    os.unlink(base + "/out/" + name)
os.rmdir(base + "/out/new")
database = sqlite3.connect(base + "/out/db")
database.execute("create table t (a)")
database.execute("insert into t values (1)")
database.commit()
database.close()
os.unlink(base + "/out/db")
os.listdir(base + "/lower")
subprocess.run(["/bin/sh", "-c", f"tar -C {base}/real -cf - . | tar -tf - >/dev/null && cat {base}/script >/dev/null"],
               check=True)
subprocess.run([base + "/script"], check=True)         # with #!
"""


@pytest.fixture
def ground(inside: namespace.Entered, tmp_path: Path) -> Iterator[Path]:
    """Directories with links, a bind mount and an overlay."""
    need("KERNEL", None if overlay_works(tmp_path) else "no overlay file system")
    base = tmp_path / "ground"
    for name in ("real/inner", "bound", "over", "lower", "upper", "work", "out"):
        (base / name).mkdir(parents=True)
    (base / "way").symlink_to("real/inner")
    (base / "real/data.txt").write_text("data")
    (base / "real/inner/deep.txt").write_text("deep")
    (base / "lower/lower.txt").write_text("lower")
    (base / "script").write_text("#!/bin/sh\nexit 0\n")
    (base / "script").chmod(0o755)
    layers = f"lowerdir={base / 'lower'},upperdir={base / 'upper'},workdir={base / 'work'}"
    subprocess.run(["mount", "--bind", base / "real", base / "bound"], check=True)
    subprocess.run(["mount", "-t", "overlay", "-o", layers, "overlay", base / "over"], check=True)
    yield base
    subprocess.run(["umount", base / "over", base / "bound"], check=True)


def rules_of(capture: dict[str, Any]) -> dict[str, list[str]]:
    """Path → rights, out of a capture's files alone."""
    rules: dict[str, set[str]] = {}
    for use in capture["files"]:
        if use["access"]:
            rules.setdefault(use["path"], set()).update(use["access"])
        if use["parent_access"]:
            rules.setdefault(str(Path(use["path"]).parent), set()).update(use["parent_access"])
    return {path: sorted(rights) for path, rights in rules.items()}


def test_rules_made_of_a_capture_run_the_program_and_one_less_does_not(
    hooks: Hooks, ground: Path, tmp_path: Path
) -> None:
    command = ["/usr/bin/python3", "-I", "-S", "-c", PROGRAM, str(ground)]
    output = tmp_path / "program.scmm-cap"
    config = str(hooks.layout.config)
    assert main(["record", "-q", "--config", config, "-o", str(output), "--", *command]) == 0
    capture = json.loads(output.read_bytes())
    assert capture["complete"], capture["losses"]
    assert not [use for use in capture["files"] if use["state"] == "named" and use["access"] + use["parent_access"]]
    rules = rules_of(capture)

    def under(rules: dict[str, list[str]]) -> subprocess.CompletedProcess[str]:
        (tmp_path / "rules.json").write_text(json.dumps(rules))
        helper = [sys.executable, str(ROOT / "tests/runtime/landlocked.py"), str(tmp_path / "rules.json")]
        return subprocess.run([*helper, *command], capture_output=True, text=True, timeout=60, check=False)

    done = under(rules)
    assert done.returncode == 0, done.stderr
    expected = {
        f"{ground}/real/data.txt": ["read_file"],
        f"{ground}/bound/inner/deep.txt": ["read_file", "write_file"],
        f"{ground}/over/lower.txt": ["read_file", "write_file"],
        f"{ground}/lower": ["read_dir"],
        f"{ground}/script": ["execute", "read_file"],
    }
    for path, rights in expected.items():
        assert set(rights) <= set(rules.get(path, ())), (path, rules.get(path))
        # The control: without this rule the kernel says no.
        less = {each: had for each, had in rules.items() if each != path}
        refused = under(less)
        assert refused.returncode != 0, path
        assert "Permission denied" in refused.stderr or "PermissionError" in refused.stderr, refused.stderr
    for right in ("make_dir", "make_reg", "make_sym", "make_fifo", "make_sock", "remove_file", "remove_dir", "refer"):
        less = {
            path: [each for each in rights if not path.startswith(f"{ground}/out") or each != right]
            for path, rights in rules.items()
        }
        assert less != rules, right
        refused = under(less)
        assert refused.returncode != 0, right
        subprocess.run(["rm", "-rf", f"{ground}/out"], check=True)
        (ground / "out").mkdir()
