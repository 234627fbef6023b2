"""The hook pair against bad input and bad luck: a container always starts, nothing is lost, nothing lands elsewhere."""

from __future__ import annotations

import fcntl
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from support import Hooks
from trial import Trial, calls

from rig.process import wait_until
from scmm_oci.cli.main import main
from scmm_oci.recorder import recover
from scmm_oci.recorder.installation import Layout

BAD_NAMES = {
    "dots": "..",
    "parent": "../x",
    "slash": "a/b",
    "absolute": "/etc/passwd",
    "nul": "a\0b",
    "newline": "a\nb",
    "escape": "\x1b[2Jx",
    "long": "n" * 10240,
    "empty": "",
    "hidden": ".x",
    "dash": "-x",
    "unicode": "ü",
}

BAD_STATES = {
    "empty": b"",
    "truncated": b'{"ociVersion":"1.0.2","id":"x","pid":12',
    "not-json": b"hello",
    "not-utf8": b'{"id":"\xff"}',
    "array": b"[]",
    "no-id": b'{"pid":1,"bundle":"/"}',
    "id-path": b'{"id":"../../etc/x","pid":1,"bundle":"/","annotations":{"scmm.record":"true"}}',
    "id-number": b'{"id":7,"pid":1,"bundle":"/"}',
    "pid-text": b'{"id":"x","pid":"1","bundle":"/","annotations":{"scmm.record":"true"}}',
    "pid-huge": b'{"id":"x","pid":99999999999999999999,"annotations":{"scmm.record":"true"}}',
    "pid-true": b'{"id":"x","pid":true,"annotations":{"scmm.record":"true"}}',
    "bundle-relative": b'{"id":"x","pid":1,"bundle":"a","annotations":{"scmm.record":"true"}}',
    "annotations-list": b'{"id":"x","pid":1,"bundle":"/","annotations":["scmm.record"]}',
    "deep": b'{"id":' + b"[" * 100_000,
    "huge": b'{"id":"x","annotations":{"a":"' + b"x" * (2 << 20) + b'"}}',
}


def every_file(top: Path) -> set[Path]:
    return {path for path in top.rglob("*") if not path.is_dir()}


def scmm(*words: str) -> tuple[int, str]:
    """Run the command line in this process: exit code, and what it said on both streams."""
    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(output):
        code = main(words)
    return code, output.getvalue()


@contextmanager
def small_file_system(point: Path, size: str) -> Iterator[None]:
    point.mkdir(mode=0o700, parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", point], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", point], check=True)


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES.keys())
def test_bad_name_is_refused_and_the_containers_id_used(hooks: Hooks, payload: Path, name: str, tmp_path: Path) -> None:
    with Trial(hooks, payload, "forks", "1", name="second", record="false") as trial:
        before = every_file(tmp_path)
        done = trial.hook("prestart", trial.state(annotations={"scmm.record": "true", "scmm.name": name}))
        assert done.returncode == 0
        assert len(done.stderr.splitlines()) == 1 and "scmm.name=" in done.stderr
        assert done.stderr.strip().isprintable() and len(done.stderr) < 600
        trial.release()
        capture = trial.finish()
    assert capture["name"] == "second"
    assert calls(capture)["getpgid"]["entered"] == 1
    new = {path.relative_to(tmp_path) for path in every_file(tmp_path) - before}
    assert {path.parts[0] for path in new} == {"captures", "run", "log"}
    assert {path.name for path in new if path.parts[0] == "captures"} == {"second.scmm-cap"}


def test_bad_name_with_required_stops_the_container(hooks: Hooks, payload: Path) -> None:
    with Trial(hooks, payload, "true", name="must", record="false") as trial:
        state = trial.state(annotations={"scmm.record": "required", "scmm.name": "../x"})
        done = trial.hook("prestart", state)
        assert done.returncode == 1 and "scmm.name='../x'" in done.stderr and "not started" in done.stderr
        # Its positive twin.
        good = trial.hook("prestart", trial.state(annotations={"scmm.record": "required", "scmm.name": "good"}))
        assert good.returncode == 0, good.stderr
        trial.release()
        assert trial.hook("poststop").returncode == 0
    assert hooks.capture("good")["complete"]


