"""`scmm try` without engines: reports are read, what is concluded, bad input, what is left and what is removed."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scmm_oci.cli.main import main
from scmm_oci.cli.tried import Tried, show
from scmm_oci.cli.try_runs import Run
from scmm_oci.compiled import bpf
from scmm_oci.enforcer import bundle, enforcing, installed, launcher, reports, shim_settings, trying, wishes
from scmm_oci.enforcer.reports import Violation
from scmm_oci.enforcer.store import REPORT, BadStore, Store
from scmm_oci.errors import Failure
from scmm_oci.oci import runtime_argv
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch

TOLD = """\
scmm-enforce: would refuse mkdir("/x: a", 0x1ff) of process 7 (a of process 5: (b): errno 71 EPROTO
scmm-enforce: would refuse x86's getpid() of process 8 (cat): SIGSYS is sent
scmm-enforce: would refuse call 600(0x0, 0x0, 0x0, 0x0, 0x0, 0x0) of process 9: the process is killed
scmm-enforce: would have refused 5 calls:
scmm-enforce:   3 times mkdir: errno 71 EPROTO
scmm-enforce:   1 time x86's getpid: SIGSYS is sent
scmm-enforce:   1 time call 600: the process is killed
"""


def test_a_report_is_read() -> None:
    found = reports.parse(TOLD)
    assert found.notes == ()
    assert [(one.name, one.answer, one.count, one.program) for one in found.violations] == [
        ("mkdir", "errno 71 EPROTO", 3, "a of process 5: (b"),
        ("x86's getpid", "SIGSYS is sent", 1, "cat"),
        ("call 600", "the process is killed", 1, None),
    ]
    assert found.violations[0].example == 'mkdir("/x: a", 0x1ff)'


def test_a_launcher_that_was_killed_has_counted_nothing() -> None:
    (one,) = reports.parse(TOLD.splitlines()[1]).violations
    assert (one.name, one.count) == ("x86's getpid", None)


@pytest.mark.parametrize(
    "line",
    [
        "scmm-enforce: calls: violations are in the kernel's log only (dmesg, audit), as no listener can be had: "
        "there is one already",
        "scmm-enforce:   2 times others, as there is no room for more kinds",
        "scmm-enforce: what the program has left behind is watched no longer; calls that the policy would refuse fail "
        "there with ENOSYS",
        "what is this?",
    ],
)
def test_what_was_not_watched_is_a_note(line: str) -> None:
    found = reports.parse(TOLD + line + "\n")
    assert len(found.notes) == 1 and found.notes[0] in line
    assert len(found.violations) == 3


def test_what_the_program_has_written_there_is_cut_and_that_is_said() -> None:
    noise = "".join(f"line {number}\n" for number in range(5000)) + "x" * 10_000
    found = reports.parse(TOLD + noise)
    assert len(found.violations) == 3
    assert found.notes[0] == "line 0" and found.notes[-1] == "4981 lines more, which are not shown"
    assert len(found.notes) == 21
    assert reports.parse("x" * 10_000).notes == ("x" * 300 + "…",)
    kinds = "".join(f"scmm-enforce: would refuse call {nr}() of process 7: errno 1 EPERM\n" for nr in range(3000))
    found = reports.parse(kinds)
    assert (len(found.violations), found.notes) == (2048, ("952 kinds of calls more, which are not shown",))
    assert reports.parse("scmm-enforce:   " + "9" * 5000 + " times mkdir: errno 1 EPERM").violations


@given(st.text())
def test_any_text_is_a_report_or_notes(text: str) -> None:
    found = reports.parse(text)
    assert bool(found.violations or found.notes) or not text.replace("scmm-enforce: ", "").strip() or ":" in text


def test_words_of_the_launcher_are_those_that_are_read() -> None:
    source = (Path(__file__).parents[2] / "launcher/violations.c").read_text()
    for words in ("would refuse ", "of process ", "would have refused ", *reports._CODES):
        assert words in source


@pytest.mark.parametrize(
    ("name", "answer", "arch", "nr", "code"),
    [
        ("mkdir", "errno 1 EPERM", Arch.X86_64, syscalls.number_of("x86_64", "mkdir"), bpf.RET_ERRNO),
        ("x86's getpid", "SIGSYS is sent", Arch.X86, syscalls.number_of("x86", "getpid"), bpf.RET_TRAP),
        ("x32's getpid", "the thread is killed", Arch.X32, syscalls.number_of("x32", "getpid"), bpf.RET_KILL_THREAD),
        ("call 600", "the process is killed", Arch.X86_64, 600, bpf.RET_KILL_PROCESS),
    ],
)
def test_a_violation_as_a_call(name: str, answer: str, arch: Arch, nr: int, code: int) -> None:
    call = reports.as_call(Violation(name, answer), Arch.X86_64)
    assert call is not None
    assert (call.arch, call.nr, call.code) == (arch, nr, code)
    assert reports.as_call(Violation("no_such_call", answer), Arch.X86_64) is None


# What is concluded.

POLICY = {
    "version": "1.0",
    "metadata": {"name": "p"},
    "settings": {"default_action": "allow"},
    "syscalls": [
        {"names": ["mkdir"], "action": "deny", "errno": "EPROTO"},
        {"name": "socket", "action": "deny", "constraints": [{"arg": "0", "type": "integer", "allowed": ["2"]}]},
    ],
}
CLEAN = reports.Report((), ())


@cache
def bytes_of(text: str) -> bytes:
    """A policy's compiled form."""
    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory, "p.scmm.yaml"), Path(directory, "p.scmm-pol")
        source.write_text(text)
        assert main(["compile", "-i", str(source), "-o", str(target)]) == 0
        return target.read_bytes()


