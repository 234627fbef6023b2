"""Files that may hold captures or a policy: each is read once, and told apart by what is in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scmm_oci.capture import file as capture_file
from scmm_oci.capture.model import Capture
from scmm_oci.cli import kinds
from scmm_oci.cli.kinds import Kind
from scmm_oci.errors import BadInput, Problem
from scmm_oci.files import read_bounded
from scmm_oci.policy import document
from scmm_oci.policy.model import Policy

_ENDING = ".scmm-cap"


@dataclass(frozen=True)
class Given:
    """A file's bytes."""

    path: str
    data: bytes

    @property
    def is_capture(self) -> bool:
        """Whether it is a capture or a set of them; by its name only where it is empty."""
        if not self.data.strip():
            return self.path.endswith(_ENDING)
        return kinds.is_capture(self.data)


def read_files(paths: Sequence[str]) -> list[Given]:
    """The files' bytes.

    Raises:
        BadInput: files cannot be read; with what is wrong with all of them.
    """
    given: list[Given] = []
    found: list[Problem] = []
    for path in paths:
        if not Path(path).exists():
            hint = "a capture is written when its container ends; `scmm record --list` shows what is still recorded"
            found.append(Problem(path, "there is no such file", hint if path.endswith(_ENDING) else ""))
            continue
        try:
            given.append(Given(path, read_bounded(path, max(capture_file.MAX_BYTES, document.MAX_BYTES))))
        except BadInput as error:
            found += _placed(path, error)
    if found:
        raise BadInput(found)
    return given


def captures_in(given: Sequence[Given]) -> list[Capture]:
    """Every capture of every file, in the files' order. Raises BadInput with what is wrong with all of them."""
    captures: list[Capture] = []
    found: list[Problem] = []
    for one in given:
        try:
            captures += capture_file.parse_all(one.data)
        except BadInput as error:
            found += kinds.problems(error, one.path, one.data, wanted=Kind.CAPTURE)
    if found:
        raise BadInput(found)
    return captures


def policies_in(given: Sequence[Given]) -> list[Policy]:
    """The policies, in the files' order. Raises BadInput with what is wrong with all of them."""
    policies: list[Policy] = []
    found: list[Problem] = []
    for one in given:
        try:
            policies.append(document.parse(one.data))
        except BadInput as error:
            found += kinds.problems(error, one.path, one.data, wanted=Kind.POLICY)
    if found:
        raise BadInput(found)
    return policies


def _placed(path: str, error: BadInput) -> list[Problem]:
    return [Problem(f"{path}: {one.place}" if one.place else path, one.message, one.hint) for one in error.problems]
