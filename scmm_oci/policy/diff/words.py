"""A difference between two policies, and how answers and sets are written in it. Called by policy.diff only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from scmm_oci.policy.answers import Answer
from scmm_oci.policy.model import Action
from scmm_oci.tables import errnos


class Kind(StrEnum):
    """What has become of something."""

    NEW = "new"
    GONE = "gone"
    CHANGED = "changed"


@dataclass(frozen=True, order=True)
class Difference:
    """One thing that the second policy does differently.

    Attributes:
        section: of the document: ``syscalls``, ``filesystem`` …
        what: the call, path, capability, setting, or direction, protocol and addresses.
        before, after: what the policies say, in words; ``–`` for nothing.
        wider: whether the second policy may allow something here that the first does not.
    """

    section: str
    what: str
    kind: Kind
    before: str
    after: str
    wider: bool


def kind_of(before: object, after: object) -> Kind:
    """New where nothing (None) was before, gone where nothing is after, else changed."""
    return Kind.NEW if before is None else Kind.GONE if after is None else Kind.CHANGED


def described(answer: Answer) -> str:
    """An answer in words."""
    if answer.action is Action.DENY:
        return f"deny {errnos.name(answer.number)}"
    return f"{answer.action} {answer.number}" if answer.number else str(answer.action)


def words(given: Iterable[str] | None) -> str:
    """A set in words; a dash for None and for the empty one, which the kind tells apart."""
    return ", ".join(sorted(given or ())) or "–"
