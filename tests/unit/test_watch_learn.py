"""`scmm-watch --learn`: what alerts tell becomes a policy that, merged, allows just that."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from watch_events import HOSTILE, alert, entry
from watch_kernel import Kernel, begin, installed, settings_in

from scmm_oci.cli import main as programs
from scmm_oci.cli import watch_learnt
from scmm_oci.errors import BadInput, Failure
from scmm_oci.policy import document
from scmm_oci.policy.machine import Machine
from scmm_oci.policy.merge import union
from scmm_oci.policy.model import Policy
from scmm_oci.tables.arch import Arch
from scmm_oci.watch import learnt, session, wire, words

HEAD = 'version: "1.0"\nmetadata: {name: web}\nsettings: {default_action: deny, run_as: {uid: 7, gid: 8}}\n'
CALLS = "syscalls:\n  - {names: [read, write, openat, close, brk], action: allow}\n"
REST = "capabilities: [CAP_CHOWN]\nnetwork:\n  outbound: [{protocol: tcp, ports: [80]}]\n"
FLAT = "transitions: {start: [brk], brk: [openat], openat: [read, close], read: [read, close]}\n"
FINE = "transitions: {start:exec: [brk], brk: [openat:read], openat:read: [read], read: [close]}\n"
DEEP = FINE.rstrip("}\n") + ", brk > openat:read: [read]}\n"
PHASES = FINE + "serving: {from: [listen], transitions: {read: [read, write], write: [close]}}\nwatch: kill\n"
WORDS = ("read", "write", "close", "brk", "openat:read", "openat:write")


@pytest.fixture(autouse=True)
def x86_64(monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers here are those of x86_64, wherever it runs."""
    monkeypatch.setattr(words, "ARCHES", {os.uname().machine: wire.ARCHES["x86_64"]})


def policy(order: str, rest: str = REST) -> Policy:
    return document.parse((HEAD + CALLS + rest + order).encode())


def event(**fields: Any) -> dict[str, Any]:
    return words.event(alert(**{"state": "read", "to": "write", **fields}), entry(), offset=0)


def learn(given_: Policy, *events: dict[str, Any]) -> learnt.Delta:
    return learnt.delta(given_, events, names=["web"])


def again(made: learnt.Delta) -> Policy:
    """What is read of the file that is written."""
    return document.parse(learnt.text(made))


def codes(made: learnt.Delta) -> list[str]:
    return [each.code for each in made.findings]


@pytest.mark.parametrize("order", [FLAT, FINE, DEEP, PHASES, PHASES.partition("\n")[2] + FLAT])
@given(
    tells=st.lists(
        st.tuples(
            st.sampled_from([None, *WORDS]),
            st.sampled_from([*WORDS, "start:exec", "signal"]),
            st.sampled_from(WORDS),
            st.booleans(),
        ),
        max_size=4,
    )
)
def test_merged_it_allows_what_alerts_tell_and_nothing_else(
    order: str, tells: list[tuple[str | None, str, str, bool]]
) -> None:
    before = policy(order)
    told = [
        (None if earlier == state or state in ("start:exec", "signal") else earlier, state, to, serving)
        for earlier, state, to, serving in tells
    ]
    made = learn(before, *(event(before=b, state=s, to=t, serving=p) for b, s, t, p in told))
    merged = union([before, again(made)])
    old, new = Machine.of(before), Machine.of(merged.policy)
    assert old is not None and new is not None and not merged.findings
    for earlier, state, to, serving in told:
        assert new.allows(earlier, state, to, serving=serving)
    # Where the policy tells no classes apart it gets all of them, and without histories, whatever was before.
    flat = "openat:read" not in order
    told_ = {
        (
            b if ">" in order and s != t else None,
            _flat(s) if flat else s,
            _flat(t) if flat else t,
            p and "from" in order,
        )
        for b, s, t, p in told
    }
    for earlier, state, to, serving in product([None, *WORDS], [*WORDS, "start:exec", "signal"], WORDS, [False, True]):
        if old.allows(earlier, state, to, serving=serving) or earlier == state:
            continue
        key = (_flat(state) if flat else state, _flat(to) if flat else to, serving and "from" in order)
        if (None, *key) in told_ and earlier in {b for b, s, _, p in told_ if (s, p) == (key[0], key[2])}:
            continue  # a list of its own goes before what holds whatever was before
        expected = (None, *key) in told_ or (earlier, *key) in told_
        assert new.allows(earlier, state, to, serving=serving) == expected, (earlier, state, to, serving)
    alone = union([before]).policy
    kept = {"transitions": None, "serving": None, "metadata": alone.metadata}
    assert replace(merged.policy, **kept) == replace(alone, **kept)


