"""Run files of cases under all ways, and what differs once more: a busy machine is not a defect."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rig.cgroup import remove_cgroup
from rig.namespace import CGROUP_DIR

from . import table
from .cases import Case, Outcome, run_file
from .layout import enter_own
from .suite import Suite
from .ways import Evidence, Installed, Way

TRIES = 3  # of a case that differs and is not explained
# Called with a way, its cases and the seconds that they took.
Told = Callable[[Way, Sequence[Case], float], None]


@dataclass
class Comparison:
    """What was run up to now; `unsteady` has the cases that passed only when they were tried again.

    Each way is in a cgroup that is the root to it, and so all run at the same time.
    """

    suite: Suite
    files: Sequence[Path]
    installed: Installed
    scratch: Path
    results: dict[Way, list[Case]] = field(default_factory=dict)
    evidence: dict[Way, Evidence] = field(default_factory=dict)
    unsteady: list[str] = field(default_factory=list)

    def run(self, ways: Sequence[Way], told: Told) -> None:
        """Run all of it; Way.RUNC has to be among the ways. Raises RigError."""
        left: list[str] = []
        # A process for each way: it leaves for a cgroup for good.
        with multiprocessing.get_context("fork").Pool(len(ways), maxtasksperchild=1) as pool:
            for way, cases, seconds, cgroup in pool.imap(self._way, ways, chunksize=1):
                self.results[way] = cases
                told(way, cases, seconds)
                left.append(cgroup)
            pool.close()
            pool.join()
        for cgroup in left:
            remove_cgroup(CGROUP_DIR / cgroup)
        for way in ways:
            if way is not Way.RUNC:
                self._again(way)
                self.evidence[way] = self.installed.evidence(way)

    def _way(self, way: Way) -> tuple[Way, list[Case], float, str]:
        began = time.monotonic()
        own = f"scmm-cases-{os.getpid()}"
        enter_own(own)
        return way, self._files(way), time.monotonic() - began, own

    def _files(self, way: Way) -> list[Case]:
        return [case for path in self.files for case in self._cases(path, way)]

    def _cases(self, path: Path, way: Way, only: Sequence[str] = ()) -> list[Case]:
        scratch = self.scratch / way
        scratch.mkdir(mode=0o711, exist_ok=True)
        return run_file(self.suite, path, way=way, runtime=self.installed.runtimes[way], scratch=scratch, only=only)

    def _again(self, way: Way) -> None:
        paths = {path.stem: path for path in self.files}
        here = {Way.RUNC: self.results[Way.RUNC], way: self.results[way]}
        for each in table.differences(here):
            if each.why is None and each.case.outcome is Outcome.FAILED and self._passes(way, paths, each.case):
                self.unsteady.append(f"{way}: {each.case.key}")

    def _passes(self, way: Way, paths: dict[str, Path], failed: Case) -> bool:
        """Whether a case passes when it is tried again; then that is what is kept of it."""
        for _ in range(TRIES - 1):
            for case in self._cases(paths[failed.file], way, [failed.name]):
                if case.outcome is Outcome.PASSED:
                    kept = self.results[way]
                    kept[kept.index(failed)] = case
                    return True
        return False