def made(directory: Path, runs: list[Run], *, wanted: int = 2, policy: dict[str, Any] = POLICY) -> Tried:
    source, target = directory / "p.scmm.yaml", directory / "p.scmm-pol"
    source.write_text(json.dumps(policy, indent=1))
    target.write_bytes(bytes_of(source.read_text()))
    return Tried(str(source), target.read_bytes(), runs, wanted, "x86_64")


@pytest.mark.parametrize(
    ("runs", "wanted", "objection"),
    [
        ([Run("permissive", 0, CLEAN), Run("standard", 0)], 2, None),
        ([Run("permissive", 3, CLEAN), Run("standard", 3)], 2, None),
        ([Run("permissive", 143, CLEAN, True), Run("standard", 137, None, True)], 2, None),
        ([Run("permissive", 3, CLEAN)], 1, None),
        ([Run("standard", 0)], 1, None),
        ([Run("permissive", 0, CLEAN), Run("standard", 1)], 2, "the runs end differently: 0 and 1"),
        ([Run("permissive", 143, CLEAN, True), Run("standard", 1)], 2, "the runs end differently: --duration and 1"),
        ([Run("permissive", 0, CLEAN), Run("standard", 125)], 2, "the standard run did not begin"),
        ([Run("permissive", 125)], 2, "the permissive run did not begin"),
        ([Run("permissive", 130, CLEAN)], 2, "it was stopped"),
        ([Run("standard", 1)], 1, "the run ended with 1"),
        ([Run("permissive", 0, reports.parse(TOLD)), Run("standard", 0)], 2, "3 kinds of calls would be refused"),
        ([Run("permissive", 0, reports.Report((), ("what?",))), Run("standard", 0)], 2, "not all was watched: what?"),
    ],
)
def test_whether_it_serves(runs: list[Run], wanted: int, objection: str | None, tmp_path: Path) -> None:
    found = made(tmp_path, runs, wanted=wanted)
    assert found.serves == (objection is None)
    assert any(each.startswith(objection or "") for each in found.objections) == (objection is not None)


def test_lines_that_would_allow_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = (
        'scmm-enforce: would refuse mkdir("/\x1b[2J", 0x1ff) of process 7 (sh): errno 71 EPROTO\n'
        "scmm-enforce: would refuse socket(0x2, 0x1, 0x0) of process 7 (sh): errno 1 EPERM\n"
    )
    found = made(tmp_path, [Run("permissive", 0, reports.parse(told)), Run("standard", 0)])
    capsys.readouterr()
    show(found, as_json=False)
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\\x1b" in out
    assert "- {name: mkdir, action: allow}" in out and "- {name: socket, action: allow}" in out
    assert "note: it depends on the arguments: of the first call, they are above" in out
    assert "which the log does not have" not in out
    assert "does not serve: 2 kinds of calls would be refused" in out
    show(found, as_json=True)
    value = json.loads(capsys.readouterr().out)
    assert value["serves"] is False
    assert [one["call"] for one in value["runs"][0]["violations"]] == ["mkdir", "socket"]
    assert value["advice"][0]["lines"][0]["text"] == "- {name: mkdir, action: allow}"
    # A compiled policy has no lines.
    compiled = Tried(str(tmp_path / "p.scmm-pol"), found.compiled, found.runs, 2, "x86_64")
    assert compiled.advice == () and not compiled.serves


