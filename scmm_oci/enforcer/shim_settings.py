"""What the shim is set to: the runtimes that it becomes, and where things are. Standard library only (scmm-runc).

Read from the JSON that `scmm install` writes beside the starter, never from the environment.
"""

from __future__ import annotations

import os

from scmm_oci import settings_file
from scmm_oci.enforcer import places, store
from scmm_oci.oci.annotations import MODES, is_capture_name, parse_policy
from scmm_oci.oci.state import shown
from scmm_oci.settings_file import BadSettings, is_place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_SETTINGS = 1 << 20  # bytes
DEFAULT = "default"  # the runtime of scmm-runc
MONITOR = "/run/scmm/monitor/notify.sock"  # where root's scmm-monitor listens
_CALLED = "scmm-"

# A script with this in its beginning is one of ours, and never the runtime to become.
MARK = b"scmm_oci.enforcer.shim"
BEGINNING = 8 << 10  # bytes, of a program that is asked about

_PLACES = {
    "launcher": "/usr/local/libexec/scmm/scmm-enforce",
    "hook": "/usr/local/libexec/scmm/scmm-hook",
    "watch_hook": "/usr/local/libexec/scmm/scmm-watch-hook",
    "policy_dir": store.DIRECTORY,
    "run_dir": places.DIRECTORY,
    "log_file": "/var/log/scmm/shim.log",
    "monitor": MONITOR,
}
MOST_SOCKET = 107  # bytes that a socket's path may have (linux/un.h: sun_path, and its zero byte)


class Image:
    """What containers of some images run under: `image` is a glob, `policy` a name, `digest` its SHA-256 or None."""

    __slots__ = ("digest", "image", "mode", "policy")

    def __init__(self, *, image: str, policy: str, digest: str | None, mode: str) -> None:
        self.image = image
        self.policy = policy
        self.digest = digest
        self.mode = mode

    def as_dict(self) -> dict[str, str]:
        named = self.policy if self.digest is None else f"{self.policy}@sha256:{self.digest}"
        return {"image": self.image, "policy": named, "mode": self.mode}


class Settings:
    """runtimes: names → absolute paths; DEFAULT is scmm-runc's, and "crun" would be that of scmm-crun.

    launcher (the static scmm-enforce), hook and watch_hook (starters of the hooks that record and that watch),
    policy_dir, run_dir, log_file, monitor (the socket of scmm-monitor): absolute paths. images: in order; the first
    that fits decides.
    """

    __slots__ = ("hook", "images", "launcher", "log_file", "monitor", "policy_dir", "run_dir", "runtimes", "watch_hook")

    def __init__(
        self,
        *,
        runtimes: dict[str, str],
        images: list[Image],
        launcher: str,
        hook: str,
        watch_hook: str,
        policy_dir: str,
        run_dir: str,
        log_file: str,
        monitor: str,
    ) -> None:
        self.runtimes = runtimes
        self.images = images
        self.launcher = launcher
        self.hook = hook
        self.watch_hook = watch_hook
        self.policy_dir = policy_dir
        self.run_dir = run_dir
        self.log_file = log_file
        self.monitor = monitor

    def as_dict(self) -> dict[str, Any]:
        """What `check` makes the same settings of."""
        found: dict[str, Any] = {name: getattr(self, name) for name in _PLACES}
        return {**found, "runtimes": dict(self.runtimes), "images": [each.as_dict() for each in self.images]}


