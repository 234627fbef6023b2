"""What benchmarks/percall makes of its samples: figures, verdicts, tables; and what it believes of what tools print."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import samples
from rich.console import Console

from benchmarks import applications, percall_report, processes, recorded, slices, tracers
from benchmarks.ground import ProductError
from benchmarks.percall_report import Result, findings
from benchmarks.slices import Measurement, Row, Samples
from rig.process import DeadlineError
from scmm_oci.capture import file as capture_file
from scmm_oci.capture.model import Capture

ROUNDS = range(1, 11)
ADDED = {
    "empty": 30,
    "both": 50,
    "ours": 45,
    "bystander": 40,
    "bpftrace": 90,
    "ring": 540,
    "perf": 2000,
    "strace": 9000,
}


def result(**added: float) -> Result:
    """Every getppid took 150 ns and a little more in each round, and what ADDED or `added` says on top of that."""
    measured = Samples()
    for key, more in {**ADDED, **dict.fromkeys(percall_report.CALLS, 100), **added}.items():
        measured.bare[key] = {number: 150.0 + number for number in ROUNDS}
        measured.traced[key] = {number: 150.0 + number + more for number in ROUNDS}
    plain = {key: dict.fromkeys(ROUNDS, 1000.0) for key in applications.TITLES}
    less = {key: dict.fromkeys(ROUNDS, 950.0) for key in applications.TITLES}
    counted = {"ring": (999, 1), "ours": (100, 0)}
    return Result(percall_report.TITLES, {"kernel": "6.18"}, 1, measured, plain, less, counted)


def shown(of: Result) -> str:
    text = io.StringIO()
    percall_report.show(of, Console(file=text, width=percall_report.WIDTH, highlight=False))
    return text.getvalue()


def test_goals_are_judged_by_the_figures() -> None:
    found = findings(result())
    assert found.added["ours"].value == pytest.approx(45)
    assert found.ratios["empty"].value == pytest.approx(1.5)
    assert found.ratios["ring"].value == pytest.approx(12)
    met = {key: verdict.met for key, verdict in found.verdicts.items()}
    assert met == {"empty": True, "both": True, "bpftrace": False, "ring": True, "perf": False, "strace": True}
    assert found.rates["nginx"].value == pytest.approx(0.95)
    # The same with ours a little cheaper and an empty program a lot.
    other = findings(result(ours=36, empty=20))
    assert {key for key, verdict in other.verdicts.items() if verdict.met} == {
        "both",
        "bpftrace",
        "ring",
        "perf",
        "strace",
    }


def test_nothing_is_judged_without_figures() -> None:
    of = result()
    of.fail(["ours"], ProductError("no\n  capture"))
    assert findings(of).verdicts == {} and of.failed
    assert "not measured: recorded by us, everything on: no capture" in shown(of)
    assert not result().failed
    of = result()
    of.fail(["nginx"], ProductError("no capture"))
    assert "nginx" not in findings(of).rates and "redis GET" in findings(of).rates
    assert shown(of).count("not measured") == 2  # in the table, and why


def test_report_says_what_was_found_and_repeats() -> None:
    text = shown(result())
    assert text == shown(result())
    assert "1/12.00 [1/12.00, 1/12.00]" in text and "1.50× [1.50×, 1.50×]" in text
    assert "-5.0 %" in text and "0.10%" in text and "+9,000" in text
    assert "not met" in text and "…" not in text.replace("… not recorded", "")  # nothing is cut off


def test_markdown_has_the_same_cells() -> None:
    of = result()
    lines = percall_report.to_markdown(of).splitlines()
    for sheet in percall_report.sheets(of, findings(of)):
        assert f"## {sheet.title}" in lines
        for row in sheet.rows:
            assert len(row) == len(sheet.columns)
            assert f"| {' | '.join(row)} |" in lines


def test_json_has_no_infinity() -> None:
    of = result(ours=0)
    assert findings(of).ratios["strace"].value == float("inf")
    document = json.loads(json.dumps(percall_report.to_json(of), allow_nan=False))
    assert document["ratios"]["strace"]["value"] is None
    assert document["verdicts"]["empty"]["met"] is True
    assert document["samples"]["bare"]["ours"]["1"] == 151.0


def test_slices_are_as_long_as_asked() -> None:
    assert slices.slice_length(100.0) * 100 == slices.SLICE_NS
    assert slices.slice_length(1e9) == slices.FEWEST
    assert slices.slice_length(0) == slices.SLICE_NS


def test_what_tools_print_is_counted() -> None:
    assert tracers.parse_bpftrace("Attaching 1 probe...\n\n@[0]: 7\n@[110]: 4200\n@[1100]: 5\n", 110) == 4200
    assert tracers.parse_bpftrace("@[1100]: 5\n", 110) == 0
    summary = " Summary of events:\n\n loop (99), 24 events\n   getppid   12      0     0.1\n   read   2   0   1.0\n"
    assert tracers.parse_perf_trace(summary) == (12, 0)
    assert tracers.parse_perf_trace("LOST 31 events!\n" + summary + "LOST 4 events!\n") == (12, 35)
    lines = [
        '17 read(0, "getppid 9\\n", 63) = 10',
        "17    getppid() = 1",
        "17 getppid()      = 0",
        "17 getppid( <unfinis",
    ]
    assert tracers.parse_strace("\n".join(lines)) == 2


class Fake(tracers.Tracer):
    """Attaches nothing; `stuck`: how often it does not get ready."""

    key = title = "fake"

    def __init__(self, *, own: int = 0, stuck: int = 0) -> None:
        super().__init__()
        self.own, self.stuck, self.times = own, stuck, 0

    def programs(self) -> int:
        return self.own

    @contextmanager
    def attached(self, loop: Any) -> Iterator[None]:
        self.times += 1
        if self.times <= self.stuck:
            raise DeadlineError("not ready")
        loop.watched = True
        yield
        loop.watched = False


class FakeLoop:
    """100 ns for each round, 300 while it is watched."""

    watched = False

    def run(self, kind: str, count: int) -> float:
        return 300.0 if self.watched else 100.0


def block(monkeypatch: pytest.MonkeyPatch, tracer: Fake, *there: int, number: int = 1) -> tuple[bool, Samples]:
    """Take one sample; `there`: how many programs are loaded, each time that is asked, and none afterwards."""
    answers = iter(there)
    monkeypatch.setattr(slices, "watchers", lambda programs: [(each, "other") for each in range(next(answers, 0))])
    taken = Samples()
    rows = [Row("fake", FakeLoop(), "getppid")]  # type: ignore[arg-type]
    return Measurement(None, taken, slices=3).block(tracer, rows, number), taken  # type: ignore[arg-type]


def test_a_sample_is_kept_with_its_bare_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    done, taken = block(monkeypatch, Fake(), number=4)
    assert done and taken.bare == {"fake": {4: 100.0}} and taken.traced == {"fake": {4: 300.0}}
    assert taken.lengths == {"bare getppid": 100_000, "fake": 33_333}
    done, taken = block(monkeypatch, Fake(), number=0)
    assert done and taken.bare == {} and taken.disturbed == []


def test_a_sample_is_taken_again_while_others_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    # Before, while attached, after: the second has one program more than the tracer's own.
    tracer = Fake(own=1)
    done, taken = block(monkeypatch, tracer, 0, 2, 0, 0, 1, 0)
    assert done and tracer.times == 2 and len(taken.disturbed) == 1
    assert "2 programs were attached, 1 of them its own: other" in taken.disturbed[0]
    done, taken = block(monkeypatch, Fake(own=1), 0, 1, 0)
    assert done and taken.disturbed == []
    done, taken = block(monkeypatch, Fake(), *[0, 1, 0] * 4)
    assert not done and taken.traced == {} and len(taken.disturbed) == 4


def test_a_tool_may_get_stuck_once(monkeypatch: pytest.MonkeyPatch) -> None:
    done, taken = block(monkeypatch, Fake(stuck=1))
    assert done and taken.disturbed == ["fake: not ready"]
    with pytest.raises(DeadlineError):
        block(monkeypatch, Fake(stuck=2))


def test_a_tracer_that_saw_too_little_is_no_tracer() -> None:
    tracer = Fake()
    tracer.check(10, 10)
    tracer.check(10, 7, 3)
    assert (tracer.seen, tracer.lost) == (17, 3)
    for seen, lost in ((9, 0), (11, 0), (0, 0)):
        with pytest.raises(ProductError, match="10 calls were made"):
            tracer.check(10, seen, lost)


def test_perf_trace_may_lack_calls_but_not_all(tmp_path: Any) -> None:
    perf = tracers.PerfTrace(tmp_path)
    perf.check(10, 8)
    assert (perf.seen, perf.lost) == (8, 2)
    for seen in (0, 11):
        with pytest.raises(ProductError):
            perf.check(10, seen)


def capture(*calls: Any) -> Capture:
    return capture_file.parse(samples.as_bytes(samples.app(*calls)))


def test_captures_of_the_loop_are_compared_with_what_it_did() -> None:
    found = capture(samples.call("getppid", 500), samples.call("openat", 101), samples.call("close", 103))
    assert recorded.difference(found, {"getppid": 500, "open": 100}) == ""
    assert recorded.difference(found, {"getppid": 501}) == "getppid 500 times, made 501 times"
    assert recorded.difference(found, {"getppid": 499}) != ""
    assert recorded.difference(found, {"getppid": 500, "open": 102}) == "openat 101 times, made 102 times"
    assert recorded.difference(found, {"stat": 1}) == "newfstatat 0 times, made 1 times"


def test_captures_of_servers_have_their_load() -> None:
    found = capture(samples.call("read", 150), samples.call("write", 50))
    assert applications.difference(found, 100) == ""
    assert applications.difference(found, 101) == "only 200 calls for 101 requests"


def test_a_process_answers_line_by_line() -> None:
    script = 'echo hello; while read word; do [ "$word" = end ] && exit 3; echo "$word!"; done'
    with processes.Asked("/bin/sh", "-c", script, hello="hello") as asked:
        assert asked.greeting == "hello"
        assert (asked.ask("one"), asked.ask("two")) == ("one!", "two!")
        with pytest.raises(processes.RigError, match="ended instead of an answer"):
            asked.ask("end")
    with pytest.raises(processes.RigError, match="said b'good"), processes.Asked("echo", "good-bye", hello="hello"):
        pass
    assert not os.path.exists(f"/proc/{asked.pid}")
