"""Where the connection to a monitor goes among a caller's descriptors, who is asked, and what the monitor is told."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scmm_oci.compiled import polfile
from scmm_oci.compiled.policy_file import policy_file
from scmm_oci.enforcer import admits, bundle, handing, shim_exec, shim_settings
from scmm_oci.enforcer.place import Lost
from scmm_oci.oci import runtime_argv
from scmm_oci.oci.annotations import MODES
from scmm_oci.oci.runtime_argv import CommandLine
from scmm_oci.policy import document

OPEN = {"default_action": "allow", "bad_arch_action": "allow"}


def line(*words: str, dialect: str = "runc") -> CommandLine:
    return runtime_argv.parse(words, dialect=dialect)


def listening(monkeypatch: pytest.MonkeyPatch, count: str, pid: str = "") -> None:
    monkeypatch.setenv("LISTEN_FDS", count)
    monkeypatch.setenv("LISTEN_PID", pid or str(os.getpid()))


@pytest.mark.parametrize(
    ("dialect", "words", "pid", "number"),
    [
        ("runc", ("run", "x"), "", 5),
        ("runc", ("run", "--preserve-fds=3", "x"), "", 8),
        ("runc", ("create", "--preserve-fds=3", "x"), "1", 6),
        ("runc", ("exec", "--preserve-fds", "3", "x", "true"), "", 6),
        ("crun", ("run", "x"), "1", 5),
        ("crun", ("exec", "--preserve-fds", "3", "x", "true"), "", 8),
    ],
)
def test_it_comes_behind_what_the_runtime_hands_on(
    monkeypatch: pytest.MonkeyPatch, dialect: str, words: Sequence[str], pid: str, number: int
) -> None:
    listening(monkeypatch, "2", pid)
    assert handing.place(line(*words, dialect=dialect)) == number
    monkeypatch.delenv("LISTEN_FDS")
    assert handing.place(line(*words, dialect=dialect)) == 3 + line(*words, dialect=dialect).preserve_fds


@pytest.mark.parametrize("count", ["1x", " 1", "-1", "10000", "١"])
def test_where_it_comes_has_to_be_certain(monkeypatch: pytest.MonkeyPatch, count: str) -> None:
    listening(monkeypatch, count)
    with pytest.raises(ValueError, match="is no plain number"):
        handing.place(line("run", "x"))


def test_a_descriptor_that_the_runtime_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LISTEN_FDS", raising=False)
    for word in ("--pid-file=/dev/fd/3", "--console-socket=/proc/self/fd/3"):
        with pytest.raises(ValueError, match="descriptor 3 is named"):
            handing.place(line("create", word, "x"))
        assert handing.place(line("create", "--preserve-fds=1", word, "x")) == 4
    # What the program gets is read in the container.
    assert handing.place(line("exec", "x", "cat", "/dev/fd/3")) == 3


BECOME = """
import os, resource, sys
from scmm_oci.enforcer import passing
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
reading, writing = os.pipe()
os.write(writing, b"through")
number = int(sys.argv[1])
try:
    passing.become("/bin/bash", ["-c", f"test -e /proc/self/fd/{writing} || cat <&{number}"], {number: reading})
