"""Watches of the loop that is timed: with each kind of machine, all of which have the calls that the loop makes.

Learnt from a recording of the loop. That a watch judged what was timed is seen afterwards, from a call that its machine
has nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.ground import ProductError
from benchmarks.learning import Learning, in_cgroup, policy_of
from benchmarks.processes import Loop, Programs
from benchmarks.recorded import KINDS
from benchmarks.tracers import KIND, Tracer
from benchmarks.watched import Watcher, machines_of
from rig.cgroup import child_cgroup
from scmm_oci.capture.model import Capture
from scmm_oci.compiled.policy_file import policy_file
from scmm_oci.policy.model import Serving
from scmm_oci.recorder.settings import Settings
from scmm_oci.watch.machines import Machines

PLAIN, REFINED, DEEP, SERVING = "plain", "refined", "deep", "serving"
TITLES = {
    PLAIN: "watched: single steps",
    REFINED: "watched: with classes of calls",
    DEEP: "watched: three calls deep",
    SERVING: "watched: in the serving phase",
}
#: What no machine has; the loop makes it to prove that it is judged.
UNKNOWN = "connect"


def learnt(programs: Programs, settings: Settings, *, cpu: int) -> Mapping[str, Machines]:
    """The machines of a loop that makes every kind of call but UNKNOWN, in one order and the other."""
    captures: list[Capture] = []
    learning = Learning(settings)
    kinds = [kind for kind in KINDS if kind != UNKNOWN]
    with (
        learning.kept(),
        child_cgroup("learn") as cgroup,
        learning.recording(in_cgroup(cgroup), captures, deep=True),
        Loop(programs, cgroup=cgroup, cpu=cpu) as loop,
    ):
        for kind in (*kinds, *reversed(kinds)):
            loop.run(kind, 100)
        loop.execute_again()
        for kind in kinds:
            loop.run(kind, 1)
    refined = policy_of(captures)
    serving = replace(refined, serving=Serving((KIND,), refined.transitions or ()))
    policies = {
        PLAIN: policy_of(captures, refine=False),
        REFINED: refined,
        DEEP: policy_of(captures, depth=3),
        SERVING: serving,
    }
    return {key: machines_of(policy_file(policy)[0]) for key, policy in policies.items()}


class Watched(Tracer):
    """The watch of the loop's cgroup. The loop executes itself anew, and is judged from there on."""

    def __init__(self, key: str, machines: Machines, settings: Settings) -> None:
        super().__init__()
        self.key, self.title = key, TITLES[key]
        self._machines, self._settings, self._watcher = machines, settings, Watcher(settings)

    def programs(self) -> int:
        return len(list(Path(self._settings.watch_pin_dir).glob("link_*")))

    @contextmanager
    def attached(self, loop: Loop) -> Iterator[None]:
        where = in_cgroup(loop.cgroup)
        with self._watcher.loaded() as maps, self._watcher.watching(maps, where, self._machines) as watch:
            loop.execute_again()
            yield
            made, found, blind = loop.made[KIND], watch.violations(), watch.blind()
            loop.run(UNKNOWN, 1)
            proven = watch.violations() - found
            serving = watch.value().counters["serving"]
        if found or blind:
            raise ProductError(f"{self.title}: {found} violations in normal work, not judged: {blind}")
        if not proven:
            raise ProductError(f"{self.title}: {UNKNOWN} is none of the machine's calls, and was not flagged")
        if bool(serving) is not (self.key == SERVING):
            raise ProductError(f"{self.title}: {serving} processes went over to serving")
        self.check(made, made)
