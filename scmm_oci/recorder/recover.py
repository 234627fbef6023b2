"""Save what recordings hold whose hooks died: `scmm record --recover`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from scmm_oci.recorder import pins, session, store
from scmm_oci.recorder.ledger import Ledger
from scmm_oci.recorder.settings import Settings

CUT_SHORT = "recovered: the runtime's poststop hook did not end this recording"
ABANDONED = "recovered: scmm record was killed before it could end this recording"


@dataclass(frozen=True)
class Recovered:
    """One recording: the capture's path, or why there is none."""

    name: str
    path: str | None
    problem: str | None = None


def recover(settings: Settings, *, now: float, everything: bool = False) -> list[Recovered]:
    """End every recording whose container is gone, and move captures that waited for room to their place.

    everything: also recordings whose container still runs. Raises OSError when the run directory is not ours.
    """
    results: list[Recovered] = []
    if not os.path.isdir(settings.run_dir):
        return results
    with Ledger(settings.run_dir) as ledger:
        for entry in ledger.entries():
            if not everything and not session.is_gone(entry):
                continue
            name = str(entry.get("name", f"slot {entry['slot']}"))
            try:
                why = ABANDONED if "owner" in entry else CUT_SHORT
                path, _ = session.finish(ledger, settings, entry, now=now, cut_short=why)
                results.append(Recovered(name, path))
            except pins.PinsMissing as error:
                # Unmounting the BPF file system or a reboot took the maps: nothing is left to save.
                ledger.remove(entry["slot"])
                results.append(Recovered(name, None, error.strerror))
            except OSError as error:
                results.append(Recovered(name, None, error.strerror or str(error)))
        if not ledger.entries():
            pins.remove(settings.pin_dir)
        for waiting in sorted((Path(settings.run_dir) / session.UNSAVED).glob("*" + store.SUFFIX)):
            name = waiting.name.removesuffix(store.SUFFIX)
            try:
                results.append(Recovered(name, _move(waiting, settings.capture_dir)))
                waiting.unlink()
            except (OSError, ValueError) as error:
                results.append(Recovered(name, None, str(error)))
    return results


def _move(path: Path, directory: str) -> str:
    from scmm_oci import quickjson

    return store.store(directory, quickjson.loads(path.read_bytes()))
