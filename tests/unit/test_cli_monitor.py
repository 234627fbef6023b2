"""``scmm monitor``: words that make no sense, before anything is served."""

from __future__ import annotations

from pathlib import Path

import pytest

from scmm_oci.cli.main import monitor


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["statsu"], "'statsu' is not a command of scmm-monitor (did you mean 'status'?"),
        (["--no-prompt", "decisions"], "decisions: stands before all options (scmm-monitor decisions …)"),
        (["--log", "a", "--rules", "", "--log", "b"], "--rules: is empty (leave it out, or give it a value)"),
        (["--log", "a", "--rules", "", "--log", "b"], "--log: is given more than once (give one of them)"),
        (["--timeout", "3", "--timeout", "4"], "--timeout: is given more than once (give one of them)"),
        (["one", "two"], "'one' is not a command of scmm-monitor (known: status, decisions)\nerror: 'two'"),
    ],
)
def test_words_that_nobody_can_mean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    place = tmp_path / "run" / "notify.sock"
    assert monitor(["--socket", str(place), *words]) == 2
    assert told in capsys.readouterr().err
    assert not place.parent.exists()


def test_both_words_are_other_commands_where_they_stand_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert monitor(["status", "--socket", str(tmp_path / "run" / "notify.sock")]) == 1
    assert "no monitor listens at" in capsys.readouterr().err
    missing = tmp_path / "none.sqlite"
    assert monitor(["decisions", "list", "--decisions", str(missing)]) != 0
    assert str(missing) in capsys.readouterr().err


def test_two_options_for_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "one")
    place = tmp_path / "run" / "notify.sock"
    both = ("--decisions", str(tmp_path / "one"), "--log", str(tmp_path / "link"))
    assert monitor(["--socket", str(place), *both, "--learn", f"{tmp_path}/x", "--pid-file", f"{tmp_path}/./x"]) == 2
    told = capsys.readouterr().err
    assert f"--decisions, --log: name the same file, {tmp_path}/one" in told
    assert f"--learn, --pid-file: name the same file, {tmp_path}/x" in told
    assert [each.name for each in tmp_path.iterdir()] == ["link"]
