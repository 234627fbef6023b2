"""scmm-runc's create and run: what a container's configuration asks for, and a bundle of our own in which that is so.

The caller's bundle is only read, and once: what the runtime gets cannot have changed since we looked at it. Standard
library only (scmm-runc).
"""

from __future__ import annotations

import os
import time

from scmm_oci.enforcer import bundle, passing, runtime_root, telling, wishes
from scmm_oci.oci import config_json, runtime_argv
from scmm_oci.oci.runtime_options import CRUN, RUNC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from scmm_oci.enforcer.place import Place
    from scmm_oci.enforcer.shim_settings import Settings
    from scmm_oci.enforcer.wishes import Wish
    from scmm_oci.oci.runtime_argv import CommandLine

# Files of the caller's that runtimes look for when they have gone to the bundle, and ours is another. Measured with
# runc 1.1.5 and crun 1.8.1.
_IN_BUNDLE = {RUNC: ("console-socket", "pidfd-socket"), CRUN: ("console-socket", "pid-file")}


def words(settings: Settings, called: str, line: CommandLine) -> list[str]:
    """The words for the runtime: those given, or those with a bundle of ours in which what was asked for is so.

    called: the starter, which our poststop hook calls again.

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
        _note(settings, line, each)
    if wish.problems:
        raise ValueError("; ".join(wish.problems))
    if line.verb == "restore" and (wish.policy or wish.required):
        what = f"policy {wish.policy} cannot be enforced" if wish.policy else "it cannot be recorded"
        raise ValueError(f"a restored process has no Landlock domain and no beginning: {what}")
    if line.verb == "restore":
        if wish.record:
            _note(settings, line, "not recorded: a restored process has no beginning")
        return given
    if not (wish.policy or wish.record or wish.stripped):
        return given
    if wish.policy or wish.required:
        return _changed(settings, called, line, config, wish)
    try:
        return _changed(settings, called, line, config, wish)
    except Exception as error:
        # Whatever it is, a defect of ours among it: the container starts all the same.
        what = "not recorded" if wish.record else f"the program sees {', '.join(wish.stripped)}"
        _note(settings, line, f"{what}: {type(error).__name__}: {error}")
        return given


def _image(line: CommandLine, config: Mapping[str, Any]) -> tuple[str, ...]:
    """The image's names as the engine has them."""
    from scmm_oci.enforcer import images

    assert line.id is not None
    place = os.path.realpath(line.options.get("bundle") or ".")
    root = config.get("root")
    path = root.get("path") if isinstance(root, dict) else None
    return images.names(place, os.path.join(place, path if isinstance(path, str) else ""), line.id)


def _changed(settings: Settings, called: str, line: CommandLine, config: dict[str, Any], wish: Wish) -> list[str]:
    from scmm_oci.enforcer.places import Places, key_of

    assert line.id is not None
    root = runtime_root.of(line)
    original = os.path.realpath(line.options.get("bundle") or ".")
    places = Places(settings.run_dir)
    try:
        places.sweep(first=key_of(root, line.id))
    except OSError as error:
        _note(settings, line, f"what ended containers left is not removed: {error}")
    with places.claim(root, line.id) as place:
        bundle.absolute(config, original)
        decided: dict[str, Any] = {"bundle": original, "root": root}
        policy = _enforced(settings, line, config, wish, place, decided) if wish.policy else None
        if wish.record:
            _recorded(settings, line, config, wish)
        # Last of all hooks: what is removed then, no other needs any more.
        ended = [telling.NAME, passing.ENDED, place.key, place.generation]
        bundle.add_hook(config, "poststop", os.path.abspath(called), ended)
        mapped = _outside(config)
        place.write(
            config=config_json.dumps(config),
            plan=decided,
            policy=policy,
            owner=mapped,
            reachable=mapped is not None,
        )
        return _to(line, place.path, original)


