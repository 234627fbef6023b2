"""Which file rules serve only the first of a program's processes. Called by policy.infer."""

from __future__ import annotations

from collections.abc import Sequence

from scmm_oci.capture.model import Capture, Phase
from scmm_oci.errors import Finding
from scmm_oci.policy.infer.observe import name_of
from scmm_oci.policy.model import PathRule

# linux/sched.h
_CLONE_THREAD = 0x10000


def tell_own_processes(rules: Sequence[PathRule], captures: Sequence[Capture], findings: list[Finding]) -> None:
    """Say so where a rule for a process's own directory in /proc serves the first process only.

    A rule is opened before the program starts, when ``/proc/self`` is that one process; the directory of another is
    another file (proc(5)).
    """
    own = [rule.path for rule in rules if rule.path.startswith(("/proc/self/", "/proc/thread-self/"))]
    if own and _makes_processes(captures):
        more = f" and {len(own) - 1} more" if len(own) > 1 else ""
        message = f"the rule for {own[0]}{more} serves the program's first process, and others were made"
        findings.append(Finding("own-process", message, "--accept '/proc/**' if those need it; it opens all of /proc"))


def _makes_processes(captures: Sequence[Capture]) -> bool:
    for capture in captures:
        if any(call.entered and name_of(call) in ("fork", "vfork") for _, call in capture.calls(Phase.APP)):
            return True
        for one in capture.arguments:
            if one.name in ("clone", "clone3") and any(not value & _CLONE_THREAD for value in one.values):
                return True
    return False
