"""`scmm record` on a terminal: the live view, and a command that has the terminal for itself."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from recording import Recorder, as_from_a_shell, called, losses, state_of
from support import Hooks
from terminal import Terminal

from rig.process import wait_until

#: CSI sequences: ECMA-48, 5.4.
CONTROL = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")
BUSY = 'while read -r line; do eval "$line"; done'


@pytest.fixture
def recorder(hooks: Hooks, tmp_path: Path) -> Recorder:
    work = tmp_path / "work"
    work.mkdir(mode=0o755)
    return Recorder(hooks, work)


@contextmanager
def busy(recorder: Recorder) -> Iterator[subprocess.Popen[str]]:
    """A process that does what it is told on its standard input."""
    with subprocess.Popen(
        ["sh", "-c", BUSY], stdin=subprocess.PIPE, text=True, preexec_fn=as_from_a_shell, cwd=recorder.directory
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def terminal(recorder: Recorder, *words: str, rows: int = 24, columns: int = 80) -> Terminal:
    return Terminal(recorder.words(*words), env=recorder.environ(), cwd=recorder.directory, rows=rows, columns=columns)


def test_live_view_of_a_process(recorder: Recorder) -> None:
    with busy(recorder) as process, terminal(recorder, "-p", str(process.pid)) as window:
        window.await_screen(lambda text: "recording 0:" in text, "the view")
        assert window.cursor_is_hidden
        tell(process, "mkdir made")
        window.await_screen(lambda text: "call     mkdir" in text and "/made\n" in text, "what is new")
        tell(process, ": > new-file")
        text = window.await_screen(lambda text: "new-file" in text, "what is newer")
        assert re.search(r"^recording 0:\d\d  \d+ calls\n\d+ system calls, \d+ files, 0 addresses, \d program", text)
        assert re.search(r"^  \+ file     …?.*/new-file$", text, re.M) and len(window.lines()) <= 11
        tell(process, r"""name=$(printf '\033[2J\033]0;title\007\342\200\256\nx'); : > "$name" """)
        window.await_screen(lambda text: "\\x1b[2J\\x1b]0;title\\x07\\u202e\\n" in text.replace("\n", ""), "escapes")
        script = "import socket; socket.socket().connect_ex(('127.0.0.1', 9))"
        tell(process, f'{sys.executable} -c "{script}"')
        window.await_screen(lambda text: " 1 address," in text, "an address")
        window.type(b"\x03")
        assert window.end() == 0
        window.await_screen(lambda text: "capture.scmm-cap: " in text, "the summary")
        assert " ".join(window.lines()).startswith("capture.scmm-cap: "), "something is left of the view"
        assert not window.cursor_is_hidden
        drawn = CONTROL.sub(b"", window.said)
        assert b"\x1b" not in drawn and b"\x07" not in drawn and "\u202e".encode() not in drawn
    assert losses(recorder.capture())["attached"] == 1


def test_long_names_and_narrow_windows(recorder: Recorder) -> None:
    with busy(recorder) as process, terminal(recorder, "-p", str(process.pid), columns=60) as window:
        window.await_screen(lambda text: "recording" in text, "the view")
        for number in range(20):
            tell(process, f": > {number:02}{'long' * 60}")
        window.await_screen(lambda text: len(re.findall(r"\+ file     ….*long$", text, re.M)) > 5, "names cut short")
        assert len(window.lines()) <= 11
        window.resize(10, 30)
        tell(process, "mkdir made")
        window.await_screen(lambda text: "mkdir" in text, "the view in the smaller window")
        window.type(b"\x03")
        assert window.end() == 0


@pytest.mark.parametrize(
    ("options", "shown"), [([], True), (["--live"], True), (["--no-live"], False), (["-q"], False)]
)
def test_view_is_shown_where_it_is_wanted(recorder: Recorder, options: list[str], shown: bool) -> None:
    with busy(recorder) as process, terminal(recorder, *options, "-p", str(process.pid)) as window:
        recorder.entry()
        if shown:
            window.await_screen(lambda text: "recording 0:0" in text, "the view")
        tell(process, "mkdir made")
        wait_until((recorder.directory / "made").is_dir, deadline_s=30, what="the call that is looked for")
        window.type(b"\x03")
        assert window.end() == 0
        assert (b"recording 0:" in window.said) == shown
        assert (b"capture.scmm-cap: " in window.said) == ("-q" not in options)


def waits(pid: int) -> int:
    """How often a process has waited for something: proc_pid_status(5)."""
    found = re.search(r"^voluntary_ctxt_switches:\s*(\d+)$", Path(f"/proc/{pid}/status").read_text(), re.M)
    assert found is not None
    return int(found[1])


def test_view_gives_the_terminal_back_while_stopped(recorder: Recorder) -> None:
    with busy(recorder) as process, terminal(recorder, "-p", str(process.pid)) as window:
        window.await_screen(lambda text: "recording 0:" in text, "the view")
        window.type(b"\x1a")
        window.await_stop()
        window.await_screen(lambda text: "recording" not in text, "an empty screen")
        assert not window.cursor_is_hidden
        tell(process, "mkdir meanwhile")
        window.go_on(background=True)
        recorder.await_calls()
        before, awake = window.said, waits(window.job)
        wait_until(lambda: waits(window.job) > awake + 2, deadline_s=20, what="it looks again")
        subprocess.run(["kill", "-TSTP", str(window.job)], check=True)
        window.await_stop()
        assert window.said == before, "drawn from the background"
        window.go_on()
        window.await_screen(lambda text: "recording 0:" in text and "mkdir" in text, "the view again")
        window.type(b"\x03")
        assert window.end() == 0
    assert called(recorder.capture())["mkdir"] == 1


def await_end(recorder: Recorder) -> None:
    """Of one that has no window any more which could be waited for: the capture is written, the pins are taken away."""
    pins = Path(recorder.hooks.settings.pin_dir)
    wait_until(lambda: recorder.path().exists() and not pins.exists(), deadline_s=30, what="the recorder's end")


def test_window_that_is_closed_leaves_a_capture(recorder: Recorder) -> None:
    with busy(recorder) as process, terminal(recorder, "-p", str(process.pid)) as window:
        window.await_screen(lambda text: "recording 0:" in text, "the view")
        tell(process, "mkdir made")
        wait_until((recorder.directory / "made").is_dir, deadline_s=30, what="the call that is looked for")
        window.hang_up()
        await_end(recorder)
    assert called(recorder.capture())["mkdir"] == 1


def test_terminal_that_goes_away_does_not_end_what_ignores_that(recorder: Recorder) -> None:
    words = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh"]
    with busy(recorder) as process:
        command = [*words, *recorder.words("-p", str(process.pid))]
        with Terminal(command, env=recorder.environ(), cwd=recorder.directory) as window:
            window.await_screen(lambda text: "recording 0:" in text, "the view")
            awake = waits(window.job)
            window.hang_up()
            wait_until(lambda: waits(window.job) > awake, deadline_s=20, what="it looks again")
        tell(process, "mkdir later; exit")
        await_end(recorder)
    assert called(recorder.capture())["mkdir"] == 1


TTY = """
import os, sys, termios, tty
before = termios.tcgetattr(0)
tty.setraw(0)
os.write(1, b"\\x1b[2J\\x1b[5;5Hdrawn")
key = os.read(0, 1)
termios.tcsetattr(0, termios.TCSADRAIN, before)
os.write(1, b"\\x1b[7;1Hkey %d\\n" % key[0])
raise SystemExit(6)
"""


def test_terminal_is_the_commands(recorder: Recorder) -> None:
    """A program that draws and reads keys, as vi does: only what it writes is on the screen, then the summary."""
    with terminal(recorder, "--", sys.executable, "-c", TTY) as window:
        modes = window.modes()
        window.await_screen(lambda text: "drawn" in text, "what the command draws")
        window.type(b"\x03")  # no signal in raw mode
        assert window.end() == 6
        assert window.lines()[:2] == ["    drawn", "key 3"]
        assert window.said.split(b"key 3\r\n")[0] == b"\x1b[2J\x1b[5;5Hdrawn\x1b[7;1H", "we wrote among it"
        assert window.modes() == modes
        window.await_screen(lambda text: "; complete" in " ".join(text.split()), "the summary")
    assert called(recorder.capture())["ioctl"] > 0


def test_control_c_ends_the_command_and_leaves_a_whole_capture(recorder: Recorder) -> None:
    with terminal(recorder, "--", "sh", "-c", "mkdir one; echo up; exec sleep 100") as window:
        window.await_screen(lambda text: "up" in text, "the command")
        window.type(b"\x03")
        assert window.end() == 128 + signal.SIGINT
    assert recorder.capture()["complete"] and called(recorder.capture())["mkdir"] == 1


COUNTS = """
import signal, sys
count = 0
def handle(number, frame):
    global count
    count += 1
    print("heard", count, flush=True)
