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


def _mount_namespace(pid: int) -> int:
    theirs = os.stat(f"/proc/{pid}/ns/mnt").st_ino
    return 0 if theirs == os.stat("/proc/self/ns/mnt").st_ino else theirs


def is_of(entry: dict[str, Any], container_id: str, bundle: str) -> bool:
    """Whether a recording is of this container: two engines may give the same id, but not the same bundle."""
    if entry.get("container", {}).get("id") != container_id:
        return False
    return not bundle or entry.get("bundle") in ("", bundle)


def is_gone(entry: dict[str, Any]) -> bool:
    """Whether the container of a recording is over: its first process is no more, or its number is another's now."""
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
    pid: int,
    name: str,
    runtime: Callable[[], dict[str, Any]],
    now: float,
) -> bool:
    """Record the container whose init is `pid` from here on; False if it is recorded already.

    runtime: called last, because its answer takes a while and is on its way meanwhile. On failure nothing of
    this recording is left. Raises OSError.
    """
    for entry in ledger.entries():
        if not is_of(entry, container["id"], bundle):
            continue
        if entry.get("pid") == pid:
            return False
        if is_gone(entry):
            _finish_earlier(ledger, settings, entry, now=now)
    entries = ledger.entries()
    place = cgroup.place_of_container(pid)
    mntns = _mount_namespace(pid)
    number = slots.free_slot({entry["slot"] for entry in entries})
    # Never 0 (a free slot), and another one for each recording that could follow in the same slot.
    epoch = int(now * 1_000_000) & 0xFFFFFFFF or 1
    entry = {
        "slot": number,
        "pid": pid,
        "name": name,
        "started_at": timestamp(now),
        "bundle": bundle,
        "pin_dir": settings.pin_dir,
        "cgroup": place.path,
        "container": container,
        "runtime": {"name": None, "version": None},
    }
    loaded = pins.is_loaded(settings.pin_dir)
    if not loaded:
        pins.load(settings.pin_dir, run_dir=ledger.directory, call_tables=settings.call_tables)
    try:
        ledger.write(entry)
        with pins.Maps(settings.pin_dir) as maps:
            slots.begin(maps, number, epoch=epoch, mntns=mntns, place=place)
        entry["runtime"] = runtime()
        ledger.write(entry)
    except BaseException:
        ledger.remove(number)
        with pins.Maps(settings.pin_dir) as maps:
            slots.free(maps, number)
        _unload_if_last(ledger, settings.pin_dir)
        raise
    return True


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
    ledger: Ledger, settings: Settings, entry: dict[str, Any], *, now: float, cut_short: str | None = None
) -> tuple[str, dict[str, Any]]:
    """End a recording: its capture's path and document. The last one takes everything out of the kernel.

    cut_short: why, when the poststop hook did not end it. Raises Unsaved when the capture went to the run
    directory instead, OSError when it could not be written at all (the slot is kept then).
    """
    number = entry["slot"]
    directory = str(entry.get("pin_dir", settings.pin_dir))  # the settings may have changed since
    busy = cut_short is not None and not is_gone(entry)
    if entry.get("broken"):
        cut_short = "the recorder's notes on this recording were cut short"
    with pins.Maps(directory) as maps:
        slots.detach(maps, number)
        slot = drain.read_slot(maps, number)
        saved, failure = None, None
        if cut_short is None:
            _note_end(ledger, entry, now)
        elif "ended_at" in entry:
            # The poststop hook was killed at work, perhaps with the capture written already.
            document = _document(slot, entry, ended_at=entry["ended_at"], cut_short=None)
            saved = store.find(settings.capture_dir, document)
        if saved is None:
            document = _document(slot, _whole(entry, now), ended_at=timestamp(now), cut_short=cut_short)
            try:
                saved = store.store(settings.capture_dir, document)
            except OSError as error:
                failure = error
                saved = store.store(os.path.join(ledger.directory, UNSAVED), document)
        # In this order: a slot that is free but still in the ledger would be saved once more, empty; one that is
        # live but in no ledger is freed by whoever takes it next.
        ledger.remove(number)
        slots.free(maps, number, busy=busy)
    _unload_if_last(ledger, directory)
    if failure is not None:
        raise Unsaved(
            failure.errno,
            f"{settings.capture_dir} did not take the capture ({failure}); it is kept in {saved}: "
            "make room, then run scmm record --recover",
        )
    return saved, document


def _document(slot: drain.Slot, entry: dict[str, Any], *, ended_at: str, cut_short: str | None) -> dict[str, Any]:
    host = os.uname()
    return drain.document(
        slot, entry, ended_at=ended_at, kernel=host.release, machine=host.machine, cut_short=cut_short
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
