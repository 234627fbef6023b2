"""Read and write capture files: one JSON document each, checked in full before anything is made of it.

A file holds one capture, or a set of them that ``scmm merge`` made.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from scmm_oci.capture.check import check
from scmm_oci.capture.document import FORMAT, VERSION, build, plain
from scmm_oci.capture.model import Capture
from scmm_oci.collection import uncollected
from scmm_oci.errors import BadInput, Failure, Problem, short
from scmm_oci.fastschema import accepts
from scmm_oci.files import atomic_write, read_bounded
from scmm_oci.schema import MOST, Found, load_fitting, place, problems, prune

SET_FORMAT = "scmm-capture-set"

# A file takes some 250 bytes for each way in which a path was used, and a hundred thousand of these are not rare. A
# planted file at the bound takes half a minute and two gigabytes to read (measured: empty objects), not the machine.
MAX_BYTES = 64 << 20

# Problems of all captures of a set together: each has up to MOST with the schema, one line that says so, and MOST more.
_TOLD = 2 * MOST + 1


def read(path: str | os.PathLike[str]) -> Capture:
    """The one capture in a file.

    Raises:
        BadInput: the file cannot be read, is too large, or is no capture; with everything that is wrong with it.
    """
    return parse(read_bounded(path, MAX_BYTES), source=os.fspath(path))


def read_all(path: str | os.PathLike[str]) -> tuple[Capture, ...]:
    """Every capture in a file: one, or those of a set in the set's order.

    Raises:
        BadInput: as :func:`read`.
    """
    return parse_all(read_bounded(path, MAX_BYTES), source=os.fspath(path))


def write(path: str | os.PathLike[str], capture: Capture) -> None:
    """Write a capture file whole or not at all, readable by its owner only: arguments can hold secrets.

    Raises:
        Failure: it could not be written.
    """
    write_all(path, [capture])


def write_all(path: str | os.PathLike[str], captures: Sequence[Capture]) -> None:
    """Write captures to one file as :func:`write` does: one capture as such, several as a set.

    Raises:
        Failure: it could not be written, or would be larger than what is read.
    """
    data = dump_all(captures)
    if len(data) > MAX_BYTES:
        raise Failure(f"{os.fspath(path)} would have {len(data)} bytes, and {MAX_BYTES} are the most that is read")
    atomic_write(path, data, 0o600)


def parse(data: bytes, *, source: str = "") -> Capture:
    """The capture in a JSON text.

    Args:
        source: the file's name, for the messages.

    Raises:
        BadInput: it is no capture, or a set with several.
    """
    captures = parse_all(data, source=source)
    if len(captures) > 1:
        raise BadInput([Problem(".captures", f"has {len(captures)} captures where one is wanted")], source=source)
    return captures[0]


def parse_all(data: bytes, *, source: str = "") -> tuple[Capture, ...]:
    """The captures in a JSON text; at least one.

    Args:
        source: the file's name, for the messages.

    Raises:
        BadInput: it is neither a capture nor a set.
    """
    with uncollected():
        document, good = load_fitting(data, _fits, source=source)
        found = list(islice(_meaning(document) if good else _everything(document), _TOLD + 1))
        if len(found) > _TOLD:
            found[_TOLD:] = [Problem(".", f"has more than {_TOLD} problems; the others are not told")]
        if found:
            raise BadInput(found, source=source)
        return tuple(build(one) for one, _ in _parts(document))


def dump(capture: Capture) -> bytes:
    """The capture as JSON: sorted keys, no spaces, ASCII (so that lone surrogates survive), one line end."""
    return _text(plain(capture))


def dump_all(captures: Sequence[Capture]) -> bytes:
    """Captures as JSON in the same form: one capture as such, several as a set, in the order they have."""
    if len(captures) == 1:
        return dump(captures[0])
    return _text({"format": SET_FORMAT, "version": VERSION, "captures": [plain(capture) for capture in captures]})


def _text(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, sort_keys=True, separators=(",", ":")) + "\n").encode("ascii")


def _is_set(document: Any) -> bool:
    return isinstance(document, dict) and document.get("format") == SET_FORMAT


def _parts(document: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Every capture's document, with where it stands."""
    if _is_set(document):
        for index, one in enumerate(document["captures"]):
            yield one, place(("captures", index))
    else:
        yield document, ""


def _fits(document: Any) -> bool:
    """Whether the schemas take it."""
    if _is_set(document) and not accepts(document, "capture-set"):
        return False
    return isinstance(document, dict) and all(accepts(one, "capture") for one, _ in _parts(document))


def _meaning(document: dict[str, Any]) -> Iterator[Problem]:
    """What is wrong with a document that the schemas take."""
    for one, where in _parts(document):
        yield from (_inside(where, problem) for problem in islice(check(one), MOST))


def _everything(document: Any) -> Iterator[Problem]:
    """What is wrong with any document."""
    if _is_set(document):
        bad = problems(document, "capture-set")
        yield from (one.problem for one in bad)
        document = {"captures": (), **prune(document, bad), "format": SET_FORMAT}
    for one, where in _parts(document):
        if one is not None:
            yield from (_inside(where, problem) for problem in _capture(one))


def _capture(document: Any) -> Iterator[Problem]:
    if isinstance(document, dict) and document.get("format") == FORMAT and _is_old(document.get("version")):
        yield Problem(
            ".version", f"is {short(document['version'])}, and only {VERSION} is read", "record again with this version"
        )
        return
    bad: list[Found] = problems(document, "capture")
    yield from (one.problem for one in bad)
    yield from islice(check(prune(document, bad)), MOST)


def _is_old(version: object) -> bool:
    return isinstance(version, int) and not isinstance(version, bool) and version < VERSION


def _inside(where: str, problem: Problem) -> Problem:
    return Problem(f"{where}{problem.place}".rstrip("."), problem.message, problem.hint) if where else problem
