"""The runtime floor against real runtimes: what they call is in the table, and profiles made with it start."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from recordings import REPEATS, await_capture, profile
from support import Hooks

from rig import images
from rig.process import RigError
from rig.runc import Bundle
from scmm_oci.tables.floor import Verb, floor

VERBS = ("run", "create", "exec")


def open_filter() -> dict[str, Any]:
    """A filter that refuses nothing, so that the runtime loads one and nothing else changes."""
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["vhangup"], "action": "SCMP_ACT_ERRNO"}]}


def bundle(
    runtime: str, *, args: list[str], nnp: bool, seccomp: dict[str, Any], hooks: Hooks | None = None, name: str = ""
) -> Bundle:
    def edit(config: dict[str, Any]) -> None:
        config["process"]["noNewPrivileges"] = nnp
        config["linux"]["seccomp"] = seccomp
        if hooks is not None:
            config["annotations"] = {"scmm.record": "required", "scmm.name": name}
            config["hooks"] = {
                stage: [{"path": str(hooks.starter), "args": ["scmm-hook", stage], "timeout": 10}]
                for stage in ("prestart", "poststop")
            }

    return Bundle(images.busybox(), example="busybox-sh", runtime=runtime, args=args, edit=edit)


def perform(made: Bundle, verb: str) -> str:
    """Run the bundle's program, or `mkdir /made` in it, the way `verb` says; what it wrote."""
    if verb == "run":
        return made.run().stdout
    made.create()
    made.start()
    if verb == "exec":
        done = made.exec("sh", "-c", "mkdir /made && echo done")
        made.kill()
        made.wait_stopped()
        made.delete()
        return done.stdout
    made.wait_stopped()
    made.delete()
    return made.log.read_text()


def program(verb: str) -> list[str]:
    return ["sleep", "1000"] if verb == "exec" else ["sh", "-c", "mkdir /made && echo done"]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("nnp", [False, True], ids=["nnp-off", "nnp-on"])
def test_floor_holds_what_the_runtime_calls_and_replays(
    runtime: str, hooks: Hooks, tmp_path: Path, nnp: bool, verb: str
) -> None:
    """Record REPEATS times; every runtime phase lies in the floor; the profile then runs the same, REPEATS times."""
    outside: dict[str, int] = {}
    for number in range(REPEATS):
        name = f"floor-{number}"
        with bundle(runtime, args=program(verb), nnp=nnp, seccomp=open_filter(), hooks=hooks, name=name) as made:
            assert perform(made, verb) == "done\n"
        capture = json.loads(await_capture(hooks, name).read_text())
        assert capture["complete"], capture["losses"]
        assert capture["runtime"]["name"] == runtime
        session = capture["sessions"][-1 if verb == "exec" else 0]
        seen = {call["name"] for call in session["phases"]["runtime"]}
        assert "execve" in seen
        base = floor(runtime, capture["runtime"]["version"], no_new_privileges=nnp, verbs=frozenset({Verb(verb)})).names
        for extra in seen - set(base):
            outside[extra] = outside.get(extra, 0) + 1
    assert outside == {}, f"{runtime} calls what its floor does not have"
    seccomp = json.loads(profile(hooks.path("floor-0"), tmp_path).read_text())
    for _ in range(REPEATS):
        with bundle(runtime, args=program(verb), nnp=nnp, seccomp=seccomp) as made:
            assert perform(made, verb) == "done\n"
    # Control: a profile of the program alone, without the floor, starts under neither runtime.
    app = {call["name"] for each in capture["sessions"] for call in each["phases"]["app"]} - {"close", "execve"}
    seccomp["syscalls"] = [{"names": sorted(app), "action": "SCMP_ACT_ALLOW"}]
    with bundle(runtime, args=program(verb), nnp=nnp, seccomp=seccomp) as made:
        try:
            output = perform(made, verb)
        except RigError as error:
            output = str(error)
        assert "done" not in output.splitlines()


def test_version_of_the_runtime_is_recorded(runtime: str, hooks: Hooks) -> None:
    with bundle(runtime, args=["true"], nnp=False, seccomp=open_filter(), hooks=hooks, name="version") as made:
        made.run()
    recorded = json.loads(await_capture(hooks, "version").read_text())["runtime"]
    assert recorded["name"] == runtime
    assert re.fullmatch(r"[0-9]+\.[0-9.]+.*", recorded["version"])


def test_user_that_does_not_own_its_stdio(runtime: str, hooks: Hooks, tmp_path: Path) -> None:
    """runc gives stdio to the container's user (fchown) when that is not root."""

    def as_user(made: Bundle) -> Bundle:
        made.config["process"]["user"] = {"uid": 1000, "gid": 1000}
        return made

    with as_user(bundle(runtime, args=["true"], nnp=False, seccomp=open_filter(), hooks=hooks, name="user")) as made:
        made.run()
    capture = json.loads(await_capture(hooks, "user").read_text())
    assert capture["container"]["uid"] == 1000
    seccomp = json.loads(profile(hooks.path("user"), tmp_path).read_text())
    with as_user(bundle(runtime, args=["true"], nnp=False, seccomp=seccomp)) as made:
        made.run()


def test_createcontainer_hooks_are_set_up(runtime: str, hooks: Hooks, payload: Path) -> None:
    """They run in the container's mounts before the filter is loaded, and are not the container's program."""
    names = {}
    for seccomp in (open_filter(), None):
        name = "filtered" if seccomp else "unfiltered"
        with bundle(runtime, args=["true"], nnp=False, seccomp=seccomp or {}, hooks=hooks, name=name) as made:
            made.config["hooks"]["createContainer"] = [{"path": str(payload), "args": ["payload", "forks", "3"]}]
            if seccomp is None:
                del made.config["linux"]["seccomp"]
            made.run()
        capture = json.loads(await_capture(hooks, name).read_text())
        assert capture["complete"], capture["losses"]
        assert len(capture["sessions"]) == 1
        phases = capture["sessions"][0]["phases"]
        names[name] = {call["name"] for call in phases["app"]}
        assert "getpgid" in {call["name"] for call in phases["setup"]}, "the hook did not run: a test without a control"
    assert "exit_group" in names["filtered"]
    assert names["filtered"] == names["unfiltered"]
    assert not names["filtered"] & {"getpgid", "mount", "unshare", "wait4", "clone"}
