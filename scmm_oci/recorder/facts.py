"""Turn the facts that a slot holds into the lists of a capture document: programs, files, arguments.

Standard library only (hook). What the maps hold is in bpf/recorder.h, what the lists mean in docs/formats.md.
"""

from __future__ import annotations

import os

from scmm_oci.recorder import wire
from scmm_oci.recorder.resolve import Resolver, kind_of, normal
from scmm_oci.tables import operations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

_EXECUTED = ("execute", "loader", "script")
_DIRECTORIES = ("mkdir", "rmdir", "chdir", "chroot")
_MAKES = {"mkdir": "dir", "symlink": "link", "bind": "sock", "mknod": "reg"}


class Fact:
    """One fact as read: `kind`, operation code `op`, hash `a`, counts, and its data as `name` and `base`.

    base: the path of components that came after the name, from the root; "" where there were none.
    """

    __slots__ = (
        "a", "base", "detail", "errnos", "failed", "first", "info", "kind", "name", "op", "other", "programs",
        "sessions", "state", "succeeded",
    )  # fmt: skip

    def __init__(self, key: bytes, value: bytes) -> None:
        self.a, _, _, self.kind, self.op, _ = wire.FACT_KEY.unpack(key)
        fields = wire.FACT.unpack_from(value)
        self.programs, self.first = fields[:2]
        self.errnos = wire.errnos_of(fields[2 : 2 + wire.ERRNO_WORDS])
        rest = fields[2 + wire.ERRNO_WORDS :]
        self.other, self.succeeded, self.failed, self.detail, self.info = rest[:5]
        name_length, base_length, self.sessions, self.state, _ = rest[5:]
        data = value[wire.FACT.size :]
        self.name: bytes = data[:name_length]
        components = data[name_length : name_length + base_length]
        # A memfd's name may hold slashes, and has nothing above it.
        parts = [components[:-1]] if self.state & wire.INTERNAL else components.split(b"/")
        self.base = os.fsdecode(b"".join(b"/" + part for part in reversed(parts) if part))


def size_of(value: bytes) -> int:
    """0 for a fact whose data is in its value, 1 or 2 for one whose data is in facts_medium or facts_long."""
    size: int = wire.FACT.unpack_from(value)[-1]
    return size


