"""Sessions of watches without a kernel: what is in the ledger and in the maps, and what is left after any crash."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from watch_kernel import NATIVE, NOW, Kernel, Killed, begin, installed, policy, settings_in

from scmm_oci.errors import BadInput
from scmm_oci.recorder.settings import Settings
from scmm_oci.tables.arch import Arch
from scmm_oci.watch import machine, pins, session, slots, stale, summaries, wire


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return installed(tmp_path, monkeypatch)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


def test_a_watch_begins_with_its_machine_and_ends_with_nothing(settings: Settings, kernel: Kernel) -> None:
    entry = begin(settings, kernel, action="kill")
    assert session.entries(settings) == [entry]
    assert entry["live"] and entry["policy"] == {"name": "p", "digest": "d" * 64} and entry["action"] == "kill"
    assert entry["started_at"] == "2023-11-14T22:13:20Z"
    with pins.Maps(settings.watch_pin_dir) as maps:
        value = slots.value_of(maps, entry["slot"])
    assert (value.epoch, value.action, value.name) == (entry["epoch"], "kill", "web")
    assert kernel.live() == [entry["epoch"]] and kernel.targets() == 1
    summary = session.end(settings, container_id="web-id", bundle="", now=NOW + 1)
    assert summary is not None and summary["why"] == session.POSTSTOP
    assert summary["counters"] == dict.fromkeys(wire.COUNTERS, 0)
    assert session.entries(settings) == [] and not kernel.loaded
    assert session.ended(settings) == [summary]


def test_of_two_watches_the_second_end_takes_all_out(settings: Settings, kernel: Kernel) -> None:
    one, other = begin(settings, kernel, "one"), begin(settings, kernel, "other")
    assert one["slot"] != other["slot"] and one["epoch"] != other["epoch"] and kernel.loads == 1
    assert session.end(settings, container_id="one-id", bundle="", now=NOW)
    assert kernel.live() == [other["epoch"]] and kernel.targets() == 1
    assert session.end(settings, container_id="other-id", bundle="", now=NOW)
    assert not kernel.loaded


def test_what_is_not_watched_has_no_end(settings: Settings, kernel: Kernel) -> None:
    assert session.end(settings, container_id="web-id", bundle="", now=NOW) is None
    begin(settings, kernel, bundle="/one")
    assert session.end(settings, container_id="other-id", bundle="", now=NOW) is None
    assert session.end(settings, container_id="web-id", bundle="/other", now=NOW) is None
    assert session.end(settings, container_id="web-id", bundle="/one", now=NOW)


def test_a_second_watch_of_a_container_is_refused_with_who_holds_it(settings: Settings, kernel: Kernel) -> None:
    entry = begin(settings, kernel)
    assert begin(settings, kernel) == entry, "the same once more is no error: hooks may be called twice"
    for change in ({"digest": "e" * 64}, {"action": "kill"}):
        with pytest.raises(session.Held) as held:
            begin(settings, kernel, **change)
        text = str(held.value.strerror)
        assert text == "web is watched already, with the policy 'p', since 2023-11-14T22:13:20Z (alert)"
    assert kernel.live() == [entry["epoch"]] and session.entries(settings) == [entry]


def test_a_watch_below_another_is_refused_with_who_holds_it(settings: Settings, kernel: Kernel) -> None:
    (kernel.root / "pod" / "web").mkdir(parents=True)
    inner = begin(settings, kernel, "pod/web")
    with pytest.raises(session.Held, match="pod/web is watched already"):
        begin(settings, kernel, "pod")
    assert session.entries(settings) == [inner] and kernel.live() == [inner["epoch"]] and kernel.targets() == 1


def test_a_policy_for_another_machine_leaves_nothing(settings: Settings, kernel: Kernel) -> None:
    other = Arch.AARCH64 if NATIVE is Arch.X86_64 else Arch.X86_64
    with pytest.raises(BadInput, match=str(other)):
        begin(settings, kernel, policy=policy(arch=other))
    assert not kernel.loaded and session.entries(settings) == []


def test_a_watch_that_the_kernel_refuses_leaves_nothing(
    settings: Settings, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*words: Any, **options: Any) -> None:
        raise slots.NoRoom(28, "no room")

    with monkeypatch.context() as patch:
        patch.setattr(slots, "place_machines", refuse)
        with pytest.raises(slots.NoRoom):
            begin(settings, kernel)
    assert session.entries(settings) == [] and not kernel.loaded and session.ended(settings) == []
    assert begin(settings, kernel)["live"]


def test_a_container_whose_cgroup_is_gone_is_pruned(settings: Settings, kernel: Kernel) -> None:
    gone = begin(settings, kernel, "gone", pid=2**22 + 1)
    stays = begin(settings, kernel, "stays", pid=2**22 + 1)
    assert session.prune(settings, now=NOW) == []
    (kernel.root / "gone").rmdir()
    (summary,) = session.prune(settings, now=NOW)
    assert (summary["epoch"], summary["why"]) == (gone["epoch"], session.GONE)
    assert session.entries(settings) == [stays] and kernel.live() == [stays["epoch"]]


def test_a_container_that_was_made_anew_in_its_place_is_another(settings: Settings, kernel: Kernel) -> None:
    begin(settings, kernel, pid=2**22 + 1)
    (kernel.root / "kept").mkdir()  # its inode is not given out again meanwhile
    (kernel.root / "web").rename(kernel.root / "old")
    again = begin(settings, kernel, pid=2**22 + 2, action="kill")
    assert session.entries(settings) == [again] and kernel.live() == [again["epoch"]]


def test_where_the_cgroup_is_not_mounted_the_process_tells(settings: Settings, kernel: Kernel) -> None:
    begin(settings, kernel, "ours")
    begin(settings, kernel, "others", pid=2**22 + 1)
    kernel.root.rename(kernel.root.parent / "elsewhere")
    assert [each["container"]["name"] for each in session.prune(settings, now=NOW)] == ["others"]


def test_a_command_whose_last_process_is_gone_is_pruned_with_its_cgroup(
    settings: Settings, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = kernel.place("scmm-watch-1")
    events = Path(place.directory, "cgroup.events")
    events.write_text("populated 1\nfrozen 0\n")
    begin(settings, kernel, place=place, pid=2**22 + 1)
    owner = {"one": True}
    monkeypatch.setattr(stale, "started", lambda pid: 7 if owner["one"] and pid == os.getpid() else 0)
    with session.open_ledger(settings) as ledger:
        (entry,) = ledger.entries()
        ledger.write({**entry, "owner": {"pid": os.getpid(), "started": 7}})
    events.write_text("populated 0\nfrozen 0\n")
    assert session.prune(settings, now=NOW) == [], "who began it ends it"
    owner["one"] = False
    events.write_text("populated 1\nfrozen 0\n")
    assert session.prune(settings, now=NOW) == [], "somebody is watched by it"
    events.write_text("populated 0\nfrozen 0\n")
    # The file of a real one goes with it.
    events.rename(kernel.root / "events")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stale, "_is_populated", lambda found: False)
        assert [each["why"] for each in session.prune(settings, now=NOW)] == [session.GONE]
    assert not Path(place.directory).exists() and not kernel.loaded


def test_watches_whose_pins_somebody_removed_are_told(settings: Settings, kernel: Kernel) -> None:
    begin(settings, kernel, "one")
    kernel.unload()
    (summary,) = session.prune(settings, now=NOW)
    assert (summary["why"], summary["counters"]) == (session.UNLOADED, None)
    assert session.entries(settings) == []


def test_notes_that_were_cut_short_are_kept_while_somebody_is_watched(settings: Settings, kernel: Kernel) -> None:
    entry = begin(settings, kernel)
    path = Path(session.directory(settings)) / f"{entry['slot']}.json"
    path.write_text("{")
    table = kernel.loaded[settings.watch_pin_dir]["watches"]
    key = wire.KEY.pack(entry["slot"])
    fields = list(wire.WATCH.unpack(table.values[key]))
    fields[6] = 1  # threads
    table.values[key] = wire.WATCH.pack(*fields)
    assert session.prune(settings, now=NOW) == [] and kernel.live() == [entry["epoch"]]
    fields[6] = 0
    table.values[key] = wire.WATCH.pack(*fields)
    assert [each["why"] for each in session.prune(settings, now=NOW)] == [session.LEFT]
    assert not kernel.loaded and session.entries(settings) == []


def acts_of(kernel: Kernel, what: Callable[[], object]) -> int:
    kernel.acts.live()
    what()
    return kernel.acts.count


def is_whole(settings: Settings, kernel: Kernel) -> bool:
    """Either nothing of a watch is there, or all of it."""
    entries = session.entries(settings)
    if not entries:
        return not kernel.loaded
    return [each["epoch"] for each in entries if each["live"]] == kernel.live() and kernel.targets() == len(entries)


def test_a_begin_that_is_killed_anywhere_leaves_nothing_or_all(settings: Settings, kernel: Kernel) -> None:
    count = acts_of(kernel, lambda: begin(settings, kernel))
    session.end(settings, container_id="web-id", bundle="", now=NOW)
    assert count > 6
    seen = set()
    for last in range(1, count + 1):
        kernel.acts.live(last)
        with pytest.raises(Killed):
            begin(settings, kernel)
        kernel.acts.live()
        seen.add((len(session.entries(settings)), len(kernel.live())))
        session.prune(settings, now=NOW)
        assert session.entries(settings) == [] and not kernel.loaded, last
        assert begin(settings, kernel)["live"]
        session.end(settings, container_id="web-id", bundle="", now=NOW)
        assert is_whole(settings, kernel)
    assert {(0, 0), (1, 0), (1, 1)} <= seen, "the kills were not where they were meant to be"


def test_an_end_that_is_killed_anywhere_is_ended_by_the_next(settings: Settings, kernel: Kernel) -> None:
    begin(settings, kernel)
    count = acts_of(kernel, lambda: session.end(settings, container_id="web-id", bundle="", now=NOW))
    assert count > 4
    for last in range(1, count + 1):
        entry = begin(settings, kernel)
        kernel.acts.live(last)
        with pytest.raises(Killed):
            session.end(settings, container_id="web-id", bundle="", now=NOW)
        kernel.acts.live()
        if kernel.live():
            assert session.entries(settings) == [entry], "watched, and nobody knows of it"
        else:
            session.prune(settings, now=NOW)
            assert session.entries(settings) == [] and not kernel.loaded
        session.end(settings, container_id="web-id", bundle="", now=NOW)
        assert is_whole(settings, kernel) and not kernel.loaded


def test_of_watches_that_are_over_the_last_are_kept(
    settings: Settings, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summaries, "MOST", 3)
    for number in range(5):
        begin(settings, kernel, f"c{number}")
        session.end(settings, container_id=f"c{number}-id", bundle="", now=NOW + number)
    assert [each["container"]["name"] for each in session.ended(settings)] == ["c2", "c3", "c4"]


def test_machines_can_be_given_instead_of_a_policy(settings: Settings, kernel: Kernel) -> None:
    made = machine.machines_of(policy(), machine=os.uname().machine)
    assert begin(settings, kernel, policy=None, machines=made)["live"]
