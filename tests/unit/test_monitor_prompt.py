"""scmm-monitor's prompt in a real terminal: keys, time, windows of every size, and terminals that go away."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from asking_terminal import Window
from support import ROOT

from rig.process import wait_until

SCENE = Path(__file__).with_name("prompt_scene.py")
ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"
LIVE_S = 0.3


class Scene:
    """The program of prompt_scene.py, by its socket, and its terminal."""

    def __init__(self, window: Window, control: socket.socket) -> None:
        self.window = window
        self._control = control
        self._lines = control.makefile("rw", encoding="utf-8")
        self._numbers = itertools.count(1)

    def do(self, **words: object) -> None:
        self._lines.write(json.dumps(words) + "\n")
        self._lines.flush()

    def ask(self, **changes: Any) -> int:
        number = next(self._numbers)
        self.do(ask=number, **changes)
        return number

    def shown(self, *texts: str) -> str:
        return self.window.await_screen(lambda screen: all(text in screen for text in texts), f"{texts!r}")

    def live(self) -> None:
        """Let the keys of what is shown count."""
        self.do(later=LIVE_S)
        self.alive()

    def asked(self, **changes: Any) -> int:
        """Ask, and wait until it can be answered."""
        number = self.ask(**changes)
        self.shown("a call waits")
        self.live()
        return number

    def alive(self) -> dict[str, Any]:
        """Wait until it has done all that it was told."""
        number = next(self._numbers)
        self.do(alive=number)
        said = self.hear()
        assert said["alive"] == number
        return said

    def type(self, keys: bytes) -> None:
        self.window.type(keys)

    def type_in_vain(self, keys: bytes) -> None:
        """Type what answers nothing, and wait until it has been read."""
        before = self.alive()["read"]
        self.window.type(keys)
        wait_until(lambda: self.alive()["read"] == before + len(keys), deadline_s=30, what="the keys are read")

    def hear(self) -> dict[str, Any]:
        line = self._lines.readline()
        assert line, "it has ended"
        said: dict[str, Any] = json.loads(line)
        return said

    def answer(self, number: int) -> tuple[str | None, str]:
        said = self.hear()
        assert said["asked"] == number
        return said["answer"], said["by"]

    def is_answered(self) -> bool:
        """Whether something was answered that was not heard yet, once all has been done that it was told."""
        number = next(self._numbers)
        self.do(alive=number)
        return "asked" in self.hear()


@contextmanager
def scene_of(work: Path, words: Sequence[str]) -> Iterator[Scene]:
    path = work / "control"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(30)
        environ = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests/unit'}", "LC_ALL": "C.UTF-8"}
        with Window([*words, str(path)], env=environ, cwd=work) as window:
            control, _ = listener.accept()
            control.settimeout(30)
            with control:
                yield Scene(window, control)


@pytest.fixture
def s(tmp_path: Path) -> Iterator[Scene]:
    with scene_of(tmp_path, [sys.executable, str(SCENE)]) as found:
        yield found


@pytest.mark.parametrize(
    ("key", "answer", "said"),
    [
        (b"a", "always", "always allowed"),
        (b"r", "run", "allowed for this run"),
        (b"o", "once", "allowed once"),
        (b"d", "deny", "denied"),
        (b"n", "never", "always denied"),
        (b"k", "kill", "killed"),
    ],
)
def test_a_key_answers(s: Scene, key: bytes, answer: str, said: str) -> None:
    number = s.asked()
    s.type(key)
    assert s.answer(number) == (answer, "person")
    s.shown(said)
    s.do(later=1)
    s.shown("scmm-monitor: 0 containers and programs, 0 decisions")
    assert s.window.said.count(ENTER) == s.window.said.count(LEAVE) == 1


def test_all_that_matters_is_on_the_screen(s: Scene) -> None:
    s.ask(process={"comm": "php"}, times=3)
    screen = s.shown("denied in 30 s")
    lines = screen.splitlines()
    assert lines[0].strip() == "scmm-monitor: a call waits"
    assert [line.split() for line in lines[1:7]] == [
        ["who", "web-1", "(id-of-web-1)"],
        ["program", "/usr/sbin/nginx"],
        ["process", "4711,", "user", "33,", "calls", "itself", '"php"'],
        ["call", "openat(AT_FDCWD,", '"/etc/passwd",', "O_RDONLY|O_CLOEXEC)"],
        ["path", "/etc/passwd"],
        ["before", "asked", "3", "times"],
    ]
    assert [line.split() for line in lines[-2:]] == [
        ["o", "allow", "once", "r", "this", "run", "a", "always"],
        ["d", "deny", "n", "never", "k", "kill"],
    ]
    assert "says" not in screen and s.window.cursor_is_hidden


def test_what_is_only_the_programs_word_is_marked(s: Scene) -> None:
    s.ask(paths=[], claimed=["/bin/sh"])
    screen = s.shown("says     /bin/sh", "only its word; it may change", "r, a, n: whatever it says")
    assert "path " not in screen


def test_what_can_be_kept_for_the_run_alone_is_marked_as_that(s: Scene) -> None:
    s.ask(paths=[], claimed=["/bin/sh"], choices=["once", "run", "deny", "kill"])
    assert "a, n" not in s.shown("only its word; it may change", "r: whatever it says")


def test_time_is_shown_and_ends_in_a_refusal(s: Scene) -> None:
    number = s.asked()
    full = s.shown("denied in 30 s").count("█")
    s.do(later=14.7)
    half = s.shown("denied in 15 s").count("█")
    assert full > 50 and abs(half - full / 2) <= 1
    s.do(later=14.9)
    assert s.shown("denied in 1 s").count("█") <= 1
    assert not s.is_answered()
    s.do(later=0.2)
    assert s.answer(number) == (None, "timeout")
    s.do(later=1)
    s.shown("decisions")


def test_keys_from_before_do_not_answer(s: Scene) -> None:
    s.shown("scmm-monitor: 0 containers")
    # Typed while nobody was asked: the terminal has shown it, and holds it until there is a line.
    s.type(b"aaa")
    s.window.await_screen(lambda text: "aaa" in text, "what was typed")
    number = s.asked()
    # Control: a key that comes now.
    s.type(b"d")
    assert s.answer(number) == ("deny", "person")


def test_keys_that_come_with_the_question_do_not_answer(s: Scene) -> None:
    number = s.ask()
    s.shown("denied in 30 s")
    s.type_in_vain(b"a")
    s.do(later=LIVE_S - 0.01)
    # Whoever goes on typing means something else.
    s.type_in_vain(b"a")
    s.do(later=LIVE_S - 0.01)
    s.type_in_vain(b"a")
    # Control: the same keys, a moment later.
    s.live()
    s.type(b"r")
    assert s.answer(number) == ("run", "person")


@pytest.mark.parametrize(
    "keys", [b"\x1b[A", b"\x1bOa", b"\x1ba", b"aa", b"\x1b[200~a\x1b[201~", b"x", b"A", b"\r", b"\x04"]
)
def test_keys_that_are_no_answer(s: Scene, keys: bytes) -> None:
    number = s.asked()
    s.type_in_vain(keys)
    s.live()
    s.type(b"o")
    assert s.answer(number) == ("once", "person")


def test_an_escape_takes_what_follows_it(s: Scene) -> None:
    number = s.asked()
    for key in (b"\x1b", b"O", b"a"):
        s.type_in_vain(key)
    s.live()
    s.type(b"a")
    assert s.answer(number) == ("always", "person")


def test_a_key_that_is_held_down_answers_one_question(s: Scene) -> None:
    first, second = s.ask(), s.ask(process={"pid": 2, "tid": 2})
    s.shown("a call waits", "1 more waits")
    s.live()
    s.type(b"o")
    assert s.answer(first) == ("once", "person")
    s.window.await_screen(lambda text: "more" not in text, "the second")
    # A key begins to repeat later than a first question takes keys, and then fast.
    for later in (0.66, *[0.03] * 30):
        s.do(later=later)
        s.type_in_vain(b"o")
    s.live()
    s.type(b"o")
    assert s.answer(second) == ("once", "person")


def test_several_wait_and_keys_stay_in_their_place(s: Scene) -> None:
    numbers = [s.ask(), s.ask(paths=["/" + "x" * 500], words="open(" + "y" * 900), s.ask(paths=[], process=None)]
    places = set()
    for number, more in zip(numbers, ("2 more wait", "1 more waits", "a call waits"), strict=True):
        lines = s.shown(more).splitlines()
        # The window's lines with text: all but the empty ones above the keys.
        places.add((lines[-2], lines[-1]))
        places.add(tuple(s.window.rows_of("o allow once", "d deny")))
        s.do(later=1)
        s.alive()
        s.type(b"d")
        assert s.answer(number)[0] == "deny"
    assert len(places) == 2


def test_what_is_no_choice_is_not_shown(s: Scene) -> None:
    number = s.asked(choices=["once", "deny", "kill"])
    assert s.window.lines()[-2:] == [" o allow once", " d deny                    k kill"]
    s.type_in_vain(b"a")
    s.type(b"o")
    assert s.answer(number) == ("once", "person")


def test_text_from_programs_does_not_steer_the_terminal(s: Scene) -> None:
    evil = "\x1b]0;evil\x07\u202e\u0301"
    s.ask(
        paths=[f"/{evil}/x"],
        words=f'openat("{evil}")',
        claimed=[evil],
        target=f"web{evil}",
        process={"executable": f"/bin/{evil}", "comm": evil},
    )
    s.shown(r"path     /\x1b]0;evil\x07\u202e\u0301/x", r"program  /bin/\x1b]0;evil", r"says     \x1b]0;evil")
    assert b"\x1b]0;" not in s.window.said and "\u202e".encode() not in s.window.said
    assert "\u0301".encode() not in s.window.said


def test_windows_of_every_size(s: Scene) -> None:
    number = s.asked(paths=["/srv/" + "x" * 300 + "/shadow"])
    for rows, columns in ((12, 40), (50, 200), (9, 36), (24, 80)):
        s.window.resize(rows, columns)
        screen = s.shown("/shadow", "denied in 30 s", "d deny")
        assert all(len(line) <= columns for line in screen.splitlines())
    # The mark of the cut is no text.
    s.window.resize(9, 40)
    s.shown("…")
    assert s.window.is_reverse("…")
    for rows, columns in ((5, 80), (24, 30), (2, 20), (1, 10)):
        s.window.resize(rows, columns)
        s.shown("denied in 30 s"[:columns].rstrip())
        s.type_in_vain(b"a")
    s.type(b"d")
    assert s.answer(number) == ("deny", "person")


def test_a_call_that_is_gone_is_taken_off(s: Scene) -> None:
    number = s.asked()
    s.do(cancel=number)
    s.shown("no longer asked")
    s.type(b"a")
    s.do(later=1)
    s.shown("decisions")
    assert not s.is_answered()


def test_the_quiet_line_and_what_is_told(s: Scene) -> None:
    s.shown("scmm-monitor: 0 containers and programs, 0 decisions")
    s.do(counts=[1, 2])
    s.shown("scmm-monitor: 1 container or program, 2 decisions")
    s.do(tell="a container came")
    assert s.shown("a container came", "2 decisions").splitlines() == [
        "a container came",
        "scmm-monitor: 1 container or program, 2 decisions",
    ]
    # Not over a question.
    number = s.asked()
    s.do(tell="another came")
    s.alive()
    assert b"another came" not in s.window.said
    s.type(b"o")
    assert s.answer(number)[0] == "once"
    s.do(later=1)
    s.shown("another came", "2 decisions")


def test_the_terminal_goes_away_and_the_program_lives(s: Scene) -> None:
    shown, waits = s.ask(), s.ask()
    s.shown("1 more waits")
    s.live()
    s.window.hang_up()
    assert s.answer(shown) == (None, "nobody")
    assert s.answer(waits) == (None, "nobody")
    assert s.answer(s.ask()) == (None, "nobody")
    assert s.alive()["prompt"]
    os.kill(s.window.job, signal.SIGTERM)


def test_a_terminal_that_goes_away_while_nobody_is_asked(s: Scene) -> None:
    s.shown("scmm-monitor: 0")
    s.window.hang_up()
    assert s.answer(s.ask()) == (None, "nobody")
    assert s.alive()["prompt"]


def test_output_that_is_stopped_holds_nothing_up(s: Scene) -> None:
    s.shown("scmm-monitor: 0")
    s.window.flow(goes=False)
    first = s.ask()
    s.live()
    # Nobody sees it, and so nobody answers it; time goes on.
    s.type(b"a")
    s.live()
    s.live()
    assert not s.is_answered()
    s.do(later=31)
    assert s.answer(first) == (None, "timeout")
    second = s.ask()
    s.alive()
    s.window.flow(goes=True)
    s.shown("a call waits", "denied in 30 s")
    s.live()
    s.type(b"o")
    assert s.answer(second) == ("once", "person")


def test_output_that_is_stopped_is_let_go_in_the_end(s: Scene) -> None:
    before = s.window.modes()
    s.asked()
    s.window.flow(goes=False)
    s.do(later=1)
    s.alive()
    os.kill(s.window.job, signal.SIGTERM)
    assert s.window.end() == 7
    assert s.window.modes() == before and not s.window.cursor_is_hidden
    assert s.window.said.count(ENTER) == s.window.said.count(LEAVE) == 1


def test_stopped_and_gone_on(s: Scene) -> None:
    before = s.window.modes()
    number = s.asked()
    assert s.window.modes() != before
    s.window.type(b"\x1a")
    s.window.await_stop()
    assert s.window.modes() == before and not s.window.cursor_is_hidden
    assert s.window.said.count(ENTER) == s.window.said.count(LEAVE) == 1
    s.window.go_on()
    s.shown("a call waits", "d deny")
    s.live()
    s.type(b"o")
    assert s.answer(number) == ("once", "person")


def test_in_the_background_nobody_is_asked_and_nothing_stops(s: Scene) -> None:
    number = s.asked()
    s.window.type(b"\x1a")
    s.window.await_stop()
    s.window.go_on(background=True)
    assert s.answer(number) == (None, "nobody")
    said = s.window.said
    assert s.answer(s.ask()) == (None, "nobody")
    # A key for whoever has the terminal now.
    s.type(b"a\n")
    assert s.answer(s.ask()) == (None, "nobody")
    assert s.alive()["prompt"]
    s.window.await_screen(lambda text: "a" in text, "the terminal's own echo")
    assert ENTER not in s.window.said[len(said) :]
    # And back.
    os.kill(s.window.job, signal.SIGSTOP)
    s.window.await_stop()
    s.window.go_on()
    wait_until(lambda: s.window.is_foreground, deadline_s=30, what="it is in the foreground")
    s.shown("scmm-monitor: 0")
    number = s.asked()
    s.type(b"d")
    assert s.answer(number) == ("deny", "person")


def test_a_key_of_whoever_has_the_terminal_now_stops_nothing(s: Scene) -> None:
    number = s.asked()
    # It has had no time to leave the terminal, nor to see that it is another's before it is told of the key.
    os.kill(s.window.job, signal.SIGSTOP)
    s.window.await_stop()
    s.window.type(b"a")
    s.window.go_on(background=True)
    assert s.answer(number) == (None, "nobody")
    assert s.alive()["read"] == 0


def test_a_stop_that_cannot_be_caught(s: Scene) -> None:
    number = s.asked()
    os.kill(s.window.job, signal.SIGSTOP)
    s.window.await_stop()
    entered = len(s.window.said)
    s.window.go_on()
    s.window.await_screen(lambda _: b"a call waits" in s.window.said[entered:], "drawn anew")
    s.type(b"o")
    assert s.answer(number) == ("once", "person")


@pytest.mark.parametrize("asks", [True, False])
def test_a_signal_that_ends_it_leaves_the_terminal_as_it_was(s: Scene, asks: bool) -> None:
    before = s.window.modes()
    if asks:
        s.asked()
        assert s.window.modes() != before and s.window.cursor_is_hidden
    else:
        s.shown("scmm-monitor: 0")
    os.kill(s.window.job, signal.SIGTERM)
    assert s.window.end() == 7
    assert s.window.modes() == before and not s.window.cursor_is_hidden
    assert s.window.said.count(ENTER) == s.window.said.count(LEAVE) == int(asks)
    assert s.window.text() == ""


@pytest.mark.parametrize(("name", "value"), [("TERM", "dumb"), ("NO_COLOR", "1"), ("PYTHONIOENCODING", "ascii")])
def test_what_the_environment_says(tmp_path: Path, name: str, value: str) -> None:
    words = ["/usr/bin/env", f"{name}={value}", sys.executable, str(SCENE)]
    with scene_of(tmp_path, words) as s:
        number = s.ask()
        if name == "TERM":
            assert s.answer(number) == (None, "nobody")
            assert s.window.said == b""
            return
        s.shown("a call waits")
        if name == "NO_COLOR":
            assert b"\x1b[1;32m" not in s.window.said and b";3" not in s.window.said
        else:
            s.shown("####")
            assert s.window.said.isascii()


@pytest.mark.parametrize("stream", ["<", "2>"])
def test_where_no_person_is_there_is_no_prompt(tmp_path: Path, stream: str) -> None:
    words = ["/bin/sh", "-c", f'exec "$@" {stream} /dev/null', "-", sys.executable, str(SCENE)]
    with scene_of(tmp_path, words) as s:
        assert s.answer(s.ask()) == (None, "nobody")
        assert s.alive()["prompt"] is False
        assert s.window.said == b""


def test_without_any_terminal(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from scmm_oci.cli.monitor_prompt import open_prompt; print(open_prompt(None, None))"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "None\n"
