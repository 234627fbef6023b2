"""Some of runc's own cases under scmm-runc; `make conformance` has them all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import need

from rig import namespace
from rig.mounts import private_dir
from rig.runc import available
from scmm_oci.enforcer.store import Store
from tools.conformance import suite, table, ways
from tools.conformance.cases import Outcome
from tools.conformance.comparing import Comparison
from tools.conformance.ways import Installed, Way

# Their cases take neither a console socket nor a seccomp agent, and so none of upstream's programs.
FIRST, OTHER = "start_hello", "debug"


@pytest.fixture
def base(inside: namespace.Entered) -> Iterator[Path]:
    need("KERNEL", available("runc") or suite.unavailable(suite.FIRST))
    with private_dir("cases") as made:
        made.chmod(0o711)
        for each in ("shim", "scratch"):
            (made / each).mkdir(mode=0o711)
        yield made


@pytest.fixture
def installed(base: Path) -> Installed:
    return ways.install(base / "shim")


def compared(base: Path, installed: Installed, file: str, *named: Way) -> Comparison:
    cases = suite.fetch(helpers=False)
    paths = [path for path in cases.files if path.stem == file]
    assert len(paths) == 1
    done = Comparison(cases, paths, installed, base / "scratch")
    done.run([Way.RUNC, *named], lambda way, found, seconds: None)
    return done


def test_runcs_own_cases_pass_enforced_and_recorded(base: Path, installed: Installed) -> None:
    done = compared(base, installed, FIRST, Way.ENFORCED, Way.RECORDED)
    passed = [case.key for case in done.results[Way.RUNC] if case.outcome is Outcome.PASSED]
    assert len(passed) >= 5
    assert table.differences(done.results) == []
    assert installed.left_over() == []
    for way in (Way.ENFORCED, Way.RECORDED):
        assert done.evidence[way].changed >= len(passed), way
    assert done.evidence[Way.ENFORCED].captures == 0
    assert done.evidence[Way.RECORDED].captures >= len(passed)


def test_a_shim_that_starts_nothing_differs_in_each(base: Path, installed: Installed) -> None:
    store = Store(str(base / "shim/store"))
    policy = store.read("all")
    store.remove("all")
    try:
        done = compared(base, installed, OTHER, Way.ENFORCED)
    finally:
        store.add("all", policy)
    passed = [case.key for case in done.results[Way.RUNC] if case.outcome is Outcome.PASSED]
    assert passed
    assert [each.case.key for each in table.differences(done.results)] == passed
    assert done.evidence[Way.ENFORCED].changed == 0
