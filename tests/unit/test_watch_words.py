"""Alerts and the rest as events and as lines: what is said, in which keys, and that nothing steers a terminal."""

from __future__ import annotations

import json
import os
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from watch_events import HOSTILE, alert, entry

from scmm_oci.fastschema import load
from scmm_oci.tables import states
from scmm_oci.watch import wire, words

OFFSET = 1_700_000_000_000_000_000


@pytest.fixture(autouse=True)
def x86_64(monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers here are those of x86_64, wherever it runs."""
    monkeypatch.setattr(words, "ARCHES", {os.uname().machine: wire.ARCHES["x86_64"]})


def event(**fields: Any) -> dict[str, Any]:
    return words.event(alert(**fields), entry(), offset=OFFSET)


def said(**fields: Any) -> str:
    return words.line(event(**fields))


def check(told: dict[str, Any]) -> dict[str, Any]:
    """It is what the schema says, also after JSON."""
    again: dict[str, Any] = json.loads(json.dumps(told))
    jsonschema.Draft202012Validator(load("watch-event")).validate(again)
    return again


def test_an_alert_has_all_there_is_to_know() -> None:
    assert check(event(before="accept4", done="kill", serving=True)) == {
        "type": "alert",
        "watch": 77,
        "container": {"id": "4f" * 32, "name": "web", "engine": "podman"},
        "policy": {"name": "nginx", "digest": "d" * 64},
        "time": "2023-11-14T22:13:21.500Z",
        "seq": 1,
        "kind": "edge",
        "done": "kill",
        "phase": "serving",
        "arch": "x86_64",
        "edge": {"before": "accept4", "from": "read", "to": "execve"},
        "call": {
            "name": "execve",
            "number": 59,
            "args": [0x1000, 0x2000, 0, 0, 0, 0],
            "words": "execve(0x1000, 0x2000, NULL)",
        },
        "recent": ["openat:read", "read"],
        "process": {
            "pid": 4711,
            "tid": 4712,
            "pid_inside": 1,
            "started_ns": 900,
            "comm": "nginx",
            "executable": "/usr/sbin/nginx",
        },
    }


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "execve(0x1000, 0x2000, NULL) after read"),
        ({"done": "kill"}, "execve(0x1000, 0x2000, NULL) after read: killed"),
        ({"done": "freeze"}, "execve(0x1000, 0x2000, NULL) after read: stopped"),
        ({"done": "failed"}, "execve(0x1000, 0x2000, NULL) after read: the kernel did not take the signal"),
        ({"before": "accept4"}, "execve(0x1000, 0x2000, NULL) after accept4 and read"),
        ({"before": "any"}, "execve(0x1000, 0x2000, NULL) after read"),
        ({"serving": True}, "execve(0x1000, 0x2000, NULL) after read, while it serves"),
        ({"state": "start:exec"}, "execve(0x1000, 0x2000, NULL) as the first call of a program"),
        ({"state": "start:fork"}, "execve(0x1000, 0x2000, NULL) as the first call of a new process"),
        ({"state": "start:thread"}, "execve(0x1000, 0x2000, NULL) as the first call of a new thread"),
        ({"state": "signal"}, "execve(0x1000, 0x2000, NULL) as the first call of a signal handler"),
        ({"state": "foreign"}, "execve(0x1000, 0x2000, NULL) after a call of another ABI"),
        ({"state": "any"}, "execve(0x1000, 0x2000, NULL) though nothing leads there"),
        ({"kind": "no-handler", "to": "rt_sigreturn"}, "rt_sigreturn() outside of any signal handler"),
        (
            {"to": "openat:write", "args": (0xFFFFFF9C, 0x10, 0o1101, 0o600, 0, 0)},
            "openat(AT_FDCWD, 0x10, O_WRONLY|O_CREAT|O_TRUNC, 0600) after read",
        ),
        ({"to": "socket:inet", "args": (2, 1, 0, 0, 0, 0)}, "socket(AF_INET, SOCK_STREAM, IPPROTO_IP) after read"),
        ({"kind": "left", "to": None, "state": None}, "has moved out of the watched cgroup"),
        ({"to": 540, "state": "read"}, "x86_64 call 540(0x1000, 0x2000, 0, 0, 0, 0) after read"),
    ],
)
def test_an_alert_in_words(fields: dict[str, Any], text: str) -> None:
    told = event(**fields)
    check(told)
    assert words.what(told) + words.done(told) == text
    assert words.line(told) == (f'web: 22:13:21.500 "/usr/sbin/nginx" (4711, thread 4712): {text} [openat:read → read]')


def test_a_call_of_32_bits_is_named_in_its_own_table() -> None:
    x86 = states.numbers("x86")
    wide = tuple(0xFFFF_0000_0000_0000 | each for each in (2, 1, 0, 0, 0, 0))
    told = event(abi=1, to="socket:inet", state="read", args=wide, kind="no-machine", numbers=x86, recent=("read",))
    check(told)
    assert told["arch"] == "x86" and told["call"]["number"] == x86["socket:unix"]
    assert words.what(told) == "x86 socket(AF_INET, SOCK_STREAM, IPPROTO_IP), though the policy says nothing of x86"


def test_what_a_process_calls_itself_is_told_where_it_is_another_name() -> None:
    assert "calls itself" not in said()
    assert '(4711, thread 4712, calls itself "sshd")' in said(comm=b"sshd")
    assert "a program without a name (4711" in said(path=b"", whole=False)
    assert '"…/sbin/nginx"' in said(path=b"nginx/sbin/", whole=False)


def test_names_that_a_container_chooses_cannot_steer_a_terminal() -> None:
    hostile = HOSTILE.encode()
    told = event(comm=hostile[:15], path=hostile + b"/tmp/")
    assert check(told)["process"]["executable"] == f"/tmp/{HOSTILE}"
    line = words.line(told)
    assert line.isprintable() and "\\x1b]0;owned\\x07\\u202e\\n\\\"';$(id)" in line
    for each in (words.gap, words.froze, words.over, words.begun):
        given = entry(container={"id": "x", "name": HOSTILE, "engine": None}, policy={"name": HOSTILE, "digest": ""})
        more = {words.gap: [2], words.froze: [HOSTILE]}.get(each, [])
        if each is words.over:
            given |= {"ended_at": given["started_at"], "why": HOSTILE, "counters": None}
        event_ = each(given, *more)
        check(event_)
        assert words.line(event_).isprintable()


@given(st.binary(max_size=15), st.binary(max_size=wire.PATH), st.booleans())
def test_whatever_bytes_there_are_a_line_is_one_printable_line(comm: bytes, path: bytes, whole: bool) -> None:
    told = event(comm=comm, path=path, whole=whole)
    check(told)
    assert words.line(told).isprintable() and json.loads(json.dumps(told)) == told


def test_the_rest_in_words() -> None:
    assert words.line(words.gap(entry(), 1)) == "web: 1 alert overwritten before it was read"
    assert words.line(words.gap(entry(), 5)) == "web: 5 alerts overwritten before they were read"
    assert words.line(words.begun(entry())) == "web: watched since 2023-11-14T22:13:20Z, with the policy nginx: alert"
    assert words.line(words.froze(entry(), None)) == "web: frozen; let it go on: scmm-watch --thaw web"
    assert words.line(words.froze(entry(), "why")) == "web: stopped, but its cgroup is not frozen: why"
    for counters, text in (
        (None, "what it saw is not known"),
        ({}, "no violation"),
        ({"violations": 1, "alerts": 1, "kills": 1}, "1 violation, 1 kill"),
        ({"violations": 300, "unreported": 284, "left": 1}, "300 violations, 284 violations without an alert"),
    ):
        summary = entry(ended_at="2023-11-14T22:13:21Z", why="the container has ended", counters=counters)
        check(words.over(summary))
        assert words.line(words.over(summary)).startswith(f"web: the watch is over: the container has ended; {text}")


def test_a_container_without_a_name_is_called_by_its_id() -> None:
    told = words.gap(entry(container={"id": "ab" * 32, "name": "", "engine": None}), 1)
    assert words.line(told).startswith("abababababab: ")


def test_what_is_counted_is_what_the_kernel_counts() -> None:
    assert {name for name, _, _ in words.COUNTED} <= set(wire.COUNTERS)
    assert set(words._DONE) == set(wire.DONE)
