"""Install, remove and check the OCI hook pair: descriptors for hooks.d (oci-hooks(5)), a starter, its settings.

Used by `scmm hooks`, `scmm install` and `scmm doctor`. The hook itself never comes here.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import stat
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from scmm_oci.errors import BadInput, Failure, Finding, Problem
from scmm_oci.files import atomic_write, read_bounded
from scmm_oci.oci.annotations import CLOSED, WATCH
from scmm_oci.recorder import settings as settings_module
from scmm_oci.recorder.settings import Settings
from scmm_oci.settings_file import BadSettings

# Where podman looks without being told (containers.conf(5), hooks_dir), rootless too.
HOOKS_DIR = Path("/usr/share/containers/oci/hooks.d")
LIBEXEC_DIR = Path("/usr/local/libexec/scmm")
CONFIG = Path("/etc/scmm/config.yaml")
# The recorder's come first.
DESCRIPTORS = ("scmm-prestart.json", "scmm-poststop.json", "scmm-watch-prestart.json", "scmm-watch-poststop.json")
STARTER = "scmm-hook"
WATCH_STARTER = "scmm-watch-hook"
STARTERS = (STARTER, WATCH_STARTER)
SETTINGS = "hook.json"
# In the configuration, what is not the hooks'; and by what it is seen that the shim is installed.
SHIM = "shim"
SHIM_SETTINGS = "shim.json"
_STORE = "policy_dir"
NOT_INSTALLED = "hooks-not-installed"  # a finding's code
# What the starters of the hooks say and do where the package is gone: containers start, unless that is required.
_RECORDS = {
    "hook": "scmm_oci/recorder/hook.py",
    "says": "scmm-hook: not recorded",
    "needed": '"scmm.record":"required"',
}
_WATCHES = {
    "hook": "scmm_oci/watch/hook.py",
    "says": "scmm-watch-hook: not watched",
    "needed": " ".join(f'"{WATCH}":"{action}"' for action in CLOSED),
}
# Of Python 3: where the search for the system's interpreter begins.
_NEWEST_MINOR = 19


@dataclass(frozen=True)
class Layout:
    """Where the hooks go: hooks_dir for descriptors, libexec_dir for the starter and its settings."""

    hooks_dir: Path = HOOKS_DIR
    libexec_dir: Path = LIBEXEC_DIR
    config: Path = CONFIG


@dataclass(frozen=True)
class Origin:
    """What starters run: an interpreter, the package in this directory; templates: where starters' texts are."""

    python: Path
    package: Path
    templates: Path


def origin() -> Origin:
    """What starters that are written now run."""
    return Origin(python(), _package(), _templates())


def configured(config: Path) -> Settings:
    """The hooks' settings in a YAML file, or the defaults where there is none. Raises BadInput with every problem."""
    document = _document(config)
    found: list[str] = []
    if isinstance(document, dict):
        shim = document.get(SHIM)
        if _STORE in document:
            found = [f".{_STORE}: the policy store is scmm-runc's too: set .{SHIM}.{_STORE}"]
        document = {name: value for name, value in document.items() if name not in (SHIM, _STORE)}
        if isinstance(shim, dict) and _STORE in shim:
            document[_STORE] = shim[_STORE]
    try:
        checked = settings_module.check(document)
    except BadSettings as error:
        found += error.problems
    if found:
        raise BadInput([Problem("", each) for each in found], source=str(config))
    return checked


def configured_shim(config: Path) -> object:
    """What the YAML file says of the shim, unchecked: an empty mapping where it says nothing. Raises BadInput."""
    document = _document(config)
    found = document.get(SHIM) if isinstance(document, dict) else None
    return {} if found is None else found


def _document(config: Path) -> object:
    if not config.exists():
        return {}
    data = read_bounded(config, settings_module.MAX_SETTINGS)
    try:
        document = YAML(typ="safe").load(data)
    except (YAMLError, UnicodeDecodeError) as error:
        raise BadInput([Problem("", " ".join(str(error).split()))], source=str(config)) from None
    return {} if document is None else document


