"""`scmm-watch` on commands: what is told, what is done, and what is left, whoever is killed meanwhile."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from recording import state_of
from support import Hooks
from watched import ARCH, Watcher, build, left, policy

from rig.process import wait_until
from scmm_oci.fastschema import load
from scmm_oci.kernel import cgroup
from scmm_oci.watch import session
from scmm_oci.watch.follow import Follower

HOSTILE = "\x1b[31m\u202ered\n"
# `write` after `getpid`: the policy has both, and does not have this order.
WRONG = ("getuid", "getpid", "w")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("steps"))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return policy(tmp_path_factory.mktemp("policy") / "steps.scmm.yaml")


@pytest.fixture
def watcher(hooks: Hooks, tmp_path: Path, program: Path, compiled: Path) -> Iterator[Watcher]:
    work = tmp_path / "work"
    work.mkdir(mode=0o755)
    yield Watcher(hooks, work, program, compiled)
    assert left(hooks) == []


def events(text: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    for each in found:
        jsonschema.Draft202012Validator(load("watch-event")).validate(each)
    return found


def test_what_is_in_order_is_not_told(watcher: Watcher, capfd: pytest.CaptureFixture[str]) -> None:
    assert watcher.here(*watcher.of("getuid", "getpid", "getuid")) == 0
    out, err = capfd.readouterr()
    assert (out, err) == ("", "steps: the watch is over: the command has ended; no violation\n")
    assert watcher.here(*watcher.of("getuid", "getpid", options=["-q"])) == 0
    assert capfd.readouterr() == ("", "")


def test_a_wrong_call_is_told_and_made(watcher: Watcher, capfd: pytest.CaptureFixture[str]) -> None:
    assert watcher.here(*watcher.of(*WRONG, options=["--json"])) == 0
    out, err = capfd.readouterr()
    assert out == "."
    begun, alert, ended = events(err)
    assert (begun["type"], begun["action"]) == ("watching", "alert")
    assert alert["container"] == {**begun["container"], "name": "steps", "engine": "command"}
    assert (alert["kind"], alert["done"], alert["phase"], alert["arch"]) == ("edge", "none", "startup", str(ARCH))
    assert alert["edge"] == {"before": "getuid", "from": "getpid", "to": "write"}
    assert alert["call"]["words"].startswith("write(1, 0x") and alert["call"]["args"][2] == 1
    assert alert["recent"] == ["getuid", "getpid", "write"]
    process = alert["process"]
    assert (process["comm"], process["executable"]) == ("steps", str(watcher.program))
    assert process["pid"] == process["tid"] > 0 and process["pid_inside"] > 0
    assert abs(time.time() - _seconds(alert["time"])) < 60
    assert ended["counters"]["violations"] == ended["counters"]["alerts"] == 1
    assert ended["why"] == session.OVER
    (kept,) = session.ended(watcher.hooks.settings)
    assert kept["events"] == [alert]


def _seconds(text: str) -> float:
    import datetime

    return datetime.datetime.fromisoformat(text).timestamp()


def test_nothing_is_done_after_a_call_that_is_killed(watcher: Watcher, capfd: pytest.CaptureFixture[str]) -> None:
    assert watcher.here(*watcher.of(*WRONG, "w", options=["--action", "alert"])) == 0
    assert capfd.readouterr().out == "..", "the control"
    assert watcher.here(*watcher.of(*WRONG, "w", options=["--action", "kill"])) == 128 + 9
    out, err = capfd.readouterr()
    assert len(out) < 2, "the call itself may be made: the signal is seen when it waits, or returns"
    assert "after getuid and getpid: killed [getuid → getpid → write]\n" in err
    assert err.endswith("1 violation, 1 kill\n")


def test_the_policy_says_what_is_done(watcher: Watcher, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = policy(tmp_path / "kills.scmm.yaml", action="kill")
    command = ["--", str(watcher.program), *watcher.of(*WRONG)[4:]]
    assert watcher.here("-p", str(path), *command) == 128 + 9
    assert watcher.here("-p", str(path), "--action", "count", *command) == 0
    out, err = capfd.readouterr()
    assert out == "." and err.count("after getuid and getpid") == 1, "what is counted is not told"


def test_what_is_no_program_is_not_watched(watcher: Watcher, capfd: pytest.CaptureFixture[str]) -> None:
    assert watcher.here("-p", str(watcher.policy), "--", "./nosuch") == 127
    assert watcher.here("-p", str(watcher.policy), "--", str(watcher.policy)) == 126
    err = capfd.readouterr().err
    assert "there is no such program" in err and "Permission denied" in err
    assert left(watcher.hooks) == []


def test_where_nothing_can_be_pinned_nothing_runs(watcher: Watcher, capfd: pytest.CaptureFixture[str]) -> None:
    config = watcher.hooks.layout.config
    config.write_text(json.dumps({**json.loads(config.read_text()), "watch_pin_dir": str(watcher.directory / "pins")}))
    assert watcher.here(*watcher.of("w")) == 125
    out, err = capfd.readouterr()
    assert out == "" and f"mount -t bpf bpf {watcher.directory}" in err
    assert session.entries(watcher.hooks.settings) == []


def test_names_cannot_steer_a_terminal(watcher: Watcher, capfd: pytest.CaptureFixture[str]) -> None:
    hostile = watcher.directory / HOSTILE
    shutil.copy(watcher.program, hostile)
    assert watcher.here("-p", str(watcher.policy), "--", str(hostile), *watcher.of(*WRONG)[4:]) == 0
    err = capfd.readouterr().err
    assert "\\x1b[31m\\u202ered\\n" in err
    assert all(line.isprintable() for line in err.splitlines()) and len(err.splitlines()) == 2


def test_the_command_is_the_users(watcher: Watcher, capfd: pytest.CaptureFixture[str]) -> None:
    nobody = pwd.getpwnam("nobody")
    everything = policy(watcher.directory / "any.scmm.yaml", {"start": ["read"]}, action="count")
    options = ["-p", str(everything), "-q", "--user", "nobody"]
    assert watcher.here(*options, "--", "sh", "-c", "id -u; cat /proc/self/cgroup; exit 7") == 7
    uid, *cgroups = capfd.readouterr().out.split()
    assert int(uid) == nobody.pw_uid and any("/scmm-watch-" in each for each in cgroups)


def test_signals_are_passed_on(watcher: Watcher) -> None:
    with watcher.start(*watcher.of("r", "w"), stdin=subprocess.PIPE) as process:
        entry = watcher.entry()
        watcher.await_reading(entry)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + 15


def test_a_watch_needs_nobody_who_runs(watcher: Watcher) -> None:
    """The watcher is killed: the kernel kills all the same, and whoever comes next cleans up."""
    calls = watcher.of("getpid", "r", "w", "w", options=["--action", "kill"])
    with watcher.start(*calls, stdin=subprocess.PIPE) as process:
        entry = watcher.entry()
        watcher.await_reading(entry)
        place = watcher.directory_of(entry)
        process.kill()
        process.wait(30)
        assert state_of(entry["pid"]) == "S"
        pidfd = os.pidfd_open(entry["pid"])
        process.stdin.write("x")
        process.stdin.flush()
        wait_until(lambda: state_of(entry["pid"]) in "XZ", deadline_s=30, what="the program is dead")
        os.close(pidfd)
        assert len(process.stdout.read()) < 2
    wait_until(lambda: "populated 0" in (place / "cgroup.events").read_text(), deadline_s=30, what="an empty cgroup")
    assert left(watcher.hooks) != [] and place.is_dir()
    assert watcher.here("--list") == 0
    assert not place.exists()
    (summary,) = session.ended(watcher.hooks.settings)
    assert summary["counters"]["kills"] == 1 and summary["events"][0]["done"] == "kill"


def test_what_outlives_its_command_is_waited_for(watcher: Watcher) -> None:
    with watcher.start(*watcher.of("c", "getpid", "r", "w"), stdin=subprocess.PIPE) as process:
        line = process.stderr.readline()
        assert line == "the command has ended, and 1 process of it go on, watched; Ctrl-C leaves them so\n"
        process.stdin.write("x")
        process.stdin.close()
        assert process.wait(30) == 0
        assert process.stdout.read() == "." and "after getpid and read" in process.stderr.read()


def test_who_does_not_wait_leaves_it_watched(watcher: Watcher, capfd: pytest.CaptureFixture[str]) -> None:
    options = ["--no-wait", "--action", "kill"]
    with watcher.start(*watcher.of("c", "getpid", "r", "w", "w", options=options), stdin=subprocess.PIPE) as process:
        assert process.wait(30) == 0
        entry = watcher.entry()
        # What goes on has its standard error, too.
        line = process.stderr.readline()
        assert line == f"what goes on is watched: scmm-watch --follow {entry['container']['id']}\n"
        assert watcher.here("--list", "--json") == 0
        (row,) = json.loads(capfd.readouterr().out)
        assert (row["state"], row["threads"], row["action"]) == ("watching", 1, "kill")
        process.stdin.write("x")
        process.stdin.close()
        assert len(process.stdout.read()) < 2
    directory = watcher.directory_of(entry)
    wait_until(lambda: "populated 0" in (directory / "cgroup.events").read_text(), deadline_s=30, what="its end")
    assert watcher.here("--list") == 0
    assert "1 violation, 1 kill" in capfd.readouterr().err


def follower(watcher: Watcher) -> Follower:
    return Follower(watcher.hooks.settings, wanted=lambda entry: True, clock=time.time_ns, monotonic=time.monotonic_ns)


def test_followers_see_the_same_and_take_nothing(watcher: Watcher) -> None:
    one, other = follower(watcher), follower(watcher)
    with watcher.start(*watcher.of("r", "w", "r", "w"), stdin=subprocess.PIPE) as process:
        watcher.entry()
        with watcher.start("--follow", "--json") as killed, watcher.start("--follow", "steps", "--json") as third:
            for each in (killed, third):
                assert json.loads(each.stdout.readline())["type"] == "watching"
            process.stdin.write("x")
            process.stdin.flush()
            first = json.loads(third.stdout.readline())
            assert json.loads(killed.stdout.readline()) == {**first, "time": first["time"]}
            killed.kill()
            process.stdin.write("x")
            process.stdin.close()
            assert process.wait(30) == 0
            told = [first, *map(json.loads, third.stdout)]
            assert third.wait(30) == 0, "what it followed is over"
    assert [each.get("seq") for each in told] == [1, 2, None] and told[-1]["type"] == "ended"
    told = [[each["type"] for each in seen.poll()] for seen in (one, other)]
    assert told == [["watching", "alert", "alert", "ended"]] * 2
    one.close()
    other.close()


def test_what_is_frozen_goes_on_when_it_is_let(watcher: Watcher, capfd: pytest.CaptureFixture[str]) -> None:
    calls = watcher.of("getpid", "r", "getuid", "getpid", "w", options=["--action", "freeze", "--json"])
    with watcher.start(*calls, stdin=subprocess.PIPE) as process:
        entry = watcher.entry()
        control = watcher.directory_of(entry) / "cgroup.freeze"
        assert control.read_text() == "0\n"
        process.stdin.write("x")
        process.stdin.close()
        wait_until(lambda: control.read_text() == "1\n", deadline_s=30, what="a frozen cgroup")
        assert watcher.here("--list", "--json") == 0
        assert json.loads(capfd.readouterr().out)[0]["state"] == "frozen"
        assert watcher.here("--stop", "steps") == 1
        assert "let it go on first: scmm-watch --thaw steps" in capfd.readouterr().err
        assert process.poll() is None
        assert watcher.here("--thaw", "steps") == 0
        assert process.wait(30) == 0
        assert process.stdout.read() == "."
        told = [each["type"] for each in events(process.stderr.read())]
        assert told == ["watching", "alert", "frozen", "ended"]


def test_what_is_frozen_can_be_ended(watcher: Watcher) -> None:
    with watcher.start(*watcher.of("getpid", "w", options=["--action", "freeze"])) as process:
        control = watcher.directory_of(watcher.entry()) / "cgroup.freeze"
        wait_until(lambda: control.read_text() == "1\n", deadline_s=30, what="a frozen cgroup")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + 9
        assert "it is stopped by a violation, and so it is killed" in process.stderr.read()


def test_metrics_are_given_meanwhile(watcher: Watcher) -> None:
    calls = watcher.of("getpid", "w", "r", options=["--metrics", "127.0.0.1:0"])
    with watcher.start(*calls, stdin=subprocess.PIPE) as process:
        url = next(line.split()[1] for line in process.stderr if line.startswith("metrics: "))

        def violations() -> bool:
            with urllib.request.urlopen(url, timeout=30) as answer:
                text = answer.read().decode()
            line = next(line for line in text.splitlines() if line.startswith("scmm_watch_violations_total{"))
            assert 'container="steps",engine="command",id="scmm-watch-' in line and 'policy="steps"' in line
            return line.endswith(" 1.0")

        wait_until(violations, deadline_s=30, what="a violation in the metrics")
        process.stdin.close()
        assert process.wait(30) == 3


def test_where_metrics_cannot_be_given_nothing_runs(watcher: Watcher, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert watcher.here(*watcher.of("w", options=["--metrics", f"127.0.0.1:{port}"])) == 125
    out, err = capfd.readouterr()
    assert out == "" and "metrics cannot be given at" in err
    assert left(watcher.hooks) == []


def test_a_command_in_a_cgroup_that_is_watched_is_refused(
    watcher: Watcher, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The child cgroup of a watched one belongs to that watch."""
    with watcher.start(*watcher.of("r"), stdin=subprocess.PIPE) as process:
        entry = watcher.entry()
        with monkeypatch.context() as patch:
            patch.setattr(cgroup, "memberships", lambda pid: [(0, (), entry["cgroup"]["path"])])
            assert watcher.here(*watcher.of("w")) == 125
        out, err = capfd.readouterr()
        assert out == "" and "steps is watched already, with the policy 'steps', since " in err
        assert watcher.entries() == [entry]
        assert not [each for each in watcher.directory_of(entry).iterdir() if each.is_dir()]
        process.stdin.close()
        assert process.wait(30) == 3
