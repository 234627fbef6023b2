"""scmm-runc's create and run: what a container's configuration asks for, and a bundle of our own in which that is so.

The caller's bundle is only read, and once: what the runtime gets cannot have changed since we looked at it. Standard
library only (scmm-runc).
"""

from __future__ import annotations

import os

from scmm_oci.enforcer import added_hooks, bundle, enforcing, passing, runtime_root, telling, wishes
from scmm_oci.oci import config_json, runtime_argv
from scmm_oci.oci.runtime_options import CRUN, RUNC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from scmm_oci.enforcer.shim_settings import Settings
    from scmm_oci.enforcer.wishes import Wish
    from scmm_oci.oci.runtime_argv import CommandLine

# Files of the caller's that runtimes look for when they have gone to the bundle, and ours is another. Measured with
# runc 1.1.5 and crun 1.8.1.
_IN_BUNDLE = {RUNC: ("console-socket", "pidfd-socket"), CRUN: ("console-socket", "pid-file")}


def words(settings: Settings, called: str, line: CommandLine, inherited: dict[int, int] | None = None) -> list[str]:
    """The words for the runtime: those given, or those with a bundle of ours in which what was asked for is so.

    called: the starter, which our poststop hook calls again. inherited: as of enforcing.enforced.

    Raises OSError and ValueError where a policy was asked for that cannot be enforced, or a recording that is
    required cannot be made: then nothing may be started.
    """
    given = list(line.words)
    if line.id is None:
        return given  # the runtime says what is missing
    try:
        config = config_json.read(line.config())
    except (FileNotFoundError, NotADirectoryError):
        return given  # the same
    except ValueError as error:
        raise ValueError(f"{line.config()}: {error}") from None
    wish = wishes.read(config, settings, container=line.id, named=lambda: _image(line, config))
    for each in wish.notes:
        enforcing.note(settings, line, each)
    if wish.problems:
        raise ValueError("; ".join(wish.problems))
    if line.verb == "restore":
        return _restored(settings, line, wish)
    if not (wish.policy or wish.record or wish.stripped):
        return given
    if wish.is_closed:
        return _changed(settings, called, line, config, wish, inherited)
    try:
        return _changed(settings, called, line, config, wish, inherited)
    except Exception as error:
        # Whatever it is, a defect of ours among it: the container starts all the same.
        what = _lost(wish) or [f"the program sees {', '.join(wish.stripped)}"]
        enforcing.note(settings, line, f"{' and '.join(what)}: {type(error).__name__}: {error}")
        return given


def _lost(wish: Wish) -> list[str]:
    return [*(["not recorded"] if wish.record else []), *(["not watched"] if wish.watch else [])]


def _restored(settings: Settings, line: CommandLine, wish: Wish) -> list[str]:
    """The words for `restore`: those given, and what is not done. Raises ValueError where it had to be."""
    if wish.is_closed:
        lacks = [
            *([f"policy {wish.policy} cannot be enforced"] if wish.is_enforced else []),
            *(["it cannot be recorded"] if wish.record else []),
            *(["it cannot be watched"] if wish.watch else []),
        ]
        raise ValueError(f"a restored process has no Landlock domain and no beginning: {', '.join(lacks)}")
    if lost := _lost(wish):
        enforcing.note(settings, line, f"{' and '.join(lost)}: a restored process has no beginning")
    return list(line.words)


def _image(line: CommandLine, config: Mapping[str, Any]) -> tuple[str, ...]:
    """The image's names as the engine has them."""
    from scmm_oci.enforcer import images

    assert line.id is not None
    place = os.path.realpath(line.options.get("bundle") or ".")
    root = config.get("root")
    path = root.get("path") if isinstance(root, dict) else None
    return images.names(place, os.path.join(place, path if isinstance(path, str) else ""), line.id)


def _changed(
    settings: Settings,
    called: str,
    line: CommandLine,
    config: dict[str, Any],
    wish: Wish,
    inherited: dict[int, int] | None,
) -> list[str]:
    from scmm_oci.enforcer.places import Places, key_of

    assert line.id is not None
    root = runtime_root.given(line)
    if not os.path.isabs(root):
        # runc 1.1 and crun begin there when they have gone to the bundle, which is another then; later runcs before.
        raise ValueError(f"the runtime's root {root!r} is no absolute path, so where its state will be is not certain")
    root = os.path.abspath(root)
    original = os.path.realpath(line.options.get("bundle") or ".")
    places = Places(settings.run_dir)
    try:
        places.sweep(first=key_of(root, line.id))
    except OSError as error:
        enforcing.note(settings, line, f"what ended containers left is not removed: {error}")
    with places.claim(root, line.id) as place:
        bundle.absolute(config, original)
        decided: dict[str, Any] = {"bundle": original, "root": root}
        policy = None
        if wish.is_enforced:
            policy = enforcing.enforced(settings, line, config, wish, place, decided, inherited)
        elif wish.watch:
            enforcing.watched(settings, line, config, wish, digest=wish.digest)
        if wish.record:
            _recorded(settings, line, config, wish)
        # Last of all hooks: what is removed then, no other needs any more.
        ended = [telling.NAME, passing.ENDED, place.key, place.generation]
        added_hooks.add(config, "poststop", os.path.abspath(called), ended)
        mapped = enforcing.outside(config)
        place.write(
            config=config_json.dumps(config),
            plan=decided,
            policy=policy,
            owner=mapped,
            reachable=mapped is not None,
        )
        return _to(line, place.path, original, handed=len(inherited or ()))


def _recorded(settings: Settings, line: CommandLine, config: dict[str, Any], wish: Wish) -> None:
    try:
        if not os.access(settings.hook, os.X_OK):
            raise ValueError(f"{settings.hook} is not there or not executable; run scmm hooks install")
        added_hooks.record(config, settings.hook, wish)
    except ValueError as error:
        if wish.required or not wish.policy:
            raise
        enforcing.note(settings, line, f"not recorded: {error}")


def _to(line: CommandLine, path: str, original: str, *, handed: int) -> list[str]:
    """The words with our bundle, and with what the runtime would look for in the caller's.

    handed: how many descriptors more the runtime hands on, behind the caller's.
    """
    changes = {"bundle": path}
    if handed:
        changes["preserve-fds"] = str(line.preserve_fds + handed)
    if line.options.get("config"):
        changes["config"] = os.path.join(path, "config.json")
    for name in _IN_BUNDLE[line.dialect]:
        if value := line.options.get(name):
            changes[name] = os.path.join(original, value)
    for name, value in changes.items():
        line = runtime_argv.parse(line.with_option(name, value), dialect=line.dialect)
    return list(line.words)
