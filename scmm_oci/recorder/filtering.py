"""Leave out of a capture what belongs to categories of calls that were not asked for."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from scmm_oci.recorder.drain import DETAILS
from scmm_oci.tables.categories import CHOICES, Category, category_of


def only(document: dict[str, Any], categories: Collection[Category]) -> dict[str, Any]:
    """The document with calls of these categories only, and of those that are always kept; all of them: as it is.

    The order of calls is left out, as it would be another one. The capture says that it is filtered.
    """
    wanted = set(categories) or set(CHOICES)
    if wanted >= set(CHOICES):
        return document
    kept = wanted | set(Category) - set(CHOICES)

    def keep(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [call for call in calls if category_of(call["name"]) in kept]

    sessions = [
        {**session, "phases": {phase: keep(calls) for phase, calls in session["phases"].items()}}
        for session in document["sessions"]
    ]
    names = ", ".join(one for one in CHOICES if one in wanted)
    loss = {"kind": "filtered", "count": 1, "detail": f"{DETAILS['filtered']}: {names}"}
    return {
        **document,
        "complete": False,
        "losses": [*document["losses"], loss],
        "sessions": sessions,
        "arguments": keep(document["arguments"]),
        "files": [row for row in document["files"] if _category(row["operation"]) in kept],
        "sockets": document["sockets"] if Category.NETWORK in kept else [],
        "order": [],
    }


def _category(operation: str) -> Category:
    """The category of the calls that a file is used by."""
    if operation in ("execute", "loader", "script"):
        return Category.PROCESS
    return Category.NETWORK if operation in ("bind", "connect") else Category.FILES
