"""scmm-runc when something fails at any step: what the runtime is called with is enforced, or it is not called.

The runtime is a script that keeps what it is called with, so that each step takes no container.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

import pytest
from shim_ground import Ground, contents, is_enforced
from support import ROOT, need

from rig import namespace
from rig.mounts import private_dir
from scmm_oci.enforcer import living

SOAK = bool(os.environ.get("SCMM_SOAK"))
pytestmark = pytest.mark.timeout(3600 if SOAK else 300)


@pytest.fixture
def ground(inside: namespace.Entered) -> Iterator[Ground]:
    need("KERNEL", None)
    with private_dir("faults") as base:
        yield Ground(base)


def test_without_a_fault(ground: Ground) -> None:
    ground.ask(policy="files")
    code, _, config = ground.create("0", 0)
    assert code == 3 and is_enforced(config)
    ground.ask()
    code, _, config = ground.create("0", 0)
    assert code == 3 and config is not None and not is_enforced(config)  # the control


@pytest.mark.parametrize("how", ["13", *(["kill"] if SOAK else [])])
def test_a_create_that_fails_anywhere_starts_nothing_unenforced(ground: Ground, how: str) -> None:
    ground.ask(policy="files")
    number, failed, passed = 0, "-", set()
    refused = 0
    while failed:
        number += 1 if SOAK else 2
        code, failed, config = ground.create(how, number)
        if config is None:
            refused += 1
            assert code == (-9 if how == "kill" else 1) or code == 127, (number, failed, ground.said)
        else:
            # What is not needed for it may fail, such as the removal of what others left.
            assert is_enforced(config), (number, failed, config)
            passed.add(failed)
        assert number < 400
    assert refused > (20 if SOAK else 10)
    assert ground.create(how, 0)[2] is not None  # nothing is left that would be in the way
    assert len(ground.shims.kept()) == 1


@pytest.mark.parametrize("how", ["12", *(["5", "kill"] if SOAK else [])])
def test_a_second_create_that_fails_takes_nothing_from_the_first(ground: Ground, how: str) -> None:
    """It is only to be recorded, so that nothing would be enforced any more if its plan took the other's place."""
    path = ground.running()
    before = contents(path)
    ground.settings(hook=str(ground.script))
    ground.ask(record="true")
    number, failed = 0, "-"
    while failed:
        number += 1 if SOAK else 2
        _, failed, config = ground.create(how, number)
        assert contents(path) == before, (number, failed, ground.said)
        assert config is None or "hooks" not in config
    assert number > 20


@pytest.mark.parametrize("how", ["28"])
def test_a_recording_that_fails_stops_nothing(ground: Ground, how: str) -> None:
    ground.settings(hook=str(ground.script))
    ends = {}
    for wanted in ("false", "true"):
        ground.ask(record=wanted)
        number, failed, last, hooked = 0, "-", 0, 0
        while failed:
            number += 1 if SOAK else 3  # test_shim_syscalls has each
            _, failed, config = ground.create(how, number)
            if config is None and failed != "execve":
                last = number
            hooked += bool(config and "hooks" in config)
        ends[wanted] = last, hooked
    # Nothing more stops it than without: until config.json is read, nobody knows what is asked for.
    assert ends["true"][0] == ends["false"][0] > 0
    assert ends["true"][1] > ends["false"][1] == 0


@pytest.mark.parametrize("how", ["unexpected", *(["kill"] if SOAK else [])])
def test_an_exec_that_fails_anywhere_lets_nobody_in(ground: Ground, how: str) -> None:
    ground.running()
    process = ground.base / "process.json"
    process.write_text(json.dumps({"args": ["sh"], "cwd": "/"}))
    number, failed, refused = 0, "-", 0
    while failed:
        number += 1 if SOAK else 2
        words = (f"--root={ground.root}", "exec", f"--process={process}", "one")
        code, failed, config = ground.run(how, number, *words)
        if config is None:
            refused += 1
            assert code == (-9 if how == "kill" else 1) or code == 127, (number, failed, ground.said)
        else:
            assert is_enforced(config), (number, failed, config)
    assert code == 3 and refused > (10 if SOAK else 5)


