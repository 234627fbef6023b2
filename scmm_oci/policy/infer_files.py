"""What was done with paths → what Landlock has to allow for it: needs by path, rules for them.

Landlock asks for nothing when a file is only looked at (stat, access, readlink), for the rights of the opened file when
it is opened, and for those of the directory when a name is made or removed (landlock(7)); captures hold these rights
already. What is new here is time: a rule is made of what is there when a program starts, and a file that it makes
later is not. So a created file is made beforehand, or granted with its directory. Called by policy.infer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from scmm_oci.capture.facts import FileUse, Operation, PathState
from scmm_oci.capture.model import Capture
from scmm_oci.errors import Finding
from scmm_oci.policy.decisions import Decisions
from scmm_oci.policy.model import OnMissing
from scmm_oci.policy.proposals import Need
from scmm_oci.tables import operations

_MAKES_NAME = frozenset(
    {Operation.MKDIR, Operation.MKNOD, Operation.SYMLINK, Operation.LINK_TO, Operation.RENAME_TO, Operation.BIND}
)
_REMOVES_NAME = frozenset({Operation.UNLINK, Operation.RMDIR, Operation.RENAME_FROM})
_LISTS = "read_dir"
_LOOKS = frozenset({"ENOENT", "ENOTDIR"})


@dataclass
class _Gathered:
    """A path as all recordings together have it."""

    access: set[str] = field(default_factory=set)
    directory: bool = False
    created: bool = False
    found: bool = False
    exclusive: bool = False
    recordings: set[int] = field(default_factory=set)
    programs: set[str] = field(default_factory=set)
    count: int = 0


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
        paths = {program.number: program.path for program in capture.programs}
        made = _made(capture)
        for use in capture.files:
            if use.state is PathState.INTERNAL:
                continue
            if use.state is PathState.OUTSIDE:
                if use.access or use.parent_access:
                    elsewhere.add(use.path)
                continue
            _gather(use, number, paths, made, gathered, decisions)
    for path in sorted(elsewhere)[:10]:
        message = f"{path} lies outside of the container's root: no rule can be made for it"
        findings.append(Finding("outside-path", message, "it came with a descriptor, which Landlock lets be"))
    order = {
        word: index for index, word in enumerate(sorted(set().union(*(one.programs for one in gathered.values()))))
    }
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
                access=frozenset(one.access),
                directory=one.directory,
                created=one.created,
                missing=missing,
                recordings=frozenset(one.recordings),
                count=one.count,
                listed=_LISTS in one.access,
                exclusive=one.exclusive,
                programs=frozenset(order[program] for program in one.programs),
            )
        )
    return Observed(tuple(needs), {path: frozenset(one.programs) for path, one in gathered.items() if one.access})


@dataclass
class _Made:
    """How names came and went in one recording: path → how often, and when."""

    times: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    first: dict[str, int] = field(default_factory=dict)
    removed: dict[str, int] = field(default_factory=dict)
    other: set[str] = field(default_factory=set)


def _made(capture: Capture) -> _Made:
    made = _Made()
    for use in capture.files:
        if not use.succeeded:
            continue
        if use.created or use.operation in _MAKES_NAME:
            made.times[use.path] += use.succeeded
            made.first[use.path] = min(use.first, made.first.get(use.path, use.first))
            exclusive = use.operation is Operation.OPEN and use.flags & operations.O_EXCL
            if exclusive or use.operation in _MAKES_NAME:
                made.other.add(use.path)
        if use.operation in _REMOVES_NAME:
            made.removed[use.path] = min(use.first, made.removed.get(use.path, use.first))
    return made


def _gather(
    use: FileUse,
    number: int,
    paths: Mapping[int, str],
    made: _Made,
    gathered: dict[str, _Gathered],
    decisions: Decisions,
) -> None:
    programs = {paths[one] for one in use.programs if one in paths}
    looked = not use.succeeded and set(use.errnos) <= _LOOKS and use.state is not PathState.DELETED
    if use.access or use.operation in _MAKES_NAME or use.created:
        one = gathered.setdefault(use.path, _Gathered())
        one.access.update(use.access)
        one.directory |= _LISTS in use.access or use.operation is Operation.MKDIR
        _note(one, use, number, programs)
        if use.path in made.times:
            one.created = True
            one.exclusive |= _cannot_be_made(use.path, made)
    elif (
        looked
        and use.operation in (Operation.OPEN, Operation.EXECUTE)
        and decisions.missing_files is not OnMissing.SKIP
    ):
        wanted, _ = operations.access_of(use.operation.value, flags=use.flags & ~operations.O_TRUNC)
        one = gathered.setdefault(use.path, _Gathered())
        one.access.update(wanted)
        one.recordings.add(number)
        one.programs.update(programs)
    if use.parent_access:
        parent = gathered.setdefault(use.path.rpartition("/")[0] or "/", _Gathered())
        parent.access.update(use.parent_access)
        parent.directory = True
        _note(parent, use, number, programs)


def _note(one: _Gathered, use: FileUse, number: int, programs: Iterable[str]) -> None:
    one.found |= bool(use.succeeded)
    one.count += use.succeeded
    one.recordings.add(number)
    one.programs.update(programs)


def _cannot_be_made(path: str, made: _Made) -> bool:
    """Whether a file made beforehand would not serve: it is no plain file, must be new, or is made more than once."""
    again = path in made.removed and made.times[path] > 1
    return path in made.other or again
