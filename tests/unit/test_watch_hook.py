"""The watch's hooks, without a kernel: what is asked of the session, what stops a container, what is logged."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from scmm_oci.compiled import polfile
from scmm_oci.compiled.policy_file import policy_file
from scmm_oci.enforcer import private
from scmm_oci.enforcer.store import Store
from scmm_oci.oci.state import State
from scmm_oci.policy import document
from scmm_oci.watch import hook, kept, machine, session
from scmm_oci.watch.machines import Machines

ACTIONS = ("count", "alert", "freeze", "kill")
CLOSED = ("freeze", "kill")


@cache
def compiled(arch: str = os.uname().machine, transitions: str = "{start: [brk], brk: [brk, exit_group]}") -> bytes:
    more = f"transitions: {transitions}\n" if transitions else ""
    text = f'version: "1.0"\nmetadata: {{name: web}}\nsettings: {{arch: {arch}}}\nsyscalls: []\n{more}'
    return polfile.write(policy_file(document.parse(text.encode()))[0])


OTHER = "aarch64" if os.uname().machine == "x86_64" else "x86_64"


@dataclass
class Ground:
    """A store with one policy, settings, and what the session was asked for."""

    base: Path
    asked: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] | None = None
    problem: BaseException | None = None

    def run(self, stage: str, state: object, *words: str) -> int:
        text = state if isinstance(state, bytes) else json.dumps(state).encode()
        sys.stdin = io.TextIOWrapper(io.BytesIO(text))
        return hook.main(["--settings", str(self.base / "hook.json"), stage, *words])

    def log(self) -> list[str]:
        path = self.base / "log/hook.log"
        return [line.partition(" ")[2] for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    tmp_path.chmod(0o700)
    mask, handler = os.umask(0o077), signal.getsignal(signal.SIGALRM)
    made = Ground(tmp_path)
    store = Store(str(tmp_path / "store"))
    for name, policy in {"web": compiled(), "plain": compiled(transitions=""), "other": compiled(OTHER)}.items():
        store.add(name, policy)
    settings = {
        "run_dir": str(tmp_path / "run"),
        "log_file": str(tmp_path / "log/hook.log"),
        "policy_dir": str(tmp_path / "store"),
    }
    (tmp_path / "hook.json").write_text(json.dumps(settings))

    def begin(settings: object, **given: Any) -> dict[str, Any]:
        if made.problem is not None:
            raise made.problem
        made.asked.append(given)
        return {}

    def end(settings: object, **given: Any) -> dict[str, Any] | None:
        if made.problem is not None:
            raise made.problem
        made.asked.append(given)
        return made.summary

    monkeypatch.setattr(session, "begin", begin)
    monkeypatch.setattr(session, "end", end)
    monkeypatch.setattr(sys, "stdin", sys.stdin)
    yield made
    os.umask(mask)
    signal.signal(signal.SIGALRM, handler)


def state(action: str = "kill", policy: str | None = "web", **annotations: str) -> dict[str, Any]:
    named = {} if policy is None else {"scmm.policy": policy}
    asked = {"scmm.watch": action, **named, **annotations}
    return {"id": "abc", "pid": os.getpid(), "bundle": "/b", "annotations": asked}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("stage", ["prestart", "createRuntime"])
def test_a_watch_is_begun(action: str, stage: str, ground: Ground) -> None:
    digest = private.sha256(compiled())
    launcher = ground.base / "hook.json"
    status = launcher.stat()
    words = ["--launcher", str(launcher)]
    assert ground.run(stage, state(action, f"web@sha256:{digest}", **{"scmm.name": "shop"}), *words) == 0
    (asked,) = ground.asked
    assert asked.pop("machines") == machine.machines_of(polfile.read(compiled()), machine=os.uname().machine)
    assert asked.pop("now") > 1e9
    assert asked == {
        "policy": None,
        "policy_name": "web",
        "digest": digest,
        "action": action,
        "pid": os.getpid(),
        "container": {"id": "abc", "name": "shop", "engine": None},
        "attached": False,
        "bundle": "/b",
        "launcher": (status.st_dev, status.st_ino),
    }
    assert ground.log() == []


def test_no_launcher_and_no_watch(ground: Ground) -> None:
    assert ground.run("prestart", state(), "--called-by", "1") == 0
    assert ground.asked.pop()["launcher"] is None
    assert ground.run("prestart", {"id": "abc", "pid": 1, "annotations": {"scmm.policy": "web"}}) == 0
    sandbox = {"io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-id": "abc"}
    assert ground.run("prestart", state(**sandbox)) == 0
    assert ground.asked == []


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"policy": "shop"}, "there is no policy shop in "),
        ({"policy": None}, "no policy is named to watch by: give scmm.policy=NAME"),
        ({"policy": f"web@sha256:{'0' * 64}"}, "was asked for"),
        ({"policy": "../web"}, "scmm.policy='../web': a policy's name is"),
        ({"policy": "plain"}, "the policy plain is none to watch by: the policy has no transitions"),
        ({"policy": "other"}, f"the policy's transitions are for {OTHER}, and this machine is {os.uname().machine}"),
    ],
)
def test_what_cannot_begin(
    action: str, change: dict[str, Any], told: str, ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = action in CLOSED
    assert ground.run("prestart", state(action, **change)) == int(closed)
    assert ground.asked == []
    (line,) = ground.log()
    assert line.startswith(f"prestart: container abc: {'not started' if closed else 'not watched'}: ")
    assert told in line
    assert capsys.readouterr().err == f"scmm-watch-hook: {line}\n"


@pytest.mark.parametrize("action", ACTIONS)
def test_what_the_session_says(action: str, ground: Ground) -> None:
    ground.problem = OSError(28, "no room for another watch")
    closed = action in CLOSED
    assert ground.run("prestart", state(action)) == int(closed)
    outcome = "not started" if closed else "not watched"
    assert ground.log() == [f"prestart: container abc: {outcome}: no room for another watch"]


@pytest.mark.parametrize("action", ACTIONS)
def test_a_defect_of_ours(action: str, ground: Ground) -> None:
    ground.problem = ZeroDivisionError("a defect")
    assert ground.run("prestart", state(action)) == int(action in CLOSED)
    assert "unexpected: Traceback" in ground.log()[0] and "a defect" in ground.log()[0]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        # An action that is not known may have been to kill.
        (state("kil"), 1),
        (state("kil", None), 0),
        ({**state("alert"), "pid": 0}, 0),
        ({**state("kill"), "pid": 0}, 1),
        # Of what cannot be read nobody knows what it asked for, but that it asked.
        (b"{", 1),
        (json.dumps({**state("alert"), "more": "x" * (1 << 20)}).encode(), 1),
    ],
)
def test_states_that_are_not_understood(asked: object, code: int, ground: Ground) -> None:
    assert ground.run("prestart", asked) == code
    assert len(ground.log()) == 1 and ground.asked == []


def test_settings_that_cannot_be_read(ground: Ground) -> None:
    (ground.base / "hook.json").write_text("{")
    for action in ACTIONS:
        assert ground.run("prestart", state(action)) == int(action in CLOSED)


@pytest.mark.parametrize("words", [[], ["start"], ["prestart", "--launcher"], ["prestart", "--launch", "/x"]])
def test_usage(words: list[str], ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    sys.stdin = io.TextIOWrapper(io.BytesIO(b"{}"))
    assert hook.main(words) == 2
    stages = "prestart|createRuntime|poststop"
    usage = f"usage: scmm-watch-hook [--settings FILE] {stages} [--launcher VALUE] < container-state.json\n"
    assert capsys.readouterr().err == usage


# The end


def summary(**changes: Any) -> dict[str, Any]:
    return {
        "policy": {"name": "web", "digest": "00"},
        "action": "kill",
        "container": {"id": "abc", "name": "", "engine": None},
        "why": "the container has ended",
        "started_at": "2026-01-01T00:00:00Z",
        "ended_at": "2026-01-01T00:00:01Z",
        "counters": {"violations": 0, "kills": 0},
        "events": [],
        **changes,
    }


def enter(ground: Ground, name: str) -> None:
    place = ground.base / "run/watch/0.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps({"slot": 0, "container": {"id": name}, "bundle": "/b"}))


def missed(count: int) -> dict[str, Any]:
    return {"type": "gap", "watch": 1, "container": {"id": "a\x1b[2Jb"}, "policy": {}, "missed": count}


def test_the_end_is_logged_in_words_and_only_there(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    over = {"id": "abc", "bundle": "/b"}
    enter(ground, "abc")
    ground.summary = summary()
    assert ground.run("poststop", over) == 0
    assert [(each["container_id"], each["bundle"]) for each in ground.asked] == [("abc", "/b")]
    assert ground.log() == ["container abc: watched by web (kill): no violation"]
    ground.summary = summary(
        counters={"violations": 20, "kills": 1, "left": 0}, events=[missed(count) for count in range(20)]
    )
    assert ground.run("poststop", over) == 0
    told = ground.log()[1:]
    assert told[0] == "container abc: watched by web (kill): 20 violations, 1 kill"
    assert len(told) == 1 + hook.MOST_EVENTS, "the last ones"
    assert told[1].startswith("container abc: ") and ": 4 alerts overwritten" in told[1]
    assert "19 alerts overwritten" in told[-1] and "\x1b" not in "".join(told)
    ground.summary = summary(counters=None)
    assert ground.run("poststop", over) == 0
    assert ground.log()[-1] == "container abc: watched by web (kill): what it saw is not known"
    assert capsys.readouterr().err == "", "runtimes print what a poststop hook says"


def test_the_end_of_what_nobody_watched(ground: Ground) -> None:
    assert ground.run("poststop", {"id": "abc"}) == 0
    enter(ground, "another")
    assert ground.run("poststop", {"id": "abc"}) == 0
    assert ground.asked == [], "who is in no ledger has nothing to end"
    enter(ground, "abc")
    assert ground.run("poststop", {"id": "abc"}) == 0
    assert len(ground.asked) == 1 and ground.log() == [], "somebody else has ended it meanwhile"
    ground.problem = OSError(5, "the ledger cannot be read")
    assert ground.run("poststop", {"id": "abc"}) == 1
    assert ground.log() == ["poststop: container abc: the watch has not been ended: the ledger cannot be read"]


# Names


@pytest.mark.parametrize(
    ("annotations", "bundle", "expected"),
    [
        ({}, "", ("", None)),
        ({"io.container.manager": "libpod", "scmm.name": "x"}, "/var/lib/containers/moby/x", ("x", "podman")),
        ({}, "/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby/0123", ("", "docker")),
        (
            {"io.kubernetes.cri.container-name": "web", "scmm.name": "x"},
            "/run/containerd/io.containerd.runtime.v2.task/k8s.io/0123",
            ("web", "containerd"),
        ),
        ({"scmm.name": "a\x1b]\nb" + "c" * 200}, "/srv/b", ("a?]?b" + "c" * 123, None)),
    ],
)
def test_what_people_call_it(annotations: dict[str, str], bundle: str, expected: tuple[str, str | None]) -> None:
    found = State(id="0123", pid=1, bundle=bundle, annotations=annotations)
    assert (hook.name_of(found), hook.engine_of(found)) == expected


# Machines that are kept


MADE = machine.machines_of(polfile.read(compiled()), machine=os.uname().machine)


def nobody() -> Machines:
    raise AssertionError("what is kept is taken")


def test_machines_are_made_once(tmp_path: Path) -> None:
    digest = "0" * 64
    assert kept.machines(str(tmp_path), digest, lambda: MADE) == MADE
    (path,) = (tmp_path / "machines").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600 and path.stat().st_size < 4096, "they are nearly empty"
    assert kept.machines(str(tmp_path), digest, nobody) == MADE
    with pytest.raises(AssertionError):
        kept.machines(str(tmp_path), "1" * 64, nobody)


@pytest.mark.parametrize("damage", ["cut", "other", "empty", "directory", "large"])
def test_what_is_damaged_is_made_anew(damage: str, tmp_path: Path) -> None:
    digest = "0" * 64
    kept.machines(str(tmp_path), digest, lambda: MADE)
    (path,) = (tmp_path / "machines").iterdir()
    data = path.read_bytes()
    path.unlink()
    if damage == "directory":
        path.mkdir()
    else:
        large = zlib.compress(bytes(16 << 20))
        path.write_bytes({"cut": data[:-7], "other": b"x" + data[1:], "empty": b"", "large": large}[damage])
    assert kept.machines(str(tmp_path), digest, lambda: MADE) == MADE
    if damage != "directory":
        assert kept.machines(str(tmp_path), digest, nobody) == MADE


def test_a_newer_package_makes_them_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.machines(str(tmp_path), "0" * 64, lambda: MADE)
    monkeypatch.setattr(kept, "_SOURCES", kept._SOURCES[1:])
    with pytest.raises(AssertionError):
        kept.machines(str(tmp_path), "0" * 64, nobody)


def test_no_more_are_kept_than_there_is_room_for(tmp_path: Path) -> None:
    for number in range(kept.MOST + 3):
        kept.machines(str(tmp_path), f"{number:064}", lambda: MADE)
        os.utime(tmp_path / "machines" / kept._name(f"{number:064}"), ns=(number, number))
    assert len([*(tmp_path / "machines").iterdir()]) == kept.MOST
    assert kept.machines(str(tmp_path), f"{kept.MOST + 2:064}", nobody) == MADE
    with pytest.raises(AssertionError):
        kept.machines(str(tmp_path), f"{0:064}", nobody)


def test_what_cannot_be_kept_is_made(tmp_path: Path) -> None:
    (tmp_path / "machines").write_text("a file in its place")
    for _ in range(2):
        assert kept.machines(str(tmp_path), "0" * 64, lambda: MADE) == MADE
