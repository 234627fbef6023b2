"""``scmm show`` of a compiled policy: tables for people, or all of it as JSON. Called by `show` only."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from scmm_oci.cli.output import console, plain
from scmm_oci.cli.show_machines import print_machines
from scmm_oci.compiled import bpf
from scmm_oci.compiled.identity import capability_names
from scmm_oci.compiled.polfile import layout
from scmm_oci.compiled.polfile.codes import word_of
from scmm_oci.compiled.polfile.model import NOTHING, Filter, Machine, PolicyFile, Ruleset, Transitions
from scmm_oci.compiled.polfile.paths import to_text
from scmm_oci.tables import landlock
from scmm_oci.tables.arch import Arch

if TYPE_CHECKING:
    from rich.console import Console

# linux/seccomp.h
_FLAGS = {"tsync": 1, "log": 2, "spec_allow": 4, "wait_killable_recv": 32}

# Hexadecimal digits of a digest in a table.
_SHORT = 12


def described(file: PolicyFile) -> dict[str, Any]:
    """All of a compiled policy as plain values: rights, flags and capabilities by name, paths as patterns have them."""
    identity = file.identity
    return {
        "version": layout.VERSION,
        "metadata": dict(vars(file.metadata)),
        "filters": [_filter(one) for one in file.filters],
        "landlock": None if file.ruleset is None else _ruleset(file.ruleset),
        "identity": {
            "uid": identity.uid,
            "gid": identity.gid,
            "capabilities": None if identity.capabilities is None else list(capability_names(identity.capabilities)),
        },
        "transitions": [_transitions(one) for one in file.transitions],
        "watch": None
        if file.watch is None
        else {"action": file.watch.action, "machines": [_machine(one) for one in file.watch.machines]},
    }


def _filter(one: Filter) -> dict[str, Any]:
    flags = None if one.flags is None else [name for name, bit in _FLAGS.items() if one.flags & bit]
    return {
        "arch": one.arch.value,
        "flags": flags,
        "filter": _program(one.program),
        "permissive": _program(one.permissive),
    }


def _program(program: bpf.Program) -> dict[str, Any]:
    return {
        "sha256": sha256(bpf.encode(program)).hexdigest(),
        "instructions": [{"code": one.code, "jt": one.jt, "jf": one.jf, "k": one.k} for one in program],
    }


def _ruleset(ruleset: Ruleset) -> dict[str, Any]:
    paths = [
        {
            "path": to_text(one.components, one.kind),
            "kind": one.kind.name.lower(),
            "access": list(landlock.fs_names(one.access)),
            "on_missing": one.on_missing.name.lower(),
            "plain_from": one.plain_from,
            "abi": one.abi,
        }
        for one in ruleset.paths
    ]
    ports = [
        {"first": one.first, "last": one.last, "access": list(landlock.net_names(one.access)), "abi": one.abi}
        for one in ruleset.ports
    ]
    return {
        "abi": ruleset.abi,
        "handled_fs": list(landlock.fs_names(ruleset.handled_fs)),
        "handled_net": list(landlock.net_names(ruleset.handled_net)),
        "scopes": list(landlock.scope_names(ruleset.scoped)),
        "has_addresses": ruleset.has_addresses,
        "paths": sorted(paths, key=lambda one: (one["path"], one["on_missing"], one["plain_from"])),
        "ports": ports,
    }


def _transitions(one: Transitions) -> dict[str, Any]:
    return {"arch": one.arch.value, "edges": _edges(one.edges, one.arch)}


def _machine(one: Machine) -> dict[str, Any]:
    calls = one.serving_calls
    return {
        "arch": one.arch.value,
        "serving_calls": None if calls is None else [word_of(call, one.arch) for call in calls],
        "serving": _edges(one.serving, one.arch),
        "deep": _deep(one.deep, one.arch),
        "serving_deep": _deep(one.serving_deep, one.arch),
    }


def _edges(edges: Sequence[tuple[int, int]], arch: Arch) -> list[list[str | int]]:
    return [[_named(before, arch), _named(after, arch)] for before, after in edges]


def _deep(triples: Sequence[tuple[int, int, int]], arch: Arch) -> list[dict[str, Any]]:
    """A list for each pair, of what alone may follow it."""
    found: dict[tuple[int, int], list[str | int]] = {}
    for before, state, after in triples:
        found.setdefault((before, state), []).extend([_named(after, arch)] if after != NOTHING else [])
    return [
        {"before": _named(before, arch), "from": _named(state, arch), "to": following}
        for (before, state), following in found.items()
    ]


def _named(code: int, arch: Arch) -> str | int:
    """The word of a state; of a call that the tables lack, its number."""
    word = word_of(code, arch)
    return int(word) if word.isdecimal() else word


def print_compiled(file: PolicyFile, *, limit: int) -> None:
    """Print a compiled policy as tables.

    Args:
        limit: rows of each table; 0 for all.
    """
    from rich.text import Text

    found = described(file)
    out = console()
    lines = [(name.replace("_", " "), value) for name, value in found["metadata"].items() if value]
    identity = found["identity"]
    lines += [(f"runs as {name}", identity[name]) for name in ("uid", "gid") if identity[name] is not None]
    kept = identity["capabilities"]
    if kept is not None:
        lines.append(("capabilities", " ".join(kept) or "none"))
    for label, value in lines:
        out.print(Text(plain(f"{label + ':':<19}{plain(value)}")))
    out.print()
    printer = Printer(out, limit=limit)
    printer.filters(found["filters"])
    printer.landlock(found["landlock"])
    print_machines(file, printer)


class Printer:
    """Tables on a console, each with a limit of rows."""

    def __init__(self, out: Console, *, limit: int) -> None:
        self._out, self.limit = out, limit

    def filters(self, found: list[dict[str, Any]]) -> None:
        rows = []
        for one in found:
            programs = [one["filter"], one["permissive"]]
            sizes = [len(program["instructions"]) for program in programs]
            digests = [program["sha256"][:_SHORT] for program in programs]
            flags = "as the launcher has them" if one["flags"] is None else " ".join(one["flags"]) or "none"
            rows.append([one["arch"], sizes[0], digests[0], sizes[1], digests[1], flags])
        columns = ["architecture", "#instructions", "SHA-256", "#permissive", "SHA-256", "flags"]
        self.table("filters (scmm disasm prints them)", columns, rows)

    def landlock(self, found: dict[str, Any] | None) -> None:
        if found is None:
            self.table("Landlock", [], [])
            return
        rows: list[list[Any]] = [
            ["files", " ".join(found["handled_fs"])],
            ["ports", " ".join(found["handled_net"])],
            ["scopes", " ".join(found["scopes"])],
            ["addresses", "named in the policy, and not held" if found["has_addresses"] else ""],
        ]
        kernel = landlock.kernel_of(found["abi"])
        title = f"Landlock, ABI {found['abi']} ({kernel}) for all of it: what is refused but for rules"
        self.table(title, ["of", "rights"], [row for row in rows if row[1]], count=False)
        paths = [[one["path"], " ".join(one["access"]), one["on_missing"], one["abi"]] for one in found["paths"]]
        self.table("paths", ["path", "rights", "if missing", "#ABI"], paths)
        ports = [[_span(one), " ".join(one["access"]), one["abi"]] for one in found["ports"]]
        self.table("ports", ["port", "rights", "#ABI"], ports)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, count: bool = True) -> None:
        """Print a table.

        Args:
            columns: their names; numbers, which stand at the right, have "#" before it.
            count: the title says how many rows there are.
        """
        from rich.table import Table
        from rich.text import Text

        number = f": {len(rows)}" if count and rows else "" if rows else ": none"
        self._out.print(Text(plain(f"{title}{number}"), style="bold"))
        if rows:
            table = Table(box=None, pad_edge=False)
            for column in columns:
                table.add_column(column.lstrip("#"), justify="right" if column[:1] == "#" else "left", overflow="fold")
            for row in rows[: self.limit or None]:
                table.add_row(*(Text(plain(cell)) for cell in row))
            self._out.print(table)
            if self.limit and len(rows) > self.limit:
                self._out.print(Text(f"… and {len(rows) - self.limit} more (--limit 0 shows all)"))
        self._out.print()


def _span(one: dict[str, Any]) -> str:
    return str(one["first"]) if one["first"] == one["last"] else f"{one['first']}-{one['last']}"
