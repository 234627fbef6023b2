"""What the cases came to under each way, as a table for docs/conformance.md. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from .cases import Case, Outcome
from .explained import EXPLAINED
from .ways import Evidence, Way

BEGIN, END = "<!-- made by tools/conformance -->", "<!-- end of what is made -->"
_SHIM = (Way.PLAIN, Way.ENFORCED, Way.RECORDED)
_PATH = re.compile(r"(/[\w.:@%+-]+){2,}")


@dataclass(frozen=True)
class Difference:
    """A case that passes under runc and does not under the shim; `why` is its explanation, or None."""

    way: Way
    case: Case
    why: str | None


Results = Mapping[Way, Sequence[Case]]


def differences(results: Results, explained: Mapping[Way, Mapping[str, str]] = EXPLAINED) -> list[Difference]:
    """In the order of ways and cases. A case that one way does not have, or that is skipped there, is one too."""
    found = []
    for way in _SHIM:
        if way not in results:
            continue
        theirs = {case.key: case for case in results[way]}
        for case in results[Way.RUNC]:
            if case.outcome is not Outcome.PASSED:
                continue
            here = theirs.get(case.key) or Case(case.file, case.name, Outcome.FAILED, "the case was not run")
            if here.outcome is not Outcome.PASSED:
                found.append(Difference(way, here, explained.get(way, {}).get(case.key)))
    return found


def stale(results: Results, explained: Mapping[Way, Mapping[str, str]] = EXPLAINED) -> list[str]:
    """Explanations of cases that pass: what they explain is no longer so."""
    passed = {way: {case.key for case in cases if case.outcome is Outcome.PASSED} for way, cases in results.items()}
    return [f"{way}: {key}" for way, rows in explained.items() for key in rows if key in passed.get(way, ())]


def render(results: Results, evidence: Mapping[Way, Evidence], *, about: str) -> str:
    """The generated part of the page. about: what was tested, on what."""
    ways = [way for way in Way if way in results]
    lines = [about, "", *_files(results, ways), "", *_evidence(evidence), ""]
    lines += ["### What passes under runc and not under the shim", "", *_differences(differences(results)), ""]
    lines += ["### What does not pass under runc itself, on this machine", "", *_elsewhere(results[Way.RUNC])]
    return "\n".join(lines) + "\n"


def replaced(page: str, generated: str) -> str:
    """The page with its generated part changed. Raises ValueError where it has none."""
    head, found, rest = page.partition(BEGIN)
    _, closed, tail = rest.partition(END)
    if not found or not closed:
        raise ValueError(f"the page lacks {BEGIN} or {END}")
    return f"{head}{BEGIN}\n{generated}{END}{tail}"


def _files(results: Results, ways: Sequence[Way]) -> list[str]:
    """A row for each file: how many there are, and how many pass each way."""
    files = list(dict.fromkeys(case.file for case in results[Way.RUNC]))
    head = ["cases", "all", *(f"`{way}`" for way in ways)]
    rows = [_row(head), _row(["---", *["---:"] * (len(head) - 1)])]
    rows += [_row([file, *_counts(results, ways, {file})]) for file in files]
    return [*rows, _row(["**together**", *_counts(results, ways, set(files))])]


def _counts(results: Results, ways: Sequence[Way], files: Collection[str]) -> list[str]:
    def count(way: Way, outcomes: Collection[Outcome]) -> int:
        return sum(1 for case in results[way] if case.file in files and case.outcome in outcomes)

    return [str(count(Way.RUNC, list(Outcome))), *(str(count(way, [Outcome.PASSED])) for way in ways)]


def _evidence(evidence: Mapping[Way, Evidence]) -> list[str]:
    return [
        f"- `{way}`: the runtime started {each.changed} containers and processes as the shim had changed them, "
        f"{each.same} as they were{f'; {each.captures} recordings were written' if each.captures else ''}."
        for way, each in evidence.items()
    ]


def _differences(found: Iterable[Difference]) -> list[str]:
    rows = [
        _row([f"`{each.way}`", each.case.key, each.why or f"**not explained**: {_last(each.case)}"]) for each in found
    ]
    return [_row(["way", "case", "why"]), _row(["---"] * 3), *rows] if rows else ["Nothing."]


def _elsewhere(cases: Iterable[Case]) -> list[str]:
    """Cases that fail or are skipped under runc, by the reason."""
    reasons: dict[str, list[str]] = {}
    for case in cases:
        if case.outcome is not Outcome.PASSED:
            reason = f"skipped: {case.detail}" if case.outcome is Outcome.SKIPPED else f"fails: {_last(case)}"
            reasons.setdefault(reason, []).append(case.key)
    rows = [_row([why, str(len(keys)), "; ".join(keys)]) for why, keys in sorted(reasons.items())]
    return [_row(["why", "", "cases"]), _row(["---", "---:", "---"]), *rows] if rows else ["Nothing."]


def _last(case: Case) -> str:
    """The line that tells most of a failure: the runtime's last error, else the test that did not hold."""
    lines = case.detail.splitlines()
    errors = [line for line in lines if "level=error" in line or line.startswith(("error ", "scmm-"))]
    held = [line for line in lines if line.endswith("failed")]
    line = (errors or held or lines or ["it printed nothing"])[-1].strip()
    message = re.search(r'msg="(.*)"$', line)
    # What went wrong stands last; before it, what was being done.
    words = ": ".join((message[1] if message else line).split(": ")[-2:])
    return _PATH.sub(lambda match: "…/" + match[0].rsplit("/", 1)[1], words)[:160]


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"
