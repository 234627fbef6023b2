"""How paths were used: collects and adds up what calls.py finds, and gives it as FileUse values at the end.

What a trace does not tell is decided here, in favour of a policy that lets the program run again: whether O_CREAT made
the file (unless the trace showed it there or missing before, both the rights to make and to truncate it are taken), and
whether a renamed name is a directory (it is, if the trace showed so).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from scmm_oci.capture.facts import FileUse, Operation, PathState
from scmm_oci.capture.strace.paths import Bases, parent
from scmm_oci.capture.strace.threads import Place
from scmm_oci.tables.operations import O_ACCMODE, O_CREAT, O_EXCL, O_PATH, O_TMPFILE_BIT, O_TRUNC, access_of

# A quarter of what a capture may have: a hostile trace must not take all memory.
MAX_USES = 1 << 18
_MAX_KNOWN = 1 << 18
_O_DIRECTORY = 0o200000
_O_DIRECTORY_ARM = 0o40000

# Successes that show that the path is there, and those that make or remove it.
_MAKES = frozenset({"mkdir", "mknod", "symlink", "link-to", "rename-to", "bind"})
_REMOVES = frozenset({"unlink", "rmdir", "rename-from"})


@dataclass(slots=True, eq=False)
class Tally:
    """What became of one way of using a path or an address."""

    succeeded: int = 0
    failed: int = 0
    errnos: set[str] = field(default_factory=set)
    programs: set[int] = field(default_factory=set)
    first: int = 0
    both: bool = False  # of an open that may or may not have made the file
    across: bool = False

    def add(self, other: Tally) -> None:
        """The same use under another spelling."""
        self.succeeded += other.succeeded
        self.failed += other.failed
        self.errnos |= other.errnos
        self.programs |= other.programs
        self.first = min(self.first, other.first)
        self.both |= other.both
        self.across |= other.across

    def count(self, error: str | None, program: int | None, *, ended: bool) -> None:
        """One more. ``ended``: the trace shows how it ended."""
        if error is not None:
            self.failed += 1
            self.errnos.add(error)
        elif ended:
            self.succeeded += 1
        if program is not None:
            self.programs.add(program)


_Key = tuple[str, PathState, str, int, str | None, bool]


class Files:
    """All uses of a trace."""

    def __init__(self, bases: Bases) -> None:
        self._bases = bases
        self._uses: dict[_Key, Tally] = {}
        self._there: dict[str, bool] = {}
        self._directories: set[str] = set()
        self._devices: set[str] = set()
        self.lost = 0

    def use(
        self,
        place: Place,
        operation: str,
        *,
        flags: int = 0,
        other: str | None = None,
        error: str | None,
        ended: bool = True,
        program: int | None,
        now: int,
        arm: bool = False,
        device: bool = False,
    ) -> None:
        """One use of a path.

        Args:
            other: the other path of a link or rename.
            error: the error's name, None for success.
            ended: whether the trace shows how it ended.
            now: milliseconds from the beginning.
            arm: O_DIRECTORY has the value it has on arm.
            device: what was opened is a device, if the trace does not say that the call made a file.
        """
        path = place.path
        created = both = False
        if operation == "open":
            if flags & (_O_DIRECTORY_ARM if arm else _O_DIRECTORY) and not flags & O_TMPFILE_BIT and error is None:
                self.is_directory(path)
            if flags & O_CREAT and error is None and ended:
                there = self._there.get(path)
                created = bool(flags & O_EXCL) or not there
                both = created and there is None and not flags & O_EXCL
            if device and not (flags & O_EXCL and created) and not (created and self._there.get(path) is False):
                created = both = False
                if len(self._devices) < _MAX_KNOWN:
                    self._devices.add(path)
        elif operation == "mkdir" and error is None:
            self.is_directory(path)
        self._remember(path, operation, flags, error)
        key = (path, place.state, operation, flags, other, created)
        tally = self._uses.get(key)
        if tally is None:
            if len(self._uses) >= MAX_USES:
                self.lost += 1
                return
            tally = self._uses[key] = Tally(first=now)
        tally.count(error, program, ended=ended)
        tally.both |= both
        if other is not None and parent(other) != parent(path):
            tally.across = True

    def is_directory(self, path: str) -> None:
        """The path is known to be a directory's."""
        if len(self._directories) < _MAX_KNOWN:
            self._directories.add(path)

    def _remember(self, path: str, operation: str, flags: int, error: str | None) -> None:
        if error is None:
            there = operation not in _REMOVES
        elif error == "ENOENT" and operation not in _MAKES and not flags & O_CREAT:
            there = False
        else:
            return
        if path in self._there or len(self._there) < _MAX_KNOWN:
            self._there[path] = there

    def finish(self) -> tuple[tuple[FileUse, ...], int]:
        """Every use, sorted, and how many had no absolute path."""
        known: dict[_Key, Tally] = {}
        unknown = 0
        directories = {self._bases.resolve(path) for path in self._directories}
        for (path, state, operation, flags, other, created), tally in self._uses.items():
            whole = self._bases.resolve(path)
            second = None if other is None else self._bases.resolve(other)
            if whole is None or (other is not None and second is None):
                unknown += tally.succeeded + tally.failed or 1
                continue
            key = (whole, state, operation, flags, second, created)
            if key in known:
                known[key].add(tally)
            else:
                known[key] = tally
        # By path, and then by all the rest of the key.
        ordered = sorted(known.items(), key=lambda item: (*item[0][:4], item[0][4] or "", item[0][5]))
        devices = {self._bases.resolve(path) for path in self._devices}
        return tuple(_file_use(key, tally, directories, devices) for key, tally in ordered), unknown


def _file_use(key: _Key, tally: Tally, directories: set[str | None], devices: set[str | None]) -> FileUse:
    path, state, operation, flags, other, created = key
    own: list[str] = []
    above: list[str] = []
    if tally.succeeded:
        # Of a link or rename, either name may be the one that is known.
        kind = "dir" if path in directories or (other is not None and other in directories) else None
        if operation == "open" and kind is None and path in devices and not created:
            kind = "char"  # or "block": neither is truncated
        own, above = access_of(operation, flags=flags, kind=kind, created=created, across=tally.across)
        if tally.both and flags & O_TRUNC and not flags & O_PATH and flags & O_ACCMODE:
            own.append("truncate")
    return FileUse(
        path,
        state,
        Operation(operation),
        flags,
        other,
        created,
        tuple(sorted(set(own))),
        tuple(sorted(set(above))),
        tally.succeeded,
        tally.failed,
        tuple(sorted(tally.errnos)),
        tuple(sorted(tally.programs)),
        (0,),
        tally.first,
    )
