"""What a run came to, as a file: the page is made again from it when only explanations have changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from .cases import Case, Outcome
from .ways import Evidence, Way


@dataclass(frozen=True)
class Run:
    """The cases of each way, what shows that they were run so, and what was tested on what."""

    about: str
    results: Mapping[Way, Sequence[Case]]
    evidence: Mapping[Way, Evidence]


def dumps(run: Run) -> str:
    """JSON that `loads` makes the same run of."""
    return json.dumps(asdict(run), indent=1)


def loads(text: str) -> Run:
    """Raises KeyError, TypeError and ValueError for what `dumps` did not write."""
    found = json.loads(text)
    return Run(
        about=found["about"],
        results={
            Way(way): [Case(**{**case, "outcome": Outcome(case["outcome"])}) for case in cases]
            for way, cases in found["results"].items()
        },
        evidence={Way(way): Evidence(**counts) for way, counts in found["evidence"].items()},
    )
