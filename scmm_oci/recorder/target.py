"""Record what is not a container from its start: a command, a process that runs, a container that runs.

What is begun here is ended here too: the recording's ledger entry names this process as its owner, and what it
leaves when it is killed, `scmm record --recover` saves.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scmm_oci.errors import Failure
from scmm_oci.kernel import cgroup
from scmm_oci.oci.annotations import is_capture_name
from scmm_oci.recorder import addresses, drain, facts, pins, session, slots, store, wire
from scmm_oci.recorder.command import Child, User
from scmm_oci.recorder.engines import Container
from scmm_oci.recorder.ledger import Ledger
from scmm_oci.recorder.settings import Settings
from scmm_oci.tables import syscalls

Shape = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Glance:
    """A look at a running recording: (kind, name) of what there is, number of calls made, losses until now."""

    items: list[tuple[str, str]]
    calls: int
    losses: dict[str, int]


class Recording:
    """A running recording of ours. `root` is kept open: the files' names are looked up through it at the end."""

    def __init__(self, settings: Settings, entry: dict[str, Any], root: int | None) -> None:
        self._settings = settings
        self.entry = entry
        self._root = root

    def look(self) -> dict[str, Any]:
        """The document as it stands, as a snapshot; the recording goes on. Raises OSError."""
        with pins.Maps(self._settings.pin_dir) as maps:
            return session.capture(
                maps,
                self.entry,
                self._settings,
                ended_at=session.timestamp(time.time()),
                losses={"snapshot": None},
            )

    def glance(self) -> Glance:
        """What there is to see of it now, in the kernel's words. Raises OSError."""
        with pins.Maps(self._settings.pin_dir) as maps:
            slot = drain.read_slot(maps, self.entry["slot"])
        arches = wire.ARCHES[os.uname().machine]
        app = [(abi, calls) for _, phase, abi, calls in slot.sets if wire.PHASES[phase] == "app"]
        items = [("call", syscalls.name_of(arches[abi] or "", nr) or str(nr)) for abi, calls in app for nr in calls]
        for fact in slot.facts:
            if fact.kind == wire.SOCKET:
                family, address, port = addresses.parse(fact.name)
                items.append(("address", " ".join(map(str, filter(None, (family, address, port))))))
            elif fact.kind == wire.PROGRAM:
                items.append(("program", facts.own(fact.base)))
            else:
                name = os.fsdecode(fact.name)
                items.append(("file", facts.own(name if name.startswith("/") else f"{fact.base}/{name}".rstrip("/"))))
        return Glance(
            items=items,
            calls=sum(call[0] for _, calls in app for call in calls.values()),
            losses={kind: count for kind, count in slot.counters.items() if count and kind not in drain.NOTES},
        )

    def finish(self, *, shape: Shape, save: Callable[[dict[str, Any]], str]) -> tuple[str, dict[str, Any]]:
        """End it; see scmm_oci.recorder.session.finish."""
        with Ledger(self._settings.run_dir) as ledger:
            result = session.finish(ledger, self._settings, self.entry, now=time.time(), shape=shape, save=save)
        if self._root is not None:
            os.close(self._root)
        return result


def record_command(
    settings: Settings, child: Child, words: Sequence[str], *, name: str, user: User | None, follow: bool
) -> Recording:
    """Record a child that is yet to execute its command. Raises OSError."""
    flags = 0 if follow else wire.NO_FOLLOW
    entry = _entry("command", name=name, pid=child.pid, args=words, root="/", losses={})
    entry["container"]["uid"] = user.uid if user else os.getuid()
    entry["container"]["gid"] = user.gid if user else os.getgid()

    def attach(maps: pins.Maps, number: int, epoch: int) -> None:
        slots.make_live(maps, number, epoch=epoch, mntns=0, started=time.monotonic_ns(), flags=flags)
        slots.follow_process(maps, number, epoch=epoch, pidfd=child.pidfd, phase="setup")

    return _begin(settings, entry, attach, root=None)


def record_process(settings: Settings, pid: int, *, name: str, follow: bool) -> Recording:
    """Record a process that runs, and what it starts from now on.

    Raises:
        Failure: there is no such process. OSError: it cannot be recorded.
    """
    if not session.started(pid):
        raise Failure(f"there is no process {pid}")
    flags = wire.ATTACHED | (0 if follow else wire.NO_FOLLOW)
    root = _open_root(pid)
    losses: dict[str, Any] = {"attached": None}
    entry = _entry("attached", name=name, pid=pid, args=_command_line(pid), root=f"/proc/self/fd/{root}", losses=losses)

    def attach(maps: pins.Maps, number: int, epoch: int) -> None:
        slots.make_live(maps, number, epoch=epoch, mntns=0, started=time.monotonic_ns(), flags=flags, init=pid)
        missed = slots.follow_threads(maps, number, epoch=epoch, pid=pid)
        if missed:
            losses["unfollowed"] = missed

    return _begin(settings, entry, attach, root=root)


def record_container(settings: Settings, container: Container, *, name: str) -> Recording:
    """Record a container that runs: all that is in its cgroup, and what enters it. Raises OSError, NoOwnCgroup."""
    place = cgroup.place_of_container(container.pid)
    theirs = os.stat(f"/proc/{container.pid}/ns/mnt").st_ino
    mntns = 0 if theirs == os.stat("/proc/self/ns/mnt").st_ino else theirs
    root = _open_root(container.pid)
    entry = _entry(
        "attached",
        name=name,
        pid=container.pid,
        args=container.args or _command_line(container.pid),
        root=f"/proc/self/fd/{root}",
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
            flags=wire.ATTACHED,
            init=container.pid,
        )
        slots.watch_cgroup(maps, number, epoch=epoch, place=place)

    return _begin(settings, entry, attach, root=root)


def snapshot(settings: Settings, wanted: str) -> dict[str, Any]:
    """The capture, so far, of a recording that runs: by its name, or its container's id or the beginning of that.

    Raises:
        Failure: there is none, or more than one. OSError: it cannot be read.
    """
    with Ledger(settings.run_dir) as ledger:
        entries = ledger.entries()
        found = [each for each in entries if each.get("name") == wanted or _has_id(each, wanted)]
        if len(found) != 1:
            names = ", ".join(sorted(str(each.get("name")) for each in entries)) or "none"
            raise Failure(
                f"{'no' if not found else 'more than one'} recording is called {wanted!r}", f"running: {names}"
            )
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
    with Ledger(settings.run_dir) as ledger:
        session.open_slot(ledger, settings, entry, attach, now=time.time())
    return Recording(settings, entry, root)


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


def _open_root(pid: int) -> int:
    """A descriptor of a process's root directory; it keeps its mounts there after the process has ended."""
    return os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _command_line(pid: int) -> list[str]:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()[: 1 << 20].split(b"\0")
    except OSError:
        return []
    return [os.fsdecode(word) for word in words[:-1]]


def capture_name(path: str) -> str:
    """What a capture is called that is written to `path`: the file's name without its ending."""
    stem = os.path.basename(path).removesuffix(store.SUFFIX)
    name = "".join(each if is_capture_name("x" + each) else "_" for each in stem)[:128].lstrip(".-")
    return name or "capture"