def test_what_only_the_second_run_shows(tmp_path: Path) -> None:
    files = {**POLICY, "filesystem": {"rules": [{"path": "/usr/**", "access": ["read_file"]}]}}
    runs = [Run("permissive", 0, CLEAN), Run("standard", 1)]
    assert made(tmp_path, runs, policy=files).unwatched == ["files and ports"]
    assert made(tmp_path, runs, policy={**POLICY, "capabilities": []}).unwatched == ["users and capabilities"]
    assert made(tmp_path, runs).unwatched == []


def test_what_is_stopped_or_permitted_shows_no_refused_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {**POLICY, "filesystem": {"rules": [{"path": "/usr/**", "access": ["read_file"]}]}}
    stopped = [Run("permissive", 143, CLEAN, True), Run("standard", 143, None, True)]
    ended = [Run("permissive", 0, CLEAN), Run("standard", 0)]
    cases = (stopped, files, True), (ended, files, False), (stopped, POLICY, False), (ended[:1], files, True)
    for runs, policy, unseen in cases:
        found = made(tmp_path, runs, wanted=len(runs), policy=policy)
        capsys.readouterr()
        show(found, as_json=False)
        said = capsys.readouterr()
        assert said.out.splitlines()[-1] == "serves"
        assert ("whether it is refused files and ports" in said.err) is unseen
        show(found, as_json=True)
        assert json.loads(capsys.readouterr().out)["unseen"] == (["files and ports"] if unseen else [])


def test_a_missing_policy_and_a_bad_command_are_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "-d",
        "--restart=always",
        "--rm=false",
        "--cidfile=id",
        "-e",
        "SCMM_MODE=strict",
        "--annotation",
        "scmm.policy=x",
    ]
    assert main(["try", "nosuch.yaml", "--", "docker", "run", *words, "image"]) == 2
    lines = capsys.readouterr().err.splitlines()
    told = (
        "nosuch.yaml: cannot be read",
        "-d leaves",
        "--restart",
        "--rm=false",
        "--cidfile",
        "scmm.policy names",
        "SCMM_MODE names",
    )
    assert len(lines) == len(told)
    for line, words_of_it in zip(lines, told, strict=True):
        assert words_of_it in line
    assert main(["try", "nosuch.yaml", "--duration", "0", "--", "docker", "run", "image"]) == 2
    assert "is not a number of seconds above 0" in capsys.readouterr().err


# The place.


def compiled_policy(directory: Path) -> bytes:
    return made(directory, []).compiled


def parts_of(directory: Path) -> trying.Parts:
    runtime = directory / "runc"
    runtime.write_text('#!/bin/sh\necho "runc $*"\n')
    runtime.chmod(0o755)
    return trying.Parts(
        template=(Path(__file__).parents[2] / "hooks/scmm-runc.in").read_text(),
        python=Path(sys.executable),
        package=Path(__file__).parents[2],
        launcher=launcher.find("x86_64").read_bytes(),
        hook=directory / "scmm-hook",
        runtime=str(runtime),
    )


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "places"
    place.mkdir(0o700)
    monkeypatch.setattr(trying, "PLACES", (str(tmp_path / "missing"), str(place)))
    return place


