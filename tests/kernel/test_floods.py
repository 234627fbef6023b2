"""As many calls, names, values, threads and programs as there can be: what is kept and what is lost is all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from scripts import losses
from support import Hooks
from trial import Trial, calls

from scmm_oci.recorder import pins, slots

SOAK = bool(os.environ.get("SCMM_SOAK"))


def names(capture: dict, start: str = "/p") -> set[str]:
    return {row["path"] for row in capture["files"] if row["operation"] == "access" and row["path"].startswith(start)}


def memory(maps: pins.Maps) -> int:
    """Bytes of kernel memory that the maps of facts take now, as fdinfo has it (Linux 6.4: what is in them)."""
    infos = [
        Path(f"/proc/self/fdinfo/{each.fd}").read_text() for each in (maps.facts, maps.facts_medium, maps.facts_long)
    ]
    return sum(int(line.split()[1]) for info in infos for line in info.splitlines() if line.startswith("memlock:"))


@pytest.mark.parametrize(("command", "workers"), [("calls", 4), ("processes", 16)])
def test_as_many_calls_are_counted_as_are_made(hooks: Hooks, payload: Path, command: str, workers: int) -> None:
    each = (100_000_000 if SOAK else 1_000_000) // workers
    with Trial(hooks, payload, command, str(workers), str(each), name="many") as trial:
        trial.release()
        capture = trial.finish()
    assert losses(capture) == {}
    call = calls(capture)["getppid"]
    assert (call["entered"], call["succeeded"], call["errnos"]) == (workers * each, workers * each, [])


def test_what_fails_is_what_is_entered_without_success(hooks: Hooks, payload: Path) -> None:
    with Trial(hooks, payload, "mixed", "50000", name="mixed") as trial:
        trial.release()
        capture = trial.finish()
    call = calls(capture)["close"]
    # 100 000 that fail, and the stream that stdio closes at the end is none.
    assert (call["entered"], call["succeeded"], call["errnos"]) == (150_000, 50_000, ["EBADF"])
    assert calls(capture)["dup"]["succeeded"] == 50_000


@pytest.mark.parametrize("length", [10, 240])
def test_fifty_thousand_names_are_kept(hooks: Hooks, payload: Path, length: int) -> None:
    with Trial(hooks, payload, "paths", "50000", str(length), name="names") as trial:
        trial.release()
        capture = trial.finish()
    assert losses(capture) == {}
    found = sorted(names(capture))
    assert len(found) == 50_000 and {len(name) for name in found} == {length}
    assert [name[:10] for name in found] == [f"/p{number:08d}" for number in range(50_000)]
    rows = [row for row in capture["files"] if row["path"] in (found[0], found[-1])]
    assert [(row["failed"], row["errnos"]) for row in rows] == [(1, ["ENOENT"])] * 2


# Bytes of a name → names of its size class that fit with 2048 facts in all: half of them, half of them, a 128th.
@pytest.mark.parametrize(("length", "fit"), [(10, 1024), (255, 1024), (4000, 16)])
def test_every_name_is_kept_or_counted_as_lost(
    make_hooks: Callable[..., Hooks], payload: Path, length: int, fit: int
) -> None:
    hooks = make_hooks(facts=2048)
    for name, count in (("fits", fit // 2), ("more", 3 * fit)):
        with Trial(hooks, payload, "paths", str(count), str(length), name=name) as trial:
            trial.release()
            capture = trial.finish()
        kept, lost = len(names(capture)), losses(capture).get("lost-files", 0)
        assert kept + lost == count, losses(capture)
        assert capture["complete"] == (not lost) == (name == "fits")
        # The program itself is a fact or two.
        assert name == "fits" or fit - 4 <= kept <= fit


def test_the_first_name_that_does_not_fit_is_told(make_hooks: Callable[..., Hooks], payload: Path) -> None:
    hooks = make_hooks(facts=1024)
    with Trial(hooks, payload, "paths", "600", "10", name="over") as trial:
        trial.release()
        fit = len(names(trial.finish()))
    for count, lost in ((fit, {}), (fit + 1, {"lost-files": 1})):
        with Trial(hooks, payload, "paths", str(count), "10", name="edge") as trial:
            trial.release()
            capture = trial.finish()
        assert (losses(capture), capture["complete"]) == (lost, not lost)
        assert len(names(capture)) == fit


@pytest.mark.parametrize("length", [10, 255, 4000])
def test_names_without_end_take_bounded_memory(hooks: Hooks, payload: Path, length: int) -> None:
    count = 1_000_000 if SOAK else 60_000 if length == 10 else 20_000
    with Trial(hooks, payload, "paths", str(count), str(length), name="endless") as trial:
        with pins.Maps(hooks.settings.pin_dir) as maps:
            before = memory(maps)
            trial.release()
            taken = memory(maps) - before
        capture = trial.finish()
    assert len(names(capture)) + losses(capture).get("lost-files", 0) == count
    assert capture["complete"] == (count < 65_000 and length < 300)
    # SECURITY.md: at most 112 MiB together. The control: some is taken.
    assert 1 << 20 < taken < 112 << 20


def test_addresses_and_programs_that_do_not_fit_are_told(make_hooks: Callable[..., Hooks], payload: Path) -> None:
    hooks = make_hooks(facts=1024)
    with Trial(hooks, payload, "addresses", "700", name="addresses") as trial:
        trial.release()
        capture = trial.finish()
    kept = [row for row in capture["sockets"] if row["address"].startswith("127.")]
    assert losses(capture) == {"lost-sockets": 700 - len(kept)}
    assert 400 < len(kept) < 512
    with Trial(hooks, payload, "programs", "700", str(payload), name="programs") as trial:
        trial.release()
        capture = trial.finish()
    kept = [row for row in capture["programs"] if row["argv0"].startswith("program-")]
    # What of a program is a file has room or not, too.
    assert len(kept) + losses(capture)["lost-programs"] == 700
    assert [row["number"] for row in kept][:62] == list(range(1, 63)) and kept[-1]["number"] == 63
    assert [note["kind"] for note in capture["notes"]] == ["programs-shared"]


def test_a_few_hundred_programs_share_the_last_number_and_lose_nothing(hooks: Hooks, payload: Path) -> None:
    with Trial(hooks, payload, "programs", "300", str(payload), name="some") as trial:
        trial.release()
        capture = trial.finish()
    assert losses(capture) == {}
    kept = {row["argv0"]: row["number"] for row in capture["programs"]}
    assert {f"program-{number}" for number in range(300)} < kept.keys()
    assert kept["program-61"] == 62 and kept["program-299"] == 63


@pytest.mark.parametrize(("count", "open_ended"), [(100, False), (300, True)])
def test_many_values_of_an_argument_are_open_ended(hooks: Hooks, payload: Path, count: int, open_ended: bool) -> None:
    with Trial(hooks, payload, "values", str(count), name="values") as trial:
        trial.release()
        capture = trial.finish()
    [found] = [row for row in capture["arguments"] if row["name"] == "fcntl" and row["arch"] == "x86_64"]
    ours = [value for value in found["values"] if value >= 1000]
    assert found["open_ended"] == open_ended
    assert ours == list(range(1000, 1000 + len(ours)))
    assert len(found["values"]) == 128 if open_ended else len(ours) == count
    assert losses(capture) == {}


@pytest.mark.parametrize("command", ["tasks", "forks"])
def test_short_lived_threads_and_processes_leave_nothing(hooks: Hooks, payload: Path, command: str) -> None:
    count = 1_000_000 if SOAK else 20_000 if command == "tasks" else 3000
    with Trial(hooks, payload, command, str(count), name="brief", gates=2) as trial:
        with pins.Maps(hooks.settings.pin_dir) as maps:
            trial.pass_gate()
            assert slots.value_of(maps, 0).threads == 1  # the control
            trial.release()
            assert slots.value_of(maps, 0).threads == 0
            assert slots.value_of(maps, 0).counters["lost-threads"] == 0
        capture = trial.finish()
    assert losses(capture) == {}
    assert calls(capture)["getpgid"]["entered"] == count
