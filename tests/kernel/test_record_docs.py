"""The examples of docs/record.md, run as they stand there; what they print is what it shows, but for digits."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from recording import Recorder, as_from_a_shell
from support import ROOT, Hooks


def examples() -> list[tuple[str, str]]:
    """(command, what it prints) of every console block."""
    text = (ROOT / "docs/record.md").read_text()
    found: list[tuple[str, str]] = []
    for block in re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            found.append((command, shown))
    return found


def normal(text: str) -> str:
    return re.sub(r"\d+", "0", " ".join(text.split()))


def is_shown(shown: str, printed: str) -> bool:
    """Whether that is what was printed; `…` stands for anything."""
    parts = [re.escape(normal(part)) for part in shown.split("…")]
    return re.fullmatch(r"\s*.*\s*".join(parts), normal(printed), re.DOTALL) is not None


def test_outputs_are_told_apart() -> None:
    assert is_shown("…\nx: 12 files; complete\n", "vm\nx: 7 files; complete\n")
    assert is_shown("incomplete: …attached\n", "incomplete: attached") and is_shown("a …b", "a lost, b")
    assert not is_shown("x: 12 files; complete\n", "x: 12 files; incomplete: attached\n")
    assert not is_shown("", "error") and len(examples()) > 8


def test_examples(hooks: Hooks, tmp_path: Path) -> None:
    recorder = Recorder(hooks, tmp_path)
    programs = tmp_path / "bin"
    programs.mkdir()
    words = recorder.words()
    for name, more in (("scmm-record", words[1:]), ("scmm-extract", ["-m", "scmm_oci.cli.main", "extract"])):
        (programs / name).write_text(f'#!/bin/sh\nexec {words[0]} {" ".join(more)} "$@"\n')
    (programs / "scmm").write_text('#!/bin/sh\nverb=$1; shift; exec "scmm-$verb" "$@"\n')
    (programs / "worker").write_text("#!/bin/sh\nwhile :; do cat /etc/hostname >/dev/null; sleep 0.1; done\n")
    for path in programs.iterdir():
        path.chmod(0o755)
    env = recorder.environ(PATH=f"{programs}:/usr/bin:/bin")
    started = []
    with subprocess.Popen(["worker"], env=env, preexec_fn=as_from_a_shell) as worker:
        try:
            for command, shown in examples():
                if command.endswith("&"):
                    started.append(subprocess.Popen(["bash", "-c", f"exec {command[:-1]}"], env=env, cwd=tmp_path))
                    recorder.entry("long")
                    continue
                done = subprocess.run(
                    ["bash"],
                    input=f"exec 2>&1 </dev/null; {command}",  # not in its command line, where pkill would find it
                    env=env,
                    cwd=tmp_path,
                    stdout=subprocess.PIPE,
                    preexec_fn=as_from_a_shell,
                    text=True,
                    timeout=60,
                    check=False,
                )
                shown = shown.replace("/var/lib/scmm/captures", hooks.settings.capture_dir)
                assert is_shown(shown, done.stdout), f"{command}\n{done.stdout}"
        finally:
            worker.kill()
            for each in started:
                each.kill()
                each.wait()


@pytest.mark.parametrize(
    "option", ["--files", "--no-follow", "--live", "--no-live", "--user", "--snapshot", "--recover"]
)
def test_options_are_described(option: str) -> None:
    assert option in (ROOT / "docs/record.md").read_text().partition("## Importing strace")[0]
