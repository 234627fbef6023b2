"""What scmm-monitor's screen shows, in windows of every size and whatever programs call themselves."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from asked import process, question, target
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from scmm_oci.cli import monitor_screen, monitor_text
from scmm_oci.cli.monitor_screen import Window
from scmm_oci.cli.monitor_text import Line, Style
from scmm_oci.enforcer.monitor.questions import Answer, Shown


def shown(*, number: int = 1, times: int = 0, waiting: int = 0, more: int = 0, **changes: Any) -> Shown:
    return Shown(number, question(**changes), times, waiting, more, 30.0, reply=lambda answer: True)


def texts(lines: list[Line]) -> list[str]:
    return ["".join(span.text for span in line) for line in lines]


def screen(columns: int, rows: int, up: Shown, **options: Any) -> list[str]:
    values = {"left_s": 12.0, "listens": True, **options}
    return texts(monitor_screen.question(up, Window(columns, rows), **values))


def styles(up: Shown, **options: Any) -> dict[str, Style]:
    values = {"left_s": 12.0, "listens": True, **options}
    lines = monitor_screen.question(up, Window(80, 24), **values)
    return {span.text.strip(): span.style for line in lines for span in line}


_HOSTILE = st.sampled_from("a/\x1b\u202e\u0301語🙂…\ud800\n")
_TEXT = st.text(st.characters(), max_size=60) | st.text(_HOSTILE, max_size=300)


@given(
    up=st.builds(
        lambda *words: shown(
            words=words[0],
            paths=(words[1], words[2]),
            claimed=(words[3],),
            target=target(words[4]),
            process=process(executable=words[5], comm=words[6]),
            more=words[7],
        ),
        *[_TEXT] * 7,
        st.integers(0, 63),
    ),
    columns=st.integers(1, 200),
    rows=st.integers(1, 60),
    ascii=st.booleans(),
    left=st.floats(-5, 60),
)
def test_a_screen_fits_and_nothing_in_it_steers(up: Shown, columns: int, rows: int, ascii: bool, left: float) -> None:
    window = Window(columns, rows, ascii)
    lines = monitor_screen.question(up, window, left_s=left, listens=True)
    assert len(lines) == rows
    for text in texts(lines):
        assert cell_len(text) <= columns
        assert text.isprintable() and (text.isascii() or not ascii)
        # What has no width would hide in what stands before it.
        assert not any(unicodedata.combining(c) for c in text)
    whole = "\n".join(texts(lines))
    if monitor_screen.is_enough(up, window):
        assert "o allow once  r this run  a always\n" in whole and "k kill" in whole
        assert whole.count("path  ") == 2 and "says  " in whole and "call  " in whole and "program" in whole
    else:
        assert "allow" not in whole


@given(text=_TEXT, width=st.integers(2, 80), lines=st.integers(1, 6))
def test_what_is_cut_keeps_both_ends_and_says_so(text: str, width: int, lines: int) -> None:
    safe = monitor_text.safe(text)
    found = monitor_text.fit(text, width, lines)
    assert 1 <= len(found) <= lines and all(cell_len(line) <= width for line in texts(found))
    whole = "".join(texts(found))
    marks = [span for line in found for span in line if span.style is Style.INVERSE]
    if not marks:
        assert whole == safe
        return
    assert [span.text for span in marks] == ["…"]
    at = "".join(span.text if span.style is Style.PLAIN else "\0" for line in found for span in line).index("\0")
    before, after = whole[:at], whole[at + 1 :]
    assert safe.startswith(before) and safe.endswith(after) and len(before) + len(after) < len(safe)
    # The end is what tells files apart.
    assert cell_len(after) >= cell_len(before) - 1


def test_the_end_of_a_long_path_is_seen() -> None:
    lines = screen(40, 10, shown(paths=("/srv/" + "x" * 5000 + "/../../etc/shadow",)))
    assert any(line.endswith("/etc/shadow") and "…" in line for line in lines)
    # Where there is room, more of it.
    assert sum("xxxx" in line for line in screen(40, 24, shown(paths=("/srv/" + "x" * 5000,)))) == 6


def test_little_room_takes_away_what_tells_least() -> None:
    up = shown(times=2)
    large, small = screen(80, 24, up), screen(80, 8, up)
    assert any("asked 2 times" in line for line in large) and any("4711" in line for line in large)
    assert not any("asked" in line or "4711" in line for line in small)
    for what in ("web-1", "/usr/sbin/nginx", "openat(", "path     /etc/passwd", "denied in 12 s", "d deny"):
        assert any(what in line for line in small), what
    assert not any("allow" in line for line in screen(80, 7, up))


@pytest.mark.parametrize(
    ("waiting", "times", "words"),
    [
        (0, 0, "never asked"),
        (0, 1, "asked 1 time"),
        (1, 3, "asked 3 times; 1 more call waits for this answer"),
        (2, 0, "never asked; 2 more calls wait for this answer"),
    ],
)
def test_how_often_and_how_many(waiting: int, times: int, words: str) -> None:
    lines = screen(80, 24, shown(waiting=waiting, times=times))
    assert f" before   {words}" in lines


def test_only_a_name_that_differs_is_told() -> None:
    long = process(executable="/usr/bin/a-name-of-more-than-15", comm="a-name-of-more-")
    assert " process  4711, user 33" in screen(80, 24, shown(process=long))
    assert ' process  4711, user 33, calls itself "sshd"' in screen(80, 24, shown(process=process(comm="sshd")))
    assert " program  unknown" in screen(80, 24, shown(process=None))


def test_keys_look_as_if_they_counted_when_they_do() -> None:
    up = shown(choices=frozenset({Answer.ONCE, Answer.DENY}))
    assert (styles(up)["o"], styles(up)["d"]) == (Style.ALLOW, Style.DENY)
    assert styles(up, listens=False)["o"] is Style.DIM
    assert styles(up, said="allowed once")["o"] is Style.DIM
    assert "a" not in styles(up) and "a" in styles(shown())


def test_only_rows_that_differ_are_written() -> None:
    window, up = Window(80, 24), shown()
    first = monitor_screen.question(up, window, left_s=12.0, listens=True)
    later = monitor_screen.question(up, window, left_s=11.0, listens=True)
    whole = monitor_text.drawn(first, None, colours=True)
    assert whole.count("H\x1b[K") == 24
    changed = monitor_text.drawn(later, first, colours=True)
    assert changed.count("H\x1b[K") == 1 and "denied in 11 s" in changed
    assert monitor_text.drawn(first, first, colours=True) == ""
    assert ";3" not in monitor_text.drawn(first, None, colours=False)


def test_the_quiet_line_leaves_a_place_for_the_cursor() -> None:
    assert monitor_screen.quiet(1, 1, 80) == "scmm-monitor: 1 container or program, 1 decision"
    for columns in range(1, 60):
        assert len(monitor_screen.quiet(2, 100000, columns)) < columns or columns == 1
