"""What a capture says, in a form in which two of them can be compared: programs by what they are, not by number."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field

from scmm_oci.capture.model import Capture, Phase

# (path, script, argv0)
Identity = tuple[str, str | None, str]


@dataclass(frozen=True)
class Outcome:
    """How often something succeeded and failed, with which errors, and who did it."""

    entered: int
    succeeded: int
    failed: int
    errnos: frozenset[str]
    programs: frozenset[Identity]

    def plus(self, other: Outcome) -> Outcome:
        """Both together."""
        return Outcome(
            self.entered + other.entered,
            self.succeeded + other.succeeded,
            self.failed + other.failed,
            self.errnos | other.errnos,
            self.programs | other.programs,
        )


@dataclass(frozen=True)
class FileKey:
    """One way in which a path was used."""

    path: str
    state: str
    operation: str
    flags: int
    other: str | None
    created: bool


@dataclass
class View:
    """A capture of which each fact is a key. calls: of the phase app; the facts are of nothing else."""

    calls: dict[tuple[str, str], Outcome] = field(default_factory=dict)
    arguments: dict[tuple[str, str, tuple[int, ...], str | None], frozenset[int]] = field(default_factory=dict)
    programs: dict[tuple[Identity, str, str | None], int] = field(default_factory=dict)  # … state, loader → count
    files: dict[FileKey, Outcome] = field(default_factory=dict)
    sockets: dict[tuple[str, str, str, int, str | None, int | None], Outcome] = field(default_factory=dict)
    order: dict[tuple[str, int | str, int], None] = field(default_factory=dict)

    def sections(self) -> Iterator[tuple[str, dict[Hashable, object]]]:
        """(name, facts) of each kind."""
        yield from vars(self).items()


def view(capture: Capture) -> View:
    """A capture as it stands."""
    found = View()
    who: dict[int, Identity] = {}
    for program in capture.programs:
        identity = (program.path, program.script, program.argv0)
        who[program.number] = identity
        key = (identity, str(program.state), program.loader)
        found.programs[key] = found.programs.get(key, 0) + program.count
    for _, call in capture.calls(Phase.APP):
        outcome = Outcome(
            call.entered, call.succeeded, 0, frozenset(call.errnos), frozenset(who[each] for each in call.programs)
        )
        add(found.calls, (str(call.arch), call.name or str(call.nr)), outcome)
    for seen in capture.arguments:
        assert not seen.open_ended, f"{seen.name} has more values than are kept"
        found.arguments[str(seen.arch), str(seen.name), seen.indexes, seen.field] = frozenset(seen.values)
    for use in capture.files:
        file_key = FileKey(use.path, str(use.state), str(use.operation), use.flags, use.other, use.created)
        add(found.files, file_key, _outcome(use, who))
    for socket in capture.sockets:
        place = (str(socket.operation), socket.family, socket.type, socket.protocol, socket.address, socket.port)
        add(found.sockets, place, _outcome(socket, who))
    for edges in capture.order:
        found.order.update(((str(edges.arch), *pair), None) for pair in edges.pairs)
    return found


def _outcome(use: object, who: Mapping[int, Identity]) -> Outcome:
    programs = frozenset(who[number] for number in use.programs)  # type: ignore[attr-defined]
    total = use.succeeded + use.failed  # type: ignore[attr-defined]
    return Outcome(total, use.succeeded, use.failed, frozenset(use.errnos), programs)  # type: ignore[attr-defined]


def add(table: dict, key: Hashable, outcome: Outcome) -> None:
    """Add to what a table has under a key."""
    table[key] = table[key].plus(outcome) if key in table else outcome


def differences(ours: View, theirs: View) -> list[str]:
    """Every fact that only one has, or that they have otherwise, in words."""
    found = []
    for (section, one), (_, two) in zip(ours.sections(), theirs.sections(), strict=True):
        for key in sorted({*one, *two}, key=repr):
            if key not in two:
                found.append(f"{section}: only recorded: {key}: {one[key]}")
            elif key not in one:
                found.append(f"{section}: only in the trace: {key}: {two[key]}")
            elif one[key] != two[key]:
                found.append(f"{section}: {key}: {_unlike(one[key], two[key])}")
    return found


def _unlike(one: object, two: object) -> str:
    """The parts that differ of what two have under one key."""
    if isinstance(one, Outcome) and isinstance(two, Outcome):
        pairs = [(name, value, getattr(two, name)) for name, value in vars(one).items()]
    else:
        pairs = [("", one, two)]
    words = []
    for name, mine, other in pairs:
        if isinstance(mine, frozenset):
            mine, other = mine - other, other - mine
        if mine != other:
            words.append(f"{name} recorded {mine}, in the trace {other}".strip())
    return "; ".join(words)
