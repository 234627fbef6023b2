"""A runtime's floor as it was measured on a host: one file for each binary, named by its digest.

`scmm verify --replay --measure-floor` writes them. They say more than data/floor.json where the runtime is one that
was built otherwise, or is newer than our table.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scmm_oci.errors import BadInput, Finding, Problem, short
from scmm_oci.files import read_bounded, reason
from scmm_oci.schema import load_json
from scmm_oci.tables.floor import Floor, Verb, any_program, floor, runtimes

DIRECTORY = "/var/lib/scmm/floor"
FORMAT = "scmm-floor"
_VERSION = 1
_MAX_BYTES = 1 << 20
_DIGEST = re.compile("[0-9a-f]{64}")
_FILE = re.compile(r"[0-9a-f]{64}\.json")
_MEASURE = "`scmm verify --replay --measure-floor` measures"
_NAME = re.compile("[a-z0-9_]{1,64}")


@dataclass(frozen=True)
class Row:
    """What was seen in one way in: the union of the names over ``starts`` recordings."""

    verb: Verb
    no_new_privileges: bool
    starts: int
    names: frozenset[str]


@dataclass(frozen=True)
class Measured:
    """All that was measured of one binary.

    Attributes:
        digest: its SHA-256, as hex; ``machine`` as uname(2) has it.
    """

    digest: str
    runtime: str
    version: str | None
    machine: str
    rows: tuple[Row, ...]

    def floor(self, no_new_privileges: bool | None = None, *, verbs: frozenset[Verb] = frozenset(Verb)) -> Floor:
        """What the runtime was seen to need, as tables.floor.floor gives it; None: with and without."""
        rows = [row for row in self.rows if row.verb in verbs and no_new_privileges in (None, row.no_new_privileges)]
        names = frozenset[str]().union(*(row.names for row in rows))
        return Floor(names, (f"measured-{self.digest[:12]}",) if rows else ())

    def joined(self, other: Measured) -> Measured:
        """This and what was measured of the same binary before: Go's runtime does not call the same every time."""
        rows: dict[tuple[Verb, bool], Row] = {}
        for row in (*other.rows, *self.rows):
            key = row.verb, row.no_new_privileges
            before = rows.get(key, Row(*key, 0, frozenset()))
            rows[key] = Row(*key, before.starts + row.starts, before.names | row.names)
        return Measured(self.digest, self.runtime, self.version, self.machine, _sorted(rows.values()))


def path_of(digest: str, *, directory: str = DIRECTORY) -> str:
    """Where the file of a binary is."""
    return str(Path(directory, f"{digest}.json"))


def read(digest: str, *, directory: str = DIRECTORY) -> Measured | None:
    """What was measured of a binary; None if nothing was.

    Raises:
        BadInput: the file is none of ours, or is another user's.
    """
    path = path_of(digest, directory=directory)
    if not Path(path).exists():
        return None
    found = parse(read_bounded(path, _MAX_BYTES, own=True), source=path)
    if found.digest != digest:
        raise BadInput([Problem(".sha256", f"is {found.digest}, which is not the file's name")], source=path)
    return found


def read_all(directory: str = DIRECTORY) -> tuple[Measured, ...]:
    """All that was measured, by the digest; files with other names than ours are passed over.

    Raises:
        BadInput: the directory cannot be read, or there is nothing of ours in it, or some of it is none of ours.
    """
    try:
        names = sorted(name for name in os.listdir(directory) if _FILE.fullmatch(name))
    except (OSError, ValueError) as error:
        raise BadInput([Problem("", f"cannot be read: {reason(error)}", _MEASURE)], source=directory) from None
    if not names:
        raise BadInput([Problem("", "nothing is there that was measured", _MEASURE)], source=directory)
    found: list[Measured] = []
    problems: list[Problem] = []
    for name in names:
        path = str(Path(directory, name))
        try:
            one = parse(read_bounded(path, _MAX_BYTES), source=path)
        except BadInput as error:
            problems += [Problem(f"{name}{each.place}", each.message, each.hint) for each in error.problems]
            continue
        if f"{one.digest}.json" != name:
            problems.append(Problem(f"{name}.sha256", f"is {one.digest}, which is not the file's name"))
        found.append(one)
    if problems:
        raise BadInput(problems, source=directory)
    return tuple(found)


def of_runtime(found: Iterable[Measured], runtime: str | None, *, directory: str = DIRECTORY) -> tuple[Measured, ...]:
    """Those of one runtime; None: of all. Raises BadInput if there are none."""
    known = tuple(found)
    chosen = tuple(one for one in known if runtime in (None, one.runtime))
    if not chosen:
        names = ", ".join(sorted({short(one.runtime) for one in known}))
        problem = Problem("", f"nothing was measured of {short(runtime)}", f"measured: {names}; {_MEASURE}")
        raise BadInput([problem], source=directory)
    return chosen


