"""How a recording of that name stands which an engine's container is in, and what becomes of its capture.

The container may go on, have ended, or never have begun; nobody else has the name. Called by cli.record_run.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

from scmm_oci import quickjson
from scmm_oci.errors import Failure, printable
from scmm_oci.files import atomic_write, reason
from scmm_oci.recorder import recover, session, store
from scmm_oci.recorder.ledger import Ledger
from scmm_oci.recorder.settings import Settings

_MOST_LOG = 64 << 10  # bytes of the hook's log that are looked through


class State(StrEnum):
    """How a recording stands."""

    RECORDING = "recording"
    ENDING = "ending"
    SAVED = "saved"
    NONE = "none"


def state(settings: Settings, name: str, *, earlier: Stamp | None) -> State:
    """How the recording of that name stands, of which there is one. earlier: the capture that was there before it."""
    if os.path.isdir(settings.run_dir):
        with Ledger(settings.run_dir) as ledger:
            mine = [each for each in ledger.entries() if each.get("name") == name]
        if mine:
            return State.ENDING if session.is_gone(mine[0]) else State.RECORDING
    return State.SAVED if stamp(settings, name) not in (None, earlier) else State.NONE


# What tells one capture of a name from the next: its inode, and when it was written, in nanoseconds.
Stamp = tuple[int, int]


def stamp(settings: Settings, name: str) -> Stamp | None:
    """The stamp of the capture of that name, if there is one."""
    try:
        status = os.stat(path_of(settings, name))
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def end(settings: Settings, name: str, *, now: float) -> None:
    """End a recording whose container is gone, and whose poststop hook nobody calls: a container that could not be
    created may be one. Raises OSError: the capture could not be saved."""
    with Ledger(settings.run_dir) as ledger:
        for entry in ledger.entries():
            if entry.get("name") == name and session.is_gone(entry):
                session.finish(ledger, settings, entry, now=now, cut_short=recover.CUT_SHORT)


def path_of(settings: Settings, name: str) -> str:
    """Where the capture of that name is put."""
    return os.path.join(settings.capture_dir, name + store.SUFFIX)


def taken(
    settings: Settings, recorded: str, name: str, output: str | None, owner: tuple[int, int] | None
) -> tuple[str, dict[str, Any]] | None:
    """Give a capture its name and place: its path, and the capture. None: the program never began, and it goes.

    Args:
        recorded: the name that it was recorded under, which is given up.
        output: the file that it becomes; None: the capture directory, where an older one of the name is kept.

    Raises:
        Failure: it cannot be written; then it is where it was, and the message says where.
    """
    path = path_of(settings, recorded)
    try:
        document: dict[str, Any] = {**quickjson.loads(Path(path).read_bytes()), "name": name}
        if any(each["kind"] == "never-started" for each in document["losses"]):
            os.unlink(path)
            return None
        if output is not None:
            atomic_write(output, store.encode(document), 0o600, owner=owner)
            new = output
        elif recorded != name:
            new = store.store(settings.capture_dir, document)
        else:
            return path, document
        os.unlink(path)
    except (OSError, ValueError, KeyError, TypeError, Failure) as error:
        raise Failure(f"the capture stays where it is, {path}: {reason(error)}") from None
    return new, document


def logged(settings: Settings, since: Callable[[str], bool]) -> str | None:
    """The last line of the hook's log for which `since` holds, without its time."""
    try:
        with open(settings.log_file, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _MOST_LOG))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return None
    return next((printable(line.partition(" ")[2]) for line in reversed(lines) if since(line)), None)
