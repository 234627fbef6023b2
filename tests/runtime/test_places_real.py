"""What is kept of containers beside the real runtimes: their states name our bundle, and leftovers are told from life.

A program claims a place, writes the bundle and becomes the runtime, as the shim does.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from support import ROOT

from rig import images
from rig.process import Completed, find_program, run
from rig.runc import Bundle
from scmm_oci.enforcer.place import Lost
from scmm_oci.enforcer.places import Places, Taken

PLAN = {"bundle": "/srv/original"}
SHIM = """
import json, os, sys
sys.path.append(sys.argv[1])
from scmm_oci.enforcer.places import Places
directory, root, container_id, hook, runtime, *words = sys.argv[2:]
config = json.load(sys.stdin)
place = Places(directory).claim(root, container_id)
if hook:
    args = ["hook", "-I", "-S", "-c", hook, sys.argv[1], directory, place.key, place.generation]
    config["hooks"] = {"poststop": [{"path": sys.executable, "args": args}]}
place.write(config=json.dumps(config).encode(), plan={"bundle": "/srv/original"})
os.execv(runtime, [runtime, "--root", root, *words, "--bundle", place.path, container_id])
"""
HOOK = """
import sys
sys.path.append(sys.argv[1])
from scmm_oci.enforcer.places import Places
Places(sys.argv[2]).remove(*sys.argv[3:])
"""


class Shimmed:
    """A bundle of the rig's, whose containers are made through a place."""

    def __init__(self, made: Bundle, hook: str) -> None:
        self.made, self.hook = made, hook
        self.places = Places(str(made.base / "run/containers"))
        self.root = str(made.base / "state")
        made.config["root"]["path"] = str(made.directory / "rootfs")

    def __call__(self, *words: str, check: bool = True) -> Completed:
        program = str(find_program(self.made.runtime))
        given = [str(ROOT), self.places.directory, self.root, self.made.id, self.hook]
        config = self.made.base / "given.json"
        config.write_text(json.dumps(self.made.config))
        # create's container keeps the descriptors: a pipe would not end.
        shell = 'exec "$@" < "$0"'
        cmd = ["/bin/sh", "-c", shell, config, sys.executable, "-I", "-S", "-c", SHIM, *given, program, *words]
        return run(cmd, check=check, output=self.made.log)

    def left(self) -> list[str]:
        return os.listdir(self.places.directory)


@pytest.fixture
def shimmed(runtime: str, request: pytest.FixtureRequest):
    hook = HOOK if getattr(request, "param", True) else ""
    with Bundle(images.busybox(), example="busybox-sh", runtime=runtime, args=["echo", "done"]) as made:
        yield Shimmed(made, hook)


def test_a_container_is_known_until_its_hook(shimmed: Shimmed) -> None:
    shimmed("create")
    made, places = shimmed.made, shimmed.places
    (key,) = shimmed.left()
    # Whoever made it has ended; the runtime's state speaks for it, and names our bundle.
    with places.find(shimmed.root, made.id) as found:
        assert (found.plan(), found.key) == (PLAN, key)
        assert found.path == made.state()["bundle"]
    with pytest.raises(Taken):
        places.claim(shimmed.root, made.id)
    assert places.sweep() == []
    made.start()
    made.wait_stopped()
    assert places.sweep() == [] and places.bundles() == {f"{places.directory}/{key}": "/srv/original"}
    made.delete()
    assert shimmed.left() == []
    assert made.log.read_text() == "done\n"


@pytest.mark.parametrize("shimmed", [False], indirect=True)
def test_without_the_hook_a_sweep_removes_it(shimmed: Shimmed) -> None:
    shimmed("create")
    (key,) = shimmed.left()
    shimmed.made.start()
    shimmed.made.wait_stopped()
    shimmed.made.delete()
    assert shimmed.left() == [key]
    assert shimmed.places.sweep() == [key]
    assert shimmed.left() == []


def test_a_container_in_the_foreground_takes_its_place_away(shimmed: Shimmed) -> None:
    # The hook is then called by the very process that made the place, which still lives.
    shimmed("run")
    assert (shimmed.made.log.read_text(), shimmed.left()) == ("done\n", [])


def test_a_plan_that_is_gone_is_missed_and_one_of_a_container_without_us_is_not(shimmed: Shimmed) -> None:
    shimmed("create")
    made, places = shimmed.made, shimmed.places
    (key,) = shimmed.left()
    plan = Path(places.directory, key, "plan.json")
    text = plan.read_bytes()
    plan.unlink()
    with places.find(shimmed.root, made.id) as found, pytest.raises(Lost, match="is not known any more"):
        found.plan()
    made.delete(force=True)
    # The same id, made without us, with what we decided for an earlier one still there.
    made.config["root"]["path"] = "rootfs"
    made.create()
    plan.parent.mkdir(exist_ok=True)
    plan.write_bytes(text)
    assert places.find(shimmed.root, made.id) is None


def test_a_create_that_fails_leaves_what_a_sweep_removes(shimmed: Shimmed) -> None:
    shimmed.made.config["root"]["path"] = str(shimmed.made.base / "none")
    assert shimmed("create", check=False).returncode == 1
    shimmed.places.sweep()
    assert shimmed.left() == []
    shimmed.made.config["root"]["path"] = str(shimmed.made.directory / "rootfs")
    shimmed("run")
    assert shimmed.made.log.read_text().endswith("done\n")
