"""What a program that decides has answered, checked: a line of JSON → a decision. Pure."""

from __future__ import annotations

from typing import Any

from scmm_oci import quickjson
from scmm_oci.enforcer.monitor.model import By, Decision, Verdict
from scmm_oci.errors import short
from scmm_oci.tables import errnos

_KEYS = ("id", "decision", "errno", "value", "path", "reason")
# A key → the one verdict that it goes with.
_WITH = {"errno": Verdict.DENY, "value": Verdict.RETURN, "path": Verdict.ALLOW}
_MOST_PATH = 4095  # bytes: PATH_MAX of linux/limits.h, and its 0
_MOST_REASON = 256


class BadAnswer(ValueError):
    """It is none; the message names every problem."""


def parse(line: bytes) -> tuple[int, dict[str, Any]]:
    """The number of the question that a line answers, and all of it. Raises BadAnswer where that cannot be told."""
    try:
        document = quickjson.loads(line)
    except (ValueError, RecursionError):
        raise BadAnswer(f"{short(line)} is no JSON") from None
    if not isinstance(document, dict):
        raise BadAnswer(f"{short(document)} is no object")
    number = document.get("id")
    if not isinstance(number, int) or isinstance(number, bool):
        raise BadAnswer(f".id: {short(number)} is no number of a question")
    return number, document


def decision_of(document: dict[str, Any], *, number: int) -> Decision:
    """The decision in an answer.

    Args:
        number: the errno of a denial that names none.

    Raises:
        BadAnswer: it is none.
    """
    found = [f".{short(key)}: known are {', '.join(_KEYS)}" for key in document if key not in _KEYS]
    given = document.get("decision")
    if not isinstance(given, str) or given not in list(Verdict):
        raise BadAnswer("; ".join([*found, f".decision: {short(given)} is none of {', '.join(Verdict)}"]))
    verdict = Verdict(given)
    for key, only in _WITH.items():
        if key in document and verdict is not only:
            found.append(f".{key}: goes with {only} only")
    errno = _errno(document.get("errno", number))
    if errno is None:
        found.append(f".errno: {short(document['errno'])} is no error, by name or as a number from 1 to {errnos.MAX}")
    value = document.get("value", 0)
    if not isinstance(value, int) or isinstance(value, bool) or not -(1 << 63) <= value < 1 << 63:
        found.append(f".value: {short(value)} is no whole number of 64 bits")
    path = document.get("path")
    if path is not None and not _is_path(path):
        found.append(f".path: {short(path)} is no path of 1 to {_MOST_PATH} bytes")
    reason = document.get("reason", "")
    if not isinstance(reason, str) or len(reason) > _MOST_REASON:
        found.append(f".reason: {short(reason)} is no text of at most {_MOST_REASON} characters")
    if found or errno is None:
        raise BadAnswer("; ".join(found))
    return Decision(verdict, By.PROGRAM, errno, value, detail=reason, path=path)


def _errno(given: object) -> int | None:
    if isinstance(given, str):
        given = errnos.number(given)
    if isinstance(given, int) and not isinstance(given, bool) and 1 <= given <= errnos.MAX:
        return given
    return None


def _is_path(path: object) -> bool:
    if not isinstance(path, str) or not path or "\0" in path:
        return False
    try:
        return len(path.encode("utf-8", "surrogateescape")) <= _MOST_PATH
    except UnicodeEncodeError:
        return False