def _flat(word: str) -> str:
    return "start" if word.startswith("start:") else word.partition(":")[0]


def test_words_are_as_fine_as_the_policys() -> None:
    told = event(before="brk", state="openat:read", to="openat:write")
    assert [str(each).partition("  #")[0] for each in learn(policy(FLAT), told).steps] == [
        "transitions: openat: [openat]"
    ]
    assert [str(each).partition("  #")[0] for each in learn(policy(FINE), told).steps] == [
        "transitions: openat:read: [openat:write]"
    ]
    assert [str(each).partition("  #")[0] for each in learn(policy(DEEP), told).steps] == [
        "transitions: brk > openat:read: [openat:write]"
    ]
    (step,) = learn(policy(PHASES), event(state="write", to="write", serving=True)).steps
    assert str(step).startswith("serving.transitions: write: [write]  # 1× by '/usr/sbin/nginx': write(")


def test_what_the_policy_has_by_now_is_left_out() -> None:
    told = event(before="brk", state="openat:read", to="close")
    made = learn(policy(FINE), told, told)
    assert [(each.key, each.to, each.count) for each in made.steps] == [("openat:read", "close", 2)]
    assert learn(union([policy(FINE), made.policy]).policy, told).steps == ()


def test_what_no_step_can_say_is_told() -> None:
    cases = {
        "never-right": event(kind="no-handler", to="rt_sigreturn"),
        "other-abi": event(kind="no-machine", abi=1, state=None, to=11),
        "past-not-known": event(state="any", to="execve"),
        "unnamed-call": event(to=540),
    }
    for code, told in cases.items():
        made = learn(policy(FINE), told)
        assert made.steps == () and codes(made) == [code], code
        assert "note:" in learnt.text(made).decode()
    assert learn(policy(FINE), event(kind="left", to=None, state=None)).findings == ()
    over = words.over(entry(ended_at="2023-11-14T22:13:20Z", why="x", counters={"unreported": 4}))
    (missed,) = learn(policy(FINE), words.gap(entry(), 3), over).findings
    assert (missed.code, missed.message) == ("alerts-missed", "7 more violations have no alert here")


def test_dangers_and_calls_that_are_refused_are_told() -> None:
    made = learn(policy(FINE), event(to="execve"), event(to="openat:write"), event(to="brk"))
    assert codes(made) == ["call-not-allowed"] and "refuse execve;" in made.findings[0].message
    assert {each.to: each.guarded for each in made.steps} == {"execve": True, "openat:write": True, "brk": False}
    assert sum("what attacks are after" in line for line in learnt.text(made).decode().splitlines()) == 2


def test_what_a_container_chose_steers_nothing() -> None:
    made = learn(policy(FINE), event(comm=b"\x1b[2J", path=b"\n- x: #\x1b[2J"))
    assert all(str(each).isprintable() for each in made.steps)
    assert "\x1b" not in learnt.text(made).decode() and again(made) == made.policy


# The command line.


def written(path: Path, *events: dict[str, Any]) -> str:
    path.write_text("".join(f"{json.dumps(each)}\n" for each in events))
    return str(path)


@pytest.fixture
def given_policy(tmp_path: Path) -> str:
    path = tmp_path / "web.scmm.yaml"
    path.write_text(HEAD + CALLS + REST + FINE)
    return str(path)


