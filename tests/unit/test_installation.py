"""Installing the hook pair: what is written, what is found wrong with it, and a starter that withstands any path."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scmm_oci.cli.main import main
from scmm_oci.enforcer import store
from scmm_oci.errors import BadInput, Failure
from scmm_oci.recorder import installation, settings
from scmm_oci.recorder.installation import Layout

HOSTILE = 'it\'s "quoted" $HOME `id` $(id) \\ * ; & | > new\nline é'


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(hooks_dir=tmp_path / "hooks.d", libexec_dir=tmp_path / "libexec", config=tmp_path / "config.yaml")


@pytest.fixture
def safe(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if everything were root's: the tests need not run as root, nor in a checkout that belongs to root."""
    monkeypatch.setattr(installation, "writable_by_others", lambda path: None)


def options(layout: Layout) -> list[str]:
    return [
        *("--config", str(layout.config)),
        *("--hooks-dir", str(layout.hooks_dir)),
        *("--libexec-dir", str(layout.libexec_dir)),
    ]


def codes(layout: Layout) -> list[str]:
    return [finding.code for finding in installation.findings(layout)]


def tree(path: Path) -> set[str]:
    return {str(each.relative_to(path)) for each in path.rglob("*")}


# Install, inspect, remove


@pytest.mark.usefixtures("safe")
def test_installed_and_removed_again(layout: Layout, tmp_path: Path) -> None:
    assert codes(layout) == ["hooks-not-installed"]
    written = installation.install(layout)
    assert set(written) == {
        layout.libexec_dir / "hook.json",
        layout.libexec_dir / "scmm-hook",
        layout.libexec_dir / "scmm-watch-hook",
        layout.hooks_dir / "scmm-prestart.json",
        layout.hooks_dir / "scmm-poststop.json",
        layout.hooks_dir / "scmm-watch-prestart.json",
        layout.hooks_dir / "scmm-watch-poststop.json",
    }
    assert all(path.is_file() for path in written)
    starters = {layout.libexec_dir / name for name in installation.STARTERS}
    assert {path.stat().st_mode & 0o777 for path in {*written} - starters} == {0o644}
    assert {path.stat().st_mode & 0o777 for path in starters} == {0o755}
    assert codes(layout) == []
    # Descriptors come last and go first: an engine never sees one whose program is not there.
    assert [path.parent for path in written[-4:]] == [layout.hooks_dir] * 4
    removed = installation.uninstall(layout)
    assert [path.parent for path in removed[:4]] == [layout.hooks_dir] * 4
    assert set(removed) == set(written)
    assert tree(tmp_path) == {"hooks.d"}
    assert installation.uninstall(layout) == []


@pytest.mark.usefixtures("safe")
def test_descriptors_say_what_podman_needs(layout: Layout) -> None:
    layout.config.write_text("deadline: 20\n")
    installation.install(layout)
    for name, starter, annotation in (("", "scmm-hook", "record"), ("watch-", "scmm-watch-hook", "watch")):
        for stage in ("prestart", "poststop"):
            descriptor = json.loads((layout.hooks_dir / f"scmm-{name}{stage}.json").read_text())
            assert descriptor == {
                "version": "1.0.0",
                "hook": {"path": str(layout.libexec_dir / starter), "args": [starter, stage], "timeout": 22},
                "when": {"annotations": {rf"^scmm\.{annotation}$": ".*"}},
                "stages": [stage],
            }


@pytest.mark.usefixtures("safe")
def test_the_settings_of_the_hook_are_those_of_the_configuration(layout: Layout) -> None:
    layout.config.write_text("capture_dir: /srv/captures\n# a comment\ncall_tables: 1024\n")
    installation.install(layout)
    read = settings.read(str(layout.libexec_dir / "hook.json"))
    assert read.as_dict() == {**settings.DEFAULTS, "capture_dir": "/srv/captures", "call_tables": 1024}


