"""What a container's configuration takes to be enforced: the policy out of the store, and the launcher before all.

Called for scmm-runc (enforcer.shim_start) and for podman's precreate hook (enforcer.precreate). Standard library only.
"""

from __future__ import annotations

import os
import time

from scmm_oci.enforcer import bundle, mountpoints, telling
from scmm_oci.oci.runtime_options import CRUN
from scmm_oci.oci.state import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from scmm_oci.enforcer.place import Place
    from scmm_oci.enforcer.shim_settings import Settings
    from scmm_oci.enforcer.wishes import Wish
    from scmm_oci.oci.runtime_argv import CommandLine


class ForShim(ValueError):
    """A hook cannot do what the policy takes, and scmm-runc can."""


def enforced(
    settings: Settings,
    line: CommandLine,
    config: dict[str, Any],
    wish: Wish,
    place: Place,
    decided: dict[str, Any],
    inherited: dict[int, int] | None = None,
) -> bytes:
    """The policy; the configuration is changed so that the launcher applies it, and `decided` gets what exec needs.

    Where a watch is asked for too, its hooks are added, which are told of the launcher.

    inherited: gets the descriptors that the runtime has to hand on (passing.become); None where it can hand on none.

    Raises OSError and ValueError: it cannot be enforced. ForShim: without `inherited`, it cannot.
    """
    from scmm_oci.enforcer import admits, again, private
    from scmm_oci.enforcer.store import Store

    assert wish.policy is not None
    again.take_back(config)  # podman's precreate hook comes before us, and knows nothing of `exec`
    store = Store(settings.policy_dir)
    policy = store.read(wish.policy, wish.digest)
    if not os.access(settings.launcher, os.X_OK):
        raise ValueError(f"the launcher {settings.launcher} is not there or not executable; run scmm install again")
    parts = admits.parts(policy)
    listener, told = 0, ""
    if admits.asks(policy, wish.mode, os.uname().machine):
        parts |= {admits.LISTENER}
        listener, told = _asked(settings, line, config, wish, decided, inherited)
    elif wish.mode == admits.ASK:
        raise ValueError(
            f"the mode is ask, and the policy {wish.policy} refuses no call: there is nothing to ask about"
        )
    plan = bundle.Plan(
        launcher_source=_launcher(settings, config, place),
        policy_source=os.path.join(place.path, "policy"),
        mode=wish.mode,
        preserve_fds=line.preserve_fds + listening(line),
        parts=parts,
        listener_fd=listener,
        name=wish.policy,
        state=told,
        report_source=(store.report(wish.policy, _writer(config)) or "") if wish.mode == "permissive" else "",
    )
    for each in bundle.enforce(config, plan):
        note(settings, line, each)
    _refuse_links(config, plan)
    decided.update(
        name=wish.policy,
        sha256=private.sha256(policy),
        mode=plan.mode,
        launcher=plan.launcher,
        policy=plan.policy,
    )
    if wish.watch:
        watched(settings, line, config, wish, digest=decided["sha256"], launcher=plan.launcher_source)
    return policy


def watched(
    settings: Settings,
    line: CommandLine,
    config: dict[str, Any],
    wish: Wish,
    *,
    digest: str | None,
    launcher: str | None = None,
) -> None:
    """Have the watch's hooks called; what keeps them from that is noted where the container may start without.

    digest, launcher: as of added_hooks.watch; the digest may be any.

    Raises ValueError: they cannot be called, or there is no policy.
    """
    from scmm_oci.enforcer import added_hooks
    from scmm_oci.oci.annotations import CLOSED

    assert wish.watch is not None
    by = str(wish.policy) if digest is None else f"{wish.policy}@sha256:{digest}"
    try:
        if not os.access(settings.watch_hook, os.X_OK):
            raise ValueError(f"{settings.watch_hook} is not there or not executable; run scmm hooks install")
        added_hooks.watch(config, settings.watch_hook, action=wish.watch, policy=by, launcher=launcher)
    except ValueError as error:
        if wish.watch in CLOSED:
            raise
        note(settings, line, f"not watched: {error}")


