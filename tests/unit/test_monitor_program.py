"""A program that decides about calls: whatever it does, each question is answered, and denied where it does not."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from rig.process import wait_until
from scmm_oci.enforcer.monitor import program, program_running
from scmm_oci.enforcer.monitor.model import By, Decision, Verdict
from scmm_oci.enforcer.monitor.program import MOST_WAITING, Program
from scmm_oci.enforcer.monitor.program_answers import BadAnswer, decision_of, parse

#: Answers each question with what its "say" has, as it stands; without one it says nothing.
_ECHO = """
import json, os, sys
for line in sys.stdin:
    question = json.loads(line)
    for answer in question.get("say", []):
        print(answer.replace("$id", str(question["id"])), flush=True)
"""
ALLOW = '{"id":$id,"decision":"allow"}'


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def argv(text: str, *args: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", text, *args]


def running(
    test: Callable[[Program, list[str], Clock], Awaitable[None]],
    text: str = _ECHO,
    *args: str,
    timeout_s: float = 60.0,
    command: list[str] | None = None,
) -> list[str]:
    """Run a test with a program; what was told."""
    told: list[str] = []

    async def run() -> None:
        clock = Clock()
        one = Program(command or argv(text, *args), timeout_s=timeout_s, now=clock, tell=told.append)
        await one.start()
        try:
            await test(one, told, clock)
        finally:
            await one.close()

    asyncio.run(run())
    return told


async def said(one: Program, *answers: str, **question: Any) -> Decision:
    return await one.decide({**question, "say": answers})


def test_answers_of_every_kind() -> None:
    async def test(one: Program, *_: object) -> None:
        assert await said(one, ALLOW) == Decision(Verdict.ALLOW, By.PROGRAM)
        assert await said(one, '{"id":$id,"decision":"allow","path":"/x"}') == Decision(
            Verdict.ALLOW, By.PROGRAM, path="/x"
        )
        assert await said(one, '{"id":$id,"decision":"deny","errno":"ENOENT","reason":"no"}') == Decision(
            Verdict.DENY, By.PROGRAM, errno.ENOENT, detail="no"
        )
        assert (await said(one, '{"id":$id,"decision":"deny","errno":4095}')).errno == 4095
        assert (await said(one, '{"id":$id,"decision":"return","value":-7}')).value == -7
        assert (await said(one, '{"id":$id,"decision":"kill"}')).verdict is Verdict.KILL

    assert running(test) == []


def test_a_denial_has_the_errno_of_its_question_unless_it_names_one() -> None:
    async def test(one: Program, *_: object) -> None:
        denied = await one.decide({"say": ['{"id":$id,"decision":"deny"}']}, number=errno.EACCES)
        assert denied == Decision(Verdict.DENY, By.PROGRAM, errno.EACCES)

    running(test)


def test_questions_are_whole_lines_whatever_is_in_them() -> None:
    text = """
import json, sys
for line in sys.stdin.buffer:
    answer = {"id": json.loads(line)["id"], "decision": "deny", "reason": str([line.isascii(), json.loads(line)])[:250]}
    print(json.dumps(answer), flush=True)
"""
    nasty = {"words": "x\n{}\u2028\x1b\udcff", "args": [2**64 - 1], "address": None}

    async def test(one: Program, *_: object) -> None:
        for number in (1, 2):
            whole = {**nasty, "errno": 1, "id": number}
            assert (await one.decide(nasty)).detail == str([True, dict(sorted(whole.items()))])

    running(test, text)


def test_answers_find_their_questions_in_any_order() -> None:
    text = """
import json, sys
held = []
for line in sys.stdin:
    held.append(json.loads(line))
    if len(held) == 3:
        for one in reversed(held):
            print(json.dumps({"id": one["id"], "decision": "return", "value": one["n"]}), flush=True)