def test_an_exec_while_its_container_is_made(ground: Ground) -> None:
    """The runtime has no directory yet; when it has, whoever is let in then is enforced."""
    ground.ask(policy="files")
    ground.create("0", 0)
    process = ground.base / "process.json"
    process.write_text(json.dumps({"args": ["sh"], "cwd": "/"}))
    words = (f"--root={ground.root}", "exec", f"--process={process}", "one")
    config = ground.run("0", 0, *words)[2]
    assert config and not is_enforced(config)  # the control: nobody makes it any more, and the runtime knows none
    (key,) = ground.shims.kept()
    owner = ground.shims.bundles / key / "owner.json"
    owner.write_text(json.dumps({**json.loads(owner.read_text()), "generation": living.generation()}))
    assert is_enforced(ground.run("0", 0, *words)[2])


def test_a_runtime_that_is_missing_or_ours(ground: Ground) -> None:
    ground.ask(policy="files")
    for path, message in ((ground.base / "nosuch", "is not there"), (ground.shims.runc, "is scmm-runc itself")):
        text = ground.shims.runc.read_text()
        for real in (ground.shims.settings["runtimes"]["default"], str(ground.base / "nosuch")):
            text = text.replace(f"runtime={real}\n", f"runtime={path}\n")
        ground.shims.runc.write_text(text)
        settings = {**ground.shims.settings, "runtimes": {"default": str(path)}}
        (ground.base / "shims/libexec/shim.json").write_text(json.dumps(settings))
        for words in (["create", f"--bundle={ground.bundle}", "one"], ["kill", "one"], ["state", "one"], ["--version"]):
            done = subprocess.run([ground.shims.runc, *words], capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 127 and message in done.stderr, (words, done)


def test_the_starter_without_its_package(ground: Ground) -> None:
    ground.ask()
    text = ground.shims.runc.read_text()
    ground.shims.runc.write_text(text.replace(f"package={ROOT}\n", "package=/nosuch\n"))
    done = subprocess.run([ground.shims.runc, "create", "one"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "run scmm install again" in done.stderr
    # What makes no process goes on: containers that run can be ended.
    real = ground.shims.settings["runtimes"]["default"]
    ours = subprocess.run([ground.shims.runc, "--version"], capture_output=True, text=True, timeout=60, check=False)
    theirs = subprocess.run([real, "--version"], capture_output=True, text=True, timeout=60, check=False)
    assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout)


def test_words_that_are_not_understood(ground: Ground) -> None:
    ground.ask()
    exec_words = ["exec", "--nosuch", "one", "sh"]
    assert ground.run("0", 0, *exec_words)[0] == 3  # there is no container of ours
    (ground.shims.bundles / "any").mkdir(parents=True)
    for words in (["--nosuch", "create", "one"], ["create", "--nosuch", "x", "one"], exec_words):
        assert ground.run("0", 0, *words)[::2] == (1, None)
        assert "not understood" in ground.said
    for words in (["nosuch", "--option", "one"], ["--nosuch", "kill", "one"], ["create"], ["help"]):
        assert ground.run("0", 0, *words)[0] == 3
        assert (ground.base / "words").read_text().splitlines() == words


def test_a_restored_process_cannot_be_enforced(ground: Ground) -> None:
    words = ("restore", f"--bundle={ground.bundle}", "one")
    only_watched = {"policy": "files", "mode": "watch"}
    for wishes, what in (
        ({"policy": "files"}, "enforced"),
        ({"record": "required"}, "recorded"),
        ({**only_watched, "watch": "kill"}, "watched"),
    ):
        ground.ask(**wishes)
        assert ground.run("0", 0, *words)[::2] == (1, None)
        assert f"cannot be {what}" in ground.said
    for wishes in ({}, {"record": "true"}, {**only_watched, "watch": "alert"}):
        ground.ask(**wishes)
        assert ground.run("0", 0, *words)[0] == 3
    for what in ("recorded", "watched"):
        assert ground.shims.log().count(f"not {what}: a restored process") == 1


def test_the_environment_is_passed_on(ground: Ground) -> None:
    """In the locale C, Python would add LC_CTYPE; sh adds PWD, where it is missing, and nothing else."""
    ground.ask()
    ground.script.write_text("#!/bin/sh\nexec env -0\n")
    words = ["state", "one"]
    for given in (
        {"PATH": "/usr/bin:/bin", "PWD": "/"},
        {"PATH": "/usr/bin:/bin", "PWD": "/", "LC_CTYPE": "C", "X": "\n=y"},
    ):
        program = ground.starter_over(ground.script)
        done = subprocess.run([program, *words], env=given, cwd="/", capture_output=True, timeout=60, check=False)
        assert sorted(done.stdout.decode().split("\0")[:-1]) == sorted(f"{key}={value}" for key, value in given.items())
