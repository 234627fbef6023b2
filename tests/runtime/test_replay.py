"""`scmm verify --replay` with real runtimes: profiles that serve do, what was taken out is named, nothing is left."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from recording import as_from_a_shell
from replays import MACHINE, SCMM, allowing, bundle_of, left, running
from support import need

from rig import namespace
from rig import runc as bundles
from rig.process import wait_until
from scmm_oci.capture.model import Capture, Phase
from scmm_oci.cli.main import main
from scmm_oci.errors import Failure
from scmm_oci.oci.seccomp import OciAction, Profile, Rule, parse, to_json
from scmm_oci.recorder import installation
from scmm_oci.recorder.replay import bundle, ground, lacks, leftovers, runtimes
from scmm_oci.recorder.replay import start as starting
from scmm_oci.recorder.replay.cells import Cell
from scmm_oci.recorder.replay.ground import Ground
from scmm_oci.recorder.replay.recording import Hooks
from scmm_oci.recorder.replay.start import Bundles
from scmm_oci.recorder.replay.start import bundles as opener
from scmm_oci.recorder.replay.trial import Wish, measure
from scmm_oci.tables import measured
from scmm_oci.tables.floor import Verb, floor

STATUS = 3


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose program makes a directory, and ends with STATUS if that was new."""
    return bundle_of(tmp_path_factory.mktemp("bundle"), "mkdir /made && exit 3")


@pytest.fixture(scope="module")
def app(source: Path, inside: namespace.Entered) -> set[str]:
    """What the bundle's program calls."""
    captured = recorded(source)
    assert captured.complete, captured.losses
    return {call.name for _, call in captured.calls(Phase.APP) if call.name is not None}


def recorded(source: Path) -> Capture:
    (chosen,) = runtimes.find(["runc"])
    opened = json.loads(to_json(lacks.opened(allowing({"read"}))))
    with Ground() as ground:
        hooks = Hooks(ground.directory)
        recorder = hooks.recorder()
        cell = Cell(chosen, False, Verb.RUN)
        ran = Bundles(ground, bundle.read(str(source))).start(cell, seccomp=opened, seconds=20, recorder=recorder)
        assert ran.end == STATUS
        return hooks.capture(recorder)


def needed(app: set[str]) -> set[str]:
    return app | floor(None, None, None).names


def replayed(
    profile: Profile, source: Path, runtime: str, directory: Path, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, dict[str, Any]]:
    path = directory / "profile.json"
    path.write_bytes(to_json(profile))
    given = ["--replay", "--bundle", str(source), "--runtime", runtime, "--times", "2", "--json", *words]
    capsys.readouterr()
    status = main(["verify", str(path), *given])
    return status, json.loads(capsys.readouterr().out)


