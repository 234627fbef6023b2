"""Where a monitor listens: a socket that is its owner's alone, at a place that nobody else can take."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from scmm_oci.enforcer.monitor.sockets import Listening, default_path
from scmm_oci.errors import BadInput, Failure


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    tmp_path.chmod(0o755)
    yield tmp_path / "run" / "notify.sock"


def answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True


def left(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir())


def test_a_socket_is_its_owner_s_alone_and_nothing_is_left_of_it(place: Path) -> None:
    listening = Listening(str(place))
    assert stat.S_IMODE(place.stat().st_mode) == 0o600 and stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    assert answers(place)
    listening.close()
    listening.close()
    assert left(place.parent) == []


def test_one_process_at_a_time_has_a_path(place: Path) -> None:
    listening = Listening(str(place))
    with pytest.raises(Failure, match="another monitor listens there"):
        Listening(str(place))
    assert answers(place)
    listening.close()
    Listening(str(place)).close()


def test_what_a_killed_monitor_left_is_taken_over(place: Path) -> None:
    place.parent.mkdir(mode=0o700)
    for name in (place, Path(f"{place}.new")):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(name))
    Path(f"{place}.lock").touch()
    assert not answers(place)
    listening = Listening(str(place))
    assert answers(place)
    listening.close()
    assert left(place.parent) == []


def test_the_socket_of_a_monitor_that_came_after_is_left_alone(place: Path) -> None:
    listening = Listening(str(place))
    place.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(place))
        other.listen()
        listening.close()
        assert answers(place)


@pytest.mark.parametrize("how", ["file", "directory", "link"])
def test_what_is_no_socket_is_left_as_it_is(place: Path, how: str) -> None:
    place.parent.mkdir(mode=0o700)
    if how == "file":
        place.write_text("kept")
    elif how == "directory":
        place.mkdir()
    else:
        place.symlink_to(place.parent / "elsewhere")
    with pytest.raises(BadInput, match="is there, and no socket of yours"):
        Listening(str(place))
    assert left(place.parent) == [place.name]  # and no lock
    assert how != "file" or place.read_text() == "kept"


def test_a_path_that_no_socket_can_have(tmp_path: Path) -> None:
    longest = 107 - len(".new") - len(f"{tmp_path}/")
    assert longest > 0, "the test's own directory is too long"
    Listening(str(tmp_path / ("x" * longest))).close()
    with pytest.raises(BadInput, match="longer than the 103 bytes"):
        Listening(str(tmp_path / ("x" * (longest + 1))))
    assert left(tmp_path) == []


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777, 0o755])
def test_a_directory_into_which_others_write(place: Path, mode: int) -> None:
    place.parent.mkdir()
    place.parent.chmod(mode)
    if mode == 0o755:
        Listening(str(place)).close()
    else:
        with pytest.raises(BadInput, match="may be written by others"):
            Listening(str(place))
    assert left(place.parent) == []


@pytest.mark.parametrize("through", ["", "a link to it", "a link in it"])
@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_a_directory_that_others_can_put_another_in_the_place_of(tmp_path: Path, mode: int, through: str) -> None:
    """A runtime would hand its listeners over to theirs. In a sticky directory nobody moves what is not his."""
    shared = tmp_path / "shared"
    (shared / "run" if through != "a link in it" else tmp_path / "run").mkdir(parents=True)
    shared.mkdir(exist_ok=True)
    path = shared / "run" / "notify.sock"
    if through == "a link to it":
        (tmp_path / "link").symlink_to(shared)
        path = tmp_path / "link" / "run" / "notify.sock"
    elif through == "a link in it":
        (shared / "run").symlink_to(tmp_path / "run")
    shared.chmod(mode)
    if mode == 0o1777:
        Listening(str(path)).close()
    else:
        with pytest.raises(BadInput, match="others could replace"):
            Listening(str(path))
    assert left(path.parent) == []


def test_another_user_s_directory(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place.parent.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(place.parent, 4711, -1)
    else:
        other = os.geteuid() + 1
        monkeypatch.setattr(os, "geteuid", lambda: other)
    with pytest.raises(BadInput, match="belongs to another user"):
        Listening(str(place))
    assert left(place.parent) == []


def test_where_a_monitor_listens_that_is_told_nothing() -> None:
    assert default_path(uid=0, runtime_dir="/run/user/0") == "/run/scmm/monitor/notify.sock"
    assert default_path(uid=7, runtime_dir="/run/user/7") == "/run/user/7/scmm/monitor/notify.sock"
    for none in (None, "", "run"):
        with pytest.raises(Failure, match="XDG_RUNTIME_DIR"):
            default_path(uid=7, runtime_dir=none)
