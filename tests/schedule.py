"""Which tests run at the same time under `pytest -n 2`: modules are dealt out whole, and the machine's are one of them.

Tests of the recorder, the engines and the kernel's log look at what a machine has once: programs in the kernel, the
next process id, the few records of refused calls that the kernel keeps. One worker runs them, one after the other.
"""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

MACHINE = "machine"
#: Directories, and modules elsewhere that make the kernel log or kill by the hundred.
OF_THE_MACHINE = ("tests/kernel/", "tests/runtime/", "tests/unit/test_filter_random_live.py")
#: Of these directories, what needs neither the recorder nor an engine. It makes the kernel log, too, so it comes first:
#: it is over when the machine's get to the tests of that log.
LAUNCHER = (
    *("tests/kernel/test_enforce_", "tests/kernel/test_except_live.py", "tests/kernel/test_rulesets_live.py"),
    "tests/kernel/test_monitor_",
)
#: The watch has pins, notes and cgroups of each test's own, and judges nobody else; so have its recordings.
WATCH = ("tests/kernel/test_watch_", "tests/kernel/test_confine_watch.py", "tests/kernel/test_false_alarms.py")
#: What takes long, the longest first: whoever is done last shall not begin with one of them.
LONG = ("tests/lint/test_style.py", "tests/unit/test_build.py", "tests/unit/test_capture.py")


def unit_of(nodeid: str) -> str:
    """What goes to one worker as a whole: a test's module, or all that is the machine's."""
    module = nodeid.partition("::")[0]
    return MACHINE if module.startswith(OF_THE_MACHINE) and not module.startswith(LAUNCHER + WATCH) else module


def rank(item: pytest.Item) -> int:
    """Where a test's unit comes in the order of units; those that are equal stay as they were collected."""
    order = (MACHINE, *LAUNCHER, *WATCH, *LONG)
    unit = unit_of(item.nodeid)
    return next((place for place, start in enumerate(order) if unit.startswith(start)), len(order))


class Schedule(LoadScopeScheduling):
    """Gives each worker a unit whenever it has none, in the order of the collection."""

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)