class Files:
    """The file facts of a recording, on their way to paths.

    milliseconds: of a time as the kernel gives it, from the beginning of the recording.
    """

    def __init__(self, facts: Iterable[Fact], *, milliseconds: Callable[[int], int]) -> None:
        self._facts = [fact for fact in facts if fact.kind == wire.FILE]
        self._milliseconds = milliseconds
        self._known: set[str] = set()
        self._kinds: dict[str, str] = {}
        for fact in self._facts:
            if not fact.state & (wire.OUTSIDE | wire.INTERNAL | wire.FOREIGN_MOUNTS) and fact.base:
                self._remember(own(fact.base))
        self.named = 0

    def _remember(self, path: str) -> None:
        while path and path not in self._known:
            self._known.add(path)
            path = path.rpartition("/")[0]

    def is_known(self, path: str) -> bool:
        """Whether the kernel has shown this to be a file's own path."""
        return path in self._known

    def rows(self, resolver: Resolver) -> tuple[list[dict[str, Any]], dict[int, dict[str, Any]]]:
        """(`files` of the document, program number → what its facts say: path, state, loader, script).

        Sets `named`: how many paths of operations that take a right stay as the program named them.
        """
        placed = [(fact, *self._place(fact, resolver)) for fact in self._facts]
        for fact, path, state, kind in placed:
            if state == "resolved" and fact.succeeded and (made := self._made(fact, kind)):
                self._kinds.setdefault(path, made)
        first_names = {fact.a: path for fact, path, _, _ in placed if fact.op in _PAIRED}
        seconds = {fact.other: path for fact, path, _, _ in placed if fact.other}
        kinds = {fact.other: kind for fact, _, _, kind in placed if fact.other}
        merged: dict[tuple[Any, ...], dict[str, Any]] = {}
        programs: dict[int, dict[str, Any]] = {}
        for fact, path, state, kind in placed:
            operation = operations.OPERATIONS[fact.op]
            flags = 0 if operation in _EXECUTED and fact.succeeded else fact.detail
            other = first_names.get(fact.other) if fact.other else seconds.get(fact.a) if fact.op in _PAIRED else None
            created = bool(fact.state & wire.CREATED)
            if other is not None:
                kind = self._kinds.get(path) or self._kinds.get(other) or kind or kinds.get(fact.a)
            own_rights, parent_rights = operations.access_of(
                operation,
                flags=flags,
                kind=kind,
                created=created,
                across=other is not None and os.path.dirname(other) != os.path.dirname(path),
            )
            if state == "internal" or not fact.succeeded:
                own_rights, parent_rights = [], []
            if state == "named" and (own_rights or parent_rights):
                self.named += 1
            if operation in _EXECUTED and fact.succeeded:
                word = "path" if operation == "execute" else operation
                programs.setdefault(fact.detail, {}).setdefault(word, path)
                if operation == "execute":
                    programs[fact.detail].setdefault("state", state)
            row = {
                "path": path,
                "state": state,
                "operation": operation,
                "flags": flags,
                "other": other,
                "created": created,
                "access": own_rights,
                "parent_access": parent_rights,
                **outcome(fact, milliseconds=self._milliseconds),
            }
            key = (path, operation, flags, other or "", state, created)
            merged[key] = summed(merged[key], row) if key in merged else row
        return [finished(merged[key]) for key in sorted(merged)], programs

    def _place(self, fact: Fact, resolver: Resolver) -> tuple[str, str, str | None]:
        """(path, state, kind) of a fact."""
        operation = operations.OPERATIONS[fact.op]
        if not fact.state & wire.AS_NAMED:
            path = own(fact.base) or "/"
            return path, _state(fact.state), kind_of(fact.info) or ("dir" if operation == "chdir" else None)
        name = os.fsdecode(fact.name)
        base = own(fact.base)
        absolute = name.startswith("/")
        said = normal(base + (normal(name) if absolute else "/" + name))
        if fact.state & (wire.OUTSIDE | wire.INTERNAL | wire.FOREIGN_MOUNTS | wire.DELETED):
            state = _state(fact.state & ~wire.AS_NAMED)
            return said, "named" if state == "resolved" else state, None
        found = resolver.resolve(
            name if absolute else f"{base}/{name}",
            follow=follows(operation, fact.detail, name),
            root=base if absolute else "/",
        )
        if found is None:
            return said, "named", None
        return found[0], "resolved", found[1]

    def _made(self, fact: Fact, kind: str | None) -> str | None:
        operation = operations.OPERATIONS[fact.op]
        if operation in _DIRECTORIES:
            return "dir"
        if operation == "open":
            return kind_of(fact.info)
        return _MAKES.get(operation)


_PAIRED = tuple(operations.CODE[word] for word in ("link-from", "rename-from"))


def own(path: str) -> str:
    """The path with /proc/self/task/self written as /proc/thread-self (the kernel side calls both kinds "self")."""
    if path.startswith("/proc/self/task/self"):
        rest = path[len("/proc/self/task/self") :]
        if not rest or rest.startswith("/"):
            return "/proc/thread-self" + rest
    return path


def follows(operation: str, flags: int, name: str) -> bool:
    """Whether a link at a name's end was followed: path_resolution(7), and the calls' flags."""
    if name.endswith("/"):
        return True
    if operation == "link-from":
        return bool(flags & operations.AT_SYMLINK_FOLLOW)
    if operation == "open":
        return not (flags & operations.O_CREAT and flags & operations.O_EXCL) and not flags & _O_NOFOLLOW
    return operation in operations.FOLLOWS and not flags & operations.AT_SYMLINK_NOFOLLOW


