"""Denials, counted by what they are. Pure, and bounded: a program can be refused a million different things."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from scmm_oci.enforcer.logs.decode import Call, Denial

_MOST_ROWS = 10_000
_MOST_PIDS = 64

_Key = tuple[object, ...]


@dataclass
class Row:
    """Denials that differ in time, process id, and instruction only.

    Attributes:
        example: the first of them.
        first, last: milliseconds since 1970.
        pids: some of the processes.
    """

    example: Denial
    count: int = 0
    first: int = 0
    last: int = 0
    pids: set[int] = field(default_factory=set)


class Summary:
    """Counts denials.

    Attributes:
        total: all of them.
        beyond: those of kinds that came when there were too many already.
    """

    def __init__(self) -> None:
        self.total = 0
        self.beyond = 0
        self._rows: dict[_Key, Row] = {}

    def add(self, denial: Denial) -> None:
        """Count one."""
        self.total += 1
        key = _key(denial)
        row = self._rows.get(key)
        if row is None:
            if len(self._rows) >= _MOST_ROWS:
                self.beyond += 1
                return
            row = self._rows[key] = Row(denial, first=denial.at, last=denial.at)
        row.count += 1
        row.first, row.last = min(row.first, denial.at), max(row.last, denial.at)
        if denial.process.pid is not None and len(row.pids) < _MOST_PIDS:
            row.pids.add(denial.process.pid)

    @property
    def rows(self) -> Sequence[Row]:
        """The most frequent first; of the same number, the earlier."""
        return sorted(self._rows.values(), key=lambda row: (-row.count, row.first))


def _key(denial: Denial) -> _Key:
    who = (denial.process.comm, denial.process.exe, denial.process.uid)
    if isinstance(denial, Call):
        return (*who, denial.arch, denial.audit, denial.nr, denial.name, denial.code, denial.sig)
    other = None if denial.other is None else (denial.other.comm,)
    return (*who, denial.blockers, denial.path, denial.port, denial.address, other)
