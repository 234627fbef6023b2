"""Which image a container is of: by annotations, or read where Docker and podman keep it.

The latter is asked only where the configuration has policies for images. Standard library only (scmm-runc).

Facts, measured: Docker 20.10 keeps `Config.Image`, as it was typed, in DATA/containers/ID/config.v2.json, and the root
file system in DATA/DRIVER/LAYER/…; podman 4.3 (containers/storage) has the bundle in
ROOT/DRIVER-containers/ID/userdata, and in ROOT/DRIVER-containers/containers.json `metadata`, which is JSON in a string,
with `image-name`.
"""

from __future__ import annotations

import os

from scmm_oci import quickjson
from scmm_oci.oci.state import is_container_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# Where engines say which image a container is of: containerd's CRI plugin (pkg/cri/annotations), CRI-O (its annotations
# package), image-spec. Docker and podman 4.3 say it elsewhere (`names`), and `ctr` nowhere.
ANNOTATIONS = (
    "io.kubernetes.cri.image-name",
    "io.kubernetes.cri-o.ImageName",
    "io.kubernetes.cri-o.Image",
    "org.opencontainers.image.ref.name",
)
MAX_RECORD = 64 << 20  # bytes; podman has all containers in one file
# containers/storage puts those of `--transient-store` beside the others.
_STORAGE = ("containers.json", "volatile-containers.json")
_DOCKER_ABOVE = 5  # DATA/overlay2/LAYER/merged is three below, DATA/rootfs/overlayfs/ID too


def names(bundle: str, root: str, container: str) -> tuple[str, ...]:
    """The image's names as its engine has them: as typed, and in full; none where no engine that we know keeps it.

    bundle, root: absolute paths, of the caller's bundle and of the root file system.

    Raises ValueError for what is there and is not what these engines write, OSError where it cannot be read.
    """
    if not is_container_id(container):
        return ()
    found = _podman(bundle, container)
    if found is None:
        found = _docker(root, container)
    if not found:
        return ()
    return tuple(dict.fromkeys((found, in_full(found))))


def annotated(annotations: Mapping[str, str]) -> str | None:
    """The image's name by an annotation, or None: the engine's, or the image's own."""
    return next((annotations[key] for key in ANNOTATIONS if annotations.get(key)), None)


def matches(glob: str, text: str) -> bool:
    """Whether a glob is the whole text: `*` stands for any characters, `/` too, `?` for one; others for themselves."""
    at = here = 0
    star = back = -1
    while here < len(text):
        if at < len(glob) and glob[at] == "*":
            star, back = at, here
            at += 1
        elif at < len(glob) and glob[at] in ("?", text[here]):
            at += 1
            here += 1
        elif star >= 0:
            back += 1
            at, here = star + 1, back
        else:
            return False
    return glob[at:].strip("*") == ""


def in_full(name: str) -> str:
    """A name with registry, path and tag, as Docker completes it: nginx is docker.io/library/nginx:latest.

    Source: distribution/reference, ParseNormalizedNamed and TagNameOnly.
    """
    first, slash, rest = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif not (set(first) & {".", ":"} or first == "localhost" or first.lower() != first):
        name = f"docker.io/{name}"
    elif first == "docker.io" and "/" not in rest:
        name = f"docker.io/library/{rest}"
    last = name.rpartition("/")[2]
    return name if ":" in last or "@" in last else f"{name}:latest"


def _podman(bundle: str, container: str) -> str | None:
    storage, leaf = os.path.split(os.path.dirname(bundle))
    if leaf != container or os.path.basename(bundle) != "userdata" or not storage.endswith("-containers"):
        return None
    for each in _STORAGE:
        rows = _read(os.path.join(storage, each))
        for row in rows if isinstance(rows, list) else []:
            if not isinstance(row, dict) or row.get("id") != container:
                continue
            told = row.get("metadata")
            kept = quickjson.loads(told.encode()) if isinstance(told, str) else None
            name = kept.get("image-name") if isinstance(kept, dict) else None
            if isinstance(name, str):
                return name  # "" of a container without an image (podman run --rootfs)
            raise ValueError(f"{os.path.join(storage, each)}: the container's metadata have no image-name")
    # One of podman's that is of an image nobody knows may be one that has a policy.
    raise ValueError(f"no container {container} in {storage}/{_STORAGE[0]}")


def _docker(root: str, container: str) -> str | None:
    above = os.path.dirname(os.path.normpath(root))
    for _ in range(_DOCKER_ABOVE):
        place = os.path.join(above, "containers", container, "config.v2.json")
        kept = _read(place)
        if kept is not None:
            config = kept.get("Config") if isinstance(kept, dict) else None
            name = config.get("Image") if isinstance(config, dict) else None
            if isinstance(name, str):
                return name
            raise ValueError(f"{place}: Config.Image is not there")
        above = os.path.dirname(above)
    return None


def _read(path: str) -> Any:
    """A file's JSON; None where it is not there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(MAX_RECORD + 1)
    if len(data) > MAX_RECORD:
        raise ValueError(f"{path} has more than {MAX_RECORD} bytes")
    try:
        return quickjson.loads(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
