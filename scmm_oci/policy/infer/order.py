"""Which call followed which → transitions, by name. Called by policy.infer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from scmm_oci.capture.model import Capture
from scmm_oci.errors import Finding
from scmm_oci.policy.model import Transition
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch

_FIRST = ("start", "signal")


def transitions(captures: Sequence[Capture], arch: Arch, findings: list[Finding]) -> tuple[Transition, ...]:
    """The pairs of calls of one ABI that were seen, by their first: ``start`` and ``signal`` first, then by name."""
    following: dict[str, set[str]] = defaultdict(set)
    others: set[Arch] = set()
    unnamed: set[int] = set()
    for capture in captures:
        for edges in capture.order:
            if edges.arch is not arch:
                others.add(edges.arch)
                continue
            for before, after in edges.pairs:
                if before == "foreign":
                    continue
                first = before if isinstance(before, str) else syscalls.name_of(arch, before)
                second = syscalls.name_of(arch, after)
                if first is None or second is None:
                    ends = ((before, first), (after, second))
                    unnamed.update(nr for nr, name in ends if isinstance(nr, int) and name is None)
                    continue
                following[first].add(second)
    for other in sorted(others):
        findings.append(Finding("transitions-left-out", f"transitions of {other} calls are not in the policy"))
    if unnamed:
        numbers = ", ".join(map(str, sorted(unnamed)[:10]))
        findings.append(Finding("transitions-left-out", f"transitions with calls that have no name: {numbers}"))
    names = [*(name for name in _FIRST if name in following), *sorted(following.keys() - set(_FIRST))]
    return tuple(Transition(name, tuple(sorted(following[name]))) for name in names)
