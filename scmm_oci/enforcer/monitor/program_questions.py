"""What a program that decides is asked, as JSON has it (docs/monitor.md, "A program that decides"). Pure."""

from __future__ import annotations

import os
from typing import Any

from scmm_oci.enforcer.monitor.model import Call, Process, Target
from scmm_oci.enforcer.monitor.seen import Seen


def question_of(target: Target, what: Call, process: Process | None, seen: Seen, words: str) -> dict[str, Any]:
    """A question for a program, as JSON has it."""
    address = seen.address
    said = seen.memory.paths if seen.memory is not None else ()
    return {
        "container": target.id,
        "name": target.name,
        "annotations": dict(target.annotations),
        "pid": process.pid if process is not None else 0,
        "tid": process.tid if process is not None else 0,
        "executable": process.executable if process is not None else None,
        "comm": process.comm if process is not None else None,
        "uid": process.uid if process is not None else None,
        "arch": what.arch.value if what.arch is not None else None,
        "syscall": what.name,
        "nr": what.nr,
        "args": list(what.args),
        "words": words,
        "said": [None if one is None else os.fsdecode(one) for one in said],
        "paths": list(seen.paths) if seen.paths is not None else None,
        "address": None if address is None else {"family": address.family, "text": address.text, "port": address.port},
    }
