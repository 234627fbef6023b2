"""Replays without a container: bundles that are read and changed, twins of profiles, what is refused, kept floors."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import nginx

from scmm_oci.capture.file import parse
from scmm_oci.capture.model import Phase
from scmm_oci.cli.main import main
from scmm_oci.enforcer import shim_settings
from scmm_oci.errors import BadInput
from scmm_oci.oci.seccomp import Condition, OciAction, Operator, Profile, Rule, to_json
from scmm_oci.recorder.replay import bundle, lacks
from scmm_oci.recorder.replay.stopping import Stop
from scmm_oci.recorder.replay.waiting import Output, run
from scmm_oci.tables import measured
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.floor import Verb
from scmm_oci.tables.measured import Measured, Row

DIGEST = "ab" * 32
CONFIG = {
    "ociVersion": "1.0.2",
    "process": {"args": ["sh"], "terminal": True, "noNewPrivileges": True, "odd": [1, None]},
    "root": {"path": "rootfs", "readonly": True},
    "mounts": [
        {"destination": "/a", "type": "bind", "source": "data"},
        {"destination": "/b", "source": "more", "options": ["rbind"]},
        {"destination": "/c", "type": "bind", "source": "/there"},
        {"destination": "/d", "type": "tmpfs", "source": "tmpfs"},
    ],
    "annotations": {
        "scmm.record": "true",
        "io.podman.annotations.scmm.mode": "enforce",
        "run.oci.seccomp_bpf_data": "BgAAAAAA/38=",
        "org.x": "y",
    },
    "hooks": {"prestart": [{"path": "/theirs"}]},
    "linux": {"cgroupsPath": "/theirs", "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}, "namespaces": []},
    "unknown": {"kept": [True]},
}


def made(directory: Path, config: object = CONFIG) -> str:
    directory.mkdir(exist_ok=True)
    (directory / "rootfs").mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    return str(directory)


def changed(**values: object) -> dict[str, object]:
    return {**copy.deepcopy(CONFIG), **values}


def configured(source: bundle.Source, **values: object) -> bundle.Config:
    return bundle.configured(
        source, **{"root": "/r", "cgroup": "/ours", "no_new_privileges": False, "seccomp": None, **values}
    )


def test_what_a_replay_changes_in_a_bundle_and_nothing_else(tmp_path):
    source = bundle.read(made(tmp_path / "b"))
    assert source.root == str(tmp_path / "b" / "rootfs")
    found = configured(source, seccomp={"defaultAction": "SCMP_ACT_LOG"})
    expected = copy.deepcopy(CONFIG)
    expected["process"].update(terminal=False, noNewPrivileges=False)
    expected["root"]["path"] = "/r"
    expected["mounts"][0]["source"] = str(tmp_path / "b" / "data")
    expected["mounts"][1]["source"] = str(tmp_path / "b" / "more")
    expected["linux"].update(cgroupsPath="/ours", seccomp={"defaultAction": "SCMP_ACT_LOG"})
    expected["annotations"] = {"org.x": "y"}
    assert found == expected
    assert source.config == CONFIG, "the bundle as it was read has been changed"


def test_without_a_filter_the_bundles_own_is_left_out(tmp_path):
    assert "seccomp" not in configured(bundle.read(made(tmp_path / "b")))["linux"]


def test_what_is_null_is_not_there(tmp_path):
    source = bundle.read(made(tmp_path / "b", changed(linux=None, hooks=None, annotations=None, mounts=None)))
    found = configured(source, hook="/x/scmm-hook", name="one")
    assert found["linux"] == {"cgroupsPath": "/ours"} and list(found["hooks"]) == ["prestart", "poststop"]


def test_hooks_of_the_recorder_come_after_the_bundles(tmp_path):
    found = configured(bundle.read(made(tmp_path / "b")), hook="/x/scmm-hook", name="one")
    ours = [{"path": "/x/scmm-hook", "args": ["scmm-hook", stage]} for stage in ("prestart", "poststop")]
    assert found["hooks"] == {"prestart": [{"path": "/theirs"}, ours[0]], "poststop": [ours[1]]}
    assert found["annotations"] == {"org.x": "y", "scmm.record": "required", "scmm.name": "one"}


@pytest.mark.parametrize(
    ("config", "places"),
    [
        ([], [".process", ".root"]),
        (changed(process=1, root=[]), [".process", ".root"]),
        (changed(linux=[], hooks=3, annotations="x"), [".linux", ".annotations", ".hooks"]),
        (changed(mounts=3), [".mounts"]),
        (changed(mounts=[1, {"options": "bind"}, {}]), [".mounts[0]", ".mounts[1]"]),
        (changed(hooks={"prestart": {}, "poststop": 1}), [".hooks.prestart", ".hooks.poststop"]),
        (changed(process={"args": []}, root={}), [".process.args", ".root.path"]),
        (changed(process={"args": ["sh", 1]}, root={"path": "gone"}), [".process.args", ".root.path"]),
    ],
)
def test_bundles_that_cannot_be_started(tmp_path, config, places):
    with pytest.raises(BadInput) as caught:
        bundle.read(made(tmp_path / "b", config))
    assert [one.place for one in caught.value.problems] == places
    assert caught.value.source == str(tmp_path / "b" / "config.json")


def test_a_root_that_overlay_cannot_name(tmp_path):
    with pytest.raises(BadInput, match="overlay's options cannot hold"):
        bundle.read(made(tmp_path / "a:b"))
    assert bundle.read(made(tmp_path / "a b")).root.endswith("/a b/rootfs")


# Profiles

ALLOWED = Rule(("read", "write"), OciAction.ALLOW)
NOSYS = Rule(("clone3",), OciAction.ERRNO, 38)
PROFILE = Profile(OciAction.ERRNO, None, ("SCMP_ARCH_X86_64",), syscalls=(ALLOWED, NOSYS))


def test_the_twin_keeps_rules_that_answer_otherwise_than_the_default():
    again = Rule(("mount",), OciAction.ERRNO, 1)  # EPERM, as the default
    found = lacks.twin(replace(PROFILE, syscalls=(*PROFILE.syscalls, again)))
    assert found.default_action is OciAction.ALLOW
    assert found.syscalls == (NOSYS, Rule(("vhangup",), OciAction.ERRNO))
    assert lacks.twin(found) == found
    to_json(found)


def test_calls_are_allowed_whatever_a_profile_says_of_them():
    found = lacks.with_calls(PROFILE, ["clone3", "mkdir", "read"])
    assert found.syscalls == (Rule(("write",), OciAction.ALLOW), Rule(("clone3", "mkdir", "read"), OciAction.ALLOW))
    assert lacks.with_calls(PROFILE, []) == PROFILE
    to_json(found)


@pytest.mark.parametrize("action", [OciAction.NOTIFY, OciAction.TRACE])
def test_profiles_that_ask_somebody_are_not_replayed(action):
    lacks.check(PROFILE)
    with pytest.raises(BadInput, match=action):
        lacks.check(replace(PROFILE, syscalls=(Rule(("read",), action),)))


def of(profile: Profile, capture) -> set[tuple[Phase, str, str]]:
    program = lacks.filter_of(profile, Arch.X86_64)
    return {(one.phase, one.name, one.detail) for one in lacks.lacking(program, capture, machine=Arch.X86_64)}


def called(capture, phase: Phase) -> set[str]:
    return {call.name for _, call in capture.calls(phase) if call.entered}


def test_all_that_a_profile_refuses_is_named_with_its_phase():
    capture = parse(json.dumps(nginx()).encode())
    runtime, app = called(capture, Phase.RUNTIME), called(capture, Phase.APP)
    assert runtime and app and called(capture, Phase.SETUP)
    whole = lacks.with_calls(PROFILE, runtime | app)
    assert of(whole, capture) == set()
    one, other = sorted(runtime)[0], sorted(app - runtime)[0]
    less = lacks.with_calls(PROFILE, (runtime | app) - {one, other})
    phases = {(Phase.RUNTIME, one, ""), (Phase.APP, other, "")} | ({(Phase.APP, one, "")} if one in app else set())
    assert of(less, capture) == phases


def test_the_machines_own_calls_are_asked_for_where_a_profile_has_other_architectures():
    capture = parse(json.dumps(nginx()).encode())
    names = called(capture, Phase.RUNTIME) | called(capture, Phase.APP)
    for arches in ((), ("SCMP_ARCH_X86",), ("SCMP_ARCH_AARCH64",)):
        assert of(lacks.with_calls(replace(PROFILE, architectures=arches), names), capture) == set()


def test_a_value_that_is_refused_is_named():
    capture = parse(json.dumps(nginx()).encode())
    names = called(capture, Phase.RUNTIME) | called(capture, Phase.APP)
    values = next(one.values for one in capture.arguments if one.name == "clone" and one.indexes == (0,))
    assert len(values) == 2 and "clone" not in called(capture, Phase.RUNTIME)
    base = lacks.with_calls(PROFILE, names - {"clone"})
    details = set()
    for value in values:
        rule = Rule(("clone",), OciAction.ALLOW, None, (Condition(0, value, Operator.NE),))
        ((phase, name, detail),) = of(replace(base, syscalls=(*base.syscalls, rule)), capture)
        assert (phase, name) == (Phase.APP, "clone") and detail.startswith("argument 0: ")
        details.add(detail)
    assert len(details) == 2


def test_what_a_filter_refused_while_it_was_recorded():
    capture = parse(json.dumps(nginx()).encode())
    refused = {call.name for _, call in capture.calls(Phase.APP) if call.denied}
    assert refused == {"clone3", "keyctl", "personality"}
    assert {one.name for one in lacks.denied(capture) if one.phase is Phase.APP} == refused


# Measured floors

ROWS = st.builds(
    Row,
    st.sampled_from(Verb),
    st.booleans(),
    st.integers(1, 50),
    st.frozensets(st.sampled_from(["close", "execve", "futex", "prctl", "write"]), min_size=1),
)
FLOORS = st.lists(ROWS, max_size=6, unique_by=lambda row: (row.verb, row.no_new_privileges)).map(
    lambda rows: Measured(DIGEST, "runc", "1.1.5", "x86_64", tuple(rows))
)


@given(FLOORS)
def test_a_floor_is_what_was_written(floor):
    data = measured.to_json(floor)
    found = measured.parse(data)
    assert set(found.rows) == set(floor.rows) and replace(found, rows=()) == replace(floor, rows=())
    assert measured.to_json(found) == data


@given(FLOORS, FLOORS)
def test_joined_floors_have_the_names_and_starts_of_both(one, other):
    both = one.joined(other)
    assert both.joined(Measured(DIGEST, "runc", "1.1.5", "x86_64", ())) == both
    assert measured.to_json(both) == measured.to_json(other.joined(one))
    for verb in Verb:
        for nnp in (False, True):
            ways = [each.floor(nnp, verbs=frozenset({verb})).names for each in (one, other, both)]
            assert ways[2] == ways[0] | ways[1]
    assert sum(row.starts for row in both.rows) == sum(row.starts for each in (one, other) for row in each.rows)


def test_a_floor_is_asked_by_way_and_no_new_privileges():
    rows = (Row(Verb.RUN, False, 1, frozenset({"prctl"})), Row(Verb.EXEC, True, 1, frozenset({"close"})))
    floor = Measured(DIGEST, "runc", None, "x86_64", rows)
    assert floor.floor().names == {"prctl", "close"}
    assert floor.floor(True).names == {"close"} and floor.floor(False).entries_used == ("measured-abababababab",)
    assert floor.floor(True, verbs=frozenset({Verb.RUN})).names == frozenset()
    assert floor.floor(True, verbs=frozenset({Verb.RUN})).entries_used == ()


def test_kept_floors_are_found_by_digest(tmp_path):
    directory = str(tmp_path)
    assert measured.read(DIGEST, directory=directory) is None
    floor = Measured(DIGEST, "crun", "1.8.1", "x86_64", (Row(Verb.RUN, True, 3, frozenset({"close"})),))
    Path(measured.path_of(DIGEST, directory=directory)).write_bytes(measured.to_json(floor))
    assert measured.read(DIGEST, directory=directory) == floor
    other = "cd" * 32
    Path(measured.path_of(other, directory=directory)).write_bytes(measured.to_json(floor))
    with pytest.raises(BadInput, match="is not the file's name"):
        measured.read(other, directory=directory)


def spoilt(**values: object) -> bytes:
    floor = Measured(DIGEST, "crun", None, "x86_64", (Row(Verb.RUN, True, 3, frozenset({"close"})),))
    return json.dumps({**json.loads(measured.to_json(floor)), **values}).encode()


@pytest.mark.parametrize(
    ("data", "places"),
    [
        (b"[]", [".format"]),
        (spoilt(format="other"), [".format"]),
        (spoilt(version=2), [".version"]),
        (spoilt(sha256="AB", machine=1, runtime=[], rows={}), [".sha256", ".machine", ".runtime", ".rows"]),
        (spoilt(runtime={"name": "crun", "version": 3}, rows=[1]), [".runtime.version", ".rows[0]"]),
        (
            spoilt(rows=[{"verb": "walk", "no_new_privileges": 1, "starts": 0, "names": ["no name"]}]),
            [".rows[0].verb", ".rows[0].no_new_privileges", ".rows[0].starts", ".rows[0].names"],
        ),
        (spoilt(rows=[{"verb": "run", "no_new_privileges": True, "starts": 1, "names": []}] * 2), [".rows[1]"]),
    ],
)
def test_bad_floors_are_refused_with_all_that_is_wrong(data, places):
    measured.parse(spoilt())
    with pytest.raises(BadInput) as caught:
        measured.parse(data)
    assert [one.place for one in caught.value.problems] == places


# The command line


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--replay"], "--replay needs --bundle"),
        (["--replay", "--bundle", "b", "--against", "x.scmm-cap"], "ask one at a time"),
        (["--replay", "--bundle", "gone"], "cannot be read"),
        (["--replay", "--bundle", "b", "--runtime", "no-such-runc", "--runtime", "/gone"], "'/gone': there is no such"),
        (["--bundle", "b", "--times", "3"], "--bundle, --times: only with --replay"),
        (["--against", "x.scmm-cap", "--way", "run"], "--way: only with --replay"),
        (["--replay", "--bundle", "b", "--times", "0"], "0 is not in the range"),
    ],
)
def test_questions_that_are_none(words, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made(tmp_path / "b")
    (tmp_path / "p.json").write_bytes(to_json(PROFILE))
    assert main(["verify", "p.json", *words]) == 2
    assert told in capsys.readouterr().err


def test_all_that_is_wrong_is_told_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    asked = replace(PROFILE, listener_path="/run/x.sock", syscalls=(Rule(("read",), OciAction.NOTIFY),))
    (tmp_path / "p.json").write_bytes(to_json(asked))
    made(tmp_path / "b", changed(process=1, mounts=3))
    assert main(["verify", "p.json", "--replay", "--bundle", "b", "--runtime", "/gone"]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert [" ".join(line.split()[:3]) for line in lines] == [
        "error: p.json: .:",
        f"error: {tmp_path}/b/config.json: .process:",
        "error: --runtime: '/gone':",
    ]


def test_a_floor_is_measured_of_the_runtime_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shim").write_bytes(b"#!/bin/sh\n# " + shim_settings.MARK + b"\necho runc version 9.9.9\n")
    (tmp_path / "runc").write_text("#!/bin/sh\necho runc version 9.9.9\n")
    for name in ("shim", "runc"):
        (tmp_path / name).chmod(0o755)
    (tmp_path / "p.json").write_bytes(to_json(PROFILE))
    hook = [{"path": "/bin/true"}]
    made(tmp_path / "hooked", changed(hooks={"startContainer": hook}))
    made(tmp_path / "plain", changed(hooks={"prestart": hook}))
    words = ["verify", "p.json", "--replay", "--measure-floor", "--floor-directory", "p.json"]
    assert main([*words, "--bundle", "hooked", "--runtime", "./shim"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [" ".join(line.split()[:5]) for line in lines] == [
        "error: --measure-floor: what the runtime",
        f"error: --measure-floor: {tmp_path}/shim is scmm-runc,",
    ]
    assert main([*words, "--bundle", "plain", "--runtime", "./runc"]) == 1
    assert "p.json cannot be made" in capsys.readouterr().err, "all that was given is taken"


def test_where_nothing_can_be_kept_nothing_is_started(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made(tmp_path / "b")
    (tmp_path / "runc").write_text("#!/bin/sh\necho runc version 9.9.9\n")
    (tmp_path / "runc").chmod(0o755)
    (tmp_path / "p.json").write_bytes(to_json(PROFILE))
    words = ["verify", "p.json", "--replay", "--bundle", "b", "--runtime", "./runc", "--measure-floor"]
    assert main([*words, "--floor-directory", "p.json"]) == 1
    assert "p.json cannot be made: File exists" in capsys.readouterr().err
    digest = hashlib.sha256((tmp_path / "runc").read_bytes()).hexdigest()
    (tmp_path / f"{digest}.json").write_text("[]")
    assert main([*words, "--floor-directory", "."]) == 2
    assert "is not 'scmm-floor'" in capsys.readouterr().err


# Processes


def test_what_is_written_is_thrown_away_and_keeps_nobody_waiting(tmp_path):
    with Output() as output:
        words = ["head", "-c", "50000000", "/dev/zero"]
        assert run(words, cwd=str(tmp_path), output=output, seconds=60, stop=None) == 0
        assert run(["yes"], cwd=str(tmp_path), output=output, seconds=0.2, stop=None) is None
        assert run(["false"], cwd=str(tmp_path), output=output, seconds=60, stop=None) == 1
        with pytest.raises(OSError, match="No such file"):
            run(["/gone"], cwd=str(tmp_path), output=output, seconds=60, stop=None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_kept_until_it_is_asked_for(tmp_path, number):
    before = signal.signal(number, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), Stop() as stop, Output() as output:
            stop.check()
            os.kill(os.getpid(), number)
            assert stop.asked
            # Where something is taken away it is not asked for.
            assert run(["true"], cwd=str(tmp_path), output=output, seconds=60, stop=None) == 0
            with pytest.raises(KeyboardInterrupt):
                run(["sleep", "1000"], cwd=str(tmp_path), output=output, seconds=600, stop=stop)
        assert signal.getsignal(number) is signal.default_int_handler
        with Stop() as stop:
            assert not stop.asked
        signal.signal(number, signal.SIG_IGN)
        with Stop() as stop:
            os.kill(os.getpid(), number)
            assert not stop.asked
    finally:
        signal.signal(number, before)


def test_a_signal_that_comes_while_somebody_waits_ends_the_wait(tmp_path):
    told = "kill -INT $PPID; exec sleep 1000"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, where tests run in the background
    try:
        with pytest.raises(KeyboardInterrupt), Stop() as stop, Output() as output:
            run(["sh", "-c", told], cwd=str(tmp_path), output=output, seconds=600, stop=stop)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_profile_that_asks_a_listener_is_told_before_anything_starts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made(tmp_path / "b")
    runtime = tmp_path / "runc"
    runtime.write_text("#!/bin/sh\necho runc version 9.9.9\n")
    runtime.chmod(0o755)
    asked = replace(PROFILE, listener_path="/run/x.sock", syscalls=(Rule(("read",), OciAction.NOTIFY),))
    (tmp_path / "p.json").write_bytes(to_json(asked))
    assert main(["verify", "p.json", "--replay", "--bundle", "b", "--runtime", "./runc"]) == 2
    assert "SCMP_ACT_NOTIFY, which needs a listener" in capsys.readouterr().err