def test_from_a_file_without_root(
    tmp_path: Path, given_policy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    lines = written(tmp_path / "alerts", words.begun(entry()), event(), event(state="brk", to="close"))
    summary = [{**words.over(entry(ended_at="2023-11-14T22:13:20Z", why="x")), "events": [event(), event()]}]
    (tmp_path / "ended").write_text(json.dumps(summary, indent=1))
    first, second = str(tmp_path / "first.scmm.yaml"), str(tmp_path / "second.scmm.yaml")
    assert programs.watch(["--learn", first, "-p", given_policy, "--events", lines, "--json"]) == 0
    out, err = capsys.readouterr()
    assert [(each["key"], each["to"], each["count"]) for each in json.loads(out)] == [
        ("brk", "close", 1),
        ("read", "write", 1),
    ]
    assert f"scmm merge {given_policy} {first} -o NEW" in err
    assert programs.watch(["--learn", second, "-p", given_policy, "--events", str(tmp_path / "ended"), "web"]) == 0
    assert [each.key for each in document.read(second).transitions or ()] == ["read"]
    new = str(tmp_path / "new.scmm.yaml")
    assert programs.merge([given_policy, first, second, "-o", new]) == 0
    merged = Machine.of(document.read(new), Arch.X86_64)
    assert merged is not None and merged.allows(None, "read", "write") and not merged.allows(None, "read", "brk")
    capsys.readouterr()
    # Written anew; and with the merged policy nothing is left to learn.
    assert programs.watch(["--learn", second, "-p", given_policy, "--events", lines]) == 0
    before = Path(second).read_bytes()
    assert programs.watch(["--learn", second, "-p", new, "--events", lines]) == 0
    assert "has every step" in capsys.readouterr().err and Path(second).read_bytes() == before


def test_what_is_wrong_is_told_and_nothing_written(tmp_path: Path, given_policy: str) -> None:
    other = {**event(), "policy": {"name": "redis", "digest": "e" * 64}}
    bad = written(tmp_path / "bad", event(), {"type": "alert"})
    with open(bad, "a") as file:
        file.write("{\n")
    cases = [
        (bad, None, BadInput, "line 2"),
        (bad, None, BadInput, "line 3: is no JSON"),
        (written(tmp_path / "two", event(), other), None, Failure, "several policies: nginx, redis"),
        (written(tmp_path / "one", event()), "weeb", Failure, "there are no alerts of 'weeb' (did you mean 'web'?)"),
        (written(tmp_path / "none", words.begun(entry())), None, Failure, "there are no alerts"),
    ]
    output = tmp_path / "delta.scmm.yaml"
    for events, container, error, text in cases:
        with pytest.raises(error) as raised:
            watch_learnt.from_file(events, policy=given_policy, output=str(output), container=container, as_json=False)
        assert text in str(raised.value) and not output.exists()
    one = str(tmp_path / "one")
    kept = Path(given_policy).read_bytes()
    for target, text in ((given_policy, "is an input too"), (bad, "is not what scmm-watch --learn has written")):
        with pytest.raises(BadInput, match=text):
            watch_learnt.from_file(one, policy=given_policy, output=target, container=None, as_json=False)
    assert Path(given_policy).read_bytes() == kept
    plain = tmp_path / "plain.scmm.yaml"
    plain.write_text(HEAD + CALLS)
    with pytest.raises(BadInput, match="scmm extract --transitions"):
        watch_learnt.from_file(one, policy=str(plain), output=str(output), container=None, as_json=False)


def test_from_the_watches_of_this_host(
    tmp_path: Path, given_policy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kernel: Kernel = installed(tmp_path, monkeypatch)
    settings = settings_in(tmp_path)
    output = tmp_path / "delta.scmm.yaml"

    def go(container: str | None = None) -> int:
        return watch_learnt.from_host(
            settings, policy=given_policy, output=str(output), container=container, as_json=False
        )

    with pytest.raises(Failure, match="there are no alerts"):
        go()
    made = begin(settings, kernel)
    kernel.violate(made, wire.ALERTS + 2, state="read", to="write")
    assert go("web") == 0
    err = capsys.readouterr().err
    assert f"transitions: read: [write]  # {wire.ALERTS}×" in err and "2 more violations have no alert here" in err
    session.finish(settings, made, now=1_700_000_001.0, why=session.STOPPED)
    assert go() == 0 and f"transitions: read: [write]  # {wire.ALERTS}×" in capsys.readouterr().err
    with pytest.raises(Failure, match="there are some of: web"):
        go("zzzzzz")


@pytest.mark.parametrize(
    ("words_", "text"),
    [
        (["--learn", "x"], "--learn needs the policy that was watched: -p POLICY."),
        (["--learn", "x", "-p", "y", "--follow"], "--learn and --follow do not go together: give one."),
        (["--learn", "x", "-p", "y", "--action", "kill"], "--action does not go with --learn."),
        (["--list", "--events", "x"], "--events does not go with --list."),
    ],
)
def test_what_does_not_go_together(words_: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert programs.watch(words_) == 2
    assert text in capsys.readouterr().err.splitlines()[-1]


def test_names_that_a_container_chose_are_printable(tmp_path: Path, given_policy: str) -> None:
    told = {**event(), "container": {"id": "a" * 64, "name": HOSTILE, "engine": None}}
    events = written(tmp_path / "alerts", told)
    with pytest.raises(Failure) as raised:
        watch_learnt.from_file(events, policy=given_policy, output="/x", container="web", as_json=False)
    assert str(raised.value).isprintable()
