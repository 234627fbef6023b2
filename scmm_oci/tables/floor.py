"""The runtime floor: what a container runtime calls between loading the filter and starting the program.

A profile that is handed to a runtime must allow these beside what the program needs, or the container does not start.
The table is data/floor.json: one entry per runtime, versions, no-new-privileges and verb, each with its source.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from scmm_oci.errors import Finding


class Verb(StrEnum):
    """How a process gets into a container."""

    RUN = "run"
    CREATE = "create"
    EXEC = "exec"


@dataclass(frozen=True)
class Entry:
    """One row of the table. ``None`` means: whatever it is.

    Attributes:
        since: first version it holds for, as numbers; ``below``: first version it no longer holds for.
    """

    id: str
    runtime: str | None
    since: tuple[int, ...] | None
    below: tuple[int, ...] | None
    no_new_privileges: bool | None
    verbs: frozenset[Verb]
    source: str
    names: frozenset[str]


@dataclass(frozen=True)
class Floor:
    """Names that a profile must allow for the runtime's sake.

    Attributes:
        entries_used: the ids of the rows they come from, in the table's order, then ``recorded`` if names were added.
    """

    names: frozenset[str]
    entries_used: tuple[str, ...]
    findings: tuple[Finding, ...] = ()

    def with_recorded(self, names: Iterable[str]) -> Floor:
        """This floor and the names that a recording saw the runtime call."""
        more = frozenset(names) - self.names
        if not more:
            return self
        return Floor(self.names | more, (*self.entries_used, "recorded"), self.findings)


@cache
def entries() -> tuple[Entry, ...]:
    """Every row, in the table's order."""
    rows = json.loads((Path(__file__).parent / "data" / "floor.json").read_text())["entries"]
    return tuple(
        Entry(
            id=row["id"],
            runtime=row["runtime"],
            since=_numbers(row["since"]),
            below=_numbers(row["below"]),
            no_new_privileges=row["no_new_privileges"],
            verbs=frozenset(Verb(verb) for verb in row["verbs"]),
            source=row["source"],
            names=frozenset(row["names"]),
        )
        for row in rows
    )


def runtimes() -> tuple[str, ...]:
    """The runtimes that have rows of their own."""
    return tuple(sorted({entry.runtime for entry in entries() if entry.runtime is not None}))


def any_program() -> Floor:
    """What is needed whatever the runtime is."""
    used = [entry for entry in entries() if entry.runtime is None]
    return Floor(frozenset().union(*(entry.names for entry in used)), tuple(entry.id for entry in used))


def floor(
    runtime: str | None,
    version: str | None,
    no_new_privileges: bool | None,
    *,
    verbs: frozenset[Verb] = frozenset(Verb),
) -> Floor:
    """What the runtime needs; where something is not known (None), the union of everything that it may be.

    Args:
        runtime: "runc" or "crun"; another name gives the union of all, and a finding.
        version: as the runtime prints it ("1.1.5+ds1"); one without leading numbers counts as not known.
        no_new_privileges: the container's setting. With it on, runtimes load the filter later and need less.
        verbs: the ways in that the profile must allow.
    """
    findings: tuple[Finding, ...] = ()
    if runtime is not None and runtime not in runtimes():
        findings = (
            Finding(
                "unknown-runtime",
                f"what the runtime {runtime!r} needs is not known; allowed is what {' and '.join(runtimes())} need",
                "try the profile before you rely on it",
            ),
        )
        runtime = None
    # A version says nothing about another runtime.
    wanted = _numbers(version) if runtime is not None else None
    used = [entry for entry in entries() if _applies(entry, runtime, wanted, no_new_privileges, verbs)]
    return Floor(frozenset().union(*(entry.names for entry in used)), tuple(entry.id for entry in used), findings)


def _applies(
    entry: Entry,
    runtime: str | None,
    version: tuple[int, ...] | None,
    no_new_privileges: bool | None,
    verbs: frozenset[Verb],
) -> bool:
    if runtime is not None and entry.runtime is not None and entry.runtime != runtime:
        return False
    if version is not None and entry.since is not None and version < entry.since:
        return False
    if version is not None and entry.below is not None and version >= entry.below:
        return False
    if None not in (no_new_privileges, entry.no_new_privileges) and no_new_privileges != entry.no_new_privileges:
        return False
    return bool(entry.verbs & verbs)


def _numbers(version: str | None) -> tuple[int, ...] | None:
    """The leading numbers of a version: "1.2.0-rc.1" → (1, 2, 0)."""
    match = re.match(r"v?(\d{1,9}(?:\.\d{1,9})*)", version or "")
    return tuple(int(part) for part in match[1].split(".")) if match else None