def starter(settings: Path, *, hook: str, says: str, needed: str) -> bytes:
    """The text of a hook's starter.

    Args:
        settings: the file that the hook is given, which has to be beside the starter.
        hook: the hook's module, as a file of the package.
        says: what the starter's errors begin with.
        needed: where the package is gone, the container does not start if one of these words is in what the hook was
            given; without any it never does.
    """
    text = (_templates() / "scmm-hook.in").read_text()
    values = {"PYTHON": python(), "PACKAGE": _package(), "SETTINGS": settings}
    for name, value in {**values, "HOOK": hook, "SAYS": says, "NEEDED": needed}.items():
        text = text.replace(f"@{name}@", shlex.quote(str(value)))
    return text.encode()


def starter_files(layout: Layout) -> dict[Path, tuple[bytes, int]]:
    """The hooks' starters and their settings, which scmm-runc calls without descriptors: path → (content, mode).

    Raises BadInput for a bad configuration.
    """
    settings = configured(layout.config)
    return {
        layout.libexec_dir / SETTINGS: (_json(settings.as_dict()), 0o644),
        layout.libexec_dir / STARTER: (starter(layout.libexec_dir / SETTINGS, **_RECORDS), 0o755),
        layout.libexec_dir / WATCH_STARTER: (starter(layout.libexec_dir / SETTINGS, **_WATCHES), 0o755),
    }


def files(layout: Layout) -> dict[Path, tuple[bytes, int]]:
    """What an installation consists of: path → (content, mode). Raises BadInput for a bad configuration."""
    settings = configured(layout.config)
    result = starter_files(layout)
    for name in DESCRIPTORS:
        # The hook gives up by itself first.
        program = json.loads((_templates() / name).read_text())["hook"]["args"][0]
        content = descriptor(name, layout.libexec_dir / program, timeout=settings.deadline + 2)
        result[layout.hooks_dir / name] = (content, 0o644)
    return result


def descriptor(name: str, program: Path, *, timeout: int | None = None) -> bytes:
    """A descriptor of ours for hooks.d that calls this program. timeout: in seconds, else the descriptor's own."""
    document = json.loads((_templates() / name).read_text())
    document["hook"]["path"] = str(program)
    if timeout is not None:
        document["hook"]["timeout"] = timeout
    return _json(document)


def install(layout: Layout) -> list[Path]:
    """Write all files, descriptors last; the paths written. Raises BadInput, Failure."""
    wanted = files(layout)
    unsafe = unsafe_places(layout)
    if unsafe:
        raise Failure(
            "hooks run as root, so what they run must be writable by root only: " + "; ".join(unsafe),
            "install scmm-oci where only root can write, for example in a virtual environment below /opt",
        )
    return write(wanted)


def write(wanted: Mapping[Path, tuple[bytes, int]]) -> list[Path]:
    """Write the files in their order, each whole or not at all, with their directories; the paths. Raises Failure."""
    for directory in dict.fromkeys(path.parent for path in wanted):
        try:
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise Failure(f"{directory}: {error.strerror}", "installing needs root") from None
    for path, (content, mode) in wanted.items():
        atomic_write(path, content, mode)
        path.chmod(mode)
    return list(wanted)


def uninstall(layout: Layout) -> list[Path]:
    """Remove the files, descriptors first, so that no engine calls a hook that is going away; what was there.

    The starters stay for scmm-runc, where that is installed, which calls them.
    """
    paths = [*(layout.hooks_dir / name for name in DESCRIPTORS)]
    if not (layout.libexec_dir / SHIM_SETTINGS).exists():
        paths += [layout.libexec_dir / name for name in (*STARTERS, SETTINGS)]
    removed = remove(paths)
    remove_empty(layout.libexec_dir)
    return removed