@pytest.mark.usefixtures("safe")
def test_installing_again_takes_new_settings_and_the_umask_does_not_matter(layout: Layout) -> None:
    installation.install(layout)
    layout.config.write_text("deadline: 3\n")
    assert codes(layout) == ["hook-file-stale"] * 5, "hook.json and the timeouts"
    before = os.umask(0o077)
    try:
        installation.install(layout)
    finally:
        os.umask(before)
    assert codes(layout) == []
    assert (layout.libexec_dir / "scmm-hook").stat().st_mode & 0o777 == 0o755


@pytest.mark.usefixtures("safe")
@pytest.mark.parametrize("name", ["hook.json", *installation.STARTERS, *installation.DESCRIPTORS])
def test_a_missing_and_a_changed_file_are_found(layout: Layout, name: str) -> None:
    (path,) = (path for path in installation.install(layout) if path.name == name)
    content = path.read_bytes()
    path.write_bytes(content + b"\n")
    assert codes(layout) == ["hook-file-stale"]
    path.unlink()
    (finding,) = installation.findings(layout)
    assert finding.code == "hook-file-missing"
    assert str(path) in finding.message
    assert "scmm hooks install" in finding.hint


@pytest.mark.usefixtures("safe")
@pytest.mark.parametrize("name", installation.STARTERS)
def test_a_starter_that_cannot_run_is_found(layout: Layout, name: str) -> None:
    installation.install(layout)
    (layout.libexec_dir / name).chmod(0o644)
    assert codes(layout) == ["hook-not-executable"]


@pytest.mark.usefixtures("safe")
def test_what_others_put_there_stays(layout: Layout) -> None:
    installation.install(layout)
    ours, theirs = layout.libexec_dir / "theirs", layout.hooks_dir / "other.json"
    ours.touch()
    theirs.touch()
    installation.uninstall(layout)
    assert ours.exists() and theirs.exists()


@pytest.mark.usefixtures("safe")
def test_a_link_in_the_place_of_a_file_is_not_followed(layout: Layout, tmp_path: Path) -> None:
    layout.hooks_dir.mkdir()
    target = tmp_path / "target"
    target.write_text("mine")
    (layout.hooks_dir / "scmm-prestart.json").symlink_to(target)
    with pytest.raises(Failure, match="symbolic link"):
        installation.install(layout)
    assert target.read_text() == "mine"


# Bad settings


# A configuration → the beginning of each line that is printed about it, less the file's name.
BAD = {
    "deadline: soon\ncapture_dir: captures\nspeed: 3\n": [
        ".capture_dir: 'captures' is not an absolute path",
        ".deadline: 'soon' is not a number of seconds from 1 to 60",
        ".speed: no such setting",
    ],
    "run_dir: /run/../etc\npin_dir: //sys\nlog_file: 'a; b; c'\n": [
        ".log_file: 'a; b; c' is not an absolute path",
        ".pin_dir: '//sys' is not",
        ".run_dir: '/run/../etc' is not",
    ],
    "call_tables: 15\ndeadline: true\n": [".call_tables: 15 is not", ".deadline: True is not"],
    "- a list\n": ["an object of settings expected"],
    "deadline: 1\ndeadline: 2\n": ["while constructing a mapping"],
    "deadline: [1\n": ["while parsing a flow sequence"],
}


