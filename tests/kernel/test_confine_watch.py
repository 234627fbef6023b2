"""The watch's poststop hook, taken over: it reaches nothing but what it has to write, and ends the watch as ever.

The attacks, and their victims, are those on the recorder's (test_confine_hook).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, Hooks, install_hooks, need
from test_confine_hook import DENIED, PLANTED, victims

from rig.cgroup import child_cgroup
from scmm_oci.compiled import polfile
from scmm_oci.compiled.policy_file import policy_file
from scmm_oci.enforcer.store import Store
from scmm_oci.kernel import landlock
from scmm_oci.policy import document
from scmm_oci.recorder import installation
from scmm_oci.watch import session

POLICY = b'version: "1.0"\nmetadata: {name: web}\nsyscalls: []\ntransitions: {start: [brk], brk: [exit_group]}\n'
ATTACK, _, REST = PLANTED.partition("before = resolve.Resolver.__init__")
TAKEN = (
    ATTACK.replace("from scmm_oci.recorder import hook, resolve", "from scmm_oci.watch import hook, slots")
    + """
before = slots.value_of
def planted(*given):
    if not found:
        attack()
    return before(*given)
slots.value_of = planted
"""
    + REST.partition("resolve.Resolver.__init__ = planted\n")[2]
)


@pytest.fixture(autouse=True)
def _landlock() -> None:
    found = landlock.abi()
    need("KERNEL", None if found >= 6 else f"Landlock's ABI is {found} here, and the tests need 6")


@pytest.fixture
def watching(tmp_path: Path) -> Hooks:
    (tmp_path / "hooks").mkdir()
    made = install_hooks(tmp_path / "hooks")
    Store(made.settings.policy_dir).add("web", polfile.write(policy_file(document.parse(POLICY))[0]))
    return made


@pytest.mark.parametrize("how", ["own", "called"])
def test_a_hook_that_is_taken_over(how: str, watching: Hooks, tmp_path: Path) -> None:
    """Called from Python with arguments, as the control, it is not confined, and all of the attack succeeds."""
    own = how == "own"
    with child_cgroup("taken", empty_s=2.0) as group, victims(watching, tmp_path, group) as found:

        def join() -> None:
            (group / "cgroup.procs").write_text("0")

        with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, preexec_fn=join) as process:
            annotations = {"scmm.watch": "kill", "scmm.policy": "web"}
            state = json.dumps({"id": "taken", "pid": process.pid, "annotations": annotations}).encode()
            starter = watching.layout.libexec_dir / installation.WATCH_STARTER
            begun = subprocess.run([starter, "prestart"], input=state, env={}, capture_output=True, timeout=60)
            assert (begun.returncode, begun.stdout, begun.stderr) == (0, b"", b"")
            assert [each["live"] for each in session.entries(watching.settings)] == [True]
            mine, theirs = os.pipe()
            words = [sys.executable, "-I", "-S", "-c", TAKEN, ROOT, how, str(theirs), json.dumps(found.named)]
            done = subprocess.run(words, input=state, env={}, capture_output=True, timeout=60, pass_fds=(theirs,))
            os.close(theirs)
            with open(mine, "rb") as report:
                came = json.loads(report.read())
            assert process.stdin is not None
            process.stdin.close()
        became = found.effects()
        if became["group"]:
            os.rmdir(found.named["group"])
        if not own:
            subprocess.run(["umount", found.root], check=True)
            became["planted"] = (found.root / "planted").exists()
    assert (done.returncode, done.stderr) == (0, b"")
    # Captures are nothing to it.
    assert came == {**DENIED, "move_capture": "EACCES"} if own else came == dict.fromkeys(DENIED, "done")
    effects = dict.fromkeys(("written", "group", "planted", "linked", "killed"), not own)
    assert became == {**effects, "removed": own}
    assert session.entries(watching.settings) == [] and not os.path.exists(watching.settings.watch_pin_dir)
    assert [each["counters"]["violations"] for each in session.ended(watching.settings)] == [0]
    assert "container taken: watched by web (kill): no violation" in watching.log()
    assert "not confined" not in watching.log()