"""

    async def test(one: Program, *_: object) -> None:
        found = await asyncio.gather(*(one.decide({"n": number}) for number in (10, 20, 30)))
        assert [each.value for each in found] == [10, 20, 30]

    assert running(test, text) == []


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        ('{"id":$id}', ".decision"),
        ('{"id":$id,"decision":"maybe"}', ".decision: 'maybe' is none of allow, deny, kill, return"),
        ('{"id":$id,"decision":["allow"]}', ".decision"),
        ('{"id":$id,"decision":"deny","errno":"ENOSUCH"}', ".errno"),
        ('{"id":$id,"decision":"deny","errno":0}', ".errno"),
        ('{"id":$id,"decision":"deny","errno":4096}', ".errno"),
        ('{"id":$id,"decision":"deny","errno":true}', ".errno"),
        ('{"id":$id,"decision":"allow","errno":1}', ".errno: goes with deny only"),
        ('{"id":$id,"decision":"return","value":9223372036854775808}', ".value"),
        ('{"id":$id,"decision":"return","value":1.5}', ".value"),
        ('{"id":$id,"decision":"deny","value":1}', ".value: goes with return only"),
        ('{"id":$id,"decision":"allow","path":""}', ".path"),
        ('{"id":$id,"decision":"allow","path":"a\\u0000b"}', ".path"),
        ('{"id":$id,"decision":"allow","path":"\\ud800"}', ".path"),
        ('{"id":$id,"decision":"kill","path":"/x"}', ".path: goes with allow only"),
        ('{"id":$id,"decision":"allow","reason":1}', ".reason"),
        ('{"id":$id,"decision":"allow","allow":true}', "'allow': known are id, decision"),
    ],
)
def test_a_wrong_answer_denies_and_is_told(answer: str, what: str) -> None:
    async def test(one: Program, *_: object) -> None:
        found = await said(one, answer)
        assert (found.verdict, found.by, found.errno) == (Verdict.DENY, By.FAILURE, errno.EPERM)
        assert (await said(one, ALLOW)).verdict is Verdict.ALLOW

    (told,) = running(test)
    assert "answered wrongly, which denies" in told and what in told


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(BadAnswer) as error:
        decision_of({"id": 1, "decision": "kill", "value": "x", "path": 1, "more": 0}, number=1)
    assert all(key in str(error.value) for key in (".value", ".path", "'more'"))


@pytest.mark.parametrize("line", [b"", b"allow", b"[]", b"{}", b'{"id":"1"}', b'{"id":true}', b"\xff", b"[" * 10_000])
def test_what_answers_no_question_is_none(line: bytes) -> None:
    with pytest.raises(BadAnswer):
        parse(line)
    assert parse(b'{"id":1,"decision":"allow"}') == (1, {"id": 1, "decision": "allow"})


def test_talk_between_answers_is_told_now_and_then_and_hurts_nobody() -> None:
    async def test(one: Program, told: list[str], clock: Clock) -> None:
        talk = ["hello\x1b[2J", *["x"] * 20, '{"id":999,"decision":"allow"}', ALLOW]
        assert (await said(one, *talk)).verdict is Verdict.ALLOW
        assert len(told) == 1 and "\x1b" not in told[0]
        clock.time += 60
        assert (await said(one, *talk)).verdict is Verdict.ALLOW
        assert len(told) == 2

    running(test)


def test_only_the_first_answer_counts() -> None:
    async def test(one: Program, *_: object) -> None:
        first = await said(one, '{"id":$id,"decision":"deny","errno":7}', ALLOW)
        assert first.errno == 7
        assert (await said(one, ALLOW)).verdict is Verdict.ALLOW

    assert running(test) == []


def test_no_answer_in_time_denies_and_a_late_one_is_nobody_s() -> None:
    text = """
import json, sys
held = []
for line in sys.stdin:
    held.append(json.loads(line)["id"])
    if len(held) > 1:
        for one in held:
            print(json.dumps({"id": one, "decision": "allow"}), flush=True)