def _enforced(
    settings: Settings, line: CommandLine, config: dict[str, Any], wish: Wish, place: Place, decided: dict[str, Any]
) -> bytes:
    """The policy; the configuration is changed so that the launcher applies it, and `decided` gets what exec needs."""
    from scmm_oci.enforcer import admits, private
    from scmm_oci.enforcer.store import Store

    assert wish.policy is not None
    store = Store(settings.policy_dir)
    policy = store.read(wish.policy, wish.digest)
    if not os.access(settings.launcher, os.X_OK):
        raise ValueError(f"the launcher {settings.launcher} is not there or not executable; run scmm install again")
    plan = bundle.Plan(
        launcher_source=settings.launcher,
        policy_source=os.path.join(place.path, "policy"),
        mode=wish.mode,
        preserve_fds=line.preserve_fds + listening(),
        parts=admits.parts(policy),
        report_source=(store.report(wish.policy, _writer(config)) or "") if wish.mode == "permissive" else "",
    )
    for each in bundle.enforce(config, plan):
        _note(settings, line, each)
    _refuse_links(config, plan)
    decided.update(
        name=wish.policy,
        sha256=private.sha256(policy),
        mode=plan.mode,
        launcher=plan.launcher,
        policy=plan.policy,
    )
    return policy


def _refuse_links(config: Mapping[str, Any], plan: bundle.Plan) -> None:
    """Raise ValueError where a link, or what is no file, is in the place of the launcher or the policy.

    The container's root could lead a link elsewhere, and `exec` with it. What is missing the runtime makes, as for
    all mounts, and it stays: whoever removes a mount point takes the mount away, also from containers that share it.
    """
    root = config.get("root")
    rootfs = root.get("path") if isinstance(root, dict) else None
    if not isinstance(rootfs, str):
        return
    for path in filter(None, (plan.launcher, plan.policy, plan.report)):
        above = os.path.dirname(path)
        if above != "/":
            if os.path.islink(rootfs + above):
                raise ValueError(f"{above} is a symbolic link in the container: nothing can be kept safe there")
        elif os.path.lexists(rootfs + path) and (os.path.islink(rootfs + path) or not os.path.isfile(rootfs + path)):
            raise ValueError(f"{path} in the container is no regular file, and it is where scmm-enforce goes")


def _recorded(settings: Settings, line: CommandLine, config: dict[str, Any], wish: Wish) -> None:
    try:
        if not os.access(settings.hook, os.X_OK):
            raise ValueError(f"{settings.hook} is not there or not executable; run scmm hooks install")
        bundle.record(config, settings.hook, wish)
    except ValueError as error:
        if wish.required or not wish.policy:
            raise
        _note(settings, line, f"not recorded: {error}")


def _outside(config: Mapping[str, Any]) -> tuple[int, int] | None:
    """User and group outside of what is root in the container's user namespace; None where it has none of its own."""
    linux = config.get("linux")
    if not isinstance(linux, dict):
        return None
    found = []
    for key in ("uidMappings", "gidMappings"):
        for each in linux.get(key) or []:
            if isinstance(each, dict) and each.get("containerID", 0) == 0 and isinstance(each.get("hostID", 0), int):
                found.append(each.get("hostID", 0))
                break
    return (found[0], found[1]) if len(found) == 2 else None


def _writer(config: Mapping[str, Any]) -> tuple[int, int]:
    """User and group outside of what the container's program begins as."""
    process, linux = config.get("process"), config.get("linux")
    user = process.get("user") if isinstance(process, dict) else None
    found = []
    for key, mappings in (("uid", "uidMappings"), ("gid", "gidMappings")):
        number = user.get(key, 0) if isinstance(user, dict) else 0
        number = number if isinstance(number, int) and not isinstance(number, bool) else 0
        for each in (linux.get(mappings) or []) if isinstance(linux, dict) else []:
            first = each.get("containerID", 0)
            if first <= number < first + each.get("size", 0):
                number += each.get("hostID", 0) - first
                break
        found.append(number)
    return found[0], found[1]


def listening() -> int:
    """How many descriptors from 3 on are the caller's sockets, which runtimes hand on: sd_listen_fds(3)."""
    count = os.environ.get("LISTEN_FDS", "")
    return int(count) if count.isascii() and count.isdigit() and len(count) < 5 else 0


def _to(line: CommandLine, path: str, original: str) -> list[str]:
    """The words with our bundle, and with what the runtime would look for in the caller's."""
    changes = {"bundle": path}
    if line.options.get("config"):
        changes["config"] = os.path.join(path, "config.json")
    for name in _IN_BUNDLE[line.dialect]:
        if value := line.options.get(name):
            changes[name] = os.path.join(original, value)
    for name, value in changes.items():
        line = runtime_argv.parse(line.with_option(name, value), dialect=line.dialect)
    return list(line.words)


def _note(settings: Settings, line: CommandLine, message: str) -> None:
    telling.note(settings.log_file, f"container {(line.id or '')[:64]}: {message}", now=time.time())
