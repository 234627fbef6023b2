"""The examples of docs/policy.md, run as they stand there, and its interview in a terminal.

Digits and lengths of white space are not compared; `…` stands for anything.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest
from recording import Recorder, as_from_a_shell
from support import ROOT, Hooks
from terminal import Terminal

#: Where the example has its files: file systems of the test's own, in its mount namespace.
PLACES = ("/srv", "/usr/local/etc")
VERBS = (
    "compile",
    "diff",
    "disasm",
    "explain",
    "extract",
    "graph",
    "groups",
    "import-profile",
    "lint",
    "merge",
    "verify",
)
#: Commands that the page shows, and whose options another page describes.
SHOWN = ("enforce",)


def blocks(kind: str) -> list[str]:
    text = (ROOT / "docs/policy.md").read_text()
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def examples() -> list[tuple[str, str]]:
    """(command, what it prints) of every console block."""
    found: list[tuple[str, str]] = []
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = part.splitlines(keepends=True)
            end = next(number for number, line in enumerate(lines) if not line.endswith("\\\n"))
            found.append(("".join(lines[: end + 1]).strip(), "".join(lines[end + 1 :])))
    return found


def normal(text: str) -> str:
    return re.sub(r"\d+", "0", " ".join(text.split()))


def is_shown(shown: str, printed: str) -> bool:
    """Whether that is what was printed; `…` stands for anything."""
    parts = [re.escape(normal(part)) for part in shown.split("…")]
    return re.fullmatch(r"\s*.*\s*".join(parts), normal(printed), re.DOTALL) is not None


def test_outputs_are_told_apart() -> None:
    assert is_shown("calls: 44 allow\n…\nnote: b\n", "calls: 40   allow\nnote: a\nnote: b\n")
    assert not is_shown("calls: 44 allow\n…\nnote: b\n", "calls: 40 allow\nnote: a\n")
    assert not is_shown("", "error") and len(examples()) > 20 and len(blocks("text")) == 3


@pytest.fixture
def recorder(hooks: Hooks, tmp_path: Path) -> Iterator[Recorder]:
    """The example's program and what it reads, in /srv."""
    mounted = []
    try:
        for place in PLACES:
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", place], check=True)
            mounted.append(place)
        base = Path("/srv")
        settings = Path("/usr/local/etc/report")
        for directory in (base / "in", base / "out", settings):
            directory.mkdir()
        for command, shown in examples():
            if command.startswith("cat "):
                (base / command[4:]).write_text(shown)
        (base / "report").chmod(0o755)
        for day in (1123, 1124, 1125):
            for shop in ("anna", "ben"):
                (base / f"in/{shop}-{day}.csv").write_text(f"bread of {shop},{day}\n")
            (settings / f"skip-{day}").write_text("test\n")
        yield Recorder(hooks, tmp_path)
    finally:
        for place in reversed(mounted):
            subprocess.run(["umount", place], check=True)


def programs(recorder: Recorder) -> Path:
    """A directory with the commands that an installation has."""
    directory = recorder.directory / "bin"
    directory.mkdir()
    words = recorder.words()
    module = f"{words[0]} -m scmm_oci.cli.main"
    for verb in (*VERBS, *SHOWN):
        (directory / f"scmm-{verb}").write_text(f'#!/bin/sh\nexec {module} {verb} "$@"\n')
    (directory / "scmm-record").write_text(f'#!/bin/sh\nexec {words[0]} {" ".join(words[1:])} "$@"\n')
    (directory / "scmm").write_text('#!/bin/sh\nverb=$1; shift; exec "scmm-$verb" "$@"\n')
    for path in directory.iterdir():
        path.chmod(0o755)
    return directory


def test_examples(recorder: Recorder) -> None:
    env = recorder.environ(PATH=f"{programs(recorder)}:/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL="C", COLUMNS="120")
    for command, shown in examples():
        done = subprocess.run(
            ["bash"],
            input=f"exec 2>&1 </dev/null; {command}",
            env=env,
            cwd="/srv",
            stdout=subprocess.PIPE,
            preexec_fn=as_from_a_shell,
            text=True,
            timeout=60,
            check=False,
        )
        assert is_shown(shown, done.stdout), f"{command}\n{done.stdout}"


def options(verb: str) -> list[str]:
    """The long options of a command, as its help has them."""
    name = verb.replace("-", "_")
    command: click.Command = getattr(import_module(f"scmm_oci.cli.{name}"), name)
    return [option for each in command.params for option in each.opts if option.startswith("--")]


@pytest.mark.parametrize("verb", VERBS)
def test_options_are_described(verb: str) -> None:
    text = (ROOT / "docs/policy.md").read_text()
    assert len(options(verb)) > 1
    assert [option for option in options(verb) if not re.search(rf"{option}(?![a-z-])", text)] == []


def test_interview(recorder: Recorder) -> None:
    """Its three screens: a question about calls, one about files, and what is said when it is stopped."""
    calls, files, stopped = blocks("text")
    env = recorder.environ(PATH=f"{programs(recorder)}:/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL="C.UTF-8")
    for day, name in ((1123, "monday"), (1124, "tuesday")):
        words = ["scmm-record", "-q", "-o", f"{name}.scmm-cap", "--", "./report", str(day)]
        subprocess.run(words, env=env, cwd="/srv", preexec_fn=as_from_a_shell, check=True)
    command = ["scmm-extract", "-i", "monday.scmm-cap", "-i", "tuesday.scmm-cap", "-o", "both.scmm.yaml"]
    with Terminal(command, env=env, cwd=Path("/srv"), rows=30, columns=110) as talk:
        talk.await_screen(lambda text: "outside the policy?" in text, "the first question")
        talk.type(b"\r\r")
        talk.await_screen(lambda text: "files: what becomes" in text, "a category")
        assert is_shown(calls, talk.text()), talk.text()
        for _ in range(40):
            if "/srv:" in talk.text():
                break
            head = talk.lines()[0]
            talk.type(b"\r")
            talk.await_screen(lambda text, head=head: text and text.splitlines()[0] != head, "the next question")
        assert is_shown(files, talk.text()), talk.text()
        talk.type(b"\x03")
        assert talk.end() == 130
        assert is_shown(stopped, talk.text()), talk.text()
