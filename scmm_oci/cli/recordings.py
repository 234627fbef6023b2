"""Read the captures that a verb was given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scmm_oci.capture import file as capture_file
from scmm_oci.capture.model import Capture
from scmm_oci.cli import kinds
from scmm_oci.cli.kinds import Kind
from scmm_oci.errors import BadInput, Problem
from scmm_oci.files import read_bounded


def read_captures(paths: Sequence[str]) -> list[Capture]:
    """Every capture of every file, in the files' order.

    Raises:
        BadInput: a file is bad; with what is wrong with all of them.
    """
    captures: list[Capture] = []
    found: list[Problem] = []
    for path in paths:
        if not Path(path).exists():
            hint = "a capture is written when its container ends; `scmm record --list` shows what is still recorded"
            found.append(Problem(path, "there is no such file", hint))
            continue
        text = None
        try:
            text = read_bounded(path, capture_file.MAX_BYTES)
            captures += capture_file.parse_all(text)
        except BadInput as error:
            found += kinds.problems(error, path, text, wanted=Kind.CAPTURE)
    if found:
        raise BadInput(found)
    return captures
