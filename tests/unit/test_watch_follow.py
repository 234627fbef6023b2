"""Followers: who sees what, once and in order; what was missed; what is over; who freezes; metrics of all that."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from watch_events import HOSTILE
from watch_kernel import NOW, Kernel, begin, installed, settings_in

from scmm_oci.recorder.settings import Settings
from scmm_oci.watch import freezing, session, wire, words
from scmm_oci.watch.follow import Follower
from scmm_oci.watch.metrics import TOTALS, Metrics


@dataclass
class Clock:
    """Nanoseconds that pass when the test says so."""

    ns: int = 10**12

    def pass_s(self, seconds: float) -> None:
        self.ns += int(seconds * 1e9)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    monkeypatch.setattr(words, "ARCHES", {os.uname().machine: wire.ARCHES["x86_64"]})
    return installed(tmp_path, monkeypatch)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def follower(settings: Settings, clock: Clock, *names: str) -> Follower:
    """One who follows the containers of these names; of all, without."""
    return Follower(
        settings,
        wanted=lambda entry: not names or entry["container"]["name"] in names,
        clock=lambda: int(NOW * 1e9) + clock.ns,
        monotonic=lambda: clock.ns,
    )


@pytest.fixture
def one(settings: Settings, kernel: Kernel, clock: Clock) -> Iterator[Follower]:
    made = follower(settings, clock)
    yield made
    made.close()


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [each["type"] for each in events]


def numbers(events: list[dict[str, Any]]) -> list[int]:
    return [each["seq"] for each in events if each["type"] == "alert"]


def test_alerts_come_once_and_in_order(settings: Settings, kernel: Kernel, one: Follower) -> None:
    assert one.poll() == []
    entry = begin(settings, kernel)
    assert kinds(one.poll()) == ["watching"]
    assert one.poll() == []
    kernel.violate(entry, 3)
    first = one.poll()
    assert kinds(first) == ["alert"] * 3 and numbers(first) == [1, 2, 3]
    assert one.poll() == []
    kernel.violate(entry)
    assert numbers(one.poll()) == [4]


def test_every_follower_sees_all(settings: Settings, kernel: Kernel, one: Follower, clock: Clock) -> None:
    entry = begin(settings, kernel)
    kernel.violate(entry, 2)
    other = follower(settings, clock)
    assert numbers(one.poll()) == numbers(other.poll()) == [1, 2]
    other.close()
    kernel.violate(entry)
    again = follower(settings, clock)  # killed, and begun anew: what is kept is told again
    assert numbers(again.poll()) == [1, 2, 3] and numbers(one.poll()) == [3]
    again.close()


def test_what_was_overwritten_is_counted(settings: Settings, kernel: Kernel, one: Follower) -> None:
    entry = begin(settings, kernel)
    kernel.violate(entry, 2)
    one.poll()
    kernel.violate(entry, wire.ALERTS + 5)
    told = one.poll()
    assert kinds(told) == ["gap", *["alert"] * wire.ALERTS] and told[0]["missed"] == 5
    assert numbers(told) == list(range(8, 8 + wire.ALERTS))


def test_only_what_is_wanted_is_told(settings: Settings, kernel: Kernel, clock: Clock) -> None:
    web, other = begin(settings, kernel, "web"), begin(settings, kernel, "other")
    chosen = follower(settings, clock, "web")
    kernel.violate(web)
    kernel.violate(other)
    told = chosen.poll()
    assert kinds(told) == ["watching", "alert"] and {each["container"]["name"] for each in told} == {"web"}
    session.end(settings, container_id="other-id", bundle="", now=NOW)
    assert chosen.poll() == []
    chosen.close()


def test_the_end_is_told_with_what_came_before_it(settings: Settings, kernel: Kernel, one: Follower) -> None:
    entry = begin(settings, kernel)
    one.poll()
    kernel.violate(entry, 2)
    session.end(settings, container_id="web-id", bundle="", now=NOW)
    told = one.poll()
    assert kinds(told) == ["alert", "alert", "ended"]
    assert told[-1]["why"] == session.POSTSTOP and told[-1]["counters"]["violations"] == 2
    assert one.watched == [] and one.poll() == []


def test_what_came_and_went_between_two_looks_is_told(settings: Settings, kernel: Kernel, one: Follower) -> None:
    one.poll()
    entry = begin(settings, kernel)
    kernel.violate(entry, 2)
    session.end(settings, container_id="web-id", bundle="", now=NOW)
    told = one.poll()
    assert kinds(told) == ["watching", "alert", "alert", "ended"] and numbers(told) == [1, 2]
    assert one.poll() == []


def test_what_was_over_before_is_not_told(settings: Settings, kernel: Kernel, clock: Clock) -> None:
    begin(settings, kernel)
    session.end(settings, container_id="web-id", bundle="", now=NOW)
    late = follower(settings, clock)
    assert late.poll() == []
    late.close()


def test_a_watch_in_the_slot_of_another_is_another(settings: Settings, kernel: Kernel, one: Follower) -> None:
    first = begin(settings, kernel)
    kernel.violate(first, 5)
    one.poll()
    session.end(settings, container_id="web-id", bundle="", now=NOW)
    second = begin(settings, kernel, "other", now=NOW + 1)
    assert second["slot"] == first["slot"] and second["epoch"] != first["epoch"]
    kernel.violate(second)
    told = one.poll()
    assert [(each["type"], each["watch"]) for each in told] == [
        ("watching", second["epoch"]),
        ("ended", first["epoch"]),
        ("alert", second["epoch"]),
    ]
    assert numbers(told) == [1]


def test_a_container_that_is_gone_is_pruned_within_two_seconds(
    settings: Settings, kernel: Kernel, one: Follower, clock: Clock
) -> None:
    entry = begin(settings, kernel, pid=2**22 + 1)
    assert kinds(one.poll()) == ["watching"]
    (kernel.root / "web").rmdir()
    clock.pass_s(1.1)
    assert one.poll() == [] and kernel.live() == [entry["epoch"]], "its poststop hook may be at work"
    clock.pass_s(1.1)
    told = one.poll()
    assert kinds(told) == ["ended"] and told[0]["why"] == session.GONE
    assert not kernel.loaded and session.entries(settings) == []


def test_pins_that_somebody_removed_are_told(settings: Settings, kernel: Kernel, one: Follower, clock: Clock) -> None:
    begin(settings, kernel)
    one.poll()
    kernel.unload()
    session.prune(settings, now=NOW)
    told = one.poll()
    assert kinds(told) == ["ended"] and told[0]["why"] == session.UNLOADED
    assert told[0]["counters"]["violations"] == 0, "what was seen last"


def test_who_follows_freezes(settings: Settings, kernel: Kernel, one: Follower, clock: Clock) -> None:
    entry = begin(settings, kernel, action="freeze")
    control = kernel.root / "web" / "cgroup.freeze"
    control.write_text("0")
    one.poll()
    kernel.violate(entry, done="freeze")
    assert kinds(one.poll()) == ["alert"] and control.read_text() == "0", "nothing has stopped it"
    kernel.violate(entry, done="freeze", frozen=True)
    told = one.poll()
    assert kinds(told) == ["alert", "frozen"] and told[1]["problem"] is None
    assert control.read_text() == "1" and freezing.is_frozen(entry)
    assert one.poll() == []
    assert freezing.thaw(settings, entry) == 0
    assert control.read_text() == "0" and not freezing.is_frozen(entry)
    late = follower(settings, clock)
    assert numbers(late.poll()) == [1, 2] and control.read_text() == "0", "an old alert is no reason to freeze again"
    late.close()
    one.poll()
    kernel.violate(entry, done="freeze", frozen=True)
    assert kinds(one.poll()) == ["alert", "frozen"] and control.read_text() == "1"


def test_a_freezer_that_cannot_be_written_is_told(settings: Settings, kernel: Kernel, one: Follower) -> None:
    entry = begin(settings, kernel, action="freeze")
    (kernel.root / "web" / "cgroup.freeze").mkdir()
    kernel.violate(entry, done="freeze", frozen=True)
    told = one.poll()
    assert kinds(told) == ["watching", "alert", "frozen"] and "cannot be written" in told[2]["problem"]


def test_who_follows_for_ever_keeps_no_maps_of_what_is_over(settings: Settings, kernel: Kernel, one: Follower) -> None:
    for number in range(3):
        begin(settings, kernel, f"c{number}", now=NOW + number)
        one.poll()
        session.end(settings, container_id=f"c{number}-id", bundle="", now=NOW + number)
        one.poll()
        assert one._maps == {}


def sample(text: str, name: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(f"{name}{{")]


def test_metrics_are_what_is_counted(settings: Settings, kernel: Kernel, one: Follower) -> None:
    entry = begin(settings, kernel, action="kill")
    kernel.violate(entry, 3)
    one.poll()
    text = Metrics(lambda: one.watched).text()[0].decode()
    labels = 'container="web",engine="podman",id="web-id",policy="p"'
    assert sample(text, "scmm_watch_violations_total") == [f'scmm_watch_violations_total{{action="kill",{labels}}} 3.0']
    for name in TOTALS:
        assert len(sample(text, f"scmm_watch_{name}_total")) == 1
    assert len(sample(text, "scmm_watch_threads")) == len(sample(text, "scmm_watch_stopped")) == 1


def test_labels_are_bounded_and_escaped(settings: Settings, kernel: Kernel, one: Follower) -> None:
    begin(settings, kernel, container={"id": "x" * 5000, "name": HOSTILE, "engine": None}, policy_name="p" * 5000)
    one.poll()
    text = Metrics(lambda: one.watched).text()[0].decode()
    (line,) = sample(text, "scmm_watch_threads")
    assert len(line) < 700 and "\\n" in line and '\\"' in line
    assert "/usr/sbin/nginx" not in text


def test_counters_of_metrics_are_those_of_the_kernel() -> None:
    assert set(TOTALS) <= set(wire.COUNTERS)
