"""Check `except` of a rule for files: what each exception is, and that it lies where it can be one.

Called by policy.check only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scmm_oci.errors import BadInput, Problem, short
from scmm_oci.policy.model import PathRule
from scmm_oci.policy.paths import exceptions
from scmm_oci.policy.paths.exceptions import Place, is_within
from scmm_oci.policy.paths.patterns import Kind, Pattern
from scmm_oci.schema import Found, Steps


def check_exceptions(rule: dict[str, Any], path: Steps) -> Iterator[Found]:
    """Everything wrong with a rule's exceptions; not with its path as a pattern. Items may be None, keys missing."""
    at: Steps = (*path, "except")
    on_missing = rule.get("on_missing", "skip")
    if on_missing != "skip":
        hint = "what is beside exceptions is known only where it is there: leave on_missing out"
        yield _bad(
            (*path, "on_missing"),
            f"a rule with exceptions is skipped where its path is missing, not {on_missing}",
            hint,
        )
    base = None
    if "path" in rule:
        pattern = _parsed(rule["path"])
        base = exceptions.place(pattern) if pattern is not None else None
        if pattern is not None and base is None:
            hint = "only ${HOME} at its beginning can be; give each directory a rule of its own"
            yield _bad(
                at, f"exceptions need a path without wildcards and variables, and {short(rule['path'])} has some", hint
            )
    found: dict[int, Place] = {}
    is_good = True
    for index, text in enumerate(rule["except"]):
        if text is None:
            is_good = False
            continue
        problem = _problem(text, base, rule.get("path", ""))
        if isinstance(problem, Problem):
            yield Found((*at, index), problem)
            is_good = False
            continue
        for first, other in found.items():
            if is_within(problem, other) or is_within(other, problem):
                yield _double((*at, index), text, rule["except"][first], first, problem, other)
                is_good = False
                break
        else:
            found[index] = problem
    if base is not None and is_good:
        why = exceptions.wrong(PathRule(rule["path"], (), excluded=tuple(rule["except"])))
        if why:
            yield _bad(at, why, "name fewer, or a directory above them")


def _problem(text: str, base: Place | None, path: str) -> Problem | Place:
    """What is wrong with an exception by itself; its place if nothing is."""
    try:
        pattern = Pattern.parse(text)
    except BadInput as error:
        one = error.problems[0]
        return Problem("", f"{short(text)} {one.message}" if len(text) <= 4096 else one.message, one.hint)
    where = exceptions.place(pattern)
    if where is None or pattern.kind is not Kind.EXACT:
        hint = "write one path; all beneath it is excepted, too"
        return Problem(
            "", f"{short(text)} is no exact path: an exception has no wildcards, '/**' or variables but ${{HOME}}", hint
        )
    if base is not None and where == base:
        return Problem("", f"{short(text)} is the path of the rule itself", "take the rule out")
    if base is not None and not is_within(where, base):
        hint = (
            "${HOME} is to be in both, or in none"
            if (text + path).count("${HOME}") == 1
            else "it excepts nothing there"
        )
        return Problem("", f"{short(text)} is not beneath {short(path)}", hint)
    return where


def _double(at: Steps, text: str, other: str, index: int, here: Place, there: Place) -> Found:
    if here == there:
        return _bad(at, f"{short(text)} is excepted already, by [{index}]", "take one out")
    inner, outer = (text, other) if is_within(here, there) else (other, text)
    return _bad(
        at, f"{short(inner)} is beneath {short(outer)}, which is excepted as a whole", f"take {short(inner)} out"
    )


def _parsed(text: str) -> Pattern | None:
    try:
        return Pattern.parse(text)
    except BadInput:
        return None  # told of the path itself


def _bad(path: Steps, message: str, hint: str) -> Found:
    return Found(path, Problem("", message, hint))
