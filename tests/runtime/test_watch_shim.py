"""scmm-runc on raw bundles: what is watched from its start, with the policy enforced beside and without."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shims import Shims, make_shims
from support import Hooks
from test_shim_bundles import asks, bundle
from watched_containers import HEALTH, LOOK, NAME, WAITS, WRONG, ended, nothing_is_left

from rig.mounts import private_dir
from rig.process import wait_until
from rig.runc import Bundle

SOAK = bool(os.environ.get("SCMM_SOAK"))


@pytest.fixture(scope="module")
def shims(shared_hooks: Hooks, learnt: Path) -> Iterator[Shims]:
    with private_dir("shim") as base:
        made = make_shims(base, hooks=shared_hooks, policy_dir=shared_hooks.settings.policy_dir)
        yield made
        assert made.kept() == []


def begun(one: Bundle) -> None:
    one.config["process"]["args"] = list(WAITS)
    one.create()
    one.start()
    wait_until(lambda: "root:" in one.log.read_text(), deadline_s=30, what="its line", detail=one.log.read_text)


def outcome(one: Bundle) -> tuple[str, int, str]:
    """What the health check says, how the wrong order ends, and what it has written."""
    healthy = one.exec(*HEALTH, check=False).stdout.partition(":")[0]
    return healthy, one.exec(*WRONG, check=False).returncode, one.exec(*LOOK, check=False).stdout.strip()


KILLED, LET = ("root", 137, ""), ("root", 0, "made")


def variables(**values: str) -> Any:
    return lambda config: config["process"]["env"].extend(f"SCMM_{name}={value}" for name, value in values.items())


def test_enforced_and_watched(runtime: str, shims: Shims, shared_hooks: Hooks) -> None:
    """The launcher comes first, for every exec too, and its calls are in no policy: it is not what is watched."""
    for watch in ({"watch": "kill"}, {}):
        with bundle(getattr(shims, runtime), asks(policy=NAME, **watch)) as one:
            begun(one)
            assert Path(f"/proc/{one.pid()}/status").read_text().count("NoNewPrivs:\t1") == 1
            assert outcome(one) == (KILLED if watch else LET)
            one.delete(force=True)
            if watch:
                summary, alert = ended(shared_hooks, one.id, lines=2)
                assert summary.startswith(f"watched by {NAME} (kill): 1 violation, 1 kill")
                assert "openat" in alert
    assert nothing_is_left(shared_hooks)


def test_the_launcher_would_be_killed_if_nobody_knew_it(shims: Shims, shared_hooks: Hooks) -> None:
    with private_dir("shim") as base:
        forgetful = base / "scmm-watch-hook"
        forgetful.write_text(f'#!/bin/sh\nexec {shims.settings["watch_hook"]} "$1"\n')
        forgetful.chmod(0o755)
        places = {name: shims.settings[name] for name in ("policy_dir", "hook")}
        other = make_shims(base / "other", watch_hook=str(forgetful), **places)
        with bundle(other.runc, asks(policy=NAME, watch="kill"), text="echo started") as one:
            done = one.run(check=False)
            assert (done.returncode, done.stdout) == (137, "")
            assert ".scmm-enforce" in ended(shared_hooks, one.id, lines=2)[1]
    assert nothing_is_left(shared_hooks)


def test_watched_and_not_enforced(runtime: str, shims: Shims, shared_hooks: Hooks) -> None:
    with bundle(getattr(shims, runtime), variables(POLICY=NAME, MODE="watch", WATCH="kill")) as one:
        begun(one)
        assert Path(f"/proc/{one.pid()}/status").read_text().count("NoNewPrivs:\t0") == 1
        environment = Path(f"/proc/{one.pid()}/environ").read_bytes()
        assert b"PATH=" in environment and b"SCMM_" not in environment
        assert outcome(one) == KILLED
        one.delete(force=True)
        assert ended(shared_hooks, one.id, lines=2)[0].startswith(f"watched by {NAME} (kill): 1 violation, 1 kill")
    assert nothing_is_left(shared_hooks)


@pytest.mark.parametrize("mode", ["watch", "standard"])
def test_no_policy(mode: str, shims: Shims, shared_hooks: Hooks) -> None:
    """Where it is to be enforced, nothing starts without; where it is only watched by, that depends."""
    started = {}
    for action in ("kill", "freeze", "alert", "count") if SOAK else ("kill", "alert"):
        with bundle(shims.runc, asks(policy="missing", mode=mode, watch=action), text="echo started") as one:
            done = one.run(check=False)
            started[action] = done.stdout == "started\n"
            assert "there is no policy missing" in done.stderr or started[action]
    opened = {"alert", "count"} if mode == "watch" else set()
    assert started == {action: action in opened for action in started}
    assert nothing_is_left(shared_hooks)


def test_no_hook(shims: Shims) -> None:
    with private_dir("shim") as base:
        bare = make_shims(base, policy_dir=shims.settings["policy_dir"])
        outcomes = {}
        for action in ("kill", "alert"):
            with bundle(bare.runc, asks(policy=NAME, mode="watch", watch=action), text="echo started") as one:
                done = one.run(check=False)
                outcomes[action] = done.returncode == 0, done.stdout
                assert action == "alert" or "scmm-watch-hook is not there" in done.stderr
                if action == "alert":
                    assert f"container {one.id}: not watched: {bare.settings['watch_hook']} is not there" in bare.log()
        assert outcomes == {"kill": (False, ""), "alert": (True, "started\n")}
        assert bare.kept() == []


def test_an_engines_hooks_are_told_of_the_launcher(shims: Shims, shared_hooks: Hooks) -> None:
    """podman's hooks directory has added the same hooks before: they are called once, and know."""
    starter = str(shared_hooks.layout.libexec_dir / "scmm-watch-hook")

    def edit(config: dict[str, Any]) -> None:
        config["hooks"] = {
            "createRuntime": [{"path": starter, "args": ["scmm-watch-hook", "prestart"], "timeout": 10}],
            "poststop": [{"path": starter, "args": ["scmm-watch-hook", "poststop"], "timeout": 10}],
        }

    with bundle(shims.runc, asks(policy=NAME, watch="kill"), edit) as one:
        begun(one)
        (kept,) = shims.bundles.iterdir()
        hooks = json.loads((kept / "config.json").read_text())["hooks"]
        assert [each["args"][2:3] for each in hooks["createRuntime"]] == [["--launcher"]]
        assert len([each for each in hooks["poststop"] if each["path"] == starter]) == 1 and "prestart" not in hooks
        assert outcome(one) == KILLED
        one.delete(force=True)
        assert len(ended(shared_hooks, one.id, lines=2)) == 2
    assert nothing_is_left(shared_hooks)
