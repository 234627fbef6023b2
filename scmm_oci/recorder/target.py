"""Record what is not a container from its start: a command, a process that runs, a container that runs.

What is begun here is ended here too: the recording's ledger entry names this process as its owner, and what it
leaves when it is killed, `scmm record --recover` saves.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from scmm_oci.errors import Failure, short
from scmm_oci.kernel import cgroup
from scmm_oci.oci.annotations import is_capture_name
from scmm_oci.recorder import pins, processes, session, slots, store, wire
from scmm_oci.recorder.command import Child
from scmm_oci.recorder.engines import Container
from scmm_oci.recorder.ledger import Ledger
from scmm_oci.recorder.owned import Recording
from scmm_oci.recorder.settings import Settings
from scmm_oci.recorder.users import User

_MOST_NAMES = 8  # in a message


def record_command(
    settings: Settings,
    child: Child,
    words: Sequence[str],
    *,
    name: str,
    user: User | None,
    follow: bool,
    depth: int = 2,
) -> Recording:
    """Record a child that is yet to execute its command. Raises OSError."""
    flags = slots.depth_flag(depth) | (0 if follow else wire.NO_FOLLOW)
    entry = _entry("command", name=name, pid=child.pid, args=words, root="/", losses={})
    entry["container"]["uid"] = user.uid if user else os.getuid()
    entry["container"]["gid"] = user.gid if user else os.getgid()
    mntns = processes.mount_namespace("self")

    def attach(maps: pins.Maps, number: int, epoch: int) -> None:
        slots.make_live(maps, number, epoch=epoch, mntns=mntns, started=time.monotonic_ns(), flags=flags)
        slots.follow_process(maps, number, epoch=epoch, pidfd=child.pidfd, phase="setup")

    return _begin(settings, entry, attach, root=None)


def record_process(settings: Settings, pid: int, *, name: str, follow: bool, depth: int = 2) -> Recording:
    """Record a process that runs, and what it starts from now on.

    Raises:
        Failure: it has ended, or does not let us look. OSError: it cannot be recorded.
    """
    flags = wire.ATTACHED | slots.depth_flag(depth) | (0 if follow else wire.NO_FOLLOW)
    root = processes.open_root(pid)
    losses: dict[str, Any] = {"attached": None}
    words = processes.command_line(pid)
    entry = _entry("attached", name=name, pid=pid, args=words, root=_path_of(root), losses=losses)

    def attach(maps: pins.Maps, number: int, epoch: int) -> None:
        try:
            # What it starts in other mount namespaces has files of its own, under names that may be the same.
            mntns = processes.mount_namespace(pid)
            slots.make_live(maps, number, epoch=epoch, mntns=mntns, started=time.monotonic_ns(), flags=flags, init=pid)
            missed = slots.follow_threads(maps, number, epoch=epoch, pid=pid)
        except (FileNotFoundError, ProcessLookupError):
            raise Failure(f"process {pid} has ended") from None
        if missed:
            losses["unfollowed"] = missed

    return _begin(settings, entry, attach, root=root)


def record_container(settings: Settings, container: Container, *, name: str, depth: int = 2) -> Recording:
    """Record a container that runs: all that is in its cgroup, and what enters it.

    Raises:
        Failure: it has ended, or is recorded already. OSError, NoOwnCgroup: it cannot be recorded.
    """
    try:
        place = cgroup.place_of_container(container.pid)
        mntns = processes.mount_namespace(container.pid)
    except (FileNotFoundError, ProcessLookupError):
        raise Failure(f"the container {container.name!r} has ended") from None
    root = processes.open_root(container.pid)
    entry = _entry(
        "attached",
        name=name,
        pid=container.pid,
        args=container.args or processes.command_line(container.pid),
        root=_path_of(root),
        losses={"attached": None},
    )
    entry["container"]["id"] = container.id
    entry["runtime"] = {"name": container.runtime, "version": None}
    entry["cgroup"] = place.path

    def attach(maps: pins.Maps, number: int, epoch: int) -> None:
        slots.make_live(
            maps,
            number,
            epoch=epoch,
            mntns=mntns,
            started=time.monotonic_ns(),
            flags=wire.ATTACHED | slots.depth_flag(depth),
            init=container.pid,
        )
        slots.watch_cgroup(maps, number, epoch=epoch, place=place)

    return _begin(settings, entry, attach, root=root)


class NoRecording(Failure):
    """No recording that runs is called so."""


def snapshot(settings: Settings, wanted: str) -> dict[str, Any]:
    """The capture, so far, of a recording that runs.

    Args:
        wanted: its name, its container's id or the beginning of that, or the id of its first process.

    Raises:
        NoRecording: there is none. Failure: there is more than one. OSError: it cannot be read.
    """
    with Ledger(settings.run_dir) as ledger:
        entries = ledger.entries()
        found = [each for each in entries if each.get("name") == wanted or _has_id(each, wanted)]
        found = found or [each for each in entries if str(each.get("pid")) == wanted]
        if not found:
            names = ", ".join(sorted(str(each.get("name")) for each in entries)[:_MOST_NAMES])
            raise NoRecording(f"no recording is called {short(wanted)}", f"running: {names or 'none'}")
        if len(found) > 1:
            pids = ", ".join(str(each.get("pid")) for each in found)
            raise Failure(f"more than one recording is called {short(wanted)}", f"give a process id: {pids}")
        entry = found[0]
        with pins.Maps(str(entry.get("pin_dir", settings.pin_dir))) as maps:
            ended = session.timestamp(time.time())
            return session.capture(maps, entry, settings, ended_at=ended, losses={"snapshot": None})


def _has_id(entry: dict[str, Any], wanted: str) -> bool:
    return len(wanted) >= 4 and str(entry.get("container", {}).get("id", "")).startswith(wanted)


def _begin(
    settings: Settings, entry: dict[str, Any], attach: Callable[[pins.Maps, int, int], None], *, root: int | None
) -> Recording:
    os.umask(0o077)
    try:
        with Ledger(settings.run_dir) as ledger:
            try:
                session.open_slot(ledger, settings, entry, attach, now=time.time())
            except slots.Taken as error:
                raise _taken(ledger, error) from None
    except BaseException:
        if root is not None:
            os.close(root)
        raise
    return Recording(settings, entry, root)


def _taken(ledger: Ledger, error: slots.Taken) -> Failure:
    names = [str(each["name"]) for each in ledger.entries() if each["slot"] == error.slot and "name" in each]
    if not names:
        return Failure(f"{error.what} is recorded already", "scmm record --list")
    return Failure(
        f"{error.what} is recorded already, as {names[0]!r}",
        f"what that has until now: scmm record --snapshot {names[0]} -o FILE",
    )


def _entry(
    source: str, *, name: str, pid: int, args: Sequence[str], root: str, losses: dict[str, Any]
) -> dict[str, Any]:
    us = os.getpid()
    return {
        "source": source,
        "name": name,
        "pid": pid,
        "owner": {"pid": us, "started": session.started(us)},
        "bundle": "",
        "container": {
            "id": "",
            "args": list(args),
            "uid": None,
            "gid": None,
            "no_new_privileges": None,
            "seccomp": None,
        },
        "files": {"root": root, "mounts": {}},
        "losses": losses,
    }


def _path_of(descriptor: int) -> str:
    """A name for a directory that we keep open, for whoever reads our ledger entry while we live."""
    return f"/proc/{os.getpid()}/fd/{descriptor}"


def capture_name(path: str) -> str:
    """What a capture is called that is written to `path`: the file's name without its ending."""
    stem = os.path.basename(path).removesuffix(store.SUFFIX)
    name = "".join(each if is_capture_name("x" + each) else "_" for each in stem)[:128].lstrip(".-")
    return name or "capture"
