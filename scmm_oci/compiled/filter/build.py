"""The plan of a filter → its instructions."""

from __future__ import annotations

from collections.abc import Iterator

from scmm_oci.compiled import bpf
from scmm_oci.compiled.bpf import ARCH_OFFSET, MAX_INSTRUCTIONS, Program
from scmm_oci.compiled.filter.arguments import Arguments
from scmm_oci.compiled.filter.assemble import assemble
from scmm_oci.compiled.filter.nodes import Node, Nodes, Op
from scmm_oci.compiled.filter.numbers import Segment
from scmm_oci.compiled.filter.plan import Decision, Machine, Plan
from scmm_oci.compiled.filter.sharing import Lines
from scmm_oci.errors import BadInput, Problem
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch

# So many calls are named where a filter is too long.
_NAMED = 5


def build(plan: Plan) -> Program:
    """The filter that does what the plan says.

    Raises:
        BadInput: it would have more instructions than a kernel takes; with the calls that take most of them.
    """
    nodes = Nodes()
    lines = Lines(nodes, alone=len(plan.machines) == 1)
    trees = [lines.node(_segments(machine, nodes)) for machine in plan.machines]
    root: Node = nodes.ret(plan.bad_arch)
    for machine, node in zip(reversed(plan.machines), reversed(trees), strict=True):
        root = nodes.test(ARCH_OFFSET, Op.EQ, machine.audit, node, root)
    program = assemble(root)
    if len(program) > MAX_INSTRUCTIONS:
        message = f"the filter would have {len(program)} instructions; the kernel takes {MAX_INSTRUCTIONS}"
        longest = ", ".join(_longest(plan))
        raise BadInput([Problem("", message, f"most are for {longest}" if longest else "")])
    assert not bpf.problems(program)
    return program


def _segments(machine: Machine, nodes: Nodes) -> list[Segment]:
    arguments = Arguments(machine, nodes)
    segments = []
    for piece in machine.line:
        try:
            segments.append(Segment(piece.first, piece.last, arguments.node(piece.decision), piece.weight))
        except BadInput as error:
            raise BadInput(list(_too_long(machine)) or error.problems) from error
    return segments


def _too_long(machine: Machine) -> Iterator[Problem]:
    """The calls that no filter has room for, whatever else is in it."""
    for piece in machine.line:
        try:
            Arguments(machine, Nodes()).node(piece.decision)
        except BadInput as error:
            name = _name(machine, piece.first)
            yield from (Problem(f"rules for {name}", one.message, one.hint) for one in error.problems)


def _name(machine: Machine, number: int) -> str:
    arches = [arch for arch in Arch if arch.audit == machine.audit]
    names = (syscalls.name_of(arch, number) for arch in arches)
    return next((name for name in names if name is not None), str(number))


def _longest(plan: Plan) -> Iterator[str]:
    sizes: dict[str, int] = {}
    for machine in plan.machines:
        for piece in (one for one in machine.line if len(one.decision) > 1):
            size = _size(machine, piece.decision)
            sizes[_name(machine, piece.first)] = max(size, sizes.get(_name(machine, piece.first), 0))
    for name, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:_NAMED]:
        yield f"{name} ({size})"


def _size(machine: Machine, decision: Decision) -> int:
    return len(assemble(Arguments(machine, Nodes()).node(decision)))
