"""Fixtures of every kind of test: the private namespace, the static payload, installed hooks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import ROOT, Hooks, install_hooks, need

from rig import namespace
from rig.process import SEARCH_PATH

# A login shell of an ordinary user lacks the directories where bpftool, ldconfig and runc are.
os.environ["PATH"] = SEARCH_PATH
# Else each of the hundreds of commands that tests run would compile the package for itself.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# readline, which pytest loads, hands them on to workers, and these to programs: a width that no terminal has.
for _name in ("COLUMNS", "LINES"):
    os.environ.pop(_name, None)

if TYPE_CHECKING:
    from schedule import Schedule
    from xdist.remote import Producer


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Schedule:
    """Asked with `-n` only, as is `schedule`: without it, nothing needs pytest-xdist."""
    from schedule import Schedule

    return Schedule(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        from schedule import rank

        items.sort(key=rank)


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    """The umask that files have elsewhere. `scmm record` sets a stricter one, and runs in this process in tests."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def inside() -> namespace.Entered:
    """In the private mount namespace: cgroup2 only, a BPF file system of our own."""
    need("KERNEL", namespace.unavailable())
    return namespace.enter()


@pytest.fixture(scope="session")
def payload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tests/payload/payload.c, compiled and static."""
    path = tmp_path_factory.mktemp("payload") / "payload"
    source = ROOT / "tests/payload/payload.c"
    subprocess.run(
        ["gcc", "-O2", "-static", "-Wall", "-Wextra", "-Wno-unused-parameter", "-pthread", "-o", path, source],
        check=True,
    )
    return path


@pytest.fixture
def make_hooks(inside: namespace.Entered, tmp_path: Path) -> Callable[..., Hooks]:
    """Install the hook pair below the test's directory, with settings of the test's own."""
    return lambda **changes: install_hooks(tmp_path, **changes)


@pytest.fixture
def hooks(make_hooks: Callable[..., Hooks]) -> Iterator[Hooks]:
    made = make_hooks()
    yield made
    assert not Path(made.settings.pin_dir).exists(), "the recorder is still pinned"
