"""What is drawn: machines phase by phase, the kinds of states, and the bounds of drawings. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from scmm_oci.errors import BadInput, Problem
from scmm_oci.policy.machine import Machine
from scmm_oci.policy.order import Table
from scmm_oci.tables import sensitive, states

# Beyond, nobody can follow lines: then there is a matrix only.
MOST_LINKED_STATES = 60
MOST_LINKED_EDGES = 300
# No ABI has as many; a hostile file can have more.
MOST_STATES = 1024
# Words of one list, in a table or a tooltip: what is beyond is counted.
MOST_WORDS = 200


_FIRST = (states.START, *states.BEGINNINGS)


class Kind(StrEnum):
    """What a state is; the values are names of classes in the drawing."""

    BEGINS = "begins"
    HANDLER = "handler"
    DANGEROUS = "dangerous"
    SENSITIVE = "sensitive"
    PLAIN = "plain"


MEANINGS = {
    Kind.BEGINS: "a thread begins, or comes from another ABI",
    Kind.HANDLER: "a signal handler begins",
    Kind.DANGEROUS: "dangerous in a container",
    Kind.SENSITIVE: "can do much, as its arguments say",
    Kind.PLAIN: "any other call",
}


class Part(StrEnum):
    """Which phases are asked for."""

    START_UP = "start-up"
    SERVING = "serving"
    BOTH = "both"


@dataclass(frozen=True)
class Phase:
    """A phase to draw.

    Attributes:
        title: its name.
        table: what is drawn: `joined`.
        states: all of them, in the order of matrices: beginnings first, then calls by name.
        note: what leads on from it, or to it.
        size: how large it is, in words; of the machine itself.
    """

    title: str
    table: Table
    states: tuple[str, ...]
    note: str
    size: str

    @property
    def is_followed(self) -> bool:
        """Whether it is small enough for lines between states."""
        return len(self.states) <= MOST_LINKED_STATES and len(self.table.edges) <= MOST_LINKED_EDGES


@dataclass(frozen=True)
class Picture:
    """All that one drawing has.

    Attributes:
        title: whose machine it is.
        lines: what is to be said of all of it.
    """

    title: str
    lines: tuple[str, ...]
    phases: tuple[Phase, ...]


def picture(machine: Machine, *, name: str, action: str | None, part: Part = Part.BOTH) -> Picture:
    """What is drawn of a machine.

    Args:
        name: of the policy; any text.
        action: what a watch does at what is not there; None: the policy does not say.

    Raises:
        BadInput: the phase that is asked for is not there, or one has more states than are drawn.
    """
    switches = ", ".join(sorted(machine.switches)) or "no call that this ABI has"
    phases = []
    if machine.serving is None:
        if part is Part.SERVING:
            hint = "draw it without --phase, or give it `serving`"
            raise BadInput([Problem("--phase", "the policy has no serving phase", hint)])
        found = machine.starting or Table()
        phases.append(_phase("whole run", found, "one machine from the beginning to the end"))
    else:
        if machine.starting is None and part is Part.START_UP:
            raise BadInput([Problem("--phase", "start-up is not judged: the policy has transitions for serving only")])
        if machine.starting is not None and part is not Part.SERVING:
            phases.append(_phase(Part.START_UP.value, machine.starting, f"until one of: {switches}"))
        if part is not Part.START_UP:
            phases.append(_phase(Part.SERVING.value, machine.serving, f"once one of these was made: {switches}"))
    told = f"at a call that is not there, a watch does: {action or 'what it is told (the policy does not say)'}"
    lines = [f"ABI {machine.arch.value}", told]
    if machine.serving is not None and machine.starting is None:
        lines.append("before serving, everything may follow everything")
    return Picture(name, tuple(lines), tuple(phases))


def joined(table: Table) -> Table:
    """The table with one state for classes of a call, or starts of threads, that it makes no difference between."""
    names: dict[str, str] = {}
    for whole in (states.START, *states.REFINED):
        parts = frozenset(states.expand(whole))
        if parts <= table.states and _are_alike(table, parts):
            names.update(dict.fromkeys(parts, whole))
    if not names:
        return table

    def named(following: frozenset[str]) -> frozenset[str]:
        return frozenset(names.get(one, one) for one in following)

    return Table(
        {names.get(state, state): named(following) for state, following in table.rows.items()},
        {
            (names.get(before, before), names.get(state, state)): named(following)
            for (before, state), following in table.deep.items()
        },
    )


def _are_alike(table: Table, parts: frozenset[str]) -> bool:
    if any(parts & one and not parts <= one for one in (*table.rows.values(), *table.deep.values())):
        return False
    if any(before in parts and state in parts for before, state in table.deep):
        return False
    ways: dict[str, set[tuple[str, str, frozenset[str]]]] = {part: set() for part in parts}
    for (before, state), following in table.deep.items():
        if before in parts:
            ways[before].add(("", state, following))
        if state in parts:
            ways[state].add((before, "", following))
    rows = {table.rows.get(part, frozenset()) for part in parts}
    return len(rows) == 1 and len({frozenset(way) for way in ways.values()}) == 1


def _phase(title: str, table: Table, note: str) -> Phase:
    if len(table.states) > MOST_STATES:
        message = f"{title} has {len(table.states)} states; {MOST_STATES} are the most that are drawn"
        raise BadInput([Problem("", message, "`scmm show` prints them")])
    drawn = joined(table)
    edges = f"{_counted(len(table.edges), 'edge')} ({100 * table.share:.1f} % of the square)"
    lists = f", {_counted(len(table.deep), 'list')} by what was before" if table.deep else ""
    size = f"{_counted(len(table.states), 'state')}, {edges}{lists}"
    if len(drawn.states) < len(table.states):
        size += f"; drawn as {len(drawn.states)}: classes that are treated alike are one"
    return Phase(title, drawn, tuple(sorted(drawn.states, key=_place)), note, size)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"


def _place(word: str) -> tuple[int, str]:
    return (_FIRST.index(word) if word in _FIRST else len(_FIRST), word)


def kind_of(word: str) -> Kind:
    """What kind of state a word is. Classes that only reach data are not sensitive, though their call is."""
    if word == states.SIGNAL:
        return Kind.HANDLER
    call = states.call_of(word)
    if call is None:
        return Kind.BEGINS
    if call in sensitive.DANGEROUS:
        return Kind.DANGEROUS
    if call in sensitive.SENSITIVE and not word.endswith(":data"):
        return Kind.SENSITIVE
    return Kind.PLAIN


def told(phase: Phase, state: str) -> str:
    """What may come before a state and after it, in lines."""
    before = sorted(one for one, following in phase.table.rows.items() if state in following)
    after = sorted(phase.table.rows.get(state, ()))
    lines = [state, f"after it: {listed(after)}", f"before it: {listed(before)}"]
    lines += [
        f"after {earlier}, then {state}, only: {listed(sorted(following))}"
        for (earlier, one), following in sorted(phase.table.deep.items())
        if one == state
    ]
    return "\n".join(lines)


def listed(found: list[str], most: int = MOST_WORDS) -> str:
    """Words in one line; of very many the first, and how many more there are."""
    more = f" … and {len(found) - most} more" if len(found) > most else ""
    return " ".join(found[:most]) + more or "nothing"


def deep_rows(phase: Phase) -> Iterator[tuple[str, str, str]]:
    """The lists that ask for what was before: that, the state, what alone may follow."""
    for (before, state), following in sorted(phase.table.deep.items()):
        yield before, state, listed(sorted(following))