"""

    async def test(one: Program, *_: object) -> None:
        one.timeout_s = 0.1
        late = await one.decide({}, number=errno.EACCES)
        assert (late.verdict, late.by, late.errno) == (Verdict.DENY, By.TIMEOUT, errno.EACCES)
        one.timeout_s = 60
        assert (await one.decide({})).verdict is Verdict.ALLOW

    assert running(test, text) == []


def test_too_many_questions_are_denied_at_once() -> None:
    async def test(one: Program, *_: object) -> None:
        asked = [asyncio.ensure_future(one.decide({})) for _ in range(MOST_WAITING)]
        await asyncio.wait(asked, timeout=0)
        over = await one.decide({})
        assert (over.verdict, over.by) == (Verdict.DENY, By.OVERLOAD)
        for each in asked:
            each.cancel()
        await asyncio.wait(asked)
        assert (await said(one, ALLOW)).verdict is Verdict.ALLOW

    running(test)


def test_a_program_that_does_not_read_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_running, "_END_S", 0.2)

    async def test(one: Program, *_: object) -> None:
        asked = [asyncio.ensure_future(one.decide({"words": "x" * 300_000})) for _ in range(20)]
        done, pending = await asyncio.wait(asked, timeout=0.1)
        assert {each.result().by for each in done} == {By.OVERLOAD} and 0 < len(pending) < 10
        for each in pending:
            each.cancel()

    running(test, "import sys\nsys.stdin.read(1)\nwhile True: __import__('signal').pause()", timeout_s=600)


def test_a_program_that_dies_denies_and_is_started_again_later_and_later() -> None:
    text = "import sys\nline = sys.stdin.readline()\nif 'live' not in line: sys.exit(3)\n" + _ECHO

    async def test(one: Program, told: list[str], clock: Clock) -> None:
        found = await one.decide({}, number=errno.EACCES)
        assert (found.verdict, found.by, found.errno) == (Verdict.DENY, By.FAILURE, errno.EACCES)
        assert "ended with 3" in told[-1] and one.restarts == 1
        found = await said(one, ALLOW)  # not yet
        assert found.by is By.FAILURE and "not running" in found.detail and len(told) == 1
        for number, delay in enumerate((0.1, 0.2, 0.4), 2):
            clock.time += delay - 0.01
            assert "not running" in (await one.decide({})).detail
            clock.time += 0.02
            assert "has ended" in (await one.decide({})).detail
            assert one.restarts == number
        clock.time += 1
        assert (await asyncio.wait({asyncio.ensure_future(one.decide({"live": 1}))}, timeout=0.01))[0] == set()
        assert (await said(one, ALLOW)).verdict is Verdict.ALLOW  # it lives
        assert len(told) == 4

    running(test, text)


def test_an_answer_makes_the_next_start_soon_again() -> None:
    text = """
import json, sys
for line in sys.stdin:
    question = json.loads(line)
    if "die" in question: sys.exit(0)
    print(json.dumps({"id": question["id"], "decision": "allow"}), flush=True)
"""

    async def test(one: Program, told: list[str], clock: Clock) -> None:
        for _ in range(6):
            assert (await one.decide({"die": 1})).by is By.FAILURE
            clock.time += 30
        assert (await one.decide({})).verdict is Verdict.ALLOW
        assert (await one.decide({"die": 1})).by is By.FAILURE
        clock.time += 0.11
        assert (await one.decide({})).verdict is Verdict.ALLOW

    running(test, text)


@pytest.mark.parametrize("bad", ["/nonexistent/program", "/", "x\0y"])
def test_a_program_that_cannot_be_started_denies(bad: str) -> None:
    async def test(one: Program, told: list[str], clock: Clock) -> None:
        assert len(told) == 1 and "cannot be started" in told[0]
        for _ in range(3):
            assert (await one.decide({})).by is By.FAILURE
        assert len(told) == 1
        clock.time += 1
        assert (await one.decide({})).by is By.FAILURE
        assert len(told) == 2

    running(test, command=[bad])


def test_a_line_without_an_end_ends_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_running, "_LATE_S", 0.1)
    text = "import sys\nsys.stdin.readline()\nwhile True: sys.stdout.write('x' * 4096)"

    async def test(one: Program, told: list[str], clock: Clock) -> None:
        assert (await one.decide({})).by is By.FAILURE
        assert "a line of more than" in told[0]

    running(test, text)


@pytest.mark.parametrize("which", ["stdin", "stdout"])
def test_a_program_that_closes_a_pipe_denies(which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_running, "_LATE_S", 0.1)
    monkeypatch.setattr(program_running, "_END_S", 0.2)
    text = f"import os, signal, sys\nsys.stdin.readline()\nos.close({0 if which == 'stdin' else 1})\nsignal.pause()"

    async def test(one: Program, told: list[str], clock: Clock) -> None:
        one.timeout_s = 1.0
        first = await one.decide({})
        assert first.verdict is Verdict.DENY and first.by is (By.TIMEOUT if which == "stdin" else By.FAILURE)
        assert (await one.decide({})).by is By.FAILURE

    told = running(test, text)
    assert any("SIGKILL" in each for each in told) == (which == "stdout")


def test_a_child_of_the_program_that_keeps_its_pipes_keeps_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program_running, "_LATE_S", 0.1)
    text = """
