"""What readers are told beside rules, joined: origins, comments, texts.

Counts are not added up but the largest is taken: a rule that came to two policies from one recording was not used
twice, and merging a policy with itself changes nothing. Called by policy.merge only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scmm_oci.capture.model import Phase, SessionKind
from scmm_oci.policy.model import Origin

# Between reasons and between comments. What merging has joined with it, it takes apart again.
BETWEEN = "; "


@dataclass(frozen=True)
class Note:
    """What stands beside a rule without effect."""

    origin: Origin | None = None
    comment: str = ""


def join(notes: Iterable[Note]) -> Note:
    """One note that says what all of them do. Associative, commutative and idempotent."""
    given = tuple(notes)
    return Note(join_origins(one.origin for one in given), join_texts((one.comment for one in given), BETWEEN))


def join_origins(origins: Iterable[Origin | None]) -> Origin | None:
    """The largest of the counts, and the union of everything else; None if there is none."""
    given = [one for one in origins if one is not None]
    if not given:
        return None
    return Origin(
        count=max(one.count for one in given),
        denied=max(one.denied for one in given),
        phases=tuple(phase for phase in Phase if any(phase in one.phases for one in given)),
        sessions=tuple(kind for kind in SessionKind if any(kind in one.sessions for one in given)),
        programs=tuple(sorted({program for one in given for program in one.programs})),
        observed=max(one.observed for one in given),
        recordings=max(one.recordings for one in given),
        reason=join_texts((one.reason for one in given), BETWEEN),
    )


def join_texts(texts: Iterable[str | None], between: str) -> str:
    """Every different text once, sorted, with ``between`` between them; texts that have it are taken apart first."""
    return between.join(sorted({part for text in texts if text for part in text.split(between) if part}))
