"""scmm-runc below containerd, as `ctr run --runc-binary` names it: what runs and comes in is enforced and recorded, and
all else is as over runc."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import watched_containers as watched
from scenarios import AT_TERMINAL, LOOP, Way
from shims import Shims, make_shims
from support import Hooks, need
from test_shim_bundles import FREE, HELD, POLICY, PROBE, SCRIPT
from test_shim_same import OPEN, assert_same

from rig import images, namespace
from rig.containerd import Containerd
from rig.mounts import private_dir
from rig.process import wait_until


@pytest.fixture(scope="module")
def shims(inside: namespace.Entered, shared_hooks: Hooks) -> Iterator[Shims]:
    need("DOCKER", Containerd.available() or images.busybox_unavailable())
    with private_dir("shim") as base:
        made = make_shims(base, hooks=shared_hooks)
        made.add("files", POLICY)
        made.add("open", OPEN)
        yield made
        assert made.kept() == []


@pytest.fixture(scope="module")
def ways(shims: Shims) -> Iterator[Mapping[str, Way]]:
    """By what is asked for; `ctr` takes annotations and variables."""
    asked = {
        "plain": (),
        "nothing": (),
        "open": ("--annotation=scmm.record=true", "--annotation=scmm.policy=open"),
        "files": ("--annotation=scmm.policy=files",),
        "files-by-variable": ("--env=SCMM_POLICY=files",),
    }
    with Containerd() as engine, private_dir("shared") as shared:
        image = engine.import_image("busybox", images.busybox())
        yield {
            name: Way(engine if name == "plain" else engine.over(shims.runc), image, options, shared)
            for name, options in asked.items()
        }


RUNS: dict[str, tuple[list[str], str]] = {
    "status": ([], "echo out; echo err >&2; exit 7"),
    "combined": (
        ["--env=A=1", "--cwd=/tmp", "--read-only", "--mount=type=tmpfs,src=tmpfs,dst=/run", "--cap-drop=CAP_CHOWN"],
        "env | sort; pwd; touch /x; touch /run/x && ls /run; grep -E 'Cap|Sig[BIC]|NoNewPrivs' /proc/self/status;"
        "tr '\\0' ' ' </proc/1/cmdline; cat /proc/1/comm; exit 3",
    ),
    "filtered": (["--seccomp"], "unshare -U true; echo $?"),
    "privileged": (["--privileged"], "grep Cap /proc/self/status"),
}


def life(way: Way) -> object:
    """Begun, gone into, paused, signalled, ended, and its id used once more."""
    name = f"rig-{secrets.token_hex(4)}"
    found: list[object] = []
    for _ in range(2):
        with way.started("sh", "-c", LOOP, name=name):
            # ctr takes what comes after the container's name as it is.
            found.append(way.exec(name, "sh", "-c", "pwd; echo err >&2; exit 5", options=["--cwd=/tmp"]))
            found.append(way.exec(name, "id", options=["--user=65534:65534"]))
            found += [way("tasks", "pause", name, name=name), _status(way, name)]
            found += [way("tasks", "resume", name, name=name), _status(way, name)]
            way.engine.kill(name, signal="TERM")
            wait_until(lambda: _status(way, name) == "STOPPED", deadline_s=60, what="stopped")
            found += [way("tasks", "delete", name)[0], way.engine.logs(name)]
    return found


def _status(way: Way, name: str) -> str:
    lines = way.engine("tasks", "list").stdout.splitlines()
    return next(line.split()[2] for line in lines if line.startswith(name))


def terminal(way: Way) -> object:
    engine, name = way.engine, f"rig-{secrets.token_hex(4)}"
    assert isinstance(engine, Containerd)
    words = engine.words(name, way.image, "sh", "-c", AT_TERMINAL, options=["--rm", "--tty", *way.options])
    with way.terminal(*words) as screen:
        screen.await_screen(lambda text: "33 101" in text, "its size")
        screen.type(b"words\n")
        found = [screen.end(), screen.lines()]
    with (
        way.started("sh", "-c", LOOP) as name,
        way.terminal("tasks", "exec", "--tty", "--exec-id=one", name, "sh", "-c", AT_TERMINAL) as screen,
    ):
        screen.await_screen(lambda text: "33 101" in text, "its size")
        screen.type(b"words\n")
        return [*found, screen.end(), screen.lines()]


@pytest.mark.parametrize("name", [*RUNS, "life", "terminal"])
def test_same_as_runc(ways: Mapping[str, Way], name: str) -> None:
    def attempt(way: Way) -> object:
        if name in RUNS:
            options, script = RUNS[name]
            return way.run("sh", "-c", script, options=options)
        return {"life": life, "terminal": terminal}[name](way)

    compared = ("plain", "nothing", "open")
    # Twice, if need be: ctr 1.6 was seen to print nothing of a container that ends at once, over runc alone, too.
    for _ in range(2):
        with ThreadPoolExecutor() as pool:
            outcomes = dict(zip(compared, pool.map(attempt, (ways[each] for each in compared)), strict=True))
        if all(outcomes[each] == outcomes["plain"] for each in compared):
            break
    for each in compared[1:]:
        assert_same(outcomes["plain"], outcomes[each], each)


def test_a_policy_holds_for_all_that_runs_and_comes_in(ways: Mapping[str, Way], shims: Shims) -> None:
    outcomes = {}
    for each in ("plain", "files", "files-by-variable"):
        way = ways[each]
        code, out, _ = way.run("sh", "-c", SCRIPT)
        with way.started("sh", "-c", LOOP) as name:
            inside = way.exec(name, "sh", "-c", f"{PROBE}; exit 5")
            assert len(shims.kept()) == (each != "plain")
        outcomes[each] = code, out, inside[:2]
    held = (7, HELD, (5, ["refused", "unset"]))
    assert outcomes == {"plain": (7, FREE, (5, ["read", "unset"])), "files": held, "files-by-variable": held}
    assert shims.kept() == []


def test_recorded_by_variable(ways: Mapping[str, Way], shared_hooks: Hooks) -> None:
    options = ["--env=SCMM_RECORD=required", "--env=SCMM_NAME=ctr"]
    for each in ("plain", "nothing"):
        done = ways[each].run("sh", "-c", "mkdir /made; echo ${SCMM_RECORD-unset}", options=options)
        assert done == (0, ["required" if each == "plain" else "unset"], [])
        assert shared_hooks.path("ctr").exists() == (each == "nothing")
    assert "mkdir" in {call["name"] for call in shared_hooks.capture("ctr")["sessions"][0]["phases"]["app"]}


def test_watched(ways: Mapping[str, Way], shims: Shims, shared_hooks: Hooks, learnt: Path) -> None:
    shims.store.add(watched.NAME, learnt.read_bytes(), replace=True)
    options = [f"--env=SCMM_POLICY={watched.NAME}", "--env=SCMM_MODE=watch", "--env=SCMM_WATCH=kill"]
    outcomes = {}
    for each in ("plain", "nothing"):
        way = ways[each]
        with way.started(*watched.WAITS, options=options) as name:
            assert way.exec(name, *watched.HEALTH)[0] == 0
            outcomes[each] = way.exec(name, *watched.WRONG)[0], way.exec(name, *watched.LOOK)[1]
        if each == "nothing":
            assert "(kill): 1 violation, 1 kill" in watched.ended(shared_hooks, name, lines=2)[0]
    assert outcomes == {"plain": (0, ["made"]), "nothing": (137, [""])}
    assert watched.nothing_is_left(shared_hooks)


def test_what_cannot_be_enforced_is_told(ways: Mapping[str, Way], shims: Shims, tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    mount = f"--mount=type=bind,src={made},dst=/made,options=rbind:rw"
    for policy, code in (("nosuch", 1), ("open", 0)):
        done = ways["nothing"].run("touch", f"/made/{policy}", options=[mount, f"--annotation=scmm.policy={policy}"])
        assert done[:2] == (code, []) and ("there is no policy nosuch" in str(done[2])) == (code == 1)
    assert [each.name for each in made.iterdir()] == ["open"]
