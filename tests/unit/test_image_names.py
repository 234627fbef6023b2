"""Which image a container is of: as Docker and podman keep it, and what is there and cannot be read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from scmm_oci.enforcer import images, wishes
from scmm_oci.enforcer.shim_settings import Image
from scmm_oci.oci import annotations as names

ID = "5d" * 32


def podman(base: Path, text: str | None, *, file: str = "containers.json") -> tuple[str, str]:
    """Bundle and root file system of a container as podman has them."""
    storage = base / "overlay-containers"
    (storage / ID / "userdata").mkdir(parents=True)
    if text is not None:
        (storage / file).write_text(text)
    return str(storage / ID / "userdata"), str(base / "overlay/abc/merged")


def docker(base: Path, text: str | None, *, root: str = "overlay2/abc/merged") -> tuple[str, str]:
    (base / "data/containers" / ID).mkdir(parents=True)
    if text is not None:
        (base / "data/containers" / ID / "config.v2.json").write_text(text)
    return str(base / "exec/moby" / ID), str(base / "data" / root)


def row(name: object, *, container: str = ID) -> dict[str, object]:
    return {"id": container, "image": "abc", "metadata": json.dumps({"image-name": name, "name": "x"})}


def test_podman(tmp_path: Path) -> None:
    rows = [row("localhost/other:latest", container="e" * 64), row("docker.io/library/nginx:1.25")]
    assert images.names(*podman(tmp_path / "a", json.dumps(rows)), ID) == ("docker.io/library/nginx:1.25",)
    transient = podman(tmp_path / "b", json.dumps(rows), file="volatile-containers.json")
    assert images.names(*transient, ID) == ("docker.io/library/nginx:1.25",)
    # Of a root file system, and of no image.
    assert images.names(*podman(tmp_path / "c", json.dumps([row("")])), ID) == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "[]",
        "{}",
        "[1]",
        json.dumps([row(7)]),
        json.dumps([{"id": ID}]),
        json.dumps([{"id": ID, "metadata": "x"}]),
    ],
)
def test_podman_that_keeps_something_else(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        images.names(*podman(tmp_path, text), ID)
    assert str(caught.value)
    with pytest.raises(ValueError, match="no container"):
        images.names(*podman(tmp_path / "none", None), ID)


@pytest.mark.parametrize(
    "root", ["overlay2/abc/merged", "rootfs/overlayfs/abc", "vfs/dir/abc", "0.0/overlay2/abc/merged"]
)
def test_docker(tmp_path: Path, root: str) -> None:
    told = json.dumps({"Config": {"Image": "nginx"}, "Image": "sha256:abc"})
    assert images.names(*docker(tmp_path, told, root=root), ID) == ("nginx", "docker.io/library/nginx:latest")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"Config": 1}', '{"Config": {"Image": 1}}'])
def test_docker_that_keeps_something_else(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"config\.v2\.json: ."):
        images.names(*docker(tmp_path, text), ID)


def test_links_and_what_is_too_large_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = docker(tmp_path, None)
    kept = tmp_path / "data/containers" / ID / "config.v2.json"
    (tmp_path / "other").write_text('{"Config": {"Image": "nginx"}}')
    kept.symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="symbolic links"):
        images.names(*places, ID)
    kept.unlink()
    (tmp_path / "other").rename(kept)
    assert images.names(*places, ID)[0] == "nginx"
    monkeypatch.setattr(images, "MAX_RECORD", 8)
    with pytest.raises(ValueError, match="more than 8 bytes"):
        images.names(*places, ID)


def test_other_engines_say_nothing(tmp_path: Path) -> None:
    (tmp_path / "bundle/rootfs").mkdir(parents=True)
    assert images.names(str(tmp_path / "bundle"), str(tmp_path / "bundle/rootfs"), "web") == ()
    assert images.names("/", "/", "web") == ()
    assert images.names("/", "/", "../x") == ()


@pytest.mark.parametrize(
    ("typed", "full"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.25", "docker.io/library/nginx:1.25"),
        ("me/web", "docker.io/me/web:latest"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("docker.io/me/web:1", "docker.io/me/web:1"),
        ("localhost/web", "localhost/web:latest"),
        ("localhost:5000/web", "localhost:5000/web:latest"),
        ("example.org/a/b/web:2", "example.org/a/b/web:2"),
        ("HOST/web", "HOST/web:latest"),
        ("web@sha256:abc", "docker.io/library/web@sha256:abc"),
    ],
)
def test_names_in_full(typed: str, full: str) -> None:
    assert images.in_full(typed) == full
    assert images.in_full(full) == full


class Settings:
    images = (
        Image(image="docker.io/library/nginx:*", policy="web", digest=None, mode="strict"),
        Image(image="*", policy="all", digest=None, mode="standard"),
    )


def asked(named: Callable[[], tuple[str, ...]], **annotations: str) -> wishes.Wish:
    return wishes.read({"annotations": annotations, "process": {}}, Settings(), named=named)  # type: ignore[arg-type]


def test_the_engines_name_decides_over_what_annotations_say() -> None:
    wish = asked(lambda: ("nginx", "docker.io/library/nginx:latest"), **{images.ANNOTATIONS[0]: "example.org/x"})
    assert (wish.policy, wish.mode, wish.source) == ("web", "strict", wishes.CONFIGURATION)
    assert asked(tuple, **{images.ANNOTATIONS[0]: "example.org/x"}).policy == "all"
    assert asked(tuple).policy is None


def test_a_name_that_cannot_be_told_starts_nothing_where_it_decides() -> None:
    def broken() -> tuple[str, ...]:
        raise ValueError("no JSON")

    wish = asked(broken)
    assert (wish.policy, len(wish.problems)) == (None, 1)
    assert "which image it is of cannot be told" in wish.problems[0] and "no JSON" in wish.problems[0]
    assert asked(broken, **{names.POLICY: "own"}).problems == []
