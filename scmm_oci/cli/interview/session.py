"""The file that keeps an interview: what it began with, and everything that was done.

It is bound to the captures by a digest of what they hold.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scmm_oci.capture import file as capture_file
from scmm_oci.capture.model import Capture
from scmm_oci.cli.interview import course
from scmm_oci.cli.interview.course import Event
from scmm_oci.errors import BadInput, Problem
from scmm_oci.files import atomic_write, read_bounded
from scmm_oci.policy import choices as choices_form
from scmm_oci.policy.choices import Choices

_FORMAT, _VERSION = "scmm-interview", 1
_MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Kept:
    """An interview as it is kept: the choices that flags had made, what was done, and the captures' digest."""

    initial: Choices
    events: tuple[Event, ...]
    captures: str


def digest(captures: Iterable[Capture]) -> str:
    """A text that is the same for the same recordings, in whatever files and order they are."""
    each = sorted({hashlib.sha256(capture_file.dump(one)).hexdigest() for one in captures})
    return f"sha256:{hashlib.sha256(' '.join(each).encode()).hexdigest()}"


def write(path: str | os.PathLike[str], kept: Kept) -> None:
    """Write the file, for its owner only: whole, or not at all (Failure)."""
    document = {
        "format": _FORMAT,
        "version": _VERSION,
        "captures": kept.captures,
        "initial": choices_form.to_document(kept.initial),
        "events": course.plain(kept.events),
    }
    atomic_write(path, json.dumps(document, indent=1, sort_keys=True).encode() + b"\n", 0o600)


def read(path: str | os.PathLike[str], captures: str) -> Kept:
    """An interview about these captures.

    Args:
        captures: their digest.

    Raises:
        BadInput: there is no such file, it is another user's or none of ours, or it is about other captures.
    """
    source = os.fspath(path)
    if not Path(path).exists():
        raise BadInput([Problem("", "there is no interview to resume", "leave --resume out to begin")], source=source)
    try:
        document = json.loads(read_bounded(path, _MAX_BYTES, own=True))
    except (ValueError, RecursionError):
        raise BadInput([Problem("", "is no JSON")], source=source) from None
    if not isinstance(document, dict) or document.get("format") != _FORMAT or document.get("version") != _VERSION:
        hint = f"it is not of format {_FORMAT} {_VERSION}"
        raise BadInput([Problem("", "is no interview of this version of scmm", hint)], source=source)
    if document.get("captures") != captures:
        hint = "give the captures that it began with, or remove it to begin anew"
        raise BadInput([Problem("", "is an interview about other captures", hint)], source=source)
    try:
        events = course.from_plain(document.get("events"))
        return Kept(choices_form.from_document(document.get("initial")), events, captures)
    except BadInput as error:
        raise BadInput(error.problems, source=source) from None


def forget(path: str | os.PathLike[str]) -> None:
    """Remove the file, if it is there."""
    Path(path).unlink(missing_ok=True)