import os, signal, sys
sys.stdin.readline()
if os.fork() == 0:
    os.setsid()
    open(sys.argv[1], "w").write(str(os.getpid()))
    signal.pause()
os._exit(5)
"""

    async def test(one: Program, told: list[str], clock: Clock) -> None:
        before = len(os.listdir("/proc/self/fd"))
        assert "has ended" in (await one.decide({})).detail
        assert "ended with 5" in told[0]
        await asyncio.wait({asyncio.ensure_future(asyncio.Event().wait())}, timeout=0.05)
        assert len(os.listdir("/proc/self/fd")) < before

    pid = tmp_path / "pid"
    try:
        running(test, text, str(pid))
    finally:
        wait_until(lambda: pid.exists() and pid.read_text(), deadline_s=30, what="the child's number")
        os.kill(int(pid.read_text()), 9)


def test_it_has_no_descriptors_and_no_terminal_of_ours_and_no_shell(tmp_path: Path) -> None:
    text = """
import json, os, sys
fds = sorted(int(fd) for fd in os.listdir("/proc/self/fd"))
for line in sys.stdin:
    what = {"fds": fds[:-1], "leads": os.getsid(0) == os.getpid(), "args": sys.argv[1:]}
    print(json.dumps({"id": json.loads(line)["id"], "decision": "deny", "reason": json.dumps(what)}), flush=True)
"""
    with (tmp_path / "kept").open("w") as file:
        os.set_inheritable(file.fileno(), True)

        async def test(one: Program, *_: object) -> None:
            found = json.loads((await one.decide({})).detail)
            assert found == {"fds": [0, 1, 2], "leads": True, "args": ["$(touch x); `id`", "*"]}

        running(test, text, "$(touch x); `id`", "*")


@pytest.mark.parametrize("deaf", [False, True])
def test_the_program_ends_with_the_monitor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaf: bool) -> None:
    monkeypatch.setattr(program_running, "_END_S", 0.2)
    text = """
import os, signal, sys
if sys.argv[2] == "True":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1], "w").write(str(os.getpid()))
sys.stdin.read()
while sys.argv[2] == "True":
    signal.pause()
"""
    pid = tmp_path / "pid"
    answers: list[Decision] = []

    async def test(one: Program, *_: object) -> None:
        while not (pid.exists() and pid.read_text()):
            await asyncio.wait({asyncio.ensure_future(asyncio.Event().wait())}, timeout=0.01)
        asyncio.ensure_future(one.decide({})).add_done_callback(lambda done: answers.append(done.result()))

    assert running(test, text, str(pid), str(deaf)) == []
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert all(each.verdict is Verdict.DENY for each in answers)


def test_a_monitor_that_ends_starts_nothing() -> None:
    async def run() -> None:
        one = Program(argv(_ECHO), timeout_s=60, now=Clock(), tell=pytest.fail)
        await one.close()
        found = await one.decide({})
        assert (found.verdict, found.by) == (Verdict.DENY, By.FAILURE)

    asyncio.run(run())
    assert program.MOST_WAITING == MOST_WAITING
