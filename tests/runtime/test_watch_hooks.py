"""Containers that podman's hooks watch from their start: what was learnt runs, and all else does not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from recordings import Ground, recorded
from support import Hooks
from watched_containers import HEALTH, NAME, WRONG, asked, ended, identity, made, nothing_is_left, started

from rig import images
from rig.process import wait_until
from rig.runc import Bundle
from scmm_oci.compiled import polfile
from scmm_oci.compiled.policy_file import policy_file
from scmm_oci.enforcer.store import Store
from scmm_oci.policy import document
from scmm_oci.watch import pins, session, slots

SOAK = bool(os.environ.get("SCMM_SOAK"))
pytestmark = pytest.mark.usefixtures("learnt")


@pytest.fixture(params=["podman", "podman_crun"])
def ground(request: pytest.FixtureRequest) -> Ground:
    found: Ground = request.getfixturevalue(request.param)
    return found


def test_what_was_learnt_runs_and_a_wrong_order_is_killed(ground: Ground, shared_hooks: Hooks) -> None:
    engine = ground.engine
    name = started(engine, ground.busybox, *asked("kill"))
    for _ in range(3 if SOAK else 1):
        assert engine.exec(name, *HEALTH).stdout.startswith("root:")
    done = engine.exec(name, *WRONG, check=False)
    assert (done.returncode, done.stdout, made(engine, name)) == (137, "", "")
    found = engine.inspect(name)
    assert found["State"]["Running"], "who does it is killed, and nobody else"
    (entry,) = session.entries(shared_hooks.settings)
    assert entry["container"] == {"id": found["Id"], "name": "", "engine": "podman"}
    engine.rm(name)
    summary, alert = ended(shared_hooks, found["Id"], lines=2)
    assert summary.startswith(f"watched by {NAME} (kill): 1 violation, 1 kill")
    assert "openat" in alert and "/tmp/made" not in summary and alert.count("killed") == 1
    assert nothing_is_left(shared_hooks)


def test_the_control(podman: Ground, shared_hooks: Hooks) -> None:
    name = started(podman.engine, podman.busybox, asked("kill")[1])
    assert podman.engine.exec(name, *WRONG).stdout.startswith("root:")
    assert made(podman.engine, name) == "made", "nobody watches without scmm.watch"
    assert session.entries(shared_hooks.settings) == []
    podman.engine.rm(name)


@pytest.mark.parametrize("action", ["alert", "count"] if SOAK else ["alert"])
def test_a_wrong_order_is_told(action: str, podman: Ground, shared_hooks: Hooks) -> None:
    name = started(podman.engine, podman.busybox, *asked(action))
    assert podman.engine.exec(name, *WRONG).stdout.startswith("root:")
    assert made(podman.engine, name) == "made"
    which = identity(podman.engine, name)
    podman.engine.rm(name)
    summary, *alerts = ended(shared_hooks, which, lines=2 if action == "alert" else 1)
    assert summary.startswith(f"watched by {NAME} ({action}): ") and "kill" not in summary.partition(": ")[2]
    assert bool(alerts) == (action == "alert")
    assert nothing_is_left(shared_hooks)


def test_what_is_frozen_can_be_removed(podman: Ground, shared_hooks: Hooks) -> None:
    name = started(podman.engine, podman.busybox, *asked("freeze"))
    which = identity(podman.engine, name)
    (entry,) = session.entries(shared_hooks.settings)
    podman.engine("exec", "--detach", name, *WRONG)

    def seen() -> bool:
        with pins.Maps(entry["pin_dir"]) as maps:
            return slots.value_of(maps, entry["slot"]).counters["violations"] > 0

    wait_until(seen, deadline_s=30, what="a violation")
    podman.engine.rm(name)
    assert "(freeze): 1 violation" in ended(shared_hooks, which, lines=2)[0]
    assert nothing_is_left(shared_hooks)


def test_both_are_asked_for(podman: Ground, shared_hooks: Hooks) -> None:
    capture = f"both-{os.getpid()}"
    name = started(podman.engine, podman.busybox, *asked("kill"), *recorded(capture))
    which = identity(podman.engine, name)
    assert podman.engine.exec(name, *WRONG, check=False).returncode == 137
    podman.engine.rm(name)
    assert "1 kill" in ended(shared_hooks, which, lines=2)[0]
    wait_until(lambda: shared_hooks.path(capture).exists(), deadline_s=30, what="the capture")
    assert shared_hooks.capture(capture)["complete"] is True
    assert nothing_is_left(shared_hooks)


@pytest.fixture(scope="module")
def policies(shared_hooks: Hooks) -> Store:
    """Policies that nothing can be watched by here."""
    store = Store(shared_hooks.settings.policy_dir)
    other = "aarch64" if os.uname().machine == "x86_64" else "x86_64"
    for name, more in {"plain": "", "other": f"settings: {{arch: {other}}}\ntransitions: {{start: [brk]}}\n"}.items():
        text = f'version: "1.0"\nmetadata: {{name: {name}}}\nsyscalls: []\n{more}'
        store.add(name, polfile.write(policy_file(document.parse(text.encode()))[0]), replace=True)
    return store


#: What is asked for → what is told.
BAD = {
    "missing": "there is no policy missing",
    "plain": "the policy has no transitions",
    "other": "and this machine is",
    f"{NAME}@sha256:{'0' * 64}": "was asked for",
}


@pytest.mark.parametrize("policy", BAD if SOAK else ["missing"])  # all of them: tests/unit/test_watch_hook.py
def test_what_cannot_be_watched(policy: str, ground: Ground, shared_hooks: Hooks, policies: Store) -> None:
    outcomes = {}
    for action in ("kill", "freeze", "alert", "count") if SOAK else ("kill", "alert"):
        before = len(shared_hooks.log())
        options = asked(action, policy=policy)
        done = ground.engine.run(ground.busybox, "echo", "started", options=options, check=False)
        outcomes[action] = (done.returncode == 0, done.stdout)
        line = shared_hooks.log()[before:].splitlines()[0]
        outcome = "not watched" if action in ("alert", "count") else "not started"
        assert f": {outcome}: " in line and BAD[policy] in line
        if outcome == "not started" and ground is not None and "crun" not in str(ground.engine.command()):
            assert BAD[policy] in done.stderr, "runc tells what its hooks say"
    closed, opened = (False, ""), (True, "started\n")
    assert outcomes == {action: closed if action in ("kill", "freeze") else opened for action in outcomes}
    assert nothing_is_left(shared_hooks)


def test_an_action_that_is_not_known(podman: Ground, shared_hooks: Hooks) -> None:
    def run(*options: str) -> tuple[bool, str]:
        done = podman.engine.run(podman.busybox, "echo", "started", options=options, check=False)
        return done.returncode == 0, done.stdout

    assert run(*asked("kil")) == (False, "")
    assert "known values: count, alert, freeze, kill" in shared_hooks.log().splitlines()[-1]
    # The twins: no policy that anybody meant, and an annotation that is not ours.
    assert run(asked("kil")[0]) == (True, "started\n")
    assert run("--annotation=scmm.watchdog=kil", asked("kill")[1]) == (True, "started\n")


def test_an_end_that_was_killed_is_made_up_for_at_the_next_start(
    runtime: str, shared_hooks: Hooks, learnt: Path
) -> None:
    hooks = {
        stage: [{"path": str(shared_hooks.layout.libexec_dir / "scmm-watch-hook"), "args": ["scmm-watch-hook", stage]}]
        for stage in ("prestart", "poststop")
    }

    def bundle(*stages: str) -> Bundle:
        def edit(config: dict[str, object]) -> None:
            config["hooks"] = {stage: hooks[stage] for stage in stages}
            config["annotations"] = dict(each.removeprefix("--annotation=").split("=", 1) for each in asked("kill"))

        return Bundle(images.busybox(), runtime=runtime, args=["true"], edit=edit)

    with bundle("prestart") as lost:
        lost.run(check=False)
    (entry,) = session.entries(shared_hooks.settings)
    assert entry["container"]["id"] == lost.id, "nobody has ended it"
    assert Path(shared_hooks.settings.watch_pin_dir).exists()
    with bundle("prestart", "poststop") as one:
        one.run(check=False)
    assert nothing_is_left(shared_hooks)
    assert [each["container"]["id"] for each in session.ended(shared_hooks.settings)[-2:]] == [lost.id, one.id]
    assert json.loads(json.dumps(session.ended(shared_hooks.settings)[-2]))["why"] == session.GONE
