"""Changes to an OCI configuration, as parsed JSON and in place: paths made absolute, a policy enforced.

Only what is named here is touched: all other members, their order and their numbers stay. Pure. Standard library only,
and little of it: stands on every container start (scmm_oci.enforcer.shim).

Facts relied on: OCI runtime-spec 1.2 (config.md), runc 1.1.5, crun 1.8.1.
"""

from __future__ import annotations

import os

from scmm_oci.enforcer import admits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


# Names in the container. They are mount points themselves, and so is the directory that they are in: the kernel lets
# nobody in there rename or remove them (EBUSY), so `exec` finds what was put there. A directory of ours in between
# could be moved away by the container's root, and another launcher be put in its place.
LAUNCHER = ".scmm-enforce"
POLICY = ".scmm-policy"
REPORT = ".scmm-report"
TMPFS = ("/dev", "/run", "/tmp")

_BIND_OPTIONS = ("bind", "ro", "nosuid", "nodev")
_REPORT_OPTIONS = ("bind", "rw", "nosuid", "nodev", "noexec")
_GUARDED = ("standard", "strict", admits.ASK)  # the others apply no Landlock
_SECCOMP_BLOB = "run.oci.seccomp_bpf_data"


class Plan:
    """What is enforced in one container.

    Attributes:
        launcher_source, policy_source: on the host.
        mode: of oci.annotations.MODES.
        preserve_fds: how many descriptors from 3 on the program inherits.
        listener_fd: the descriptor of the launcher's that leads to the monitor (enforcer.handing), 0 for none.
        name, state: what the monitor is told, with listener_fd: what it calls the container, and JSON about it.
        parts: what the policy has (admits.parts).
        report_source: with permissive, the file on the host that tells what would be refused; "" for standard error.
        launcher, policy, report: the absolute paths in the container; `enforce` chooses them.
        in_rootfs: they are in the root file system, where the runtime makes empty files to mount over.
    """

    __slots__ = (
        "in_rootfs",
        "launcher",
        "launcher_source",
        "listener_fd",
        "mode",
        "name",
        "parts",
        "policy",
        "policy_source",
        "preserve_fds",
        "report",
        "report_source",
        "state",
    )

    def __init__(
        self,
        *,
        launcher_source: str,
        policy_source: str,
        mode: str = "standard",
        preserve_fds: int = 0,
        parts: Iterable[str] = (),
        report_source: str = "",
        launcher: str = "",
        policy: str = "",
        in_rootfs: bool = False,
        listener_fd: int = 0,
        name: str = "",
        state: str = "",
    ) -> None:
        self.launcher_source = launcher_source
        self.policy_source = policy_source
        self.mode = mode
        self.preserve_fds = preserve_fds
        self.parts = frozenset(parts)
        self.launcher = launcher
        self.policy = policy
        self.in_rootfs = in_rootfs
        self.report_source = report_source
        self.report = ""
        self.listener_fd = listener_fd
        self.name = name
        self.state = state


def absolute(config: dict[str, Any], bundle: str) -> None:
    """Make the paths that a configuration gives relative to its bundle absolute: root.path, sources of bind mounts.

    Args:
        bundle: the absolute path of the bundle that the configuration was written for.

    Raises:
        ValueError: root or mounts are malformed.
    """
    root = member(config, "root")
    if root is not None and isinstance(path := root.get("path"), str) and path:
        root["path"] = os.path.join(bundle, path)
    for mount in _mounts(config):
        source = mount.get("source")
        if isinstance(source, str) and source and is_bind(mount):
            mount["source"] = os.path.join(bundle, source)


