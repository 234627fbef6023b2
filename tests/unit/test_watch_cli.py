"""`scmm-watch` without a kernel: what goes together, what is listed, ended and let go on, what policies it takes."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from watch_events import HOSTILE, alert, entry
from watch_kernel import NATIVE, NOW, Kernel, begin, installed, settings_in

from scmm_oci.cli import main as programs
from scmm_oci.cli import watch_policy, watch_shown, watch_standing
from scmm_oci.errors import BadInput, Failure
from scmm_oci.recorder import engines
from scmm_oci.recorder.settings import Settings
from scmm_oci.tables.arch import Arch
from scmm_oci.watch import session, wire, words


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    monkeypatch.setattr(words, "ARCHES", {os.uname().machine: wire.ARCHES["x86_64"]})

    def none(name: str, **options: object) -> engines.Container:
        raise Failure(f"no engine has a container {name!r}")

    monkeypatch.setattr(engines, "find_container", none)
    return installed(tmp_path, monkeypatch)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


def policy(path: Path, arch: Arch = NATIVE, *, transitions: str = "transitions: {start: [read]}\n") -> str:
    settings = f"settings: {{default_action: allow, arch: {arch}, architectures: [{arch}]}}\n"
    calls = "syscalls: [{name: ptrace, action: deny}]\n"
    path.write_text(f'version: "1.0"\n{settings}{calls}{transitions}')
    return str(path)


@pytest.mark.parametrize(
    ("words_", "text"),
    [
        ([], "Nothing to do: give -p POLICY with a container or with `-- COMMAND`, --follow, --list"),
        (["web"], "Nothing to do"),
        (["-p", "x"], "Nothing to do"),
        (["--list", "--follow"], "--list and --follow do not go together: give one."),
        (["--list", "web"], "CONTAINER does not go with --list."),
        (["--list", "-p", "x"], "-p does not go with --list."),
        (["--list", "--metrics", "x"], "--metrics does not go with --list."),
        (["--stop", "a", "--thaw", "b"], "--stop and --thaw do not go together: give one."),
        (["--stop", "a", "--action", "kill"], "--action does not go with --stop."),
        (["--follow", "--action", "kill"], "--action does not go with --follow."),
        (["--follow", "--user", "x", "--no-wait"], "--user, --no-wait do not go with --follow."),
        (["-p", "x", "web", "--user", "x"], "--user does not go with a container."),
        (["-p", "x", "web", "--metrics", "x"], "--metrics goes with --follow"),
        (["-p", "x", "--action", "stop", "web"], "'stop' is not one of 'count', 'alert', 'freeze', 'kill'."),
    ],
)
def test_what_does_not_go_together(words_: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert programs.watch(words_) == 2
    out, err = capsys.readouterr()
    assert out == "" and text in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("words_", "text"),
    [
        (["-p", "x", "--"], "There is no command after `--`."),
        (["--", "ls"], "A command needs a policy: -p POLICY."),
        (["-p", "x", "web", "--", "ls"], "a command and a container do not go together: give one."),
        (["-p", "x", "--engine", "docker", "--", "ls"], "--engine does not go with a command."),
        (["-p", "/nosuch", "--", "ls"], "error: /nosuch: there is no such file"),
    ],
)
def test_of_a_command_our_own_failures_are_told_apart(
    words_: list[str], text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert programs.watch(words_) == 125
    assert text in capsys.readouterr().err.splitlines()[-1]


def test_words_after_the_dashes_are_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    from scmm_oci.cli import watching

    given: list[tuple[str, ...]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(watching, "run_command", lambda settings, command, wish, *, user: given.append(command) or 7)
    assert programs.watch(["-p", "x", "--", "sh", "-c", "exit 7", "--", "--list"]) == 7
    assert given == [("sh", "-c", "exit 7", "--", "--list")]


def test_without_root_it_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert programs.watch(["--list"]) == 1
    assert "watching needs root (sudo scmm-watch …)" in capsys.readouterr().err


def test_a_policy_is_compiled_on_the_way(tmp_path: Path) -> None:
    path = policy(tmp_path / "web.scmm.yaml")
    given = watch_policy.read(path, action=None)
    assert (given.name, given.action, len(given.digest)) == ("web", "alert", 64)
    assert given.file.transitions and given.file.transitions[0].arch is NATIVE
    assert watch_policy.read(path, action="kill").action == "kill"
    compiled = tmp_path / "web.scmm-pol"
    assert programs.compile(["-i", path, "-o", str(compiled), "--no-validate"]) == 0
    again = watch_policy.read(str(compiled), action=None)
    assert (again.digest, again.file.transitions) == (given.digest, given.file.transitions)


def test_what_is_no_policy_to_watch_by_says_what_to_do(tmp_path: Path) -> None:
    cases = {
        policy(tmp_path / "none.scmm.yaml", transitions=""): "scmm extract --transitions -i CAPTURE -o POLICY",
        str(tmp_path / "capture.scmm-cap"): "make a policy of it first: `scmm extract`",
        str(tmp_path / "gone"): "there is no such file",
    }
    (tmp_path / "capture.scmm-cap").write_text('{"format": "scmm-capture"}')
    for path, text in cases.items():
        with pytest.raises(BadInput) as bad:
            watch_policy.read(path, action=None)
        assert text in str(bad.value) and path in str(bad.value)


def test_a_policy_for_another_machine_is_named(tmp_path: Path, settings: Settings, kernel: Kernel) -> None:
    other = Arch.AARCH64 if NATIVE is Arch.X86_64 else Arch.X86_64
    given = watch_policy.read(policy(tmp_path / "other.scmm.yaml", other), action=None)
    with pytest.raises(BadInput, match=str(other)):
        begin(settings, kernel, policy=given.file)


def test_the_list(settings: Settings, kernel: Kernel, capsys: pytest.CaptureFixture[str]) -> None:
    assert watch_standing.listed(settings, as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert watch_standing.listed(settings, as_json=False) == 0
    assert capsys.readouterr() == ("", "nothing is watched\n")
    made = begin(settings, kernel, action="kill")
    begin(settings, kernel, "gone", pid=2**22 + 1, container={"id": "g", "name": HOSTILE, "engine": None})
    kernel.violate(made, 2)
    assert watch_standing.listed(settings, as_json=False) == 0
    out, err = capsys.readouterr()
    assert err == "" and "\x1b" not in out and "\\x1b]0;owned" in out.replace("\n", "").replace(" ", "")
    (kernel.root / "gone").rmdir()
    assert watch_standing.listed(settings, as_json=True) == 0
    out, err = capsys.readouterr()
    (row,) = json.loads(out)
    assert row.pop("counters")["violations"] == 2
    assert row == {
        "watch": made["epoch"],
        "container": {"id": "web-id", "name": "web", "engine": "podman"},
        "policy": {"name": "p", "digest": "d" * 64},
        "action": "kill",
        "pid": os.getpid(),
        "started_at": "2023-11-14T22:13:20Z",
        "bundle": "",
        "cgroup": "/web",
        "state": "watching",
        "threads": 0,
    }
    assert err.startswith("\\x1b]0;owned") and f"the watch is over: {session.GONE}; no violation" in err


def test_a_watch_is_found_by_name_id_or_its_beginning(settings: Settings, kernel: Kernel) -> None:
    web = begin(settings, kernel, "one", container={"id": "aa11" + "0" * 60, "name": "web", "engine": "podman"})
    other = begin(settings, kernel, "two", container={"id": "aa22" + "0" * 60, "name": "aa11", "engine": "docker"})

    def find(wanted: str, engine: str | None = None) -> object:
        return watch_standing.find(settings, wanted, engine=engine)

    assert find("web") == find("aa11" + "0" * 60) == find("aa110") == web
    assert find("aa11") == other, "a name goes before the beginning of an id"
    assert find("aa11", "podman") == web
    for wanted, text in (
        ("weeb", "'weeb' is not watched (did you mean 'web'?)"),
        ("frob", "'frob' is not watched (watched: aa11, web)"),
        ("aa2", "'aa2' is not watched (watched: aa11, web)"),
        (HOSTILE, "is not watched"),
    ):
        with pytest.raises(Failure) as failed:
            find(wanted)
        assert text in str(failed.value) and str(failed.value).isprintable()


def test_a_container_is_found_as_its_engine_calls_it(
    settings: Settings, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = begin(settings, kernel, container={"id": "ab" * 32, "name": "", "engine": None})
    found = engines.Container(engines.Engine.PODMAN, "ab" * 32, "nice_name", 1, (), None)
    monkeypatch.setattr(engines, "find_container", lambda name, **options: found)
    assert watch_standing.find(settings, "nice_name", engine=None) == made


def test_stop_ends_and_says_what_was_seen(
    settings: Settings, kernel: Kernel, capsys: pytest.CaptureFixture[str]
) -> None:
    made = begin(settings, kernel)
    kernel.violate(made, 2)
    assert watch_standing.stop(settings, "web", engine=None, as_json=True) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["counters"]["violations"] == 2
    assert err == "web: the watch is over: it was stopped; 2 violations\n"
    assert not kernel.loaded and session.entries(settings) == []
    assert watch_standing.ended(settings, as_json=True) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert [each["seq"] for each in row["events"]] == [1, 2] and row["why"] == session.STOPPED
    with pytest.raises(Failure, match="'web' is not watched"):
        watch_standing.stop(settings, "web", engine=None, as_json=False)


def test_what_is_stopped_by_a_violation_goes_on_first(settings: Settings, kernel: Kernel) -> None:
    made = begin(settings, kernel, action="freeze")
    control = kernel.root / "web" / "cgroup.freeze"
    control.write_text("1")
    kernel.violate(made, frozen=True)
    with pytest.raises(Failure, match="scmm-watch --thaw web"):
        watch_standing.stop(settings, "web", engine=None, as_json=False)
    assert kernel.live() == [made["epoch"]]
    assert watch_standing.thaw(settings, "web", engine=None, as_json=False) == 0
    assert control.read_text() == "0"
    with pytest.raises(Failure, match="web is not stopped"):
        watch_standing.thaw(settings, "web", engine=None, as_json=False)
    assert watch_standing.stop(settings, "web", engine=None, as_json=False) == 0


def test_lines_are_for_programs_and_colours_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "ARCHES", {os.uname().machine: wire.ARCHES["x86_64"]})
    monkeypatch.setenv("TERM", "xterm-256color")
    told = words.event(alert(comm=b"\x1b[2J", done="kill"), entry(), offset=0)

    class Tty(io.StringIO):
        def isatty(self) -> bool:
            return True

    plain, tty, tty_live = io.StringIO(), Tty(), Tty()
    watch_shown.OfCommand(plain, as_json=False).tell(told)
    assert plain.getvalue() == words.line(told) + "\n" and "\x1b" not in plain.getvalue()
    watch_shown.OfCommand(tty, as_json=False).tell(told)
    assert tty.getvalue().startswith("\x1b[31m") and "\x1b[2J" not in tty.getvalue()
    shown = watch_shown.Terminal(tty_live, now=lambda: 10.0)
    shown.tell(told)
    shown.totals([])
    shown.close()
    assert "\x1b[1;31m" in tty_live.getvalue() and "\x1b[2J" not in tty_live.getvalue()
    assert "0 watches, 0 threads" in tty_live.getvalue() and ", 0 violations" in tty_live.getvalue()
    lines = io.StringIO()
    watch_shown.Lines(lines, as_json=True).tell(told)
    assert json.loads(lines.getvalue()) == told and lines.getvalue().isascii()


def test_nobody_who_listens_is_no_reason_to_end_a_command() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    told = words.gap(entry(), 1)
    watch_shown.OfCommand(Gone(), as_json=False).tell(told)
    with pytest.raises(BrokenPipeError):
        watch_shown.Lines(Gone(), as_json=False).tell(told)


def test_summaries_of_what_is_over_are_listed(
    settings: Settings, kernel: Kernel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert watch_standing.ended(settings, as_json=False) == 0
    assert capsys.readouterr() == ("", "no watch is over yet\n")
    made = begin(settings, kernel, action="kill")
    kernel.violate(made, done="kill")
    session.end(settings, container_id="web-id", bundle="", now=NOW + 1)
    assert watch_standing.ended(settings, as_json=False) == 0
    out, err = capsys.readouterr()
    assert "2023-11-14T22:13:21Z" in out and "1 violation" in out
    assert "execve(0x1000, 0x2000, NULL) after read: killed" in err