_O_NOFOLLOW = os.O_NOFOLLOW  # of this machine: so are the programs that run on it


def _state(bits: int) -> str:
    if bits & wire.INTERNAL:
        return "internal"
    if bits & (wire.OUTSIDE | wire.FOREIGN_MOUNTS):
        return "outside"
    return "deleted" if bits & wire.DELETED else "resolved"


def outcome(fact: Fact, *, milliseconds: Callable[[int], int]) -> dict[str, Any]:
    """What all facts have in common in a document, lists as sets still."""
    return {
        "succeeded": fact.succeeded,
        "failed": fact.failed,
        "errnos": set(fact.errnos),
        "programs": set(wire.bits_of(fact.programs)),
        "sessions": set(wire.bits_of(fact.sessions)),
        "first": milliseconds(fact.first),
    }


def summed(one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    """Two rows of the same thing in one."""
    result = {**one, "first": min(one["first"], two["first"])}
    for key in ("succeeded", "failed"):
        result[key] += two[key]
    for key in ("errnos", "programs", "sessions"):
        result[key] = one[key] | two[key]
    for key in ("access", "parent_access") if "access" in one else ():
        result[key] = [*one[key], *(each for each in two[key] if each not in one[key])]
    return result


def finished(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its sets as sorted lists, errnos by name."""
    return {
        **row,
        "errnos": sorted(map(errno_name, row["errnos"])),
        "programs": sorted(row["programs"]),
        "sessions": sorted(row["sessions"]),
    }


def errno_name(number: int) -> str:
    """The name of an errno; the number where it has none."""
    from scmm_oci.tables import errnos

    # Not by Python's table, which has second names of some, and none of others.
    return errnos.name(number)


def programs_of(
    facts: Iterable[Fact], found: dict[int, dict[str, Any]], *, milliseconds: Callable[[int], int]
) -> list[dict[str, Any]]:
    """`programs` of the document. found: what Files.rows says of each number."""
    rows = []
    for fact in facts:
        if fact.kind != wire.PROGRAM:
            continue
        more = found.get(fact.detail, {}) if fact.detail < wire.PROGRAMS - 1 else {}
        argv0, _, script = fact.name.partition(b"\0")
        rows.append(
            {
                "number": fact.detail,
                "path": own(fact.base) or "/",
                "state": more.get("state", _state(fact.state)),
                "loader": more.get("loader"),
                "script": more.get("script", os.fsdecode(script) if script else None),
                "argv0": os.fsdecode(argv0),
                "count": fact.succeeded,
                "first": milliseconds(fact.first),
            }
        )
    return sorted(rows, key=lambda row: (row["number"], row["first"], row["path"], row["argv0"], row["script"] or ""))


def arguments_of(values: Iterable[tuple[bytes, bytes]], *, machine: str) -> list[dict[str, Any]]:
    """`arguments` of the document. values: (key, value) of the map `arguments`."""
    from scmm_oci.tables.arguments import arguments
    from scmm_oci.tables.syscalls import name_of

    sets: dict[tuple[str, int, int], set[int]] = {}
    open_ended = set()
    for key, value in values:
        number, _, nr, abi, spec = wire.ARGUMENT_KEY.unpack(key)
        place = (wire.ARCHES[machine][abi] or "", nr, spec & ~wire.VALUE_COUNT)
        if not spec & wire.VALUE_COUNT:
            sets.setdefault(place, set()).add(number)
        elif wire.COUNT.unpack(value)[0] > wire.VALUES:
            open_ended.add(place)
    rows = []
    for place in sorted(sets):
        arch, nr, spec = place
        name = name_of(arch, nr) or ""
        argument = arguments(arch)[name][spec]
        rows.append(
            {
                "arch": arch,
                "nr": nr,
                "name": name,
                "indexes": list(argument.indexes),
                "field": argument.field,
                "values": sorted(sets[place]),
                "open_ended": place in open_ended,
            }
        )
    return rows