def _asked(
    settings: Settings,
    line: CommandLine,
    config: dict[str, Any],
    wish: Wish,
    decided: dict[str, Any],
    inherited: dict[int, int] | None,
) -> tuple[int, str]:
    """The launcher's descriptor that leads to the monitor, and what is told there.

    Raises ValueError: nobody is there, or nobody can be asked; ForShim.
    """
    from scmm_oci.enforcer import handing

    what = f"the {'mode ask' if wish.mode == 'ask' else f'policy {wish.policy}'} asks"
    if inherited is None:
        raise ForShim(
            f"{what} about calls, and a hook can hand no monitor over: podman --runtime scmm does (scmm install podman)"
        )
    if other := handing.other_listener(line, config):
        raise ValueError(
            f"{what} about calls, and the runtime has others ask about some, by {other}: a process can have one"
            " listener alone. Take that out, or give those calls to the policy"
        )
    decided["asks"], left_out = handing.state(line, config, decided["bundle"])
    if left_out:
        note(settings, line, left_out)
    number = handing.place(line)
    try:
        inherited[number] = handing.connected(settings.monitor)
    except ValueError as error:
        raise ValueError(f"{what} about calls, and {error}") from None
    return number, handing.word(decided["asks"])


def _refuse_links(config: Mapping[str, Any], plan: bundle.Plan) -> None:
    """Raise ValueError where a link, or what is no file, is in the place of the launcher or the policy.

    The container's root could lead a link elsewhere, and `exec` with it. What is missing the runtime makes, as for
    all mounts, and it stays: whoever removes a mount point takes the mount away, also from containers that share it. So
    where a link leads a volume to that place, which others may share, nothing is kept safe either.
    """
    root = config.get("root")
    rootfs = root.get("path") if isinstance(root, dict) else None
    if not isinstance(rootfs, str):
        return
    above = os.path.dirname(plan.launcher)
    if above != "/" and os.path.islink(rootfs + above):
        raise ValueError(f"{above} is a symbolic link in the container: nothing can be kept safe there")
    for path in filter(None, (plan.launcher, plan.policy, plan.report)) if above == "/" else ():
        if os.path.lexists(rootfs + path) and (os.path.islink(rootfs + path) or not os.path.isfile(rootfs + path)):
            raise ValueError(f"{path} in the container is no regular file, and it is where scmm-enforce goes")
    mounts = [("/" + str(each.get("destination")).lstrip("/"), each) for each in config["mounts"]]
    sources = [(name, each.get("source") if bundle.is_bind(each) else None) for name, each in mounts]
    lie = mountpoints.resolved(rootfs, sources)
    hiding = [name for (name, _), place in zip(mounts, lie, strict=True) if mountpoints.covers(place, above)]
    if hiding and os.path.normpath(hiding[-1]) not in ("/", above):
        raise ValueError(f"links in the container lead the mount {shown(hiding[-1])} over {above}: it would be hidden")


def outside(config: Mapping[str, Any]) -> tuple[int, int] | None:
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


def _launcher(settings: Settings, config: Mapping[str, Any], place: Place) -> str:
    """The launcher to mount: a copy for this container alone, where something can be executed that lies in there.

    With CAP_SYS_ADMIN, that of its user namespace among them, a container makes its mounts writable; and nobody in
    there is to read it (Place.copy_launcher).
    """
    found = config.get("linux")
    spaces = found.get("namespaces") if isinstance(found, dict) else None
    own_users = any(isinstance(one, dict) and one.get("type") == "user" for one in spaces or [])
    # The runtime mounts without `noexec`; where it does so in a user namespace, the kernel keeps what /run has.
    if own_users and os.statvfs(place.path).f_flag & os.ST_NOEXEC:
        return settings.launcher
    return place.copy_launcher(settings.launcher)


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


def listening(line: CommandLine) -> int:
    """How many descriptors from 3 on are sockets of the caller's, which the runtime hands on without being told.

    From 3 on, runtimes hand on first as many as LISTEN_FDS says, then as many as --preserve-fds says. runc goes by
    LISTEN_FDS only where LISTEN_PID is itself (sd_listen_fds(3)), and not at all for `exec`; crun always does. Measured
    with runc 1.1.5 and crun 1.8.1 (tests/runtime/test_shim_monitor.py).
    """
    count = os.environ.get("LISTEN_FDS", "")
    if not (count.isascii() and count.isdigit() and len(count) < 5):
        return 0
    if line.dialect != CRUN and (line.verb == "exec" or os.environ.get("LISTEN_PID") != str(os.getpid())):
        return 0  # the runtime has our process id
    return int(count)


def note(settings: Settings, line: CommandLine, message: str) -> None:
    telling.note(settings.log_file, f"container {(line.id or '')[:64]}: {message}", now=time.time())
