"""Which call followed which in a trace, as a first thesis on the matter read it: by what stands before the "(".

Nothing is shared with scmm_oci.capture.strace, which this is to be compared with. It knows no classes, stages or
restarted calls, and takes every signal for one with a handler.
"""

from __future__ import annotations

from scmm_oci.capture.model import Capture
from scmm_oci.tables import states


def naive(text: str) -> set[tuple[str, str]]:
    """(call before, call) of each thread of a trace in one file; "start" where there is none."""
    edges: set[tuple[str, str]] = set()
    last: dict[str, str] = {}
    left: dict[str, list[str]] = {}
    for line in text.splitlines():
        pid, _, rest = line.partition(" ")
        rest = rest.strip()
        if rest.startswith("---"):
            left.setdefault(pid, []).append(last[pid])
            last[pid] = "signal"
        elif not rest.startswith(("<...", "+++")):
            name = rest.split("(")[0]
            edges.add((last.get(pid, "start"), name))
            last[pid] = left[pid].pop() if name == "rt_sigreturn" else name
    return edges


def from_the_program(edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The edges without the execve by which the program itself began, as nothing else in it executes any."""
    return {("start" if before == "execve" else before, to) for before, to in edges} - {("start", "execve")}


def plain(capture: Capture) -> set[tuple[str, str]]:
    """The edges of a capture without stages, classes and kinds of beginnings."""
    found = set()
    for one in capture.order:
        words = states.words(one.arch)
        for pair in one.pairs:
            before, to = (words[state] if isinstance(state, int) else state for state in pair)
            found.add((_plain(before), _plain(to)))
    return found


def _plain(word: str) -> str:
    return states.START if word in states.STARTS else states.call_of(word) or word
