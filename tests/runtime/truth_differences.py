"""In what a recording and a trace of the same execution may differ, and why; beyond these, in nothing.

Each is narrow: it changes facts of one side into what the other must have. Where none needs it, a test fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import truth_lines
from truth import Seen
from truth_trace import trace
from truth_views import FileKey, Identity, Outcome, View, add, differences, view

from scmm_oci.tables.syscalls import numbers

O_CREAT, O_EXCL, O_TMPFILE = 0o100, 0o200, 0o20000000
AT_SYMLINK_NOFOLLOW, AT_SYMLINK_FOLLOW = 0x100, 0x400
O_NOFOLLOW = 0o400000
#: Operations whose name is not followed when it is a link: path_resolution(7) and the pages of the calls.
_OF_THE_LINK = {
    "readlink", "mkdir", "rmdir", "unlink", "mknod", "symlink", "link-to", "rename-from", "rename-to", "bind"
}  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """A named one. apply: changes the views; None for one that truth_trace makes up for in the lines."""

    name: str
    why: str
    apply: Callable[[View, View, Seen], None] | None


def compare(seen: Seen, *, ours: View | None = None, left_out: str = "") -> list[str]:
    """What differs beyond the named differences.

    ours: what to take instead of the capture; is changed. left_out: a difference that is not made up for.
    """
    mine = view(seen.ours) if ours is None else ours
    theirs = view(trace(seen, left_out if left_out in ("set-up", "refused") else ""))
    for each in DIFFERENCES:
        if each.apply is not None and each.name != left_out:
            each.apply(mine, theirs, seen)
    return differences(mine, theirs)


def follows(operation: str, flags: int) -> bool:
    """Whether a link at a name's end was followed."""
    if operation == "open":
        return not flags & O_NOFOLLOW and not (flags & O_CREAT and flags & O_EXCL)
    if operation == "link-from":
        return bool(flags & AT_SYMLINK_FOLLOW)
    return operation not in _OF_THE_LINK and not flags & AT_SYMLINK_NOFOLLOW


def _names(ours: View, theirs: View, seen: Seen) -> None:
    old, theirs.files = theirs.files, {}
    for key, outcome in old.items():
        new = key
        if key.state == "named":
            path, state = seen.names.real(key.path, follow=follows(key.operation, key.flags))
            new = replace(new, path=path, state=state)
        if key.other is not None:
            new = replace(new, other=seen.names.real(key.other, follow=False)[0])
        add(theirs.files, new, outcome)


def _programs(ours: View, theirs: View, seen: Seen) -> None:
    known: dict[Identity, Identity] = {}
    old, theirs.programs = theirs.programs, {}
    for ((path, _, argv0), _, _), times in old.items():
        script: str | None = None
        file, _ = seen.names.real(path, follow=True)
        identity = (file, None, argv0)
        chain = seen.names.interpreters(file)
        scripts = [file, *(inner for inner, _ in chain)][: len(chain)]
        if chain:
            script, (file, word) = file, chain[-1]
            identity = (file, script, word)
        loader = seen.names.loader(file)
        known[path, None, argv0] = identity
        key = (identity, "resolved", loader)
        theirs.programs[key] = theirs.programs.get(key, 0) + times
        for operation, place in (("execute", file), ("loader", loader), *(("script", each) for each in scripts)):
            if place is not None:
                done = Outcome(times, times, 0, frozenset(), frozenset([identity]))
                add(theirs.files, FileKey(place, "resolved", operation, 0, None, False), done)
    for table in (theirs.calls, theirs.files, theirs.sockets):
        for key, outcome in table.items():
            names = frozenset(known.get(each, each) for each in outcome.programs)
            table[key] = replace(outcome, programs=names)  # type: ignore[index]


def _executions(ours: View, theirs: View, seen: Seen) -> None:
    done = [key for key, outcome in theirs.files.items() if key.operation == "execute" and not outcome.failed]
    for key in done:
        del theirs.files[key]


def _descriptors(ours: View, theirs: View, seen: Seen) -> None:
    theirs.files = view(trace(seen, named=True)).files


def _created(ours: View, theirs: View, seen: Seen) -> None:
    old, theirs.files = theirs.files, {}
    for key, outcome in old.items():
        if key.created and not key.flags & O_EXCL and key not in ours.files:
            key = replace(key, created=False)
        add(theirs.files, key, outcome)


def _tmpfile(ours: View, theirs: View, seen: Seen) -> None:
    old, theirs.files = theirs.files, {}
    for key, outcome in old.items():
        if key.state == "deleted" and key.flags & O_TMPFILE and (match := re.fullmatch(r"(.*)/#\d+", key.path)):
            key = replace(key, path=match[1], state="resolved")
        add(theirs.files, key, outcome)


