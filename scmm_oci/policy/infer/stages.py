"""What a capture knows of the time before and after a process makes the calls that ``serving`` names. Pure.

Captures keep apart how far a process had got: by listen, and by accept or accept4. So only these can be named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scmm_oci.capture.facts import Stage
from scmm_oci.capture.model import Capture, Phase, Source
from scmm_oci.errors import Problem, short
from scmm_oci.policy.decisions import Decisions
from scmm_oci.policy.infer.observe import name_of
from scmm_oci.tables.arch import Arch

LISTEN = "listen"
ACCEPTS = ("accept", "accept4")
# Calls whose making captures keep apart.
KNOWN = (LISTEN, *ACCEPTS)


def serves(stage: Stage | None, calls: Sequence[str], capture: Capture) -> bool:
    """Whether a process that was at this stage had made one of the calls.

    One that accepts may have been given its socket: in a recording without any listen none has made that.
    """
    if stage is Stage.LISTENING:
        return LISTEN in calls
    if stage is Stage.ACCEPTING:
        return any(one in calls for one in ACCEPTS) or (LISTEN in calls and LISTEN in made(capture))
    return False


def check(captures: Sequence[Capture], arch: Arch, decisions: Decisions) -> Iterator[Problem]:
    """What keeps the transitions that are wished for from being made of these captures."""
    if not decisions.transitions:
        return
    if decisions.depth > 2:
        yield from _shallow(captures, arch)
    if not decisions.serving_from:
        return
    strange = [one for one in decisions.serving_from if one not in KNOWN]
    for one in strange:
        hint = f"known: {', '.join(KNOWN)}"
        if any(capture.source is Source.STRACE for capture in captures):
            hint += "; of a trace, import what stands before the call and what follows as two captures"
        yield Problem("serving_from", f"recordings do not tell when a process makes {short(one)}", hint)
    unstaged = [capture for capture in captures if _lacks_stages(capture, arch)]
    for capture in unstaged:
        hint = "import the trace" if capture.source is Source.STRACE else "record it"
        message = "does not tell what processes did before and after they served"
        yield Problem(f"capture {short(capture.name)}", message, f"{hint} anew with this version")
    if strange or unstaged:
        return
    accepting = [one for one in decisions.serving_from if one in ACCEPTS]
    seen = frozenset[str]().union(*map(made, captures))
    for one in sorted(seen.intersection(ACCEPTS) - set(accepting)) if accepting else ():
        message = f"programs made {one} as well, and recordings do not tell accept from accept4"
        yield Problem("serving_from", message, f"name {one} too")
    if not any(serves(edges.stage, decisions.serving_from, capture) for capture in captures for edges in capture.order):
        calls = " or ".join(decisions.serving_from)
        yield Problem(
            "serving_from", f"in no recording did a process go on after {calls}", "then there is no such phase"
        )


def _shallow(captures: Sequence[Capture], arch: Arch) -> Iterator[Problem]:
    for capture in captures:
        if any(edges.arch is arch and edges.pairs and edges.triples is None for edges in capture.order):
            how = "record it with scmm record --depth 3, or with the annotation scmm.depth=3"
            if capture.source is Source.STRACE:
                how = "import the trace anew with this version"
            yield Problem(f"capture {short(capture.name)}", "does not tell what came before two calls", how)


def _lacks_stages(capture: Capture, arch: Arch) -> bool:
    return any(edges.arch is arch and edges.pairs and edges.stage is None for edges in capture.order)


def made(capture: Capture) -> frozenset[str]:
    """The calls of listening and accepting that programs made."""
    return frozenset(name for _, call in capture.calls(Phase.APP) if call.entered and (name := name_of(call)) in KNOWN)
