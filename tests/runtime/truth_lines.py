"""Lines of strace(1) as they stand: which are of what, so that some can be left out before they are read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

_CALL = re.compile(rb"(\d+) +(\w+|\?\?\?)\(")
_RESUMED = re.compile(rb"(\d+) +<\.\.\. (\w+|\?\?\?) resumed>")
_EXECUTED = re.compile(rb"(\d+) +(?:execve(?:at)?\(|<\.\.\. execve(?:at)? resumed>).* = 0\n")
_MADE = re.compile(rb"\) += (?:\d+ /\* )?(\d+)(?: in strace's PID NS \*/)?\n")
_GONE = re.compile(rb"(\d+) +\+\+\+ (?:exited|killed) ")
_SUPERSEDED = re.compile(rb"\d+ +\+\+\+ superseded by execve in pid (\d+) \+\+\+")
_UNFINISHED = b" <unfinished ...>\n"
# A name that is empty or NULL behind a descriptor: the descriptor's own file is meant. Links made of one are kept.
_NAMELESS = re.compile(rb"\d+ +(?!linkat|execveat)\w+\((?:\d+|AT_FDCWD)<.*?>(?:\(deleted\))?, (?:\"\"|NULL),")


def from_execution(lines: list[bytes]) -> tuple[list[bytes], int]:
    """The lines from the first successful execve on, and how many came before.

    Where another thread than the process's first did it, its line is put together.
    """
    begun = b""
    for index, line in enumerate(lines):
        if match := _EXECUTED.match(line):
            if b" resumed>" in line:
                begun = re.sub(rb"^\d+", match[1], begun.removesuffix(_UNFINISHED))
                line = begun + line.partition(b" resumed>")[2].removeprefix(b" ")
            return [line, *lines[index + 1 :]], index
        if (match := _CALL.match(line)) and match[2].startswith(b"execve") and line.endswith(_UNFINISHED):
            begun = line
    raise AssertionError("strace saw no program executed")


def is_nameless(line: bytes) -> bool:
    """Whether a call has a descriptor in the place of a name."""
    return _NAMELESS.match(line) is not None


def last_calls(lines: list[bytes]) -> Counter[str]:
    """The last calls of threads that were killed: what strace shows of them may be made up, and may be missing.

    It asks a thread that is gone, and takes zeros or the answer of another thread for its own; "???" is one that it
    could not see at all. A thread that is not its process's first may have been killed when it seems to exit.
    """
    last: dict[bytes, str] = {}
    beginning: set[bytes] = set()
    others: set[bytes] = set()
    found: Counter[str] = Counter()
    for line in lines:
        if match := _CALL.match(line):
            last[match[1]] = match[2].decode()
            (beginning.add if b"CLONE_THREAD" in line else beginning.discard)(match[1])
        elif match := _SUPERSEDED.match(line):
            last.pop(match[1], None)
        elif match := _GONE.match(line):
            name = last.pop(match[1], "exit")
            if match[1] in others if name == "exit_group" else name != "exit":
                found[name] += 1
        if line.split(b" ", 1)[0] in beginning and (match := _MADE.search(line)):
            others.add(match[1])
    return found


def without(lines: list[bytes], unwanted: Callable[[str, bytes], bool]) -> tuple[list[bytes], list[tuple[str, bytes]]]:
    """The lines that are not of unwanted calls; and of those, the name and the line on which they end.

    unwanted: is asked with a call's name and the line on which it begins.
    """
    left, found = [], []
    begun: set[bytes] = set()
    for line in lines:
        if match := _CALL.match(line):
            if not unwanted(match[2].decode(), line):
                left.append(line)
            elif line.endswith(_UNFINISHED):
                begun.add(match[1])
            else:
                found.append((match[2].decode(), line))
        elif (match := _RESUMED.match(line)) and match[1] in begun:
            begun.remove(match[1])
            found.append((match[2].decode(), line))
        else:
            left.append(line)
    return left, found