@pytest.mark.parametrize("value", ["True", "1", "yes", "", "required ", "tru\0e"])
def test_unknown_record_value_is_told(hooks: Hooks, payload: Path, value: str) -> None:
    with Trial(hooks, payload, "true", name="value", record=value) as trial:
        assert trial.started is not None
        assert trial.started.returncode == 0
        assert "known values: true, required, false" in trial.started.stderr
        trial.release()
        trial.hook("poststop")
    assert not hooks.path("value").exists()


@pytest.mark.parametrize("stage", ["prestart", "createRuntime", "poststop"])
@pytest.mark.parametrize("data", BAD_STATES.values(), ids=BAD_STATES.keys())
def test_malformed_state_never_stops_a_container(hooks: Hooks, tmp_path: Path, stage: str, data: bytes) -> None:
    done = subprocess.run([hooks.starter, stage], input=data, capture_output=True, env={}, timeout=30, check=False)
    assert done.returncode == (1 if stage == "poststop" else 0)
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"scmm-hook: {stage}: ") and lines[0].isprintable() and len(lines[0]) < 600
    assert not Path(hooks.settings.capture_dir).exists()


def test_wrong_usage(hooks: Hooks) -> None:
    for words in ([], ["poststart"], ["prestart", "x"]):
        done = subprocess.run([hooks.starter, *words], capture_output=True, env={}, input=b"", check=False)
        assert done.returncode == 2 and b"usage: scmm-hook" in done.stderr


