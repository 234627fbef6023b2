"""The end of a recording in a tree that its container has prepared: in time, and without a look outside."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from scripts import PRELUDE, PYTHON, losses
from support import Hooks, need
from trial import Trial

from scmm_oci.capture import file as capture_file
from scmm_oci.recorder import resolve

ASK = """
for pattern in sys.argv[2:]:
    for number in range(int(sys.argv[1])):
        call(ACCESS, pattern.replace("#", str(number)).encode(), 0)
"""
libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def asked(
    hooks: Hooks, payload: Path, root: Path, *patterns: str, many: int = 1, mounts: tuple[Any, ...] = ()
) -> Iterator[Trial]:
    """A recording, not ended yet, of a program that asked for names in a container with that root directory."""
    words = ("gate", PYTHON, "-I", "-S", "-c", PRELUDE + ASK, str(many), *patterns)
    config = {"root": {"path": str(root)}, "mounts": list(mounts)}
    with Trial(hooks, payload, *words, name="asked", gate=False, config=config) as trial:
        trial.release()
        yield trial


def finish(trial: Trial) -> tuple[dict[str, tuple[str, str]], float]:
    """(last component of a name → path and state, seconds that the hook took)."""
    before = time.monotonic()
    capture = trial.finish()
    taken = time.monotonic() - before
    assert losses(capture) == {}
    capture_file.read(trial.hooks.path("asked"))
    rows = [row for row in capture["files"] if row["operation"] == "access"]
    return {row["path"].rpartition("/")[2]: (row["path"], row["state"]) for row in rows}, taken


def test_links_that_lead_far_do_not_keep_the_hook(
    make_hooks: Callable[..., Hooks], payload: Path, tmp_path: Path
) -> None:
    hooks, root = make_hooks(deadline=4), tmp_path / "root"
    (root / "farm").mkdir(parents=True)
    for number in range(38):
        (root / f"farm/l{number}").symlink_to("../" * 1300 + f"farm/l{number + 1}")
    (root / "farm/l38").mkdir()
    (root / "farm/loop").symlink_to("loop")
    with asked(hooks, payload, root, "/farm/l0/#", many=20_000) as trial:
        found, taken = finish(trial)
    assert taken < 5
    states = [state for path, state in found.values() if path.startswith("/farm/")]
    # Some in time, which shows that each of them could have been; the rest as it was said.
    assert states.count("resolved") > 4 and states.count("named") > 10_000
    assert found["0"] == ("/farm/l38/0", "resolved") and found["19999"] == ("/farm/l0/19999", "named")
    # The control, with time for all of them.
    with asked(hooks, payload, root, "/farm/l0/#", "/farm/loop/loops", many=5) as trial:
        found, taken = finish(trial)
    assert [found[str(number)] for number in range(5)] == [(f"/farm/l38/{n}", "resolved") for n in range(5)]
    assert found["loops"] == ("/farm/loop/loops", "named")


@contextmanager
def dead_fuse(place: Path) -> Iterator[None]:
    """A file system whose server never answers."""
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        need("KERNEL", f"there is no FUSE: {error}")
        raise
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"dead", bytes(place), b"fuse", 0, options):
        need("KERNEL", f"FUSE cannot be mounted: {os.strerror(ctypes.get_errno())}")
    try:
        yield
    finally:
        libc.umount2(bytes(place), 2)
        os.close(device)


@pytest.mark.parametrize("volume", [False, True])
def test_file_systems_that_hang_are_left_alone(
    make_hooks: Callable[..., Hooks], payload: Path, tmp_path: Path, volume: bool
) -> None:
    hooks, root = make_hooks(deadline=4), tmp_path / "root"
    (root / "data").mkdir(parents=True)
    (tmp_path / "volume/dead").mkdir(parents=True)
    (root / "data/dead").mkdir()
    (root / "data/link").symlink_to("alive")
    mounts = ()
    place = root / "data/dead"
    if volume:
        (tmp_path / "volume/link").symlink_to("alive")
        place = tmp_path / "volume/dead"
        mounts = ({"destination": "/data", "type": "bind", "source": str(tmp_path / "volume"), "options": ["bind"]},)
    names = ("/data/dead/below", "/data/link")
    with asked(hooks, payload, root, *names, mounts=mounts) as trial, dead_fuse(place):
        found, taken = finish(trial)
    assert taken < 3
    assert found["below"] == ("/data/dead/below", "named")
    assert found["alive"] == ("/data/alive", "resolved")


def test_pipes_and_sockets_on_the_way_are_not_opened(hooks: Hooks, payload: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    os.mkfifo(root / "pipe")
    mounts = ({"destination": "/v", "type": "bind", "source": str(root / "pipe"), "options": ["bind"]},)
    with asked(hooks, payload, root, "/pipe", "/pipe/below", "/v", "/v/under", mounts=mounts) as trial:
        found, taken = finish(trial)
    assert taken < 3
    assert found["pipe"] == ("/pipe", "resolved") and found["below"] == ("/pipe/below", "resolved")
    assert found["v"] == ("/v", "resolved") and found["under"][0] == "/v/under"


def test_of_a_root_that_is_gone_nothing_is_said(hooks: Hooks, payload: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for gone in (False, True):
        (root / "etc").mkdir(parents=True)
        (root / "etc/link").symlink_to("behind")
        with asked(hooks, payload, root, "/etc/link", "/etc/nothing") as trial:
            if gone:
                subprocess.run(["rm", "-rf", root], check=True)
            found, _ = finish(trial)
        if gone:
            assert found["link"] == ("/etc/link", "named") and found["nothing"] == ("/etc/nothing", "named")
        else:
            assert found["behind"] == ("/etc/behind", "resolved") and found["nothing"] == ("/etc/nothing", "resolved")
            subprocess.run(["rm", "-rf", root], check=True)


def test_paths_that_are_longer_than_a_capture_takes(hooks: Hooks, payload: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    way = "/".join(["d" * 199] * 20)
    directory = os.open(root, os.O_PATH | os.O_DIRECTORY)
    for number in range(3):
        os.symlink(f"{way}/{number + 1}", str(number), dir_fd=directory)
        for part in way.split("/"):
            os.mkdir(part, dir_fd=directory)
            directory = os.open(part, os.O_PATH | os.O_DIRECTORY, dir_fd=directory)
    # 12 000 characters by way of two links; the control has 4 000.
    with asked(hooks, payload, root, "/0", f"/{way[:-200]}/nothing") as trial:
        found, _ = finish(trial)
    subprocess.run(["rm", "-rf", root], check=True)
    assert found["0"] == ("/0", "named")
    assert found["nothing"] == (f"/{way[:-200]}/nothing", "resolved")


def test_looking_is_over_when_its_time_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir/file").touch()

    def found(deadline: float) -> int:
        with resolve.Resolver(str(tmp_path), {}, deadline=time.monotonic() + deadline) as resolver:
            return sum(resolver.resolve("/dir/file", follow=True) is not None for _ in range(1000))

    # It looks at the clock each 256 steps; the control has time.
    assert found(-1) <= 128
    assert found(1000) == 1000
    # Steps upwards are steps: these are more than there are, and the control's are not.
    monkeypatch.setattr(resolve, "MOST_STEPS", 1000)
    with resolve.Resolver(str(tmp_path), {}, deadline=time.monotonic() + 1000) as resolver:
        assert resolver.resolve("/" + "../" * 900 + "dir/file", follow=True) == ("/dir/file", "reg")
        assert resolver.resolve("/" + "../" * 900 + "dir/file", follow=True) is None


def test_nothing_outside_of_the_root_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, volume, secret = (tmp_path / name for name in ("root", "volume", "secret"))
    for each in (root / "dir", volume, secret):
        each.mkdir(parents=True)
    (secret / "key").touch()
    (root / "dir/file").touch()
    up = "../" * 40
    texts = (
        secret,
        f"..{secret}",
        f"{up}{secret}",
        f"/proc/self/root{secret}",
        f"/proc/1/cwd{secret}",
        f"dir/{up}{secret}",
    )
    for number, text in enumerate(texts):
        for place in (root, volume):
            (place / f"l{number}").symlink_to(text)
    opened: list[str] = []
    real = os.open

    def watched(*args: Any, **options: Any) -> int:
        descriptor = real(*args, **options)
        opened.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        return descriptor

    monkeypatch.setattr(os, "open", watched)
    mounts = {"/v": str(volume)}
    with resolve.Resolver(str(root), mounts, deadline=time.monotonic() + 60) as resolver:
        for place in ("", "/v"):
            for number in range(6):
                found = resolver.resolve(f"{place}/l{number}/key", follow=True)
                assert found is None or found[1] is None, found
            for name in (f"{up}{secret}/key", f"{place}/{up}../secret/key", f"{place}/dir/../{up}{secret}/key"):
                found = resolver.resolve(f"/{name}", follow=True)
                assert found is not None and found[1] is None
        assert resolver.resolve("/dir/file", follow=True) == ("/dir/file", "reg")  # the control
    assert opened and all(path.startswith((f"{root}", f"{volume}")) for path in opened), opened
    assert f"{root}/dir/file" in opened
