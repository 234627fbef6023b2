"""A target that changes what its path says, or where that leads, while it is looked at, opens nothing forbidden.

The control is a monitor that looks, and then has the kernel go on with the call: it is beaten. 2 s for each of the
first, 10 s with SCMM_SOAK=1.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from behalf_served import REFUSED, Served, serving
from listened import Listened, handing_over
from live import compiled
from support import need

from rig.process import missing_programs
from scmm_oci.enforcer.monitor import calls, memory
from scmm_oci.kernel import notify
from scmm_oci.kernel.notify import Notification

SECONDS = 10 if os.environ.get("SCMM_SOAK") else 2
MOST_RACES = 60
WAYS = ("text", "link", "directory")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("KERNEL", missing_programs("gcc") or ("reading what root's programs hold" if os.geteuid() else None))
    return compiled("racing.c", tmp_path_factory.mktemp("racing"))


class Naive(Served):
    """Looks where a name leads, and lets the call go on if that is allowed."""

    async def one(self, fd: int, call: Notification) -> None:
        try:
            said = memory.look(fd, call, calls.decode(call)).paths[0]
            real = os.path.realpath(os.fsdecode(said or b""))
        except (memory.Unreadable, OSError):
            real = ""  # what realpath takes for a link is none any more
        if _is_allowed(real):
            notify.let_go_on(fd, call.id)
        else:
            notify.refuse(fd, call.id, REFUSED)


def _is_allowed(path: str) -> bool:
    return "/allowed/" in path and "/forbidden/" not in path


@contextmanager
def racing(program: Path, how: str, ground: Path, seconds: float) -> Iterator[Listened]:
    for name in ("allowed", "forbidden"):
        (ground / name).mkdir()
        (ground / name / "file").write_text(name)
    if how == "directory":
        # What is exchanged is itself below what is allowed.
        place = ground / "allowed" / "inner"
        place.mkdir()
        (place / "file").write_text("allowed")
        (ground / "allowed" / "inner.other").symlink_to(ground / "forbidden")
        words = [str(place)] * 3
    else:
        words = [f"{ground}/allowed///file", f"{ground}/forbidden/file"]  # of the same length
        words.append(words[0] if how == "text" else f"{ground}/link")
        (ground / "link").symlink_to(words[0])
    with handing_over(lambda fd: [program, fd, how, str(seconds), *words]) as it:
        yield it


def counts(served: Served, program: Path, how: str, ground: Path, seconds: float) -> tuple[int, int, int]:
    """How often it opened something, how often what is forbidden, and how often it was refused."""
    with racing(program, how, ground, seconds) as it:
        served.all_of(it)
        words = it.output().split()
        assert it.process.returncode == 0
    opened, beaten, refused = map(int, words)
    return opened, beaten, refused


@pytest.mark.parametrize("how", WAYS)
def test_nothing_that_is_forbidden_is_opened(program: Path, how: str, tmp_path: Path) -> None:
    with serving() as served:
        served.decide = lambda call, found: all(map(_is_allowed, found.paths))
        opened, beaten, refused = counts(served, program, how, tmp_path, SECONDS)
    assert beaten == 0
    # It did try both, and what is allowed was opened.
    assert opened > 0
    assert refused > 0
    assert any(path for path in served.paths if not _is_allowed(path[0] if path else "/allowed/"))


@pytest.mark.parametrize("how", WAYS)
def test_a_monitor_that_looks_and_lets_go_on_is_beaten(program: Path, how: str, tmp_path: Path) -> None:
    opened = beaten = 0
    with serving() as served:
        naive = Naive(served.deputies, served.reader)
        # On a machine with more to do than that, it may take more than one race.
        for attempt in range(MOST_RACES):
            ground = tmp_path / str(attempt)
            ground.mkdir()
            more, beaten, _ = counts(naive, program, how, ground, SECONDS / 4)
            opened += more
            if beaten:
                break
    assert opened > beaten > 0
