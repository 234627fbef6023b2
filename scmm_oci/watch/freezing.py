"""Freeze the cgroup of a watch that asked for it, and let one go on that was stopped.

The kernel's side stops whom it sees with SIGSTOP and leaves a flag; the cgroup's freezer holds the rest, and
those whom somebody sends SIGCONT. Both are done under the ledger's lock, so that nobody freezes what was just let go.

Facts: the kernel's admin-guide/cgroup-v2, "cgroup.freeze"; proc_pid_status(5), State, SigPnd and ShdPnd.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from scmm_oci.errors import Failure
from scmm_oci.kernel import cgroup
from scmm_oci.recorder.settings import Settings
from scmm_oci.watch import own_cgroup, pins, session, slots

_PATIENCE_S = 5.0


def freeze(settings: Settings, entry: dict[str, Any]) -> str | None:
    """Freeze the watch's cgroup if the kernel's side has stopped it; what was in the way, or None.

    Raises OSError.
    """
    with session.open_ledger(settings), pins.Maps(entry["pin_dir"]) as maps:
        value = slots.value_of(maps, entry["slot"])
        if value.epoch != entry["epoch"] or not value.frozen:
            return None  # somebody let it go on, or it is over
        return _write(entry, "1")


def is_frozen(entry: dict[str, Any]) -> bool:
    """Whether the cgroup's freezer holds it."""
    place = _freezer(entry)
    if isinstance(place, str):
        return False
    try:
        return (place / "cgroup.freeze").read_text().strip() == "1"
    except OSError:
        return False


def thaw(settings: Settings, entry: dict[str, Any]) -> int:
    """Let a watch go on that was stopped; how many processes were continued.

    Raises:
        Failure: it is over.
        OSError: it cannot be done.
    """
    with session.open_ledger(settings), pins.Maps(entry["pin_dir"]) as maps:
        if slots.value_of(maps, entry["slot"]).epoch != entry["epoch"]:
            raise Failure(f"the watch of {session.called(entry)} is over", "scmm-watch --list")
        # First: from here on the kernel's side stops nobody else.
        slots.thaw(maps, entry["slot"], epoch=entry["epoch"])
        directory = cgroup.directory(entry["cgroup"]["path"], controller=entry["cgroup"]["controller"])
        if directory is None:
            raise Failure(f"the cgroup {entry['cgroup']['path']} is not mounted here", "run it where that is mounted")
        # While the freezer holds them nobody runs ahead of the others.
        continued = _continue(directory)
        problem = _write(entry, "0")
        if problem is not None and is_frozen(entry):
            raise Failure(f"the cgroup of {session.called(entry)} stays frozen: {problem}")
        # A signal that was under way has come by now; another violation sets the flag again.
        deadline = time.monotonic() + _PATIENCE_S
        while not slots.value_of(maps, entry["slot"]).frozen and time.monotonic() < deadline:
            more = _continue(directory)
            if not more:
                break
            continued |= more
    return len(continued)


def _continue(directory: str) -> set[int]:
    """Send SIGCONT to all who are stopped, or about to be."""
    found = set()
    for pid in own_cgroup.processes(directory):
        if not _is_stopped(pid):
            continue
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            continue
        found.add(pid)
    return found


def _is_stopped(pid: int) -> bool:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except OSError:
        return False
    values = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    if values["State"][0] == "T":
        return True
    pending = int(values["SigPnd"][0], 16) | int(values["ShdPnd"][0], 16)
    return bool(pending >> (signal.SIGSTOP - 1) & 1)


def _write(entry: dict[str, Any], what: str) -> str | None:
    """Write to cgroup.freeze; why that was not possible, or None."""
    place = _freezer(entry)
    if isinstance(place, str):
        return place
    try:
        own_cgroup.write(place / "cgroup.freeze", what)
    except FileNotFoundError:
        return None  # the cgroup is gone, and all that was in it
    except OSError as error:
        return f"{place / 'cgroup.freeze'} cannot be written: {error.strerror}"
    return None


def _freezer(entry: dict[str, Any]) -> Path | str:
    """The directory whose freezer holds the watch's processes, or why there is none."""
    place = entry["cgroup"]
    if place["hierarchy"]:
        return "it is a cgroup of v1, whose processes are stopped by SIGSTOP alone"
    found = cgroup.directory(place["path"])
    return Path(found) if found is not None else f"the cgroup {place['path']} is not mounted here"