@pytest.mark.usefixtures("safe")
@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_bad_settings_are_told_all_at_once_and_nothing_is_written(
    text: str, layout: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout.config.write_text(text)
    assert main(["hooks", "install", *options(layout)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    prefix = f"error: {layout.config}: "
    lines = sorted(output.err.splitlines())
    assert len(lines) == len(BAD[text]), output.err
    for line, beginning in zip(lines, BAD[text], strict=True):
        assert line.startswith(prefix + beginning)
    assert tree(tmp_path) == {"config.yaml"}


@pytest.mark.usefixtures("safe")
@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "{}\n", "deadline: 60\ncall_tables: 16\n"])
def test_good_settings_are_taken(text: str, layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    layout.config.write_text(text)
    assert main(["hooks", "install", *options(layout)]) == 0
    assert codes(layout) == []
    assert f"wrote {layout.hooks_dir}/scmm-prestart.json" in capsys.readouterr().err


@pytest.mark.usefixtures("safe")
def test_settings_that_cannot_be_read_are_bad_input(layout: Layout) -> None:
    layout.config.mkdir()
    with pytest.raises(BadInput, match="cannot be read"):
        installation.install(layout)


@pytest.mark.usefixtures("safe")
def test_the_verbs_tell_how_it_stands(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hooks", "status", "--json", *options(layout)]) == 1
    status: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert status["installed"] is False
    assert [finding["code"] for finding in status["findings"]] == ["hooks-not-installed"]
    assert main(["hooks", "install", *options(layout)]) == 0
    capsys.readouterr()
    assert main(["hooks", "status", "--json", *options(layout)]) == 0
    assert json.loads(capsys.readouterr().out)["installed"] is True
    assert main(["hooks", "uninstall", *options(layout)]) == 0
    assert capsys.readouterr().err.count("removed ") == 7
    assert main(["hooks", "uninstall", *options(layout)]) == 0
    assert capsys.readouterr().err == "nothing was installed\n"


# Who else could write what root will run

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make files that belong to root")


def test_what_only_root_can_write_is_safe() -> None:
    assert installation.writable_by_others(Path("/usr/bin/env")) is None


@needs_root
def test_what_others_can_write_is_unsafe(tmp_path: Path) -> None:
    directory = tmp_path / "directory"
    directory.mkdir(mode=0o755)
    path = directory / "python"
    path.touch(mode=0o755)
    assert installation.writable_by_others(path) is None
    path.chmod(0o757)
    assert installation.writable_by_others(path) == f"{path} can be written by others (mode 757)"
    path.chmod(0o755)
    directory.chmod(0o775)
    assert installation.writable_by_others(path) is None, "root's group is root"
    os.chown(directory, -1, 12345)
    assert installation.writable_by_others(path) == f"{directory} can be written by others (mode 775)"
    directory.chmod(0o1777)
    assert installation.writable_by_others(path) is None, "as in /tmp, nobody can replace root's file"
    assert installation.writable_by_others(directory) == f"{directory} can be written by others (mode 1777)"
    os.chown(path, 12345, -1)
    assert installation.writable_by_others(path) == f"{path} belongs to uid 12345"


@needs_root
def test_a_link_is_judged_by_what_it_leads_to(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.touch()
    os.chown(target, 12345, -1)
    link = tmp_path / "link"
    link.symlink_to(target)
    assert installation.writable_by_others(link) == f"{target} belongs to uid 12345"


@needs_root
@pytest.mark.parametrize("what", ["python", "_package"])
def test_an_unsafe_place_is_refused(what: str, layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "place"
    place.mkdir(mode=0o755)
    monkeypatch.setattr(installation, "python", lambda: Path("/usr/bin/env"))
    monkeypatch.setattr(installation, "_package", lambda: Path("/usr"))
    monkeypatch.setattr(installation, what, lambda: place)
    assert len(installation.install(layout)) == 7
    assert codes(layout) == []
    installation.uninstall(layout)
    layout.hooks_dir.rmdir()
    place.chmod(0o777)
    with pytest.raises(Failure, match=r"place can be written by others \(mode 777\)"):
        installation.install(layout)
    assert tree(tmp_path) == {"place"}


@needs_root
def test_a_place_that_became_unsafe_is_found(layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "place"
    place.mkdir(mode=0o755)
    monkeypatch.setattr(installation, "python", lambda: Path("/usr/bin/env"))
    monkeypatch.setattr(installation, "_package", lambda: place)
    installation.install(layout)
    assert codes(layout) == []
    place.chmod(0o777)
    assert codes(layout) == ["hook-unsafe"]


# The starter


STUB = """
import json, os, sys
def main():
    print(json.dumps([sys.argv, sys.stdin.read(), sorted(os.environ), sys.flags.isolated, sys.flags.no_site]))
    return 7
"""


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """An interpreter, a package and settings whose paths are full of the shell's own characters."""
    base = tmp_path / HOSTILE
    (base / "scmm_oci" / "recorder").mkdir(parents=True)
    (base / "scmm_oci" / "recorder" / "hook.py").write_text(STUB)
    python = base / "python"
    python.symlink_to(getattr(sys, "_base_executable", sys.executable))
    monkeypatch.setattr(installation, "python", lambda: python)
    monkeypatch.setattr(installation, "_package", lambda: base)
    monkeypatch.setattr(installation, "writable_by_others", lambda path: None)
    return Layout(hooks_dir=base / "hooks.d", libexec_dir=base / "libexec", config=tmp_path / "none.yaml")


def start(
    layout: Layout,
    stage: str,
    state: object = None,
    *,
    shell: str | None = None,
    starter: str = installation.STARTER,
) -> subprocess.CompletedProcess[str]:
    """Run the installed starter as a runtime does: no environment, the state on stdin, compact as runc and crun do."""
    text = state if isinstance(state, str) else json.dumps(state or {}, separators=(",", ":"))
    command = [*filter(None, [shell]), str(layout.libexec_dir / starter), stage]
    return subprocess.run(command, input=text, env={}, cwd="/", capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash", None])
def test_the_starter_withstands_any_path(hostile: Layout, shell: str | None) -> None:
    if shell and not Path(shell).exists():
        pytest.skip(f"{shell} is not there")
    installation.install(hostile)
    done = start(hostile, "prestart", {"id": "x"}, shell=shell)
    assert (done.returncode, done.stdout) == (7, "")
    argv, stdin, environ, isolated, no_site = json.loads(done.stderr)
    called_by = ["--called-by", str(os.getpid())]
    assert argv == ["-c", "--settings", str(hostile.libexec_dir / "hook.json"), "prestart", *called_by]
    assert stdin == '{"id":"x"}\n'
    assert isolated == 1 and no_site == 1
    assert set(environ) <= {"PWD", "SHLVL", "_", "OLDPWD", "LC_CTYPE"}, "what shells set by themselves"


def test_the_starter_would_not_without_quotes(hostile: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation.shlex, "quote", str)
    installation.install(hostile)
    assert start(hostile, "prestart").returncode != 7


REQUIRED = {"id": "x", "annotations": {"scmm.record": "required", "other": "y"}}


@pytest.mark.parametrize(
    ("stage", "state", "expected"),
    [
        ("prestart", REQUIRED, 1),
        ("createRuntime", REQUIRED, 1),
        ("poststop", REQUIRED, 0),
        ("prestart", {"annotations": {"scmm.record": "true"}}, 0),
        ("prestart", {"annotations": {"scmm.record": "true", "other": "required"}}, 0),
        ("prestart", {"annotations": {"scmm.record": "true", "scmm.record.not": "required"}}, 0),
        ("prestart", {"annotations": {"scmm.record": "true", "other": '"scmm.record":"required"'}}, 0),
        ("prestart", {"annotations": {"scmm.record": "requiredly"}}, 0),
        ("prestart", {}, 0),
        ("prestart", "", 0),
        ("prestart", "-n \\c %s", 0),
    ],
)
@pytest.mark.parametrize("gone", ["package", "python"])
def test_where_the_recorder_is_gone_containers_start_unless_it_is_required(
    gone: str, stage: str, state: object, expected: int, hostile: Layout
) -> None:
    installation.install(hostile)
    if gone == "package":
        (installation.origin().package / "scmm_oci" / "recorder" / "hook.py").unlink()
    else:
        installation.python().unlink()
    done = start(hostile, stage, state)
    assert done.returncode == expected
    assert done.stdout == ""
    assert done.stderr.startswith("scmm-hook: not recorded: ")
    assert done.stderr.endswith("; run scmm hooks install or scmm hooks uninstall\n")


@pytest.mark.parametrize(
    ("stage", "action", "expected"),
    [
        ("prestart", "kill", 1),
        ("createRuntime", "freeze", 1),
        ("poststop", "kill", 0),
        ("prestart", "alert", 0),
        ("prestart", "count", 0),
        ("prestart", "killer", 0),
    ],
)
@pytest.mark.parametrize("gone", ["package", "python", "module", "killed"])
def test_where_the_watch_is_gone_containers_start_unless_it_was_to_act(
    gone: str, stage: str, action: str, expected: int, hostile: Layout
) -> None:
    installation.install(hostile)
    hook = installation.origin().package / "scmm_oci" / "watch" / "hook.py"
    if gone in ("module", "killed"):
        hook.parent.mkdir()
        killed = "import os\ndef main():\n    os.kill(os.getpid(), 9)\n"
        hook.write_text(killed if gone == "killed" else "import scmm_oci.nothing_of_that_name\n")
    elif gone == "python":
        installation.python().unlink()
    state = {"id": "x", "annotations": {"scmm.watch": action, "scmm.policy": "web"}}
    done = start(hostile, stage, state, starter=installation.WATCH_STARTER)
    if (gone, stage) == ("killed", "poststop"):
        assert (done.returncode, done.stdout, done.stderr) == (-9, "", ""), "the runtime tells of it, and goes on"
        return
    assert (done.returncode, done.stdout) == (expected, "")
    told = done.stderr.removeprefix("Killed\n")  # some shells say so
    assert told.startswith("scmm-watch-hook: not watched: ")
    assert ("a signal" if gone == "killed" else "scmm hooks install") in done.stderr


@pytest.mark.parametrize("starter", installation.STARTERS)
def test_the_starter_of_this_checkout_runs_the_hook(starter: str, layout: Layout, safe: None) -> None:
    installation.install(layout)
    done = start(layout, "neither", starter=starter)
    assert done.returncode == 2
    assert done.stderr.startswith(f"usage: {starter} [--settings FILE] prestart|createRuntime|poststop")


# The store


def test_the_store_of_the_hooks_is_that_of_scmm_runc(layout: Layout) -> None:
    assert settings.DEFAULTS["policy_dir"] == store.DIRECTORY
    layout.config.write_text("shim:\n  policy_dir: /srv/policies\n")
    assert installation.configured(layout.config).policy_dir == "/srv/policies"
    layout.config.write_text("policy_dir: /srv/policies\nspeed: 3\nshim:\n  policy_dir: x\n")
    with pytest.raises(BadInput) as caught:
        installation.configured(layout.config)
    told = [problem.message for problem in caught.value.problems]
    assert told[0] == ".policy_dir: the policy store is scmm-runc's too: set .shim.policy_dir"
    assert told[1].startswith(".speed: no such setting")
    assert told[2].startswith(".policy_dir: 'x' is not an absolute path")
    assert len(told) == 3


def test_only_what_is_empty_and_can_go_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty, full = tmp_path / "empty", tmp_path / "full"
    empty.mkdir()
    full.mkdir()
    (full / "file").touch()
    for each in (empty, full, full / "file", tmp_path / "none"):
        installation.remove_empty(each)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "full"]

    def refused(number: int) -> None:
        def rmdir(self: Path) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(Path, "rmdir", rmdir)

    refused(errno.EBUSY)  # a mount point
    installation.remove_empty(full)
    refused(errno.EROFS)
    with pytest.raises(OSError, match="Read-only"):
        installation.remove_empty(full)