@pytest.mark.parametrize("stage", ["prestart", "createRuntime"])
@pytest.mark.parametrize("end", ["kill -KILL $$", "exec /none"])
def test_a_recorder_that_is_killed_stops_nothing(
    hooks: Hooks, payload: Path, tmp_path: Path, stage: str, end: str
) -> None:
    """And `required` does not start."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho last words >&2\n{end}\n")
    python.chmod(0o755)
    text = hooks.starter.read_text()
    broken = hooks.starter.with_name("broken")
    broken.write_text(re.sub(r"^python=.*$", f"python={python}", text, flags=re.MULTILINE))
    broken.chmod(0o755)
    with Trial(hooks, payload, "true", name="killed", record="false") as trial:
        for value, expected in (("true", 0), ("required", 1)):
            state = trial.state(annotations={"scmm.record": value, "scmm.name": "killed"})
            done = subprocess.run([broken, stage], input=state, capture_output=True, timeout=30, check=False)
            assert done.returncode == expected
            assert b"last words" in done.stderr.splitlines() and b"not recorded" in done.stderr.splitlines()[-1]
        assert not hooks.path("killed").exists()
        # The control: what was broken is the interpreter alone.
        assert (
            trial.hook(stage, trial.state(annotations={"scmm.record": "required", "scmm.name": "killed"})).returncode
            == 0
        )
        trial.release()
        assert trial.hook("poststop").returncode == 0
    assert hooks.capture("killed")["complete"]


def test_container_that_is_gone_already(hooks: Hooks, payload: Path) -> None:
    with Trial(hooks, payload, "true", name="gone", record="false") as trial:
        trial.release()
        done = trial.hook("prestart", trial.state(annotations={"scmm.record": "true"}))
        assert done.returncode == 0
        assert "not recorded" in done.stderr
        required = trial.hook("prestart", trial.state(annotations={"scmm.record": "required"}))
        assert required.returncode == 1
    assert not hooks.path("gone").exists()


def test_container_without_a_cgroup_of_its_own(hooks: Hooks, payload: Path) -> None:
    gate = subprocess.Popen([payload, "gate", payload, "true"], stdin=subprocess.PIPE)
    state = {"id": "shared", "pid": gate.pid, "bundle": "/", "annotations": {"scmm.record": "true"}}
    done = subprocess.run(
        [hooks.starter, "prestart"], input=json.dumps(state).encode(), capture_output=True, env={}, check=False
    )
    gate.communicate(b"x")
    assert done.returncode == 0
    assert b"no cgroup of its own" in done.stderr


def test_what_is_missing_is_named(make_hooks: Callable[..., Hooks], payload: Path, tmp_path: Path) -> None:
    """bpffs, capabilities, libbpf and BTF, each missing in turn; the container starts, `required` does not."""
    lacks = {
        "is not a BPF file system; mount it: mount -t bpf": ({"pin_dir": str(tmp_path / "no-bpffs" / "scmm")}, []),
        "needs root, or CAP_BPF and CAP_PERFMON": ({}, ["setpriv", "--bounding-set=-sys_admin,-bpf,-perfmon"]),
        "libbpf.so.1 cannot be loaded": ({}, ["unshare", "-m", "sh", "-c", f'{_hide("libbpf.so.1")}; exec "$@"', "_"]),
        "/sys/kernel/btf/vmlinux": (
            {},
            ["unshare", "-m", "sh", "-c", 'mount -t tmpfs tmpfs /sys/kernel/btf; exec "$@"', "_"],
        ),
    }
    for words, (changes, prefix) in lacks.items():
        hooks = make_hooks(**changes)
        (Path(hooks.settings.run_dir) / "recorder.prepared").unlink(missing_ok=True)
        with Trial(hooks, payload, "true", name="lacking", record="false") as trial:
            for value, expect in (("true", 0), ("required", 1)):
                state = trial.state(annotations={"scmm.record": value})
                done = subprocess.run(
                    [*prefix, hooks.starter, "prestart"], input=state, capture_output=True, timeout=30, check=False
                )
                assert words in done.stderr.decode(), (words, done.stderr)
                assert done.returncode == expect
                assert len(done.stderr.splitlines()) == 1
            trial.release()
            assert trial.hook("poststop").returncode == 0
        assert not Path(hooks.settings.pin_dir).exists()
        assert not hooks.path("lacking").exists()


def _hide(library: str) -> str:
    """Shell words that make a shared library unloadable in this mount namespace."""
    listed = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    paths = [line.split()[-1] for line in listed.splitlines() if line.split()[:1] == [library]]
    return " && ".join(f"mount --bind /dev/null {path}" for path in paths) or "false"


def test_full_disk_keeps_the_capture(make_hooks: Callable[..., Hooks], payload: Path, tmp_path: Path) -> None:
    captures = tmp_path / "full"
    hooks = make_hooks(capture_dir=str(captures))
    with small_file_system(captures, "4k"):
        with Trial(hooks, payload, "forks", "7", name="full") as trial:
            (captures / "filler").write_bytes(b"")
            with pytest.raises(OSError, match="No space"):
                (captures / "filler").write_bytes(b"x" * 65536)
            trial.release()
            done = trial.hook("poststop")
        assert done.returncode == 1
        assert "No space left" in done.stderr and "scmm record --recover" in done.stderr
        assert [path.name for path in captures.iterdir()] == ["filler"], "something half-written is left"
        assert not Path(hooks.settings.pin_dir).exists()
        code, output = scmm("record", "--recover", "--config", str(hooks.layout.config))
        assert code == 1 and "No space left" in output  # it still waits
    code, output = scmm("record", "--recover", "--config", str(hooks.layout.config))
    assert code == 0 and "full.scmm-cap" in output
    capture = hooks.capture("full")
    assert capture["complete"] and calls(capture)["getpgid"]["entered"] == 7
    assert not list((Path(hooks.settings.run_dir) / "unsaved").iterdir())


@pytest.mark.parametrize("trouble", ["others-may-write", "not-a-directory", "symlink", "foreign-owner"])
def test_capture_directory_that_is_not_safe(
    make_hooks: Callable[..., Hooks], payload: Path, tmp_path: Path, trouble: str
) -> None:
    captures = tmp_path / "odd"
    target = tmp_path / "target"
    target.mkdir(mode=0o700)
    if trouble == "others-may-write":
        captures.mkdir()
        captures.chmod(0o777)
    elif trouble == "not-a-directory":
        captures.write_text("")
    elif trouble == "symlink":
        captures.symlink_to(target)
    else:
        captures.mkdir(mode=0o700)
        os.chown(captures, 12345, 12345)
    hooks = make_hooks(capture_dir=str(captures))
    with Trial(hooks, payload, "true", name="odd") as trial:
        trial.release()
        done = trial.hook("poststop")
    assert done.returncode == 1 and str(captures) in done.stderr
    assert list(target.iterdir()) == []
    if captures.is_dir():
        assert list(captures.iterdir()) == []
    assert [path.name for path in (Path(hooks.settings.run_dir) / "unsaved").iterdir()] == ["odd.scmm-cap"]


def test_symlink_in_the_place_of_a_capture_is_not_followed(hooks: Hooks, payload: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    captures = Path(hooks.settings.capture_dir)
    captures.mkdir(mode=0o700)
    hooks.path("linked").symlink_to(precious)
    with Trial(hooks, payload, "true", name="linked") as trial:
        trial.release()
        trial.finish()
    assert precious.read_text() == "mine"
    assert not hooks.path("linked").is_symlink()


def test_earlier_capture_of_the_same_name_is_kept(hooks: Hooks, payload: Path) -> None:
    for count in (1, 2, 3):
        with Trial(hooks, payload, "forks", str(count), name="same") as trial:
            trial.release()
            trial.finish()
    found = sorted(Path(hooks.settings.capture_dir).iterdir())
    assert len(found) == 3
    counts = sorted(calls(json.loads(path.read_bytes()))["getpgid"]["entered"] for path in found)
    assert counts == [1, 2, 3]
    assert calls(hooks.capture("same"))["getpgid"]["entered"] == 3


def test_killed_container_leaves_a_complete_capture(hooks: Hooks, payload: Path) -> None:
    with Trial(hooks, payload, "gate", str(payload), "true", name="killed") as trial:
        trial.pass_gate()
        trial.process.send_signal(signal.SIGKILL)
        trial.process.wait(10)
        capture = trial.finish()
    assert capture["complete"]
    # Killed in the middle of the second gate's read: a call that began and did not return.
    assert (calls(capture)["read"]["entered"], calls(capture)["read"]["succeeded"]) == (1, 0)


def test_poststop_that_never_runs_is_recovered_and_told(hooks: Hooks, payload: Path) -> None:
    config = ["--config", str(hooks.layout.config)]
    with Trial(hooks, payload, "forks", "4", name="orphan") as trial:
        _, output = scmm("record", "--recover", *config)
        assert "nothing to recover" in output, "a running container's recording was ended"
        trial.release()
    _, output = scmm("record", "--list", "--json", *config)
    assert [row["state"] for row in json.loads(output)] == ["container gone"]
    layout = ["--hooks-dir", str(hooks.layout.hooks_dir), "--libexec-dir", str(hooks.layout.libexec_dir), *config]
    report = {row["name"]: row for row in json.loads(scmm("doctor", "--json", *layout)[1])}
    assert report["recordings"]["verdict"] == "warning"
    code, output = scmm("record", "--recover", *config)
    assert code == 0 and "orphan.scmm-cap" in output
    capture = hooks.capture("orphan")
    assert not capture["complete"]
    assert [loss["kind"] for loss in capture["losses"]] == ["cut-short"]
    assert calls(capture)["getpgid"]["entered"] == 4


# A killed process leaves what it did outside of itself. So it is killed after whatever may have done something there:
# every C function but those that only compute or look (what is open is closed for whoever dies, too), and every
# function that names a library of ctypes, of whose functions Python does not tell. What the same lines do again, for
# each map and each program, counts once. SCMM_SOAK: at each function call.
KILL_POINTS = """
import os, signal, sys
sys.path.insert(0, {root!r})
from scmm_oci.recorder import hook
count, every, known = int(sys.argv.pop(1)), {every!r}, set()
COMPUTE = {{
    "builtins", "sys", "time", "itertools", "marshal", "_codecs", "_ctypes", "_imp", "_stat", "_struct", "_thread",
    "_io.BufferedReader",
}}
LOOK = {{
    "_path_normpath", "close", "fspath", "fstat", "geteuid", "getpid", "getppid", "is_dir", "listdir", "lstat",
    "open_code", "readlink", "scandir", "stat", "strerror", "uname", "urandom",
}}
def acts(function):
    owner = type(getattr(function, "__self__", None))
    module = function.__module__ or f"{{owner.__module__}}.{{owner.__name__}}"
    return not {{module, module.partition(".")[0]}} & COMPUTE and function.__name__ not in LOOK