def together(found: Iterable[Measured], no_new_privileges: bool) -> Floor:
    """What these need: what the table knows of their versions, and what was measured.

    Of a runtime that the table does not know just what was measured is taken, where that is all ways in. Where it is
    not, the table's rows for all runtimes are, and that is a finding.
    """
    names: frozenset[str] = frozenset()
    used: dict[str, None] = {}
    findings: list[Finding] = []
    for one in found:
        rows = one.floor(True if no_new_privileges else None)
        lacks = [verb for verb in Verb if not one.floor(no_new_privileges, verbs=frozenset({verb})).entries_used]
        known = one.runtime in runtimes()
        base = any_program() if not known and not lacks else floor(one.runtime, one.version, no_new_privileges)
        if lacks:
            message = f"{one.runtime} was not measured in {' and '.join(lacks)}: what is known of runtimes is allowed"
            findings.append(Finding("measured-partly", message, _MEASURE))
        names |= base.names | rows.names
        used |= dict.fromkeys((*base.entries_used, *rows.entries_used))
    return Floor(names, tuple(used), tuple(findings))


def parse(data: bytes, *, source: str = "") -> Measured:
    """The measurement in a JSON text. Raises BadInput with all that is wrong with it."""
    document = load_json(data, source=source)
    found = list(_problems(document))
    if found:
        raise BadInput(found, source=source)
    rows = [
        Row(Verb(row["verb"]), row["no_new_privileges"], row["starts"], frozenset(row["names"]))
        for row in document["rows"]
    ]
    runtime = document["runtime"]
    return Measured(document["sha256"], runtime["name"], runtime["version"], document["machine"], _sorted(rows))


def to_json(measured: Measured) -> bytes:
    """The measurement as JSON: the same bytes for the same value."""
    document = {
        "format": FORMAT,
        "version": _VERSION,
        "sha256": measured.digest,
        "runtime": {"name": measured.runtime, "version": measured.version},
        "machine": measured.machine,
        "rows": [
            {
                "verb": row.verb,
                "no_new_privileges": row.no_new_privileges,
                "starts": row.starts,
                "names": sorted(row.names),
            }
            for row in _sorted(measured.rows)
        ],
    }
    return (json.dumps(document, indent=1) + "\n").encode("ascii")


def _sorted(rows: Iterable[Row]) -> tuple[Row, ...]:
    order = tuple(Verb)
    return tuple(sorted(rows, key=lambda row: (order.index(row.verb), row.no_new_privileges)))


def _problems(document: Any) -> Iterable[Problem]:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        yield Problem(".format", f"is not {FORMAT!r}: this is no measured floor")
        return
    if document.get("version") != _VERSION:
        yield Problem(".version", f"{short(document.get('version'))} is not known", f"known: {_VERSION}")
        return
    runtime = document.get("runtime")
    if not isinstance(document.get("sha256"), str) or not _DIGEST.fullmatch(document["sha256"]):
        yield Problem(".sha256", "64 hexadecimal digits expected")
    if not isinstance(document.get("machine"), str):
        yield Problem(".machine", "a word expected")
    if not isinstance(runtime, dict) or not isinstance(runtime.get("name"), str):
        yield Problem(".runtime", "an object with a name expected")
    elif not isinstance(runtime.get("version"), str | None):
        yield Problem(".runtime.version", "a word or null expected")
    rows = document.get("rows")
    if not isinstance(rows, list):
        yield Problem(".rows", "a list expected")
        return
    seen: set[tuple[object, object]] = set()
    for index, row in enumerate(rows):
        found = list(_row_problems(f".rows[{index}]", row))
        yield from found
        if not found and (way := (row["verb"], row["no_new_privileges"])) in seen:
            yield Problem(f".rows[{index}]", "is of a way in that another row is of")
        elif not found:
            seen.add(way)


def _row_problems(place: str, row: Any) -> Iterable[Problem]:
    if not isinstance(row, Mapping):
        yield Problem(place, "an object expected")
        return
    if row.get("verb") not in tuple(Verb):
        yield Problem(f"{place}.verb", f"{short(row.get('verb'))} is no way in", "known: " + ", ".join(Verb))
    if not isinstance(row.get("no_new_privileges"), bool):
        yield Problem(f"{place}.no_new_privileges", "true or false expected")
    starts = row.get("starts")
    if not isinstance(starts, int) or isinstance(starts, bool) or starts < 1:
        yield Problem(f"{place}.starts", "a number from 1 expected")
    names = row.get("names")
    if not isinstance(names, list) or not all(isinstance(one, str) and _NAME.fullmatch(one) for one in names):
        yield Problem(f"{place}.names", "names of system calls expected")
