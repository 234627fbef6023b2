"""What was done with paths → what Landlock has to allow for it: needs by path, rules for them.

Landlock asks for nothing when a file is only looked at (stat, access, readlink), for the rights of the opened file when
it is opened, and for those of the directory when a name is made or removed (landlock(7)); captures hold these rights
already. What is new here is time: a rule is made of what is there when a program starts, and a file that it makes
later is not. So a created file is made beforehand, or granted with its directory. Called by policy.infer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scmm_oci.capture.facts import FileUse, Operation, PathState
from scmm_oci.capture.model import Capture
from scmm_oci.errors import Finding
from scmm_oci.policy.decisions import Decisions
from scmm_oci.policy.infer.observe import program_paths, programs_of
from scmm_oci.policy.model import OnMissing
from scmm_oci.policy.paths.proposals import Need
from scmm_oci.tables import operations

# What gives a file a name that it had not before.
MAKES_NAME = frozenset(
    {Operation.MKDIR, Operation.MKNOD, Operation.SYMLINK, Operation.LINK_TO, Operation.RENAME_TO, Operation.BIND}
)
_REMOVES_NAME = frozenset({Operation.UNLINK, Operation.RMDIR, Operation.RENAME_FROM})
_LISTS = "read_dir"
_LOOKS = frozenset({"ENOENT", "ENOTDIR"})


_NOTHING: frozenset[str] = frozenset()
_TRUNCATE = frozenset({"truncate"})


class _Gathered:
    """A path as all recordings together have it. There can be a hundred thousand, so sets are shared until they grow.

    Attributes:
        recordings: a bit for each.
    """

    __slots__ = ("access", "count", "created", "directory", "exclusive", "found", "moved", "programs", "recordings")

    def __init__(self) -> None:
        self.access = _NOTHING
        self.directory = False
        self.created = False
        self.found = False
        self.exclusive = False
        self.moved = False
        self.recordings = 0
        self.programs = _NOTHING
        self.count = 0

    def note(self, use: FileUse, access: frozenset[str], number: int, programs: frozenset[str]) -> None:
        """Add a use in a recording."""
        self.access = access if access >= self.access else self.access | access
        self.programs = programs if programs >= self.programs else self.programs | programs
        self.found = self.found or use.succeeded > 0
        self.count += use.succeeded
        self.recordings |= 1 << number


@dataclass(frozen=True)
class Observed:
    """Needs, sorted by path, and the files of the programs that had them, by path."""

    needs: tuple[Need, ...]
    programs: Mapping[str, frozenset[str]]


def observe_files(captures: Sequence[Capture], decisions: Decisions, findings: list[Finding]) -> Observed:
    """What the captures' programs needed of each path."""
    gathered: dict[str, _Gathered] = {}
    elsewhere: set[str] = set()
    for number, capture in enumerate(captures):
        recording = _Recording(capture, number)
        for use in capture.files:
            if use.state is PathState.INTERNAL:
                continue
            if use.state is PathState.OUTSIDE:
                if use.access or use.parent_access:
                    elsewhere.add(use.path)
                continue
            _gather(use, recording, gathered, decisions)
    for path in sorted(elsewhere)[:10]:
        message = f"{path} lies outside of the container's root: no rule can be made for it"
        findings.append(Finding("outside-path", message, "it came with a descriptor, which Landlock lets be"))
    order = {word: index for index, word in enumerate(sorted(programs_of(captures)))}
    numbers = {some: frozenset(map(order.__getitem__, some)) for some in {one.programs for one in gathered.values()}}
    recordings = {mask: _bits(mask) for mask in {one.recordings for one in gathered.values()}}
    needs = []
    for path in sorted(gathered):
        one = gathered[path]
        if not one.access and not one.created:
            continue
        missing = not one.found
        if missing and decisions.missing_files is OnMissing.SKIP:
            continue
        needs.append(
            Need(
                path=path,
                access=one.access,
                directory=one.directory,
                created=one.created,
                missing=missing,
                recordings=recordings[one.recordings],
                count=one.count,
                listed=_LISTS in one.access,
                exclusive=one.exclusive,
                programs=numbers[one.programs],
                moved=one.moved,
            )
        )
    return Observed(tuple(needs), {path: one.programs for path, one in gathered.items() if one.access})