except ValueError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (40, "through"),
        (3, "through"),  # where it is already
        (64, "descriptor 64 cannot be had: Bad file descriptor\n"),
    ],
)
def test_the_runtime_inherits_it_at_its_number_and_nothing_else(number: int, told: str) -> None:
    words = [sys.executable, "-c", BECOME, str(number)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
    # It is closed at the other end once nobody has that any more.
    assert (done.stdout, done.stderr) == (told, "")


@pytest.mark.parametrize("changed", [{"asks": 7}, {"name": None}])
def test_a_plan_that_was_damaged_lets_nobody_in(changed: dict[str, Any]) -> None:
    decided = {"asks": {"id": "x"}, "name": "web", **changed}
    plan = bundle.Plan(launcher_source="", policy_source="", launcher="/l", policy="/p")
    settings = shim_settings.check({"runtimes": {"default": "/bin/true"}, "monitor": "/nothing"})
    inherited: dict[int, int] = {}
    with pytest.raises(Lost, match="is not known any more"):
        shim_exec._asking(settings, line("exec", "x", "true"), plan, decided, inherited)
    # The twin gets as far as the monitor.
    with pytest.raises(ValueError, match="nobody listens at /nothing"):
        shim_exec._asking(settings, line("exec", "x", "true"), plan, {"asks": {}, "name": "web"}, inherited)
    assert inherited == {}


NOTIFIES = [{"names": ["chroot"], "action": "SCMP_ACT_NOTIFY"}]


@pytest.mark.parametrize(
    ("dialect", "seccomp", "annotations", "told"),
    [
        ("runc", {"listenerPath": "/x"}, {}, ""),
        ("runc", {"syscalls": NOTIFIES}, {}, "linux.seccomp.syscalls[0] (SCMP_ACT_NOTIFY)"),
        ("runc", {"defaultAction": "SCMP_ACT_NOTIFY"}, {}, "linux.seccomp.defaultAction (SCMP_ACT_NOTIFY)"),
        ("crun", {"listenerPath": "/x"}, {}, "linux.seccomp.listenerPath"),
        ("crun", {"syscalls": NOTIFIES}, {}, ""),
        ("crun", {}, {"run.oci.seccomp.receiver": "/x"}, "the annotation run.oci.seccomp.receiver"),
        ("runc", {}, {"run.oci.seccomp.receiver": "/x"}, ""),
        ("crun", None, {"run.oci.seccomp.receiver": "/x"}, ""),
    ],
)
def test_who_else_has_a_listener(dialect: str, seccomp: Any, annotations: dict[str, str], told: str) -> None:
    config = {"linux": {"seccomp": seccomp}, "annotations": annotations}
    assert handing.other_listener(line("run", "x", dialect=dialect), config) == told


def test_what_the_monitor_is_told() -> None:
    config = {"ociVersion": "1.2.0", "annotations": {"scmm.policy": "web", "other": "\x1b[31m\ud800"}}
    told, left_out = handing.state(line("run", "x"), config, "/bundle")
    assert (told["id"], told["bundle"], told["annotations"], left_out) == ("x", "/bundle", config["annotations"], "")
    word = handing.word(told)
    assert json.loads(word) == told and word.isascii() and word.isprintable()
    config["annotations"]["long"] = "x" * handing.MOST_STATE
    told, left_out = handing.state(line("run", "x"), config, "/bundle")
    assert told["annotations"] == {"scmm.policy": "web"} and "annotations scmm.* alone" in left_out
    assert "annotations" not in handing.state(line("run", "x"), {}, "/bundle")[0]


# Who is asked


def compiled(action: str, *names: str, arch: str = "x86_64") -> bytes:
    rules = [{"names": list(names), "action": action}] if names else []
    settings = {**OPEN, "arch": arch}
    text = json.dumps({"version": "1.0", "settings": settings, "syscalls": rules, "capabilities": ["CHOWN"]})
    return polfile.write(policy_file(document.parse(text.encode()))[0])


def test_a_policy_that_notifies_asks_and_in_the_mode_ask_all_that_refuse_do() -> None:
    asking = {
        "notify": {"standard", "strict", "seccomp", "ask"},
        "deny": {"ask"},
        "kill": {"ask"},
        "log": set[str](),
    }
    for action, modes in asking.items():
        policy = compiled(action, "mkdir")
        assert {mode for mode in MODES if admits.asks(policy, mode, "x86_64")} == modes, action
    without = compiled("allow")
    assert admits.parts(without) == {admits.IDENTITY}
    assert not any(admits.asks(without, mode, "x86_64") for mode in MODES)


def test_it_is_the_machine_that_counts() -> None:
    policy = compiled("notify", "mkdirat", arch="aarch64")
    assert admits.asks(policy, "standard", "aarch64")
    assert not admits.asks(policy, "standard", "x86_64")
    assert not admits.asks(policy, "standard", "riscv64")


RETURNS = st.sampled_from([0x7FFF0000, 0x7FFC0000, 0x7FFC0001, 0x7FC00000, 0x7FC00007, 0x00050001, 0x80000000, 0x0])
OTHERS = st.sampled_from([(0x20, 0, 0, 0x7FC00000), (0x15, 0, 0, 0x7FC00000), (0x54, 0, 0, 0x7FC00000)])


def framed(*sections: tuple[int, int, bytes]) -> bytes:
    """Sections as docs/formats.md has them, without a digest."""
    table, content = b"", b""
    begin = 64 + 24 * len(sections)
    for kind, number, data in sections:
        table += struct.pack("<IIQQ", kind, number, begin + len(content), len(data))
        content += data + bytes(-len(data) % 8)
    return struct.pack("<8sHHIQQ32s", b"SCMMPOL\0", 2, 64, len(sections), 0, 0, b"") + table + content


@given(st.lists(OTHERS | RETURNS.map(lambda value: (0x06, 0, 0, value)), max_size=20), st.sampled_from(MODES))
def test_returns_count_wherever_they_stand_and_nothing_else_does(
    instructions: list[tuple[int, int, int, int]], mode: str
) -> None:
    data = struct.pack("<IIII", 0, 0, len(instructions), 0)
    data += b"".join(struct.pack("<HBBI", *each) for each in instructions)
    returned = {value for code, _, _, value in instructions if code == 0x06}
    notified = any(value >> 16 == 0x7FC0 for value in returned)
    refused = any(value == 0x7FFC0001 or value >> 16 not in (0x7FFF, 0x7FFC) for value in returned)
    for kind in (1, 2):
        expected = {1: notified and mode not in ("ask", "permissive"), 2: refused and mode == "ask"}[kind]
        assert admits.asks(framed((kind, 0xC000003E, data)), mode, "x86_64") is expected
        assert not admits.asks(framed((kind, 0xC00000B7, data)), mode, "x86_64")


def test_what_ends_early_is_no_policy() -> None:
    whole = framed((1, 0xC000003E, bytes(24)))
    for size in range(len(whole)):
        with pytest.raises(ValueError, match="not a compiled policy"):
            admits.asks(whole[:size], "ask", "x86_64")
    assert not admits.asks(whole, "ask", "x86_64")