def foreign(frame):
    names = frame.f_code.co_names
    return "CDLL" in names or any(type(frame.f_globals.get(name)).__name__ == "CDLL" for name in names)
def lines(frame):
    while frame:
        yield frame.f_code, frame.f_lineno
        frame = frame.f_back
def trace(frame, event, argument):
    global count
    if every:
        hit = event == "call" and "scmm_oci" in frame.f_code.co_filename
    else:
        hit = event == "c_return" and acts(argument) or event == "return" and foreign(frame)
        if hit:
            place = *lines(frame), event == "c_return" and argument.__qualname__
            hit = place not in known
            known.add(place)
    count -= hit
    if hit and count == 0:
        os.kill(os.getpid(), signal.SIGKILL)
sys.setprofile(trace)
sys.exit(hook.main())
"""


@pytest.mark.parametrize("stage", ["prestart", "poststop"])
def test_hook_killed_at_every_step_is_recoverable(hooks: Hooks, payload: Path, stage: str) -> None:
    """SIGKILL after each act of a hook in turn; afterwards everything can be recovered or was never begun."""
    root = str(Path(__file__).resolve().parents[2])
    words = KILL_POINTS.format(root=root, every=bool(os.environ.get("SCMM_SOAK")))
    script = [sys.executable, "-I", "-S", "-c", words]
    with Trial(hooks, payload, "true", name="first") as trial:
        trial.release()
        trial.finish()  # relocates the recorder, once for all the steps to come
    step, survived = 0, False
    outcomes: set[tuple[bool, object]] = set()
    while not survived:
        step += 1
        name = f"kill-{step}"
        with Trial(hooks, payload, "forks", "2", name=name, record="true" if stage == "poststop" else "false") as trial:
            if stage == "poststop":
                trial.release()
            done = subprocess.run(
                [*script, str(step), "--settings", str(hooks.layout.libexec_dir / "hook.json"), stage],
                input=trial.state(annotations={"scmm.record": "true", "scmm.name": name}),
                capture_output=True,
                timeout=60,
                check=False,
            )
            survived = done.returncode != -signal.SIGKILL
            if survived:
                assert done.returncode == 0, done.stderr
            if stage == "prestart":
                trial.release()
            if survived and stage == "prestart":
                trial.finish()
        results = recover.recover(hooks.settings, now=0.0)
        assert all(each.problem is None for each in results), (step, results)
        assert not Path(hooks.settings.pin_dir).exists(), step
        found = (
            sorted(Path(hooks.settings.capture_dir).glob(f"{name}*"))
            if os.path.isdir(hooks.settings.capture_dir)
            else []
        )
        assert len(found) <= 1, f"step {step}: saved twice"
        if stage == "poststop":
            # The container ran and was recorded: whatever the hook's fate, its calls are there.
            assert len(found) == 1, step
            assert calls(hooks.capture(name))["getpgid"]["entered"] == 2
        for path in found:
            document = json.loads(path.read_bytes())
            whole = document["losses"] == []
            assert document["complete"] == whole
            outcomes.add((survived, whole))
        if not survived:
            outcomes.add((False, "nothing") if not found else (False, "something"))
    assert step > 20, "the hook was not stepped through"
    # A hook left alone saves a whole capture; one that was killed leaves a recording that says it was cut short.
    assert (True, True) in outcomes and (False, False) in outcomes, outcomes
    assert (True, False) not in outcomes


def test_deadline_holds_against_a_held_lock(make_hooks: Callable[..., Hooks], payload: Path) -> None:
    hooks = make_hooks(deadline=1)
    run_dir = Path(hooks.settings.run_dir)
    run_dir.mkdir(mode=0o700)
    with Trial(hooks, payload, "true", name="slow", record="false") as trial, (run_dir / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = trial.hook("prestart", trial.state(annotations={"scmm.record": "true"}))
        assert done.returncode == 0 and "took too long" in done.stderr
        required = trial.hook("prestart", trial.state(annotations={"scmm.record": "required"}))
        assert required.returncode == 1
        trial.release()
    assert not Path(hooks.settings.pin_dir).exists()


def test_two_starts_are_one_recording(hooks: Hooks, payload: Path) -> None:
    """podman may inject the hook as prestart and as createRuntime."""
    with Trial(hooks, payload, "forks", "2", name="twice") as trial:
        again = trial.hook("createRuntime")
        assert again.returncode == 0 and again.stderr == ""
        trial.release()
        capture = trial.finish()
        assert trial.hook("poststop").returncode == 0
    assert capture["complete"] and calls(capture)["getpgid"]["entered"] == 2
    assert len(list(Path(hooks.settings.capture_dir).iterdir())) == 1


def test_restart_without_poststop_saves_the_first(hooks: Hooks, payload: Path) -> None:
    with Trial(hooks, payload, "forks", "3", name="restart") as first:
        first.release()
    with Trial(hooks, payload, "forks", "5", name="restart") as second:
        second.release()
        capture = second.finish()
    assert capture["complete"] and calls(capture)["getpgid"]["entered"] == 5
    earlier = [path for path in Path(hooks.settings.capture_dir).iterdir() if path != hooks.path("restart")]
    assert len(earlier) == 1
    document = json.loads(earlier[0].read_bytes())
    assert not document["complete"] and calls(document)["getpgid"]["entered"] == 3


def test_hooks_keep_no_descriptor_and_need_no_environment(hooks: Hooks, payload: Path) -> None:
    """A runtime waits for a hook's stdout and stderr to close; whatever the hook started must not hold them."""
    with Trial(hooks, payload, "true", name="pipes") as trial:
        trial.release()
        reading, writing = os.pipe()
        process = subprocess.Popen(
            [hooks.starter, "poststop"], stdin=subprocess.PIPE, stdout=writing, stderr=writing, env={}
        )
        os.close(writing)
        process.communicate(trial.state(), timeout=30)
        os.set_blocking(reading, False)
        wait_until(lambda: os.read(reading, 1) == b"", deadline_s=5, what="the pipe is closed")
        os.close(reading)
    assert hooks.capture("pipes")["complete"]