class _Recording:
    """One capture: how names came and went in it, and sets that many of its uses share.

    Attributes:
        times: path → how often it was made; ``removed``: paths that lost their names.
        special: what is made but no plain file, or must be new.
        moved: what was renamed, and then or before got its name by renaming.
    """

    def __init__(self, capture: Capture, number: int) -> None:
        self.number = number
        self._paths = program_paths(capture)
        self._programs: dict[tuple[int, ...], frozenset[str]] = {}
        self._access: dict[tuple[str, ...], frozenset[str]] = {}
        self.times: dict[str, int] = defaultdict(int)
        self.removed: set[str] = set()
        self.special: set[str] = set()
        self._names: dict[Operation, set[str]] = {Operation.RENAME_FROM: set(), Operation.RENAME_TO: set()}
        for use in capture.files:
            # What lies outside only has the name of a file in the container.
            if use.succeeded and use.state not in (PathState.INTERNAL, PathState.OUTSIDE):
                self._follow(use)
        self.moved = self._names[Operation.RENAME_FROM] & self._names[Operation.RENAME_TO]

    def _follow(self, use: FileUse) -> None:
        if use.created or use.operation in MAKES_NAME:
            self.times[use.path] += use.succeeded
            exclusive = use.operation is Operation.OPEN and use.flags & operations.O_EXCL
            if exclusive or use.operation in MAKES_NAME:
                self.special.add(use.path)
        if use.operation in _REMOVES_NAME:
            self.removed.add(use.path)
        if use.operation in self._names:
            self._names[use.operation].add(use.path)

    def programs(self, numbers: tuple[int, ...]) -> frozenset[str]:
        """The files of programs."""
        if numbers not in self._programs:
            self._programs[numbers] = frozenset(self._paths[one] for one in numbers if one in self._paths)
        return self._programs[numbers]

    def access(self, words: tuple[str, ...]) -> frozenset[str]:
        """Rights as a set."""
        if words not in self._access:
            self._access[words] = frozenset(words)
        return self._access[words]

    def cannot_be_made(self, path: str) -> bool:
        """Whether a file made beforehand would not serve: no plain file, must be new, or is made more than once."""
        return path in self.special or (path in self.removed and self.times[path] > 1)


def _gather(use: FileUse, recording: _Recording, gathered: dict[str, _Gathered], decisions: Decisions) -> None:
    made = use.created or use.operation in MAKES_NAME
    if use.access or made:
        one = gathered.get(use.path)
        if one is None:
            one = gathered[use.path] = _Gathered()
        access = recording.access(use.access)
        if use.created and use.flags & operations.O_TRUNC and use.operation is Operation.OPEN:
            # Of a new file nothing is cut off, and the kernel asks for no right; of one that is there by then it does
            # (fs/namei.c, do_open): one made beforehand, or left by the run before.
            access |= _TRUNCATE
        one.note(use, access, recording.number, recording.programs(use.programs))
        one.directory = one.directory or _LISTS in use.access or use.operation is Operation.MKDIR
        if use.path in recording.times:
            one.created = True
            one.exclusive = one.exclusive or recording.cannot_be_made(use.path)
            one.moved = one.moved or use.path in recording.moved
    elif decisions.missing_files is not OnMissing.SKIP and _was_missing(use):
        wanted, _ = operations.access_of(use.operation.value, flags=use.flags & ~operations.O_TRUNC)
        one = gathered.setdefault(use.path, _Gathered())
        one.note(use, frozenset(wanted), recording.number, recording.programs(use.programs))
    if use.parent_access:
        parent = gathered.setdefault(use.path.rpartition("/")[0] or "/", _Gathered())
        parent.note(use, recording.access(use.parent_access), recording.number, recording.programs(use.programs))
        parent.directory = True


def _was_missing(use: FileUse) -> bool:
    looked = not use.succeeded and set(use.errnos) <= _LOOKS and use.state is not PathState.DELETED
    return looked and use.operation in (Operation.OPEN, Operation.EXECUTE)


def _bits(mask: int) -> frozenset[int]:
    return frozenset(number for number in range(mask.bit_length()) if mask >> number & 1)
