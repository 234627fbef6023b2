"""Named groups of system calls, nested, as data: data/groups.systemd.json (systemd's) and data/groups.json (ours).

One name means one thing: systemd's groups (``@network-io``, ``@process`` …) are exactly systemd's, made by
tools/make_groups.py, and ours have other names; ours may have systemd's as members. A member is a group, a call, or a
call with conditions on its arguments. Several members of one name are alternatives; conditions of one member all hold.
tables.group_members says what they mean. A name that an architecture lacks is no error, one that none of ours has is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from scmm_oci.errors import BadInput, Problem, short, unknown_value
from scmm_oci.tables import syscalls, words
from scmm_oci.tables.group_members import (
    Condition,
    Member,
    admits,
    argument_of,
    on_arch,
    plain_argument,
)

__all__ = ["Condition", "Group", "Member", "admits", "argument_of", "expand", "groups", "holding", "load", "on_arch"]

# The order counts: ours are made of systemd's.
FILES = ("groups.systemd.json", "groups.json")

_NAME = re.compile(r"@[a-z0-9]+(?:-[a-z0-9]+)*")
# The type of a condition → the kind of the argument that it is for (tables.arguments).
_KINDS = {"flags": "flags", "integer": "enum"}


@dataclass(frozen=True)
class Group:
    """A group; ``source`` says where it, or what it says, is from. Members are sorted."""

    name: str
    description: str
    source: str
    members: tuple[Member, ...]


@cache
def groups() -> Mapping[str, Group]:
    """Every group by its name, sorted. Not to be changed."""
    found: dict[str, Group] = {}
    for name in FILES:
        text = (Path(__file__).parent / "data" / name).read_text(encoding="utf-8")
        found.update(load(json.loads(text), source=name, known=found))
    return MappingProxyType(dict(sorted(found.items())))


@cache
def expand(name: str) -> tuple[Member, ...]:
    """The calls of a group and of all groups in it, sorted, each once.

    A call that is there plainly as well as with conditions is there plainly.

    Raises:
        BadInput: there is no such group.
    """
    if name not in groups():
        raise BadInput([unknown_value("", "a group", name, tuple(groups()))])
    found = {member for one in _within(name, groups()) for member in groups()[one].members if member.name[0] != "@"}
    plain = {member.name for member in found if not member.conditions}
    return tuple(sorted(member for member in found if not member.conditions or member.name not in plain))


def holding(syscall: str) -> tuple[str, ...]:
    """The names of the groups that hold a call, plainly or with conditions, themselves or in other groups; sorted.

    Raises:
        BadInput: no architecture has such a call.
    """
    if syscall not in syscalls.all_names():
        raise BadInput([unknown_value("", "a system call", syscall, sorted(syscalls.all_names()))])
    return tuple(name for name in groups() if any(member.name == syscall for member in expand(name)))


def _within(name: str, known: Mapping[str, Group]) -> Iterator[str]:
    """The group and all groups in it, each once."""
    seen, left = {name}, [name]
    while left:
        one = left.pop()
        yield one
        inner = {member.name for member in known[one].members if member.name[0] == "@"} - seen
        seen |= inner
        left += sorted(inner)


def load(document: object, *, source: str, known: Mapping[str, Group] = MappingProxyType({})) -> Mapping[str, Group]:
    """The groups of a document, checked; without those that were known before.

    Args:
        document: as JSON has it: ``{"source": …, "groups": {"@name": {"description", "members", "source"?}}}``.
        source: the document's name, for errors, and the source of groups where the document says none.
        known: groups that may be members, and whose names are taken.

    Raises:
        BadInput: with all that is wrong: keys and types, names, unknown calls and groups, conditions on arguments
            that are not kept or with words that these do not have, and groups that hold themselves.
    """
    reader = _Reader(known)
    found = reader.document(document, source)
    problems = [*reader.problems, *_cycles(found)]
    if problems:
        raise BadInput(problems, source=source)
    return found


class _Reader:
    """Makes groups of plain values and collects what is wrong."""

    def __init__(self, known: Mapping[str, Group]) -> None:
        self.problems: list[Problem] = []
        self._known = known
        self._calls = syscalls.all_names()
        self._names: set[str] = set(known)

    def _problem(self, place: str, message: str, hint: str = "") -> None:
        self.problems.append(Problem(place, message, hint))

    def _table(self, value: object, place: str, needed: tuple[str, ...], may: tuple[str, ...] = ()) -> dict[str, Any]:
        """The value if it is a mapping; unknown and missing keys are problems."""
        if not isinstance(value, dict):
            self._problem(place, f"{short(value)} is not a mapping", f"keys: {', '.join((*needed, *may))}")
            return {}
        for key in value:
            if key not in (*needed, *may):
                self.problems.append(unknown_value(place, "a key here", key, (*needed, *may)))
        for key in needed:
            if key not in value:
                self._problem(place, f"{key} is missing")
        return value

    def _list(self, value: object, place: str) -> list[Any]:
        if isinstance(value, list) and value:
            return value
        self._problem(place, f"{short(value)} is not a list with something in it")
        return []

    def _text(self, value: object, place: str, default: str) -> str:
        if isinstance(value, str) and value:
            return value
        if value is not None:
            self._problem(place, f"{short(value)} is not a text")
        return default

    def document(self, document: object, source: str) -> dict[str, Group]:
        table = self._table(document, "", ("groups",), ("source",))
        source = self._text(table.get("source"), ".source", source)
        raw = table.get("groups", {})
        if not isinstance(raw, dict):
            self._problem(".groups", f"{short(raw)} is not a mapping", "from names of groups to groups")
            raw = {}
        self._names |= {name for name in raw if isinstance(name, str)}
        return {name: self._group(name, value, source) for name, value in raw.items()}

    def _group(self, name: object, value: object, source: str) -> Group:
        place = f".groups.{str(name)[:60]}"
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            self._problem(
                place, f"{short(name)} is not a name of a group", "such as @file-io: small letters and digits"
            )
        elif name in self._known:
            self._problem(place, f"{name} is already a group, of {self._known[name].source}", "take another name")
        table = self._table(value, place, ("description", "members"), ("source",))
        members: set[Member] = set()
        for index, raw in enumerate(self._list(table["members"], f"{place}.members") if "members" in table else ()):
            member = self._member(raw, f"{place}.members[{index}]")
            if member is not None and member in members:
                self._problem(f"{place}.members[{index}]", f"{member.name} is there already")
            elif member is not None:
                members.add(member)
        description = self._text(table.get("description"), f"{place}.description", "")
        source = self._text(table.get("source"), f"{place}.source", source)
        return Group(str(name), description, source, tuple(sorted(members)))

    def _member(self, raw: object, place: str) -> Member | None:
        table = {"name": raw} if isinstance(raw, str) else self._table(raw, place, ("name",), ("conditions",))
        if "name" not in table:
            return None
        name = table["name"]
        if not isinstance(name, str) or name not in (self._names if name.startswith("@") else self._calls):
            what, known = "a system call", sorted(self._calls)
            if isinstance(name, str) and name.startswith("@"):
                what, known = "a group", sorted(self._names)
            self.problems.append(unknown_value(place, what, name, known))
            return None
        if "conditions" not in table:
            return Member(name)
        if name.startswith("@"):
            self._problem(place, "a group cannot have conditions", "write the calls in it with theirs")
            return None
        found: dict[int, Condition] = {}
        for index, one in enumerate(self._list(table["conditions"], f"{place}.conditions")):
            condition = self._condition(name, one, f"{place}.conditions[{index}]")
            if condition is not None and condition.arg in found:
                self._problem(f"{place}.conditions[{index}].arg", f"argument {condition.arg} has a condition already")
            elif condition is not None:
                found[condition.arg] = condition
        return Member(name, tuple(sorted(found.values())))

    def _condition(self, call: str, raw: object, place: str) -> Condition | None:
        table = self._table(raw, place, ("arg", "type"), ("allowed", "denied"))
        if not {"arg", "type"} <= table.keys():
            return None
        arg, kind = table["arg"], table["type"]
        argument = plain_argument(call, arg) if type(arg) is int else None
        if argument is None:
            seen = [str(index) for index in range(6) if plain_argument(call, index)]
            hint = f"those of {call} are {', '.join(seen)}" if seen else f"{call} has none"
            self._problem(f"{place}.arg", f"{short(arg)} is not an argument with named values", hint)
            return None
        if not isinstance(kind, str) or kind not in _KINDS:
            self.problems.append(unknown_value(f"{place}.type", "a type of condition", kind, tuple(_KINDS)))
            return None
        if _KINDS[kind] != argument.kind:
            right = next(name for name, its in _KINDS.items() if its == argument.kind)
            self._problem(f"{place}.type", f"argument {arg} of {call} is not of the type {kind}", f"it is of {right}")
            return None
        if "allowed" not in table and "denied" not in table:
            self._problem(place, "neither allowed nor denied is there")
        lists = {}
        for key in ("allowed", "denied"):
            listed = self._list(table[key], f"{place}.{key}") if key in table else []
            lists[key] = self._words(argument.vocabulary, listed, f"{place}.{key}")
        if kind == "flags" and not words.fields(argument.vocabulary, arch=syscalls.ARCHES[0]):
            for word in lists["denied"]:
                if not any(words.names(argument.vocabulary, arch=arch).get(word) for arch in syscalls.ARCHES):
                    self._problem(f"{place}.denied", f"{word} is no bit, so it cannot be denied")
        return Condition(arg, kind, lists["allowed"], lists["denied"])

    def _words(self, vocabulary: str, listed: list[Any], place: str) -> tuple[str, ...]:
        known = _vocabulary(vocabulary)
        for index, word in enumerate(listed):
            if not isinstance(word, str) or word not in known:
                self.problems.append(unknown_value(f"{place}[{index}]", "a name of such a value", word, known))
            elif word in listed[:index]:
                self._problem(f"{place}[{index}]", f"{word} is there already")
        return tuple(sorted({word for word in listed if isinstance(word, str)}))


@cache
def _vocabulary(vocabulary: str) -> tuple[str, ...]:
    """The words that some architecture has."""
    return tuple(sorted(set().union(*(words.names(vocabulary, arch=arch) for arch in syscalls.ARCHES))))


def _cycles(found: Mapping[str, Group]) -> Iterator[Problem]:
    """A problem for each step that leads back, walking the groups and their members in order."""
    done: set[str] = set()
    for start in found:
        path: dict[str, Iterator[str]] = {}  # the way from `start` down to where the walk is
        step: str | None = None if start in done else start
        while step is not None:
            path.setdefault(step, iter([m.name for m in found[step].members if m.name in found]))
            inner = next(path[step], None)
            if inner is None:
                done.add(step)
                del path[step]
                step = next(reversed(path), None)
            elif inner in path:
                way = [*path]
                circle = " → ".join([*way[way.index(inner) :], inner])
                yield Problem(f".groups.{step}", f"a group cannot hold itself: {circle}")
            elif inner not in done:
                step = inner