def test_log_is_bounded_and_clean(hooks: Hooks) -> None:
    for _ in range(3):
        subprocess.run(
            [hooks.starter, "prestart"], input=b'{"id":"\\u001b[31m"}', capture_output=True, env={}, check=False
        )
    log = Path(hooks.settings.log_file)
    assert log.stat().st_mode & 0o077 == 0
    assert all(line.isprintable() for line in log.read_text().splitlines())
    with log.open("a") as file:
        file.write("x" * (1 << 20) + "\n")
    subprocess.run([hooks.starter, "prestart"], input=b"", capture_output=True, env={}, check=False)
    assert not log.exists() or log.stat().st_size < 1 << 20
    assert log.with_name(log.name + ".1").stat().st_size > 1 << 20


def test_doctor_names_a_hook_that_podman_would_skip(hooks: Hooks) -> None:
    layout = hooks.layout
    words = [
        "--json",
        "--hooks-dir",
        str(layout.hooks_dir),
        "--libexec-dir",
        str(layout.libexec_dir),
        "--config",
        str(layout.config),
    ]
    code, output = scmm("doctor", *words)
    assert code == 0, output
    hooks.starter.unlink()
    code, output = scmm("doctor", *words)
    assert code == 1
    details = [row["detail"] for row in json.loads(output) if row["verdict"] == "failed"]
    assert any("is missing" in detail for detail in details)
    assert any("podman skips the hook without a word" in detail for detail in details)
    assert Layout().hooks_dir == Path("/usr/share/containers/oci/hooks.d")