def test_podmans_place_has_all_and_goes(places: Path, tmp_path: Path) -> None:
    data = compiled_policy(tmp_path)
    with trying.for_podman(data, parts_of(tmp_path)) as trial:
        name, _, digest = trial.reference.partition("@sha256:")
        assert trial.store.read(name, digest) == data
        assert trial.starter is not None and installed.is_starter(str(trial.starter))
        assert installed.real_runtime(str(trial.starter)) == str(tmp_path / "runc")
        done = subprocess.run([trial.starter, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout == "runc --version\n"
        assert [path.name for path in places.iterdir()] == [name]
        # Who lives keeps it from being swept, however old.
        os.utime(trial.directory, (0, 0))
        with trying.for_podman(data, parts_of(tmp_path)) as other:
            assert other.name != name
        assert trial.directory.is_dir()
    assert list(places.iterdir()) == []
    assert not installed.is_starter(str(tmp_path / "runc"))
    assert installed.real_runtime(str(tmp_path / "runc")) == str(tmp_path / "runc")


def test_dockers_store_keeps_what_is_not_ours(places: Path, tmp_path: Path) -> None:
    data, store = compiled_policy(tmp_path), Store(str(tmp_path / "store"))
    store.add("web", data)
    with pytest.raises(ZeroDivisionError), trying.for_docker(data, store.directory, "/nowhere/shim.log") as trial:
        assert store.names() == sorted(["web", trial.name])
        trial.expect_report()
        assert store.strangers() == []  # a report is none
        1 / 0  # noqa: B018
    assert store.names() == ["web"] and os.listdir(store.directory) == ["web.scmm-pol"]
    assert list(places.iterdir()) == []


def test_what_a_dead_one_has_left_goes(places: Path, tmp_path: Path) -> None:
    data, store = compiled_policy(tmp_path), Store(str(tmp_path / "store"))
    dead, running = places / f"{trying.PREFIX}dead", places / f"{trying.PREFIX}running"
    for each in (dead, running):
        (each / "run/containers").mkdir(parents=True)
        (each / "policy_dir").write_text(store.directory)
        store.add(each.name, data)
        Path(store.directory, each.name + REPORT).touch()
    (running / "run/containers/key").mkdir()
    young = places / f"{trying.PREFIX}young"
    young.mkdir()
    for each in (dead, running):
        os.utime(each, (0, 0))
    with trying.for_docker(data, store.directory, "/nowhere/shim.log"):
        pass
    assert sorted(path.name for path in places.iterdir()) == [running.name, young.name]
    assert sorted(os.listdir(store.directory)) == [f"{running.name}.report", f"{running.name}.scmm-pol"]


def test_a_report_tells_whether_anything_began(places: Path, tmp_path: Path) -> None:
    data = compiled_policy(tmp_path)
    with trying.for_podman(data, parts_of(tmp_path)) as trial:
        for written, expected in ((None, None), ("", ""), ("told\n", "told\n")):
            trial.expect_report()
            path = trial.store.report(trial.name, (os.getuid(), os.getgid()))
            assert path is not None
            if written is not None:
                Path(path).write_text(written)
            assert trial.report() == expected
        with pytest.raises(Failure, match="No such file"):
            trial.report()
        assert trial.store.report(trial.name, (0, 0)) is None


@pytest.mark.parametrize("step", ["mkdtemp", "write_bytes", "write_text"])
def test_a_full_disk_is_told_and_nothing_stays(
    step: str, places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*words: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    data, made_of = compiled_policy(tmp_path), parts_of(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(tempfile if step == "mkdtemp" else Path, step, full)
        with pytest.raises(Failure, match="cannot be written: No space left"), trying.for_podman(data, made_of):
            pass
    assert [*places.iterdir()] == []
    with trying.for_podman(data, made_of) as trial:
        assert trial.directory.parent == places


def test_who_else_has_decided_is_read_in_the_shims_log(places: Path, tmp_path: Path) -> None:
    """What the shim itself writes there of a container whose image, or the host, asks for something else."""
    data, log = compiled_policy(tmp_path), tmp_path / "log" / "shim.log"

    def started(reference: str, *, mode: str, annotations: dict[str, str], images: tuple[Any, ...] = ()) -> None:
        environment = [f"SCMM_POLICY={reference}", f"SCMM_MODE={mode}"]
        config = {"annotations": annotations, "process": {"env": environment}}
        values = {"runtimes": {"default": "/r"}, "launcher": "/l", "hook": "/h", "images": list(images)}
        settings = shim_settings.check({**values, "log_file": str(log)})
        wish = wishes.read(config, settings, named=lambda: ("web:1",))
        line = runtime_argv.parse(["runc", "create", "abc"])
        for each in wish.notes:
            enforcing.note(settings, line, each)

    rule = {"image": "web:*", "policy": "web", "mode": "permissive"}
    with trying.for_docker(data, str(tmp_path / "store"), str(log)) as trial:
        assert trial.overridden() is None, "there is no log yet"
        started(trial.reference, mode="standard", annotations={})
        started("other@sha256:" + "0" * 64, mode="standard", annotations={}, images=(rule,))
        assert trial.overridden() is None, "that was somebody else's"
        started(trial.reference, mode="standard", annotations={}, images=(rule,))
        assert (trial.overridden() or "").endswith("the configuration for images 'web:*' decides")
    log.unlink()
    with trying.for_podman(data, parts_of(tmp_path)) as trial:
        own = replace(trial, log_file=str(log))
        started(own.reference, mode="standard", annotations={"scmm.mode": "standard"})
        assert own.overridden() is None, "it says the same"
        started(own.reference, mode="standard", annotations={"scmm.mode": "permissive"})
        assert (own.overridden() or "").endswith("the annotation scmm.mode decides")


def test_a_report_that_is_filled_is_not_read_to_its_end(places: Path, tmp_path: Path) -> None:
    with trying.for_podman(compiled_policy(tmp_path), parts_of(tmp_path)) as trial:
        for size, goes_on in ((trying._MOST_REPORT, False), (1 << 40, True)):
            trial.expect_report()
            path = trial.store.report(trial.name, (os.getuid(), os.getgid()))
            assert path is not None
            os.truncate(path, size)
            text = trial.report()
            assert text is not None and text.endswith("its end was not read") is goes_on
            assert len(text) <= trying._MOST_REPORT + 100
            assert bool(reports.parse(text).notes)


@pytest.mark.parametrize("kind", ["link", "second name", "directory", "fifo"])
def test_no_other_file_is_a_report(kind: str, tmp_path: Path) -> None:
    """What it is given away by is a name in root's directory; whatever else is there is refused, and stays."""
    store = Store(str(tmp_path / "store"))
    store.add("web", compiled_policy(tmp_path))
    path, other = Path(store.directory, f"web{REPORT}"), tmp_path / "other"
    other.write_text("kept")
    make = {
        "link": lambda: path.symlink_to(other),
        "second name": lambda: path.hardlink_to(other),
        "directory": path.mkdir,
        "fifo": lambda: os.mkfifo(path),
    }
    make[kind]()
    with pytest.raises(BadStore, match="cannot be a report"):
        store.report("web", (12345, 12345))
    assert other.stat().st_uid == os.getuid() and path.lstat().st_uid == os.getuid()
    assert store.report("other", (0, 0)) is None


def test_only_the_first_process_reports() -> None:
    plan = bundle.Plan(launcher_source="/l", policy_source="/p", mode="permissive", report_source="/store/web.report")
    config: dict[str, Any] = {
        "process": {"args": ["sh"]},
        "mounts": [{"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}],
    }
    bundle.enforce(config, plan)
    words = config["process"]["args"]
    assert words[words.index("--report") + 1] == plan.report == "/dev/.scmm-report" and words[-2:] == ["--", "sh"]
    mount = config["mounts"][-1]
    assert (mount["destination"], mount["source"], "rw" in mount["options"]) == (plan.report, "/store/web.report", True)
    entered = {"args": ["ls"]}
    bundle.exec_process(entered, plan)
    assert "--report" not in entered["args"] and entered["args"][-2:] == ["--", "ls"]
    # Where nobody asks for one, all is as without.
    other = bundle.Plan(launcher_source="/l", policy_source="/p", mode="permissive")
    config = {"process": {"args": ["sh"]}, "mounts": []}
    bundle.enforce(config, other)
    assert "--report" not in config["process"]["args"] and len(config["mounts"]) == 2


def test_nowhere_to_execute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trying, "PLACES", (str(tmp_path / "missing"),))
    with pytest.raises(Failure, match="no program can be executed"), trying.for_docker(b"", str(tmp_path), ""):
        pass


# Standard input for two runs, in a process of its own.

TWICE = """
import os
from scmm_oci.cli.try_runs import _Input
stdin = _Input(is_wanted={wanted})
print(os.read(0, 100))
stdin.again()
print(os.read(0, 100))
"""


@pytest.mark.parametrize("kind", ["file", "pipe", "null"])
def test_standard_input_twice(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(b"skipped text")
    with path.open("rb", buffering=0) as file:
        file.seek(8)
        given_in: dict[str, Any] = {
            "file": {"stdin": file},
            "pipe": {"input": "text"},
            "null": {"stdin": subprocess.DEVNULL},
        }
        done = subprocess.run(
            [sys.executable, "-c", TWICE.format(wanted=True)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            **given_in[kind],
        )
    first = "b''" if kind == "null" else "b'text'"
    assert done.stdout.splitlines() == [first, "b'text'" if kind == "file" else "b''"]
    assert ("this run gets none" in done.stderr) == (kind == "pipe")
