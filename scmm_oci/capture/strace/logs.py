"""The files of a trace → one sequence of lines: those of ``strace -ff`` by time, or each after the one before it."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from scmm_oci.capture.strace import clock, lexer
from scmm_oci.capture.strace.lexer import BadLine
from scmm_oci.errors import BadInput, Problem

# A line with where it stands: the file's name, its number, and whose it is if it does not say so.
Numbered = tuple[str, int, int, bytes]


@dataclass(frozen=True)
class Log:
    """One file of strace output.

    Attributes:
        name: for messages.
        lines: its lines with their ends (lexer.lines).
        pid: whose lines they are where they do not say so, as in the files of -ff; None if not known.
    """

    name: str
    lines: Iterable[bytes]
    pid: int | None = None


def numbered(log: Log, index: int) -> Iterator[Numbered]:
    """The lines of a file; ``index`` tells files apart that have no pid."""
    # Without a pid the lines are of one thread, which needs some number that no other has.
    pid = -index if log.pid is None else log.pid
    name = log.name
    for number, raw in enumerate(log.lines, 1):
        yield name, number, pid, raw


def merged(logs: Sequence[Log]) -> Iterator[Numbered] | dict[int, Iterator[Numbered]]:
    """All lines by time if every file has times that can be compared; else the lines of each pid, lowest first.

    Raises:
        BadInput: two files are of the same pid.
    """
    first: dict[int, int] = {}
    twice = [
        Problem(log.name, f"is of the same process as {logs[first[log.pid]].name}", "import one trace at a time")
        for index, log in enumerate(logs)
        if log.pid is not None and first.setdefault(log.pid, index) != index
    ]
    if twice:
        raise BadInput(twice)
    ordered = sorted(enumerate(logs), key=lambda item: (item[1].pid is None, item[1].pid or 0, item[0]))
    sources = {(-i if log.pid is None else log.pid): _peeked(numbered(log, i)) for i, log in ordered}
    if all(timed for timed, _ in sources.values()):
        both = heapq.merge(*(_by_time(lines) for _, lines in sources.values()), key=lambda item: item[0])
        return (line for _, line in both)
    return {pid: lines for pid, (_, lines) in sources.items()}


def _peeked(lines: Iterator[Numbered]) -> tuple[bool, Iterator[Numbered]]:
    """Whether the first line has a time that others can be compared with, and all lines."""
    first = next(lines, None)
    if first is None:
        return True, iter(())
    time = _time(first[3])

    def everything() -> Iterator[Numbered]:
        yield first
        yield from lines

    return time is not None, everything()


def _time(raw: bytes) -> int | None:
    try:
        word = lexer.lex(raw[:4096].decode("latin-1").rstrip("\r\n")).time
    except BadLine:
        return None
    return None if word is None or clock.is_relative(word) else clock.microseconds(word)


def _by_time(lines: Iterator[Numbered]) -> Iterator[tuple[int, Numbered]]:
    last = 0
    for line in lines:
        last = _time(line[3]) or last
        yield last, line
