"""Make a capture of what strace(1) has seen, with the differences made up for that can be told from its lines."""

from __future__ import annotations

from functools import lru_cache

import truth_lines
from truth import Seen

from scmm_oci.capture.model import Capture, Phase
from scmm_oci.capture.strace.importer import Log, import_logs


@lru_cache(64)
def trace(seen: Seen, left_out: str = "", *, named: bool = False) -> Capture:
    """What strace has seen, as a capture. left_out: a difference of lines that is not made up for.

    named: without calls that have a descriptor in the place of a name.
    """
    lines = seen.lines
    if left_out != "set-up":
        lines, _ = truth_lines.from_execution(lines)
    if left_out != "refused":
        lines = _let_through(seen, lines)
    if named:
        lines, _ = truth_lines.without(lines, lambda _, line: truth_lines.is_nameless(line))
    return import_logs([Log("trace", lines)], name="truth", cwd=seen.cwd)


def _let_through(seen: Seen, lines: list[bytes]) -> list[bytes]:
    """Without the calls that a filter refused, which are as many as the recorder says, and end as it says."""
    # One that was made, too, is none of these; see "killed".
    refused = {str(call.name): call for _, call in seen.ours.calls(Phase.APP) if call.denied and not call.entered}
    left, found = truth_lines.without(lines, lambda name, _: name in refused)
    for name, call in refused.items():
        ends = [line for each, line in found if each == name]
        assert len(ends) == call.denied, f"{name} was refused {call.denied} times, and strace shows {len(ends)}"
        assert all(f" = -1 {call.denied_errno} ".encode() in line for line in ends), ends
    return left
