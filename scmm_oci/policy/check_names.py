"""Check a name that stands for calls: that of a call, or of a group. Called by the parts of policy.check."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from scmm_oci.errors import Problem, short, unknown_value
from scmm_oci.tables import groups, syscalls
from scmm_oci.tables.arch import Arch


def name_problem(
    name: str, arches: Sequence[Arch], known: Collection[str], *, more: Collection[str] = ()
) -> Problem | None:
    """What is wrong with a name, without a place; None if it is one.

    Args:
        known: the calls that there are.
        more: words that may stand there, too.
    """
    if name.startswith("@"):
        if name in groups.groups():
            return None
        problem = unknown_value("", "a group", name, sorted(groups.groups()))
        return Problem("", problem.message, problem.hint or "`scmm groups` lists them")
    if name in known or name in more:
        return None
    what = f"a system call of {' or '.join(arches)}"
    elsewhere = [arch for arch in syscalls.ARCHES if name in syscalls.numbers(arch)]
    if elsewhere:
        return Problem("", f"{short(name)} is not {what}", f"it is one of {', '.join(elsewhere)}")
    return unknown_value("", what, name, sorted({*known, *more}))
