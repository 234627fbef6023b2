"""Lines of strace output → what each is: a call, its resumption, a signal, an end, or talk of strace itself.

The forms are those that strace(1) describes for -f, -o, -t, -r, -T, -i, -n, -y, -X and --decode-pids, as strace 4.x to
6.x print them. Used by the importer. Patterns are possessive and have no nested choice: each is linear in the line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import IO, NamedTuple

# Longer lines are refused: nothing strace prints of a call by itself comes near it, only -s with a huge number.
MAX_LINE = 1 << 20

_STRING = r'"(?:[^"\\]++|\\.)*+"'
# What -y puts behind a descriptor. strace escapes < and > in paths; "->" stands between two ends of a connection.
_DECORATION = rf"<(?:[^<>\"\\-]++|\\.|{_STRING}|->|-)*+(?:<(?:char|block) \d+:\d+>)?>"
# One without an end takes the rest: if each was tried in vain, lines full of them would cost their length squared.
_COMMENT = r"/\*(?:[^*]++|\*(?!/))*+(?:\*/|\Z)"


def _argument(depth: int) -> str:
    inner = ""
    for _ in range(depth):
        group = rf"|[(\[{{](?:[^\"()\[\]{{}}<]++|{_STRING}|{_DECORATION}|<{inner})*+[)\]}}]"
        inner = group
    return rf"(?:[^\"()\[\]{{}},</]++|{_STRING}|{_COMMENT}|{_DECORATION}{inner}|[</])*+"


# Structures nest to some six levels; what is deeper goes the slow way.
_ARGUMENT = re.compile(_argument(6), re.DOTALL)
_PLAIN = re.compile(rf"[^\"()\[\]{{}}]++|{_STRING}", re.DOTALL)

_HEAD = re.compile(
    r"(?:\[pid\s+(\d{1,8})(?:<[^<>]*>)?\]\s+|(\d{1,8})(?:<[^<>]*>)?\s+)?\s*"
    r"(?:(\d\d:\d\d:\d\d(?:\.\d{1,9})?|\d{9,12}(?:\.\d{1,9})?|\d{1,8}\.\d{1,9})\s+(?:\(\+\s*[\d.]{1,20}\)\s+)?)?"
    r"(?:\[\s*(\d{1,7}|\d{10})\]\s+)?(?:\[[0-9a-f?]{8}(?:[0-9a-f?]{8})?\]\s+)?"
    r"(?:([A-Za-z_][A-Za-z0-9_]{0,63})\()?",
    re.ASCII,
)
_UNFINISHED = re.compile(r" ?<(?:unfinished|detached|pid changed to \d{1,8}) \.\.\.>\Z", re.ASCII)
_RESUMED = re.compile(r"<\.\.\. ([A-Za-z_][A-Za-z0-9_]{0,63}) resumed>\s?", re.ASCII)
_SIGNAL = re.compile(r"--- (SIG[A-Z0-9_+]{1,12}) (?:\{.*\}|\(.*\)|@ .*) ---\Z", re.ASCII)
_STOPPED = re.compile(r"--- stopped by SIG[A-Z0-9_]{1,12} ---\Z", re.ASCII)
_ENDED = re.compile(r"\+\+\+ (exited|killed) (?:with -?\d+|by [^ ]+(?: \(core dumped\))?) \+\+\+\Z", re.ASCII)
_SUPERSEDED = re.compile(r"\+\+\+ superseded by execve in pid (\d{1,8}) \+\+\+\Z", re.ASCII)
_MODE = re.compile(r"(?:strace: )?\[ Process PID=(\d{1,8}) runs in ([^\]]{1,20}) mode\. \]\Z", re.ASCII)
_ATTACHED = re.compile(
    r"(?:strace: )?Process (\d{1,8}) (attached(?: .*)?|detached|resumed(?: .*)?|suspended)\Z", re.ASCII
)
# "???": a thread that was killed before strace could see which call it was to make.
_TALK = re.compile(
    r"strace: | > |\[ (?:Process|Interrupted)|<\.\.\. resuming|exit code: |\?\?\?\(|<\.\.\. \?\?\? resumed>", re.ASCII
)

_RESULT = re.compile(
    rf"\s*= (\?|0x[0-9a-f]{{1,16}}|-?\d{{1,20}})(?:({_DECORATION})(\(deleted\))?)?"
    r"(?: (E[A-Z0-9_]{1,24})\b| \(errno (\d{1,4})\))?",
    re.ASCII | re.DOTALL,
)


class Kind(Enum):
    """What a line is."""

    CALL = auto()  # name, text: the arguments and the result
    UNFINISHED = auto()  # name, text: the arguments so far
    RESUMED = auto()  # name, text: the rest
    SIGNAL = auto()  # name: the signal
    ENDED = auto()  # the thread is gone; name: "exited" or "killed"
    SUPERSEDED = auto()  # number: the thread that takes its place
    MODE = auto()  # number: a pid; name: what mode it runs in
    ATTACHED = auto()  # number: a pid
    DETACHED = auto()  # number: a pid
    NOTHING = auto()  # a line without meaning for a capture


class Line(NamedTuple):
    """A line: its kind, the pid and time it begins with as far as it has them, and what the kind says."""

    kind: Kind
    pid: int | None = None
    time: str | None = None
    number: int | None = None
    name: str = ""
    text: str = ""


class Result(NamedTuple):
    """What a call returned.

    Attributes:
        value: as a number; None for "?".
        error: the error's name, or its number in decimal; of a call that is to be restarted, ERESTART….
        path: what -y says of the descriptor, without the angle brackets, or None.
    """

    value: int | None
    error: str | None
    path: str | None


class BadLine(Exception):
    """A line that is not strace's: what is wrong with it, and what may help."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint


def lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file with their ends; one that is longer than MAX_LINE comes cut, and its rest not at all."""
    while line := file.readline(MAX_LINE + 1):
        yield line
        while not line.endswith(b"\n") and len(line) > MAX_LINE:
            line = file.readline(MAX_LINE + 1)


def lex(text: str) -> Line:
    """What a line is.

    Args:
        text: the line without its end, each byte as the character of the same number.

    Raises:
        BadLine: it is nothing that strace prints.
    """
    head = _HEAD.match(text)
    assert head is not None  # all of it is optional
    bracketed, bare, time, number, name = head.groups()
    pid = int(bracketed or bare) if bracketed or bare else None
    body = text[head.end() :]
    if name:
        nr = int(number) if number else None
        if body.endswith("...>") and (mark := _UNFINISHED.search(body, max(0, len(body) - 48))):
            return Line(Kind.UNFINISHED, pid, time, nr, name, body[: mark.start()])
        return Line(Kind.CALL, pid, time, nr, name, body)
    if body.startswith("<... ") and (match := _RESUMED.match(body)):
        rest = body[match.end() :]
        if rest.endswith("...>") and (mark := _UNFINISHED.search(rest, max(0, len(rest) - 48))):
            # Detached while it was resumed, or interrupted by another line once more.
            return Line(Kind.NOTHING, pid, time, None, match[1], rest[: mark.start()])
        return Line(Kind.RESUMED, pid, time, None, match[1], rest)
    return _other(text, body, pid, time)


def _other(text: str, body: str, pid: int | None, time: str | None) -> Line:
    if match := _SIGNAL.match(body):
        return Line(Kind.SIGNAL, pid, time, None, match[1])
    if _STOPPED.match(body):
        return Line(Kind.NOTHING, pid, time)
    if match := _SUPERSEDED.match(body):
        return Line(Kind.SUPERSEDED, pid, time, int(match[1]))
    if match := _ENDED.match(body):
        return Line(Kind.ENDED, pid, time, None, match[1])
    if match := _MODE.match(body):
        return Line(Kind.MODE, pid, time, int(match[1]), match[2])
    if match := _ATTACHED.match(body):
        kind = {"attached": Kind.ATTACHED, "detached": Kind.DETACHED}.get(match[2].split(" ")[0], Kind.NOTHING)
        return Line(kind, pid, time, int(match[1]))
    if not body.strip() or _TALK.match(body) or _TALK.match(text):
        return Line(Kind.NOTHING, pid, time)
    raise BadLine("is not a line of strace", "write the trace to a file of its own: strace -o FILE")


def split(body: str) -> tuple[list[str], str]:
    """The arguments of a call, and what stands behind its closing parenthesis.

    Raises:
        BadLine: it has none, or a string or structure does not end.
    """
    found: list[str] = []
    at = 0
    while True:
        match = _ARGUMENT.match(body, at)
        assert match is not None  # it may be empty
        end = match.end()
        char = body[end : end + 1]
        if char not in (",", ")"):
            end = _slow(body, end)
            char = body[end]
        piece = body[at:end].strip()
        if char == ")":
            if piece or found:
                found.append(piece)
            return found, body[end + 1 :]
        found.append(piece)
        at = end + 1


def partial(body: str) -> list[str]:
    """The arguments of a call of which the rest is missing; the last may be cut."""
    try:
        return split(body + ")")[0]
    except BadLine:
        return []


def leading(body: str) -> list[str]:
    """The first three arguments of a call that may be cut behind them: what tells its class."""
    found: list[str] = []
    at = 0
    while len(found) < 3:
        match = _ARGUMENT.match(body, at)
        assert match is not None  # it may be empty
        end = match.end()
        if end < len(body) and body[end] not in ",)":
            break  # something deep, which none of these calls has
        found.append(body[at:end].strip())
        if body[end : end + 1] != ",":
            break
        at = end + 1
    return found


def members(text: str) -> Iterator[str]:
    """The members of the structure or array that an argument begins with, at its first level: ``flags=O_RDONLY``."""
    at = 1
    while text.startswith(("{", "[")):
        match = _ARGUMENT.match(text, at)
        assert match is not None  # it may be empty
        yield text[at : match.end()].strip()
        if text[match.end() : match.end() + 1] != ",":
            return
        at = match.end() + 1


def _slow(body: str, at: int) -> int:
    """Where the argument ends that goes on at ``at``, however deep it is; for what the pattern has no levels for."""
    depth = 0
    while at < len(body):
        char = body[at]
        if char in "([{":
            depth += 1
        elif char in ")]}":
            if depth == 0:
                if char == ")":
                    return at
                break
            depth -= 1
        elif char == "," and depth == 0:
            return at
        else:
            match = _PLAIN.match(body, at)
            if match is None:
                raise BadLine("has a string without an end")
            # Commas outside of everything end the argument: look at each.
            comma = match[0].find(",") if depth == 0 and char != '"' else -1
            at = at + comma if comma > 0 else match.end()
            continue
        at += 1
    raise BadLine("has a call whose parenthesis is not closed", "is the file cut?")


def result(text: str) -> Result:
    """What stands behind a call's closing parenthesis, as values.

    Raises:
        BadLine: it is no result.
    """
    match = _RESULT.match(text)
    if match is None:
        raise BadLine("has a call without a result", "strace prints one behind ' = '")
    word, decoration, deleted, error, number = match.groups()
    path = None if decoration is None else decoration[1:-1] + (" (deleted)" if deleted else "")
    if word == "?":
        return Result(None, error, path)
    value = int(word, 0) if word.startswith("0x") else int(word)
    return Result(value, (error or number) if value == -1 else None, path)