@pytest.mark.parametrize("where", ["plain", "foreign-pin"])
def test_pin_dir_that_others_use_is_left_alone(
    make_hooks: Callable[..., Hooks], payload: Path, tmp_path: Path, where: str
) -> None:
    if where == "plain":
        pin_dir = tmp_path / "precious"
        pin_dir.mkdir()
        precious = pin_dir / "file"
        precious.write_text("mine")
    else:
        pin_dir = Path(f"/sys/fs/bpf/theirs-{os.getpid()}")
        precious = pin_dir / "map"
        pin_dir.mkdir()
        words = ["map", "create", precious, "type", "array", "key", "4", "value", "4", "entries", "1", "name", "theirs"]
        subprocess.run(["bpftool", *words], check=True)
    try:
        hooks = make_hooks(pin_dir=str(pin_dir))
        with Trial(hooks, payload, "true", name="theirs", record="false") as trial:
            done = trial.hook("prestart", trial.state(annotations={"scmm.record": "true"}))
            assert done.returncode == 0 and "not recorded" in done.stderr
            trial.release()
            trial.hook("poststop")
        code, output = scmm("record", "--recover", "--config", str(hooks.layout.config))
        assert precious.exists()
        assert code == 1 and "set pin_dir to a directory for scmm-oci alone" in output
    finally:
        precious.unlink()
        pin_dir.rmdir()


