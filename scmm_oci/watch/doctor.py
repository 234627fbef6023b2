"""Check what watching needs beside what recording does. Changes nothing that stays. Used by `scmm doctor`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

from scmm_oci.kernel import prepared
from scmm_oci.recorder.doctor import Check, Verdict
from scmm_oci.recorder.settings import Settings
from scmm_oci.watch import pins, session


def checks(settings: Settings) -> Iterator[Check]:
    """Whether this kernel takes the watch from this process, and what earlier watches left."""
    yield load_check()
    try:
        there = session.entries(settings)
        gone = [entry for entry in there if session.is_stale(entry)]
        left = not there and os.path.lexists(settings.watch_pin_dir)
    except OSError as error:
        where = error.filename or session.directory(settings)
        if isinstance(error, PermissionError) and os.geteuid():
            yield Check("watches", Verdict.WARNING, f"{where} cannot be looked into without root", "run as root")
        else:
            detail = f"{where} cannot be looked into: {error.strerror or error}"
            yield Check("watches", Verdict.FAILED, detail, "mend or remove it")
        return
    remedy = "scmm-watch --list ends them"
    if gone:
        yield Check("watches", Verdict.WARNING, f"{len(gone)} whose container is gone", remedy)
    elif left:
        yield Check("watches", Verdict.WARNING, f"{settings.watch_pin_dir} is left from a crash", remedy)
    else:
        yield Check("watches", Verdict.OK, f"{len(there)} running")


def load_check() -> Check:
    """Have the kernel verify and attach the watch for a moment."""
    with tempfile.TemporaryDirectory(prefix="scmm-doctor-") as directory:
        try:
            if not os.path.exists(pins.OBJECT):
                raise FileNotFoundError(2, f"{pins.OBJECT} is not there")
            prepared.load_and_pin(pins.read_or_make(directory), entries={"machines": 1}, pins={})
        except OSError as error:
            return Check("watch", Verdict.FAILED, error.strerror or str(error), "mend what failed above first")
    return Check("watch", Verdict.OK, "the kernel verified and attached it")
