"""The part of ``scmm show`` that prints which call may follow which, by word. Called by `show_compiled` only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from scmm_oci.compiled.machines import machines
from scmm_oci.policy.machine import Machine
from scmm_oci.policy.order import Table, transitions

if TYPE_CHECKING:
    from scmm_oci.cli.show_compiled import Printer
    from scmm_oci.compiled.polfile.model import PolicyFile

START_UP, SERVING = "start-up", "serving"
# What an action is worth where the policy has a watch; without, whoever watches chooses.
NO_ACTION = "not said: alert"


def print_machines(file: PolicyFile, printer: Printer) -> None:
    """Print the machines of a compiled policy, their rows, and the lists that ask for what was before."""
    found = machines(file.transitions, file.watch)
    phases = [(one, *phase) for one in found for phase in phases_of(one)]
    rows = [
        [
            one.arch,
            phase,
            len(table.states),
            len(table.edges),
            percent(table.share),
            len(table.deep),
            _leads(one, phase),
        ]
        for one, phase, table in phases
    ]
    columns = ["ABI", "phase", "#states", "#edges", "#of the square", "#lists", "goes over to serving with"]
    title = "transitions"
    if found:
        title = f"transitions, and what a watch does at others ({file.watch.action if file.watch else NO_ACTION})"
    printer.table(title, columns, rows)
    if not phases:
        return
    told = [(one.arch, phase, row) for one, phase, table in phases for row in transitions(table)]
    rows = [[arch, phase, row.call, _listed(row.to, printer.limit)] for arch, phase, row in told if not row.before]
    printer.table("what may follow", ["ABI", "phase", "after", "these"], rows)
    rows = [
        [arch, phase, row.before, row.call, _listed(row.to, printer.limit)] for arch, phase, row in told if row.before
    ]
    if rows:
        title = "what alone may follow, where that was before (repetitions left out)"
        printer.table(title, ["ABI", "phase", "before", "after", "these"], rows)


def phases_of(machine: Machine) -> Iterator[tuple[str, Table]]:
    """The phases of a machine that are judged, and what holds in each."""
    if machine.starting is not None:
        yield START_UP if machine.serving is not None else "all", machine.starting
    if machine.serving is not None:
        yield SERVING, machine.serving


def sizes(table: Table) -> tuple[int, int, str, int]:
    """How many states and edges a table has, how much of the square of its states that is, and how many lists."""
    return len(table.states), len(table.edges), percent(table.share), len(table.deep)


def percent(share: float) -> str:
    """A share as people read it: "9.8 %"."""
    return f"{100 * share:.1f} %"


def _leads(machine: Machine, phase: str) -> str:
    if machine.serving is None or phase == SERVING:
        return ""
    return " ".join(sorted(machine.switches)) or "nothing"


def _listed(words: Sequence[str], limit: int) -> str:
    more = f" … and {len(words) - limit} more" if 0 < limit < len(words) else ""
    return " ".join(words[: limit or None]) + more or "nothing"
