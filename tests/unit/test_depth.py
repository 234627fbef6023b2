"""How deep a recording keeps the order of calls: what annotations, variables and commands may say of it."""

from __future__ import annotations

import pytest

from scmm_oci.cli.main import record
from scmm_oci.enforcer import added_hooks, wishes
from scmm_oci.errors import BadInput
from scmm_oci.oci import annotations as names
from scmm_oci.recorder import engine_recording, slots, wire
from scmm_oci.recorder.engine_command import parse


class _Settings:
    images: tuple[()] = ()


@pytest.mark.parametrize(
    ("given", "depth", "problems"),
    [
        ({}, 2, []),
        ({"scmm.depth": "2"}, 2, []),
        ({"scmm.depth": "3"}, 3, []),
        ({"scmm.depth": "4"}, 2, ["scmm.depth='4' (known values: 2, 3)"]),
        ({"scmm.depth": ""}, 2, ["scmm.depth='' (known values: 2, 3)"]),
        ({"scmm.depth": "03"}, 2, ["scmm.depth='03' (known values: 2, 3)"]),
        (
            {"scmm.depth": "x", "scmm.name": "/"},
            2,
            [f"scmm.name='/' (a capture name is {names.NAME_RULE})", "scmm.depth='x' (known values: 2, 3)"],
        ),
    ],
)
def test_the_annotation(given: dict[str, str], depth: int, problems: list[str]) -> None:
    wish = names.read({"scmm.record": "true", **given}, default_name="c")
    assert (wish.record, wish.depth, wish.problems) == (True, depth, problems)


def test_the_flag_of_a_slot() -> None:
    assert [slots.depth_flag(depth) for depth in (2, 3)] == [0, wire.DEPTH_3]
    assert wire.SlotValue(wire.new_slot(epoch=1, mntns=0, flags=wire.DEPTH_3, started=0)).deep
    assert not wire.SlotValue(wire.new_slot(epoch=1, mntns=0, flags=wire.ATTACHED, started=0)).deep


@pytest.mark.parametrize(
    ("said", "env", "depth", "notes"),
    [
        ({}, [], None, []),
        ({}, ["SCMM_DEPTH=3"], "3", []),
        ({"scmm.depth": "2"}, ["SCMM_DEPTH=3"], "2", []),
        ({}, ["SCMM_DEPTH=4"], None, ["SCMM_DEPTH='4' (known values: 2, 3)"]),
        ({"scmm.depth": "three"}, ["SCMM_DEPTH=3"], None, ["scmm.depth='three' (known values: 2, 3)"]),
    ],
)
def test_under_the_shim(said: dict[str, str], env: list[str], depth: str | None, notes: list[str]) -> None:
    process = {"args": ["true"], "env": ["SCMM_RECORD=1", *env]}
    annotations = dict(said)
    config = {"annotations": annotations, "process": process}
    wish = wishes.read(config, _Settings())  # type: ignore[arg-type]
    assert (wish.record, wish.depth, wish.notes, wish.problems) == (True, depth, notes, [])
    assert process["env"] == []
    # The hook gets what is meant, and nothing that it could not use.
    added_hooks.record(config, "/hook", wish)
    assert names.read(annotations, default_name="c").depth == int(depth or 2)
    assert names.read(annotations, default_name="c").problems == []
    # Where the recording is required, one that is not understood starts nothing.
    required = {"annotations": {**said, "scmm.record": "required"}, "process": {"args": ["true"], "env": env}}
    wish = wishes.read(required, _Settings())  # type: ignore[arg-type]
    assert (wish.problems, wish.notes) == (notes, [])


@pytest.mark.parametrize(
    ("text", "depth"),
    [
        ("podman run x", None),
        ("podman run --annotation scmm.depth=3 x", "3"),
        ("docker run -e SCMM_DEPTH=2 x", "2"),
        ("podman run -e SCMM_DEPTH=3 x", None),  # podman's hooks know annotations only
    ],
)
def test_what_a_command_says(text: str, depth: str | None) -> None:
    assert engine_recording.wanted(parse(text.split()), {}).depth == depth


def test_what_a_command_cannot_say() -> None:
    with pytest.raises(BadInput) as caught:
        engine_recording.wanted(parse(["docker", "run", "-e", "SCMM_DEPTH=4", "--annotation", "scmm.name=/", "x"]), {})
    assert [problem.message for problem in caught.value.problems] == [
        "'/' is not a capture's name",
        "'4' is not a depth (SCMM_DEPTH)",
    ]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--depth", "4", "--", "true"], "'4' is not one of '2', '3'"),
        (["--depth", "3", "--list"], "--depth does not go with --list"),
        (["--depth", "3", "--snapshot", "web"], "--depth does not go with --snapshot"),
        (["run", "--depth", "1", "--", "podman", "run", "x"], "'1' is not one of '2', '3'"),
        (["run", "--depth", "3", "--", "docker", "run", "-eSCMM_DEPTH=2", "x"], "--depth: the command says 2"),
    ],
)
def test_the_command_line(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert record(words) == 2
    assert says in " ".join(capsys.readouterr().err.split())