def enforce(config: dict[str, Any], plan: Plan) -> list[str]:
    """Have the launcher apply the policy before the container's program; `plan` gets where they are in there.

    The configuration must not have been changed by this before, and its paths be absolute (`absolute`).

    Returns:
        What was added to the seccomp section and what may not work, for the log.

    Raises:
        ValueError: the configuration has no process to put the launcher before, or its seccomp section refuses what
            the launcher needs, or what is to be changed is malformed.
    """
    process = member(config, "process")
    if process is None:
        raise ValueError("config.json: .process: is missing, so there is nothing to enforce a policy on")
    arguments = _arguments(process, ".process")
    mounts = _mounts(config)
    linux = member(config, "linux") or {}
    directory = _tmpfs(mounts)
    plan.in_rootfs = directory is None
    plan.launcher, plan.policy = f"{directory or ''}/{LAUNCHER}", f"{directory or ''}/{POLICY}"
    notes = []
    if linux.get("seccomp") is not None:
        try:
            done = admits.admit(linux["seccomp"], admits.needs(plan.mode, plan.parts))
        except ValueError as error:
            raise ValueError(f"config.json: {error}") from None
        if done.added:
            notes.append(f"linux.seccomp: allowed besides, for the launcher: {', '.join(done.added)}")
        notes += [f"linux.seccomp {one}" for one in done.notes]
    annotations = config.get("annotations")
    if isinstance(annotations, dict) and _SECCOMP_BLOB in annotations:
        notes.append(f"the annotation {_SECCOMP_BLOB} is a filter that nothing can be added to")
    if config.get("mounts") is None:
        config["mounts"] = mounts
    for place, source in ((plan.launcher, plan.launcher_source), (plan.policy, plan.policy_source)):
        mounts.append({"destination": place, "type": "bind", "source": source, "options": list(_BIND_OPTIONS)})
    exec_process(process, plan)
    if plan.report_source:
        # The first process alone: the launcher empties its report, so that of an `exec` would lose this one's.
        plan.report = f"{directory or ''}/{REPORT}"
        mounts.append(
            {
                "destination": plan.report,
                "type": "bind",
                "source": plan.report_source,
                "options": list(_REPORT_OPTIONS),
            }
        )
        process["args"] = [*words(plan, report=plan.report), *arguments]
    return notes


def exec_process(process: dict[str, Any], plan: Plan, *, preserve_fds: int | None = None) -> None:
    """The same for one process, that of `exec --process` among them: arguments and no-new-privileges, in place.

    preserve_fds: instead of the plan's.

    Raises:
        ValueError: it has no arguments.
    """
    arguments = _arguments(process, "process")
    process["args"] = [*words(plan, preserve_fds=preserve_fds), *arguments]
    process["noNewPrivileges"] = True


def words(plan: Plan, *, preserve_fds: int | None = None, report: str = "") -> list[str]:
    """The words that stand before a command in the container. Raises ValueError where the plan has no places yet.

    report: where permissive mode tells, as the container sees it; "" for standard error.
    """
    if not plan.launcher or not plan.policy:
        raise ValueError("the plan has no launcher and policy in the container")
    count = plan.preserve_fds if preserve_fds is None else preserve_fds
    kept = ["--preserve-fds", str(count)] if count else []
    # What this kernel lacks would stand in the container's own output, on every exec: `scmm policy add` tells it.
    told = ["--report", report] if report else []
    # What is in a domain cannot write into the launcher that the next exec begins with.
    guard = ["--guard"] if plan.mode in _GUARDED else []
    return [plan.launcher, "-q", "-p", plan.policy, "-m", plan.mode, *guard, *told, *_asked(plan), *kept, "--"]


def _asked(plan: Plan) -> list[str]:
    if not plan.listener_fd:
        return []
    given = {"fd": str(plan.listener_fd), "metadata": plan.name, "state": plan.state}
    return [word for name, value in given.items() for word in (f"--listener-{name}", value)]


def _tmpfs(mounts: list[dict[str, Any]]) -> str | None:
    """Where a file system in memory is that can be mounted into, or None."""
    for wanted in TMPFS:
        top: dict[str, Any] | None = None
        for mount in mounts:
            place = os.path.normpath(os.path.join("/", str(mount.get("destination"))))
            if place in (wanted, "/", "//"):
                top = mount  # what was there before is hidden
        if top is None or os.path.normpath(str(top.get("destination"))) != wanted or is_bind(top):
            continue
        options = top.get("options")
        if top.get("type") == "tmpfs" and not (isinstance(options, list) and "ro" in options):
            return wanted
    return None


def is_bind(mount: dict[str, Any]) -> bool:
    """runtime-spec, "Mounts": type bind, or an option that says so."""
    options = mount.get("options")
    return mount.get("type") == "bind" or (isinstance(options, list) and ("bind" in options or "rbind" in options))


def _mounts(config: dict[str, Any]) -> list[dict[str, Any]]:
    found = config.get("mounts")
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ValueError("config.json: .mounts: not a list of objects")
    return found


def member(config: dict[str, Any], key: str) -> dict[str, Any] | None:
    """An object in a configuration, or None. Raises ValueError for what is no object."""
    found = config.get(key)
    if found is not None and not isinstance(found, dict):
        raise ValueError(f"config.json: .{key}: not an object")
    return found


def _arguments(process: dict[str, Any], place: str) -> list[str]:
    found = process.get("args")
    if not isinstance(found, list) or not found or not all(isinstance(one, str) for one in found):
        raise ValueError(f"{place}.args: not a list of strings with one at least: no program to enforce a policy on")
    return found
