"""The user's bundle → the config.json of one start. The bundle itself is read only, never written. Pure but for that.

What is changed: the root is where a fresh layer is mounted, the cgroup is one of ours, there is no terminal, and what
the replay varies (seccomp, no-new-privileges, the recorder's hooks), annotations that ask for the same among it. All
else, hooks and namespaces too, stays as is.
"""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scmm_oci.errors import BadInput, Problem
from scmm_oci.files import read_bounded
from scmm_oci.oci.state import MAX_CONFIG
from scmm_oci.schema import load_json

Config = dict[str, Any]

# crun(1): run.oci.seccomp_bpf_data=, run.oci.seccomp.receiver=, run.oci.seccomp.plugins=.
_OF_CRUN = ("run.oci.seccomp_bpf_data", "run.oci.seccomp.")


@dataclass(frozen=True)
class Source:
    """A bundle: its directory, its root file system (absolute), and what config.json says."""

    directory: str
    root: str
    config: Config


def read(directory: str) -> Source:
    """Read a bundle.

    Raises:
        BadInput: there is none, or it lacks what a start needs; with all that is wrong with it.
    """
    base = Path(directory).resolve()
    path = str(base / "config.json")
    config = load_json(read_bounded(path, MAX_CONFIG), source=path)
    found: list[Problem] = []
    parts = {name: config.get(name) if isinstance(config, dict) else None for name in ("process", "root")}
    found += [Problem(f".{name}", "an object expected") for name, part in parts.items() if not isinstance(part, dict)]
    for name in ("linux", "annotations", "hooks"):
        if isinstance(config, dict) and not isinstance(config.get(name), dict | None):
            found.append(Problem(f".{name}", "an object expected"))
    if found:
        raise BadInput(found, source=path)
    process, where = parts["process"], parts["root"]
    assert isinstance(process, dict) and isinstance(where, dict)
    found += _list_problems(config)
    args = process.get("args")
    if not isinstance(args, list) or not args or not all(isinstance(word, str) for word in args):
        found.append(Problem(".process.args", "the words of a program expected"))
    given = where.get("path")
    root = base / given if isinstance(given, str) and given else None
    if root is None:
        found.append(Problem(".root.path", "a path expected"))
    elif not root.is_dir():
        found.append(Problem(".root.path", f"{root} is no directory", "give the bundle of an unpacked image"))
    elif any(mark in str(root.resolve()) for mark in ":,\\"):
        found.append(Problem(".root.path", "has a ':', ',' or '\\' in it, which overlay's options cannot hold"))
    if found or root is None:
        raise BadInput(found, source=path)
    return Source(str(base), str(root.resolve()), config)


def configured(
    source: Source,
    *,
    root: str,
    cgroup: str,
    no_new_privileges: bool,
    seccomp: Config | None,
    hook: str | None = None,
    name: str = "",
) -> Config:
    """The configuration of one start.

    Args:
        root: where the root file system is.
        seccomp: linux.seccomp; None for no filter.
        hook: the starter of the recorder's hooks, which record as ``name``; None for no recording.
    """
    config = copy.deepcopy(source.config)
    process = config["process"]
    process["terminal"] = False
    process.pop("consoleSize", None)
    process["noNewPrivileges"] = no_new_privileges
    config["root"]["path"] = root
    for mount in config.get("mounts") or ():
        _absolute(mount, source.directory)
    linux = config["linux"] = config.get("linux") or {}
    linux["cgroupsPath"] = cgroup
    linux.pop("seccomp", None)
    if config.get("annotations"):
        # Recording and enforcing that the bundle asks for, and filters that crun takes instead of linux.seccomp.
        given = config["annotations"].items()
        config["annotations"] = {key: it for key, it in given if "scmm." not in key and not key.startswith(_OF_CRUN)}
    if seccomp is not None:
        linux["seccomp"] = seccomp
    if hook is not None:
        config["annotations"] = {**(config.get("annotations") or {}), "scmm.record": "required", "scmm.name": name}
        hooks = config["hooks"] = config.get("hooks") or {}
        for stage in ("prestart", "poststop"):
            hooks[stage] = [*(hooks.get(stage) or ()), {"path": hook, "args": [os.path.basename(hook), stage]}]
    return config


def _list_problems(config: Config) -> list[Problem]:
    """What a start puts something into, or looks through, and is none of its kind."""
    found = []
    mounts = config.get("mounts")
    if not isinstance(mounts, list | None):
        found.append(Problem(".mounts", "a list expected"))
        mounts = None
    for index, mount in enumerate(mounts or ()):
        if not isinstance(mount, dict) or not isinstance(mount.get("options"), list | None):
            found.append(Problem(f".mounts[{index}]", "an object expected, with a list as its options"))
    hooks = config.get("hooks") or {}
    for stage in ("prestart", "poststop"):
        if not isinstance(hooks.get(stage), list | None):
            found.append(Problem(f".hooks.{stage}", "a list expected"))
    return found


def _absolute(mount: Config, directory: str) -> None:
    # The runtime-spec: a bind mount's source may be relative to the bundle.
    if not isinstance(mount.get("source"), str):
        return
    options = mount.get("options") or ()
    if mount.get("type") in ("bind", "rbind") or "bind" in options or "rbind" in options:
        mount["source"] = os.path.join(directory, mount["source"])
