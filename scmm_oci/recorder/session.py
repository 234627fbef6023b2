"""Begin and end the recording of one container: pins, slot, ledger and capture in the right order.

Used by the hook and by `scmm record --recover`. Standard library only.
"""

from __future__ import annotations

import os
import time

from scmm_oci.kernel import cgroup
from scmm_oci.recorder import drain, pins, slots, store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from scmm_oci.recorder.ledger import Ledger
    from scmm_oci.recorder.settings import Settings

UNSAVED = "unsaved"


class Unsaved(OSError):
    """The capture directory did not take the capture; `strerror` says where it is kept instead."""


def timestamp(seconds: float) -> str:
    """UTC as RFC 3339, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def mount_namespace(pid: int) -> int:
    """The number of a process's mount namespace; 0 for our own. Raises OSError."""
    theirs = os.stat(f"/proc/{pid}/ns/mnt").st_ino
    return 0 if theirs == os.stat("/proc/self/ns/mnt").st_ino else theirs


def is_of(entry: dict[str, Any], container_id: str, bundle: str) -> bool:
    """Whether a recording is of this container: two engines may give the same id, but not the same bundle."""
    if entry.get("container", {}).get("id") != container_id:
        return False
    return not bundle or entry.get("bundle") in ("", bundle)


def started(pid: int) -> int:
    """When a process began, in clock ticks since boot: with it, a process id is nobody else's. 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def is_gone(entry: dict[str, Any]) -> bool:
    """Whether nobody will end a recording: its container's first process is no more, or its number is another's now.

    What `scmm record` began is its own to end.
    """
    owner = entry.get("owner")
    if isinstance(owner, dict):
        return started(owner.get("pid", 0)) != owner.get("started")
    pid = entry.get("pid", 0)
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            if file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X"):
                return True
        places = [path for _, _, path in cgroup.memberships(pid)]
    except OSError:
        return True
    # It may have moved into a cgroup of its own making below (systemd's init.scope).
    known = str(entry.get("cgroup"))
    return not any(path == known or path.startswith(known + "/") for path in places)


def begin(
    ledger: Ledger,
    settings: Settings,
    *,
    container: dict[str, Any],
    bundle: str,
    files: dict[str, Any],
    pid: int,
    name: str,
    runtime: Callable[[], dict[str, Any]],
    now: float,
    monotonic: int,
    depth: int = 2,
) -> bool:
    """Record the container whose init is `pid` from here on; False if it is recorded already.

    files: where its files are, as drain's resolver takes it: {"root": …, "mounts": {…}}. runtime: called last, because
    its answer takes a while and is on its way meanwhile. now: seconds since the epoch; monotonic: CLOCK_MONOTONIC, ns.
    depth: how many calls that followed one another are kept, 2 or 3.
    On failure nothing of this recording is left. Raises OSError.
    """
    for entry in ledger.entries():
        if not is_of(entry, container["id"], bundle):
            continue
        if entry.get("pid") == pid:
            return False
        if is_gone(entry):
            _finish_earlier(ledger, settings, entry, now=now)
    place = cgroup.place_of_container(pid)
    mntns = mount_namespace(pid)
    entry = {
        "pid": pid,
        "name": name,
        "bundle": bundle,
        "cgroup": place.path,
        "container": container,
        "files": files,
    }

    def attach(maps: pins.Maps, number: int, epoch: int) -> None:
        flags = slots.depth_flag(depth)
        slots.make_live(maps, number, epoch=epoch, mntns=mntns, started=monotonic, flags=flags)
        slots.watch_cgroup(maps, number, epoch=epoch, place=place)
        entry["runtime"] = runtime()

    open_slot(ledger, settings, entry, attach, now=now)
    return True


def open_slot(
    ledger: Ledger,
    settings: Settings,
    entry: dict[str, Any],
    attach: Callable[[pins.Maps, int, int], None],
    *,
    now: float,
) -> None:
    """Take a slot for a recording, load the recorder if it is the first, and write the ledger.

    entry: what there is to say of it; gets `slot`, `epoch` and the like. attach: makes the slot live (maps, number,
    epoch). On failure nothing of this recording is left. Raises OSError.
    """
    entries = ledger.entries()
    number = slots.free_slot({each["slot"] for each in entries})
    # Never 0 (a free slot), another one for each recording that could follow in the same slot, and no other's now.
    epoch = int(now * 1_000_000) & 0xFFFFFFFF or 1
    while any(each.get("epoch") == epoch for each in entries):
        epoch = epoch % 0xFFFFFFFF + 1
    entry.update(slot=number, epoch=epoch, started_at=timestamp(now), pin_dir=settings.pin_dir)
    entry.setdefault("runtime", {"name": None, "version": None})
    if not pins.is_loaded(settings.pin_dir):
        pins.load(
            settings.pin_dir,
            run_dir=ledger.directory,
            call_tables=settings.call_tables,
            facts=settings.facts,
            seed=int.from_bytes(os.urandom(8), "little"),
        )
    try:
        ledger.write(entry)
        with pins.Maps(settings.pin_dir) as maps:
            attach(maps, number, epoch)
        ledger.write(entry)
    except BaseException:
        discard(ledger, settings, entry)
        raise


def discard(ledger: Ledger, settings: Settings, entry: dict[str, Any]) -> None:
    """End a recording and keep nothing of it. Raises OSError."""
    directory = str(entry.get("pin_dir", settings.pin_dir))
    ledger.remove(entry["slot"])
    with pins.Maps(directory) as maps:
        slots.free(maps, entry["slot"], busy=True)
    _unload_if_last(ledger, directory)


def _finish_earlier(ledger: Ledger, settings: Settings, entry: dict[str, Any], *, now: float) -> None:
    try:
        why = "the container was started again before its poststop hook ran"
        finish(ledger, settings, entry, now=now, cut_short=why)
    except pins.PinsMissing:
        ledger.remove(entry["slot"])  # what it held is gone with the maps
    except Unsaved:
        pass  # it waits in the run directory, and must not stand in the way of this one


def _unload_if_last(ledger: Ledger, directory: str) -> None:
    if not ledger.entries():
        pins.remove(directory)


def finish(
    ledger: Ledger,
    settings: Settings,
    entry: dict[str, Any],
    *,
    now: float,
    cut_short: str | None = None,
    shape: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    save: Callable[[dict[str, Any]], str] | None = None,
) -> tuple[str, dict[str, Any]]:
    """End a recording: its capture's path and document. The last one takes everything out of the kernel.

    cut_short: why, when nobody ended it as it should. shape: makes another document of the capture before it is
    saved. save: saves it elsewhere than in the capture directory, and gives its path. Raises Unsaved when the capture
    went to the run directory instead, OSError when it could not be written at all (the slot is kept then).
    """
    number = entry["slot"]
    directory = str(entry.get("pin_dir", settings.pin_dir))  # the settings may have changed since
    busy = "owner" in entry or (cut_short is not None and not is_gone(entry))
    if entry.get("broken"):
        cut_short = "the recorder's notes on this recording were cut short"
    with pins.Maps(directory) as maps:
        slots.detach(maps, number)
        saved, failure = None, None
        if cut_short is None:
            _note_end(ledger, entry, now)
        elif "ended_at" in entry:
            # The poststop hook was killed at work, perhaps with the capture written already.
            saved = store.find(settings.capture_dir, entry)
        losses: dict[str, str | None] = {} if cut_short is None else {"cut-short": cut_short}
        document = capture(maps, _whole(entry, now), settings, ended_at=timestamp(now), losses=losses)
        if shape is not None:
            document = shape(document)
        if saved is None:
            try:
                saved = save(document) if save is not None else store.store(settings.capture_dir, document)
            except OSError as error:
                failure = error
                saved = store.store(os.path.join(ledger.directory, UNSAVED), document)
        # In this order: a slot that is free but still in the ledger would be saved once more, empty; one that is
        # live but in no ledger is freed by whoever takes it next.
        ledger.remove(number)
        if ledger.entries():
            slots.free(maps, number, busy=busy)
    _unload_if_last(ledger, directory)
    if failure is not None:
        raise Unsaved(
            failure.errno,
            f"the capture could not be written ({failure}); it is kept in {saved}: "
            f"make room, then run scmm record --recover, which puts it into {settings.capture_dir}",
        )
    return saved, document


def capture(
    maps: pins.Maps, entry: dict[str, Any], settings: Settings, *, ended_at: str, losses: dict[str, str | None]
) -> dict[str, Any]:
    """The document of a recording as it stands; the slot stays as it is. Raises BpfError.

    losses: see scmm_oci.recorder.drain.document. Names are looked up for half of the hook's deadline at most.
    """
    from scmm_oci.recorder import facts, resolve

    host = os.uname()
    slot = drain.read_slot(maps, entry["slot"])
    files = facts.Files(slot.facts, milliseconds=slot.milliseconds)
    where = entry.get("files") or {"root": None, "mounts": {}}
    if "owner" in entry and str(where["root"]).startswith("/proc/") and is_gone(entry):
        where = {"root": None, "mounts": {}}  # a descriptor of a process that is gone
    with resolve.Resolver(
        where["root"],
        where["mounts"],
        deadline=time.monotonic() + settings.deadline / 2,
        known=files.is_known,
    ) as resolver:
        return drain.document(
            slot,
            entry,
            resolver=resolver,
            files=files,
            ended_at=ended_at,
            kernel=host.release,
            machine=host.machine,
            losses=losses,
        )


def _note_end(ledger: Ledger, entry: dict[str, Any], now: float) -> None:
    entry["ended_at"] = timestamp(now)
    try:
        ledger.write(entry)
    except OSError:
        pass  # then a recovery cannot tell whether the capture is written, and writes it once more


def _whole(entry: dict[str, Any], now: float) -> dict[str, Any]:
    if not entry.get("broken"):
        return entry
    nobody: dict[str, Any] = {
        "id": "unknown",
        "args": [],
        "uid": None,
        "gid": None,
        "no_new_privileges": None,
        "seccomp": None,
    }
    return {
        "name": f"unknown-{entry['slot']}",
        "started_at": timestamp(now),
        "container": nobody,
        "runtime": {"name": None, "version": None},
    }