signal.signal(signal.SIGINT, handle)
print("up", flush=True)
while count < 2:
    signal.pause()
raise SystemExit(count if signal.sigtimedwait([signal.SIGINT], 0.3) is None else 99)
"""


def test_command_that_handles_control_c_goes_on_and_hears_it_once(recorder: Recorder) -> None:
    with terminal(recorder, "--", sys.executable, "-c", COUNTS) as window:
        window.await_screen(lambda text: "up" in text, "the command")
        window.type(b"\x03")
        window.await_screen(lambda text: "heard 1" in text, "the first")
        window.type(b"\x03")
        assert window.end() == 2
    assert recorder.capture()["complete"]


def test_control_z_stops_both_and_both_go_on(recorder: Recorder) -> None:
    with terminal(recorder, "--", "sh", "-c", "echo up; read line; echo got $line; exit 3") as window:
        window.await_screen(lambda text: "up" in text, "the command")
        child = recorder.entry()["pid"]
        window.type(b"\x1a")
        window.await_stop()
        wait_until(lambda: state_of(child) == state_of(window.job) == "T", deadline_s=9, what="both stand still")
        window.go_on()
        window.type(b"line\n")
        assert window.end() == 3
        assert "got line" in window.text()
    assert recorder.capture()["complete"]


def test_stop_that_is_sent_to_us_alone(recorder: Recorder) -> None:
    with terminal(recorder, "--", "sh", "-c", "echo up; exec sleep 100") as window:
        window.await_screen(lambda text: "up" in text, "the command")
        child = recorder.entry()["pid"]
        subprocess.run(["kill", "-TSTP", str(window.job)], check=True)
        window.await_stop()
        wait_until(lambda: state_of(child) == "T", deadline_s=9, what="the command stands still, too")
        subprocess.run(["kill", "-CONT", str(window.job)], check=True)
        wait_until(lambda: state_of(child) == "S", deadline_s=9, what="the command goes on, too")
        subprocess.run(["kill", "-TERM", str(window.job)], check=True)
        window.go_on()
        assert window.end() == 128 + signal.SIGTERM


def test_lines_of_a_command_are_added_to_its_own(recorder: Recorder) -> None:
    line = "echo first; : > made; sleep 1; echo last"
    with terminal(recorder, "--live", "--", "sh", "-c", line) as window:
        assert window.end() == 0
        assert window.said.startswith(b"first\r\n")
        shown = window.said.decode().replace("\r\n", "\n")
        assert re.search(r"^0:0\d \+ call     \w+\n", shown, re.M) and re.search(
            r"^0:0\d \+ \d+ more: \d+ system calls,", shown, re.M
        )
        assert "\nlast\n" in shown and "\x1b" not in shown
    with terminal(recorder, "--", "sh", "-c", line) as window:
        assert window.end() == 0
        assert window.said.split(b"capture")[0] == b"first\r\nlast\r\n"