def _internal(ours: View, theirs: View, seen: Seen) -> None:
    gone = [key for key in ours.files if key.state == "internal"]
    for key in gone:
        del ours.files[key]


def _devices(ours: View, theirs: View, seen: Seen) -> None:
    for key, outcome in theirs.files.items():
        mine = ours.files.get(key)
        if key.operation != "ioctl" or mine is None or mine.entered == outcome.entered:
            continue
        if mine.entered < outcome.entered and bool(mine.succeeded) == bool(outcome.succeeded):
            ours.files[key] = replace(mine, entered=outcome.entered, succeeded=outcome.succeeded, failed=outcome.failed)


def _families(ours: View, theirs: View, seen: Seen) -> None:
    for side in (ours, theirs):
        old, side.sockets = side.sockets, {}
        for key, outcome in old.items():
            if key[1] != "unix" and key[4] is not None and key[5] is None:
                key = (*key[:4], None, None)
            add(side.sockets, key, outcome)


def _process_ids(ours: View, theirs: View, seen: Seen) -> None:
    old, theirs.files = theirs.files, {}
    for key, outcome in old.items():
        if seen.contained and key.path.startswith("/proc/1/"):
            key = replace(key, path=f"/proc/self/{key.path.removeprefix('/proc/1/')}")
        add(theirs.files, key, outcome)


def _ports(ours: View, theirs: View, seen: Seen) -> None:
    chosen = [key for key in theirs.sockets if key[0] == "listen" and (key[4] is None or key[5] == 0)]
    for key in chosen:
        found = [
            mine
            for mine in ours.sockets
            if mine not in theirs.sockets and mine[:4] == key[:4] and key[4] in (mine[4], None)
        ]
        if found:
            add(theirs.sockets, min(found, key=repr), theirs.sockets.pop(key))


def _killed(ours: View, theirs: View, seen: Seen) -> None:
    killed = truth_lines.last_calls(seen.lines)
    left = sum(killed.values())
    for (_, name), outcome in theirs.calls.items():
        most = killed[name] + killed["???"]
        mine = ours.calls.get(("x86_64", name))
        if most and mine is not None and _within(mine, outcome, most):
            theirs.calls["x86_64", name] = mine
    made = {numbers("x86_64").get(name) for name in killed}
    for edge in [edge for edge in theirs.order if edge not in ours.order and edge[2] in made][:left]:
        del theirs.order[edge]
    for key, outcome in theirs.files.items():
        other = ours.files.get(key)
        if left and other is not None and other != outcome and _within(other, outcome, left):
            left -= abs(other.entered - outcome.entered)
            theirs.files[key] = other


def _within(mine: Outcome, other: Outcome, most: int) -> bool:
    """Whether two differ in nothing but in what became of the last calls of `most` threads."""
    return (
        abs(mine.entered - other.entered) <= most
        and abs(mine.succeeded - other.succeeded) <= most
        and mine == replace(other, entered=mine.entered, succeeded=mine.succeeded)
    )


def _refused(ours: View, theirs: View, seen: Seen) -> None:
    # Its lines are gone; see _let_through.
    ours.calls = {key: outcome for key, outcome in ours.calls.items() if outcome.entered}


DIFFERENCES = (
    Difference(
        "set-up", "strace is attached before the program is executed; what runc or a gate does until then", None
    ),
    Difference("refused", "strace shows a call that a filter refuses as one that failed", _refused),
    Difference(
        "descriptors",
        "fstat and its like name no file; the trace's reader keeps the descriptor's path, the recorder does not",
        _descriptors,
    ),
    Difference(
        "executions",
        "the trace's reader says who called execve, the recorder which program came of it; what is executed is made "
        "from the programs below",
        _executions,
    ),
    Difference("tmpfile", "strace shows a file without a name by its inode, the recorder its directory", _tmpfile),
    Difference(
        "process-ids",
        "strace knows the first process of a container by its number outside; in the container's procfs it has another",
        _process_ids,
    ),
    Difference("names", "strace shows names, the recorder the files that they lead to", _names),
    Difference("programs", "interpreters of scripts and ELF interpreters are in no call", _programs),
    Difference(
        "created", "no call shows whether O_CREAT made the file; the trace's reader takes it that it did", _created
    ),
    Difference("internal", "pipes, sockets and memfd have no path; the trace's reader leaves them out", _internal),
    Difference(
        "devices", "the recorder keeps the same ioctl of a device once, and does not count further ones", _devices
    ),
    Difference("families", "strace shows addresses of other families, and cut ones, in words of their own", _families),
    Difference(
        "killed",
        "strace shows no end of the call in which a thread is killed; one that was yet to begin is not made, and the "
        "recorder knows which",
        _killed,
    ),
    Difference("ports", "a port or name that the kernel chose is in no call; the recorder asks the socket", _ports),
)
