"""Sets of captures: what ``scmm merge`` makes of several, and the one order they have everywhere.

A set keeps its recordings apart. What varied between them says which paths and values a program makes up anew each
time; sums would lose that, and would count a recording twice that is in two of the sets. So merging is the union of
sets of values: in any order, any grouping and any number, the result is the same. Pure; nothing is read or written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from scmm_oci.capture.file import dump
from scmm_oci.capture.model import Capture
from scmm_oci.errors import BadInput, Problem
from scmm_oci.tables.arch import from_machine


def distinct(captures: Iterable[Capture]) -> tuple[Capture, ...]:
    """Each different capture once, ordered by name, beginning and, where those are the same, all the rest."""
    first = sorted(set(captures), key=_short_key)
    ordered: list[Capture] = []
    for _, alike in groupby(first, key=_short_key):
        group = list(alike)
        # A capture's text can have many megabytes: it is made only where something depends on it.
        ordered += sorted(group, key=dump) if len(group) > 1 else group
    return tuple(ordered)


def merge(captures: Sequence[Capture]) -> tuple[Capture, ...]:
    """The set of the captures.

    Raises:
        BadInput: there is none, or they are of different machines.
    """
    merged = distinct(captures)
    if not merged:
        raise BadInput([Problem("", "there is no capture to merge")])
    machines: dict[str, Capture] = {}
    for capture in merged:
        machines.setdefault(_machine(capture), capture)
    if len(machines) > 1:
        kinds = ", ".join(f"{one.name!r}: {one.host.machine}" for one in machines.values())
        raise BadInput([Problem("", f"the captures are of different machines ({kinds})", "merge those of each")])
    return merged


def _short_key(capture: Capture) -> tuple[str, str]:
    return capture.name, capture.started_at


def _machine(capture: Capture) -> str:
    try:
        return from_machine(capture.host.machine).value
    except BadInput:
        return f"? {capture.host.machine}"  # none of ours; policy.infer refuses it
