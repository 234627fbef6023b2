"""Some of runc's own cases of seccomp agents, answered by scmm-monitor; all: `python -m tools.conformance --agent`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import need

from rig import namespace
from rig.mounts import private_dir
from rig.process import find_program
from rig.runc import available
from tools.conformance import agent, suite
from tools.conformance.cases import Case, Outcome, run_file

#: One of each: a directory under the name that the program says, calls that go on, and an error.
MADE, GO_ON, REFUSED = (
    f"runc run [seccomp] (SCMP_ACT_NOTIFY {each})"
    for each in ("noNewPrivileges true", "important syscalls noNewPrivileges false", "error chmod")
)


@pytest.fixture
def base(inside: namespace.Entered) -> Iterator[Path]:
    need("KERNEL", available("runc") or suite.unavailable(suite.FIRST))
    with private_dir("agent") as made:
        made.chmod(0o711)
        (made / "ours").mkdir(mode=0o711)
        yield made


def cases(base: Path, ours: suite.Suite, *names: str) -> dict[str, Case]:
    scratch = base / f"scratch-{len(list(base.iterdir()))}"
    scratch.mkdir(mode=0o711)
    (path,) = (each for each in ours.files if each.stem == agent.CASES)
    runc = find_program("runc")
    assert runc is not None
    found = run_file(ours, path, way="agent", runtime=Path(runc), scratch=scratch, only=names)
    return {case.name: case for case in found}


def test_runcs_own_cases_pass_with_scmm_monitor_as_their_agent(base: Path) -> None:
    ours = agent.Agent(suite.fetch(helpers=False), base / "ours")
    found = cases(base, ours.suite, MADE, GO_ON, REFUSED)
    for name in (MADE, GO_ON, REFUSED):
        assert found[name].outcome is Outcome.PASSED, (found[name].detail, ours.told())
    assert ours.starts == 3


def test_an_agent_that_lets_all_go_on_fails_what_one_that_decides_passes(base: Path) -> None:
    ours = agent.Agent(suite.fetch(helpers=False), base / "ours")
    rules = base / "ours/rules.yaml"
    rules.write_text(json.dumps({"version": "1.0", "default": "allow"}))
    found = cases(base, ours.suite, MADE, REFUSED)
    assert {case.outcome for case in found.values()} == {Outcome.FAILED}
    assert ours.starts == 2