def test_first_process_that_moves_is_not_gone(hooks: Hooks, payload: Path) -> None:
    """systemd moves itself to init.scope below its container's cgroup."""
    with Trial(hooks, payload, "gate", str(payload), "true", name="moves") as trial:
        trial.pass_gate()
        (trial.cgroup / "init.scope").mkdir()
        (trial.cgroup / "init.scope" / "cgroup.procs").write_text(str(trial.process.pid))
        _, output = scmm("record", "--recover", "--config", str(hooks.layout.config))
        assert "nothing to recover" in output
        trial.release()
        capture = trial.finish()
    assert capture["complete"] and "exit_group" in calls(capture)


def test_two_engines_with_the_same_container_id(hooks: Hooks, payload: Path, tmp_path: Path) -> None:
    with (
        Trial(hooks, payload, "forks", "3", name="one", record="false") as one,
        Trial(hooks, payload, "forks", "5", name="two", record="false") as two,
    ):
        for trial in (one, two):
            state = trial.state(id="same", annotations={"scmm.record": "true", "scmm.name": trial.name})
            assert trial.hook("prestart", state).returncode == 0
        for trial in (one, two):
            trial.release()
            assert trial.hook("poststop", trial.state(id="same")).returncode == 0
    for name, count in (("one", 3), ("two", 5)):
        capture = hooks.capture(name)
        assert capture["complete"], capture["losses"]
        assert calls(capture)["getpgid"]["entered"] == count


def test_lost_pins_are_told_and_do_not_stand_in_the_way(hooks: Hooks, payload: Path) -> None:
    """As after a reboot with a run directory that stays, or when someone removed the pins."""
    with Trial(hooks, payload, "true", name="pins") as trial:
        trial.release()
        pins = Path(hooks.settings.pin_dir)
        (pins / "complete").rmdir()
        for path in pins.iterdir():
            path.unlink()
        pins.rmdir()
        done = trial.hook("poststop")
        assert done.returncode == 1 and "is gone" in done.stderr
    with Trial(hooks, payload, "forks", "2", name="pins", record="required") as trial:
        assert trial.started is not None and trial.started.returncode == 0, trial.started.stderr
        trial.release()
        capture = trial.finish()
    assert capture["complete"] and calls(capture)["getpgid"]["entered"] == 2


def test_settings_that_change_while_recording(make_hooks: Callable[..., Hooks], payload: Path) -> None:
    before = make_hooks()
    with Trial(before, payload, "forks", "2", name="changed") as trial:
        trial.release()
        after = make_hooks(pin_dir=before.settings.pin_dir + "-2")
        assert trial.hook("poststop").returncode == 0
    assert calls(after.capture("changed"))["getpgid"]["entered"] == 2
    assert not Path(before.settings.pin_dir).exists() and not Path(after.settings.pin_dir).exists()


def test_directories_are_private_whatever_the_umask(
    make_hooks: Callable[..., Hooks], payload: Path, tmp_path: Path
) -> None:
    hooks = make_hooks(capture_dir=str(tmp_path / "a" / "b" / "captures"))
    before = os.umask(0)
    try:
        with Trial(hooks, payload, "true", name="umask") as trial:
            trial.release()
            assert trial.finish()["complete"]
    finally:
        os.umask(before)
    made = [tmp_path / "a", tmp_path / "a" / "b", *Path(hooks.settings.capture_dir).glob("**")]
    assert all(path.stat().st_mode & 0o077 == 0 for path in made)
