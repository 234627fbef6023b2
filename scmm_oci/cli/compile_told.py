"""What ``scmm compile`` says: lint's dangers and warnings in short, a line for each file, and the result as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from scmm_oci.cli.compile_targets import Made
from scmm_oci.cli.output import plain
from scmm_oci.errors import Finding
from scmm_oci.policy.lint import RULES, LintFinding, Severity
from scmm_oci.policy.model import Policy

_PLACES = 4


def short_lint(found: Sequence[LintFinding]) -> list[Finding]:
    """One finding for each id of lint's that is a danger or a warning, with the first places of it."""
    by_id: dict[str, list[LintFinding]] = {}
    for one in found:
        if one.severity is not Severity.NOTE:
            by_id.setdefault(one.id, []).append(one)
    findings = []
    for name, these in by_id.items():
        first = these[0]
        # "syscalls: bpf", or a section as a whole.
        section = first.place.partition(": ")[0]
        places = list(dict.fromkeys(one.place.partition(": ")[2] or section for one in these))
        listed = ", ".join(places[:_PLACES]) + (f" and {len(places) - _PLACES} more" if len(places) > _PLACES else "")
        where = listed if places == [section] else f"{section}: {listed}"
        what = first.message if len(these) == 1 else RULES[name].meaning
        findings.append(Finding(name, f"{first.severity}: {where}: {what}", first.remedy))
    return findings


def line(made: Made) -> str:
    """What was written, in one line."""
    text = f"{plain(made.path)}: {made.program} calls for the program"
    filters = made.more.get("filters")
    if filters is not None:
        sizes = ", ".join(f"{one['arch']} {one['instructions']}" for one in filters) or "none"
        return f"{text}; instructions of filters: {sizes}{_compared(made)}"
    who = "systemd" if made.form == "systemd" else "the runtime"
    text = f"{text}, {made.floor} more for {who}"
    if "instructions" not in made.more:
        return text
    return f"{text}; a filter of {made.more['instructions']} instructions{_compared(made)}"


def _compared(made: Made) -> str:
    """Whether the filters were compared with another library's."""
    compared = made.more["compared"]
    if compared is None or not compared["calls"]:
        return ""
    return f", which answer {compared['calls']} calls as libseccomp {', '.join(compared['libseccomp'])} does"


def result(
    policy: Policy,
    made: Sequence[Made],
    *,
    entries: Sequence[str],
    findings: Sequence[Finding],
    linted: Sequence[LintFinding] | None,
) -> dict[str, Any]:
    """The result as JSON has it; ``lint`` is null where the policy was not judged."""
    # The first profile's members stand at the top too, as they did when there was one only.
    first = made[0]
    return {
        "name": policy.metadata.name,
        "profile": first.path,
        "program": first.program,
        "floor": first.floor,
        "floor_entries": list(entries),
        "profiles": [
            {"form": one.form, "profile": one.path, "program": one.program, "floor": one.floor, **one.more}
            for one in made
        ],
        "findings": [{"code": one.code, "message": one.message, "hint": one.hint} for one in findings],
        "lint": None if linted is None else [asdict(one) for one in linted],
    }
