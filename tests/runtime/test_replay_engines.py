"""`scmm verify --replay --engine`: podman and Docker start what was recorded under its profile, in each way.

Under SCMM_SOAK each program in each way, 20 times; else each runtime, way and setting in some of the combinations.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import crun_here
import pytest
from recordings import Ground
from replayed_programs import STATUS, Program, Replayed, over, profile_of, programs, record
from replays import SCMM
from support import Hooks, need
from test_replay_stopped import begun
from test_replay_stopped import over as ended

from rig import images, namespace
from rig.mounts import private_dir
from rig.podman import Podman
from rig.process import find_program, wait_until
from scmm_oci.cli.main import main
from scmm_oci.errors import Failure
from scmm_oci.recorder.engines import Engine as Kind
from scmm_oci.recorder.replay import engine as replay_engine
from scmm_oci.recorder.replay import leftovers

SOAK = bool(os.environ.get("SCMM_SOAK"))
TIMES = 20 if SOAK else 1
NAMES = ("nginx", "redis", "python3", "busybox")
ENGINES = ("podman", "docker")
RUNTIMES, WAYS, NNP = ("runc", "crun"), ("run", "create", "exec"), ("off", "on")
Cell = tuple[str, str, str, str, str]


def cells() -> list[Cell]:
    """(engine, program, runtime, no-new-privileges, way)."""
    every = list(product(RUNTIMES, NNP, WAYS))
    if SOAK:
        return [(engine, name, *one) for engine, name, one in product(ENGINES, NAMES, every)]
    # Each engine has half of the ways, and the other has the other half; programs take turns.
    half = [
        (engine, one)
        for first, engine in enumerate(ENGINES)
        for number, one in enumerate(every)
        if (number + number // 3 + number // 6 + first) % 2 == 0
    ]
    return [(engine, NAMES[number % 4], *one) for number, (engine, one) in enumerate(half)]


@pytest.fixture(scope="module", params=ENGINES)
def replayed(request: pytest.FixtureRequest, inside: namespace.Entered, shared_hooks: Hooks) -> Iterator[Replayed]:
    """An engine that has runc and crun, with its images."""
    need("CRUN", Podman.available("crun") or images.services_unavailable())
    with private_dir("replay") as base:
        base.chmod(0o711)
        crun = crun_here.starter(base, find_program("crun") or "crun")
        yield over(request.getfixturevalue(request.param), base, crun)


@pytest.fixture(scope="module")
def started(replayed: Replayed) -> dict[str, Program]:
    """The programs, as the engine starts them."""
    return programs(replayed.ground, replayed.directory / "served")


@pytest.fixture(scope="session")
def profiles(podman: Ground, shared_hooks: Hooks, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What each program was recorded as, under podman and runc, made into a profile for all runtimes."""
    base = tmp_path_factory.mktemp("profiles")
    with private_dir("recorded") as directory:
        directory.chmod(0o711)
        found = programs(podman, directory / "served")
        return {name: profile_of(record(podman, one, shared_hooks), base) for name, one in found.items()}


@pytest.mark.timeout(7200 if SOAK else 300)
@pytest.mark.parametrize("name", NAMES)
def test_what_was_recorded_serves_in_every_way(
    replayed: Replayed,
    started: dict[str, Program],
    profiles: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    kind, outcomes = replayed.ground.engine.kind, {}
    program = started[name]
    for cell in [one for one in cells() if one[:2] == (kind, name)]:
        runtime, nnp, way = cell[2:]
        words = ["--nnp", nnp, "--way", way, "--times", str(TIMES), "--seconds", "30"]
        status, found = replayed(monkeypatch, capsys, profiles[name], program, *words, runtimes=[runtime])
        (one,) = found["ways"]
        assert (one["runtime"]["name"], one["way"], one["no_new_privileges"]) == (runtime, way, nnp == "on")
        outcomes[cell] = (status, one["served"], one["expected"], one["failure"], one["missing"])
        with capsys.disabled():
            if SOAK:
                print(*cell, f"{one['served']} of {one['times']}", one["failure"] or "", flush=True)
    assert outcomes == {one: (0, TIMES, program.end, None, []) for one in outcomes}
    assert len(outcomes) == 12 if SOAK else outcomes
    assert replayed.left() == set()


def without(seccomp: Path, directory: Path, *names: str) -> Path:
    """The profile, and these calls taken out."""
    document = json.loads(seccomp.read_text())
    for rule in document["syscalls"]:
        rule["names"] = [name for name in rule["names"] if name not in names]
    path = directory / "without.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.timeout(600 if SOAK else 300)
def test_what_was_taken_out_is_named_with_who_calls_it(
    replayed: Replayed,
    started: dict[str, Program],
    profiles: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    both = {"podman": ("crun", "exec", "mkdir", "app"), "docker": ("runc", "run", "setgroups", "runtime")}
    for runtime, way, gone, phase in both.values() if SOAK else [both[replayed.ground.engine.kind]]:
        seccomp = without(profiles["busybox"], tmp_path, gone)
        words = ["--nnp", "off", "--way", way, "--times", "1", "--seconds", "30"]
        status, found = replayed(monkeypatch, capsys, seccomp, started["busybox"], *words, runtimes=[runtime])
        (one,) = found["ways"]
        assert (status, one["served"], one["expected"], one["phase"]) == (1, 0, STATUS, phase)
        needed = [(each["phase"], each["name"]) for each in one["missing"] if each["needed"]]
        assert needed == [(phase, gone)] and one["enough"]
        # Of the program there is an end; of a runtime that gave up, what it said.
        assert (one["failure"]["end"] is None) == (phase == "runtime")
        assert (gone in (one["failure"]["message"] or "")) == (phase == "runtime")
        assert replayed.left() == set()


@pytest.mark.timeout(300)
def test_a_service_that_does_not_answer_is_not_well(
    replayed: Replayed,
    started: dict[str, Program],
    profiles: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    nobody = Program("busybox", started["busybox"].image, ("sleep", "1000"), ("--network=none",), "false")
    words = ["--nnp", "on", "--way", "run", "--times", "1", "--seconds", "0.5"]
    status, found = replayed(monkeypatch, capsys, profiles["busybox"], nobody, *words, runtimes=["runc"])
    (one,) = found["ways"]
    assert (status, one["served"], one["phase"], one["failure"]["step"]) == (1, 0, "setup", "probe")
    assert [each["code"] for each in found["findings"]] == ["no-control"]
    # The same without the question is well as long as it runs; under a filter, and without one.
    runs = Program("busybox", nobody.image, nobody.args, nobody.options)
    for rules in ([], [{"names": ["vhangup"], "action": "SCMP_ACT_ERRNO"}]):
        opened = replayed.directory / "opened.json"
        opened.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}))
        status, found = replayed(monkeypatch, capsys, opened, runs, *words, runtimes=["runc"])
        (one,) = found["ways"]
        assert (status, one["served"], one["expected"]) == (0, 1, "runs /bin/busybox")
    assert replayed.left() == set()


