"""What containers ask of a watch: by annotations, as the hook reads them, and by what scmm-runc makes of them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_wishes import DIGEST, config, read

from scmm_oci.enforcer import added_hooks
from scmm_oci.oci import annotations as names
from scmm_oci.policy.model import WatchAction

HOOK = "/lib/scmm-watch-hook"


def test_actions_are_those_of_policies() -> None:
    assert tuple(WatchAction) == names.ACTIONS
    assert set(names.CLOSED) == {WatchAction.FREEZE, WatchAction.KILL}


# The hook


@pytest.mark.parametrize("action", names.ACTIONS)
def test_a_watch_by_annotation(action: str) -> None:
    found = names.watching({names.WATCH: action, names.POLICY: f"web@sha256:{DIGEST}", "a": "b"})
    assert (found.is_asked, found.action, found.policy, found.digest) == (True, action, "web", DIGEST)
    assert found.is_closed == (action in ("freeze", "kill"))
    assert found.problems == []
    assert names.watching({names.WATCH: action, names.POLICY: "web"}).digest is None


def test_none_is_asked_for() -> None:
    for given_ in ({}, {names.POLICY: "web"}, {"scmm.watches": "kill"}):
        found = names.watching(given_)
        assert (found.is_asked, found.is_closed, found.problems) == (False, False, [])


def test_all_that_is_wrong_is_told_at_once_with_the_values_that_are_known() -> None:
    found = names.watching({names.WATCH: "Kill", names.POLICY: "../x@sha256:1"})
    assert found.problems[0] == "scmm.watch='Kill' (known values: count, alert, freeze, kill)"
    assert found.problems[1].startswith("scmm.policy='../x@sha256:1': a policy's name is")
    assert "64 hexadecimal digits" in found.problems[1]
    assert len(found.problems) == 2


@pytest.mark.parametrize(
    ("action", "policy", "closed"),
    [
        ("kill", None, True),
        ("freeze", None, True),
        ("alert", None, False),
        ("count", None, False),
        ("kill", "../x", True),
        ("alert", "../x", False),
        # Nobody knows whether it was to kill; whoever names a policy means it.
        ("kil", "web", True),
        ("", "web", True),
        ("kil", None, False),
    ],
)
def test_what_fails_closed(action: str, policy: str | None, closed: bool) -> None:
    found = names.watching({names.WATCH: action, **({} if policy is None else {names.POLICY: policy})})
    assert found.problems and found.is_closed == closed


@given(st.dictionaries(st.sampled_from([names.WATCH, names.POLICY, names.MODE]), st.text(max_size=8)))
def test_either_it_is_understood_or_a_problem_is_told(annotations: dict[str, str]) -> None:
    found = names.watching(annotations)
    assert found.is_asked == (names.WATCH in annotations)
    if found.is_asked and not found.problems:
        assert found.action in names.ACTIONS and names.is_capture_name(found.policy)
    else:
        assert found.is_asked or not found.problems


# scmm-runc


@pytest.mark.parametrize("action", names.ACTIONS)
def test_annotation_and_variable(action: str) -> None:
    for wish in (
        read({names.POLICY: "web", names.WATCH: action}),
        read(env=["SCMM_POLICY=web", f"SCMM_WATCH={action}"]),
        read({names.WATCH: action}, ["SCMM_POLICY=web"]),
        read({names.POLICY: "web"}, [f"SCMM_WATCH={action}"]),
    ):
        assert (wish.watch, wish.policy, wish.problems, wish.notes) == (action, "web", [], [])


def test_the_configuration_names_the_policy() -> None:
    image = {"io.kubernetes.cri.image-name": "nginx:1"}
    wish = read({**image, names.WATCH: "kill"}, None, ("nginx*", "web", None, "strict"))
    assert (wish.watch, wish.policy, wish.mode, wish.problems) == ("kill", "web", "strict", [])


def test_the_image_cannot_take_back_what_an_annotation_says() -> None:
    wish = read({names.POLICY: "web", names.WATCH: "kill"}, ["SCMM_WATCH=count"])
    assert wish.watch == "kill"
    assert wish.notes == ["SCMM_WATCH='count' is ignored: the annotation scmm.watch decides"]
    assert read({names.POLICY: "web", names.WATCH: "kill"}, ["SCMM_WATCH=kill"]).notes == []


def test_the_program_does_not_see_it() -> None:
    wish = read(env=["SCMM_POLICY=web", "SCMM_WATCH=kill", "A=1"])
    assert wish.stripped == ["SCMM_POLICY", "SCMM_WATCH"]


@pytest.mark.parametrize("action", names.ACTIONS)
def test_without_a_policy(action: str) -> None:
    for wish in (read({names.WATCH: action}), read(env=[f"SCMM_WATCH={action}"])):
        assert wish.watch is None
        told = wish.problems if action in names.CLOSED else wish.notes
        assert len(told) == 1 and "no policy is named" in told[0]
        assert bool(wish.problems) == (action in names.CLOSED)


def test_an_action_that_is_not_known() -> None:
    for wish in (read({names.POLICY: "web", names.WATCH: "kil"}), read(env=["SCMM_POLICY=web", "SCMM_WATCH=kil"])):
        assert wish.watch is None
        assert len(wish.problems) == 1 and "known values: count, alert, freeze, kill" in wish.problems[0]
    # The twin: nothing was to be enforced, so nothing is lost that was promised.
    wish = read({names.WATCH: "kil"})
    assert wish.problems == [] and len(wish.notes) == 2


def test_a_policy_that_is_only_watched_by() -> None:
    for wish in (
        read({names.POLICY: "web", names.MODE: "watch", names.WATCH: "alert"}),
        read(env=["SCMM_POLICY=web", "SCMM_MODE=watch", "SCMM_WATCH=alert"]),
    ):
        assert (wish.policy, wish.watch, wish.is_enforced, wish.problems) == ("web", "alert", False, [])
        assert wish.notes == ["the mode is watch: nothing of the policy is enforced"]
        assert not wish.is_closed, "nothing that was promised is lost"
    assert read({names.POLICY: "web", names.MODE: "watch", names.WATCH: "kill"}).is_closed
    # The twin: whoever does not say so has it enforced, too.
    wish = read({names.POLICY: "web", names.WATCH: "alert"})
    assert wish.is_enforced and wish.is_closed
    (problem,) = read({names.POLICY: "web", names.MODE: "watch"}).problems
    assert problem.endswith("scmm.watch does not say how (known values: count, alert, freeze, kill)")


def test_misspelt_and_twice() -> None:
    for wish in (read({names.POLICY: "web", "scmm.wacth": "kill"}), read(env=["SCMM_WACTH=kill"])):
        assert len(wish.problems) == 1 and "did you mean" in wish.problems[0]
    assert "is there twice" in read(env=["SCMM_POLICY=web", "SCMM_WATCH=kill", "SCMM_WATCH=count"]).problems[0]


def test_a_sandbox_is_not_watched() -> None:
    annotations = {
        "io.kubernetes.cri.container-type": "sandbox",
        "io.kubernetes.cri.sandbox-id": "x",
        names.POLICY: "web",
        names.WATCH: "kill",
    }
    from scmm_oci.enforcer import wishes

    asked: dict[str, Any] = config(annotations)
    assert wishes.read(asked, type("Settings", (), {"images": []}), container="x").watch is None
    assert wishes.read(asked, type("Settings", (), {"images": []}), container="y").watch == "kill"


# Hooks that are added


def watched(there: dict[str, Any], launcher: str | None = "/run/x/launcher") -> dict[str, Any]:
    added_hooks.watch(there, HOOK, action="kill", policy=f"web@sha256:{DIGEST}", launcher=launcher)
    return there


def test_hooks_and_annotations() -> None:
    there = watched(config())
    assert there["annotations"] == {names.WATCH: "kill", names.POLICY: f"web@sha256:{DIGEST}"}
    start = ["scmm-watch-hook", "prestart", "--launcher", "/run/x/launcher"]
    assert there["hooks"] == {
        "prestart": [{"path": HOOK, "args": start, "timeout": 62}],
        "poststop": [{"path": HOOK, "args": ["scmm-watch-hook", "poststop"], "timeout": 62}],
    }
    read_back = names.watching(there["annotations"])
    assert (read_back.action, read_back.policy, read_back.digest, read_back.problems) == ("kill", "web", DIGEST, [])
    assert watched(copy.deepcopy(there)) == there
    assert watched(config(), None)["hooks"]["prestart"][0]["args"] == ["scmm-watch-hook", "prestart"]


@pytest.mark.parametrize("stage", ["prestart", "createRuntime"])
def test_hooks_of_a_hooks_directory_are_told_of_the_launcher(stage: str) -> None:
    other = {"path": "/usr/bin/nvidia", "args": ["x"]}
    theirs = {"path": HOOK, "args": ["scmm-watch-hook", stage], "timeout": 10}
    there = watched({**config(), "hooks": {stage: [other, theirs]}})
    told = {**theirs, "args": ["scmm-watch-hook", stage, "--launcher", "/run/x/launcher"]}
    assert there["hooks"][stage] == [other, told]
    assert set(there["hooks"]) == {stage, "poststop"}


@pytest.mark.parametrize(
    "changes", [{"hooks": []}, {"hooks": {"prestart": {}}}, {"hooks": {"poststop": "x"}}, {"annotations": []}]
)
def test_malformed_hooks(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\.(hooks|annotations)"):
        watched(config() | changes)
