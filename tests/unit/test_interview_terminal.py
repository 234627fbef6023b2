"""The interview of `scmm extract` in a real terminal: answers, resizes, Ctrl-C and resuming, undoing, the policy."""

from __future__ import annotations

import json
import os
import shlex
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from interviewed import RICH
from samples import as_bytes, nginx
from support import ROOT
from terminal import Terminal

UP, DOWN, LEFT, END = b"\x1b[A", b"\x1b[B", b"\x1b[D", b"\x1b[F"
ENTER, ESCAPE, CTRL_C = b"\r", b"\x1b", b"\x03"
SCMM = [sys.executable, "-m", "scmm_oci.cli.main"]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "rich.scmm-cap").write_bytes(as_bytes(RICH))
    (tmp_path / "other.scmm-cap").write_bytes(as_bytes(nginx()))
    return tmp_path


def environ() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}


def window(work: Path, *words: str, capture: str = "rich.scmm-cap", rows: int = 30, columns: int = 100) -> Terminal:
    command = [*SCMM, "extract", "-i", capture, "-o", "p.yaml", *words]
    return Terminal(command, env=environ(), cwd=work, rows=rows, columns=columns)


def plain(work: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SCMM, *words], cwd=work, env=environ(), text=True, capture_output=True, stdin=subprocess.DEVNULL, check=False
    )


def question(talk: Terminal, text: str) -> str:
    return talk.await_screen(lambda screen: text in screen, f"the question {text!r}")


def answer(talk: Terminal, keys: bytes, following: str) -> str:
    talk.type(keys)
    return question(talk, following)


def to_summary(talk: Terminal) -> None:
    """Take what is proposed until everything is answered."""
    for _ in range(60):
        screen = talk.text()
        if "That is the policy" in screen:
            return
        # The number of the question is in the head line.
        number = screen.splitlines()[0]
        talk.type(ENTER)
        talk.await_screen(lambda text, number=number: text and text.splitlines()[0] != number, "the next question")
    pytest.fail("no end")


def shown_flags(talk: Terminal) -> list[str]:
    """The words after `scmm` of the command line that says the same."""
    text = talk.said.decode().replace("\r\n", "\n").rpartition("the same without questions:\n")[2]
    return shlex.split(text.splitlines()[0])[1:]


def test_answers_make_the_policy_that_the_shown_flags_make(work: Path) -> None:
    with window(work) as talk:
        question(talk, "What happens to system calls outside the policy?")
        answer(talk, ENTER, "What are denied calls answered?")
        answer(talk, DOWN + ENTER, "files: what becomes of its calls?")
        answer(talk, ENTER, "network: what becomes")
        answer(talk, ENTER, "process: what becomes")
        # Review, and take ptrace out.
        screen = answer(talk, DOWN + ENTER, "process: which calls are allowed?")
        assert "[x] ptrace" in screen
        screen = answer(talk, DOWN + b" ", "[ ] ptrace")
        assert "It governs other processes" in screen
        answer(talk, ENTER, "memory: what becomes")
        answer(talk, ENTER, "/etc:")
        screen = answer(talk, ENTER, "/srv:")
        assert "> the suggested pattern, and exact paths for the rest" in screen
        answer(talk, DOWN + ENTER, "/tmp:")
        to_summary(talk)
        assert "file rules:" in talk.text()
        talk.type(ENTER)
        assert talk.end() == 0
        flags = shown_flags(talk)
    assert not (work / "p.yaml.interview").exists()
    written = (work / "p.yaml").read_bytes()
    assert b"default_errno: ENOSYS" in written and b"ptrace" not in written
    assert "--default-errno=ENOSYS" in flags and "--reject=/srv/in/*" in flags
    done = plain(work, *flags)
    assert done.returncode == 0, done.stderr
    assert (work / "p.yaml").read_bytes() == written
    # Control: without these flags it is another policy.
    done = plain(work, "extract", "-i", "rich.scmm-cap", "-o", "p.yaml")
    assert done.returncode == 0, done.stderr
    assert (work / "p.yaml").read_bytes() != written


