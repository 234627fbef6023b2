"""tools.falsealarms: inputs come from seeds, training and judging share nothing, figures are judged as they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from scmm_oci.policy.infer.completeness import completeness
from scmm_oci.policy.model import Transition
from scmm_oci.policy.order import table
from tools.falsealarms import report
from tools.falsealarms.experiment import Outcome, Sizes, draw, foretold, is_judged
from tools.falsealarms.inputs import KINDS, LARGEST, Judging, Maker, Training
from tools.falsealarms.programs import BUSYBOX, COREUTILS, Program
from tools.falsealarms.running import INPUTS, LOCALES, OUTPUTS
from tools.falsealarms.serving import Served
from tools.falsealarms.suites import SUITES

SMALL = (*COREUTILS, *BUSYBOX)
EVERY = (*SMALL, *SUITES)


def files(base: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(base)): path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in base.rglob("*")
    }


@pytest.mark.parametrize("kind", [Training, Judging])
def test_inputs_repeat(tmp_path: Path, kind: type[Maker]) -> None:
    found = []
    for number in (1, 2):
        where = tmp_path / str(number)
        where.mkdir()
        maker = kind(Random(7), where)
        words = [maker.operand(each) for each in KINDS]
        found.append((words, files(where)))
        assert (where / words[list(KINDS).index("FILE")]).stat().st_size <= LARGEST
        assert not (where / words[list(KINDS).index("ABSENT")]).exists()
    assert found[0] == found[1]
    other = kind(Random(8), tmp_path)
    assert [other.operand(each) for each in KINDS] != found[0][0]


def test_judging_has_sizes_that_training_has_not(tmp_path: Path) -> None:
    trained, judged = ({kind(Random(seed), tmp_path).size() for seed in range(400)} for kind in (Training, Judging))
    beside = {max(1, (1 << power) + more) for power in range(19) for more in (-1, 0, 1)}
    assert len(trained & beside) > 30
    assert len(judged - trained - beside) > 200 and min(judged | trained) >= 1 and max(judged | trained) <= LARGEST


def test_programs_are_told_apart_and_make_runs_of_all_kinds(tmp_path: Path) -> None:
    assert len({one.key for one in EVERY}) == len(EVERY) >= 80
    for one in SMALL:
        runs = []
        for seed in range(60):
            random = Random(seed)
            where = tmp_path / f"{one.key} {seed}"
            where.mkdir()
            runs.append(one.make(one.draw(random), Training(random, where)))
        assert {run.input for run in runs} == set(INPUTS) and {run.output for run in runs} == set(OUTPUTS)
        assert {run.locale for run in runs} == set(LOCALES) and len({run.words for run in runs}) > 5
        # What stands for something has been made.
        assert not [word for run in runs for word in run.words if word in KINDS]


@pytest.mark.parametrize("program", EVERY, ids=lambda one: one.key)
def test_no_combination_is_in_training_and_judging(program: Program) -> None:
    trained, judged = ({draw(program, Random(seed), judged=each) for seed in range(120)} for each in (False, True))
    assert not trained & judged and all(map(is_judged, judged)) and not any(map(is_judged, trained))
    assert len(judged) > 10


SETS: Sequence[set[int]] = [{1, 2}] * 16


def test_what_the_estimate_allows_for() -> None:
    sure = completeness(SETS)  # at most 17 of 100, 95 % sure
    assert foretold(sure, 0, 100) and foretold(sure, 1, 2) and not foretold(sure, 2, 2) and not foretold(sure, 30, 80)
    unsure = completeness([{1, 2, 10 + number} for number in range(16)])
    assert foretold(unsure, 2, 2) and foretold(unsure, 80, 80)


def outcome(alarms: tuple[int, ...] = (0, 0), *, wide: bool = False, blind: int = 0) -> Outcome:
    calls = ("read", "write", "close", "brk", "fstat", "lseek", "getpid", "getuid", "exit_group", "munmap", "pipe")
    rows = [Transition(call, calls if wide else (calls[0],)) for call in calls]
    examples = ("cat x: read > write",) * sum(alarms)
    lost = {"lost_threads": blind} if blind else {}
    return Outcome(COREUTILS[0], Sizes(batch=40), completeness(SETS), table(rows), alarms, examples, lost)


def test_goals() -> None:
    found = report.goals([outcome(), outcome()])
    assert found.met and (found.runs, found.alarms) == (160, 0)
    assert report.goals([outcome((1, 0))]).met  # foretold
    for bad in (outcome((3, 1)), outcome(blind=1)):
        assert not report.goals([outcome(), bad]).met
    assert report.goals([outcome(wide=True)]).wide == ("coreutils",) and report.goals([outcome()]).wide == ()
    text = "\n".join(report.whole([outcome((3, 1)), outcome(wide=True, blind=2)], []))
    assert "160 runs judged, fewer than 6,300, 4 with a violation" in text and text.count("`cat x: read > write`") == 4
    assert (
        "2 of 2 batches with a violation, NOT foretold" in text
        and "coreutils allows more than 10% of its square" in text
    )
    assert "NOT judged: cat {'lost_threads': 2}" in text
    assert "NOT" not in "\n".join(report.whole([outcome()], []))


def test_servers_are_told_beside() -> None:
    quiet = Served("nginx", completeness(SETS), ((66, 147, 0.0337),), ("",) * 20)
    sizes = ((40, 90, 0.05625), (29, 75, 0.0892))
    loud = Served("redis, phases", completeness(SETS), sizes, ("read > execve",) * 9 + ("",) * 11)
    assert quiet.foretold and not loud.foretold
    text = "\n".join(report.whole([], [quiet, loud]))
    assert "| nginx | 16 | 66 | 147 | 3.4% | 0.0 % | 17.1 % | 20 | 0 |" in text
    assert "| redis, phases | 16 | 40, 29 | 90, 75 | 5.6%, 8.9% | 0.0 % | 17.1 % | 20 | 9 |" in text
    assert text.count("redis, phases: `read > execve`, NOT foretold") == 9 and "nginx: `" not in text
