"""The container state an OCI runtime hands to a hook on stdin (runtime-spec, "State"), checked.

Hostile until then: annotations come from whoever starts the container. Standard library only, see
scmm_oci.recorder.hook.
"""

from __future__ import annotations

import os

from scmm_oci import quickjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_STATE = 1 << 20  # bytes; runtimes write a few hundred, annotations included
MAX_CONFIG = 16 << 20  # bytes; Kubernetes' largest pod specs stay below 2 MiB

_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")


class BadState(ValueError):
    """The state on stdin is not one; the message names every problem."""


class State:
    """`id`, `pid` (0 after the container is gone), absolute `bundle` path or "", string `annotations`."""

    __slots__ = ("annotations", "bundle", "id", "pid")

    def __init__(self, *, id: str, pid: int, bundle: str, annotations: dict[str, str]) -> None:
        self.id = id
        self.pid = pid
        self.bundle = bundle
        self.annotations = annotations


def shown(value: object) -> str:
    """`value` for a message: on one line, printable ASCII, at most 80 characters."""
    text = ascii(value)
    return text if len(text) <= 80 else text[:76] + "…" + text[-1]


def is_container_id(value: object) -> bool:
    """What runc and crun accept as an id; it cannot name a path elsewhere."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= 1024
        and value not in (".", "..")
        and _ID_CHARACTERS.issuperset(value)
    )


def parse_state(data: bytes) -> State:
    """Check one State document. Raises BadState with all that is wrong with it."""
    if len(data) > MAX_STATE:
        raise BadState(f"more than {MAX_STATE} bytes of container state")
    try:
        document = quickjson.loads(data)
    except ValueError as error:
        raise BadState(f"container state on stdin: {error}") from None
    if not isinstance(document, dict):
        raise BadState(f"container state on stdin: an object expected, not {shown(document)}")
    state, problems = checked(document)
    if state is None:
        raise BadState("container state on stdin: " + "; ".join(problems))
    return state


def checked(document: dict[str, Any], place: str = "") -> tuple[State | None, list[str]]:
    """A State document that was read already, or None and all that is wrong with it; `place` is where it stands."""
    problems = []
    container_id = document.get("id")
    if not is_container_id(container_id):
        problems.append(f"{place}.id: {shown(container_id)} is not a container id")
    pid = document.get("pid", 0)
    if not isinstance(pid, int) or isinstance(pid, bool) or not 0 <= pid < 1 << 31:
        problems.append(f"{place}.pid: {shown(pid)} is not a process id")
    bundle = document.get("bundle", "")
    if not isinstance(bundle, str) or "\0" in bundle or (bundle and not bundle.startswith("/")):
        problems.append(f"{place}.bundle: {shown(bundle)} is not an absolute path")
    annotations = document.get("annotations") or {}
    if not isinstance(annotations, dict) or not all(isinstance(each, str) for each in annotations.values()):
        problems.append(f"{place}.annotations: not an object of strings")
    if problems:
        return None, problems
    return State(id=str(container_id), pid=pid, bundle=bundle, annotations=annotations), []


class Process:
    """What config.json says of the container's process and files; None and [] where it cannot be known.

    root: the host's directory that holds its root file system. mounts: destination in the container → the host's
    file or directory mounted there, or None for what is none of the host's (tmpfs, proc, …).
    """

    __slots__ = ("args", "gid", "mounts", "no_new_privileges", "root", "seccomp", "uid")

    def __init__(self) -> None:
        self.args: list[str] = []
        self.uid: int | None = None
        self.gid: int | None = None
        self.no_new_privileges: bool | None = None
        self.seccomp: bool | None = None
        self.root: str | None = None
        self.mounts: dict[str, str | None] = {}


def read_process(bundle: str) -> Process:
    """The process of BUNDLE/config.json. Raises OSError or ValueError when it cannot be read."""
    # The bundle belongs to the runtime; its last component is still not followed out of there.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(os.path.join(bundle, "config.json"), flags)
    with os.fdopen(descriptor, "rb") as file:
        if os.fstat(descriptor).st_mode & 0o170000 != 0o100000:
            raise ValueError("config.json is not a regular file")
        data = file.read(MAX_CONFIG + 1)
    if len(data) > MAX_CONFIG:
        raise ValueError(f"config.json is larger than {MAX_CONFIG} bytes")
    document = quickjson.loads(data)
    result = Process()
    process = _object(document, "process")
    args = process.get("args")
    if isinstance(args, list) and all(isinstance(each, str) for each in args):
        result.args = args
    user = _object(process, "user")
    result.uid = _number(user.get("uid", 0))
    result.gid = _number(user.get("gid", 0))
    result.no_new_privileges = bool(process.get("noNewPrivileges", False))
    result.seccomp = bool(_object(document, "linux").get("seccomp"))
    root = _object(document, "root").get("path")
    if isinstance(root, str) and root and "\0" not in root:
        result.root = os.path.join(bundle, root)
    mounts = document.get("mounts") if isinstance(document, dict) else None
    for mount in mounts if isinstance(mounts, list) else []:
        place = mount.get("destination") if isinstance(mount, dict) else None
        if isinstance(place, str) and place.startswith("/"):
            result.mounts[place] = _bind_source(mount, bundle)
    return result


def _bind_source(mount: dict[str, Any], bundle: str) -> str | None:
    """What a bind mount shows; runtime-spec, "Mounts": type bind, or an option that says so."""
    options = mount.get("options")
    source = mount.get("source")
    bound = mount.get("type") == "bind" or (isinstance(options, list) and ("bind" in options or "rbind" in options))
    return os.path.join(bundle, source) if bound and isinstance(source, str) and "\0" not in source else None


def _object(document: Any, key: str) -> dict[str, Any]:
    value = document.get(key) if isinstance(document, dict) else None
    return value if isinstance(value, dict) else {}


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 32 else None