def test_ctrl_c_keeps_the_answers_and_resume_takes_them_up(work: Path) -> None:
    with window(work) as talk:
        question(talk, "outside the policy?")
        answer(talk, DOWN + ENTER, "files: what becomes of its calls?")
        answer(talk, END + ENTER, "network: what becomes")
        talk.type(CTRL_C)
        assert talk.end() == 130
        text = talk.text()
    assert "stopped at: system calls (2 of 8), question 3; nothing is written" in text
    assert "--resume" in text
    kept = work / "p.yaml.interview"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert [event["answer"] for event in json.loads(kept.read_text())["events"]] == ["log", "deny"]
    assert not (work / "p.yaml").exists()

    # What is kept is not overwritten by beginning anew, nor taken up for other captures.
    with window(work) as talk:
        assert talk.end() == 2
        assert "holds an interview that was stopped" in talk.text()
    with window(work, "--resume", capture="other.scmm-cap") as talk:
        assert talk.end() == 2
        assert "is an interview about other captures" in talk.text()
    with window(work, "--resume", "--portable") as talk:
        assert talk.end() == 2
        assert "began with other choices" in talk.text()

    with window(work, "--resume") as talk:
        question(talk, "network: what becomes")
        to_summary(talk)
        talk.type(ENTER)
        assert talk.end() == 0
        flags = shown_flags(talk)
    assert not kept.exists()
    written = (work / "p.yaml").read_bytes()
    assert b"default_action: log" in written
    assert "--category=files=deny" in flags
    assert plain(work, *flags).returncode == 0
    assert (work / "p.yaml").read_bytes() == written


def test_ctrl_c_before_the_first_answer_leaves_nothing(work: Path) -> None:
    with window(work) as talk:
        question(talk, "outside the policy?")
        talk.type(CTRL_C)
        assert talk.end() == 130
        assert "stopped at: default action (1 of 8), question 1; nothing is written" in talk.text()
        assert "--resume" not in talk.text()
        assert not talk.cursor_is_hidden
    assert sorted(path.name for path in work.iterdir()) == ["other.scmm-cap", "rich.scmm-cap"]
    with window(work, "--resume") as talk:
        assert talk.end() == 2
        assert "there is no interview to resume" in talk.text()


@pytest.mark.parametrize("key", [b"u", LEFT, ESCAPE], ids=["u", "left", "escape"])
def test_undo(work: Path, key: bytes) -> None:
    with window(work) as talk:
        question(talk, "outside the policy?")
        answer(talk, key, "This is the first question.")
        answer(talk, DOWN + ENTER, "files: what becomes")
        screen = answer(talk, key, "outside the policy?")
        # The cursor is on what was answered.
        assert "> log only" in screen
        answer(talk, UP + ENTER, "What are denied calls answered?")
        to_summary(talk)
        # From the summary back, and on again.
        answer(talk, key, "Is the policy for other kernels")
        to_summary(talk)
        talk.type(ENTER)
        assert talk.end() == 0
    written = (work / "p.yaml").read_bytes()
    assert plain(work, "extract", "-i", "rich.scmm-cap", "-o", "p.yaml").returncode == 0
    assert (work / "p.yaml").read_bytes() == written


def test_a_resize_at_any_time_leaves_a_whole_screen(work: Path) -> None:
    with window(work) as talk:
        question(talk, "outside the policy?")
        for rows, columns in ((12, 40), (40, 160), (6, 30), (3, 20), (1, 10), (24, 80)):
            talk.resize(rows, columns)
            foot = "ctrl-c stop" if columns >= 80 else "choose"
            if rows >= 6:
                talk.await_screen(
                    lambda text, foot=foot: "scmm extract" in text and foot in text and "deny" in text, "a whole screen"
                )
        answer(talk, ENTER, "What are denied calls answered?")
        to_summary(talk)
        talk.resize(18, 60)
        screen = talk.await_screen(lambda text: "> write the policy" in text, "the summary")
        assert all(len(line) <= 60 for line in screen.splitlines())
        talk.type(ENTER)
        assert talk.end() == 0
    assert (work / "p.yaml").exists()


def test_a_part_is_changed_from_the_summary(work: Path) -> None:
    with window(work) as talk:
        question(talk, "outside the policy?")
        to_summary(talk)
        screen = talk.text()
        assert "network rules: inbound tcp 80" in screen
        # Write, default, calls, files, absent, network.
        answer(talk, DOWN * 5 + ENTER, "Which of these may the program use?")
        answer(talk, b"a", "[ ] listen on tcp port 80")
        talk.type(ENTER)
        screen = question(talk, "That is the policy")
        assert "network rules: none" in screen
        talk.type(ENTER)
        assert talk.end() == 0
        assert "--leave-out-port=inbound/tcp/80" in shown_flags(talk)