def remove_empty(directory: Path) -> None:
    """Remove a directory if it is empty; one that is missing, a mount point or anybody's place to be in stays so."""
    with suppress(FileNotFoundError, NotADirectoryError):
        try:
            directory.rmdir()
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY):
                raise


def remove(paths: Iterable[Path]) -> list[Path]:
    """Remove files, in that order; those that were there. Raises Failure."""
    removed = []
    for path in paths:
        try:
            path.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise Failure(f"{path}: {error.strerror}", "removing needs root") from None
        removed.append(path)
    return removed


def findings(layout: Layout) -> list[Finding]:
    """What keeps the installed hooks from working as configured; empty if they are installed and current."""
    again = "run: scmm hooks install"
    wanted = files(layout)
    present = [path for path in wanted if path.exists()]
    if not any(path.parent == layout.hooks_dir for path in present):
        return [Finding(NOT_INSTALLED, f"no hooks of scmm-oci in {layout.hooks_dir}", again)]
    result = []
    for path, (content, _) in wanted.items():
        if path not in present:
            # podman ignores a descriptor whose program is missing, without a word, and nothing is recorded.
            result.append(Finding("hook-file-missing", f"{path} is missing", again))
        elif path.read_bytes() != content:
            result.append(Finding("hook-file-stale", f"{path} is not what this version and {layout.config} say", again))
    for program in (layout.libexec_dir / name for name in STARTERS):
        if program.exists() and not os.access(program, os.X_OK):
            result.append(Finding("hook-not-executable", f"{program} cannot be executed", again))
    result += [Finding("hook-unsafe", each, "install where only root can write") for each in unsafe_places(layout)]
    return result


def unsafe_places(layout: Layout) -> list[str]:
    """Everything a hook runs, and where the engine finds it, that others than root could change, in words."""
    return unsafe([layout.libexec_dir, layout.hooks_dir])


def unsafe(paths: Iterable[Path]) -> list[str]:
    """Of paths, and of all that a starter runs, what others than root could change, in words."""
    places = [python(), Path(os.__file__).parent, *paths]
    package = _package() / "scmm_oci"
    places += [
        _package(),
        package,
        *(path for path in sorted(package.rglob("*")) if path.suffix in (".py", ".pyc", ".json", ".o")),
    ]
    found = (writable_by_others(path) for path in places if path.exists())
    return list(dict.fromkeys(problem for problem in found if problem))[:10]


def writable_by_others(path: Path) -> str | None:
    """Who else than root could replace `path` or a directory it is in, in words; None if nobody can."""
    path = path.resolve()
    for each in (path, *path.parents):
        status = each.stat()
        if status.st_uid != 0:
            return f"{each} belongs to uid {status.st_uid}"
        # In a sticky directory (/tmp) nobody can replace what belongs to root.
        others = status.st_mode & (0o002 if status.st_gid == 0 else 0o022)  # root's group is root
        if others and not (each != path and status.st_mode & stat.S_ISVTX):
            return f"{each} can be written by others (mode {status.st_mode & 0o7777:o})"
    return None


def _templates() -> Path:
    # In a wheel they lie inside the package, in a source tree beside it.
    package = Path(__file__).resolve().parent.parent
    return next(path for path in (package / "hooks", package.parent / "hooks") if path.is_dir())


def python() -> Path:
    """The interpreter for the hooks, which need the standard library only.

    The system's is the fastest to start and stays when a virtual environment goes; else the one that the virtual
    environment was made from.
    """
    for name in (f"/usr/bin/python3.{minor}" for minor in range(_NEWEST_MINOR, 10, -1)):
        if os.access(name, os.X_OK) and Path(name).resolve().is_relative_to("/usr"):
            return Path(name).resolve()
    return Path(getattr(sys, "_base_executable", None) or sys.executable).resolve()


def _package() -> Path:
    return Path(__file__).resolve().parent.parent.parent


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()