def test_a_profile_that_serves_does_in_every_way(
    runtime: str, source: Path, app: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted((str(path), path.stat().st_mtime_ns) for path in source.rglob("*"))
    status, found = replayed(allowing(needed(app)), source, runtime, tmp_path, capsys)
    assert status == 0 and found["serves"] and found["findings"] == []
    ways = [(one["way"], one["no_new_privileges"]) for one in found["ways"]]
    assert ways == [(verb, nnp) for nnp in (False, True) for verb in ("run", "create", "exec")]
    for one in found["ways"]:
        assert (one["served"], one["expected"], one["failure"], one["missing"]) == (2, STATUS, None, [])
    assert sorted((str(path), path.stat().st_mtime_ns) for path in source.rglob("*")) == before
    assert left() == set()


def test_a_call_of_the_program_that_was_taken_out_is_named(
    runtime: str, source: Path, app: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--nnp", "on", "--times", "1", *(() if runtime == "runc" else ("--way", "exec")))
    status, found = replayed(allowing(needed(app) - {"mkdir"}), source, runtime, tmp_path, capsys, *words)
    assert status == 1 and not found["serves"] and len(found["ways"]) == (3 if runtime == "runc" else 1)
    for one in found["ways"]:
        assert one["missing"] == [{"phase": "app", "name": "mkdir", "detail": "", "needed": True}]
        assert (one["served"], one["phase"], one["enough"]) == (0, "app", True)
        assert one["failure"] == {"end": 1, "step": None, "message": None}


def test_a_call_of_the_runtime_that_was_taken_out_is_named(
    runtime: str, source: Path, app: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """prctl is called after the filter is loaded only where no-new-privileges is off."""
    status, found = replayed(allowing(needed(app) - {"prctl"}), source, runtime, tmp_path, capsys, "--way", "run")
    off, on = found["ways"]
    assert status == 1 and on["served"] == 2 and on["missing"] == []
    assert (off["served"], off["phase"], off["enough"], off["failure"]["step"]) == (0, "runtime", True, "run")
    assert "peration not permitted" in off["failure"]["message"]
    named = {(one["phase"], one["name"], one["needed"]) for one in off["missing"]}
    assert ("runtime", "prctl", True) in named and {name for _, name, _ in named} == {"prctl"}


def test_a_program_that_ends_as_runtimes_do_has_to_be_seen_to_begin(
    runtime: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """runc and crun end with 1 where the execve fails, too, and say nothing."""
    source = bundle_of(tmp_path, "exit 1")
    words = ("--nnp", "on", "--way", "run", "--way", "create", "--times", "1")

    def refusing(name: str) -> tuple[int, dict[str, Any]]:
        profile = Profile(OciAction.ALLOW, None, (MACHINE.scmp,), syscalls=(Rule((name,), OciAction.ERRNO),))
        return replayed(profile, source, runtime, tmp_path, capsys, *words)

    status, found = refusing("vhangup")
    assert status == 0 and found["serves"] and found["findings"] == []
    status, found = refusing("execve")
    assert status == 1 and not found["serves"]
    for one in found["ways"]:
        assert (one["served"], one["expected"], one["failure"]["end"], one["phase"]) == (0, 1, 1, "runtime")
        assert [(each["name"], each["needed"]) for each in one["missing"]] == [("execve", True)]

    def none(*_: object) -> None:
        raise Failure("no BTF")

    monkeypatch.setattr(installation, "install", none)
    status, found = refusing("vhangup")
    assert status == 1 and [one["served"] for one in found["ways"]] == [0, 0]
    assert {one["code"] for one in found["findings"]} == {"weak-control"}
    assert left() == set()


def test_rules_that_refuse_are_found_as_defaults_are(
    runtime: str, source: Path, app: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """mkdir is refused by a rule, which the twin keeps; and a refusal that nobody minds is not told to be needed."""
    rule = Rule(("mkdir", "getppid"), OciAction.ERRNO, 13)
    names = needed(app) - {"mkdir", "getppid"}
    whole = allowing(names)
    whole = replace(whole, syscalls=(*whole.syscalls, rule))
    status, found = replayed(whole, source, runtime, tmp_path, capsys, "--way", "run", "--nnp", "on")
    (one,) = found["ways"]
    assert status == 1 and (one["phase"], one["enough"]) == ("app", True)
    told = {each["name"]: each["needed"] for each in one["missing"]}
    assert told["mkdir"] is True and told["getppid"] is False


def test_a_profile_that_kills_is_named_too(
    runtime: str, source: Path, app: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = allowing(needed(app) - {"mkdir"}, OciAction.KILL_PROCESS)
    status, found = replayed(profile, source, runtime, tmp_path, capsys, "--way", "create", "--nnp", "off")
    (one,) = found["ways"]
    assert status == 1 and one["failure"]["end"] == 128 + signal.SIGSYS
    assert [(each["phase"], each["name"], each["needed"]) for each in one["missing"]] == [("app", "mkdir", True)]


def test_what_is_killed_in_an_exec_leaves_nobody_waiting(
    inside: namespace.Entered, source: Path, app: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The dead of the runtime become ours, and the container's first process waits for them. crun's call of umask in
    `exec --process` is killed, before the program; where it gets an errno, it is not looked at."""
    need("CRUN", bundles.available("crun"))
    for default, gone, passed in (
        (OciAction.KILL_PROCESS, {"umask"}, False),
        (OciAction.ERRNO, {"umask"}, True),
        (OciAction.KILL_PROCESS, set(), True),
    ):
        profile = allowing(needed(app) - gone, default)
        status, found = replayed(profile, source, "crun", tmp_path, capsys, "--way", "exec", "--nnp", "off")
        (one,) = found["ways"]
        assert (status == 0) is passed and one["served"] == (2 if passed else 0)
        expected = [] if passed else [("runtime", "umask", True)]
        assert [(each["phase"], each["name"], each["needed"]) for each in one["missing"]] == expected
    assert left() == set()


def test_a_bundle_that_does_not_start_at_all_is_no_fault_of_the_profile(
    runtime: str, app: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = bundle_of(tmp_path, "exit 0")
    config = json.loads((bad / "config.json").read_text())
    config["process"]["args"] = ["/no/such/program"]
    (bad / "config.json").write_text(json.dumps(config))
    words = ("--way", "create", "--nnp", "off")
    status, found = replayed(allowing(needed(app)), bad, runtime, tmp_path, capsys, *words)
    assert status == 1 and [one["code"] for one in found["findings"]] == ["no-control"]
    assert "/no/such/program" in found["findings"][0]["message"] and left() == set()


def test_a_program_that_runs_on_is_well(
    runtime: str, app: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And is ended. Control: without the call that it sleeps with, it runs no longer."""
    source = bundle_of(tmp_path, "exec sleep 1000")
    names = needed(app) | {"nanosleep", "clock_nanosleep", "getuid", "setuid", "setgid"}
    words = ("--nnp", "on", "--seconds", "0.3", "--times", "1")
    status, found = replayed(allowing(names), source, runtime, tmp_path, capsys, *words)
    assert status == 0 and len(found["ways"]) == 3
    assert {one["expected"] for one in found["ways"]} == {"runs /bin/busybox"}
    less = allowing(names - {"nanosleep", "clock_nanosleep"})
    status, found = replayed(less, source, runtime, tmp_path, capsys, *words, "--way", "run")
    assert status == 1 and {one["name"] for one in found["ways"][0]["missing"]} & {"nanosleep", "clock_nanosleep"}
    assert left() == set()


def test_the_floor_of_the_runtime_is_measured_and_kept(
    runtime: str, source: Path, app: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "floor"
    words = ("--way", "create", "--nnp", "off", "--measure-floor", "--floor-directory", str(kept))
    status, found = replayed(allowing(needed(app)), source, runtime, tmp_path, capsys, *words)
    (here,) = runtimes.find([runtime])
    assert status == 0 and [one["sha256"] for one in found["measured"]] == [here.digest]
    first = measured.read(here.digest, directory=str(kept))
    assert first is not None and (first.runtime, first.version) == (runtime, here.version)
    (row,) = first.rows
    assert (row.verb, row.no_new_privileges, row.starts) == (Verb.CREATE, False, 2)
    assert {"close", "execve", "capset", "prctl"} <= row.names
    table = floor(runtime, here.version, False, verbs=frozenset({Verb.CREATE})).names
    assert row.names <= table and [one["code"] for one in found["findings"]] == []
    status, _ = replayed(allowing(needed(app)), source, runtime, tmp_path, capsys, *words)
    second = measured.read(here.digest, directory=str(kept))
    assert second is not None and second.rows[0].starts == 4 and second.rows[0].names >= row.names


def test_what_was_measured_comes_back_in_a_profile_that_serves(
    inside: namespace.Entered, source: Path, app: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """crun under another name, of which the table has nothing; its floor is then narrower than the table's is."""
    need("CRUN", bundles.available("crun"))
    other, kept = tmp_path / "other", str(tmp_path / "floor")
    shutil.copy(runtimes.find(["crun"])[0].path, other)
    words = ("--times", "1", "--measure-floor", "--floor-directory", kept)
    status, found = replayed(allowing(needed(app)), source, str(other), tmp_path, capsys, *words)
    assert status == 0 and [one["runtime"] for one in found["measured"]] == ["other"]
    rules = "".join(f"  - name: {name}\n    action: allow\n" for name in sorted(app))
    (tmp_path / "p.scmm.yaml").write_text(f"version: '1.0'\nsyscalls:\n{rules}")
    made = str(tmp_path / "made.json")
    assert main(["compile", "-i", str(tmp_path / "p.scmm.yaml"), "--oci", made, f"--measured-floor={kept}"]) == 0
    profile = parse(Path(made).read_bytes())
    allowed = {name for rule in profile.syscalls if rule.action is OciAction.ALLOW for name in rule.names}
    assert "umask" in allowed and not {"getdents64", "fstatfs", "faccessat2"} & (allowed - app)
    status, found = replayed(profile, source, str(other), tmp_path, capsys, "--times", "1")
    assert status == 0 and len(found["ways"]) == 6, found


def test_an_exec_whose_process_is_told_by_a_file_is_in_the_table(runtime: str, tmp_path: Path) -> None:
    """crun sets the umask then, as engines' exec sees it; runc gives the program's user its stdio, as in a start."""
    source = bundle_of(tmp_path, "exit 3")
    config = json.loads((source / "config.json").read_text())
    config["process"]["user"] = {"uid": 1000, "gid": 1000}
    (source / "config.json").write_text(json.dumps(config))
    (here,) = runtimes.find([runtime])
    cells = tuple(Cell(here, nnp, Verb.EXEC) for nnp in (False, True))
    (found,), _ = measure(Wish(opener(bundle.read(str(source))), cells, 1, 20))
    seen = [row.names for row in found.rows]
    assert [("umask" in names, "fchown" in names) for names in seen] == (
        [(True, True), (True, False)] if runtime == "crun" else [(False, True), (False, False)]
    )
    for nnp, names in zip((False, True), seen, strict=True):
        assert names <= floor(runtime, here.version, nnp, verbs=frozenset({Verb.EXEC})).names


def test_what_is_measured_is_enough_to_start(runtime: str, source: Path, app: set[str], tmp_path: Path) -> None:
    """The union of some recordings, without our table, and with what Go calls at any moment. Control: the program's
    own calls are not enough."""
    (here,) = runtimes.find([runtime])
    cell = Cell(here, False, Verb.EXEC)
    read = bundle.read(str(source))
    (found,), findings = measure(Wish(opener(read), (cell,), 3, 20))
    assert findings == ()
    always = {"futex", "rt_sigreturn", "epoll_pwait", "nanosleep", "tgkill", "sched_yield", "getpid", "gettid"}
    with Ground() as ground:
        # A container has to be created first, which is another row's.
        names = app | found.floor().names | always | floor(None, None, False, verbs=frozenset({Verb.CREATE})).names
        whole, less = (json.loads(to_json(allowing(some))) for some in (names, app - {"close", "execve", "prctl"}))
        assert Bundles(ground, read).start(cell, seccomp=whole, seconds=20).end == STATUS
        assert Bundles(ground, read).start(cell, seccomp=less, seconds=20).end != STATUS


def test_what_a_killed_replay_leaves_is_removed_by_the_next(
    inside: namespace.Entered, tmp_path: Path, app: set[str]
) -> None:
    """And that of one that lives is not."""
    source = bundle_of(tmp_path, "exec sleep 1000")
    (tmp_path / "p.json").write_bytes(to_json(allowing(needed(app))))
    words = [*SCMM, "verify", str(tmp_path / "p.json"), "--replay", "--bundle", str(source), "--runtime", "runc"]
    how: dict[str, Any] = {"stderr": subprocess.DEVNULL, "start_new_session": True, "preexec_fn": as_from_a_shell}
    with subprocess.Popen([*words, "--seconds", "600"], **how) as process:
        wait_until(lambda: running(process.pid), deadline_s=60, what="a container")
        leftovers.sweep(age=0)
        living = left(process.pid)
        assert running(process.pid) and any(line.startswith("/run/") for line in living)
        process.kill()
        process.wait(60)
    # The commands that it had started end by themselves.
    places = {line for line in left(process.pid) if line.startswith("/")}
    assert places == {line for line in living if line.startswith("/")}, "nobody was there to remove anything"
    leftovers.sweep()
    assert left(process.pid) >= places, "too young"
    leftovers.sweep(age=0)
    wait_until(lambda: left(process.pid) == set(), deadline_s=60, what="that nothing is left")


def test_tables_for_people(
    runtime: str, source: Path, app: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(to_json(allowing(needed(app) - {"mkdir"})))
    words = ["--replay", "--bundle", str(source), "--runtime", runtime, "--way", "run", "--nnp", "off", "--times", "1"]
    assert main(["verify", str(path), *words]) == 1
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["runtime", "version", "nnp", "way", "served", "ends", "failed", "in", "lacks"]
    (here,) = runtimes.find([runtime])
    assert lines[1] == [runtime, here.version, *["off", "run", "0", "of", "1", "status", "3", "app", "app:", "mkdir"]]
    assert "ended with status 1, without the profile with status 3; with what lacks it serves" in out
    assert "containers are started as root on this host: 1 way, 1 time each" in err
    assert err.splitlines()[-1] == f"{path}: serves in 0 of 1 ways"
    # What does not start without a profile either says nothing of it; that is told once.
    document = json.loads((source / "config.json").read_text())
    document["process"]["args"] = ["/no/such/program"]
    bad = bundle_of(tmp_path, "exit 0")
    (bad / "config.json").write_text(json.dumps(document))
    words[2] = str(bad)
    assert main(["verify", str(path), *words]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2 and err.count("/no/such/program") and err.count("[no-control]") == 1
    told = "serves in 0 of 1 ways; 1 could not be tried: there it does not start without a profile either"
    assert err.splitlines()[-1] == f"{path}: {told}"


def test_a_policy_is_replayed_as_it_is_compiled(
    source: Path, app: set[str], inside: namespace.Entered, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    need("KERNEL", bundles.available("runc"))
    policy = tmp_path / "p.scmm.yaml"
    words = ["--replay", "--bundle", str(source), "--runtime", "runc", "--way", "run", "--nnp", "off", "--times", "2"]
    for gone, status in ((set(), 0), ({"mkdir"}, 1)):
        rules = "".join(f"  - name: {name}\n    action: allow\n" for name in sorted(app - gone))
        policy.write_text(f"version: '1.0'\nsyscalls:\n{rules}")
        assert main(["verify", str(policy), *words, "--json"]) == status, capsys.readouterr().err
        (one,) = json.loads(capsys.readouterr().out)["ways"]
        assert {each["name"] for each in one["missing"]} == gone


# What is hostile


def test_a_program_that_stays_does_not(
    runtime: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a PID namespace its children outlive it; they ignore what they are asked, and have left its session."""
    stays = "trap '' TERM INT HUP; setsid sleep 77777 </dev/null >/dev/null 2>&1 & setsid sleep 77777 & exit 3"
    source = bundle_of(tmp_path, stays)
    config = json.loads((source / "config.json").read_text())
    kept = [one for one in config["linux"]["namespaces"] if one["type"] != "pid"]
    config["linux"]["namespaces"] = kept
    (source / "config.json").write_text(json.dumps(config))
    profile = Profile(OciAction.ALLOW, None, (MACHINE.scmp,))
    monkeypatch.setattr(starting, "_GRACE", 0.5)
    words = ("--nnp", "on", "--seconds", "1", "--times", "1", "--way", "create", "--way", "exec")
    _, found = replayed(profile, source, runtime, tmp_path, capsys, *words)
    # What holds its output makes runc's exec wait.
    ends = [one["expected"] for one in found["ways"]]
    assert ends[0] == STATUS and ends[1] in (STATUS, "runs without its first process"), found
    assert left() == set() and sleeping() == []


def sleeping() -> list[str]:
    return [path for path in map(str, Path("/proc").glob("[0-9]*")) if b"\0" + b"77777" in cmdline(path)]


def cmdline(path: str) -> bytes:
    try:
        return Path(path, "cmdline").read_bytes()
    except OSError:
        return b""


def test_a_program_that_writes_and_fills_without_end(
    inside: namespace.Entered, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its output is thrown away, its layer is full; what is recorded of it is whole all the same."""
    monkeypatch.setattr(ground, "_SIZE", "size=1m")
    script = "dd if=/dev/zero of=/fill bs=64k 2>/dev/null && exit 5; rm /fill; mkdir /made || exit 4; exec yes"
    source = bundle_of(tmp_path, script)
    refused = Profile(OciAction.ALLOW, None, (MACHINE.scmp,), syscalls=(Rule(("mkdir",), OciAction.ERRNO),))
    words = ("--nnp", "on", "--way", "create", "--seconds", "1", "--times", "1")
    status, found = replayed(refused, source, "runc", tmp_path, capsys, *words)
    (one,) = found["ways"]
    assert status == 1 and one["expected"] == "runs /bin/busybox" and one["failure"]["end"] == 4, found
    assert [(each["phase"], each["name"], each["needed"]) for each in one["missing"]] == [("app", "mkdir", True)]
    assert left() == set()


LOGGED = """echo '{"level":"error","msg":"a\\u001bb"}' >$log; exit 1"""


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("sleep 77777", "did not end within 1 s"),
        ("exit 7", "ended with status 7"),
        ("kill -9 $$", "ended with status -9"),
        (LOGGED, "a\\x1bb"),
    ],
    ids=["hangs", "fails", "dies", "says"],
)
def test_a_runtime_that_does_not_do_its_work(
    inside: namespace.Entered,
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    said: str,
) -> None:
    """It hangs, with a child that has left its session; or ends, and what it says is printed safely."""
    monkeypatch.setattr(starting, "_PATIENCE", 1.0)
    path = tmp_path / "bad"
    path.write_text(
        "#!/bin/sh\n"
        'test "$1" = --version && echo bad version 1.0 && exit\n'
        'for word; do case "$word" in --log=*) log=${word#--log=};; esac; done\n'
        "trap '' TERM INT HUP\nsetsid sleep 77777 &\n" + answer + "\n"
    )
    path.chmod(0o755)
    status, found = replayed(allowing({"read"}), source, str(path), tmp_path, capsys, "--way", "create", "--nnp", "on")
    (one,) = found["ways"]
    assert status == 1 and one["failure"] == {"end": None, "step": "create", "message": said}
    assert left() == set() and sleeping() == []


def test_where_nothing_can_be_recorded_starts_are_counted(
    inside: namespace.Entered,
    source: Path,
    app: set[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none(*_: object) -> None:
        raise Failure("no BTF")

    monkeypatch.setattr(installation, "install", none)
    words = ("--way", "run", "--way", "create", "--nnp", "on", "--times", "1")
    status, found = replayed(allowing(needed(app) - {"mkdir"}), source, "runc", tmp_path, capsys, *words)
    assert (
        status == 1 and [(one["served"], one["missing"], one["enough"]) for one in found["ways"]] == [(0, [], None)] * 2
    )
    assert [(one["code"], one["message"]) for one in found["findings"]] == [
        ("not-named", "what lacks is not known: nothing can be recorded: no BTF")
    ]
    assert left() == set()


def test_a_full_disk_is_told(
    inside: namespace.Entered, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    """Where the scratch directories are."""
    (tmp_path / "p.json").write_bytes(to_json(allowing({"read"})))
    words = ["verify", str(tmp_path / "p.json"), "--replay", "--bundle", str(source), "--runtime", "runc"]

    def full(*_: object, **__: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/run/x")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    before = signal.getsignal(signal.SIGINT)  # ignored, where tests run in the background
    assert main(words) == 1
    assert "replaying failed: /run/x: No space left on device" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("limit", ["nr_inodes=2", "nr_inodes=6", "size=16k", "size=24k"])
def test_a_disk_that_fills_up_meanwhile(
    inside: namespace.Entered,
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
) -> None:
    """What the replay or the runtime cannot write then is told, and all is taken away."""
    whole = ground._memory
    monkeypatch.setattr(ground, "_memory", lambda place, options: whole(place, f"{options},{limit}"))
    (tmp_path / "p.json").write_bytes(to_json(allowing({"read"})))
    words = ["--replay", "--bundle", str(source), "--runtime", "runc", "--way", "create", "--nnp", "on", "--times", "1"]
    assert main(["verify", str(tmp_path / "p.json"), *words]) == 1
    assert "no space left on device" in capsys.readouterr().err.lower()
    assert left() == set()