def test_a_pattern_of_ones_own_and_the_second_yes(work: Path) -> None:
    with window(work) as talk:
        question(talk, "outside the policy?")
        while "/etc:" not in talk.text():
            before = talk.text()
            talk.type(ENTER)
            talk.await_screen(lambda text, before=before: text.splitlines()[:1] != before.splitlines()[:1], "more")
        # A pattern of one's own is the last option but one.
        answer(talk, END + UP + ENTER, "Which pattern?")
        answer(talk, b"\x15" + b"etc/x" + ENTER, "is not an absolute path")
        screen = answer(talk, b"\x15" + b"/etc/*.conf" + ENTER, "is that meant?")
        assert "opens /etc, a protected place" in screen
        assert "stands for 1 observed path:" in screen
        assert "> no: exact paths" in screen
        answer(talk, UP + ENTER, "/srv:")
        to_summary(talk)
        talk.type(ENTER)
        assert talk.end() == 0
        assert "--accept=/etc/*.conf" in shown_flags(talk)
    assert b"/etc/*.conf" in (work / "p.yaml").read_bytes()


def test_save_for_later_and_quit(work: Path) -> None:
    kept = work / "p.yaml.interview"
    with window(work) as talk:
        question(talk, "outside the policy?")
        to_summary(talk)
        talk.type(END + UP + ENTER)
        assert talk.end() == 1
        assert "the answers are kept in p.yaml.interview" in talk.text()
    assert kept.exists() and not (work / "p.yaml").exists()
    with window(work, "--resume") as talk:
        question(talk, "That is the policy")
        talk.type(END + ENTER)
        assert talk.end() == 1
        assert "the answers are forgotten" in talk.text()
    assert not kept.exists() and not (work / "p.yaml").exists()


def test_text_from_captures_does_not_steer_the_terminal(work: Path) -> None:
    with window(work) as talk:
        question(talk, "outside the policy?")
        to_summary(talk)
        talk.type(ENTER)
        assert talk.end() == 0
        # The name was shown, as an escape.
        assert rb"/var\x1b]0;evil\x07" in talk.said
        assert b"\x1b]0;evil" not in talk.said


def test_a_signal_ends_it_in_order(work: Path) -> None:
    with window(work) as talk:
        question(talk, "outside the policy?")
        before = talk.modes()
        answer(talk, DOWN + ENTER, "files: what becomes")
        os.kill(talk.job, signal.SIGTERM)
        assert talk.end() == 130
        assert "the answers are kept" in talk.text()
        assert talk.modes() != before, "the terminal is still as the interview had it"


def test_help_and_stopping_for_a_while(work: Path) -> None:
    with window(work) as talk:
        question(talk, "outside the policy?")
        answer(talk, b"?", "it holds nothing back")
        talk.type(b"\x1a")
        talk.await_stop()
        talk.go_on()
        question(talk, "outside the policy?")
        answer(talk, ENTER, "What are denied calls answered?")
        talk.type(CTRL_C)
        assert talk.end() == 130


@pytest.mark.parametrize("words", [["--non-interactive"], ["--json"]])
def test_flags_for_no_questions_on_a_terminal(work: Path, words: list[str]) -> None:
    with window(work, *words) as talk:
        assert talk.end() == 0
        assert "outside the policy?" not in talk.said.decode()
    assert (work / "p.yaml").exists()


def test_a_terminal_that_cannot_move_its_cursor_gets_no_questions(work: Path) -> None:
    script = f"TERM=dumb exec {shlex.join([*SCMM, 'extract', '-i', 'rich.scmm-cap', '-o', 'p.yaml'])}"
    with Terminal(["/bin/sh", "-c", script], env=environ(), cwd=work) as talk:
        assert talk.end() == 0
        assert "outside the policy?" not in talk.said.decode()
    assert (work / "p.yaml").exists()


def test_stdout_is_for_the_product(work: Path) -> None:
    script = f"exec {shlex.join([*SCMM, 'extract', '-i', 'rich.scmm-cap', '-o', 'p.yaml'])} > out"
    with Terminal(["/bin/sh", "-c", script], env=environ(), cwd=work, rows=30, columns=100) as talk:
        question(talk, "outside the policy?")
        to_summary(talk)
        talk.type(ENTER)
        assert talk.end() == 0
    assert (work / "out").read_bytes() == b""
    assert (work / "p.yaml").exists()
