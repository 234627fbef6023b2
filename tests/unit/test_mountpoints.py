"""Where mounts come to lie: links of the image and of volumes, and the kernel's own reading (openat2)."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scmm_oci.enforcer.mountpoints import covers, resolved


def tree(base: Path, **links: str) -> str:
    """A directory with links; `a__b` is a/b."""
    for name, target in links.items():
        path = base / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
    return str(base)


def lie(root: str, *mounts: tuple[str, str | None]) -> list[str]:
    return resolved(root, mounts)


def test_what_has_no_links_stays(tmp_path: Path) -> None:
    mounts = [("/dev", None), ("/dev/pts", None), ("/data/", str(tmp_path)), ("//x/../y/.", None)]
    assert lie(str(tmp_path), *mounts) == ["/dev", "/dev/pts", "/data", "/y"]


@pytest.mark.parametrize(
    ("links", "destination", "place"),
    [
        ({"data": "/dev"}, "/data", "/dev"),
        ({"data": "dev"}, "/data", "/dev"),
        ({"data": "../../dev/"}, "/data", "/dev"),
        ({"a": "/b", "b": "c", "c": "/dev"}, "/a/x", "/dev/x"),
        ({"srv__a": "../dev"}, "/srv/a", "/dev"),
        ({"data": "/"}, "/data", "/"),
        ({"data": "/dev"}, "/data/../x", "/x"),
        ({"data": "/other"}, "/data", "/other"),
    ],
)
def test_links_of_the_image_are_followed(tmp_path: Path, links: dict[str, str], destination: str, place: str) -> None:
    assert lie(tree(tmp_path, **links), (destination, None)) == [place]


def test_links_of_a_volume_are_followed_and_those_below_it_are_not(tmp_path: Path) -> None:
    root = tree(tmp_path / "root", a__l="/nowhere")
    volume = tree(tmp_path / "volume", l="../dev")
    assert lie(root, ("/a/l", None)) == ["/nowhere"]
    assert lie(root, ("/a", volume), ("/a/l", None)) == ["/a", "/dev"]
    assert lie(root, ("/a", volume), ("/a", None), ("/a/l", None)) == ["/a", "/a", "/a/l"]
    # What is mounted at the end of a link is no link, nor is the root of a volume.
    assert lie(root, ("/a", volume), ("/a/l", volume), ("/dev/l", None)) == ["/a", "/dev", "/dev"]


def test_links_without_an_end_are_told(tmp_path: Path) -> None:
    root = tree(tmp_path, a="b", b="a", **{f"c{number}": f"c{number + 1}" for number in range(39)})
    assert lie(root, ("/c0", None)) == ["/c39"]
    with pytest.raises(ValueError, match="too many symbolic links in the container on the way to the mount point /a/x"):
        lie(root, ("/a/x", None))


@pytest.mark.parametrize(
    ("place", "other", "hidden"),
    [
        ("/dev", "/dev", True),
        ("/", "/dev", True),
        ("/dev", "/dev/x", True),
        ("/de", "/dev", False),
        ("/dev", "/", False),
    ],
)
def test_what_a_mount_hides(place: str, other: str, hidden: bool) -> None:
    assert covers(place, other) is hidden


NAMES = st.sampled_from(["a", "b", "c"])
TARGETS = st.builds(
    "{}{}".format,
    st.sampled_from(["", "/"]),
    st.lists(st.sampled_from(["a", "b", "c", "..", "."]), min_size=1, max_size=4).map("/".join),
)
_OPENAT2, _RESOLVE_IN_ROOT = 437, 0x10
_libc = ctypes.CDLL(None, use_errno=True)


def kernels(root: str, path: str) -> str | None:
    """Where the kernel finds a path with that root; None where it finds nothing."""
    how = struct.pack("QQQ", os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT)
    directory = os.open(root, os.O_PATH)
    found = _libc.syscall(_OPENAT2, directory, path.encode(), how, len(how))
    os.close(directory)
    if found < 0:
        assert ctypes.get_errno() in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
        return None
    try:
        return "/" + os.path.relpath(os.readlink(f"/proc/self/fd/{found}"), root).removeprefix(".")
    finally:
        os.close(found)


@given(
    st.lists(st.tuples(st.lists(NAMES, min_size=1, max_size=2), TARGETS), max_size=5),
    st.lists(NAMES | st.just(".."), min_size=1, max_size=4),
)
def test_links_lead_where_the_kernel_finds_them(links: list[tuple[list[str], str]], names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as made:
        root = Path(os.path.realpath(made))
        for place, target in links:
            path = root.joinpath(*place)
            if path.parent.is_symlink() or path.exists() or path.is_symlink():
                continue
            path.parent.mkdir(exist_ok=True)
            path.symlink_to(target)
        found = kernels(str(root), "/".join(names))
        if found is not None:
            assert lie(str(root), ("/".join(["", *names]), None)) == [found]


def test_the_kernel_is_asked() -> None:
    with tempfile.TemporaryDirectory() as root:
        tree(Path(root), data="/../dev")
        assert kernels(root, "data") is None
        Path(root, "dev").mkdir()
        assert kernels(root, "data") == lie(root, ("/data", None))[0] == "/dev"
        assert kernels(root, "..") == "/"