def test_containers_that_a_dead_replay_left_are_removed(
    replayed: Replayed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    replayed.on_path(monkeypatch)
    monkeypatch.setattr(leftovers, "PLACE", str(tmp_path))
    client = replay_engine.find(Kind(replayed.ground.engine.kind), ["runc"])
    lives, died = f"{leftovers.PREFIX}lives", f"{leftovers.PREFIX}died"
    (tmp_path / lives).mkdir()
    engine = replayed.ground.engine
    for name in (f"{lives}-e1", f"{died}-e1"):
        label = [f"--label={replay_engine.LABEL}"]
        engine.run_detached(replayed.ground.busybox, "sleep", "1000", name=name, options=label)
    engine.run_detached(replayed.ground.busybox, "sleep", "1000", name=f"{died}-e2")
    client.sweep()
    assert replayed.left() == {f"{lives}-e1", f"{died}-e2"}, "what is no replay's has no label"
    client.remove(f"{died}-e2")
    (tmp_path / lives).rmdir()
    client.sweep()
    assert replayed.left() == set()
    # What is gone is no failure, and what cannot be asked is one.
    client.remove(f"{lives}-e1")
    with pytest.raises(Failure, match="nosuch"):
        client.state("nosuch", client.runtimes[0])


@pytest.mark.timeout(300)
def test_who_is_stopped_leaves_no_container(
    replayed: Replayed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = replayed.ground.engine
    every = list(product(("run", "exec"), (signal.SIGTERM, signal.SIGKILL)))
    for way, number in every if SOAK else [every[2 if engine.kind == "podman" else 1]]:
        _stop_one(replayed, tmp_path, monkeypatch, way, number)


def _stop_one(
    replayed: Replayed, directory: Path, monkeypatch: pytest.MonkeyPatch, way: str, number: signal.Signals
) -> None:
    replayed.on_path(monkeypatch)
    (directory / "p.json").write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW"}))
    program = Program("busybox", replayed.ground.busybox, ("sleep", "1000"), ("--network=none",))
    words = ["--nnp", "on", "--way", way, "--times", "1", "--seconds", "600"]
    command = [*SCMM, *replayed.words(directory / "p.json", program, *words, runtimes=["runc"])]
    engine = replayed.ground.engine
    with begun(command) as process:
        wait_until(lambda: engine("ps", "--quiet").stdout.split(), deadline_s=60, what="a container that runs")
        os.kill(process.pid, number)
        printed = ended(process)
    if number is signal.SIGKILL:
        assert process.returncode == -number and replayed.left(process.pid) != set()
        leftovers.sweep(age=0)
        replay_engine.find(Kind(engine.kind), ["runc"]).sweep()
    else:
        assert process.returncode == 130, printed
    assert replayed.left(process.pid) == set()


def test_all_that_is_wrong_is_told_at_once(
    replayed: Replayed,
    profiles: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    replayed.on_path(monkeypatch)
    kind = replayed.ground.engine.kind
    words = ["--replay", "--engine", kind, "--image", "localhost/nosuch", "--engine-option=--privileged"]
    words += ["--engine-option=image", "--probe", "nosuch-program", "--runtime", "runc"]
    assert main(["verify", str(profiles["busybox"]), *words]) == 2
    told = capsys.readouterr().err
    for expected in ("--privileged cannot be replayed", "an option with '-' expected", "no such command", "nosuch"):
        assert expected in told
    assert "pull or build it first" in told
    assert main(["verify", str(profiles["busybox"]), *words[:4], "x", "--runtime", "nosuch"]) == 2
    assert "nosuch" in capsys.readouterr().err