def check(document: object) -> Settings:
    """Settings from a mapping; places that it leaves out have their default. Raises BadSettings.

    `runtimes` has to be there, with one named "default". Each of `images` has `image` (a glob), `policy` (NAME or
    NAME@sha256:HEX) and, if it is not "standard", `mode`.
    """
    if not isinstance(document, dict):
        raise BadSettings(["an object of settings expected"])
    known = (*_PLACES, "runtimes", "images")
    found = [f".{name}: no such setting; known: {', '.join(known)}" for name in document if name not in known]
    values = {name: document.get(name, default) for name, default in _PLACES.items()}
    found += [problem for name, value in values.items() for problem in _path_problems(f".{name}", value)]
    if isinstance(values["monitor"], str) and len(os.fsencode(values["monitor"])) > MOST_SOCKET:
        found.append(f".monitor: longer than the {MOST_SOCKET} bytes that a socket's path may have")
    runtimes: Any = document.get("runtimes")
    if not isinstance(runtimes, dict) or DEFAULT not in runtimes:
        found.append(f'.runtimes: an object of names and paths expected, with "{DEFAULT}" among them')
    else:
        for name, path in runtimes.items():
            if not is_capture_name(name):
                found.append(f".runtimes: {shown(name)} is no name of a runtime")
            found += _path_problems(f".runtimes.{name}", path)
    images = _images(document.get("images", []), found)
    if found:
        raise BadSettings(found)
    return Settings(runtimes=dict(runtimes), images=images, **values)


def read(path: str) -> Settings:
    """The settings in the JSON file `path`. Raises BadSettings or OSError."""
    return settings_file.read(path, MAX_SETTINGS, check)


def runtime(settings: Settings, called: str) -> str:
    """The runtime to become, as an absolute path.

    called: the name, or path, by which the starter was called: scmm-NAME is runtime NAME where the settings have it.

    Raises ValueError: there is none, it cannot be executed, or it is scmm-runc itself.
    """
    name = os.path.basename(called).removeprefix(_CALLED)
    path = settings.runtimes.get(name, settings.runtimes[DEFAULT] if name == "runc" else None)
    if path is None:
        known = ", ".join(f"{_CALLED}{each}" for each in sorted({*settings.runtimes, "runc"} - {DEFAULT}))
        raise ValueError(f"no runtime is set for {shown(os.path.basename(called))}; known: {known}")
    try:
        if not os.access(path, os.X_OK, effective_ids=True) or not os.path.isfile(path):
            reason = "is no program" if os.path.lexists(path) else "is not there"
            raise ValueError(f"the runtime {path} {reason}; run scmm install again once it is")
        itself = os.path.exists(called) and os.path.samefile(path, called)
        with open(path, "rb", buffering=0) as file:
            beginning = file.read(BEGINNING)
    except OSError as error:
        raise ValueError(f"the runtime {path}: {error.strerror}") from None
    if itself or is_starter(beginning):
        raise ValueError(f"the runtime {path} is scmm-runc itself; run scmm install again with the real one")
    return path


def is_starter(beginning: bytes) -> bool:
    """Whether a program whose first BEGINNING bytes are these is one of our starters."""
    return beginning.startswith(b"#!") and MARK in beginning


def _images(document: object, found: list[str]) -> list[Image]:
    images: list[Image] = []
    if not isinstance(document, list):
        found.append(".images: a list expected")
        return images
    for number, each in enumerate(document):
        place = f".images[{number}]"
        if not isinstance(each, dict):
            found.append(f'{place}: an object with "image", "policy" and "mode" expected')
            continue
        found += [f"{place}.{name}: no such key; known: image, policy, mode" for name in each.keys() - {*_IMAGE}]
        texts: dict[str, Any] = {name: each.get(name, default) for name, default in _IMAGE.items()}
        wrong = [name for name, value in texts.items() if not isinstance(value, str) or not value or "\0" in value]
        found += [f"{place}.{name}: a text expected" for name in wrong]
        if texts["mode"] not in MODES and "mode" not in wrong:
            found.append(f"{place}.mode: {shown(texts['mode'])} is no mode; known: {', '.join(MODES)}")
        if wrong:
            continue
        try:
            name, digest = parse_policy(texts["policy"])
        except ValueError as error:
            found.append(f"{place}.policy: {error}")
            continue
        images.append(Image(image=texts["image"], policy=name, digest=digest, mode=texts["mode"]))
    return images


_IMAGE = {"image": None, "policy": None, "mode": MODES[0]}


def _path_problems(place: str, value: object) -> list[str]:
    return [] if is_place(value) else [f"{place}: {shown(value)} is not an absolute path without '..' and '//'"]
