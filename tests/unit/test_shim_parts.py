"""What scmm-runc prints and where it looks: its errors, the bundles in what runtimes print, default roots."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scmm_oci.enforcer import passing, runtime_root, telling
from scmm_oci.oci import runtime_argv

PRIVATE = "/run/scmm/containers/0123456789abcdef01234567"


@given(st.text(st.characters(codec="utf-8"), max_size=40), st.text(st.characters(codec="utf-8"), max_size=40))
def test_bundles_in_json(original: str, other: str) -> None:
    document = [{"id": "x", "bundle": PRIVATE, "annotations": {"a": other, "b": f"{PRIVATE}/x"}}]
    printed = json.dumps(document, indent=2).encode()
    shown = json.loads(passing.with_original_bundles(printed, {PRIVATE: original}))
    assert shown == [{**document[0], "bundle": original}]
    assert passing.with_original_bundles(printed, {f"{PRIVATE[:-1]}8": original}) == printed


def columns(*rows: tuple[str, ...]) -> bytes:
    """As Go's tabwriter does for runc."""
    widths = [max(12, *(len(row[place]) + 3 for row in rows)) for place in range(len(rows[0]) - 1)]
    lines = ["".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=False)) + row[-1] for row in rows]
    return ("\n".join(lines) + "\n").encode()


@pytest.mark.parametrize("original", ["/b", "/var/lib/" + "long/" * 20 + "bundle", "/ä"])
@pytest.mark.parametrize("beside", ["/other", "/another/" + "x" * 60])
def test_bundles_in_runcs_table(original: str, beside: str) -> None:
    def table(bundle: str) -> bytes:
        head = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")
        rows = [
            ("one", "17", "running", bundle, "2026-01-01T00:00:00Z", "root"),
            ("two", "0", "stopped", beside, "T", "r"),
        ]
        return columns(head, *rows)

    assert passing.with_original_bundles(table(PRIVATE), {PRIVATE: original}) == table(original)


def test_bundles_in_cruns_table() -> None:
    def table(bundle: str) -> bytes:
        head = f"{'NAME':12} {'PID':9} {'STATUS':8} {'BUNDLE PATH':39} {'CREATED':30} OWNER\n"
        return f"{head}{'one':12} {'17':9} {'running':8} {bundle:39} {'2026':30} root\n".encode()

    for original in ("/b", "/b/" + "x" * 50):
        assert passing.with_original_bundles(table(PRIVATE), {PRIVATE: original}) == table(original)


@pytest.mark.parametrize("form", ["json", "text"])
def test_errors_are_told_as_engines_read_them(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    telling.error('no "policy"\n\x1b[31m', log=str(log), log_format=form, now=0.0)
    assert capsys.readouterr().err == 'scmm-runc: no "policy"\\n\\x1b[31m\n'
    before, last = log.read_text().splitlines()
    assert before == "before"
    if form == "json":
        message = 'scmm-runc: no "policy"\\n\\x1b[31m'
        assert json.loads(last) == {"level": "error", "msg": message, "time": "1970-01-01T00:00:00Z"}
    else:
        assert last.startswith('time="1970-01-01T00:00:00Z" level=error msg="scmm-runc: no \\"policy\\"')


def test_a_log_that_cannot_be_written_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fifo, link = tmp_path / "fifo", tmp_path / "link"
    os.mkfifo(fifo)
    link.symlink_to(tmp_path / "target")
    for path in (fifo, tmp_path / "missing/log", tmp_path):
        telling.error("one", log=str(path), log_format="text", now=0.0)
        telling.note(str(path), "two", now=0.0)
    assert capsys.readouterr().err == "scmm-runc: one\n" * 3
    telling.note(str(link), "three", now=0.0)
    assert not (tmp_path / "target").exists()  # our own log is no link
    telling.note(str(tmp_path / "made/log"), "four", now=0.0)
    assert (tmp_path / "made/log").read_text() == "1970-01-01T00:00:00Z scmm-runc: four\n"


def test_the_log_is_begun_anew(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * (telling.MAX_LOG + 1))
    telling.note(str(log), "new", now=0.0)
    assert log.read_text().endswith("new\n") and log.stat().st_size < 100
    assert (tmp_path / "log.1").stat().st_size == telling.MAX_LOG + 1


def test_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    def root(*words: str, dialect: str = "runc") -> str:
        return runtime_root.of(runtime_argv.parse([*words, "state", "x"], dialect=dialect))

    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(runtime_root, "in_user_namespace", lambda: False)
    assert [root(), root(dialect="crun"), root("--root", "/x/../y")] == ["/run/runc", "/run/user/7/crun", "/y"]
    assert [root("--root", "x"), root("--root", "")] == [os.path.abspath("x"), os.getcwd()]
    monkeypatch.setattr(runtime_root, "in_user_namespace", lambda: True)
    monkeypatch.delenv("USER", raising=False)
    assert root() == "/run/user/7/runc"
    monkeypatch.setenv("USER", "root")
    assert root() == "/run/runc"
    monkeypatch.setattr(os, "geteuid", lambda: 7)
    assert [root(), root(dialect="crun")] == ["/run/user/7/runc", "/run/user/7/crun"]
    for nothing in (lambda: monkeypatch.setenv("XDG_RUNTIME_DIR", ""), lambda: monkeypatch.delenv("XDG_RUNTIME_DIR")):
        nothing()
        assert [root(), root(dialect="crun")] == ["/run/runc", "/run/crun"]


def test_what_a_program_prints_and_how_it_ends(tmp_path: Path) -> None:
    script = tmp_path / "program"
    for text, expected in (("echo one; exit 3", (b"one\n", 3)), ("kill -9 $$", (b"", 137))):
        script.write_text(f"#!/bin/sh\n{text}\n")
        script.chmod(0o755)
        assert passing.output(str(script), ["x"]) == expected
    with pytest.raises(FileNotFoundError):
        passing.output(str(tmp_path / "missing"), [])


def test_signals_that_python_ignores_are_not_handed_on(tmp_path: Path) -> None:
    root = Path(passing.__file__).resolve().parents[2]
    text = f"import sys; sys.path.append({str(root)!r})\nfrom scmm_oci.enforcer import passing\n"
    for more, ignored in (
        ("passing.become('/bin/cat', ['/proc/self/status'])", False),
        ("import os; os.execv('/bin/cat', ['cat', '/proc/self/status'])", True),
    ):
        done = subprocess.run(["python3", "-I", "-S", "-c", text + more], capture_output=True, text=True, check=True)
        (mask,) = (int(line.split()[1], 16) for line in done.stdout.splitlines() if line.startswith("SigIgn:"))
        assert bool(mask >> 12 & 1) is ignored  # SIGPIPE is 13
