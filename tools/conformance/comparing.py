"""Run files of cases under one way after the other, and what differs once more: a busy machine is not a defect."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import table
from .cases import Case, Outcome, run_file
from .suite import Suite
from .ways import Evidence, Installed, Way

TRIES = 3  # of a case that differs and is not explained
# Called with a way and its cases, when they have been run.
Told = Callable[[Way, Sequence[Case], float], None]


@dataclass
class Comparison:
    """What was run up to now; `unsteady` has the cases that passed only when they were tried again."""

    suite: Suite
    files: Sequence[Path]
    installed: Installed
    scratch: Path
    results: dict[Way, list[Case]] = field(default_factory=dict)
    evidence: dict[Way, Evidence] = field(default_factory=dict)
    unsteady: list[str] = field(default_factory=list)

    def run(self, ways: Sequence[Way], told: Told) -> None:
        """Run all of it; Way.RUNC first, which the others are compared with. Raises RigError."""
        for way in ways:
            began, before = time.monotonic(), self.installed.evidence()
            self.results[way] = [case for path in self.files for case in self._cases(path, way)]
            if way is not Way.RUNC:
                self.evidence[way] = self.installed.evidence() - before
                self._again(way)
            told(way, self.results[way], time.monotonic() - began)

    def _cases(self, path: Path, way: Way, only: str | None = None) -> list[Case]:
        return run_file(self.suite, path, runtime=self.installed.runtimes[way], scratch=self.scratch, only=only)

    def _again(self, way: Way) -> None:
        paths = {path.stem: path for path in self.files}
        here = {Way.RUNC: self.results[Way.RUNC], way: self.results[way]}
        for each in table.differences(here):
            if each.why is None and each.case.outcome is Outcome.FAILED and self._passes(way, paths, each.case):
                self.unsteady.append(f"{way}: {each.case.key}")

    def _passes(self, way: Way, paths: dict[str, Path], failed: Case) -> bool:
        """Whether a case passes when it is tried again; then that is what is kept of it."""
        for _ in range(TRIES - 1):
            for case in self._cases(paths[failed.file], way, failed.name):
                if case.outcome is Outcome.PASSED:
                    kept = self.results[way]
                    kept[kept.index(failed)] = case
                    return True
        return False
