"""A machine of calls → plain values for ``--json``, and lines for people. Pure; called by ``scmm extract``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from scmm_oci.errors import printable
from scmm_oci.policy.infer.completeness import Completeness, in_words
from scmm_oci.policy.infer.likely import Likely
from scmm_oci.policy.infer.order import Machine
from scmm_oci.policy.order import Table
from scmm_oci.policy.paths.proposals import counted

Item = dict[str, Any]

# Rows of the table of recordings, and characters of its longest bar.
_ROWS, _BAR = 24, 24
_EIGHTHS = " ▏▎▍▌▋▊▉"


def machine_values(machine: Machine) -> Item:
    """What a machine holds, what each recording had for it, and what is to be expected of further ones."""
    return {
        "phases": {name: _table(table) for name, table in _phases(machine)},
        "recordings": [
            {"name": name, "steps": len(steps), "new": new, "alone": own}
            for name, steps, new, own in zip(
                machine.names, machine.steps, machine.found.new, machine.found.own, strict=True
            )
        ],
        "estimate": _estimate(machine.found),
        "alone": _alone(machine),
        "likely": [_likely(one, machine) for one in machine.likely],
    }


def _alone(machine: Machine) -> list[Item]:
    """The steps that one recording alone has, by recording: what may have been an accident, or an attack."""
    if len(machine.steps) < 2:
        return []
    counts = Counter(step for steps in machine.steps for step in steps)
    return [
        {"recording": name, "step": " > ".join(words), "serving": serving}
        for name, steps in zip(machine.names, machine.steps, strict=True)
        for serving, words in sorted(step for step in steps if counts[step] == 1)
    ]


def _phases(machine: Machine) -> list[tuple[str, Table]]:
    if machine.serving is None:
        return [("always", machine.starting)]
    return [("start-up", machine.starting), ("serving", machine.serving)]


def _table(table: Table) -> Item:
    return {
        "states": len(table.states),
        "steps": len(table.edges),
        "share": table.share,
        "histories": sum(table.rows.get(state, frozenset()) - {state} != to for (_, state), to in table.deep.items()),
    }


def _estimate(found: Completeness) -> Item:
    """The numbers have the names of Completeness; those of one recording are null."""
    return {
        "recordings": found.recordings,
        "steps": found.observed,
        "in_one": found.once,
        "in_two": found.twice,
        "coverage": found.coverage,
        "expected_new": found.expected,
        "chance": found.chance,
        "chance_at_most": found.most,
        "steps_at_least": found.total,
        "words": in_words(found),
    }


def _likely(one: Likely, machine: Machine) -> Item:
    return {
        "from": one.call,
        "to": one.to,
        "serving": one.serving,
        "recordings": one.recordings,
        "kinds": [kind.value for kind in one.kinds],
        "why": one.why,
        "accepted": one in machine.accepted,
    }


def step_in_short(step: str, *, serving: bool) -> str:
    """A step as tables have it."""
    return f"{step} (serving)" if serving else step


def size_in_short(values: Mapping[str, Any]) -> str:
    """How large a machine is, as one line, safe to print."""
    texts = []
    for name, phase in values["phases"].items():
        states, steps = counted(phase["states"], "state", "states"), counted(phase["steps"], "step", "steps")
        text = f"{states}, {steps}, {percent(phase['share'])} of all there could be"
        if phase["histories"]:
            text += f"; {counted(phase['histories'], 'history allows', 'histories allow')} less"
        texts.append(text if name == "always" else f"{name}: {text}")
    return printable("; ".join(texts))


def percent(share: float) -> str:
    """As 6.3 %; what is not all is never 100 %, and what is something is never 0."""
    if 0 < share < 0.001:
        return "less than 0.1 %"
    if 0.999 <= share < 1:
        return "more than 99.9 %" if share > 0.999 else "99.9 %"
    return f"{100 * share:.1f} %"


def numbers_in_short(values: Mapping[str, Any]) -> str:
    """The estimate's numbers as one line; empty where there are none."""
    found = values["estimate"]
    if found["coverage"] is None:
        return ""
    if not found["in_one"]:
        return f"{counted(found['steps'], 'step', 'steps')}, each in two recordings or more"
    return (
        f"{percent(found['coverage'])} of what happens is known; {found['expected_new']:.2f} new steps are expected in "
        f"the next recording, and {math.ceil(found['steps_at_least'])} or more are there to be seen"
    )


def curve(recordings: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """Rows of a table: names, steps, steps that are new with these, those that they alone have, and a bar.

    Where there are many recordings a row is for several in succession, and has the most that one of them had.
    """
    together = max(1, math.ceil(len(recordings) / _ROWS))
    rows = []
    for start in range(0, len(recordings), together):
        those = recordings[start : start + together]
        names = [one["name"] for one in those]
        name = names[0] if names[0] == names[-1] else f"{names[0]} … {names[-1]}"
        new, alone = (sum(one[key] for one in those) for key in ("new", "alone"))
        rows.append(
            [f"{name} ({len(those)})" if len(those) > 1 else name, max(one["steps"] for one in those), new, alone]
        )
    most = max((row[2] for row in rows), default=0)
    return [[*row, _bar(row[2] / most if most else 0.0)] for row in rows]


def _bar(share: float) -> str:
    eighths = math.ceil(share * _BAR * 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()
